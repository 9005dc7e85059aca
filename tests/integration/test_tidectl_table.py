"""What every verb of tidectl does alike: help, output forms, trial runs, and what happens when the words are wrong, the level
too low, the gateway or the database away. The verbs come from tidectl itself, so that a new one is held to it as well."""
import json
import os
import pty
import re
import select
import shutil
import subprocess
import time

import pytest
import yaml

from tide.client import mainland_phone
from tide.process import wait_until
from tide.stack import program, run

TABLE = json.loads(run(program("tidectl"), "help", "-o", "json").stdout)
VERBS = {verb["verb"]: verb for verb in TABLE["verbs"]}
OPTIONS = {option["name"]: option for option in TABLE["options"]}
AT_GATEWAY = [name for name, verb in VERBS.items() if verb["level"] != "none"]
VALUES = {"TIME": "10m", "N": "1", "TEXT": "t"}


def typed(verb: dict, folder) -> list[str]:
    """A line of the shape that the verb's row asks for."""
    file = folder / "any.json"
    ban = {"value": "192.0.2.1", "scope": "Ip", "type": "ban", "duration": "4h", "reason": "t"}
    file.write_text(json.dumps([ban] if verb["verb"] == "ban import" else {}))
    words = verb["verb"].split()
    for argument in verb.get("arguments", "").split():
        if not argument.startswith("["):
            words.append(str(file) if "FILE" in argument else "1")
    for name in verb["wanted"]:
        value = OPTIONS[name].get("value")
        words.append(f"--{name}")
        if value:
            words.append(str(file) if value in ("FILE", "PATH") else VALUES.get(value, value.split()[0]))
    return words


def ask(*words, code: int | tuple = 0, **options):
    done = run(program("tidectl"), *words, check=False, stdin=subprocess.DEVNULL, **options)
    codes = code if isinstance(code, tuple) else (code,)
    assert done.returncode in codes, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done


def complains(done) -> None:
    assert done.stdout == "" and re.match(r"tidectl: \S", done.stderr), done


# --- wrong words --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VERBS)
def test_wrong_words(name, tmp_path):
    verb = VERBS[name]
    line = typed(verb, tmp_path)
    nowhere = ["--socket", tmp_path / "none.sock"]
    if "..." not in verb.get("arguments", ""):
        longest = line + ["x"] * (1 + verb.get("arguments", "").count("["))
        done = ask(*longest, *nowhere, code=2)
        complains(done)
        assert "unexpected word x" in done.stderr
    complains(ask(*line, "--bogus", *nowhere, code=2))
    for option in verb["wanted"]:
        at = line.index(f"--{option}")
        without = line[:at] + line[at + (2 if "value" in OPTIONS[option] else 1):]
        done = ask(*without, *nowhere, code=2)
        complains(done)
        assert f"--{option}" in done.stderr and "is missing" in done.stderr
    foreign = next(o for o in OPTIONS.values() if not o["everywhere"] and o["name"] not in verb["options"] and "value" not in o)
    assert f"it takes no --{foreign['name']}" in ask(*line, f"--{foreign['name']}", *nowhere, code=2).stderr
    assert name in ask(*name.split(), "--help").stdout


@pytest.mark.parametrize("words, said", [
    (["polcy", "get"], "did you mean tidectl policy get?"), (["get", "worker"], "did you mean tidectl get workers?"),
    (["limits", "set", "a", "1/1s", "--reson", "t"], "did you mean --reason?"), (["get"], "tidectl get workers"),
    (["get", "nothing", "at", "all"], "tidectl get workers"), (["dance"], 'no verb "dance"'), (["help", "dance"], '"dance"'),
    (["check", "-x"], "no option -x"), (["check", "--help=1"], "takes no value"), (["check", "--timeout"], "wants a value"),
    (["check", "--timeout", "soon"], "a time like"), (["get", "users", "--limit", "0"], "a whole number"),
    (["check", "-o", "xml"], "one of table json yaml name"), (["check", "-ojson", "-oyaml"], "given twice"),
    (["policy", "simulate", "--asn", "many"], "true, false or a number"), (["completion", "csh"], "bash, zsh or fish"),
    (["man", "dance"], '"dance"'), (["policy", "set", "open", "-f", "x", "--reason", "t"], "either a preset"),
    (["policy", "rollback", "x", "--reason", "t"], "VERSION is a number"), (["limits", "set", "a", "1/1s"], "is missing")])
def test_what_is_wrong_is_said(words, said):
    done = ask(*words, code=2)
    assert said in done.stderr and done.stdout == ""


def test_the_help_leads_through_an_attack():
    """The first page's section alone: what it says is typed, on a gateway that is attacked; here, that it can be."""
    page = ask("--help").stdout
    section = page.split("We are under attack\n")[1].split("\n\n")[0]
    assert re.search(r"tidectl policy set mainland-phone-only --reason", section) and "policy rollback VERSION" in section
    assert page == ask("help").stdout and all(f"  {name}" in page for name in VERBS)
    for code in range(8):
        assert re.search(rf"^  {code}  +\S", page, re.MULTILINE)


def test_an_empty_variable_is_none():
    done = run("env", "TIDEGATE_ADMIN_SOCKET=", "TIDEGATE_ADMIN_URL=", program("tidectl"), "check", check=False)
    assert done.returncode in (0, 3) or "tidectl: /run/tidegate/admin.sock: " in done.stderr


# --- nobody there, not allowed --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", AT_GATEWAY)
def test_a_dead_gateway(name, tmp_path):
    """7, or 2 where the words of this test are not good enough to ask."""
    done = ask(*typed(VERBS[name], tmp_path), "--socket", tmp_path / "none.sock", code=(7, 2))
    complains(done)
    assert done.returncode == 2 or "none.sock: No such file" in done.stderr


@pytest.mark.parametrize("name", AT_GATEWAY)
def test_a_silent_gateway(name, tmp_path, silent):
    done = ask(*typed(VERBS[name], tmp_path), "--socket", silent, "--timeout", "200ms", code=(7, 2))
    complains(done)
    assert done.returncode == 2 or "no whole answer" in done.stderr


@pytest.fixture(scope="module")
def silent(tmp_path_factory):
    """Something that accepts and never says a word."""
    import socket
    path = tmp_path_factory.mktemp("silent") / "s.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1000)
        yield path


@pytest.fixture(scope="module")
def reader(stack):
    """The socket of level read, of a gateway beside the stack's."""
    settings = stack.settings()
    settings["admin"] = {"read_socket": f"unix:{stack.folder}/table-read.sock"}
    gateway = stack.start_gateway(settings)
    yield stack.folder / "table-read.sock"
    gateway.process.stop()
    stack.gateways.remove(gateway)


@pytest.mark.parametrize("name", [n for n in AT_GATEWAY if VERBS[n]["level"] in ("write", "admin")])
def test_the_level_is_too_low(name, tmp_path, reader):
    done = ask(*typed(VERBS[name], tmp_path), "--socket", reader, code=(4, 2, 5))  # 5: nothing of that name to confirm
    complains(done)
    if done.returncode == 4:
        assert f"wants level {VERBS[name]['level']}" in done.stderr


@pytest.mark.parametrize("name", [n for n in AT_GATEWAY if VERBS[n]["level"] == "read"])
def test_reading_is_allowed_at_the_reading_socket(name, tmp_path, reader):
    assert ask(*typed(VERBS[name], tmp_path), "--socket", reader, code=(0, 1, 2, 3, 5, 7)).returncode != 4


# --- what comes out -------------------------------------------------------------------------------------------

LISTS = ["get workers", "get limits", "get users", "get audit", "get incidents", "policy get", "policy history", "limits top",
         "show requests", "trace sample", "check"]


@pytest.mark.parametrize("name", LISTS)
def test_forms(name, stack):
    at = ["--socket", stack.gateway.socket]
    stack.gateway.get("/livez")
    answer = json.loads(ask(*at, "-o", "json", *name.split()).stdout)
    shape = yaml.safe_load(ask(*at, "-o", "yaml", *name.split()).stdout)
    assert type(shape) is dict and shape.keys() == answer.keys()
    names = ask(*at, "-o", "name", *name.split()).stdout.splitlines()
    assert all(re.fullmatch(r"[a-z]+/\S.*", line) for line in names)
    items = next((v for v in answer.values() if isinstance(v, list)), None)
    if name in ("get workers", "get limits", "policy history"):
        assert len(names) == len(items) > 0
    table = ask(*at, *name.split()).stdout
    assert "\033" not in table and "[" not in table and table


def test_yaml_says_the_same(stack):
    at = ["--socket", stack.gateway.socket]
    for words in (["policy", "show"], ["policy", "schema"], ["help"]):
        assert yaml.safe_load(ask(*at, "-o", "yaml", *words).stdout) == json.loads(ask(*at, "-o", "json", *words).stdout), words


def test_watching(stack):
    child = subprocess.Popen([program("tidectl"), "--socket", stack.gateway.socket, "get", "limits", "-w", "--every", "50ms"],
                             stdout=subprocess.PIPE, text=True)
    heads = 0
    for line in child.stdout:
        heads += line.startswith("NAME ")
        if heads == 3:
            break
    child.terminate()
    child.stdout.close()
    assert child.wait(30) != 0 and heads == 3
    ask("--socket", "/nowhere/none.sock", "check", "--watch", code=7)


def test_output_that_cannot_be_written(stack):
    with open("/dev/full", "w") as full:
        done = subprocess.run([program("tidectl"), "--socket", stack.gateway.socket, "get", "limits"], stdout=full,
                              stderr=subprocess.PIPE, text=True, timeout=30)
    assert done.returncode == 1 and "cannot be written" in done.stderr


# --- tries ----------------------------------------------------------------------------------------------------


def test_a_trial_changes_nothing(stack, tmp_path):
    gateway = stack.gateway
    at = ["--socket", gateway.socket]

    def state():
        rows = stack.postgres.query("SELECT (SELECT count(*) FROM audit), (SELECT max(version) FROM policy_versions),"
                                    " (SELECT count(*) FROM sessions WHERE ended_at IS NULL)")
        shown = json.loads(ask(*at, "-o", "json", "get", "limits").stdout)
        workers = json.loads(ask(*at, "-o", "json", "get", "workers").stdout)["items"]
        serial = json.loads(ask(*at, "-o", "json", "check").stdout)["config_serial"]
        return rows, shown["overrides"], [w["state"] for w in workers], serial, gateway.process.child.pid

    with stack.app() as app:
        user = app.sign_up(mainland_phone())["user"]["id"]
        before = state()
        for words in (["revoke", "user", user, "--reason", "t"], ["limits", "set", "otp_phone_minute", "9/1h", "--ttl", "1h", "--reason", "t"],
                      ["limits", "reset", "otp_phone_minute", "--reason", "t"], ["drain", "worker", "w1"], ["reload"], ["upgrade"]):
            done = ask(*at, *words, "--dry-run")
            assert done.stderr == "" and done.stdout, words
        assert state() == before and app.user().status_code == 200
        assert json.loads(ask(*at, "-o", "json", "revoke", "user", user, "--reason", "t", "--dry-run").stdout) == {"revoked": 1}
    for words, code in ((["revoke", "user", "x", "--reason", "t"], 1), (["limits", "set", "none", "9/1h", "--ttl", "1h", "--reason", "t"], 5),
                        (["drain", "worker", "none"], 5), (["kill", "none"], 5)):
        complains(ask(*at, *words, "--dry-run", code=code))
    good = gateway.conf.read_text()
    gateway.conf.write_text(good + "bogus: 1\n")
    try:
        for verb in ("reload", "upgrade"):
            assert "bogus" in ask(*at, verb, "--dry-run", code=1).stderr
    finally:
        gateway.conf.write_text(good)


def test_a_change_that_cannot_be_tried_is_refused(stack):
    """Whoever asks the API for a trial never gets a change."""
    done = subprocess.run(["curl", "-s", "--unix-socket", stack.gateway.socket, "-X", "POST", "-H", "content-type: application/json",
                           "-d", "{}", "http://localhost/admin/v1/policy/simulate?dry_run=1"], capture_output=True, text=True)
    assert json.loads(done.stdout)["code"] == "validation_failed" and "dry_run" in done.stdout
    done = subprocess.run(["curl", "-s", "--unix-socket", stack.gateway.socket, "-X", "POST", "-d", "{}",
                           "http://localhost/admin/v1/reload?dry_run=yes"], capture_output=True, text=True)
    assert "dry_run: 1, or left out" in done.stdout


def test_local_tries(stack, tmp_path):
    ring, keys = tmp_path / "ring.json", tmp_path / "keys"
    ask("keyring", "generate", ring, "--dry-run")
    assert not ring.exists()
    ask("keyring", "generate", ring)
    text = ring.read_text()
    ask("keyring", "generate", ring, "--dry-run", code=(1, 6))
    ask("keyring", "rotate", ring, "--dry-run")
    assert ring.read_text() == text
    ask("keyring", "rotate", tmp_path / "none.json", "--dry-run", code=1)
    ask("keys", "generate", keys, "--dry-run", code=1)
    keys.mkdir()
    ask("keys", "generate", keys, "--dry-run")
    assert list(keys.iterdir()) == []
    stack.postgres.query("CREATE DATABASE tried")
    words = ["migrate", "--database", stack.postgres.uri(database="tried"), "--folder", "migrations"]
    planned = ask(*words, "--dry-run").stdout.splitlines()
    assert planned[0].startswith("would apply 0001 ") and planned[-1] == "schema version 0"
    done = json.loads(ask(*words, "-o", "json").stdout)
    assert len(done["applied"]) == len(planned) - 1 == done["schema_version"]
    assert ask(*words, "--dry-run").stdout.splitlines() == [f"schema version {done['schema_version']}"]


# --- before a terminal -------------------------------------------------------------------------------------------


class Terminal:
    """tidectl with a person at it."""

    def __init__(self, *words, **env):
        self.child, self.fd = pty.fork()
        if self.child == 0:
            os.execve(program("tidectl"), ["tidectl", *map(str, words)], {**os.environ, "TERM": "xterm", **env})
        self.shown = b""

    def read(self, until: bytes | None = None) -> str:
        """Up to a text, or to the end."""
        end = time.monotonic() + 60
        while (until is None or until not in self.shown) and time.monotonic() < end:
            if select.select([self.fd], [], [], 1)[0]:
                try:
                    piece = os.read(self.fd, 65536)
                except OSError:
                    break
                if not piece:
                    break
                self.shown += piece
        return self.shown.decode()

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def code(self) -> int:
        self.read()
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.child, 0)[1])


def test_colours_on_a_terminal_only(stack):
    at = ["--socket", stack.gateway.socket]
    coloured = Terminal(*at, "get", "workers")
    assert "\033[1mNAME" in coloured.read() and "\033[32mready\033[0m" in coloured.shown.decode() and coloured.code() == 0
    for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        plain = Terminal(*at, "get", "workers", **env)
        assert "ready" in plain.read() and "\033" not in plain.shown.decode() and plain.code() == 0


def test_what_hurts_is_confirmed(stack):
    at = ["--socket", stack.gateway.socket]

    def policy():
        return json.loads(ask(*at, "-o", "json", "policy", "get").stdout)["name"]

    closing = [*at, "policy", "set", "closed", "--reason", "t"]
    before = policy()
    refused = ask(*closing, code=2)
    assert "--confirm=closed" in refused.stderr and "Nobody without an account" in refused.stderr
    assert "--confirm says open" in ask(*closing, "--confirm=open", code=2).stderr
    person = Terminal(*closing)
    person.read(b"Type closed to go on: ")
    person.type("open\n")
    assert person.code() == 2 and policy() == before
    person = Terminal(*closing)
    person.read(b"Type closed to go on: ")
    person.type("closed\n")
    assert person.code() == 0 and policy() == "closed"
    ask(*at, "policy", "set", "open", "--reason", "t")
    ask(*closing, "--confirm=closed")
    ask(*at, "policy", "set", "open", "--reason", "t")
    assert "--confirm=w1" in ask(*at, "drain", "worker", "w1", code=2).stderr
    ask(*at, "drain", "worker", "w1", "--confirm=w1")
    ask(*at, "drain", "worker", "w1")  # drained already: nothing more is lost
    ask(*at, "drain", "worker", "w1", "--undo")


# --- a dead database ------------------------------------------------------------------------------------------------

WITHOUT_DATABASE = [
    (["check"], 3), (["get", "workers"], 0), (["get", "limits"], 0), (["limits", "top"], 0), (["show", "requests"], 0),
    (["policy", "lint"], 0), (["policy", "schema"], 0), (["policy", "simulate", "--phone", "+8613800138000"], 0),
    (["get", "users"], 7), (["get", "audit"], 7), (["get", "incidents"], 7), (["policy", "get"], 0), (["policy", "history"], 7),
    (["policy", "set", "mainland-phone-only", "--reason", "t"], 7), (["policy", "rollback", "1", "--reason", "t"], 7),
    (["policy", "show"], 0), (["revoke", "user", "3f0c8e1a-6a53-4a0e-9d5e-0f6f3a1f7f11", "--reason", "t"], 7),
    (["limits", "set", "otp_phone_minute", "9/1h", "--ttl", "1h", "--reason", "t"], 7),
    (["limits", "reset", "otp_phone_minute", "--reason", "t"], 7)]


def test_a_dead_database(own_stack):
    own_stack.start_all()
    at = ["--socket", own_stack.gateway.socket]
    wait_until(lambda: ask(*at, "check", code=(0, 3)).returncode == 0, 60, "all is well")
    before = own_stack.postgres.query("SELECT max(version) FROM policy_versions"), own_stack.postgres.query("SELECT count(*) FROM audit")
    own_stack.postgres.kill()
    wait_until(lambda: ask(*at, "check", code=(0, 3)).returncode == 3, 60, "the gateway knows")
    for words, code in WITHOUT_DATABASE:
        done = ask(*at, *words, code=code)
        if code == 7:
            complains(done)
            assert "database" in done.stderr or "PostgreSQL" in done.stderr, done.stderr
    own_stack.postgres.start()
    wait_until(lambda: ask(*at, "check", code=(0, 3)).returncode == 0, 60, "well again")
    after = own_stack.postgres.query("SELECT max(version) FROM policy_versions"), own_stack.postgres.query("SELECT count(*) FROM audit")
    assert after == before
    assert json.loads(ask(*at, "-o", "json", "get", "limits").stdout)["overrides"] == []


# --- completion, manual ---------------------------------------------------------------------------------------------


def complete(shell: str, folder, *words: str, gateway=None) -> list[str]:
    script = folder / f"tidectl.{shell}"
    script.write_text(ask("completion", shell).stdout)
    env = {**os.environ, "PATH": f"{program('tidectl').parent}:{os.environ['PATH']}", "HOME": str(folder)}
    if gateway is not None:
        env["TIDEGATE_ADMIN_SOCKET"] = str(gateway.socket)
    quoted = " ".join(f"'{w}'" for w in words)
    line = {
        "bash": f". {script}; COMP_WORDS=(tidectl {quoted}); COMP_CWORD={len(words)}; _tidectl; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        "zsh": f"compdef() {{ :; }}; _files() {{ print -l -- *; }}; _describe() {{ print -l -- ${{(P)2}}; }}; . {script};"
               f" words=(tidectl {quoted}); CURRENT={len(words) + 1}; _tidectl",
        "fish": f"source {script}; complete -C \"tidectl {' '.join(words)}\""}[shell]
    done = subprocess.run([shell, *(["-f"] if shell == "zsh" else []), "-c", line], env=env, cwd=folder, capture_output=True,
                          text=True, timeout=60)
    assert done.returncode in (0, 1) and done.stderr == "", done.stderr
    return [re.split(r"[:\t]", found)[0] for found in done.stdout.splitlines() if found]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell, stack, tmp_path):
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    assert {"set", "get", "history"} <= set(complete(shell, tmp_path, "policy", ""))
    assert "--reason" in complete(shell, tmp_path, "policy", "set", "--re")
    assert set(complete(shell, tmp_path, "check", "-o", "")) == {"table", "json", "yaml", "name"}
    assert "w1" in complete(shell, tmp_path, "drain", "worker", "", gateway=stack.gateway)
    assert complete(shell, tmp_path, "drain", "worker", "") == []  # no gateway: nothing, and no noise
    (tmp_path / "policy.json").write_text("{}")
    assert "policy.json" in complete(shell, tmp_path, "policy", "lint", "pol" if shell != "zsh" else "")
    assert set(complete(shell, tmp_path, "completion", "")) >= {"bash", "zsh", "fish"}


def test_manual_pages(tmp_path):
    for page in [[], *[[word] for word in sorted({name.split()[0] for name in VERBS})]]:
        roff = ask("man", *page).stdout
        assert roff.startswith(".TH TIDECTL")
        if shutil.which("groff"):
            shown = subprocess.run(["groff", "-man", "-ww", "-Tutf8", "-P-cbou"], input=roff, capture_output=True, text=True, timeout=60)
            assert shown.returncode == 0 and shown.stderr == "", shown.stderr
            assert all(name in shown.stdout for name in VERBS if not page or name.split()[0] == page[0])
