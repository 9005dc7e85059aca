"""Redis that answers late, partly or wrongly; that refuses; that sends on. Nothing hangs, nobody gets another's answer."""
import subprocess
import time

import httpx
import pytest

from test_redis_fleet import BY_DEVICE, ask, decided, is_ready, wait_ready, with_redis
from tide.process import wait_until
from tide.redis_fleet import cli
from tide.scripted_redis import ScriptedRedis, allowed, bulk

REAL = {"timeout": "100ms", "stall": "500ms"}


@pytest.fixture
def peers(own_stack):
    """Makes scripted peers; stopped when the gateways are."""
    made = []

    def make(**answers) -> ScriptedRedis:
        made.append(ScriptedRedis(**answers))
        return made[-1]

    yield make
    own_stack.stop()
    for peer in made:
        peer.stop()


def start(stack, redis: dict, *rules: dict):
    return stack.start_gateway(with_redis(stack, redis, *(rules or [BY_DEVICE]), patient=False))


@pytest.mark.parametrize("what, answer", [
    ("garbage", b"HTTP/1.1 200 OK\r\n\r\n"),
    ("half an answer", b"*2\r\n:1\r\n"),
    ("two answers", b"*2\r\n:1\r\n:1\r\n*2\r\n:0\r\n:9\r\n"),
    ("another kind", b"+OK\r\n"),
    ("another length", b"*9\r\n" + b":1\r\n" * 9),
    ("texts for numbers", b"*2\r\n$1\r\n1\r\n$1\r\n1\r\n"),
    ("nil", b"$-1\r\n"),
    ("endless text", b"$999999999\r\n" + b"x" * 700_000),
    ("a count past all measure", b"*2000000000\r\n"),
    ("nested without end", b"*1\r\n" * 40),
    ("nothing", None),
    ("an unknown error", b"-WHAT is this\r\n"),
])
def test_wrong_answers(own_stack, peers, what, answer):
    """Each request is decided by its rule's on_error in time; when the peer mends its ways, it decides again."""
    peer = peers(EVALSHA=answer)
    gateway = start(own_stack, {"address": peer.address, **REAL})
    wait_ready(gateway)
    began = time.monotonic()
    codes = [ask(gateway, f"d{i}").status_code for i in range(8)]
    assert codes == [200] * 8, codes
    assert time.monotonic() - began < 4, "a time-out each at worst"
    # the first of two answers is right, and the connection ends with the second; the beat's answer may make half an answer whole
    least = {"two answers": 0, "half an answer": 3}.get(what, 7)
    assert decided(gateway, "device", "fallback_allowed") >= least, what
    peer.answers["EVALSHA"] = allowed

    def decides() -> bool:
        before = decided(gateway, "device", "allowed")
        ask(gateway, "mended")
        return decided(gateway, "device", "allowed") > before

    wait_until(decides, 10, "the peer decides again")


@pytest.mark.parametrize("error", [
    "LOADING Redis is loading the dataset in memory", "MISCONF Redis is configured to save RDB snapshots",
    "OOM command not allowed when used memory > 'maxmemory'.", "BUSY Redis is busy running a script.",
    "NOREPLICAS Not enough good replicas to write.", "CLUSTERDOWN The cluster is down"])
def test_refusals_fall_back_and_open_the_breaker(own_stack, peers, error):
    peer = peers(EVALSHA=f"-{error}\r\n".encode())
    closed = {"name": "closed", "by": "device", "at": "readyz", "limit": "9/1h", "on_error": "closed"}
    gateway = start(own_stack, {"address": peer.address, **REAL, "probe": "200ms"}, BY_DEVICE, closed)
    wait_ready(gateway)
    with httpx.Client(base_url=gateway.url, verify=own_stack.trust, headers={"x-device-id": "d"}) as client:
        assert [client.get("/livez").status_code for _ in range(20)] == [200] * 20
        refused = client.get("/readyz")
        assert refused.status_code == 503 and int(refused.headers["retry-after"]) >= 1
    assert peer.count("EVALSHA") <= 20, "the breaker spares it most"
    assert gateway.metric('tidegate_redis_breaker_opened_total{role="limits"}') >= 1
    assert gateway.metric(f'tidegate_redis_node_failures_total{{role="limits",node="{peer.address}"}}') >= 5


def test_late_answers_reach_nobody_else(own_stack, peers):
    """Every fifth answer is late. What arrives after its time-out is dropped, and the order of the rest holds."""
    turns = iter(range(10**9))

    def answer(words: list[str]) -> bytes:
        n = next(turns)
        if n % 5 == 4:
            time.sleep(0.15)
        # says "no" to exactly the devices whose rule is named so, so that a mix-up is seen
        return b"*2\r\n:0\r\n:99999999999\r\n" if ":no:" in words[3] else allowed(words)

    peer = peers(EVALSHA=answer)
    rules = [{"name": "yes", "by": "device", "at": "livez", "limit": "1000/1s", "on_error": "open"},
             {"name": "no", "by": "device", "at": "readyz", "limit": "1/1h", "on_error": "open"}]
    settings = with_redis(own_stack, {"address": peer.address, "timeout": "50ms", "stall": "2s", "breaker_failures": 1000},
                          *rules, patient=False)
    settings["limits"]["deny_max"] = "0ms"
    gateway = own_stack.start_gateway(settings, ready=False)
    wait_ready(gateway)
    for i in range(60):
        path, wanted = (("/livez", {200}), ("/readyz", {429, 200}))[i % 2]
        got = gateway.get(path, headers={"x-device-id": f"d{i}"}).status_code
        assert got in wanted, (path, got)
    assert decided(gateway, "yes", "denied") == 0 and decided(gateway, "no", "allowed") == 0
    assert decided(gateway, "no", "denied") > 0 and decided(gateway, "yes", "fallback_allowed") > 0


def names(primary, epoch: int = 1):
    """What a Sentinel answers: who the primary is, by which choice. Functions, so that a test may change its mind."""
    def answer(words: list[str]) -> bytes:
        at = primary() if callable(primary) else primary
        pairs = [b"*2\r\n" + bulk("127.0.0.1") + bulk(str(at.port)),
                 b"*4\r\n" + bulk("name") + bulk("tide") + bulk("config-epoch") + bulk(str(epoch))]
        return pairs[words[1] == "master"]
    return answer


def test_readonly_sends_to_the_sentinels(own_stack, peers):
    """A primary that was demoted and still holds the connection: its first READONLY ends it, the Sentinel says whither."""
    new = peers(EVALSHA=allowed)
    old = peers(EVALSHA=b"-READONLY You can't write against a read only replica.\r\n")
    named = [old]
    sentinel = peers(SENTINEL=names(lambda: named[0]))
    gateway = start(own_stack, {"sentinels": [sentinel.address], "master": "tide", **REAL})
    wait_ready(gateway)
    old.answers["ROLE"] = b"*1\r\n$5\r\nslave\r\n"
    assert [ask(gateway, f"d{i}").status_code for i in range(4)] == [200] * 4
    assert 1 <= old.count("EVALSHA") <= 4
    assert not is_ready(gateway), "the Sentinel still names the old one, and its ROLE says replica: not used"
    assert [ask(gateway, f"e{i}").status_code for i in range(4)] == [200] * 4
    asked = old.count("EVALSHA")
    assert asked <= 4, "each loop's connection ends at its first READONLY"
    named[0] = new
    wait_ready(gateway)
    assert ask(gateway, "f").status_code == 200
    assert new.count("EVALSHA") == 1 and old.count("EVALSHA") == asked


def test_a_sentinel_that_does_not_know_is_passed_over(own_stack, peers):
    primary = peers(EVALSHA=allowed)
    ignorant = peers(SENTINEL=b"*-1\r\n")
    silent = peers(SENTINEL=None)
    wrong = peers(SENTINEL=b"*2\r\n:1\r\n:2\r\n")
    good = peers(SENTINEL=names(primary))
    sentinels = [peer.address for peer in (ignorant, silent, wrong, good)]
    gateway = start(own_stack, {"sentinels": sentinels, "master": "tide", **REAL})
    wait_ready(gateway)
    assert ask(gateway, "d").status_code == 200
    assert decided(gateway, "device", "allowed") == 1


def test_a_sentinel_that_lags_behind_is_not_believed(own_stack, peers):
    """After a fail-over one Sentinel still names the old primary, which takes itself for one: nothing goes there."""
    old, new, third = peers(EVALSHA=allowed), peers(EVALSHA=allowed), peers(EVALSHA=allowed)
    sentinels = [peers(SENTINEL=names(old, 3)) for _ in range(2)]
    gateway = start(own_stack, {"sentinels": [peer.address for peer in sentinels], "master": "tide", **REAL})
    wait_ready(gateway)
    assert ask(gateway, "a").status_code == 200 and old.count("EVALSHA") == 1

    def on_node(peer) -> float:
        return gateway.metric(f'tidegate_redis_node_ready{{role="limits",node="{peer.address}"}}')

    def switches() -> float:
        return gateway.metric('tidegate_redis_primary_switches_total{role="limits"}')

    sentinels[0].answers["SENTINEL"] = names(new, 4)
    wait_until(lambda: on_node(new) == 2 or sentinels[1].hang_up(), 10, "both loops have asked the other one")
    lagging = sentinels[1].count("SENTINEL")
    before = switches()
    for _ in range(3):  # whichever a loop asked, it asks the other now
        for peer in sentinels:
            peer.hang_up()
        time.sleep(0.6)
    assert sentinels[1].count("SENTINEL") > lagging, "the one that lags was asked"
    assert switches() == before and on_node(new) == 2
    assert ask(gateway, "b").status_code == 200
    assert (old.count("EVALSHA"), new.count("EVALSHA")) == (1, 1)

    for peer in sentinels:  # set up anew: they count from the start again, and agree
        peer.answers["SENTINEL"] = names(third, 0)
        peer.hang_up()
    wait_until(lambda: on_node(third) == 2, 10, "all of them say so")
    assert ask(gateway, "c").status_code == 200 and third.count("EVALSHA") == 1


@pytest.mark.parametrize("slots", [
    b"*0\r\n", b"+OK\r\n", b"-ERR This instance has cluster support disabled\r\n", None,
    b"*1\r\n*3\r\n:0\r\n:99999\r\n*2\r\n$9\r\n127.0.0.1\r\n:1\r\n", b"*1\r\n*3\r\n:5\r\n:1\r\n*2\r\n$9\r\n127.0.0.1\r\n:1\r\n",
    b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n:1\r\n:1\r\n", b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$1\r\n?\r\n:1\r\n"])
def test_maps_that_are_none(own_stack, peers, slots):
    peer = peers(CLUSTER=slots, EVALSHA=allowed)
    gateway = start(own_stack, {"cluster": [peer.address], **REAL})
    assert [ask(gateway, "d").status_code for _ in range(3)] == [200] * 3
    time.sleep(1)
    assert not is_ready(gateway) and peer.count("EVALSHA") == 0
    assert peer.count("CLUSTER") < 2 * 12, "asked with pauses that grow, one question at a time a loop"
    peer.answers["CLUSTER"] = b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$0\r\n\r\n:%d\r\n" % peer.port  # "" is the one who was asked
    wait_ready(gateway)
    assert ask(gateway, "e").status_code == 200 and peer.count("EVALSHA") == 1


def test_moved_in_circles_ends(own_stack, peers):
    """Two nodes that send everything to one another: a few hops, then the rule's on_error; the map is not stormed."""
    a, b = peers(), peers()
    one = b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n"
    for peer, other in ((a, b), (b, a)):
        peer.answers["EVALSHA"] = b"-MOVED 1 127.0.0.1:%d\r\n" % other.port
        peer.answers["CLUSTER"] = one % peer.port
    gateway = start(own_stack, {"cluster": [a.address, b.address], **REAL})
    wait_ready(gateway)
    maps = a.count("CLUSTER") + b.count("CLUSTER")
    began = time.monotonic()
    assert [ask(gateway, f"d{i}").status_code for i in range(20)] == [200] * 20
    took = time.monotonic() - began
    assert a.count("EVALSHA") + b.count("EVALSHA") <= 20 * 5
    assert a.count("CLUSTER") + b.count("CLUSTER") - maps <= 2 * (took / 0.05 + 2)
    assert decided(gateway, "device", "fallback_allowed") == 20


def test_real_refusals(own_stack):
    """Out of memory, a script that does not end, a replica: real ones."""
    own_stack.start_redis()
    port = own_stack.redis.port
    gateway = start(own_stack, {"address": f"127.0.0.1:{port}", **REAL, "probe": "100ms"})
    wait_ready(gateway)

    def fallbacks() -> float:
        return decided(gateway, "device", "fallback_allowed")

    def trouble(begin, end, name: str) -> None:
        begin()
        before = fallbacks()
        assert [ask(gateway, f"{name}{i}").status_code for i in range(10)] == [200] * 10
        assert fallbacks() - before == 10, name
        end()

        def decides() -> bool:
            seen = decided(gateway, "device", "allowed")
            return ask(gateway, name).status_code == 200 and decided(gateway, "device", "allowed") > seen

        wait_until(decides, 5, f"{name} is over")

    trouble(lambda: cli(port, "CONFIG", "SET", "maxmemory", "1"), lambda: cli(port, "CONFIG", "SET", "maxmemory", "0"), "oom")
    trouble(lambda: cli(port, "REPLICAOF", "127.0.0.1", "1"), lambda: cli(port, "REPLICAOF", "NO", "ONE"), "readonly")
    cli(port, "CONFIG", "SET", "busy-reply-threshold", "50")

    def hang() -> None:
        own_stack.busy = subprocess.Popen(["redis-cli", "-p", str(port), "EVAL", "while true do end", "0"],
                                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: "BUSY" in cli(port, "PING"), 5, "it is busy")

    trouble(hang, lambda: cli(port, "SCRIPT", "KILL"), "busy")
    own_stack.busy.wait(10)
