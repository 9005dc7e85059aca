"""Fixtures. `stack` is shared by a whole run and must be left as it was found; `own_stack` belongs to one test."""
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from tide.stack import Stack  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "tsan: runs on the ThreadSanitizer build as well (tests/run)")


def new_folder() -> Path:
    """Short (unix socket paths have 107 bytes) and reachable for the user postgres."""
    folder = Path(tempfile.mkdtemp(prefix="tide-", dir="/tmp"))
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="session")
def stack():
    folder = new_folder()
    with Stack(folder) as s:
        s.start_all()
        yield s
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def own_stack():
    """An empty installation: the test starts what it needs."""
    folder = new_folder()
    with Stack(folder) as s:
        yield s
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def app(stack):
    with stack.app() as a:
        yield a
