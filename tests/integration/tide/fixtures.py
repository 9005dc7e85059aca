"""Fixtures that more than one file uses; conftest.py makes them known. A test that changes what others see takes one of
its own: own_stack, own_pair, limited."""
import contextlib
import shutil
import tempfile
from pathlib import Path

import pytest

from .edge import Edge
from .stack import Stack, run
from .status_page import FakeGateway, StatusPage


def new_folder() -> Path:
    """Short (unix socket paths have 107 bytes) and reachable for the user postgres."""
    folder = Path(tempfile.mkdtemp(prefix="tide-", dir="/tmp"))
    folder.chmod(0o755)
    return folder


@contextlib.contextmanager
def new_stack():
    """An empty installation in a folder of its own."""
    folder = new_folder()
    with Stack(folder) as s:
        yield s
    shutil.rmtree(folder, ignore_errors=True)


# --- installations ------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def stack():
    """Everything, with a real worker: shared by a whole run, to be left as it was found."""
    with new_stack() as s:
        yield s.start_all()


@pytest.fixture
def app(stack):
    with stack.app() as one:
        yield one


@pytest.fixture
def own_stack():
    """An empty installation: the test starts what it needs."""
    with new_stack() as s:
        yield s


@pytest.fixture(scope="module")
def pair():
    """Two gateways on one database and one Redis, over a scripted worker: shared by the tests of a file."""
    with new_stack() as s:
        yield s.start_pair()


@pytest.fixture
def a(pair):
    """An app that talks to the first gateway of the pair."""
    with pair.app(pair.gateways[0]) as one:
        yield one


@pytest.fixture
def b(pair):
    with pair.app(pair.gateways[1]) as one:
        yield one


@pytest.fixture
def own_pair():
    """Such a pair for one test, which may kill what it likes."""
    with new_stack() as s:
        yield s.start_pair()


# --- the edge alone -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["plain", "tls"])
def edge(request, tmp_path_factory):
    e = Edge(tmp_path_factory.mktemp("edge"), tls=request.param == "tls")
    yield e
    e.stop()


@pytest.fixture
def limited(tmp_path):
    """Makes edges with limits of their own: limited(idle_ms=100)."""
    made = []

    def make(**limits):
        made.append(Edge(tmp_path, **limits))
        return made[-1]

    yield make
    for e in made:
        e.stop()


# --- the status page alone ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """A CA and a certificate for localhost."""
    f = tmp_path_factory.mktemp("tls")
    ca, cert, key = f / "ca.pem", f / "cert.pem", f / "key.pem"
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
        "-keyout", f / "ca.key", "-out", ca, "-subj", "/CN=status test CA", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    run("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", f / "csr",
        "-subj", "/CN=localhost")
    (f / "ext").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    run("openssl", "x509", "-req", "-in", f / "csr", "-CA", ca, "-CAkey", f / "ca.key", "-days", "2", "-out", cert,
        "-extfile", f / "ext")
    key.chmod(0o600)
    return ca, cert, key


@pytest.fixture
def fake(tls):
    gateway = FakeGateway(tls[1], tls[2]).start()
    yield gateway
    gateway.stop()


@pytest.fixture
def page(tls, fake, tmp_path):
    p = StatusPage(tmp_path / "status", fake.url, *tls)
    p.settings["probe"]["metrics_url"] = fake.url + "/metrics"
    yield p
    p.stop()
