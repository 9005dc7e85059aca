"""One gateway's life from outside: start, reload, logs, health, drain, what it tells the service manager."""
import pytest

from conftest import new_folder
from tide.scripted import ScriptedWorker
from tide.stack import Stack, program, run
from tide.tokens import Issuer


class Place:
    """A stack without accounts, one scripted worker, and an issuer for chat tokens."""

    def __init__(self, stack: Stack):
        self.stack = stack
        self.worker = ScriptedWorker()
        self.issuer = Issuer(stack.folder)

    def settings(self) -> dict:
        settings = self.stack.settings()
        settings["chat"]["workers"] = [{"name": "w", "target": self.worker.target, "models": ["m"]}]
        settings["issuers"] = [self.issuer.settings()]
        return settings

    def start(self, **sections):
        settings = self.settings()
        for name, section in sections.items():
            settings[name] = {**settings[name], **section} if isinstance(section, dict) else section
        return self.stack.start_gateway(settings)

    @property
    def bearer(self) -> dict:
        return {"authorization": f"Bearer {self.issuer.token()}"}


@pytest.fixture
def place(own_stack):
    p = Place(own_stack)
    yield p
    p.worker.stop()


@pytest.fixture(scope="module")
def still():
    """One gateway that no test of this file changes."""
    with Stack(new_folder()) as stack:
        p = Place(stack)
        p.start()
        yield p
        p.worker.stop()


# --- options ------------------------------------------------------------------------------------------


def test_version_and_options():
    for name in ("tidegate", "tidectl", "tide-status", "tide-worker"):
        said = run(program(name), "--version").stdout
        assert said.startswith(f"{name} ") and said[len(name) + 1].isdigit(), said
        assert run(program(name), "--bogus", check=False).returncode == 2
        assert run(program(name), "--help").stdout


def test_check_says_good_or_where(still):
    conf = still.stack.gateway.conf
    assert run(program("tidegate"), "-c", conf, "--check").stdout == f"{conf}: good\n"
    bad = still.stack.folder / "bad.yaml"
    text = conf.read_text() + "bogus: 1\n"
    bad.write_text(text)
    done = run(program("tidegate"), "-c", bad, "--check", check=False)
    assert done.returncode == 1
    assert f"{bad}:{len(text.splitlines())}:" in done.stderr and "bogus" in done.stderr
    assert run(program("tidegate"), "-c", still.stack.folder / "none.yaml", "--check", check=False).returncode == 1
