"""The quickstart as root: what its servers' user leaves in var/ neither opens nor changes a file of root's, and what it has
started it ends, upgraded or not. Its own functions make the folders and files twice, without a server; `deploy/quickstart
--check` is a part of tests/run."""
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tide.stack import ROOT, WORKER_BUILD

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can run servers as somebody else")

RUN = f"""set -euo pipefail
root=$1
for part in common packages place files model services; do . {ROOT}/deploy/lib/$part.sh; done
runtime=$1-sockets model_given=$2
download_model() {{ echo downloaded >"$1"; }} # there is no network in a test
make_place
install_programs
make_files
fetch_model
"""


class Checkout:
    def __init__(self, folder: Path):
        self.root = folder / "checkout"
        (self.root / "build").mkdir(parents=True)
        (self.root / "build" / "quickstart").symlink_to(WORKER_BUILD)
        (self.root / "deploy").symlink_to(ROOT / "deploy")
        self.var = self.root / "var"
        self.secrets = folder / "secrets"
        self.secrets.mkdir()

    def run(self, script: str = "", model: Path | str = "") -> None:
        subprocess.run(["bash", "-c", RUN + script, "run", self.root, model], check=True, timeout=120)

    def as_owner(self, *command) -> int:
        return subprocess.run(["setpriv", "--reuid=tidegate", "--regid=tidegate", "--init-groups", *command],
                              check=False, timeout=60, capture_output=True).returncode

    def secret(self, name: str) -> Path:
        """A file of root's that nobody else may read."""
        path = self.secrets / name
        path.write_text("secret\n")
        path.chmod(0o600)
        return path

    def plant(self, name: str) -> int:
        """The servers' user puts a link to a secret in the place of a file; 0: it could."""
        return self.as_owner("ln", "-sf", self.secret(name.replace("/", "-")), self.var / name)

    def assert_unharmed(self) -> None:
        for path in self.secrets.iterdir():
            found = path.stat()
            assert (found.st_uid, found.st_mode & 0o777, path.read_text()) == (0, 0o600, "secret\n"), path.name


@pytest.fixture
def checkout():
    folder = Path(tempfile.mkdtemp(prefix="tide-quickstart-"))
    folder.chmod(0o755)  # the servers' user has to get in
    yield Checkout(folder)
    shutil.rmtree(folder)


ROOTS = ("conf/tidegate.yaml", "conf/tide-status.yaml", "keys/hook.secret", "keys/keyring.json", "tls/cert.pem", "tls/ca.key",
         "model/SmolLM2-135M-Instruct.Q4_1.gguf")


def test_the_servers_user_puts_nothing_in_roots_way(checkout):
    checkout.run()
    read = [name for name in ROOTS if checkout.as_owner("cat", checkout.var / name) == 0]
    assert read == [name for name in ROOTS if name != "tls/ca.key"]
    assert [name for name in ROOTS if checkout.plant(name) == 0] == []
    assert checkout.as_owner("touch", *(checkout.var / folder / "x" for folder in ("log", "outbox", "packed", "state"))) == 0


def test_links_of_a_time_when_it_could_are_removed(checkout):
    """Once the folders were the servers'."""
    checkout.run()
    for folder in ("conf", "keys", "tls", "model"):
        shutil.chown(checkout.var / folder, "tidegate")
    own = "model/own.gguf"
    assert [checkout.plant(name) for name in (*ROOTS, own)] == [0] * (len(ROOTS) + 1)
    given = checkout.root / "given.gguf"
    given.write_text("given")
    given.chmod(0o600)  # so that it has to be copied
    checkout.run(model=given)
    checkout.assert_unharmed()
    assert (checkout.var / own).read_text() == "given" and not (checkout.var / own).is_symlink()
    assert given.stat().st_mode & 0o777 == 0o600
    checkout.run()
    checkout.assert_unharmed()
    assert [name for name in ROOTS if checkout.as_owner("cat", checkout.var / name)] == ["tls/ca.key"]


def test_a_log_is_opened_by_the_servers_user(checkout):
    checkout.run()
    assert checkout.plant("log/linked.log") == 0
    (checkout.var / "log" / "roots.log").write_text("of root's shell")
    checkout.run("launch linked /bin/echo hello\nlaunch plain /bin/echo hello\nlaunch roots /bin/echo hello\nwait\n")
    checkout.assert_unharmed()
    for name in ("plain.log", "roots.log"):
        log = checkout.var / "log" / name
        assert (log.read_text(), log.owner()) == ("hello\n", "tidegate")


# Starts itself anew at SIGUSR1, as a gateway does for an upgrade, and ends.
UPGRADES = """#!/bin/bash
trap '"$0" "$@" & exit' USR1
echo $$ >>"$1"
while :; do read -rt 0.1 _ <> <(:); done
"""


def test_an_upgraded_server_is_known_and_ended(checkout):
    """Its first process is gone then: it runs on as another one, which is neither started a second time nor left behind."""
    program, pids = checkout.root / "server", checkout.var / "log" / "pids"
    program.write_text(UPGRADES)
    program.chmod(0o755)
    checkout.run(f"""
begun() {{ [ "$(wc -l <{pids})" = "$1" ]; }}
gone() {{ [ -z "$(start_time "$1")" ]; }}
launch server /bin/bash {program} {pids}
for n in 1 2; do
  wait_for 20 "it has begun" begun $n
  newest=$(tail -1 {pids})
  kill -USR1 "$newest"
  wait_for 20 "it has ended" gone "$newest"
done
wait_for 20 "it has begun" begun 3
launch server /bin/bash {program} {pids}
[ "$(pid_of server)" = "$(tail -1 {pids})" ]
end_service server
not_running server
wait_for 20 "it has ended" gone "$(tail -1 {pids})"
""")
    assert len(pids.read_text().split()) == 3
