"""What codes by SMS cost and who may cause it: budgets in messages and money, prefixes that are pumped, providers that fail."""
import itertools
import json
import time

import pytest
import yaml

from tide import mmdb
from tide.client import code_of
from tide.process import wait_until
from tide.provider import Provider
from tide.redis_fleet import Cluster, cli
from tide.stack import program, run

MANY = "100000/1h"
numbers = itertools.count(1000)


def number(prefix: str = "+861380013") -> str:
    return f"{prefix}{next(numbers):04}"


@pytest.fixture
def providers():
    made = [Provider(), Provider()]
    yield made
    for provider in made:
        provider.stop()


@pytest.fixture
def own(own_stack):
    own_stack.start_postgres()
    own_stack.start_redis()
    return own_stack


def start(stack, providers, rules=(), sms=None, ledger=None, geography=None, **hook):
    """A gateway whose shipped limits do not stand in the way, but for these rules."""
    settings = stack.settings()
    if ledger:
        settings["limits"]["ledger"] = {**ledger, "timeout": "5s", "stall": "20s"}
    if geography:
        settings["geography"] = geography
    plain = {"secret_file": str(stack.folder / "hook.secret"), "tries": 1, "timeout": "1s", "backoff": "50ms", **hook}
    settings["hooks"] = {"sms": [{"url": p.url, **plain} for p in providers]}
    settings["trusted_proxies"] = ["127.0.0.0/8"]
    wide = [{"name": name, "by": by, "at": "sms", "limit": MANY, "role": "ledger"} for name, by in (
        ("otp_prefix", "phone_prefix"), ("otp_device", "device"), ("sms_country_day", "phone_country"))]
    names = {rule["name"] for rule in rules}
    kept = [rule for rule in settings["limits"]["rules"] + wide if rule["name"] not in names]
    settings["limits"]["rules"] = list({rule["name"]: rule for rule in kept}.values()) + list(rules)
    settings["sms"] = {"currency": "EUR", "price": "0.1", "prices": [{"prefix": "+86", "price": "0.5"}], "login_reserve": 0, **(sms or {})}
    return stack.start_gateway(settings)


def ask(stack, gateway, phone: str, address: str = "198.51.100.7", **more):
    with stack.app(gateway) as app:
        app.http.headers["x-forwarded-for"] = address
        return app.ask_code(phone, **more)


def report(gateway) -> dict:
    return json.loads(gateway.ctl("sms", "top", "-o", "json").stdout)


# --- budgets --------------------------------------------------------------------------------------------------


def test_a_budget_in_messages_is_the_fleets(own, providers):
    rule = {"name": "sms_day", "by": "all", "at": "sms", "limit": "3/1d", "on_error": "closed", "role": "ledger"}
    one, two = (start(own, providers[:1], [rule]) for _ in range(2))
    answers = [ask(own, gateway, number(), f"198.51.100.{i}") for i, gateway in enumerate((one, two, one))]
    assert [a.status_code for a in answers] == [200, 200, 200] and providers[0].taken == 3
    refused = ask(own, two, number())
    assert (refused.status_code, code_of(refused)) == (429, "over_sms_send_rate_limit")
    assert int(refused.headers["retry-after"]) > 3600
    assert "sms_day" not in refused.headers.get("ratelimit-policy", "") + refused.headers.get("ratelimit", "")
    assert providers[0].taken == 3
    left = {b["rule"]: b["remaining"] for b in report(one)["budgets"]}
    assert left["sms_day"] == 0 and left["sms_minute"] > 0


def test_a_budget_in_money_counts_what_each_message_costs(own, providers):
    """0.5 a mainland message, 0.1 elsewhere: 1.3 is two of the one and three of the other."""
    rule = {"name": "sms_money_day", "by": "all", "at": "sms", "limit": "1.3/1d", "unit": "money", "on_error": "closed",
            "role": "ledger"}
    gateway = start(own, providers[:1], [rule])
    got = [ask(own, gateway, phone).status_code for phone in (
        number(), number(), number(), "+85251230001", "+85251230002", "+85251230003", "+85251230004")]
    assert got == [200, 200, 429, 200, 200, 200, 429]
    shown = report(gateway)
    assert shown["currency"] == "EUR"
    assert {c["name"]: (c["sent"], c["cost"]) for c in shown["countries"]} == {"CN": (2, "1"), "HK": (3, "0.3")}
    assert {p["name"]: p["cost"] for p in shown["providers"]} == {"sms": "1.3"}
    table = gateway.ctl("sms", "top").stdout
    assert "COUNTRY" in table and "+861380013" in table and "BLOCKED" in table
    assert gateway.metric('tidegate_sms_messages_total{provider="sms"}') == 5
    assert gateway.metric('tidegate_sms_cost_millionths_total{provider="sms"}') == 1_300_000
    left = json.loads(gateway.ctl("limits", "explain", number(), "-o", "json").stdout)["items"]
    assert next(row["remaining"] for row in left if row["rule"] == "sms_money_day") < 100_000  # of 1.3 million; it drains


def test_a_countrys_budget_leaves_the_others_alone(own, providers):
    rule = {"name": "sms_country_day", "by": "phone_country", "at": "sms", "limit": "2/1d", "on_error": "closed", "role": "ledger"}
    gateway = start(own, providers[:1], [rule])
    assert [ask(own, gateway, number(p)).status_code for p in ("+861380013", "+861390014", "+861360015")] == [200, 200, 429]
    assert ask(own, gateway, "+85251230005").status_code == 200


def test_a_network_operators_budget_leaves_the_others_alone(own, providers):
    file = mmdb.write(own.folder / "asn.mmdb", {"203.0.113.0/24": mmdb.system(64500), "203.0.114.0/24": mmdb.system(64501)})
    rule = {"name": "sms_asn_hour", "by": "asn", "at": "sms", "limit": "2/1d", "on_error": "closed", "role": "ledger"}
    gateway = start(own, providers[:1], [rule], geography={"asn": str(file)})
    assert [ask(own, gateway, number(), f"203.0.113.{i}").status_code for i in (1, 2, 3)] == [200, 200, 429]
    assert ask(own, gateway, number(), "203.0.114.1").status_code == 200
    assert [ask(own, gateway, number(), f"192.0.2.{i}").status_code for i in (1, 2, 3)] == [200] * 3  # of nobody that is known
    assert providers[0].taken == 6


def test_a_subscriber_is_a_64_and_its_neighbours_are_counted_too(own, providers):
    """Two codes a /64, four a /56: addresses within are as good as one."""
    rule = {"name": "otp_address6", "by": "address", "address": "6", "prefixes": "64 56x2", "at": "sms", "limit": "2/1d",
            "on_error": "closed", "role": "ledger"}
    gateway = start(own, providers[:1], [rule])
    asked = [("2001:db8:1:1::1", 200), ("2001:db8:1:1:ffff::2", 200), ("2001:db8:1:1::3", 429), ("2001:db8:1:2::1", 200),
             ("2001:db8:1:2::2", 200), ("2001:db8:1:3::1", 429), ("2001:db8:1:100::1", 200), ("198.51.100.9", 200)]
    assert [ask(own, gateway, number(), address).status_code for address, _ in asked] == [status for _, status in asked]
    assert providers[0].taken == 6


def test_on_a_cluster(own, providers):
    """The ledger on a real Cluster: the guard, the fleet's budget and the report, by two gateways."""
    cluster = Cluster(own.folder / "cluster").start()
    try:
        rule = {"name": "sms_day", "by": "all", "at": "sms", "limit": "3/1d", "on_error": "closed", "role": "ledger"}
        guard = {"guard": {"window": "1h", "grace": "0s", "sends": 12, "percent": 20, "block": "1h"}}
        one, two = (start(own, providers[:1], [rule], sms=guard, ledger=cluster.settings) for _ in range(2))
        pumped, slot = "+861380013", int(time.time() * 1000) // 360_000 - 3  # of six minutes; some before this one
        cli(cluster.primaries()[0].port, "-c", "HSET", f"{{sms}}:counts:{pumped}", f"s{slot}", 30, f"u{slot}", 1, check=True)
        assert code_of(ask(own, one, number(pumped))) == "over_sms_send_rate_limit"
        assert code_of(ask(own, two, number(pumped))) == "over_sms_send_rate_limit"
        got = [ask(own, gateway, number("+861390044")).status_code for gateway in (one, two, one, two)]
        assert got == [200, 200, 200, 429] and providers[0].taken == 3
        wait_until(lambda: [c["sent"] for c in report(two)["countries"]] == [3], 30, "what it cost is counted")
        assert [b["prefix"] for b in report(two)["blocked"]] == [pumped]
        owners = [server for server in cluster.primaries() if any("{sms}" in key for key in cli(server.port, "KEYS", "*").split())]
        assert len(owners) == 1, "one slot has them all"
    finally:
        own.stop()
        cluster.stop()


def test_what_was_not_sent_is_not_charged(own, providers):
    rule = {"name": "sms_money_day", "by": "all", "at": "sms", "limit": "0.5/1d", "unit": "money", "on_error": "closed",
            "role": "ledger"}
    gateway = start(own, providers[:1], [rule])
    providers[0].mode = 500
    for _ in range(3):
        assert code_of(ask(own, gateway, number())) == "sms_send_failed"
    providers[0].mode = "ok"
    assert ask(own, gateway, number()).status_code == 200
    assert ask(own, gateway, number()).status_code == 429
    assert [p["sent"] for p in report(gateway)["providers"]] == [1]


def left_of(gateway, rule: str) -> int:
    return next(b["remaining"] for b in report(gateway)["budgets"] if b["rule"] == rule)


def test_what_the_database_does_not_take_is_not_charged(own, providers):
    rule = {"name": "sms_day", "by": "all", "at": "sms", "limit": "1/1d", "on_error": "closed", "role": "ledger"}
    gateway = start(own, providers[:1], [rule])
    own.postgres.query("""CREATE FUNCTION fail_codes() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no room'; END $$;
        CREATE TRIGGER fail_codes BEFORE INSERT ON otp_codes FOR EACH ROW EXECUTE FUNCTION fail_codes()""")
    for _ in range(3):
        assert ask(own, gateway, number()).status_code == 500
    assert left_of(gateway, "sms_day") == 1
    own.postgres.query("DROP TRIGGER fail_codes ON otp_codes")
    assert ask(own, gateway, number()).status_code == 200
    assert ask(own, gateway, number()).status_code == 429
    assert providers[0].taken == 1


def test_what_was_answered_before_it_failed_is_not_charged(own, providers):
    """A log-in is answered before its message is sent; when no provider takes it, the request is long gone."""
    rule = {"name": "sms_day", "by": "all", "at": "sms", "limit": "3/1d", "on_error": "closed", "role": "ledger"}
    gateway = start(own, providers[:1], [rule])
    user = signed_up(own, gateway, providers[0])
    providers[0].mode = 500
    with own.app(gateway) as app:
        for n in range(1, 4):
            own.resend_time_passes()
            assert app.ask_code(user, create_user=False).status_code == 200
            failed = 'tidegate_auth_code_requests_total{result="send_failed"}'
            wait_until(lambda: gateway.metric(failed) == n, 30, "the message is given up")
            wait_until(lambda: left_of(gateway, "sms_day") == 2, 30, "what it took is back")
        providers[0].mode = "ok"
        own.resend_time_passes()
        assert app.ask_code(user, create_user=False).status_code == 200
    wait_until(lambda: len(providers[0].codes[user]) == 2, 30, "the code")
    assert left_of(gateway, "sms_day") == 1


def test_a_provider_that_fails_does_not_tell_who_has_an_account(own, providers):
    """Both were answered before the message went; both have to wait for the next one."""
    rule = {"name": "otp_phone_minute", "by": "phone", "at": "sms", "limit": "1/1m", "on_error": "closed", "role": "ledger"}
    gateway = start(own, providers[:1], [rule])
    user, nobody = signed_up(own, gateway, providers[0]), number()
    own.redis.command("FLUSHALL")
    own.resend_time_passes()
    providers[0].mode = 500
    with own.app(gateway) as app:
        for phone in (user, nobody):
            assert app.ask_code(phone, create_user=False).status_code == 200
        wait_until(lambda: gateway.metric('tidegate_auth_code_requests_total{result="send_failed"}') == 1, 30, "the message is given up")
        for clear in (lambda: None, lambda: own.redis.command("FLUSHALL")):
            clear()  # then only the database's own gap stands
            answers = [app.ask_code(phone, create_user=False) for phone in (user, nobody)]
            assert [(a.status_code, code_of(a)) for a in answers] == [(429, "over_sms_send_rate_limit")] * 2


def test_a_message_that_may_have_gone_is_charged(own, providers):
    """The provider takes it and answers too late: nobody can know, so the next one costs as well."""
    rule = {"name": "sms_day", "by": "all", "at": "sms", "limit": "2/1d", "on_error": "closed", "role": "ledger"}
    gateway = start(own, providers[:1], [rule])
    providers[0].mode = "hang"
    assert [ask(own, gateway, number()).status_code for _ in range(3)] == [422, 422, 429]
    assert providers[0].seen == 2


def test_without_the_ledger_no_code_goes_out(own, providers):
    gateway = start(own, providers[:1])
    assert ask(own, gateway, number()).status_code == 200
    own.redis.kill()
    wait_until(lambda: gateway.ctl("sms", "top", check=False).returncode == 7, 30, "it is seen to be away")
    assert ask(own, gateway, number()).status_code == 503 and providers[0].taken == 1
    own.redis.start()
    wait_until(lambda: ask(own, gateway, number()).status_code == 200, 30, "codes again")


# --- what is kept for accounts -----------------------------------------------------------------------------------


def signed_up(stack, gateway, provider) -> str:
    phone = number()
    assert ask(stack, gateway, phone).status_code == 200
    with stack.app(gateway) as app:
        assert app.verify(phone, provider.codes[phone][-1]).status_code == 200
    return phone


def test_a_flood_of_new_numbers_leaves_log_in_its_part(own, providers):
    """Ten a day for the fleet, a fifth of it for accounts. New numbers take eight; then they get the answer that accounts get,
    and no message, whatever they try. Two log-ins go out; then nobody is told more than anybody else."""
    provider = providers[0]
    rule = {"name": "sms_day", "by": "all", "at": "sms", "limit": "10/1d", "on_error": "closed", "role": "ledger"}
    one, two = (start(own, providers[:1], [rule], sms={"login_reserve": 20}) for _ in range(2))
    users = [signed_up(own, one, provider) for _ in range(3)]
    own.resend_time_passes()
    flood = [ask(own, gateway, number(), f"198.51.100.{i}") for i, gateway in enumerate((one, two, two, one, two))]
    assert [a.status_code for a in flood] == [200] * 5 and not any("notice" in a.json() for a in flood)
    held = [ask(own, gateway, number(), f"198.51.101.{i}") for i, gateway in enumerate((one, two) * 3)]
    assert {(a.status_code, a.json()["notice"]) for a in held} == {(200, "accounts_only")}
    budget = next(b for b in report(two)["budgets"] if b["rule"] == "sms_day")
    assert (budget["signup_remaining"], budget["remaining"]) == (0, 2)
    for user, gateway in zip(users, (one, two)):
        answer = ask(own, gateway, user, "198.51.102.1")
        assert (answer.status_code, answer.json().keys()) == (200, held[0].json().keys()), "nothing tells them apart"
        assert answer.json()["notice"] == "accounts_only"
        wait_until(lambda: len(provider.codes[user]) == 2, 30, "a code to log in with")
        wait_until(lambda: own.postgres.query("SELECT count(*) FROM otp_codes WHERE NOT is_live") == "0", 30, "the code is live")
        with own.app(gateway) as app:
            assert app.verify(user, provider.codes[user][-1]).status_code == 200
    last = [ask(own, gateway, phone, "198.51.103.1") for phone in (users[2], number()) for gateway in (one, two)]
    assert {(a.status_code, code_of(a)) for a in last} == {(429, "over_sms_send_rate_limit")}
    assert provider.taken == 10, "the reserve is bounded like the rest"
    count = sum(g.metric('tidegate_sms_reserve_requests_total{number="none",result="admitted"}') for g in (one, two))
    assert count == 6 and sum(g.metric('tidegate_auth_code_requests_total{result="held"}') for g in (one, two)) == 6


def test_who_only_logs_in_is_served_from_the_reserve_too(own, providers):
    provider = providers[0]
    rule = {"name": "sms_day", "by": "all", "at": "sms", "limit": "5/1d", "on_error": "closed", "role": "ledger"}
    gateway = start(own, providers[:1], [rule], sms={"login_reserve": 40})
    user = signed_up(own, gateway, provider)
    own.resend_time_passes()
    assert [ask(own, gateway, number()).json().get("notice") for _ in range(3)] == [None, None, "accounts_only"]
    with own.app(gateway) as app:
        known, unknown = (app.ask_code(phone, create_user=False) for phone in (user, number()))
    assert known.status_code == unknown.status_code == 200 and known.json().keys() == unknown.json().keys()
    wait_until(lambda: len(provider.codes[user]) == 2, 30, "a code to log in with")
    assert provider.taken == 4


def test_a_reserve_that_cannot_be_is_refused(own, tmp_path):
    settings = own.settings()
    settings["sms"] = {"login_reserve": 91}
    (tmp_path / "t.yaml").write_text(yaml.safe_dump(settings))
    done = run(program("tidegate"), "--check", "-c", tmp_path / "t.yaml", check=False)
    assert done.returncode == 1 and "sms.login_reserve" in done.stderr, done.stderr


# --- the guard -------------------------------------------------------------------------------------------------


def test_a_pumped_prefix_is_blocked_alone_and_let_go(own, providers):
    """From many addresses to one prefix, nobody types the codes: blocked, on both gateways, audited; another prefix, where
    people do type them, is served all the while. It ends by itself."""
    guard = {"guard": {"window": "20s", "grace": "0s", "sends": 12, "percent": 20, "block": "8s"}}
    one, two = (start(own, providers[:1], sms=guard) for _ in range(2))
    addresses = (f"203.0.{i // 250}.{i % 250}" for i in itertools.count())
    pumped, honest = "+861380013", "+861390044"
    answers = []

    def pump(gateway) -> bool:
        answers.append(ask(own, gateway, number(pumped), next(addresses)))
        return answers[-1].status_code == 429

    def honest_sign_up(gateway) -> None:
        phone = number(honest)
        assert ask(own, gateway, phone, next(addresses)).status_code == 200
        with own.app(gateway) as app:
            assert app.verify(phone, providers[0].codes[phone][-1]).status_code == 200

    wait_until(lambda: pump(one), 60, "the prefix is blocked", every=0.05)
    for i in range(15):  # as many as were pumped, but used
        honest_sign_up((one, two)[i % 2])
    sent = sum(len(codes) for phone, codes in providers[0].codes.items() if phone.startswith(pumped))
    assert sent >= 12 and {a.status_code for a in answers} == {200, 429}
    blocked = report(two)["blocked"]
    if blocked:  # unless this machine took as long as the block
        assert [b["prefix"] for b in blocked] == [pumped] and 0 < blocked[0]["seconds_left"] <= 8
        assert two.ctl("sms", "top", "-o", "name").stdout == f"blocked/{pumped}\n"
    refused = answers[-1]
    assert code_of(refused) == "over_sms_send_rate_limit" and 1 <= int(refused.headers["retry-after"]) <= 16  # with jitter
    wait_until(lambda: any(row["action"] == "sms.block" for row in json.loads(one.ctl("get", "audit", "-o", "json").stdout)["items"]),
               30, "the block is audited")
    audit = json.loads(one.ctl("get", "audit", "-o", "json").stdout)["items"]
    assert [row["target"] for row in audit if row["action"] == "sms.block"][0] == f"phone_prefix/{pumped}"
    assert one.metric("tidegate_sms_guard_blocks_total") + two.metric("tidegate_sms_guard_blocks_total") >= 1
    wait_until(lambda: ask(own, two, number(pumped), next(addresses)).status_code == 200, 60, "it is let go", every=0.2)


def test_a_block_is_lifted_by_hand(own, providers):
    """As after an outage in which a provider took codes that never came: nobody could type them."""
    guard = {"guard": {"window": "20s", "grace": "0s", "sends": 12, "percent": 20, "block": "1h"}}
    one, two = (start(own, providers[:1], sms=guard) for _ in range(2))
    addresses = (f"203.0.{i // 250}.{i % 250}" for i in itertools.count())
    prefixes = ["+861380013", "+861390044"]

    def is_refused(gateway, prefix) -> bool:
        return ask(own, gateway, number(prefix), next(addresses)).status_code == 429

    for prefix in prefixes:
        wait_until(lambda: is_refused(one, prefix), 60, "the prefix is blocked", every=0.05)
    lift = ("sms", "unblock", prefixes[0], "--reason", "it delivers again")
    assert "(dry run)" in two.ctl(*lift, "--dry-run").stdout and is_refused(one, prefixes[0])
    assert two.ctl(*lift).stdout == f"blocked/{prefixes[0]} lifted\n"
    assert not is_refused(one, prefixes[0]) and is_refused(two, prefixes[1])
    nothing = two.ctl(*lift, check=False)
    assert nothing.returncode == 5 and "not blocked" in nothing.stderr, nothing.stderr
    wrong = two.ctl("sms", "unblock", "86138", "--reason", "x", check=False)
    assert wrong.returncode not in (0, 5) and "prefix" in wrong.stderr, wrong.stderr
    assert "reason" in two.ctl("sms", "unblock", "all", check=False).stderr
    assert json.loads(two.ctl("sms", "unblock", "all", "--reason", "all well", "-o", "json").stdout)["lifted"] == 1
    assert not is_refused(two, prefixes[1])
    wait_until(lambda: len(lifts(one)) == 2, 30, "both are audited")
    assert [(row["target"], row["reason"]) for row in sorted(lifts(one), key=lambda row: row["reason"])] == [
        ("phone_prefix/all", "all well"), (f"phone_prefix/{prefixes[0]}", "it delivers again")]
    own.redis.command("ZADD", "{sms}:blocked", "9e15", prefixes[1])
    own.postgres.kill()
    done = two.ctl(*lift[:2], prefixes[1], "--reason", "without a database")
    assert done.stdout == f"blocked/{prefixes[1]} lifted\n" and "not in the audit log" in done.stderr, done.stderr
    assert own.redis.command("ZCARD", "{sms}:blocked").strip() == "0"


def lifts(gateway) -> list[dict]:
    rows = json.loads(gateway.ctl("get", "audit", "-o", "json").stdout)["items"]
    return [row for row in rows if row["action"] == "sms.unblock"]


def test_asking_for_nobodys_numbers_costs_nobody_his_log_in(own, providers):
    """No message goes, so neither the budgets nor the guard of the prefix count one: who has a number of it logs in."""
    guard = {"guard": {"window": "1h", "grace": "0s", "sends": 12, "percent": 20, "block": "1h"}}
    rules = [{"name": name, "by": by, "at": "sms", "limit": "20/1d", "on_error": "closed", "role": "ledger"}
             for name, by in (("sms_day", "all"), ("otp_prefix", "phone_prefix"))]
    gateway = start(own, providers[:1], rules, sms=guard)
    user = signed_up(own, gateway, providers[0])
    own.resend_time_passes()

    def counted() -> int:
        fields = own.redis.command("HGETALL", "{sms}:counts:+861380013").split()
        return sum(int(n) for at, n in zip(fields[::2], fields[1::2]) if at.startswith("s"))

    before = left_of(gateway, "sms_day"), counted()
    assert before == (19, 1)
    for i in range(24):
        assert ask(own, gateway, number(), f"203.0.113.{i}", create_user=False).status_code == 200
    wait_until(lambda: (left_of(gateway, "sms_day"), counted()) == before, 30, "nothing is counted")
    assert providers[0].taken == 1 and report(gateway)["blocked"] == []
    assert ask(own, gateway, user, "203.0.114.1", create_user=False).status_code == 200
    wait_until(lambda: len(providers[0].codes[user]) == 2, 30, "a code to log in with")
    wait_until(lambda: (left_of(gateway, "sms_day"), counted()) == (18, 2), 30, "that one is counted")
    for phone, status in ((user, 429), (number("+861390044"), 200)):
        assert ask(own, gateway, phone, "203.0.114.2", create_user=False).status_code == status
        assert ask(own, gateway, phone, "203.0.114.3", create_user=False).status_code == 429, "limits of a number stay"


# --- providers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [500, 503, 429, 400, "hang", "dead"])
def test_another_provider_takes_what_the_first_does_not(own, providers, mode):
    first, second = providers
    gateway = start(own, providers, timeout="500ms")
    assert ask(own, gateway, number()).status_code == 200
    assert (first.taken, second.seen) == (1, 0), "taken by the first: never sent again"
    if mode == "dead":
        first.stop()
        first.stop = lambda: None
    else:
        first.mode = mode
    phone = number()
    assert ask(own, gateway, phone).status_code == 200
    assert list(second.codes) == [phone] and second.seen == 1 and first.taken == 1
    with own.app(gateway) as app:
        assert app.verify(phone, second.codes[phone][0]).status_code == 200
    rows = {p["name"]: p["sent"] for p in report(gateway)["providers"]}
    assert rows == {"sms": 1, "sms2": 1}


def test_a_provider_that_fails_often_is_passed_over_until_it_is_back(own, providers):
    first, second = providers
    gateway = start(own, providers)
    first.mode = 500

    def breaker() -> str:
        ask(own, gateway, number())
        return {row["name"]: row["breaker"] for row in report(gateway)["health"]}["sms"]

    wait_until(lambda: breaker() == "open", 60, "it is known to fail", every=0.05)
    before = first.seen
    assert ask(own, gateway, number()).status_code == 200
    assert first.seen == before, "not asked now"
    first.mode = "ok"
    wait_until(lambda: breaker() == "closed", 60, "it is back", every=0.2)
    taken = second.taken
    assert ask(own, gateway, number()).status_code == 200 and second.taken == taken


def test_when_all_fail_the_person_is_told_and_may_ask_again(own, providers):
    gateway = start(own, providers)
    for provider in providers:
        provider.mode = 500
    phone = number()
    assert code_of(ask(own, gateway, phone)) == "sms_send_failed"
    assert [p.seen for p in providers] == [1, 1]
    providers[1].mode = "ok"
    wait_until(lambda: ask(own, gateway, phone).status_code == 200, 30, "a second ask")


def test_providers_are_named_apart(own, tmp_path):
    settings = own.settings()
    row = {"url": "http://127.0.0.1:1/sms", "secret_file": str(own.folder / "hook.secret"), "name": "twice"}
    settings["hooks"] = {"sms": [row, dict(row)]}
    (tmp_path / "t.yaml").write_text(yaml.safe_dump(settings))
    done = run(program("tidegate"), "--check", "-c", tmp_path / "t.yaml", check=False)
    assert done.returncode == 1 and "two providers are named twice" in done.stderr, done.stderr
    for price in ("-1", "cheap", "0.1234567"):
        settings["hooks"] = {"sms": dict(row)}
        settings["sms"] = {"prices": [{"prefix": "+86", "price": price}]}
        (tmp_path / "t.yaml").write_text(yaml.safe_dump(settings))
        done = run(program("tidegate"), "--check", "-c", tmp_path / "t.yaml", check=False)
        assert done.returncode == 1 and "sms.prices[0].price: a sum like 0.0045" in done.stderr, done.stderr
