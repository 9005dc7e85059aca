"""tidectl's verbs that change the policy with care: what they print, how they exit, and what they leave behind."""
import json
import os
import pty
import re
import subprocess

import pytest

from tide.policy_admin import Admin, in_time
from tide.process import wait_until
from tide.stack import SANITIZERS, program

CLOSED = {"effect": "deny", "reason": "signup_closed"}


def document(*rules: dict, name: str = "t") -> dict:
    return {"name": name, "rules": list(rules), "default": CLOSED, "existing_users": "unaffected"}


def allow(name: str, *countries: str, **more) -> dict:
    return {"id": name, "when": {"phone_country": list(countries)}, "effect": "allow", **more}


@pytest.fixture
def ctl(pair):
    def run(*words, code: int = 0):
        done = pair.gateways[0].ctl(*words, check=False)
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done
    yield run
    run("policy", "set", "open", "--reason", "test over")
    for row in json.loads(run("-o", "json", "policy", "schedule", "list").stdout)["items"]:
        run("policy", "schedule", "cancel", str(row["id"]), "--reason", "test over")


@pytest.fixture
def file(tmp_path):
    def write(content, name: str = "policy.json") -> str:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)
    return write


def now(ctl) -> dict:
    return json.loads(ctl("-o", "json", "policy", "get").stdout)


# --- looking first ------------------------------------------------------------------------------------------


def test_diff(ctl, file):
    before = file(document(allow("cn", "CN"), allow("hk", "HK"), allow("us", "US")), "a.json")
    after = file(document(allow("us", "US"), allow("cn", "CN", "MO", ramp_percent=5), allow("sg", "SG"), name="t2"), "b.json")
    said = ctl("policy", "diff", before, after, code=1).stdout
    assert '~ name\n    name: "t" -> "t2"\n' in said
    assert '- rule hk (place 2)\n    {"id":"hk"' in said and '+ rule sg (place 3)\n    {"id":"sg"' in said
    assert '    when.phone_country:  + "MO"\n' in said and "    ramp_percent: + 5\n" in said
    assert ("> rule us: place 3 -> 1\n" in said) != ("~ rule cn (place 1 -> 2)\n" in said)  # one of them moved
    assert ctl("policy", "diff", before, before).stdout == ""
    assert json.loads(ctl("policy", "diff", before, after, "-o", "json", code=1).stdout)["same"] is False
    assert ctl("policy", "diff", "open").stdout == ""  # the policy in force is open
    assert "~ default" in ctl("policy", "diff", "closed", code=1).stdout
    version = str(now(ctl)["version"])
    assert ctl("policy", "diff", version, "open").stdout == ""
    assert "99999" in ctl("policy", "diff", "99999", version, code=5).stderr
    assert "/nowhere" in ctl("policy", "diff", "/nowhere", code=2).stderr
    assert "$.rules" in ctl("policy", "diff", file({"name": "x"}), code=2).stderr
    ctl("policy", "diff", code=2)


def test_dry_run(ctl, file):
    before = now(ctl)
    text = file(document(allow("a", "CN"), allow("b", "CN")))
    for verb in ("set", "apply"):
        said = ctl("policy", verb, "-f", text, "--reason", "t", "--dry-run").stdout
        assert "+ rule a (place 1)" in said and "unreachable_rule" in said and "nothing was changed" in said
    assert "no difference" in ctl("policy", "rollback", str(before["version"]), "--reason", "t", "--dry-run").stdout
    said = json.loads(ctl("policy", "set", "closed", "--reason", "t", "--dry-run", "-o", "json").stdout)
    assert said["dry_run"] and said["version"] == before["version"]
    ctl("policy", "schedule", "closed", "--at", in_time(3600), "--reason", "t", "--dry-run")
    assert now(ctl) == before and json.loads(ctl("-o", "json", "policy", "schedule", "list").stdout)["items"] == []


def test_a_stale_version_is_told(ctl):
    version = now(ctl)["version"]
    for words in (("set", "closed", "--confirm=closed"), ("apply", "closed", "--for", "1h", "--confirm=closed"), ("rollback", "1"),
                  ("set", "closed", "--confirm=closed", "--dry-run")):
        done = ctl("policy", *words, "--reason", "t", "--if-version", str(version + 5), code=6)
        assert f"version {version} is in force, not {version + 5}" in done.stderr and done.stdout == ""
    assert now(ctl)["version"] == version


# --- for a time, at a time ----------------------------------------------------------------------------------


def test_apply_for_a_time(ctl):
    base = now(ctl)["version"]
    said = ctl("policy", "apply", "mainland-phone-only", "--for", "2s", "--reason", "attack 17").stdout
    assert said == f"policy set: version {base + 1}\n"
    shown = ctl("policy", "get").stdout
    assert re.search(r"REVERTS-AT +20\d\d-", shown) and re.search(rf"REVERTS-TO +{base}\n", shown), shown
    wait_until(lambda: now(ctl)["version"] == base + 2, 30, "it goes back")
    assert now(ctl)["reason"] == "expired"


def test_schedule(ctl, file):
    text = file(document(allow("cn", "CN"), name="exam"))
    said = ctl("policy", "schedule", "-f", text, "--at", in_time(3600), "--for", "2h", "--reason", "exam day").stdout
    name = re.fullmatch(r"schedule/(\d+) waits for its time\n", said)
    assert name, said
    shown = ctl("policy", "schedule", "list").stdout
    assert re.search(rf"^{name[1]} +20\S+Z +20\S+Z +exam ", shown, re.M), shown
    assert ctl("policy", "schedule", "cancel", name[1], "--reason", "no").stdout == f"schedule/{name[1]} canceled\n"
    assert name[1] in ctl("policy", "schedule", "cancel", name[1], "--reason", "no", code=5).stderr
    assert "past" in ctl("policy", "schedule", "open", "--at", "2026-01-01T00:00:00Z", "--reason", "t", code=1).stderr


# --- emergency ----------------------------------------------------------------------------------------------


def test_emergency(ctl, pair):
    assert ctl("policy", "emergency-close", "--reason", "attack").stdout == "sign-up closed on every gateway\n"
    assert now(ctl)["reverts_by"] == "emergency-open" and now(ctl)["name"] == "closed"
    assert ctl("policy", "emergency-open", "--reason", "over").stdout == "sign-up open as before on every gateway\n"
    assert now(ctl)["name"] == "open"
    assert "not closed" in ctl("policy", "emergency-open", "--reason", "over", code=6).stderr


# --- the editor ---------------------------------------------------------------------------------------------


class Terminal:
    """tidectl on a terminal of its own, whose $EDITOR is a script that gets the path."""

    def __init__(self, pair, folder, script: str, *words: str):
        editor = folder / "editor"
        editor.write_text("#!/bin/sh\n" + script)
        editor.chmod(0o755)
        self.folder = folder
        self.ours, theirs = pty.openpty()
        env = {**os.environ, **SANITIZERS, "EDITOR": str(editor), "TMPDIR": str(folder)}
        env.pop("VISUAL", None)
        self.process = subprocess.Popen([program("tidectl"), "--socket", pair.gateways[0].socket, "policy", "edit", *words],
                                        stdin=theirs, stdout=theirs, stderr=theirs, env=env, close_fds=True)
        os.close(theirs)
        self.said = ""

    def read_until(self, words: str) -> None:
        while words not in self.said:
            self.said += os.read(self.ours, 4096).decode()

    def type(self, text: str) -> None:
        os.write(self.ours, text.encode() + b"\n")

    def end(self) -> int:
        try:
            while True:
                more = os.read(self.ours, 4096).decode()
                if not more:
                    break
                self.said += more
        except OSError:
            pass  # the other side is closed
        os.close(self.ours)
        return self.process.wait(60)

    def left(self) -> list:
        return sorted(self.folder.glob("tidegate-policy-*.json"))


def test_edit_sends_what_was_saved(ctl, pair, tmp_path):
    before = now(ctl)["version"]
    t = Terminal(pair, tmp_path, "sed -i s/open/opened/ \"$1\"", "--reason", "by hand", "--for", "1h")
    t.read_until("[s/e/q]")
    assert '"open" -> "opened"' in t.said
    t.type("s")
    assert t.end() == 0 and t.left() == [], t.said
    after = now(ctl)
    assert (after["name"], after["reason"], after["version"], after["reverts_to"]) == ("opened", "by hand", before + 1, before)


def test_edit_keeps_the_text_on_every_error(ctl, pair, tmp_path):
    before = now(ctl)["version"]
    t = Terminal(pair, tmp_path, "sed -i 's/\"rules\"/\"rulez\"/' \"$1\"", "--reason", "t")
    t.read_until("[e/q]")
    assert "$.rulez: unknown member (did you mean rules?)" in t.said
    t.type("q")
    assert t.end() == 1 and '"rulez"' in t.left()[0].read_text() and str(t.left()[0]) in t.said
    t.left()[0].unlink()
    t = Terminal(pair, tmp_path, "echo '{\"name\":' > \"$1\"", "--reason", "t")  # no JSON at all
    t.read_until("[e/q]")
    t.type("q")
    assert t.end() == 1 and len(t.left()) == 1
    t.left()[0].unlink()
    t = Terminal(pair, tmp_path, "sed -i s/open/mine/ \"$1\"", "--reason", "t")
    t.read_until("[s/e/q]")
    theirs = ctl("policy", "set", "closed", "--confirm=closed", "--reason", "meanwhile").stdout
    t.type("s")
    assert t.end() == 6 and '"mine"' in t.left()[0].read_text(), t.said
    assert f"version {before + 1} is in force, not {before}" in t.said and str(before + 1) in theirs
    assert now(ctl)["name"] == "closed"
    t.left()[0].unlink()


def test_edit_again_and_nothing_changed(ctl, pair, tmp_path):
    before = now(ctl)["version"]
    t = Terminal(pair, tmp_path, "true", "--reason", "t")
    assert t.end() == 0 and "nothing was changed" in t.said and t.left() == []
    t = Terminal(pair, tmp_path, "exit 3", "--reason", "t")
    assert t.end() == 1 and "editor" in t.said and len(t.left()) == 1
    t.left()[0].unlink()
    once = "test -e \"$1.once\" && sed -i s/rulez/rules/ \"$1\" || { sed -i 's/\"rules\"/\"rulez\"/; s/open/again/' \"$1\"; touch \"$1.once\"; }"
    t = Terminal(pair, tmp_path, once, "--reason", "t")
    t.read_until("[e/q]")
    t.type("e")
    t.read_until("[s/e/q]")
    t.type("s")
    assert t.end() == 0 and now(ctl)["name"] == "again" and now(ctl)["version"] == before + 1, t.said


def test_edit_wants_a_terminal(ctl, pair):
    before = now(ctl)["version"]
    assert "terminal" in ctl("policy", "edit", "--reason", "t", code=2).stderr
    assert now(ctl)["version"] == before


# --- wrong words, dead parts --------------------------------------------------------------------------------

WRONG = [
    (("apply", "--reason", "t"), 2, "either"), (("apply", "open"), 2, "--reason"), (("apply", "opne", "--reason", "t"), 1, "preset"),
    (("apply", "open", "--for", "soon", "--reason", "t"), 2, "--for"), (("apply", "open", "--for", "500d", "--reason", "t"), 1, "for_s"),
    (("apply", "-f", "/nowhere", "--reason", "t"), 1, "/nowhere"), (("apply", "open", "-f", "x", "--reason", "t"), 2, "either"),
    (("schedule", "open", "--reason", "t"), 2, "--at"), (("schedule", "--at", "x", "--reason", "t"), 2, "either"),
    (("schedule", "open", "--at", "noon", "--reason", "t"), 1, "at:"), (("schedule", "open", "--at", "x"), 2, "--reason"),
    (("schedule", "cancel", "--reason", "t"), 2, "ID"), (("schedule", "cancel", "x", "--reason", "t"), 5, "x"),
    (("schedule", "cancel", "1"), 2, "--reason"),
    (("emergency-close",), 2, "--reason"), (("emergency-close", "--reason", "t", "--id", "7"), 1, "id"),
    (("emergency-close", "now", "--reason", "t"), 2, "now"), (("emergency-open",), 2, "--reason"),
    (("diff", "1", "2", "3"), 2, "3"),
    (("edit",), 2, "--reason"),
]


@pytest.mark.parametrize("words,code,message", WRONG, ids=[" ".join(row[0]) for row in WRONG])
def test_wrong_words(ctl, words, code, message):
    before = now(ctl)
    done = ctl("policy", *words, code=code)
    assert message in done.stderr and done.stdout == "", done
    assert now(ctl) == before


CHANGES = [("apply", "closed", "--confirm=closed", "--for", "1h"), ("schedule", "open", "--at", "2030-01-01T00:00:00Z"), ("schedule", "cancel", "1"),
           ("emergency-open",), ("rollback", "1")]


def test_a_dead_database_and_a_dead_gateway(own_stack):
    own_stack.start_servers()
    gateway = own_stack.start_gateway()
    own_stack.postgres.kill()
    for words in CHANGES:
        done = gateway.ctl("policy", *words, "--reason", "t", check=False)
        assert done.returncode == 7 and "tidectl: " in done.stderr, (words, done)
    for words in (("diff", "closed"), ("schedule", "list")):
        assert gateway.ctl("policy", *words, check=False).returncode == 7
    assert json.loads(gateway.ctl("-o", "json", "policy", "get").stdout)["known_from"] == "this gateway"
    done = gateway.ctl("policy", "emergency-close", "--reason", "t")
    assert done.stdout.startswith("sign-up closed on this gateway\n") and "--id " in done.stdout
    own_stack.postgres.start()
    wait_until(lambda: gateway.metric("tidegate_policy_emergency") == 0, 60, "written")
    history = Admin(gateway).history()
    assert [v["name"] for v in history] == ["closed", "open"]
    gateway.process.stop()
    for words in (*CHANGES, ("emergency-close",)):
        done = gateway.ctl("policy", *words, "--reason", "t", check=False)
        assert done.returncode == 7 and str(gateway.socket) in done.stderr, (words, done)
