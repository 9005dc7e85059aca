"""The attack ladder through real gateways: by hand, by itself, over a fleet and a restart."""
import json
import threading

import pytest

from tide.client import mainland_phone
from tide.process import wait_until

QUICK = {"floor": 30, "hold": "1s", "worse": "2s", "halve": "1h", "calm": "2s", "window": "1s", "moves": 100,
         "a2_factor": 1000, "a3_factor": 2000}


def status(gateway) -> dict:
    return json.loads(gateway.ctl("attack", "status", "-o", "json").stdout)


def policy(gateway) -> str:
    return json.loads(gateway.ctl("policy", "get", "-o", "json").stdout)["name"]


def level(gateway) -> int:
    return int(gateway.metric("tidegate_attack_level"))


def wait_level(gateway, n: int) -> None:
    wait_until(lambda: level(gateway) == n, 60, f"{gateway.name} is at A{n}")


def actions(gateway) -> list:
    items = json.loads(gateway.ctl("get", "audit", "-o", "json", "--limit", "100").stdout)["items"]
    return [(i["action"], i["target"]) for i in reversed(items) if i["action"] in ("attack.set", "attack.move", "attack.auto")]


@pytest.fixture
def fleet(own_stack):
    own_stack.start_servers()

    def start(**attack):
        settings = own_stack.settings()
        settings["attack"] = {**QUICK, **attack}
        return own_stack.start_gateway(settings)
    return start


def test_by_hand(own_stack, fleet):
    first, second = fleet(automatic=False), fleet(automatic=False)
    old = own_stack.app(first)
    phone = mainland_phone()
    old.sign_up(phone)
    assert (status(first)["level"], policy(first)) == ("A0", "open")
    assert "is A2 for 3600 s" in first.ctl("attack", "set", "A2", "--ttl", "1h", "--reason", "pumping").stdout
    for gateway in (first, second):
        wait_level(gateway, 2)
    assert policy(second) == "mainland-phone-only"
    notices = own_stack.postgres.query("SELECT kind || ' ' || body::text FROM status_notices ORDER BY id DESC LIMIT 2")
    assert "attack_level" in notices and "signup_policy" in notices and "restricted" in notices
    # a new account wants proof of work, an old one signs in as ever
    refused = own_stack.app(second).ask_code(mainland_phone())
    assert refused.status_code == 400 and refused.json()["code"] == "captcha_failed", refused.text
    own_stack.resend_time_passes()
    assert own_stack.app(second).ask_code(phone, create_user=False).status_code == 200
    first.ctl("attack", "set", "A3", "--ttl", "1h", "--confirm=A3", "--reason", "worse")
    wait_level(second, 3)
    assert policy(first) == "closed"
    # a restart keeps it
    second.process.stop()
    second.start()
    wait_level(second, 3)
    # what an operator changes meanwhile stays
    first.ctl("policy", "rollback", "1", "--reason", "mine")
    first.ctl("attack", "set", "A0", "--ttl", "1h", "--reason", "over")
    wait_level(second, 0)
    assert policy(first) == "open"
    assert actions(first) == [("attack.set", "attack/A2"), ("attack.set", "attack/A3"), ("attack.set", "attack/A0")]
    for words, code, part in ((("set", "A5", "--ttl", "1h", "--reason", "r"), 1, "level"),
                              (("set", "A1", "--reason", "r"), 2, "--ttl"), (("set", "A1", "--ttl", "30d", "--reason", "r"), 1, "ttl_s"),
                              (("auto",), 2, "--reason")):
        bad = first.ctl("attack", *words, check=False)
        assert bad.returncode == code and part in bad.stderr, (words, bad)


def test_a_level_set_by_hand_ends_and_takes_its_policy_along(fleet):
    gateway = fleet(automatic=False)
    gateway.ctl("attack", "set", "A2", "--ttl", "3s", "--reason", "short")
    wait_until(lambda: policy(gateway) == "mainland-phone-only", 30, "the policy is in force")
    wait_until(lambda: policy(gateway) == "open", 30, "it is back")
    wait_level(gateway, 0)
    assert actions(gateway) == [("attack.set", "attack/A2"), ("attack.move", "attack/A0")]


def test_a_flood_moves_it_and_calm_lets_go(own_stack, fleet):
    """Two gateways, a flood of refused sign-ups at one of them; who has an account logs in all along."""
    first, second = fleet(), fleet()
    phone = mainland_phone()
    own_stack.app(first).sign_up(phone)
    first.ctl("policy", "set", "closed", "--confirm", "closed", "--reason", "every attempt is refused")
    wait_until(lambda: own_stack.app(first).ask_code(mainland_phone()).status_code == 403, 30, "it is closed")
    stop = threading.Event()
    logins, failures = [0], []

    def flood():
        with own_stack.app(first, http2=False) as app:
            while not stop.wait(0.02):  # some 40 a second, where 30 a minute are an attack
                app.ask_code(mainland_phone())

    def log_in():
        with own_stack.app(second) as app:
            while not stop.is_set():
                own_stack.resend_time_passes()
                seen = len(own_stack.outbox.messages(phone))
                asked = app.ask_code(phone, create_user=False)
                code = asked.status_code == 200 and own_stack.outbox.wait_for_code(phone, seen, 30)
                pending = "SELECT count(*) FROM otp_codes WHERE NOT is_live"  # sent, and not yet noted as sent
                wait_until(lambda: own_stack.postgres.query(pending).strip() == "0", 30, "the code counts")
                done = code and app.verify(phone, code)
                logins[0] += 1
                if not done or done.status_code != 200:
                    failures.append(asked.text)
                stop.wait(0.2)
    threads = [threading.Thread(target=flood), threading.Thread(target=log_in)]
    for t in threads:
        t.start()
    try:
        for gateway in (first, second):
            wait_until(lambda g=gateway: level(g) == 2, 60, "the flood has moved it")
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert logins[0] > 3 and not failures, (logins, failures)
    # A1 asks those who may make an account; an account's own log-in says that it does not
    assert policy(first) == "closed", "a stricter policy of somebody's own is not loosened"
    for gateway in (first, second):
        wait_level(gateway, 0)
    assert [t for _, t in actions(first)] == ["attack/A1", "attack/A2", "attack/A1", "attack/A0"]
