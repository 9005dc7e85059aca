"""Limits of a fleet from outside: what runs at once, leases, sources that nobody has seen, and prefixes."""
import signal
import threading
import time

import http_sfv
import httpx
import pytest

from test_limits import gateways_known, with_rules
from tide.chat_rig import MESSAGES
from tide.process import wait_until
from tide.scripted import ScriptedWorker
from tide.tokens import Issuer


class Fleet:
    """Two gateways over one worker whose answers last until the test ends them."""

    def __init__(self, stack, *rules: dict):
        self.stack = stack
        self.worker = ScriptedWorker()
        self.issuer = Issuer(stack.folder)
        self.ended = threading.Event()
        self.worker.behave = self.answer
        if not stack.redis:
            stack.start_redis()
        self.gateways = [stack.start_gateway(self.settings(*rules)) for _ in range(2)]
        wait_until(lambda: all(gateways_known(g) == 2 for g in self.gateways), 10, "each knows of the other")
        self.threads = []

    def settings(self, *rules: dict) -> dict:
        settings = with_rules(self.stack, *rules)
        settings["issuers"] = [self.issuer.settings()]
        settings["chat"] = {"workers": [{"name": "w1", "target": self.worker.target, "models": ["m"], "slots": 64}]}
        return settings

    def answer(self, exchange) -> None:
        exchange.start_stream()
        exchange.delta(content="The")
        self.ended.wait(60)
        exchange.delta(finish="stop")
        exchange.end_stream()

    def ask(self, gateway, user: str = "u1") -> "Chat":
        return Chat(self, gateway, user)

    def close(self) -> None:
        self.ended.set()
        self.worker.stop()


class Chat:
    """A streaming request: begun, with its first event read."""

    def __init__(self, fleet: Fleet, gateway, user: str):
        self.client = httpx.Client(base_url=gateway.url, verify=str(fleet.stack.ca), timeout=30,
                                   headers={"authorization": f"Bearer {fleet.issuer.token(user)}"})
        self.request = self.client.stream("POST", "/v1/chat/completions",
                                          json={"model": "m", "stream": True, "messages": MESSAGES})
        self.answer = self.request.__enter__()
        self.status = self.answer.status_code
        if self.status == 200:
            self.lines = self.answer.iter_lines()
            next(self.lines)

    def finish(self) -> None:
        assert [line for line in self.lines if line][-1] == "data: [DONE]"
        self.leave()

    def leave(self) -> None:
        self.client.close()


@pytest.fixture
def fleet(own_stack):
    made = []

    def make(*rules: dict) -> Fleet:
        made.append(Fleet(own_stack, *rules))
        return made[-1]

    yield make
    for f in made:
        f.close()


RUNNING = {"name": "running", "by": "account", "at": "chat", "limit": "3", "unit": "concurrent", "role": "ledger"}


def test_what_runs_at_once_is_counted_by_all_gateways(fleet):
    f = fleet(RUNNING)
    a, b = f.gateways
    running = [f.ask(a), f.ask(b), f.ask(a)]
    assert [c.status for c in running] == [200] * 3
    refused = f.ask(b)
    assert refused.status == 429
    assert int(refused.answer.headers["retry-after"]) >= 1
    policy = http_sfv.List()
    policy.parse(refused.answer.headers["ratelimit-policy"].encode())
    assert policy[0].value == "running"
    assert dict(policy[0].params) == {"q": 3, "qu": "concurrent-requests"}
    assert f.ask(b, "u2").status == 200, "another account"
    f.ended.set()
    for chat in running:
        chat.finish()
    f.ended.clear()
    wait_until(lambda: f.ask(b).status == 200, 3, "places are free when answers have ended")


def test_a_client_that_leaves_frees_its_place(fleet):
    f = fleet({**RUNNING, "limit": "1"})
    a, b = f.gateways
    for gateway in (a, b, a):
        chat = f.ask(gateway)
        assert chat.status == 200
        assert f.ask(b).status == 429
        chat.leave()
        wait_until(lambda: not f.stack.redis.command("KEYS", "rc:*"), 3, "the place is free")


def test_a_killed_gateway_keeps_no_place(fleet):
    f = fleet({**RUNNING, "limit": "2"})
    a, b = f.gateways
    held = [f.ask(a), f.ask(a)]
    assert [c.status for c in held] == [200, 200]
    time.sleep(3.5)  # renewed once: what runs longer than a life stays counted
    assert f.ask(b).status == 429
    a.process.send(signal.SIGKILL)
    killed = time.monotonic()
    assert f.ask(b).status == 429, "not at once: it might only be slow"
    wait_until(lambda: f.ask(b).status == 200, 12, "its places are free")
    assert time.monotonic() - killed < 9.5
    f.stack.gateways.remove(a)


def test_a_long_answer_stays_counted(fleet):
    f = fleet({**RUNNING, "limit": "1"})
    a, b = f.gateways
    chat = f.ask(a)
    assert chat.status == 200
    time.sleep(10)  # longer than a place is believed without renewal
    assert f.ask(b).status == 429
    assert 0 < int(f.stack.redis.command("PTTL", f.stack.redis.command("KEYS", "rc:*").strip())) <= 9000


def evals(redis) -> int:
    lines = redis.command("INFO", "commandstats").splitlines()
    return sum(int(line.split("calls=")[1].split(",")[0]) for line in lines if line.startswith("cmdstat_evalsha:"))


def hammer(gateway, stack, n: int, **headers) -> list[int]:
    with httpx.Client(base_url=gateway.url, verify=str(stack.ca), headers=headers) as client:
        return [client.get("/livez").status_code for _ in range(n)]


def test_busy_keys_need_no_round_trip(own_stack):
    own_stack.start_redis()
    gateway = own_stack.start_gateway(with_rules(
        own_stack, {"name": "device", "by": "device", "at": "livez", "limit": "10000/1s", "newcomers": "exact"}))
    before = evals(own_stack.redis)
    codes = hammer(gateway, own_stack, 400, **{"x-device-id": "busy"})
    assert set(codes) == {200}
    asked = evals(own_stack.redis) - before
    assert asked < 60, asked
    assert gateway.metric('tidegate_limits_decisions_total{rule="device",decision="leased"}') > 300
    assert gateway.metric("tidegate_limits_lease_units_total") >= 300
    answer = gateway.get("/livez", headers={"x-device-id": "busy"})
    state = http_sfv.List()
    state.parse(answer.headers["ratelimit"].encode())
    assert state[0].value == "device"
    assert 0 < state[0].params["r"] <= 10000


def test_sources_are_written_down_when_they_come_a_third_time(own_stack):
    own_stack.start_redis()
    settings = with_rules(own_stack, {"name": "address", "by": "address", "prefixes": "32 64 48x16", "at": "livez",
                                      "limit": "60/1h", "burst": 20})
    settings["trusted_proxies"] = ["127.0.0.0/8"]
    gateway = own_stack.start_gateway(settings)

    def ask(address):
        return gateway.get("/livez", headers={"x-forwarded-for": address})

    def keys(rule):
        return len(own_stack.redis.command("KEYS", f"rl:{rule}:*").split())

    for n in range(40):
        assert ask(f"2001:db8:{n:x}::1").status_code == 200
    assert keys("address") == 0
    answer = ask("2001:db8:1::1")  # the second one
    state = http_sfv.List()
    state.parse(answer.headers["ratelimit"].encode())
    assert (state[0].value, dict(state[0].params)) == ("address", {"r": 18, "t": 120})
    assert keys("address") == 0
    ask("2001:db8:1::1")
    assert keys("address") == 1
    assert keys("address_48") == 1
    # the third paid for the first two: no more than the burst passes
    codes = [ask("2001:db8:77::1").status_code for _ in range(30)]
    assert codes == [200] * 20 + [429] * 10
    # 20 a /64 and 320 a /48: a subscriber's many /64 share
    codes = [ask(f"2001:db8:99:{n:x}::1").status_code for n in range(330)]
    assert codes == [200] * 320 + [429] * 10
    refused = ask("2001:db8:99:ffff::1")
    assert refused.status_code == 429
    assert refused.json()["violated-policies"] == ["address_48"]
