"""Redis as fleets have it: TLS, Sentinel and Cluster, with primaries killed and slots moved under load.

Bounds that hold through a fail-over, for a rule with on_error: local, G gateways and a burst of B:
- nobody gets a 5xx from the limiter;
- let pass in all: at most B by the old primary, B by the fallback of all gateways together (B/G each), and what the
  old primary had let pass but not yet told its replica.
"""
import collections
import json
import re
import signal
import threading
import time

import httpx
import pytest

from tide.process import wait_until
from tide.redis_fleet import Cluster, Sentinels, TlsServer, calls, cli
from tide.stack import run

BY_DEVICE = {"name": "device", "by": "device", "at": "livez", "limit": "40/1d"}
BUSY = {"name": "busy", "by": "device", "at": "readyz", "limit": "1000000/1s"}  # devices named "busy..." ask there
RECOVERY_S = 8  # instrumented, two cores for everything; docs/operations.md has the parts of it


def with_redis(stack, redis: dict, *rules: dict, patient: bool = True) -> dict:
    settings = stack.settings()
    rules = [{"lease": "off", "newcomers": "exact", **rule} for rule in rules]  # each request is Redis's to decide
    settings["limits"] = {"shipped_rules": False, "rules": rules, "redis": dict(redis), "heartbeat": "300ms"}
    if patient:  # what is counted must be exact here, also where a busy machine lets Redis wait for more than 20 ms
        settings["limits"]["redis"].update({"timeout": "2s", "stall": "10s"})
    return settings


def start_gateways(stack, count: int, redis: dict, *rules: dict, **options) -> list:
    gateways = [stack.start_gateway(with_redis(stack, redis, *rules, **options)) for _ in range(count)]
    for gateway in gateways:
        wait_until(lambda: json.loads(gateway.ctl("-o", "json", "get", "limits").stdout)["gateways"] == count, 10,
                   "each knows of all")
        wait_ready(gateway)
    return gateways


def is_ready(gateway) -> bool:
    return json.loads(gateway.ctl("-o", "json", "check", check=False).stdout)["checks"]["redis"] is True


def wait_ready(gateway, seconds: float = 10) -> None:
    wait_until(lambda: is_ready(gateway), seconds, "Redis is ready")


def ask(gateway, device: str) -> httpx.Response:
    return gateway.get("/livez", headers={"x-device-id": device})


def decided(gateway, rule: str, decision: str) -> float:
    return gateway.metric(f'tidegate_limits_decisions_total{{rule="{rule}",decision="{decision}"}}')


class Load:
    """Devices that ask again and again, each gateway in turn; what they were told, by device."""

    def __init__(self, stack, gateways: list, devices: list[str], pause: float = 0.002):
        self.stack, self.gateways, self.devices, self.pause = stack, gateways, devices, pause
        self.codes = collections.defaultdict(collections.Counter)
        self.slowest = 0.0
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=self.live, args=(device, i)) for i, device in enumerate(devices)]

    def live(self, device: str, turn: int) -> None:
        clients = [httpx.Client(base_url=gateway.url, verify=self.stack.trust, headers={"x-device-id": device})
                   for gateway in self.gateways]
        while not self.ended.is_set():
            began = time.monotonic()
            path = "/readyz" if device.startswith("busy") else "/livez"
            self.codes[device][clients[turn % len(clients)].get(path).status_code] += 1
            self.slowest = max(self.slowest, time.monotonic() - began)
            turn += 1
            time.sleep(self.pause)
        for client in clients:
            client.close()

    def __enter__(self) -> "Load":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.ended.set()
        for thread in self.threads:
            thread.join()

    def all_codes(self) -> set:
        return set().union(*self.codes.values())


@pytest.fixture
def sentinels(own_stack):
    fleet = Sentinels(own_stack.folder / "sentinels").start()
    yield fleet
    own_stack.stop()
    fleet.stop()


@pytest.fixture
def cluster(own_stack):
    fleet = Cluster(own_stack.folder / "cluster").start()
    yield fleet
    own_stack.stop()
    fleet.stop()


# --- TLS -------------------------------------------------------------------------------------------


def client_certificate(stack) -> dict:
    f = stack.folder
    run("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f / "client.key",
        "-out", f / "client.csr", "-subj", "/CN=gateway")
    run("openssl", "x509", "-req", "-in", f / "client.csr", "-CA", stack.ca, "-CAkey", f / "ca.key", "-days", "30",
        "-out", f / "client.pem")
    (f / "client.key").chmod(0o600)
    return {"cert_file": str(f / "client.pem"), "key_file": str(f / "client.key")}


def test_tls_with_certificates_names_and_users(own_stack):
    """Encrypted, both sides proven, a user of its own; what does not fit is refused and every rule falls back."""
    stack = own_stack
    client = client_certificate(stack)
    tls = TlsServer(stack.folder / "redis-tls", stack.ca, stack.cert, stack.key, client).start()
    stack.others.append(tls.process)
    password = stack.folder / "redis.password"
    password.write_text("correct horse\n")
    password.chmod(0o600)
    tls.cli("ACL", "SETUSER", "tide", "on", ">correct horse", "~rl:*", "+@read", "+@write",
            "+@scripting", "+@connection", "+time", "+role", "+cluster|slots")  # as docs/operations.md says
    good = {"address": f"localhost:{tls.port}", "user": "tide", "password_file": str(password),
            "tls": {"ca_file": str(stack.ca), **client}}
    [gateway] = start_gateways(stack, 1, good, {**BY_DEVICE, "limit": "5/1h"})
    codes = [ask(gateway, "one").status_code for _ in range(8)]
    assert codes == [200] * 5 + [429] * 3, codes
    assert decided(gateway, "device", "fallback_allowed") == 0
    assert tls.cli("CLIENT", "LIST").count("user=tide") == 2, "one connection a loop"

    strangers = stack.folder / "strangers.pem"
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
        stack.folder / "strangers.key", "-out", strangers, "-subj", "/CN=strangers", "-days", "30")
    wrong_password = stack.folder / "wrong.password"
    wrong_password.write_text("wrong\n")
    wrong_password.chmod(0o600)
    refused = {
        "hostname mismatch": {**good, "tls": {**good["tls"], "server_name": "redis.example"}},
        "self-signed certificate in certificate chain|unable to get local issuer certificate":
            {**good, "tls": {**good["tls"], "ca_file": str(strangers)}},
        "WRONGPASS": {**good, "password_file": str(wrong_password)},
        "certificate required|closed by the server|handshake failure|reset by peer":
            {**good, "tls": {"ca_file": str(stack.ca)}},
    }
    for why, redis in refused.items():
        other = stack.start_gateway(with_redis(stack, redis, {**BY_DEVICE, "limit": "5/1h"}), ready=False)
        wait_until(lambda: re.search(f'role=limits state=down .*why="[^"]*({why})', other.process.log.read_text()), 10, why)
        assert ask(other, "one").status_code == 200, "decided here: on_error is local"
        assert decided(other, "device", "fallback_allowed") == 1
        assert other.process.stop() == 0


@pytest.mark.parametrize("redis, words", [
    ({}, "limits.redis.address: exactly one of address, sentinels and cluster"),
    ({"address": "127.0.0.1:1", "cluster": ["127.0.0.1:1"]}, "exactly one of address"),
    ({"address": "127.0.0.1"}, "limits.redis.address: \"127.0.0.1\" is neither host:port nor unix:/path"),
    ({"sentinels": ["127.0.0.1:1"]}, "limits.redis.master: sentinels and master go together"),
    ({"sentinels": ["127.0.0.1:1", "nowhere"], "master": "m"}, "limits.redis.sentinels: \"nowhere\" is not host:port"),
    ({"cluster": ["unix:/tmp/x"]}, "limits.redis.cluster: \"unix:/tmp/x\" is not host:port"),
    ({"cluster": ["127.0.0.1:1"], "db": 1}, "limits.redis.db: a Cluster has only database 0"),
    ({"address": "127.0.0.1:1", "user": "x"}, "limits.redis.password_file: user needs it"),
    ({"address": "127.0.0.1:1", "tls": {"ca_file": "/nonexistent"}}, "limits.redis.tls.ca_file: "),
    ({"address": "unix:/tmp/x", "tls": {}}, "limits.redis.tls: not over a unix socket"),
])
def test_settings_that_cannot_be(own_stack, redis, words):
    with pytest.raises(AssertionError) as refused:
        own_stack.start_gateway(with_redis(own_stack, redis, BY_DEVICE, patient=False))
    own_stack.gateways.clear()
    assert words in str(refused.value)


# --- Sentinel --------------------------------------------------------------------------------------


def test_sentinel_primary_killed_under_load(own_stack, sentinels):
    gateways = start_gateways(own_stack, 2, sentinels.settings, BUSY, BY_DEVICE)
    old = sentinels.primary()
    with Load(own_stack, gateways, ["hot", *[f"busy{i}" for i in range(5)]]) as load:
        wait_until(lambda: load.codes["hot"][429] > 20, 20, "hot has used its burst")
        assert load.codes["hot"][200] == 40
        killed = time.monotonic()
        old.process.kill()
        wait_until(lambda: sentinels.primary().port != old.port, 20, "the Sentinels choose another", every=0.02)
        chosen = time.monotonic()
        for gateway in gateways:
            wait_ready(gateway)
        assert time.monotonic() - killed < RECOVERY_S
        assert time.monotonic() - chosen < 3, "the gateways follow"
        after = [decided(gateway, "busy", "allowed") for gateway in gateways]
        old.start()  # a primary by its own account, also by that of a Sentinel which has not heard yet
        wait_until(lambda: all(decided(g, "busy", "allowed") > a + 50 for g, a in zip(gateways, after)), 10, "Redis decides")
    assert load.all_codes() <= {200, 429}, load.codes
    told = [(decided(g, "device", "allowed"), decided(g, "device", "fallback_allowed")) for g in gateways]
    assert 40 <= load.codes["hot"][200] <= 40 + 40, (load.codes["hot"], told)
    assert sum(decided(gateway, "busy", "fallback_allowed") for gateway in gateways) > 0
    assert calls(old.port) == 0, "nothing was asked of the one that came back"
    assert load.slowest < 3, load.slowest
    for gateway in gateways:
        assert gateway.metric('tidegate_redis_primary_switches_total{role="limits"}') >= 2  # one a loop
        assert gateway.metric(f'tidegate_redis_node_ready{{role="limits",node="{old.address}"}}') == 0
        wait_until(lambda: gateway.metric(
            f'tidegate_redis_node_ready{{role="limits",node="{sentinels.primary().address}"}}') == 2, 10, "both loops follow")


def test_sentinel_planned_switch(own_stack, sentinels):
    """SENTINEL FAILOVER: the old primary lives on, and for a while still takes itself for one."""
    [gateway] = start_gateways(own_stack, 1, sentinels.settings, BUSY, BY_DEVICE)
    old = sentinels.primary()
    with Load(own_stack, [gateway], ["hot", "busy0", "busy1"]) as load:
        wait_until(lambda: load.codes["hot"][429] > 20, 20, "hot has used its burst")
        cli(sentinels.ports[0], "SENTINEL", "FAILOVER", "tide")
        wait_until(lambda: all(sentinels.primary(port).port != old.port for port in sentinels.ports), 20, "switched")
        address = sentinels.primary().address
        wait_until(lambda: gateway.metric(f'tidegate_redis_node_ready{{role="limits",node="{address}"}}') == 2, 3, "followed")
        asked = calls(old.port)
        before = decided(gateway, "busy", "allowed")
        wait_until(lambda: decided(gateway, "busy", "allowed") > before + 50, 10, "the new one decides")
        assert calls(old.port) == asked, "the old one is asked no more"
    assert load.all_codes() <= {200, 429}, load.codes
    assert 40 <= load.codes["hot"][200] <= 40 + 40, load.codes["hot"]


def test_sentinel_hung_primary_and_dead_sentinel(own_stack, sentinels):
    """SIGSTOP: the primary's port still accepts. One Sentinel is gone as well: the next one is asked."""
    redis = {**sentinels.settings, "timeout": "100ms", "stall": "500ms"}
    [gateway] = start_gateways(own_stack, 1, redis, BUSY, patient=False)
    sentinels.watchers[0].kill()
    old = sentinels.primary()
    with Load(own_stack, [gateway], ["busy0", "busy1"]) as load:
        time.sleep(0.3)
        old.process.send(signal.SIGSTOP)
        stopped = time.monotonic()
        try:
            wait_until(lambda: sentinels.primary().port != old.port, 20, "the Sentinels choose another", every=0.02)
            wait_ready(gateway)
            assert time.monotonic() - stopped < RECOVERY_S
        finally:
            old.process.send(signal.SIGCONT)
    assert load.all_codes() == {200}, load.codes
    assert load.slowest < 3, load.slowest


# --- Cluster ---------------------------------------------------------------------------------------


def test_cluster_counts_exactly_and_refunds(own_stack, cluster):
    """Two gateways, rules of three subjects: a script a subject, in parallel; a denial gives back what others took."""
    rules = [{**BY_DEVICE, "limit": "5/1h"}, {"name": "twice", "by": "device+route", "at": "livez", "limit": "1000/1h"},
             {"name": "around", "by": "address", "at": "livez", "limit": "30/1h"},
             {"name": "all", "by": "route", "at": "livez", "limit": "1000/1h"}]
    gateways = [own_stack.start_gateway({**with_redis(own_stack, cluster.settings, *rules)}) for _ in range(2)]
    for gateway in gateways:
        wait_ready(gateway)
    codes = [ask(gateways[i % 2], "greedy").status_code for i in range(20)]
    assert codes == [200] * 5 + [429] * 15, codes
    asked = sum(calls(server.port) for server in cluster.servers)
    assert asked < 2 * 20, "three subjects, not four rules; and the deny cache spares the rest (a beat now and then besides)"
    codes = [ask(gateways[i % 2], f"modest-{i}").status_code for i in range(26)]
    assert codes == [200] * 25 + [429], "the address paid for the five that passed, and for none of the fifteen"
    assert {code for gateway in gateways for code in [gateway.metric('tidegate_redis_redirects_total{role="limits"}')]} == {0}
    keys = cluster.keys()
    assert all(re.fullmatch(r"rl:gateways|rl:(device|twice|around|all):\{[0-9a-f]{4}\}[0-9a-f]{32}", key) for key in keys)
    tags = collections.defaultdict(set)
    for key in keys:
        if "{" in key:
            tags[key.split(":")[1]].add(key[key.index("{"):key.index("}")])
    assert tags["device"] == tags["twice"] and len(tags["device"]) > 20, tags
    assert len(tags["around"]) == len(tags["all"]) == 1
    nodes = re.findall(r'tidegate_redis_node_ready\{role="limits",node="([^"]+)"\} 2', gateways[0].metrics())
    assert sorted(nodes) == sorted(server.address for server in cluster.primaries()), "one connection a node and loop"


def test_cluster_slots_moved_under_load(own_stack, cluster):
    """A tenth of the slots goes to another node and back while devices use their last tokens: not one too many."""
    gateways = start_gateways(own_stack, 2, cluster.settings, {**BY_DEVICE, "limit": "200/1d"})
    devices = [f"d{i}" for i in range(6)]
    first, second, _ = cluster.primaries()
    with Load(own_stack, gateways, devices) as load:
        time.sleep(0.3)
        for source, target in ((first, second), (second, first)):
            cluster.move(1500, source, target)
        wait_until(lambda: all(load.codes[device][429] > 3 for device in devices), 60, "all have used their burst")
    assert load.all_codes() == {200, 429}, load.codes
    assert [load.codes[device][200] for device in devices] == [200] * 6
    assert sum(gateway.metric('tidegate_redis_redirects_total{role="limits"}') for gateway in gateways) > 0
    assert sum(decided(gateway, "device", "fallback_allowed") for gateway in gateways) == 0

    def asks_in_vain() -> float:
        before = gateways[0].metric('tidegate_redis_redirects_total{role="limits"}')
        assert all(ask(gateways[0], f"new-{i}").status_code == 200 for i in range(30))
        return gateways[0].metric('tidegate_redis_redirects_total{role="limits"}') - before

    wait_until(lambda: asks_in_vain() == 0, 5, "the maps of both loops are right again")


def test_cluster_primary_killed_under_load(own_stack, cluster):
    """The slots of the dead node fall back until its replica has taken over; the others never notice."""
    gateways = start_gateways(own_stack, 2, cluster.settings, BY_DEVICE)
    devices = [f"d{i}" for i in range(8)]
    old = cluster.primaries()[0]
    with Load(own_stack, gateways, devices) as load:
        wait_until(lambda: all(load.codes[device][429] > 3 for device in devices), 30, "all have used their burst")
        assert [load.codes[device][200] for device in devices] == [40] * 8
        killed = time.monotonic()
        old.process.kill()
        wait_until(lambda: len(cluster.primaries()) == 3, 20, "a replica has taken over", every=0.02)
        chosen = time.monotonic()
        for gateway in gateways:
            wait_ready(gateway)
        assert time.monotonic() - killed < RECOVERY_S
        assert time.monotonic() - chosen < 3, "the gateways follow"
        old.start()
        wait_until(lambda: old.role() == "slave", 20, "the old primary follows the new one")
        asked = calls(old.port)
        time.sleep(0.5)
    assert load.all_codes() == {200, 429}, load.codes
    passed = [load.codes[device][200] for device in devices]
    assert all(40 <= n <= 40 + 40 for n in passed), passed
    assert passed.count(40) >= 1, f"devices of the living nodes were counted exactly: {passed}"
    assert max(passed) > 40, f"and the others had their share meanwhile: {passed}"
    assert asked == calls(old.port) == 0, "a replica is not asked"
    assert load.slowest < 3, load.slowest


def test_cluster_forgets_its_scripts_and_nobody_notices(own_stack, cluster):
    gateways = start_gateways(own_stack, 1, cluster.settings, {**BY_DEVICE, "limit": "150/1d"})
    devices = [f"d{i}" for i in range(6)]
    with Load(own_stack, gateways, devices) as load:
        while not all(load.codes[device][429] > 3 for device in devices):
            for server in cluster.primaries():
                cli(server.port, "SCRIPT", "FLUSH")
            time.sleep(0.1)
    assert load.all_codes() == {200, 429}, load.codes
    assert [load.codes[device][200] for device in devices] == [150] * 6
    assert gateways[0].metric('tidegate_redis_script_loads_total{role="limits"}') > 0


# --- both loops at once ----------------------------------------------------------------------------


def busiest(fleet):
    """A primary that is sure to be missed."""
    return fleet.primary() if isinstance(fleet, Sentinels) else max(fleet.primaries(), key=lambda server: calls(server.port))


@pytest.mark.tsan
@pytest.mark.parametrize("kind", ["sentinels", "cluster"])
def test_two_loops_lose_a_primary(own_stack, kind, request):
    """What the loops of one process share while each of them finds out, falls back and follows."""
    fleet = request.getfixturevalue(kind)
    settings = with_redis(own_stack, fleet.settings, BUSY)
    assert settings["process"]["threads"] == 2
    gateway = own_stack.start_gateway(settings)
    wait_ready(gateway, 60)
    with Load(own_stack, [gateway], [f"busy{i}" for i in range(8)]) as load:
        wait_until(lambda: decided(gateway, "busy", "allowed") > 200, 60, "Redis decides")
        busiest(fleet).process.kill()
        wait_until(lambda: decided(gateway, "busy", "fallback_allowed") > 0, 60, "its keys fall back")
        wait_ready(gateway, 60)
        before = decided(gateway, "busy", "allowed")
        wait_until(lambda: decided(gateway, "busy", "allowed") > before + 200, 60, "Redis decides again")
    assert load.all_codes() == {200}, load.codes
