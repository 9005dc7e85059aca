"""The attack ladder through real gateways: by hand, by itself, over a fleet and a restart."""
import base64
import itertools
import json
import socket
import ssl
import threading

import altcha.v2 as altcha
import pytest

from tide.client import mainland_phone
from tide.process import free_port, wait_until

LOGINS, THREADS = 200, 4
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

    def start(rules=(), sms=None, listener=None, **attack):
        settings = own_stack.settings()
        if listener:
            settings["listeners"].append(listener)
            settings["http"] = {**settings.get("http", {}), "connections_per_address": 8}
        settings["attack"] = {**QUICK, **attack}
        settings["limits"]["rules"] += rules
        settings["sms"] = sms or {}
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


def test_what_lets_in_only_some_is_not_loosened(fleet):
    """A2 would let in every mainland phone; A3 closes, and from there it comes back as it was."""
    gateway = fleet(automatic=False)

    def move(to: str) -> str:
        gateway.ctl("attack", "set", to, "--ttl", "1h", f"--confirm={to}", "--reason", "a flood")
        return policy(gateway)

    def version() -> int:
        return json.loads(gateway.ctl("policy", "get", "-o", "json").stdout)["version"]

    for own in ("mainland-phone-only", "waitlist", "invite-only"):
        gateway.ctl("policy", "set", own, "--reason", "mine")
        before = version()
        assert (move("A2"), version()) == (own, before)
        assert [move(to) for to in ("A3", "A2", "A4", "A2", "A0")] == ["closed", own, "closed", own, own]
    # over what is open for a time, A2 would last as long as the attack does
    gateway.ctl("policy", "apply", "open", "--for", "1h", "--reason", "a campaign")
    assert [move(to) for to in ("A2", "A3", "A2")] == ["open", "closed", "invite-only"]


def emergency(gateway, verb: str) -> str:
    gateway.ctl("policy", f"emergency-{verb}", "--reason", "more of them")
    return policy(gateway)


def test_an_emergency_is_opened_to_the_ladders_policy(own_stack, fleet):
    """The ladder still says A2 then; and what it put in force still goes back when the attack is over."""
    gateway = fleet(automatic=False)
    for is_over_meanwhile in (False, True):
        gateway.ctl("attack", "set", "A2", "--ttl", "1h", "--reason", "a flood")
        assert policy(gateway) == "mainland-phone-only"
        for _ in range(2):  # it stays the ladder's, however often
            assert emergency(gateway, "close") == "closed"
            gateway.ctl("attack", "set", "A2", "--ttl", "2h", "--reason", "still")
            assert policy(gateway) == "closed"
            assert emergency(gateway, "open") == "mainland-phone-only"
        if is_over_meanwhile:
            assert emergency(gateway, "close") == "closed"
        gateway.ctl("attack", "set", "A0", "--ttl", "1h", "--reason", "over")
        if is_over_meanwhile:
            assert policy(gateway) == "closed" and emergency(gateway, "open") == "open"
        assert policy(gateway) == "open"
        assert own_stack.postgres.query("SELECT count(*) FROM policy_pending") == "0"


def test_after_an_emergency_the_level_is_in_force(own_stack, fleet):
    """What it wanted of sign-up meanwhile; but nothing when it did not move, and an operator had opened."""
    gateway = fleet(automatic=False)

    def move(to: str) -> None:
        gateway.ctl("attack", "set", to, "--ttl", "1h", "--reason", "a flood", "--confirm", to)

    def reopen() -> dict:
        return json.loads(gateway.ctl("policy", "emergency-open", "--reason", "better", "-o", "json").stdout)

    def in_force() -> tuple[str, int]:
        now = json.loads(gateway.ctl("policy", "get", "-o", "json").stdout)
        assert status(gateway)["policy_version"] == now["version"], "attack status tells the policy in force"
        return now["name"], now["version"]

    def dry_run_says() -> str:
        return gateway.ctl("policy", "emergency-open", "--reason", "better", "--dry-run").stdout

    for begin, then in (("A2", "A3"), ("A1", "A4")):
        move(begin)
        before = in_force()
        assert emergency(gateway, "close") == "closed"
        move(then)
        assert "still closed, by the attack ladder" in dry_run_says() and in_force()[1] == before[1] + 1
        done = reopen()
        assert done["state"] == "closed" and in_force() == ("closed", done["version"])
        move("A2")
        assert in_force()[0] == "mainland-phone-only", "it is the ladder's to take back"
        move("A0")
        assert in_force()[0] == "open" and own_stack.postgres.query("SELECT count(*) FROM policy_pending") == "0"

    move("A3")
    gateway.ctl("policy", "set", "open", "--reason", "we know better")
    assert emergency(gateway, "close") == "closed"
    assert reopen()["state"] == "open" and in_force()[0] == "open"


def test_what_closes_at_the_same_moment_stands(own_stack, fleet):
    """Closed between the ladder's look at the policy and its own change of it."""
    gateway = fleet(automatic=False)
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%policy_change(%'"
    close = ("SELECT policy_change('closed', v.state, v.document, v.notice, 'mine', 'me', '', 0, 'policy.set', NULL) FROM"
             " (SELECT 'closed' AS state, '{\"name\":\"closed\",\"rules\":[],\"default\":{\"effect\":\"deny\","
             "\"reason\":\"signup_closed\"},\"existing_users\":\"unaffected\"}'::json AS document, '{}'::jsonb AS notice) v")
    answers = []
    with own_stack.postgres.holding(f"DO $$ BEGIN PERFORM * FROM ({close}) c; END $$", end="COMMIT"):
        ask = threading.Thread(target=lambda: answers.append(
            gateway.ctl("attack", "set", "A2", "--ttl", "1h", "--reason", "a flood", check=False)))
        ask.start()
        wait_until(lambda: own_stack.postgres.query(waiting) == "1", 30, "the ladder has looked and waits")
    ask.join()
    assert answers[0].returncode != 0 and "is in force, not" in answers[0].stderr, answers
    assert (policy(gateway), status(gateway)["level"]) == ("closed", "A0")
    gateway.ctl("attack", "set", "A2", "--ttl", "1h", "--reason", "again")
    assert (policy(gateway), status(gateway)["level"]) == ("closed", "A2")


def logins(gateways, step: str, result: str, levels=range(5)) -> int:
    return int(sum(g.metric(f'tidegate_auth_logins_total{{level="A{n}",step="{step}",result="{result}"}}') for g in gateways for n in levels))


def test_a_flood_moves_it_and_calm_lets_go(own_stack, fleet):
    """Two gateways, a flood of sign-ups for the waiting list at one of them; those who have an account log in all along."""
    first, second = fleet(refused_percent=10), fleet(refused_percent=10)  # good log-ins are attempts as well
    phones = [mainland_phone() for _ in range(LOGINS // 5)]
    with own_stack.app(first) as app:
        for phone in phones:
            app.sign_up(phone)
    first.ctl("policy", "set", "waitlist", "--reason", "every attempt is refused")
    wait_until(lambda: own_stack.app(first).ask_code(mainland_phone()).status_code == 403, 30, "it is in force")
    calm, over = threading.Event(), threading.Event()
    done, failures = itertools.count(), []

    def flood():
        with own_stack.app(first, http2=False) as app:
            while not calm.wait(0.02):  # some 40 a second, where 30 a minute are an attack
                app.ask_code(mainland_phone())

    def log_in(app, phone: str) -> None:
        seen = len(own_stack.outbox.messages(phone))
        asked = app.ask_code(phone, create_user=False)
        code = asked.status_code == 200 and own_stack.wait_for_code(phone, seen)
        answer = app.verify(phone, code) if code else asked
        if answer.status_code != 200 or answer.json()["is_new_user"]:
            failures.append(answer.text)

    def users(mine: list):
        """Each of these again and again, until all have logged in often enough."""
        with own_stack.app(second) as app:
            while not over.is_set():
                own_stack.resend_time_passes()
                for phone in mine:
                    log_in(app, phone)
                    next(done)
    ours = [threading.Thread(target=flood)]
    ours += [threading.Thread(target=users, args=(phones[i::THREADS],)) for i in range(THREADS)]
    for t in ours:
        t.start()
    try:
        for gateway in (first, second):
            wait_until(lambda g=gateway: level(g) == 2, 60, "the flood has moved it")
        wait_until(lambda: logins([second], "verify", "ok", range(1, 5)) >= LOGINS, 120, "log-ins while it is up")
    finally:
        calm.set()
        over.set()
        for t in ours:
            t.join()
    tried = next(done)
    assert not failures and tried >= LOGINS, (tried, failures[:3])
    # counted as they went: not one was refused or failed, whatever the level
    assert logins([second], "verify", "ok") == tried == logins([second], "code", "ok")
    assert [logins([first, second], step, r) for step in ("code", "verify") for r in ("wrong", "refused", "failed")] == [0] * 6
    assert logins([first], "verify", "ok") == 0, "accounts that were made are no log-ins"
    # A1 asks those who may make an account; an account's own log-in says that it does not
    assert policy(first) == "waitlist", "a stricter policy of somebody's own is not loosened"
    for gateway in (first, second):
        wait_level(gateway, 0)
    assert [t for _, t in actions(first)] == ["attack/A1", "attack/A2", "attack/A1", "attack/A0"]


def with_work(app, gateway) -> dict:
    """What a client sends that has solved a challenge."""
    challenge = altcha.Challenge.from_dict(app.http.get("/auth/v1/challenge", params={"for": "otp"}).json())
    payload = altcha.Payload(challenge, altcha.solve_challenge(challenge)).to_dict()
    return {"gotrue_meta_security": {"captcha_token": base64.b64encode(json.dumps(payload).encode()).decode()}}


def test_from_a1_on_sign_ups_have_half_of_the_budgets_of_codes(own_stack, fleet):
    """Ten messages a day: at A1 each code for a new account counts as two of them, one to log in with as one."""
    rule = {"name": "sms_day", "by": "all", "at": "sms", "limit": "10/1d", "on_error": "closed", "role": "ledger"}
    gateway = fleet(rules=[rule], sms={"login_reserve": 0}, automatic=False)

    def left() -> tuple:
        row = next(b for b in json.loads(gateway.ctl("sms", "top", "-o", "json").stdout)["budgets"] if b["rule"] == "sms_day")
        return row["signup_remaining"], row["remaining"]

    phone, app = mainland_phone(), own_stack.app(gateway)
    assert left() == (10, 10)
    app.sign_up(phone)
    assert left() == (9, 9)
    gateway.ctl("attack", "set", "A1", "--ttl", "1h", "--reason", "a flood")
    wait_level(gateway, 1)
    assert left() == (4, 9)
    assert app.ask_code(mainland_phone(), **with_work(app, gateway)).status_code == 200
    assert left() == (3, 7)
    own_stack.resend_time_passes()
    assert app.ask_code(phone, create_user=False).status_code == 200
    assert left() == (3, 6)
    gateway.ctl("attack", "set", "A0", "--ttl", "1h", "--reason", "over")
    wait_level(gateway, 0)
    assert left() == (6, 6)
    assert app.ask_code(mainland_phone()).status_code == 200 and left() == (5, 5)


def test_the_highest_level_hardens_log_in(own_stack, fleet):
    gateway = fleet(automatic=False)
    phone, app = mainland_phone(), own_stack.app(gateway)
    app.sign_up(phone)
    gateway.ctl("attack", "set", "A4", "--ttl", "1h", "--confirm=A4", "--reason", "stuffing")
    wait_level(gateway, 4)
    assert status(gateway)["policy"] == policy(gateway) == "closed"
    own_stack.resend_time_passes()
    seen = len(own_stack.outbox.messages(phone))
    refused = app.ask_code(phone, create_user=False)
    assert (refused.status_code, refused.json()["code"]) == (400, "captcha_failed") and refused.json()["challenge"], refused.text
    assert len(own_stack.outbox.messages(phone)) == seen
    asked = app.ask_code(phone, create_user=False, **with_work(app, gateway))
    assert asked.status_code == 200, asked.text
    verified = app.verify(phone, own_stack.wait_for_code(phone, seen))
    assert verified.status_code == 200, verified.text
    # who is in stays in, and nobody new comes, work or not
    assert app.refresh().status_code == 200
    new = app.ask_code(mainland_phone(), **with_work(app, gateway))
    assert (new.status_code, new.json()["code"]) == (403, "signup_closed"), new.text
    assert logins([gateway], "code", "refused", [4]) == 1 and logins([gateway], "code", "ok", [4]) == 1
    assert logins([gateway], "verify", "ok", [4]) == 1
    gateway.ctl("attack", "set", "A0", "--ttl", "1h", "--reason", "over")
    wait_level(gateway, 0)
    own_stack.resend_time_passes()
    assert app.ask_code(phone, create_user=False).status_code == 200 and policy(gateway) == "open"


def test_the_highest_level_leaves_an_address_a_quarter_of_its_connections(own_stack, fleet):
    """Eight an address: two at A4. What is open stays open, and the other six come back with the level."""
    port = free_port()
    gateway = fleet(listener={"address": f"127.0.0.1:{port}", "proxy_protocol": True, "proxy_protocol_from": ["127.0.0.1/32"]},
                    automatic=False)
    context = ssl.create_default_context(cafile=str(own_stack.ca))
    held = []

    def hold(address: str) -> bool:
        s = socket.create_connection(("127.0.0.1", port), 30)
        s.sendall(f"PROXY TCP4 {address} 10.0.0.1 4711 443\r\n".encode())
        try:
            held.append(context.wrap_socket(s, server_hostname="localhost"))
        except (ConnectionError, ssl.SSLError):
            s.close()
            return False
        return lives(held[-1])

    def lives(s) -> bool:
        s.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return s.recv(4096).startswith(b"HTTP/1.1 200 ")

    try:
        assert [hold("192.0.2.1") for _ in range(9)] == [True] * 8 + [False]
        assert status(gateway)["connections_percent"] == 100
        gateway.ctl("attack", "set", "A4", "--ttl", "1h", "--confirm=A4", "--reason", "stuffing")
        wait_level(gateway, 4)
        assert [hold("192.0.2.2") for _ in range(3)] == [True, True, False]
        assert all(lives(s) for s in held), "nobody is cut off"
        shown = status(gateway)
        assert (shown["connections_percent"], shown["signup_sms_percent"]) == (25, 50)
        assert gateway.metric('tidegate_http_connections_refused_total{reason="connections_per_addr"}') == 2
        gateway.ctl("attack", "set", "A0", "--ttl", "1h", "--reason", "over")
        wait_level(gateway, 0)
        assert [hold("192.0.2.2") for _ in range(7)] == [True] * 6 + [False]
    finally:
        for s in held:
            s.close()


def test_a_restart_without_the_database_keeps_the_level(own_stack, fleet):
    gateway = fleet(automatic=False)
    phone, kept = mainland_phone(), gateway.folder / "state" / "attack"
    own_stack.app(gateway).sign_up(phone)
    in_the_way = kept.with_name("attack.new")
    in_the_way.mkdir()
    gateway.ctl("attack", "set", "A4", "--ttl", "1h", "--confirm=A4", "--reason", "stuffing")
    wait_level(gateway, 4)
    assert "is not kept" in gateway.process.log.read_text() and not kept.exists()
    in_the_way.rmdir()
    wait_until(kept.exists, 60, "it is tried again")
    assert kept.read_text() == "tidegate attack A4\n"
    own_stack.postgres.kill()
    gateway.process.stop()
    gateway.start(ready=False)
    wait_until(lambda: level(gateway) == 4, 60, "it begins where it stood")
    for create_user in (True, False):
        refused = own_stack.app(gateway).ask_code(phone, create_user=create_user)
        assert (refused.status_code, refused.json()["code"]) == (400, "captcha_failed"), refused.text
    own_stack.postgres.start()
    wait_until(lambda: gateway.ctl("attack", "set", "A0", "--ttl", "1h", "--reason", "over", check=False).returncode == 0, 60, "it is back")
    wait_level(gateway, 0)
    assert kept.read_text() == "tidegate attack A0\n"
    # a file that is something else is told, and begins at A0
    gateway.process.stop()
    kept.write_text("A9")
    gateway.start()
    assert level(gateway) == 0 and "is not the level of an attack ladder" in gateway.process.log.read_text()
    wait_until(lambda: kept.read_text() == "tidegate attack A0\n", 60, "it is written anew")


def test_a_level_of_no_effect_ends_too(fleet):
    """A0 by hand holds the ladder down for a time; then it moves by itself again."""
    gateway = fleet(automatic=False)
    gateway.ctl("attack", "set", "A0", "--ttl", "1s", "--reason", "a campaign, no attack")
    wait_until(lambda: status(gateway)["mode"] == "automatic", 60, "its time is over")
    assert actions(gateway) == [("attack.set", "attack/A0"), ("attack.move", "attack/A0")]
