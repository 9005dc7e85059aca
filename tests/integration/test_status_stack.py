"""The status page over a real installation: its probes, PostgreSQL, and what it says when parts of it die."""
import json
import signal
from pathlib import Path

import pytest

from tide.fixtures import new_stack
from tide.stack import APIKEY, MODEL, Stack, program, run
from tide.status_page import StatusPage

ISSUER = "https://status.test"


def add_probe_issuer(stack: Stack, settings: dict) -> Path:
    """Keys of the probes' own issuer; the gateway lists it. Returns the key file."""
    keys = stack.folder / "probe-keys"
    keys.mkdir()
    run(program("tidectl"), "keys", "generate", keys)
    settings["issuers"] = [{"issuer": ISSUER, "audience": "authenticated", "keys": str(keys)}]
    return next(keys.glob("*.pem"))


def new_page(stack: Stack, key: Path, name: str = "status") -> StatusPage:
    page = StatusPage(stack.folder / name, stack.gateway.url, stack.ca, stack.cert, stack.key)
    page.settings["database"] = {"uri": stack.postgres.uri("tidegate_status"), "connect_timeout": "1s"}
    page.settings["probe"].update({
        "apikey": APIKEY, "token_key": str(key), "token_issuer": ISSUER, "token_audience": "authenticated",
        "metrics_url": f"http://127.0.0.1:{stack.gateway.metrics_port}/metrics", "interval": "500ms", "chat_interval": "1s"})
    return page


@pytest.fixture(scope="module")
def installation():
    with new_stack() as stack:
        stack.start_servers()
        stack.start_worker()
        settings = stack.settings()
        key = add_probe_issuer(stack, settings)
        stack.start_gateway(settings)
        yield stack, key


@pytest.fixture
def page(installation, request):
    stack, key = installation
    p = new_page(stack, key, request.node.name)
    p.start().wait_green(60)
    p.wait(lambda: p.status_of(MODEL) == "operational", 30, "the model is listed and answers")
    yield p
    p.stop()


def test_everything_real_is_green(page):
    names = [c["name"] for c in page.json("/api/v2/components.json")["components"]]
    assert names == ["Sign-up", "Log-in", "SMS verification", "Chat API", "Models", MODEL]
    assert page.indicator() == "none"


def test_a_dead_worker_opens_an_incident_and_its_return_resolves_it(installation, page):
    stack, _ = installation
    stack.workers[0].kill()
    page.wait(lambda: page.status_of(MODEL) == "major_outage", 30, "the model is down")
    incident = page.wait(page.unresolved, 20, "an incident opens")[0]
    assert incident["status"] == "investigating" and page.indicator() in ("major", "critical")
    page.wait(lambda: stack.postgres.query(f"SELECT status FROM status_incidents WHERE code = '{incident['id']}'")
              == "investigating", 10, "it is kept")
    shown = stack.gateway.ctl("get", "incidents", "-o", "json")
    assert incident["id"] in shown.stdout
    stack.start_worker(stack.worker_ports[0])
    page.wait(lambda: page.state_of(incident["id"]) == "resolved", 60, "it resolves")
    page.wait_green(30)
    page.wait(lambda: stack.postgres.query(f"SELECT status, resolved_at IS NOT NULL FROM status_incidents "
                                           f"WHERE code = '{incident['id']}'") == "resolved|t", 10, "it is kept")
    updates = stack.postgres.query(f"SELECT count(*) FROM status_incident_updates WHERE incident = '{incident['id']}'")
    shown = next(i for i in page.incidents() if i["id"] == incident["id"])
    assert int(updates) == len(shown["incident_updates"])


def test_a_policy_is_public_within_five_seconds(installation, page):
    stack, _ = installation
    stack.gateway.ctl("policy", "set", "mainland-phone-only", "--reason", "test")
    page.wait(lambda: "Sign-up: limited to mainland China phone numbers" in page.get("/en").text, 5, "the notice")
    text = page.get("/en").text
    assert "Existing users are unaffected" in text and page.indicator() == "minor"
    assert "注册：仅限中国大陆手机号" in page.get("/zh").text and "註冊：僅限中國大陸手機號碼" in page.get("/zh-hant").text
    notice = page.unresolved()[0]
    assert notice["status"] == "identified" and notice["impact"] == "minor"
    assert [c["name"] for c in notice["components"]] == ["Sign-up"]
    stack.gateway.ctl("policy", "set", "open", "--reason", "test over")
    page.wait(lambda: page.unresolved() == [], 5, "the notice ends")
    page.wait_green()


def test_the_attack_ladder_is_public_beside_the_policy(installation, page):
    stack, _ = installation
    stack.gateway.ctl("attack", "set", "A1", "--ttl", "1h", "--reason", "test")
    page.wait(lambda: "Protection against automated sign-ups: level 1 of 4" in page.get("/en").text, 30, "the notice")
    assert [[c["name"] for c in i["components"]] for i in page.unresolved()] == [["Sign-up"]]
    stack.gateway.ctl("attack", "set", "A4", "--ttl", "1h", "--confirm=A4", "--reason", "test")
    page.wait(lambda: len(page.unresolved()) == 2, 30, "the policy says so too")
    page.wait(lambda: "level 4 of 4" in page.get("/en").text, 30, "the next step")
    assert "第 4 级（共 4 级）" in page.get("/zh").text and "第 4 級（共 4 級）" in page.get("/zh-hant").text
    notice = next(i for i in page.unresolved() if "Protection" in i["name"])
    assert notice["impact"] == "minor" and {c["name"] for c in notice["components"]} == {"Sign-up", "Log-in"}
    assert "test" not in json.dumps(notice), "why is for the audit log"
    page.wait(lambda: stack.postgres.query("SELECT status FROM status_incidents WHERE origin = 'attack'") == "identified", 30, "it is kept")
    page.process.stop()
    page.process.start()
    page.wait(lambda: len(page.unresolved()) == 2, 30, "a restart shows the same two")
    stack.gateway.ctl("attack", "set", "A0", "--ttl", "1s", "--reason", "test over")
    page.wait(lambda: page.unresolved() == [], 30, "both end")
    updates = next(i for i in page.incidents() if i["id"] == notice["id"])["incident_updates"]
    assert [u["status"] for u in updates] == ["resolved", "identified", "identified"]
    page.wait_green()


def test_only_one_process_writes(installation, page):
    stack, key = installation
    other = new_page(stack, key, "second").start()
    try:
        other.wait_green(30)
        stack.workers[0].kill()
        ours = page.wait(page.unresolved, 30, "an incident opens")[0]["id"]
        other.wait(lambda: [i["id"] for i in other.unresolved()] == [ours], 15,
                   "the other process shows the same one")
        assert stack.postgres.query("SELECT count(*) FROM status_incidents WHERE origin = 'probes' "
                                    "AND resolved_at IS NULL") == "1"
        page.process.kill()
        stack.start_worker(stack.worker_ports[0])
        other.wait(lambda: other.state_of(ours) == "resolved", 60, "the other one takes over")
        other.wait(lambda: stack.postgres.query(f"SELECT status FROM status_incidents WHERE code = '{ours}'") == "resolved",
                   10, "and writes")
        page.process.start()
        page.wait(lambda: page.state_of(ours) == "resolved", 30, "and the first one reads it")
    finally:
        other.stop()
        if not stack.workers[0].is_alive():
            stack.start_worker(stack.worker_ports[0])


def test_without_postgres_without_gateway_and_without_both(installation, page):
    stack, _ = installation
    known = len(page.incidents())
    stack.postgres.kill()
    page.wait(lambda: page.indicator() != "none", 30, "not green without the database")
    page.wait(lambda: "Announcements and history may be incomplete" in page.get("/en").text, 20, "it says what is missing")
    assert "Data as of" in page.get("/en").text
    stack.gateway.process.kill()
    page.wait(lambda: page.indicator() == "critical", 30, "not green without both")
    page.wait(lambda: len(page.unresolved()) == 1, 20, "kept in memory")
    code = page.unresolved()[0]["id"]

    page.process.kill()
    page.process.start()
    page.wait(lambda: page.get("/en").status_code == 200, 15, "the page answers from its snapshot")
    assert page.indicator() != "none" and "Data as of" in page.get("/en").text
    assert page.unresolved()[0]["id"] == code

    stack.postgres.start()
    page.wait(lambda: stack.postgres.query(f"SELECT count(*) FROM status_incidents WHERE code = '{code}'") == "1", 20,
              "written when the database returns")
    stack.gateway.start()
    page.wait(lambda: page.state_of(code) == "resolved", 60, "it resolves")
    page.wait_green(30)
    assert known <= len(page.incidents()) <= known + 1


def test_uptime_survives_a_new_snapshot(installation, page):
    """The days come back from PostgreSQL when the snapshot is lost."""
    stack, _ = installation
    page.process.stop(number=signal.SIGTERM)
    page.snapshot.unlink()
    stack.postgres.query(
        "INSERT INTO status_components VALUES ('usxhe611vpz9', 'login', 'operational', now()) ON CONFLICT DO NOTHING; "
        "INSERT INTO status_uptime_days SELECT code, extract(epoch FROM now())::int / 86400 - 3, 86400, 0, 0, 8640 "
        "FROM status_components WHERE key = 'login' ON CONFLICT (component, day) DO UPDATE SET major = 8640")
    page.process.start()
    page.wait(lambda: any(d["major_outage_s"] == 8640 for c in page.json("/api/v2/uptime.json")["components"]
                          if c["name"] == "Log-in" for d in c["days"]), 20, "the day is back")
    assert "144 min" in page.get("/en").text


def test_an_old_schema_is_named_and_the_page_answers(installation):
    stack, key = installation
    stack.postgres.query("CREATE DATABASE empty")
    page = new_page(stack, key, "old-schema")
    page.settings["database"]["uri"] = stack.postgres.uri("tidegate_status", "empty")
    page.start()
    try:
        page.wait(lambda: "run tidectl migrate" in page.process.log.read_text(), 10, "it says what to do")
        page.wait(lambda: "Announcements and history may be incomplete" in page.get("/en").text, 20, "and the page says so")
        assert page.indicator() == "minor"
    finally:
        page.stop()
