"""Near a ceiling the cheapest goes first, and what runs goes on: memory, descriptors, disks, the clock; twenty reloads."""
import json
import os
import re
import signal
import time

import h2.events
import httpx
import pytest

from tide.askers import Fresh, KeepAlive, Listener, Multiplexed, speak_slowly
from tide.edge import read_all
from tide.place import Held, Place, connect_tls, open_stream
from tide.process import Process, wait_until
from tide.stack import APIKEY, SANITIZERS, WORKER_BUILD, Gateway

FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"


@pytest.fixture
def place(own_stack):
    p = Place(own_stack)
    yield p
    p.worker.stop()


# --- memory ---------------------------------------------------------------------------------------------


def set_limit(gateway, percent: int) -> None:
    """What is resident now becomes this much of the limit."""
    gateway.settings["process"]["memory_max"] = gateway.process.rss_kb() * 1024 * 100 // percent
    gateway.write()
    gateway.ctl("reload")


def press(gateway, percent: int, level: int) -> None:
    """Up to a level. A reload takes memory itself: when that was too much it is tried again from below."""
    for _ in range(5):
        set_limit(gateway, 30)
        wait_until(lambda: gateway.metric("tidegate_memory_pressure") == 0, 10, "it is relaxed")
        set_limit(gateway, percent)
        wait_until(lambda: gateway.metric("tidegate_memory_pressure") > 0, 10, "it is pressed")
        time.sleep(0.3)
        if gateway.metric("tidegate_memory_pressure") == level:
            return
    raise AssertionError(f"not level {level}:\n{gateway.process.tail()}")


def idle_connection(place, gateway):
    idle = connect_tls(gateway, place.stack.trust, "http/1.1")
    idle.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b" 200 " in idle.recv(4096)
    return idle


@pytest.mark.tsan
def test_short_of_memory_the_cheapest_goes_first(place):
    place.stack.start_servers()
    g = place.start()
    held = Held(place.worker)
    client = open_stream(place, g)
    assert held.began.wait(10)
    idle = idle_connection(place, g)
    press(g, 86, 1)
    assert read_all(idle) == b"", "an idle connection is closed"
    assert g.get("/livez").headers["connection"] == "close"  # new ones come, and go after their answer
    press(g, 92, 2)
    with pytest.raises((httpx.ConnectError, httpx.ReadError)):
        g.get("/livez")
    assert client.status(client.request("/livez")) == 200  # the connection of the running stream still asks
    press(g, 99, 3)
    assert client.status(client.request("/livez")) == 200
    assert client.status(client.request("/auth/v1/settings", "GET", [("apikey", APIKEY)])) == 200, "accounts go on"
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hi."}]}).encode()
    refused = client.request("/v1/chat/completions", "POST", [*place.bearer.items(), ("content-type", "application/json")], body)
    assert client.status(refused) == 503
    assert int(dict(client.wait_for(h2.events.ResponseReceived, refused).headers)["retry-after"]) >= 1
    assert "short of memory" in client.body(refused).decode()
    held.may_end.set()
    assert b"[DONE]" in client.body(client.stream)  # and the stream was not touched
    set_limit(g, 30)
    wait_until(lambda: g.get("/livez").status_code == 200, 10, "all are welcome again")
    log = g.process.log.read_text()
    for step in ("idle", "connections", "requests"):
        assert f"memory pressure={step}" in log
        assert g.metric(f'tidegate_memory_pressure_total{{step="{step}"}}') >= 1
    assert g.metric("tidegate_memory_requests_refused_total") == 1
    client.close()


# --- descriptors ----------------------------------------------------------------------------------------


def test_full_of_connections_the_one_idle_longest_goes(place):
    settings = place.settings()
    settings["http"]["connections"] = 6
    settings["process"]["threads"] = 1
    g = place.stack.start_gateway(settings)
    held = Held(place.worker)
    client = open_stream(place, g)
    assert held.began.wait(10)
    idle = []
    for _ in range(5):
        idle.append(idle_connection(place, g))
        time.sleep(0.02)
    idle[0].sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")  # the oldest is now the one that was busy last
    assert b" 200 " in idle[0].recv(4096)
    time.sleep(0.02)
    newcomer = idle_connection(place, g)
    assert read_all(idle[1]) == b"", "idle longest"
    for other in (idle[0], *idle[2:], newcomer):
        other.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b" 200 " in other.recv(4096)
    held.may_end.set()
    assert b"[DONE]" in client.body(client.stream)
    assert g.metric('tidegate_http_limit_closes_total{reason="evicted_idle"}') == 1
    client.close()


# --- logs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["full disk", "pipe without a reader"])
def test_a_log_that_takes_nothing_holds_nobody_up(place, kind):
    path = "/dev/full"
    if kind != "full disk":
        path = str(place.stack.folder / "pipe")
        os.mkfifo(path)
    g = Gateway(place.stack, "gateway-1", place.settings())
    place.stack.gateways.append(g)
    g.settings["process"]["access_log"] = path
    g.write()
    g.start()
    callers = [KeepAlive(g) for _ in range(4)]
    for caller in callers:
        caller.start()
    wait_until(lambda: g.metric("tidegate_log_lines_dropped_total") > 0, 60, "lines are dropped and counted")
    g.process.send(signal.SIGUSR1)
    wait_until(lambda: "logs reopened" in g.process.log.read_text(), 10, "the program's own log goes on")
    slowest = max(ask(g) for _ in range(20))
    assert slowest < 5
    wait_until(lambda: all(caller.answers > 20 for caller in callers), 30, "the callers are answered")
    for caller in callers:
        caller.end()
    began = time.monotonic()
    assert g.process.stop() == 0 and time.monotonic() - began < 15


def ask(gateway) -> float:
    began = time.monotonic()
    assert gateway.get("/livez").status_code == 200
    return time.monotonic() - began


# --- the clock ------------------------------------------------------------------------------------------


@pytest.mark.skipif(not os.path.exists(FAKETIME), reason="libfaketime is not installed")
def test_the_clock_is_set_an_hour_ahead_and_back(place):
    """Of the optimised build: a sanitizer wants to be loaded first."""
    clock = place.stack.folder / "clock"
    clock.write_text("+0")
    g = Gateway(place.stack, "gateway-1", place.settings())
    place.stack.gateways.append(g)
    g.process = Process(g.name, [WORKER_BUILD / "bin" / "tidegate", "-c", g.conf], g.folder, env={
        **SANITIZERS, "LD_PRELOAD": FAKETIME, "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1"})
    g.start()
    place.worker.behave = speak_slowly
    stream = Listener(place, g, http2=True, words=60)
    caller = KeepAlive(g)
    for thread in (stream, caller):
        thread.start()
    assert stream.began.wait(20), stream.trouble
    hours = []
    for jump in ("+3600", "-3600", "+0"):
        clock.write_text(jump)
        before, lines = caller.answers, len(g.access_log.read_text().splitlines())
        wait_until(lambda: caller.answers > before + 50 or caller.wrong, 20, "it goes on answering")
        wait_until(lambda: len(g.access_log.read_text().splitlines()) > lines + 40, 5, "and writing its log at once")
        hours.append(g.access_log.read_text().splitlines()[-1][15:28])
    assert len(set(hours)) == 3, hours  # the clock did jump
    stream.assert_whole()
    caller.end()
    assert caller.connections == 1  # nobody was thought idle, or too old


# --- reload ---------------------------------------------------------------------------------------------


@pytest.mark.tsan
def test_twenty_reloads_under_load_lose_nothing_and_leave_one_snapshot(place):
    place.worker.behave = speak_slowly
    g = place.start()
    asking = [kind(g) for kind in (KeepAlive, Multiplexed, Fresh)]
    streams = [Listener(place, g, http2) for http2 in (False, True)]
    for thread in asking + streams:
        thread.start()
    for n in range(20):
        if n % 5 == 0:
            place.stack.renew_certificate()
        g.settings["cors"] = {"origins": [f"https://{n}.example"]}
        g.settings["limits"]["rules"][0]["limit"] = f"{1_000_000 + n}/1s"
        g.write()
        g.process.send(signal.SIGHUP)
        wait_until(lambda: g.metric('tidegate_config_reloads_total{result="ok"}') == n + 1, 15, "the reload")
    for stream in streams:
        stream.assert_whole()
    for one in asking:
        one.end()
    assert [one.connections for one in asking[:2]] == [1, 1]
    wait_until(lambda: g.metric("tidegate_config_snapshots") == 1, 10, "older configurations are gone")


def test_metrics_of_a_thousand_rules_and_routes_that_reloads_gave_up_are_gone(place):
    g = place.start()
    kept = dict(g.settings["limits"]["rules"][0])
    g.settings["proxy"] = {"upstreams": [{"name": "nobody", "targets": ["127.0.0.1:1"]}]}
    for n in range(0, 1000, 20):
        names = [f"passing{i}" for i in range(n, n + 20)]
        g.settings["limits"]["rules"] = [kept] + [{**kept, "name": name, "at": name} for name in names]
        g.settings["proxy"]["routes"] = [{"name": name, "path": f"/{name}/", "upstream": "nobody"} for name in names]
        g.write()
        g.ctl("reload")
    assert g.get("/passing999/").status_code == 401
    wait_until(lambda: g.metric("tidegate_config_snapshots") == 1, 20, "older configurations are gone")
    shown = g.metrics()
    assert {f"passing{i}" for i in range(980, 1000)} == set(re.findall(r'tidegate_requests_total{route="(passing\d+)"', shown))
    assert {f"passing{i}" for i in range(980, 1000)} == set(re.findall(r'rule="(passing\d+)"', shown))
    assert 'tidegate_requests_total{route="passing999",code="4xx"} 1' in shown
    assert g.metric("tidegate_metrics_unnamed_total") == 0
