"""Limits from outside: several gateways as one, Redis gone and back, what clients are told, who the client is."""
import itertools
import json
import re
import signal
import threading
import time
import uuid

import http_sfv
import httpx
import pytest

from tide.client import mainland_phone
from tide.process import wait_until

def parameters(field: str) -> dict[str, dict[str, int]]:
    """The items of a structured-field list (RFC 9651), by name."""
    items = http_sfv.List()
    items.parse(field.encode())
    return {item.value: dict(item.params) for item in items}


def with_rules(stack, *rules: dict) -> dict:
    """Settings without shipped rules: only what the test is about counts. readyz is polled, so no rule is at it."""
    settings = stack.settings()
    settings["limits"].update({"shipped_rules": False, "rules": list(rules)})
    return settings


def two_gateways(stack, *rules: dict):
    if not stack.redis:
        stack.start_redis()
    first = stack.start_gateway(with_rules(stack, *rules))
    second = stack.start_gateway(with_rules(stack, *rules))
    wait_until(lambda: gateways_known(first) == 2 == gateways_known(second), 10, "each knows of the other")
    return first, second


def gateways_known(gateway) -> int:
    return json.loads(gateway.ctl("-o", "json", "get", "limits").stdout)["gateways"]


def ask(gateway, device: str | None = None, **fields) -> httpx.Response:
    if device:
        fields["x-device-id"] = device
    return gateway.get("/livez", headers={key.replace("_", "-"): value for key, value in fields.items()})


# each test says by itself when it is about newcomers (counted in the process until the third request)
BY_DEVICE = {"name": "device", "by": "device", "at": "livez", "limit": "10/1h", "newcomers": "exact"}


def test_two_gateways_are_one(own_stack):
    gateways = itertools.cycle(two_gateways(own_stack, BY_DEVICE))
    codes = [ask(next(gateways), "one").status_code for _ in range(30)]
    assert codes.count(200) == 10, codes
    assert codes.count(429) == 20, codes
    assert ask(next(gateways), "another").status_code == 200


def test_at_once_from_many_sides_no_more_than_the_burst_passes(own_stack):
    pair = two_gateways(own_stack, {**BY_DEVICE, "limit": "40/1h"})
    codes = []

    def hammer(gateway):
        with httpx.Client(base_url=gateway.url, verify=str(own_stack.ca), headers={"x-device-id": "crowd"}) as client:
            codes.extend(client.get("/livez").status_code for _ in range(25))

    threads = [threading.Thread(target=hammer, args=(gateway,)) for gateway in pair * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (codes.count(200), codes.count(429)) == (40, 110), codes


def test_what_clients_are_told(own_stack):
    own_stack.start_redis()
    gateway = own_stack.start_gateway(with_rules(
        own_stack, BY_DEVICE, {"name": "wide", "by": "address", "at": "livez", "limit": "1000/1m", "burst": 500}))
    good = ask(gateway, "d")
    assert good.status_code == 200
    assert parameters(good.headers["ratelimit"]) == {"device": {"r": 9, "t": 360}}
    assert parameters(good.headers["ratelimit-policy"]) == {"device": {"q": 10, "w": 3600}, "wide": {"q": 1000, "w": 60}}
    for _ in range(9):
        assert ask(gateway, "d").status_code == 200
    refused = [ask(gateway, "d") for _ in range(3)]  # by Redis, then by the deny cache: told alike
    for answer in refused:
        assert answer.status_code == 429
        state = parameters(answer.headers["ratelimit"])["device"]
        assert state["r"] == 0
        assert 300 < state["t"] <= 360
        assert state["t"] <= int(answer.headers["retry-after"]) <= state["t"] * 1.31
        assert parameters(answer.headers["ratelimit-policy"]).keys() == {"device", "wide"}
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert problem["code"] == "over_request_rate_limit"
        assert problem["violated-policies"] == ["device"]
        assert answer.headers["cache-control"] == "no-store"
    chinese = gateway.get("/livez", headers={"x-device-id": "d", "accept-language": "zh-CN"})
    assert chinese.headers["content-language"] == "zh-Hans"
    assert gateway.metric('tidegate_limits_decisions_total{rule="device",decision="denied_cached"}') >= 3
    assert gateway.metric('tidegate_limits_decisions_total{rule="device",decision="allowed"}') == 10


def test_redis_gone_and_back(own_stack):
    first, second = two_gateways(
        own_stack, BY_DEVICE,
        {"name": "costly", "by": "address", "at": "readyz", "limit": "100000/1h", "on_error": "closed"})
    assert ask(first, "before").status_code == 200
    own_stack.redis.kill()
    # local: half of the rate and the burst at each of the two
    for gateway in (first, second):
        codes = [ask(gateway, "after").status_code for _ in range(12)]
        assert set(codes) <= {200, 429}, codes
        assert codes.count(200) == 5, codes
    closed = first.get("/readyz")
    assert closed.status_code == 503
    assert closed.json()["code"] == "service_unavailable"
    assert int(closed.headers["retry-after"]) >= 1
    own_stack.redis.start()
    began = time.monotonic()
    for gateway in (first, second):
        wait_until(lambda: gateway.metric('tidegate_redis_connections{role="limits"}') == 2, 2.5, "both loops are back",
                   every=0.02)
        assert gateway.get("/readyz").status_code == 200  # the closed rule is open again
    assert time.monotonic() - began < 2.5
    codes = [ask(gateway, "again").status_code for gateway in (first, second) * 10]
    assert codes.count(200) == 10, codes


def test_killed_under_load_nobody_waits(own_stack):
    gateway, _ = two_gateways(own_stack, {**BY_DEVICE, "limit": "1000000/1s"})
    times, codes = [], []
    ended = threading.Event()

    def load(n):
        with httpx.Client(base_url=gateway.url, verify=str(own_stack.ca), headers={"x-device-id": f"d{n}"}) as client:
            while not ended.is_set():
                began = time.monotonic()
                codes.append(client.get("/livez").status_code)
                times.append(time.monotonic() - began)

    threads = [threading.Thread(target=load, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    own_stack.redis.kill()
    time.sleep(1)
    own_stack.redis.start()
    time.sleep(1)
    ended.set()
    for thread in threads:
        thread.join()
    assert set(codes) == {200}
    assert max(times) < 1, max(times)  # an instrumented build on a busy machine; 25 ms is the promise
    assert gateway.metric('tidegate_limits_decisions_total{rule="device",decision="fallback_allowed"}') > 0


def test_a_stopped_redis_is_given_up(own_stack):
    """SIGSTOP: connections stay open and nothing answers. Each request waits 20 ms at most, then none waits."""
    own_stack.start_redis()
    settings = with_rules(own_stack, {**BY_DEVICE, "limit": "1000000/1s"})
    settings["limits"]["redis"].update({"timeout": "20ms", "stall": "500ms"})
    gateway = own_stack.start_gateway(settings)
    assert ask(gateway, "d").status_code == 200
    own_stack.redis.process.send(signal.SIGSTOP)
    try:
        with httpx.Client(base_url=gateway.url, verify=str(own_stack.ca), headers={"x-device-id": "d"}) as client:
            codes = [client.get("/livez").status_code for _ in range(50)]
            began = time.monotonic()
            codes += [client.get("/livez").status_code for _ in range(50)]
            took = time.monotonic() - began
    finally:
        own_stack.redis.process.send(signal.SIGCONT)
    assert set(codes) == {200}
    assert took < 1, took
    before = gateway.metric('tidegate_limits_decisions_total{rule="device",decision="allowed"}')
    wait_until(lambda: ask(gateway, "d").status_code == 200 and gateway.metric(
        'tidegate_limits_decisions_total{rule="device",decision="allowed"}') > before, 2.5, "Redis decides again")


def test_a_storm_of_refused_requests_stays_away_from_redis(own_stack):
    own_stack.start_redis()
    gateway = own_stack.start_gateway(with_rules(own_stack, {**BY_DEVICE, "limit": "1/1h"}))

    def asked() -> int:
        found = re.search(r"cmdstat_evalsha:calls=(\d+)", own_stack.redis.command("INFO", "commandstats"))
        return int(found.group(1)) if found else 0

    before, began = asked(), time.monotonic()
    with httpx.Client(base_url=gateway.url, verify=str(own_stack.ca), headers={"x-device-id": "storm"}) as client:
        codes = [client.get("/livez").status_code for _ in range(600)]
    assert codes.count(429) == 599
    assert asked() - before <= 3 + (time.monotonic() - began), "one question a second"


def test_clients_that_leave_while_redis_thinks(own_stack):
    own_stack.start_redis()
    gateway = own_stack.start_gateway(with_rules(own_stack, {**BY_DEVICE, "limit": "1000000/1s"}))
    assert ask(gateway, "d").status_code == 200
    own_stack.redis.process.send(signal.SIGSTOP)
    try:
        for http2 in (False, True) * 5:
            with httpx.Client(base_url=gateway.url, verify=str(own_stack.ca), http2=http2, timeout=0.15) as client:
                with pytest.raises(httpx.TimeoutException):
                    client.get("/livez", headers={"x-device-id": "d"})
    finally:
        own_stack.redis.process.send(signal.SIGCONT)
    assert ask(gateway, "d").status_code == 200

    def gone() -> int:
        lines = map(json.loads, gateway.access_log.read_text().splitlines())
        return sum(line["finish"] == "client_gone" for line in lines)

    wait_until(lambda: gone() == 10, 5, "each has its line in the access log")


def test_forgotten_scripts_are_never_seen(own_stack):
    pair = itertools.cycle(two_gateways(own_stack, BY_DEVICE))
    codes = []
    for n in range(40):
        own_stack.redis.command("SCRIPT", "FLUSH")
        codes.append(ask(next(pair), f"flush-{n // 20}").status_code)
    assert (codes.count(200), codes.count(429)) == (20, 20), codes


def test_redis_holds_nobody(own_stack):
    own_stack.start_redis()
    gateway = own_stack.start_gateway(with_rules(own_stack, BY_DEVICE))
    device = f"secret-{uuid.uuid4()}"
    assert ask(gateway, device).status_code == 200
    keys = [key for key in own_stack.redis.command("KEYS", "*").splitlines() if key != "rl:gateways"]
    assert keys and all(re.fullmatch(r"rl:device:[0-9a-f]{32}", key) for key in keys), keys
    assert 0 < int(own_stack.redis.command("PTTL", keys[0])) <= 360_000


BY_ADDRESS = {"name": "address", "by": "address", "at": "livez", "limit": "3/1h"}


def test_forwarded_for_of_strangers_is_ignored(own_stack):
    own_stack.start_redis()
    gateway = own_stack.start_gateway(with_rules(own_stack, BY_ADDRESS))
    codes = [ask(gateway, x_forwarded_for=f"203.0.113.{n}").status_code for n in range(10)]
    assert codes.count(200) == 3, codes


def test_forwarded_for_of_trusted_proxies_right_to_left(own_stack):
    own_stack.start_redis()
    settings = with_rules(own_stack, BY_ADDRESS)
    settings["trusted_proxies"] = ["127.0.0.0/8", "10.0.0.0/8"]
    gateway = own_stack.start_gateway(settings)
    # what the client wrote itself stands to the left of what the proxy saw
    codes = [ask(gateway, x_forwarded_for=f"198.51.100.{n}, 203.0.113.9, 10.0.0.7").status_code for n in range(10)]
    assert codes.count(200) == 3, codes
    # one /64 is one client, however it is spelled
    spelled = ["2001:db8:1:2::1", "2001:DB8:1:2:0:0:0:2", "[2001:db8:1:2::3]:443", "2001:db8:1:2:ffff:ffff:ffff:ffff"]
    codes = [ask(gateway, x_forwarded_for=text).status_code for text in spelled]
    assert codes == [200, 200, 200, 429]
    assert ask(gateway, x_forwarded_for="2001:db8:1:3::1").status_code == 200
    # "unknown" and garbage: the proxy itself is counted, never nobody
    codes = [ask(gateway, x_forwarded_for=text).status_code for text in ("unknown", "", "x" * 8000, "1.2.3.4.5")]
    assert codes == [200, 200, 200, 429]


def test_a_rule_for_no_route_is_refused(own_stack):
    own_stack.start_redis()
    settings = with_rules(own_stack, {**BY_DEVICE, "at": "livezz"})
    with pytest.raises(AssertionError, match="livezz"):
        own_stack.start_gateway(settings)
    own_stack.gateways.clear()


def test_new_numbers_after_a_reload_keep_what_was_counted(own_stack):
    own_stack.start_redis()
    gateway = own_stack.start_gateway(with_rules(own_stack, BY_DEVICE))
    assert [ask(gateway, "d").status_code for _ in range(11)].count(200) == 10
    gateway.settings["limits"]["rules"] = [{**BY_DEVICE, "limit": "10/1h", "burst": 15}]
    gateway.write()
    gateway.process.send(signal.SIGHUP)
    wait_until(lambda: json.loads(gateway.ctl("-o", "json", "get", "limits").stdout)["rules"][0]["burst"] == 15, 10,
               "the reload is done")
    time.sleep(1.1)  # the longest that a refusal is repeated unasked
    assert [ask(gateway, "d").status_code for _ in range(10)].count(200) == 5  # not 15 again
    gateway.settings["limits"]["rules"] = [{**BY_DEVICE, "limit": "many"}]
    gateway.write()
    gateway.process.send(signal.SIGHUP)
    wait_until(lambda: "rule \"device\": limit" in gateway.process.tail(), 10, "the refusal names rule and field")
    assert ask(gateway, "e").status_code == 200


def test_codes_by_sms_are_closed_without_redis(own_stack):
    own_stack.start_servers()
    settings = own_stack.settings()
    settings["limits"]["rules"] = [rule for rule in settings["limits"]["rules"] if not rule["name"].startswith("otp_")]
    gateway = own_stack.start_gateway(settings)
    with own_stack.app(gateway) as app:
        app.sign_up(mainland_phone())
        own_stack.redis.kill()
        phone = mainland_phone()
        refused = app.ask_code(phone)
        assert refused.status_code == 503, refused.text
        assert int(refused.headers["retry-after"]) >= 1
        assert app.user().status_code == 200  # who is signed in goes on
        assert app.refresh().status_code == 200
        own_stack.redis.start()
        wait_until(lambda: app.ask_code(phone).status_code == 200, 2.5, "codes go out again")
        own_stack.outbox.wait_for_code(phone)
        assert app.ask_code(phone).status_code == 429  # one a minute
        assert app.ask_code(phone).json()["code"] == "over_sms_send_rate_limit"


def test_access_log_has_one_line_a_request_and_no_secrets(own_stack):
    own_stack.start_redis()
    gateway = own_stack.start_gateway(with_rules(own_stack, {**BY_DEVICE, "limit": "1/1h"}))
    secret = f"S3CRET{uuid.uuid4().hex}"
    for path in ("/livez?token=" + secret, "/nothing", "/livez"):
        gateway.get(path, headers={"authorization": f"Bearer {secret}", "x-device-id": secret, "cookie": secret})
    wait_until(lambda: '"status":429' in gateway.access_log.read_text(), 5, "lines are written")
    text = gateway.access_log.read_text()
    assert secret not in text
    lines = [line for line in map(json.loads, text.splitlines()) if line["path"] in ("/livez", "/nothing")]
    assert sorted(line["status"] for line in lines) == [200, 404, 429]
    limited = next(line for line in lines if line["status"] == 429)
    assert limited["problem"] == "over_request_rate_limit"
    assert limited["route"] == "livez"
    assert limited["finish"] == "done"
    assert limited["client"] == "127.0.0.0/24"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", limited["@timestamp"])
    assert limited["duration_s"] > 0
