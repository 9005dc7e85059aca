"""tidectl from an operator's side: what it prints, its exit codes, what it leaves in the audit log."""
import json
import os
import pwd
import re
import shutil
import socket
import subprocess

import pytest

from tide.client import mainland_phone
from tide.process import wait_until
from tide.stack import APIKEY, ROOT, program, run


def ctl(pair, *words, code: int = 0):
    done = pair.gateways[0].ctl(*words, check=False)
    assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done


def ask(pair, *words) -> dict:
    return json.loads(ctl(pair, "-o", "json", *words).stdout)


# --- policy -------------------------------------------------------------------------------------------


def test_policy_set_get_history_rollback(pair):
    first = ask(pair, "policy", "get")
    done = ctl(pair, "policy", "set", "mainland-phone-only", "--reason", "attack 17")
    second = ask(pair, "policy", "get")
    assert done.stdout == f"policy set: version {second['version']}\n" and second["version"] > first["version"]
    assert second["version"] > first["version"]
    assert (second["name"], second["reason"]) == ("mainland-phone-only", "attack 17")
    done = ctl(pair, "policy", "rollback", str(first["version"]), "--reason", "over")
    third = ask(pair, "policy", "get")
    assert done.stdout == f"policy rolled back: version {third['version']}\n"
    assert third["version"] > second["version"] and third["name"] == first["name"]
    history = ask(pair, "policy", "history")["items"]
    assert [row["version"] for row in history[:3]] == [third["version"], second["version"], first["version"]]


def test_policy_that_is_no_longer_current_is_a_conflict(pair):
    version = ask(pair, "policy", "get")["version"]
    for verb in (("set", "closed", "--confirm=closed"), ("rollback", "1")):
        done = ctl(pair, "policy", *verb, "--reason", "t", "--if-version", str(version + 1), code=6)
        assert done.stdout == "" and done.stderr.startswith("tidectl: ")
    assert ask(pair, "policy", "get")["version"] == version
    ctl(pair, "policy", "set", "open", "--reason", "t", "--if-version", str(version))


def test_policy_acts_on_the_other_gateway_within_a_second(pair):
    other = pair.gateways[1]

    def seen() -> int:
        return other.get("/auth/v1/settings", headers={"apikey": APIKEY}).json()["signup"]["policy_version"]

    for preset in ("mainland-phone-only", "closed", "open"):
        version = ask(pair, "policy", "set", preset, "--confirm", preset, "--reason", "t")["version"]
        wait_until(lambda: seen() == version, 1.0, preset, every=0.02)


def test_policy_documents_by_file_and_by_standard_input(pair):
    document = {"name": "ours", "rules": [], "default": {"effect": "allow"}, "existing_users": "unaffected"}
    file = pair.folder / "policy.json"
    file.write_text(json.dumps(document))
    ctl(pair, "policy", "set", "-f", str(file), "--reason", "t")
    assert ask(pair, "policy", "get")["name"] == "ours"
    fed = subprocess.run([program("tidectl"), "--socket", pair.gateways[0].socket, "policy", "set", "-f", "-", "--reason", "t"],
                         input=json.dumps({**document, "name": "fed"}), text=True, capture_output=True, timeout=30)
    assert fed.returncode == 0, fed.stderr
    assert ask(pair, "policy", "get")["name"] == "fed"
    file.write_text('{"name":')
    assert f"{file}: JSON" in ctl(pair, "policy", "set", "-f", str(file), "--reason", "t", code=1).stderr
    ctl(pair, "policy", "set", "-f", str(pair.folder / "none.json"), "--reason", "t", code=1)
    ctl(pair, "policy", "set", "nonsense", "--reason", "t", code=1)
    assert ask(pair, "policy", "get")["name"] == "fed"
    ctl(pair, "policy", "set", "open", "--reason", "t")


def test_the_audit_log_names_who_sat_at_the_socket(pair):
    ctl(pair, "policy", "set", "closed", "--confirm=closed", "--reason", "by the one at the socket")
    mine = f"unix:{os.getuid()}({pwd.getpwuid(os.getuid()).pw_name})"
    newest = ask(pair, "get", "audit", "--limit", "1")["items"][0]
    assert (newest["actor"], newest["action"], newest["reason"]) == (mine, "policy.set", "by the one at the socket")
    assert ask(pair, "policy", "get")["actor"] == mine
    stored = pair.postgres.query("SELECT actor FROM audit ORDER BY id DESC LIMIT 1")
    assert stored == mine
    table = ctl(pair, "get", "audit", "--limit", "1").stdout
    assert mine in table and "by the one at the socket" in table
    ctl(pair, "policy", "set", "open", "--reason", "t")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
def test_another_user_is_refused_or_named(pair):
    gateway = pair.gateways[0]
    nobody = pwd.getpwnam("nobody")
    command = [program("tidectl"), "--socket", gateway.socket, "policy", "set", "open", "--reason", "as nobody"]

    def as_nobody():
        return subprocess.run(command, capture_output=True, text=True, timeout=30, user=nobody.pw_uid, group=nobody.pw_gid,
                              extra_groups=[], cwd="/")

    try:
        version = ask(pair, "policy", "get")["version"]
        done = as_nobody()
        if done.returncode not in (4, 126, 127):  # the program itself may stand where others cannot read
            raise AssertionError(f"{done.returncode} {done.stderr}")
    except PermissionError:
        pytest.skip("the programs stand where others cannot read")
    assert ask(pair, "policy", "get")["version"] == version
    gateway.socket.chmod(0o666)
    try:
        assert as_nobody().returncode == 0
    finally:
        gateway.socket.chmod(0o600)
    assert ask(pair, "get", "audit", "--limit", "1")["items"][0]["actor"] == f"unix:{nobody.pw_uid}(nobody)"


# --- get ----------------------------------------------------------------------------------------------


def rows(table: str) -> list[dict]:
    head, *body = [line.split() for line in table.splitlines()]
    return [dict(zip(head, line)) for line in body]


def test_workers_and_draining(pair):
    worker = ask(pair, "get", "workers")["items"]
    assert [w["name"] for w in worker] == ["w1"]
    shown = rows(ctl(pair, "get", "workers").stdout)
    assert shown[0]["NAME"] == "w1" and shown[0]["STATE"] == "ready" and shown[0]["TARGET"] == worker[0]["target"]
    assert {column for column, cell in shown[0].items() if cell == "-"} == {"OTHERS", "KV%"}  # it tells no load
    with pair.app() as app:
        app.sign_up()
        assert app.chat(model="m").status_code == 200
        assert ctl(pair, "drain", "worker", "w1", "--confirm=w1").stdout == "worker/w1 draining\n"
        assert rows(ctl(pair, "get", "workers").stdout)[0]["STATE"] == "draining"
        refused = app.chat(model="m")
        assert refused.status_code == 503 and refused.headers["retry-after"]
        with pair.app(pair.gateways[1]) as other:
            other.session = app.session
            assert other.chat(model="m").status_code == 200  # the other gateway was not asked
        assert ask(pair, "drain", "worker", "w1", "--undo")["draining"] is False
        wait_until(lambda: app.chat(model="m").status_code == 200, 10, "the worker is taken again")
    ctl(pair, "drain", "worker", "w2", code=5)


def test_a_drain_that_is_not_audited_is_told_when_its_client_has_gone(pair):
    gateway, reason = pair.gateways[0], "nobody waits for it"
    body = json.dumps({"drain": False, "reason": reason})
    with pair.postgres.holding("LOCK TABLE audit IN ACCESS EXCLUSIVE MODE"):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(gateway.socket))
            client.sendall(f"POST /admin/v1/workers/w1/drain HTTP/1.1\r\nhost: admin\r\ncontent-type: application/json\r\n"
                           f"content-length: {len(body)}\r\n\r\n{body}".encode())
            wait_until(lambda: reason in gateway.process.log.read_text(), 60, "it is carried out")
        wait_until(lambda: "drain not audited" in gateway.process.log.read_text(), 60, "it is told")


def test_limits(pair):
    names = {rule["name"] for rule in ask(pair, "get", "limits")["rules"]}
    assert {"otp_phone_minute", "chat_account"} <= names
    wait_until(lambda: ask(pair, "get", "limits")["gateways"] == 2, 10, "both gateways are counted")
    shown = {row["NAME"]: row for row in rows(ctl(pair, "get", "limits").stdout)}
    assert shown.keys() == names
    assert shown["chat_account"]["BY"] == "account" and int(shown["chat_account"]["ALLOWED"]) >= 0


def test_what_limits_are_is_shown_as_they_are_written(pair):
    """Sums of money too; and under the rules what is so for a while."""
    ctl(pair, "limits", "set", "otp_phone_minute", "9/2h", "--ttl", "1h", "--reason", "a slow day")
    try:
        wait_until(lambda: ask(pair, "get", "limits")["overrides"], 10, "it is in force")
        table, changed = ctl(pair, "get", "limits").stdout.split("\n\n")
        shown = {row["NAME"]: row for row in rows(table)}
        assert [shown[name]["LIMIT"] for name in ("otp_phone_minute", "sms_day", "sms_money_day", "chat_running")] == [
            "9/2h", "300000/1d", "5000/1d", "8"]
        assert shown["sms_money_day"]["BURST"] == "5000" and shown["sms_money_day"]["UNIT"] == "money"
        assert re.search(r"^otp_phone_minute +9/2h +\d+ +\S+ +a slow day$", changed, re.M)
        left = {row["RULE"]: row for row in rows(ctl(pair, "limits", "explain", "+8613800138000").stdout)}
        assert left["sms_money_day"]["LIMIT"] == "5000/1d" and float(left["sms_money_day"]["REMAINING"]) <= 5000
    finally:
        ctl(pair, "limits", "reset", "otp_phone_minute", "--reason", "over")
    refused = pair.gateways[0].ctl("limits", "top", "nothing", check=False)
    assert refused.returncode == 5 and "no rule nothing" in refused.stderr


def test_nobody_has_no_sessions_to_end(pair):
    nobody = "00000000-0000-4000-8000-000000000000"
    refused = pair.gateways[0].ctl("revoke", "user", nobody, "--reason", "stolen phone", check=False)
    assert refused.returncode == 5 and nobody in refused.stderr
    assert pair.postgres.query(f"SELECT count(*) FROM audit WHERE target = 'user/{nobody}'") == "0"


def test_users_are_found_and_masked(pair):
    phone = mainland_phone()
    with pair.app() as app:
        user = app.sign_up(phone)["user"]["id"]
        for words in (("--phone", phone), ("--phone", phone[3:]), ("--user", user)):
            found = ask(pair, "get", "users", *words)["items"]
            assert [u["id"] for u in found] == [user]
            assert found[0]["phone"].startswith("+86") and "*" in found[0]["phone"] and found[0]["sessions"] == 1
        table = ctl(pair, "get", "users", "--user", user).stdout
        assert user in table and phone[3:] not in table
        assert ask(pair, "get", "users", "--phone", mainland_phone())["items"] == []
        assert len(ask(pair, "get", "users", "--limit", "1")["items"]) == 1
        assert "number" in ctl(pair, "get", "users", "--phone", "12", code=1).stderr
        ctl(pair, "get", "users", "--user", "12", code=1)
        assert ask(pair, "revoke", "user", user, "--reason", "stolen phone")["revoked"] == 1
        wait_until(lambda: app.user().status_code in (401, 403), 1.5, "the session is over")
    assert ask(pair, "get", "audit", "--limit", "1")["items"][0]["target"] == f"user/{user}"


def test_incidents(pair):
    assert ask(pair, "get", "incidents")["items"] == []
    assert ctl(pair, "get", "incidents", "--open").stdout.startswith("ID ")
    pair.postgres.query("INSERT INTO status_incidents VALUES ('incident0001', 'probes', 'investigating', 'minor',"
                        " '{\"en\": \"Chat is slow\"}', '[]', now(), now())")
    open_now = ask(pair, "get", "incidents", "--open")["items"]
    assert [(i["id"], i["status"], i["name"]) for i in open_now] == [("incident0001", "investigating", "Chat is slow")]
    assert "Chat is slow" in ctl(pair, "get", "incidents").stdout
    pair.postgres.query("UPDATE status_incidents SET status = 'resolved', resolved_at = now() WHERE code = 'incident0001'")
    assert ask(pair, "get", "incidents", "--open")["items"] == []
    assert len(ask(pair, "get", "incidents")["items"]) == 1


# --- check, reload, exit codes --------------------------------------------------------------------------


def test_check_names_what_is_not_well(pair):
    ctl(pair, "check")
    answer = ask(pair, "check")
    assert answer["well"] and answer["ready"] and answer["checks"]["redis"] and answer["checks"]["certificate"]
    pair.redis.kill()
    try:
        wait_until(lambda: pair.gateways[0].ctl("check", check=False).returncode == 3, 10, "not well without Redis")
        shown = ctl(pair, "check", code=3).stdout
        assert "FAIL  redis" in shown and "ok    database" in shown
        assert json.loads(ctl(pair, "-o", "json", "check", code=3).stdout)["checks"]["redis"] is False
    finally:
        pair.redis.start()
    wait_until(lambda: pair.gateways[0].ctl("check", check=False).returncode == 0, 10, "well again")


def test_reload_by_socket(pair):
    gateway = pair.gateways[0]
    serial = ask(pair, "check")["config_serial"]
    assert ctl(pair, "reload").stdout == "configuration reloaded\n"
    assert ask(pair, "check")["config_serial"] > serial
    good = gateway.conf.read_text()
    gateway.conf.write_text(good + "bogus: 1\n")
    refused = ctl(pair, "reload", code=1)
    assert f"{gateway.conf.name}:{len(good.splitlines()) + 1}:" in refused.stderr and "bogus" in refused.stderr
    gateway.conf.write_text(good)


@pytest.mark.parametrize("words", [
    (), ("dance",), ("get",), ("get", "nothing"), ("check", "twice"), ("policy", "set", "open"), ("policy", "set", "--reason", "t"),
    ("policy", "set", "open", "-f", "x", "--reason", "t"), ("policy", "rollback", "--reason", "t"),
    ("policy", "rollback", "x", "--reason", "t"), ("policy", "rollback", "1"), ("drain", "worker"), ("-o", "wide", "check"),
    ("--bogus",), ("--if-version", "x", "check"), ("migrate", "now"), ("get", "users", "--limit", "many")])
def test_wrong_words_are_two(pair, words):
    done = ctl(pair, *words, code=2)
    assert done.stdout == "" and "tidectl" in done.stderr


def test_codes_of_what_is_not_there(pair):
    assert "99999" in ctl(pair, "policy", "get", "99999", code=5).stderr
    ctl(pair, "policy", "rollback", "99999", "--reason", "t", code=5)
    nowhere = pair.folder / "none.sock"
    done = run(program("tidectl"), "--socket", nowhere, "check", check=False)
    assert done.returncode == 7 and str(nowhere) in done.stderr
    assert run(program("tidectl"), "--socket", "/" + "x" * 200, "check", check=False).returncode == 2


def test_the_socket_comes_from_the_environment_too(pair):
    env = {**os.environ, "TIDEGATE_ADMIN_SOCKET": str(pair.gateways[1].socket)}
    done = subprocess.run([program("tidectl"), "-o", "json", "check"], capture_output=True, text=True, timeout=30, env=env)
    assert done.returncode == 0 and json.loads(done.stdout)["well"], done.stderr


def test_without_a_database_it_is_unreachable(pair):
    pair.postgres.kill()
    try:
        ctl(pair, "get", "users", code=7)
        ctl(pair, "policy", "set", "closed", "--confirm=closed", "--reason", "t", code=7)
        assert rows(ctl(pair, "get", "workers").stdout)[0]["NAME"] == "w1"
    finally:
        pair.postgres.start()
    wait_until(lambda: pair.gateways[0].ctl("get", "users", check=False).returncode == 0, 10, "back")
    assert ask(pair, "policy", "get")["name"] != "closed"


# --- migrate --------------------------------------------------------------------------------------------


def test_migrate_applies_once_and_refuses_what_was_changed(pair):
    pair.postgres.query("CREATE DATABASE empty")
    uri = pair.postgres.uri(database="empty")
    folder = pair.folder / "migrations"
    shutil.copytree(ROOT / "migrations", folder)

    def migrate(code: int = 0, **env):
        done = run(program("tidectl"), "migrate", "--database", uri, "--folder", folder, check=False, **env)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    first = migrate().stdout.splitlines()
    assert len(first) == len(list(folder.glob("*.sql"))) + 1 and first[-1].startswith("schema version ")
    assert migrate().stdout.splitlines() == first[-1:]
    some = sorted(folder.glob("*.sql"))[0]
    good = some.read_text()
    some.write_text(good + "-- changed\n")
    assert some.name in migrate(code=6).stderr
    some.write_text(good)
    number = f"{len(first):04}"
    broken = folder / f"{number}_broken.sql"
    broken.write_text("CREATE TABLE half (x int);\nSELECT nonsense;\n")
    assert number in migrate(code=1).stderr
    assert pair.postgres.query("SELECT to_regclass('half') IS NULL", database="empty") == "t"  # nothing half-done
    done = run(program("tidectl"), "migrate", "--database", "postgresql:///x?host=/nowhere", "--folder", folder, check=False)
    assert done.returncode == 7
