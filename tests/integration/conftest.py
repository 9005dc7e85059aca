"""What pytest reads first: the marker of tests/run and the fixtures of tide/fixtures.py."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from tide.browser import browser  # noqa: E402, F401
from tide.fixtures import (a, app, b, edge, fake, limited, own_pair, own_stack, page, pair, stack,  # noqa: E402, F401
                           tls)


def pytest_configure(config):
    config.addinivalue_line("markers", "tsan: runs on the ThreadSanitizer build as well (tests/run)")
