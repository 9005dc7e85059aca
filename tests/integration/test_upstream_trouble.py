"""Upstreams that send garbage, too much, too little or nothing, behind the proxy and behind chat, to clients of HTTP/1.1 and
HTTP/2: a clear 502 or 504 before the first byte, a broken answer after it, never another's bytes, and nothing leaks."""
import socket
import time

import httpx
import pytest

from tide.chat_rig import MESSAGES, ChatRig
from tide.edge import H2
from tide.process import wait_until
from tide.scripted import ScriptedWorker

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"


class TroubleRig(ChatRig):
    """The same scripted server as a worker and behind a route."""

    def __init__(self, folder):
        self.server = ScriptedWorker()
        super().__init__(folder, [self.server.target], first_byte="2s", idle="1500ms", proxy={
            "upstreams": [{"name": "up", "targets": [self.server.target], "answer": "1500ms", "idle": "1200ms"}],
            "routes": [{"name": "up", "path": "/up/", "upstream": "up", "auth": "none"}]})

    def close(self):
        super().close()
        self.server.stop()

    def connect(self, alpn=None):
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    r = TroubleRig(tmp_path_factory.mktemp("trouble"))
    yield r
    r.close()


def endless(start: bytes, more: bytes, most: int = 8 << 20):
    """Sends more and more, until the gateway has had enough."""
    def behave(x):
        x.send(start)
        for _ in range(0, most, len(more)):
            x.send(more)
        x.close()
    return behave


def then_close(data: bytes):
    def behave(x):
        x.send(data)
        x.close()
    return behave


def then_silence(data: bytes):
    def behave(x):
        x.send(data)
        x.wait_gone(10)
    return behave


BEFORE_THE_HEAD = {
    "garbage": (then_close(b"\x00\x01\xff garbage\r\n\r\n"), 502), "HTTP/0.9": (then_close(b"<html>hello</html>"), 502),
    "HTTP/2": (then_close(b"HTTP/2.0 200 OK\r\n\r\n"), 502), "a status of two digits": (then_close(b"HTTP/1.1 20 OK\r\n\r\n"), 502),
    "status 999": (then_close(b"HTTP/1.1 999 Odd\r\n\r\n"), 502),
    "two lengths": (then_close(OK + b"content-length: 1\r\ncontent-length: 2\r\n\r\nxx"), 502),
    "length and chunks": (then_close(OK + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"), 502),
    "a negative length": (then_close(OK + b"content-length: -1\r\n\r\n"), 502),
    "a length past 2^64": (then_close(OK + b"content-length: 18446744073709551617\r\n\r\nx"), 502),
    "gzip, chunked": (then_close(OK + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), 502),
    "CR in a field": (then_close(OK + b"x: a\rb\r\ncontent-length: 0\r\n\r\n"), 502),
    "NUL in a field": (then_close(OK + b"x: a\0b\r\ncontent-length: 0\r\n\r\n"), 502),
    "a field without a name": (then_close(OK + b": x\r\ncontent-length: 0\r\n\r\n"), 502),
    "a folded field": (then_close(OK + b"x: a\r\n b\r\ncontent-length: 0\r\n\r\n"), 502),
    "101": (then_close(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"), 502),
    "a flood of 1xx": (endless(b"", b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" * 100), 502),
    "fields without end": (endless(OK, b"x: y\r\n" * 1000), 502), "a field without end": (endless(OK + b"x: ", b"y" * 16384), 502),
    "a line without end": (endless(b"HTTP/1.1 200 ", b"O" * 16384), 502),
    "half a head": (then_close(OK + b"content-len"), 502), "closed at once": (then_close(b""), 502),
    "reset at once": (lambda x: x.reset(), 502), "half a head, then silence": (then_silence(OK + b"content-len"), 504),
    "nothing": (then_silence(b""), 504), "100 and then nothing": (then_silence(b"HTTP/1.1 100 Continue\r\n\r\n"), 504),
}
IN_THE_BODY = {
    "shorter than announced": then_close(OK + b"content-length: 100\r\n\r\nhalf"),
    "reset in the middle": lambda x: (x.send(OK + b"content-length: 100\r\n\r\nhalf"), time.sleep(0.05), x.reset()),
    "silence in the middle": then_silence(OK + b"content-length: 100\r\n\r\nhalf"),
    "chunks without their end": then_close(CHUNKED + b"4\r\nhalf\r\n"),
    "a chunk size of 17 digits": then_close(CHUNKED + b"4\r\nhalf\r\n" + b"1" * 17 + b"\r\nxxxx"),
    "a huge chunk": then_close(CHUNKED + b"4\r\nhalf\r\nffffffff\r\nxxxx"),
    "no chunk size": then_close(CHUNKED + b"4\r\nhalf\r\n\r\nxxxx"), "size -1": then_close(CHUNKED + b"4\r\nhalf\r\n-1\r\nxxxx"),
    "a chunk longer than said": then_close(CHUNKED + b"4\r\nhalf!!!!\r\n0\r\n\r\n"),
    "an extension without end": endless(CHUNKED + b"4\r\nhalf\r\n4;", b"a" * 16384),
    "trailers without end": endless(CHUNKED + b"4\r\nhalf\r\n0\r\n", b"x: y\r\n" * 1000),
}


def settled(rig) -> None:
    wait_until(lambda: rig.metric("tidegate_requests_active") == 0, 10, "no request is left")


@pytest.mark.parametrize("what", BEFORE_THE_HEAD)
def test_what_is_no_answer_becomes_one(rig, what):
    behave, status = BEFORE_THE_HEAD[what]
    rig.server.behave = behave
    h1 = rig.http.get("/up/x")
    assert h1.status_code == status, h1.text
    assert h1.headers["content-type"].startswith("application/problem+json")
    client = H2(rig)
    assert client.status(client.request("/up/x")) == status
    client.close()
    settled(rig)
    rig.server.behave = lambda x: x.reply(200, {"fine": True})
    assert rig.http.get("/up/x").json() == {"fine": True}


@pytest.mark.parametrize("what", IN_THE_BODY)
def test_what_breaks_off_is_seen_as_broken(rig, what):
    rig.server.behave = IN_THE_BODY[what]
    try:
        answer = rig.http.get("/up/x")
        assert answer.status_code == 502, answer.text  # all came at once, and nothing was sent yet
    except httpx.RemoteProtocolError:
        pass
    client = H2(rig)
    stream = client.request("/up/x")
    wait_until(lambda: client.poll(0.05) is not None and client.reset_codes(), 5, "the stream is reset")
    assert stream == 1
    client.close()
    settled(rig)
    rig.server.behave = lambda x: x.reply(200, {"fine": True})
    assert rig.http.get("/up/x").json() == {"fine": True}


def test_more_than_announced_belongs_to_nobody(rig):
    """What follows a whole answer is not the next one's."""
    rig.server.behave = lambda x: x.send(OK + b"content-length: 4\r\n\r\ngoodHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
    for _ in range(5):
        assert rig.http.get("/up/x").content == b"good"


def test_an_answer_before_the_request_is_whole_passes(rig):
    rig.server.behave = lambda x: x.reply(200, {})
    server = rig.server

    def pieces():
        for _ in range(50):
            yield b"z" * 1000
            time.sleep(0.002)
    assert rig.http.post("/up/x", content=pieces()).status_code == 200
    assert len(server.asked[-1].body) == 50_000


@pytest.mark.parametrize("what", ["garbage", "two lengths", "101", "fields without end", "closed at once", "nothing",
                                  "half a head, then silence"])
def test_a_worker_that_does_so_costs_a_request_not_the_gateway(rig, what):
    behave, status = BEFORE_THE_HEAD[what]
    for stream in (False, True):
        rig.server.behave = behave
        answer = rig.post(stream=stream)
        assert answer.status_code in (502, 503, 504), answer.text
        assert answer.json()["error"]["message"]
        settled(rig)
    rig.server.behave = lambda x: x.completion("Well again.")
    wait_until(lambda: rig.post().status_code == 200, 10, "the worker is asked again")
    wait_until(rig.is_idle, 10, "nothing of it is left")


def test_nothing_stays_open(rig):
    """Descriptors after all of the above, and after doing it again."""
    def once():
        for behave, _ in list(BEFORE_THE_HEAD.values())[:14]:
            rig.server.behave = behave
            rig.http.get("/up/x")
            rig.http.post("/v1/chat/completions", json={"model": "m", "messages": MESSAGES, "stream": True})
        settled(rig)
    once()
    files = rig.process.open_files()
    for _ in range(3):
        once()
    wait_until(lambda: rig.process.open_files() <= files + 2, 10, "descriptors are back")
