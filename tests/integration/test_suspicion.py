"""Suspicion: every signal adds its weight, the sum decides, and an operator sees each part of it."""
import json
import re

import pytest

from test_challenge import encode, refused, solve
from tide import mmdb
from tide.client import code_of, mainland_phone
from tide.fixtures import new_stack
from tide.process import wait_until

# Each signal a power of ten: a score tells which of them spoke.
WEIGHTS = {"ja4_accounts": 1, "prefix_heat": 10, "failure_ratio": 100, "velocity": 1000, "honeypot": 0}
QUIET = {"challenge_at": 9000, "hard_at": 9000, "deny_at": 9000, "ja4_numbers": 1000, "prefix_requests": 1000,
         "failure_requests": 1000, "velocity_requests": 1000, "window": "1h", "velocity_window": "1h", "prefix_window": "1h"}


def start(stack, weights=None, limits=None, geography=None, **suspicion):
    """A gateway of its own numbers; addresses come as X-Forwarded-For."""
    settings = stack.settings()
    if geography:
        settings["geography"] = geography
    settings["trusted_proxies"] = ["127.0.0.1/32"]
    settings["challenge"] = {"work": 1000, "hard_work": 1000}
    settings["suspicion"] = {**QUIET, "mode": "enforce", **suspicion, "weights": {**WEIGHTS, **(weights or {})}}
    settings["limits"]["rules"] = [{**rule, **(limits or {})} for rule in settings["limits"]["rules"]]
    return stack.start_gateway(settings)


@pytest.fixture(scope="module")
def servers():
    with new_stack() as s:
        yield s.start_servers()


@pytest.fixture
def made(servers):
    """Makes gateways on shared servers; nothing is counted yet, and they end with the test."""
    servers.redis.command("FLUSHALL")
    gateways = []

    def make(**settings):
        gateways.append(start(servers, **settings))
        return gateways[-1]
    yield make
    for gateway in gateways:
        assert gateway.process.stop() == 0


def ask(app, address, phone=None, **more):
    return app.http.post("/auth/v1/otp", json={"phone": phone or mainland_phone(), **more},
                         headers={"x-forwarded-for": address})


def explain(gateway, key) -> dict:
    return json.loads(gateway.ctl("explain", key, "-o", "json").stdout)


def attempt(gateway, answer) -> dict:
    """The kept decision; the row comes in a job of its own. Its parts add up, always."""
    key = answer.headers["x-request-id"]
    wait_until(lambda: gateway.ctl("explain", key, check=False).returncode == 0, 30, "the decision is kept")
    kept = explain(gateway, key)
    assert kept["score"] == sum(part["points"] for part in kept["signals"])
    return kept


def parts(kept) -> dict:
    return {part["signal"]: part["points"] for part in kept["signals"]}


@pytest.fixture(scope="module")
def first_numbers():
    """Prefixes of numbers that nobody else has: +86 130xxxx."""
    return iter(range(1300000, 1309999))


# --- signals ------------------------------------------------------------------------------------------


def test_each_signal_adds_its_weight(servers, made, first_numbers):
    g = made(ja4_numbers=2, prefix_requests=2, failure_requests=2, velocity_requests=2)
    with servers.app(g) as app:
        same_prefix = next(first_numbers)

        def once(address, prefix=None):
            number = f"+86{prefix or next(first_numbers)}{ask_count[0]:04d}"
            ask_count[0] += 1
            return parts(attempt(g, ask(app, address, number)))
        ask_count = [0]
        assert once("198.51.100.1") == {}
        # one address: velocity with the third; so are its network's codes unused, and its kind of client's numbers many
        assert once("198.51.100.1") == {}
        assert once("198.51.100.1") == {"velocity": 1000, "failure_ratio": 100, "ja4_accounts": 1}
        # another address of that network is as quick as others, but of that network
        assert once("198.51.100.2") == {"failure_ratio": 100, "ja4_accounts": 1}
        # another network has nothing to do with it
        assert once("198.51.101.1") == {}
        # numbers of one prefix, from a network each
        for i in range(3):
            kept = once(f"203.0.{i}.1", same_prefix)
        assert kept == {"prefix_heat": 10}
        assert once("203.0.9.1") == {}
    assert g.metric('tidegate_suspicion_signals_total{signal="velocity"}') == 1


def test_codes_that_are_used_speak_for_a_network(servers, made):
    g = made(failure_requests=2, failure_percent=50)
    with servers.app(g) as app:
        app.http.headers["x-forwarded-for"] = "198.51.100.1"
        for _ in range(4):
            app.sign_up()
        assert parts(attempt(g, ask(app, "198.51.100.7"))) == {}
        wait_until(lambda: explain(g, "198.51.100.7")["counts"]["network_verified"] == 4, 30, "the last one is counted")
        counts = explain(g, "198.51.100.7")["counts"]
        assert (counts["network"], counts["network_verified"]) == (5, 4)


def test_traps(servers, made):
    g = made(weights={"honeypot": 7}, trap_field="fax")
    with servers.app(g) as app:
        filled = ask(app, "198.51.100.1", data={"fax": "12345", "name": "x"})
        assert parts(attempt(g, filled)) == {"honeypot": 7}
        for data in ({}, {"fax": ""}, {"fax": None}, {"name": "x"}):
            assert parts(attempt(g, ask(app, "198.51.100.1", data=data))) == {}
        for path in ("/wp-login.php", "/phpmyadmin/index.php"):
            address = f"198.51.100.{len(path)}"
            assert app.http.get(path, headers={"x-forwarded-for": address}).status_code == 404
            wait_until(lambda: explain(g, address)["counts"]["trapped"], 30, "the step is noted")
            assert parts(attempt(g, ask(app, address))) == {"honeypot": 7}
        for path, more in (("/wp-login.phpx", {}), ("/wp-login.php", {"sec-fetch-site": "cross-site"})):
            assert app.http.get(path, headers={"x-forwarded-for": "198.51.100.77", **more}).status_code == 404
        assert parts(attempt(g, ask(app, "198.51.100.77"))) == {}


def test_addresses_of_data_centres(servers, made):
    systems = {"203.0.113.0/24": mmdb.system(16509), "192.0.2.0/24": mmdb.system(4134)}
    file = mmdb.write(servers.folder / "hosting.mmdb", systems)
    g = made(weights={"hosting_asn": 5}, geography={"asn": str(file)})
    with servers.app(g) as app:
        kept = attempt(g, ask(app, "203.0.113.9"))
        assert kept["signals"] == [{"signal": "hosting_asn", "points": 5, "seen": 16509}]
        assert parts(attempt(g, ask(app, "192.0.2.9"))) == {}
    assert parts(explain(g, "203.0.113.77")) == {"hosting_asn": 5}
    assert explain(g, "192.0.2.77")["asn"] == 4134


def test_the_fleet_counts_together(servers, made):
    first, second = made(velocity_requests=3), made(velocity_requests=3)
    with servers.app(first) as a, servers.app(second) as b:
        for app in (a, b, a):
            ask(app, "198.51.100.1")
        assert parts(attempt(second, ask(b, "198.51.100.1"))) == {"velocity": 1000}


# --- what follows -------------------------------------------------------------------------------------


def test_thresholds_ask_for_work_and_refuse(servers, made):
    g = made(weights={"velocity": 30, "failure_ratio": 30, "ja4_accounts": 40}, challenge_at=30,
             hard_at=60, deny_at=100, velocity_requests=1, failure_requests=2, ja4_numbers=3)
    with servers.app(g) as app:
        assert ask(app, "198.51.100.1").status_code == 200
        answer = ask(app, "198.51.100.1")
        assert refused(answer) == "missing" and answer.json()["level"] == "pow"
        assert attempt(g, answer)["outcome"] == "challenge"
        answer = ask(app, "198.51.100.1")
        assert refused(answer) == "missing" and answer.json()["level"] == "pow_hard"
        answer = ask(app, "198.51.100.1")
        assert (answer.status_code, code_of(answer)) == (429, "abnormal_usage")
        assert int(answer.headers["retry-after"]) >= 600
        kept = attempt(g, answer)
        assert (kept["outcome"], kept["verdict"], kept["score"], kept["blind"]) == ("deny", "deny", 100, False)
        assert (kept["policy_rule"], kept["may_create"], kept["known"]) == ("default", True, False)
        # who only signs in is never refused, but works for it; others are as before
        answer = ask(app, "198.51.100.1", create_user=False)
        assert refused(answer) == "missing" and answer.json()["level"] == "pow_hard"
        token = encode(solve(answer.json()["challenge"]))
        signed = ask(app, "198.51.100.1", create_user=False, gotrue_meta_security={"captcha_token": token})
        assert signed.status_code == 200 and attempt(g, signed)["outcome"] == "allow"
        assert ask(app, "192.0.2.1").status_code == 200


def test_observing_only_looks(servers, made):
    g = made(mode="observe", weights={"velocity": 100}, challenge_at=30, hard_at=60, deny_at=100, velocity_requests=1)
    with servers.app(g) as app:
        answers = [ask(app, "198.51.100.1") for _ in range(3)]
        assert [a.status_code for a in answers] == [200] * 3
        kept = attempt(g, answers[2])
        assert (kept["outcome"], kept["verdict"], parts(kept)) == ("allow", "deny", {"velocity": 100})


def test_off_counts_nothing(servers, made):
    g = made(mode="off", weights={"velocity": 100}, velocity_requests=1)
    with servers.app(g) as app:
        answers = [ask(app, "198.51.100.1") for _ in range(3)]
    assert [a.status_code for a in answers] == [200] * 3
    assert servers.redis.command("KEYS", "su:*") == ""
    assert g.metric('tidegate_suspicion_verdicts_total{verdict="allow"}') == 0
    assert g.ctl("explain", answers[2].headers["x-request-id"], check=False).returncode == 5


def test_without_redis_signals_drop_out_and_nobody_is_denied(own_stack):
    s = own_stack.start_servers()
    g = start(s, weights={"velocity": 100, "honeypot": 100}, challenge_at=100, hard_at=100, deny_at=100, velocity_requests=1,
              limits={"on_error": "local"})
    with s.app() as app:
        [ask(app, "198.51.100.1") for _ in range(2)]
        assert code_of(ask(app, "198.51.100.1")) == "abnormal_usage"
        s.redis.stop()
        answer = ask(app, "198.51.100.1")
        assert answer.status_code == 503  # not by its score: no code goes out that cannot be accounted for
        kept = attempt(g, answer)
        assert (kept["score"], kept["blind"], kept["signals"]) == (0, True, [])
        trapped = ask(app, "198.51.100.1", data={"website": "x"})  # what needs no Redis still asks for work
        assert refused(trapped) == "missing" and attempt(g, trapped)["verdict"] == "challenge_hard"
        assert g.metric("tidegate_suspicion_blind_total") >= 2


def test_keys_in_redis_all_end(servers, made):
    s = servers
    with s.app(made(weights={"honeypot": 1})) as app:
        app.http.get("/wp-login.php", headers={"x-forwarded-for": "198.51.100.1"})
        phone = mainland_phone()
        assert ask(app, "198.51.100.1", phone).status_code == 200
        app.verify(phone, s.outbox.wait_for_code(phone))
        wait_until(lambda: len(s.redis.command("KEYS", "su:*").split()) >= 5, 30, "all kinds of keys are there")
        for key in s.redis.command("KEYS", "su:*").split():
            assert int(s.redis.command("PTTL", key)) > 0, key
            assert phone not in key and "198.51" not in key


# --- operators ----------------------------------------------------------------------------------------


def test_explain_reads_well(servers, made):
    g = made(weights={"velocity": 35}, challenge_at=30, velocity_requests=1)
    with servers.app(g) as app:
        ask(app, "198.51.100.1")
        answer = ask(app, "198.51.100.1")
        attempt(g, answer)
    text = g.ctl("explain", answer.headers["x-request-id"]).stdout
    assert "asked for proof of work" in text and "Score 35: challenge, the sum of:" in text and "velocity" in text
    assert re.match(r"At \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ this code request ", text)
    now = g.ctl("explain", "198.51.100.1").stdout
    assert "198.51.100.1 now" in now and "velocity" in now
    assert "No signal speaks." in g.ctl("explain", "192.0.2.55").stdout


def test_explain_of_what_is_not_there(servers, made):
    g = made()
    for key, code, words in (("0" * 32, 5, "no code request"), ("not-an-address", 1, "must be a request id"),
                             ("198.51.100.1.2", 1, "must be a request id"), ("", 1, "is wanted")):
        done = g.ctl("explain", key, check=False)
        assert done.returncode == code and words in done.stderr, (key, done.stderr)


def test_explain_without_database(own_stack):
    g = start(own_stack.start_servers())
    own_stack.postgres.stop()
    done = g.ctl("explain", "0" * 32, check=False)
    assert done.returncode == 7 and "HTTP 503" in done.stderr, (done.returncode, done.stderr)
    assert g.ctl("explain", "198.51.100.1").returncode == 0
