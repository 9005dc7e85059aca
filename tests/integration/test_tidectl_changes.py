"""Every verb of tidectl that changes something: tried without effect, confirmed where it can hurt, refused without effect when
a name is unknown, a version stale or the database away; and every verb in every output form. Rows are lines a person would type."""
import json
import re
import shlex

import httpx
import pytest
import yaml

from tide.client import mainland_phone
from tide.process import wait_until
from tide.stack import program, run

TABLE = json.loads(run(program("tidectl"), "help", "-o", "json").stdout)
VERBS = {verb["verb"]: verb for verb in TABLE["verbs"]}
CLOSED = {"name": "shut", "existing_users": "unaffected", "rules": [],
          "default": {"effect": "deny", "reason": "signup_closed"}}

# What changes, each row by itself: {user} and {invite} are names that are there, {closed} a document that lets nobody in.
CHANGES = [
    "policy set mainland-phone-only --reason t", "policy set -f {closed} --force --reason t",
    "policy apply closed --for 1h --reason t", "policy rollback 1 --reason t",
    "policy schedule closed --at 2099-01-01T00:00:00Z --reason t", "policy schedule cancel {scheduled} --reason t",
    "policy emergency-close --reason t", "policy emergency-open --reason t",
    "policy ramp mainland-phone-only --reason t", "policy ramp pause --reason t", "policy ramp resume --reason t",
    "policy ramp abort --reason t",
    "invite create --count 3 --campaign beta --reason t", "invite revoke {invite} --reason t", "invite revoke --campaign wave --reason t",
    "waitlist release 1 --reason t", "attack set A2 --ttl 1h --reason t", "attack set A4 --ttl 1h --reason t", "attack auto --reason t",
    "ban add 203.0.113.0/24 AS64500 --reason t", "ban remove 198.51.100.7 --reason t", "ban import {list} --reason t",
    "limits set otp_phone_minute 9/1h --ttl 1h --reason t", "limits reset otp_phone_hour --reason t", "revoke user {user} --reason t",
    "revoke everybody --reason t", "ban user {user} --reason t", "ban user {user} --ttl 24h --reason t", "unban user {user} --reason t",
    "unlock number +8613800138000 --reason t",
    "sms unblock +861380013 --reason t", "sms unblock all --reason t",
    "drain worker w1 --reason t", "drain worker w1 --undo --reason t", "kill {request}", "reload", "upgrade"]

NOTHING_THERE = ("kill", "sms unblock", "policy emergency-open", "policy ramp pause", "policy ramp resume", "policy ramp abort")

# Names that nothing has, and versions that are not in force: the code to exit with, and a word of what is said.
UNKNOWN = [
    ("policy set none --reason t", 1, "preset"), ("policy set open --if-version 99999 --reason t", 6, "version"),
    ("policy apply -f {closed} --force --if-version 99999 --confirm=closed --reason t", 6, "version"),
    ("policy rollback 99999 --reason t", 5, "99999"), ("policy rollback 1 --if-version 99999 --reason t", 6, "version"),
    ("policy schedule none --at 2099-01-01T00:00:00Z --reason t", 1, "preset"),
    ("policy schedule open --at soon --reason t", 1, "at"), ("policy schedule cancel 99999 --reason t", 5, "99999"),
    ("policy schedule cancel x --reason t", 5, "x"), ("policy emergency-open --reason t", 6, "emergency"),
    ("policy emergency-close --id x --reason t", 1, "id"), ("invite create --count 99999999 --reason t", 1, "count"),
    ("invite revoke 3f0c8e1a-6a53-4a0e-9d5e-0f6f3a1f7f11 --reason t", 5, "invite"), ("invite revoke x --reason t", 1, "code"),
    ("waitlist release 99999999 --reason t", 1, "count"), ("waitlist release 1 --phone-country XYZ --reason t", 1, "phone_country"),
    ("waitlist release 1 --joined-before soon --reason t", 1, "joined_before"), ("waitlist release none --reason t", 2, "N is"),
    ("attack set A5 --ttl 1h --reason t", 1, "level"), ("attack set A1 --ttl 99d --reason t", 1, "ttl_s"),
    ("ban add nonsense --reason t", 1, "nonsense"), ("ban add 10.0.0.0/4 --reason t", 1, "confirm"),
    ("ban import {folder}/none.txt --reason t", 1, "none.txt"), ("limits set none 9/1h --ttl 1h --reason t", 5, "none"),
    ("limits set otp_phone_minute many --ttl 1h --reason t", 1, "limit"), ("limits reset none --reason t", 5, "none"),
    ("revoke user 3f0c8e1a --reason t", 1, "user"), ("ban user 3f0c8e1a --reason t", 1, "user"),
    ("ban user 3f0c8e1a-6a53-4a0e-9d5e-0f6f3a1f7f11 --reason t", 5, "user"), ("ban user {user} --until soon --reason t", 1, "until"),
    ("unban user 3f0c8e1a-6a53-4a0e-9d5e-0f6f3a1f7f11 --reason t", 5, "user"), ("unlock number 12 --reason t", 1, "phone"),
    ("sms unblock +86138 --reason t", 5, "not blocked"), ("sms unblock 86138 --reason t", 1, "prefix"), ("drain worker none --reason t", 5, "none"), ("kill none", 5, "request")]

# What can hurt, and the name that has to be said.
HARMS = [("policy set closed --reason t", "closed"), ("policy set -f {closed} --force --reason t", "closed"),
         ("policy apply closed --for 1h --reason t", "closed"), ("policy apply -f {closed} --force --reason t", "closed"),
         ("policy rollback {shut} --reason t", "closed"), ("policy schedule closed --at 2099-01-01T00:00:00Z --reason t", "closed"),
         ("policy schedule -f {closed} --force --at 2099-01-01T00:00:00Z --reason t", "closed"),
         ("attack set A3 --ttl 1h --reason t", "A3"), ("attack set A4 --ttl 1h --reason t", "A4"),
         ("invite revoke --campaign wave --reason t", "wave"), ("drain worker w1 --reason t", "w1"),
         ("revoke everybody --reason t", "everybody")]

LOOKS = [
    "check", "policy get", "policy history", "policy show", "policy lint", "policy lint {closed}", "policy schema", "policy diff {closed}",
    "policy replay mainland-phone-only", "policy simulate --phone +8613800138000", "policy schedule list", "policy ramp status",
    "get workers", "get limits",
    "limits top", "limits explain 203.0.113.7", "get users", "get users --banned", "get audit", "get incidents", "invite list", "invite show {invite}",
    "waitlist status", "get waitlist", "attack status", "attack history", "ban list", "ban test 203.0.113.7", "ban export", "sms top",
    "explain 203.0.113.7", "show requests", "trace sample", "trace {request}"]

STATE = """SELECT md5(string_agg(row::text, '|' ORDER BY row::text)) FROM (
    SELECT 'audit', count(*)::text, '' FROM audit UNION ALL SELECT 'notice', count(*)::text, '' FROM status_notices
    UNION ALL SELECT 'policy', max(version)::text, '' FROM policy_versions UNION ALL SELECT 'now', version::text, '' FROM policy_current
    UNION ALL SELECT 'pending', p::text, '' FROM policy_pending p UNION ALL SELECT 'ramp', r::text, '' FROM policy_ramps r
    UNION ALL SELECT 'emergency', e::text, '' FROM policy_emergencies e
    UNION ALL SELECT 'invite', i::text, '' FROM invites i UNION ALL SELECT 'inviter', i::text, '' FROM inviters i
    UNION ALL SELECT 'waits', id::text, state FROM waitlist
    UNION ALL SELECT 'ladder', level::text || is_manual, coalesce(until::text, '') || reason || version FROM attack_ladder
    UNION ALL SELECT 'ban', target, reason FROM bans UNION ALL SELECT 'limit', o::text, '' FROM limit_overrides o
    UNION ALL SELECT 'user', id::text, coalesce(banned_until::text, '') FROM users UNION ALL SELECT 'everybody', everybody::text, '' FROM versions
    UNION ALL SELECT 'session', id::text, coalesce(ended_at::text, '') FROM sessions) AS row"""


def ask(pair, line: str, *more, code: int | tuple = 0):
    done = pair.gateways[0].ctl(*shlex.split(line), *more, check=False)
    codes = code if isinstance(code, tuple) else (code,)
    assert done.returncode in codes, f"{line}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done


def read(pair, line: str) -> dict:
    return json.loads(ask(pair, line, "-o", "json").stdout)


@pytest.fixture(scope="module")
def names(pair):
    """What the rows speak of."""
    file, lines = pair.folder / "closed.json", pair.folder / "list.txt"
    file.write_text(json.dumps(CLOSED))
    lines.write_text("192.0.2.1\n192.0.2.0/30\n")
    with pair.app(pair.gateways[0]) as app:
        user = app.sign_up(mainland_phone())["user"]["id"]
        ask(pair, f"policy set -f {file} --force --confirm=closed --reason t")
        shut = read(pair, "policy get")["version"]
        ask(pair, "policy set waitlist --reason t")
        assert app.http.post("/auth/v1/waitlist", json={"phone": mainland_phone()}).status_code == 202
        ask(pair, "policy set open --reason t")
        invite = read(pair, "invite create --campaign wave --reason t")["items"][0]["id"]
        scheduled = read(pair, "policy schedule open --at 2099-01-01T00:00:00Z --reason t")["id"]
        ask(pair, "ban add 198.51.100.7 --reason t")
        ask(pair, "limits set otp_phone_hour 9/1h --ttl 1h --reason t")
        request = read(pair, "trace sample")["items"][0]["request_id"]
    return {"closed": file, "list": lines, "folder": pair.folder, "user": user, "shut": shut, "invite": invite, "scheduled": scheduled,
            "request": request}


def state(pair):
    gateway = pair.gateways[0]
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(gateway.socket)), base_url="http://admin/admin/v1", timeout=60) as http:
        workers = [w["state"] for w in http.get("/workers").json()["items"]]
        limits = [(o["rule"], o["limit"]) for o in http.get("/limits").json()["overrides"]]
        process = http.get("/check").json()
    return (pair.postgres.query(STATE), workers, limits, process["pid"], process["config_serial"],
            (gateway.folder / "state" / "emergency").exists(), [g.metric("tidegate_attack_level") for g in pair.gateways])


def test_the_rows_are_all_of_the_verbs():
    changes = {name for name, verb in VERBS.items() if verb["level"] in ("write", "admin")} - {"policy edit"}  # edit wants a terminal
    looks = {name for name, verb in VERBS.items() if verb["level"] == "read"}
    assert {name for name in changes if not any(line.startswith(name) for line in CHANGES)} == set()
    assert {name for name in looks if not any(line.startswith(name) for line in LOOKS)} == set()
    assert {name for name in changes if "dry-run" not in VERBS[name]["options"]} == set()


@pytest.mark.parametrize("line", CHANGES)
def test_a_trial_changes_nothing(pair, names, line):
    before = state(pair)
    done = ask(pair, line.format(**names), "--dry-run", code=(0, 5, 6))  # 5: the request has ended; 6: no emergency, no ramp
    assert (done.returncode == 0) == (not line.startswith(NOTHING_THERE)), done.stderr
    assert (done.stdout if done.returncode == 0 else done.stderr) and "Type" not in done.stderr
    if done.returncode == 0 and not line.startswith("policy s") and not line.startswith(("policy a", "policy r", "ban import")):
        assert "(dry run)" in done.stdout or line.startswith("policy schedule cancel"), done.stdout
    for form in ("json", "yaml", "name"):
        shown = ask(pair, line.format(**names), "--dry-run", "-o", form, code=(0, 5, 6)).stdout
        check_form(form, shown, done.returncode)
    assert state(pair) == before


def check_form(form: str, shown: str, code: int) -> None:
    if code not in (0, 1, 3):
        return
    if form == "name":
        assert all(re.fullmatch(r"[a-z]+(/\S.*)?", line) for line in shown.splitlines()), shown
    else:
        assert isinstance(json.loads(shown) if form == "json" else yaml.safe_load(shown), dict), shown


@pytest.mark.parametrize("line, code, said", UNKNOWN)
def test_what_is_unknown_or_stale_changes_nothing(pair, names, line, code, said):
    before = state(pair)
    for more in ((), ("--dry-run",)):
        if not (more and line.startswith("policy emergency-close")):
            done = ask(pair, line.format(**names), *more, code=code)
            assert done.stdout == "" and done.stderr.startswith("tidectl: ") and said in done.stderr, done.stderr
    assert state(pair) == before


@pytest.mark.parametrize("line, name", HARMS)
def test_what_can_hurt_is_confirmed(pair, names, line, name):
    before = state(pair)
    asked = ask(pair, line.format(**names), code=2)
    assert f"--confirm={name}" in asked.stderr and asked.stdout == ""
    assert "--confirm says other" in ask(pair, line.format(**names), "--confirm=other", code=2).stderr
    ask(pair, line.format(**names), "--confirm=other", "--dry-run")
    assert state(pair) == before


def test_what_is_confirmed_is_done(pair, names):
    """By a document that lets nobody in, at once and later; what lets somebody in is not asked about."""
    file = names["closed"]
    ask(pair, f"policy set -f {file} --force --confirm=closed --reason t")
    assert read(pair, "policy get")["state"] == "closed"
    ask(pair, "policy rollback 1 --reason t")
    ask(pair, f"policy rollback {names['shut']} --confirm=closed --reason t")
    assert read(pair, "policy get")["name"] == "shut"
    ask(pair, "policy set open --reason t")
    later = read(pair, "policy schedule closed --at 2099-01-01T00:00:00Z --confirm=closed --reason t")["id"]
    ask(pair, f"policy schedule cancel {later} --reason t")
    ask(pair, "invite create --campaign gone --reason t")
    assert read(pair, "invite revoke --campaign gone --confirm=gone --reason t") == {"revoked": 1}


@pytest.mark.parametrize("line", LOOKS)
def test_every_form(pair, names, line):
    line = line.format(**names)
    codes = (0, 1, 3, 5)
    table = ask(pair, line, code=codes)
    assert table.stdout or table.returncode == 5 or line == "ban export", line
    for form in ("json", "yaml", "name"):
        done = ask(pair, line, "-o", form, code=codes)
        assert done.returncode == table.returncode
        check_form(form, done.stdout, done.returncode)
    assert yaml.safe_load(ask(pair, line, "-o", "yaml", code=codes).stdout or "{}").keys() == \
        json.loads(ask(pair, line, "-o", "json", code=codes).stdout or "{}").keys()


def test_drains_are_on_record(pair, names):
    ask(pair, "drain worker w1 --confirm=w1", "--reason", "new weights")
    ask(pair, "drain worker w1 --undo", "--reason", "loaded")
    newest = read(pair, "get audit --limit 2")["items"]
    assert [(i["action"], i["target"], i["reason"]) for i in newest] == [
        ("worker.undrain", "worker/w1", "loaded"), ("worker.drain", "worker/w1", "new weights")]
    assert newest[0]["actor"].startswith("unix:") and newest[0]["detail"]["host"]
    wait_until(lambda: read(pair, "get workers")["items"][0]["state"] == "ready", 60, "the worker is taken again")


def test_the_ladders_history(pair, names):
    ask(pair, "attack set A1 --ttl 1h --reason 'first step'")
    ask(pair, "attack set A0 --ttl 1s --reason over")
    moves = [m for m in read(pair, "attack history --limit 10")["items"] if m["action"] == "attack.set"][:2]
    assert [(m["level"], m["before"], m["reason"]) for m in moves] == [("A0", "A1", "over"), ("A1", "A0", "first step")]
    assert all(m["actor"].startswith("unix:") and m["at"].endswith("Z") for m in moves)
    assert "first step" in ask(pair, "attack history").stdout and len(read(pair, "attack history -n 1")["items"]) == 1
    wait_until(lambda: read(pair, "attack status")["mode"] == "automatic", 60, "its time is over")


def test_a_newcomer_is_led_to_mainland_only_and_back(pair, names):
    """All that the first page says under "We are under attack", in its order, with nothing known but the page."""
    section = run(program("tidectl"), "--help").stdout.split("We are under attack\n")[1].split("\n\n")[0]
    lines = [shlex.split(line, comments=True)[1:] for line in section.splitlines() if line.startswith("  tidectl ")]
    stood = read(pair, "policy get")
    in_force = []
    for words in lines:
        if "VERSION" in words:
            shown = ask(pair, "policy history").stdout.splitlines()
            row = next(line.split() for line in shown[1:] if line.split()[1] == stood["name"])
            words = [row[0] if word == "VERSION" else word for word in words]
        done = pair.gateways[0].ctl(*words, check=False)
        assert done.returncode == 0, (words, done.stderr)
        in_force.append(read(pair, "policy get")["name"])
    assert "mainland-phone-only" in in_force and "closed" in in_force and in_force[-1] == stood["name"]
    assert [name for name, before in zip(in_force, in_force[:1] + in_force) if name != before] == [
        "mainland-phone-only", "closed", "mainland-phone-only", stood["name"]]


AWAY = {"policy emergency-close --reason t": 0, "policy emergency-open --reason t": 7, "kill {request}": 5, "reload": 0, "upgrade": 0,
        "drain worker w1 --reason t": 0, "drain worker w1 --undo --reason t": 0,
        "sms unblock +861380013 --reason t": 5, "sms unblock all --reason t": 5}


def test_changes_without_a_database(pair, names):
    """Tried and in earnest; what needs the database fails by its own code and has left nothing when it is back."""
    before = state(pair)
    pair.postgres.kill()
    try:
        wait_until(lambda: ask(pair, "check", code=(0, 3)).returncode == 3, 60, "the gateway knows")
        for line in CHANGES:
            wanted = AWAY.get(line, 7)
            if line.startswith("policy emergency") or line in ("reload", "upgrade"):
                done = ask(pair, line.format(**names), "--dry-run", code=wanted)
            elif line.startswith("drain"):
                done = ask(pair, line.format(**names), "--confirm=w1", code=0)
                assert "not in the audit log" in done.stderr
            else:
                done = ask(pair, line.format(**names), *confirmation(line), code=wanted)
            if wanted == 7:
                assert done.stdout == "" and re.search("database|PostgreSQL", done.stderr), done.stderr
    finally:
        pair.postgres.start()
    wait_until(lambda: ask(pair, "check", code=(0, 3)).returncode == 0, 60, "well again")
    assert state(pair) == before


def confirmation(line: str) -> list[str]:
    name = next((name for row, name in HARMS if row == line), None)
    return [f"--confirm={name}"] if name else []
