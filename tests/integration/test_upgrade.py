"""One program in the place of another: nothing is lost while it happens, and one that cannot take over changes nothing."""
import json
import os
import signal
import socket
from types import SimpleNamespace

import h2.events
import httpx
import pytest

from tide.askers import Fresh, KeepAlive, Listener, Multiplexed, speak_slowly
from tide.edge import H2, read_all
from tide.place import Place, begin_tls, connect_tls
from tide.process import Adopted, adopt_orphans, free_port, wait_until
from tide.stack import Gateway, program

@pytest.fixture
def place(own_stack):
    p = Place(own_stack)
    yield p
    p.worker.stop()


def pid_of(gateway) -> int:
    return json.loads(gateway.ctl("check", "-o", "json").stdout)["pid"]


def linked_gateway(place, settings):
    """Started by a link, as an installed program's may be; with the link."""
    g = Gateway(place.stack, "gateway-1", settings)
    place.stack.gateways.append(g)
    link = place.stack.folder / "tidegate"
    link.symlink_to(program("tidegate"))
    g.process.command[0] = str(link)
    g.start()
    return g, link


def link_to_script(place, link, text):
    script = place.stack.folder / "script"
    script.write_text(f"#!/bin/sh\n{text}\n")
    script.chmod(0o755)
    link.unlink()
    link.symlink_to(script)


@pytest.mark.tsan
def test_three_upgrades_under_load_lose_nothing(place):
    place.worker.behave = speak_slowly
    g = place.start()
    callers = [kind(g) for kind in (KeepAlive, KeepAlive, Multiplexed, Fresh)]
    streams = []
    for caller in callers:
        caller.start()
    for n in range(3):
        new = [Listener(place, g, http2) for http2 in (False, True)]
        streams += new
        for stream in new:
            stream.start()
            assert stream.began.wait(20), stream.trouble
        g.upgrade()
        assert pid_of(g) == g.process.pid
        answers = [caller.answers for caller in callers]
        wait_until(lambda: all(c.answers > before + 5 or c.wrong for c, before in zip(callers, answers)), 30, "they go on")
    for stream in streams:
        stream.assert_whole()
    for caller in callers:
        caller.end()
    assert {c.connections for c in callers[:3]} == {4}  # asked to leave once an upgrade, not more
    for before in g.replaced:
        assert before.wait(90) == 0  # what it had has ended, and it left by itself
    assert g.get("/livez").status_code == 200


def test_connections_that_have_not_asked_yet_are_asked_to_leave(place):
    """One with half a head, one that is silent before its HTTP/2 preface, and one before its TLS handshake."""
    plain = {"name": "plain", "address": f"127.0.0.1:{free_port()}", "tls": False}
    g = place.start(process={"threads": 1}, http={"first_byte": "60s", "handshake": "60s", "header": "60s"},
                    listeners=place.settings()["listeners"] + [plain])
    silent, half = (socket.create_connection(("127.0.0.1", int(plain["address"][10:])), timeout=30) for _ in range(2))
    request = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
    half.sendall(request + request[:25])
    assert b" 200 " in half.recv(4096)  # and what came before it is accepted as well
    before_tls = socket.create_connection(("127.0.0.1", int(g.port)), timeout=30)
    known = H2(SimpleNamespace(connect=lambda alpn: connect_tls(g, place.stack.trust, alpn)))
    known.wait_for(h2.events.ResponseReceived, known.request("/livez"), 30)
    before = g.upgrade()
    wait_until(lambda: known.poll(0.1) is not None and known.goaway_code() == 0, 30, "who has asked is asked to leave")
    half.sendall(request[25:])
    answer = read_all(half)
    assert b"HTTP/1.1 200 " in answer and b"\r\nconnection: close\r\n" in answer
    late = (H2(SimpleNamespace(connect=lambda alpn: silent)),
            H2(SimpleNamespace(connect=lambda alpn: begin_tls(before_tls, alpn))))
    for client in late:
        client.wait_for(h2.events.ResponseReceived, client.request("/livez"), 30)
    for client in late:
        wait_until(lambda: client.poll(0.1) is not None and client.closed, 30, "it is asked to leave")
        assert client.goaway_code() == 0
    assert before.wait(60) == 0


def test_what_only_a_start_reads_changes(place):
    g = place.start()
    listener = {"name": "second", "address": f"127.0.0.1:{free_port()}", "tls": False}
    g.settings["process"]["threads"] = 3
    g.settings["listeners"].append(listener)
    g.write()
    assert "restart or an upgrade" in g.ctl("reload", check=False).stderr
    g.upgrade()
    assert httpx.get(f"http://{listener['address']}/livez").status_code == 200
    assert len([t for t in g.process.tasks() if (t / "comm").read_text().startswith("loop-")]) == 3
    for _ in range(20):  # connections reach every loop: the third has a socket as well
        assert g.get("/livez").status_code == 200
    second = Gateway(place.stack, "second", {**place.settings(), "listeners": g.settings["listeners"][:1]})
    second.process.start()
    assert second.process.child.wait(60) == 1 and "another instance" in second.process.tail()  # the lock moved along
    del g.settings["listeners"][1]
    g.write()
    g.upgrade()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://{listener['address']}/livez")
    assert g.get("/readyz").status_code == 200


def test_a_drained_worker_stays_drained(place):
    """Twice; until an operator takes it back."""
    g = place.start()
    states = lambda: {w["name"]: w["draining"] for w in json.loads(g.ctl("get", "workers", "-o", "json").stdout)["items"]}
    name = next(iter(states()))
    g.ctl("drain", "worker", name, "--reason", "new weights", f"--confirm={name}")
    for _ in range(2):
        g.upgrade()
        assert states()[name] is True
    g.ctl("drain", "worker", name, "--undo")
    g.upgrade()
    assert states()[name] is False


def test_a_drain_during_an_upgrade_is_refused(place):
    """The new process would not know of it. One that is taken back, too; and when the upgrade has failed, it is done."""
    settings = place.settings()
    settings["process"]["upgrade"] = "60s"
    g, link = linked_gateway(place, settings)
    draining = lambda: json.loads(g.ctl("get", "workers", "-o", "json").stdout)["items"][0]["draining"]
    name = json.loads(g.ctl("get", "workers", "-o", "json").stdout)["items"][0]["name"]
    held = place.stack.folder / "held"
    os.mkfifo(held)
    link_to_script(place, link, f"read line < {held}; exit 3")
    g.process.send(signal.SIGUSR2)
    with open(held, "w"):  # opens when the script does
        for words in (["--undo"], [f"--confirm={name}"], [f"--confirm={name}", "--dry-run"]):
            refused = g.ctl("drain", "worker", name, *words, check=False)
            assert refused.returncode != 0 and "an upgrade is on its way" in refused.stderr, refused
        assert draining() is False
    wait_until(lambda: g.metric('tidegate_upgrades_total{result="failed"}') == 1, 30, "the upgrade has failed")
    g.ctl("drain", "worker", name, f"--confirm={name}")
    assert draining() is True


@pytest.mark.parametrize("program_text,why", [
    ("exit 3", "ended before it was ready"), ("sleep 60", "not ready within process.upgrade")])
def test_a_program_that_does_not_start_changes_nothing(place, program_text, why):
    """The command is a link, and the link is changed."""
    settings = place.settings()
    settings["process"]["upgrade"] = "1500ms"
    g, link = linked_gateway(place, settings)
    pid, caller = g.process.pid, KeepAlive(g)
    caller.start()
    link_to_script(place, link, program_text)
    refused = g.ctl("upgrade", check=False)
    assert refused.returncode == 1 and why in refused.stderr
    assert pid_of(g) == pid and g.process.is_alive()
    assert g.metric('tidegate_upgrades_total{result="failed"}') == 1
    link.unlink()
    link.symlink_to(program("tidegate"))
    g.settings["process"]["upgrade"] = "60s"
    g.write()
    g.ctl("reload")
    g.upgrade()  # and after that a good one does
    assert pid_of(g) == g.process.pid != pid
    caller.end()


def test_a_bad_configuration_changes_nothing(place):
    g = place.start(chat={"probe": "200ms"})
    good = g.conf.read_text()
    g.conf.write_text(good + "bogus: 1\n")
    refused = g.ctl("upgrade", check=False)
    assert refused.returncode == 1 and f"{g.conf}:{len(good.splitlines()) + 1}:" in refused.stderr, refused.stderr
    assert g.get("/livez").status_code == 200
    g.conf.write_text(good)
    place.worker.health = 503
    wait_until(lambda: g.get("/readyz").status_code == 503, 20, "the worker is missed")
    g.upgrade()  # it is no worse than what it replaces
    assert g.get("/livez").status_code == 200


def test_the_signal_and_the_service_manager(place):
    adopt_orphans()
    path = place.stack.folder / "notify.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(30)
        g = Gateway(place.stack, "gateway-1", place.settings())
        place.stack.gateways.append(g)
        g.process.env.update({"NOTIFY_SOCKET": str(path)})
        g.start()
        g.process.send(signal.SIGUSR2)
        said = ""
        while not said.startswith("MAINPID="):
            said = manager.recv(4096).decode()
        new = int(said[8:])
        assert new != g.process.pid and pid_of(g) == new
        assert g.process.child.wait(30) == 0
        g.process.child = Adopted(new)
        while "READY=1" not in said.splitlines():
            manager.settimeout(1)
            try:
                said = manager.recv(4096).decode()
            except TimeoutError:
                break  # it was said before, by the new one
        assert "STOPPING" not in said
    assert g.process.is_alive() and g.get("/livez").status_code == 200


def test_the_end_of_both_at_once(place):
    """As a service manager ends all processes of a service: the stream of the old one has process.drain to end."""
    place.worker.behave = speak_slowly
    g = place.start()
    stream = Listener(place, g, http2=True)
    stream.start()
    assert stream.began.wait(20)
    before = g.upgrade()
    for child in (before, g.process.child):
        child.send_signal(signal.SIGTERM)
    stream.assert_whole()
    assert before.wait(20) == 0 and g.process.child.wait(20) == 0


def test_a_socket_that_was_open_to_others_is_closed_to_them(own_stack):
    """The mode of its file is the new configuration's, though the socket is the old process's."""
    settings = own_stack.settings()
    settings["admin"] = {"mode": "0666"}
    g = own_stack.start_gateway(settings)
    assert g.socket.stat().st_mode & 0o777 == 0o666
    g.settings["admin"]["mode"] = "0600"
    g.write()
    g.upgrade()
    assert g.socket.stat().st_mode & 0o777 == 0o600
    assert g.ctl("get", "workers").returncode == 0


def test_a_socket_whose_file_is_gone_stops_no_upgrade(own_stack):
    """Something that clears old files removed it: nobody finds that socket before a restart, but everything else is served."""
    settings = own_stack.settings()
    read_socket = own_stack.folder / "read.sock"
    settings["admin"] = {"read_socket": f"unix:{read_socket}"}
    g = own_stack.start_gateway(settings)
    read_socket.unlink()
    before = g.upgrade()
    assert before.wait(60) == 0
    assert pid_of(g) == g.process.pid and g.get("/livez").status_code == 200
    assert "its file is gone" in g.process.tail()
