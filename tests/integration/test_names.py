"""Upstreams by name: addresses from a name server, for as long as it says, and what happens when it does not answer."""
import socket
import threading
import time

import pytest

from tide.chat_rig import ChatRig
from tide.dns import A, AAAA, Dns
from tide.process import wait_until


class Upstreams:
    """One HTTP server an address, all on one port; each answers with its address."""

    def __init__(self, addresses):
        self.lock = threading.Lock()
        self.listeners = []
        port = 0
        for address in addresses:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            listener = socket.create_server((address, port), family=family)
            port = listener.getsockname()[1]
            self.listeners.append(listener)
            threading.Thread(target=self.accept, args=(listener, address.encode()), daemon=True).start()
        self.port = port

    def accept(self, listener, name):
        while True:
            try:
                s, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(s, name), daemon=True).start()

    def serve(self, s, name):
        data = b""
        with s:
            while piece := s.recv(65536):
                data += piece
                while b"\r\n\r\n" in data:
                    head, _, data = data.partition(b"\r\n\r\n")
                    close = b"connection: close\r\n" if b" /once/" in head else b""
                    s.sendall(b"HTTP/1.1 200 OK\r\n%scontent-length: %d\r\n\r\n%s" % (close, len(name), name))
                    if close:
                        return

    def close(self):
        for listener in self.listeners:
            listener.close()


class NamedRig(ChatRig):
    def __init__(self, folder, addresses=("127.0.0.1", "127.0.0.2", "::1")):
        self.dns = Dns()
        self.servers = Upstreams(addresses)
        names = ["up.test", "down.test", "slow.test"]
        super().__init__(folder, [], process={"threads": 1, "name_servers": [self.dns.address]}, proxy={
            "upstreams": [{"name": name[:-5], "targets": [f"{name}:{self.servers.port}"], "connect": "400ms"} for name in names],
            "routes": [{"name": f"{kind}-{name[:-5]}", "path": f"/{kind}/{name[:-5]}/", "upstream": name[:-5], "auth": "none"}
                       for name in names for kind in ("once", "keep")]})
        self.http.headers.pop("authorization")

    def get(self, path, status=200):
        r = self.http.get(path)
        assert r.status_code == status, (r.status_code, r.text)
        return r.text

    def close(self):
        super().close()
        self.servers.close()
        self.dns.close()


@pytest.fixture
def rig(tmp_path):
    r = NamedRig(tmp_path)
    yield r
    r.close()


def test_answers_are_kept_for_their_time(rig):
    rig.dns.set("up.test", ["127.0.0.1"], ttl=2)
    assert rig.get("/once/up/") == "127.0.0.1"
    began = time.monotonic()
    while time.monotonic() - began < 1.5:
        assert rig.get("/once/up/") == "127.0.0.1"
    assert (rig.dns.count("up.test", A), rig.dns.count("up.test", AAAA)) == (1, 1)
    wait_until(lambda: rig.get("/once/up/") and rig.dns.count("up.test", A) == 2, 5, "it is asked again")
    assert rig.dns.asked[-1][0] - rig.dns.asked[0][0] > 1.9
    rig.dns.set("down.test", ["127.0.0.1"], ttl=0)  # never more than once a second
    for _ in range(100):
        rig.get("/once/down/")
    assert rig.dns.count("down.test", A) <= 3


@pytest.mark.parametrize("kind", ["once", "keep"])
def test_a_changed_address_is_taken_up(rig, kind):
    rig.dns.set("up.test", ["127.0.0.1"], ttl=1)
    assert rig.get(f"/{kind}/up/") == "127.0.0.1"
    rig.dns.set("up.test", ["127.0.0.2"], ttl=60)
    wait_until(lambda: rig.get(f"/{kind}/up/") == "127.0.0.2", 4, "the new address is used")
    assert {rig.get(f"/{kind}/up/") for _ in range(20)} == {"127.0.0.2"}


@pytest.mark.parametrize("how", ["nxdomain", "servfail", "silent", "garbage", "wrong_id", "truncated"])
def test_the_last_good_addresses_stay(rig, how):
    rig.dns.set("up.test", ["127.0.0.1"], ttl=1)
    assert rig.get("/once/up/") == "127.0.0.1"
    rig.dns.fail("up.test", how)
    slowest, end = 0.0, time.monotonic() + 2.5
    while time.monotonic() < end:
        began = time.monotonic()
        assert rig.get("/once/up/") == "127.0.0.1"
        slowest = max(slowest, time.monotonic() - began)
        time.sleep(0.02)
    assert slowest < 0.5 and rig.dns.count("up.test", A) >= 2
    rig.dns.set("up.test", ["127.0.0.2"], ttl=60)
    wait_until(lambda: rig.get("/once/up/") == "127.0.0.2", 15, "the name server is believed again")


def test_a_name_without_an_address_is_an_error_soon_and_holds_up_nobody(rig):
    rig.dns.set("up.test", ["127.0.0.1"])
    rig.get("/once/up/")
    rig.dns.fail("slow.test", "silent")
    assert "service_unavailable" in rig.get("/once/down/", 503)  # NXDOMAIN
    waiting = threading.Thread(target=rig.http.get, args=("/once/slow/",))
    began = time.monotonic()
    waiting.start()
    for _ in range(20):
        assert rig.get("/once/up/") == "127.0.0.1"
    assert time.monotonic() - began < 0.4
    waiting.join(5)
    began = time.monotonic()
    assert rig.http.get("/once/slow/").status_code in (503, 504)
    assert time.monotonic() - began < 1.5
    rig.dns.set("down.test", ["127.0.0.2"])
    wait_until(lambda: rig.http.get("/once/down/").text == "127.0.0.2", 4, "the name has come into being")


def test_both_families_are_used(rig):
    rig.dns.set("up.test", ["127.0.0.1", "127.0.0.2"], ["::1"])
    assert {rig.get("/once/up/") for _ in range(12)} == {"127.0.0.1", "127.0.0.2", "::1"}
    rig.dns.set("down.test", aaaa=["::1"])
    assert rig.get("/once/down/") == "::1"


def test_one_family_is_not_held_up_by_the_other(rig):
    rig.dns.set("slow.test", ["127.0.0.1"], ["::1"])
    rig.dns.fail("slow.test", "silent", types=(AAAA,))
    began = time.monotonic()
    assert rig.get("/once/slow/") == "127.0.0.1"
    assert time.monotonic() - began < 0.35


def test_addresses_that_nobody_answers_at_are_passed_over(rig):
    rig.dns.set("up.test", ["127.0.0.3", "127.0.0.1", "127.0.0.4"])
    assert {rig.get("/once/up/") for _ in range(9)} == {"127.0.0.1"}


def test_more_addresses_than_are_kept(rig):
    rig.dns.set("up.test", ["127.0.0.1"] * 28)
    assert {rig.get("/once/up/") for _ in range(20)} == {"127.0.0.1"}
