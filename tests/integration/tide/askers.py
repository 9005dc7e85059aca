"""Clients that never stop, for what must not disturb anybody: each request is sent once, and all that goes wrong is kept."""
import http.client
import json
import socket
import ssl
import threading
import time
from types import SimpleNamespace

import h2.events
import httpx

from .edge import H2

EVENTS = 100


def speak_slowly(exchange) -> None:
    """max_tokens words, one every 50 ms."""
    exchange.start_stream()
    exchange.delta(role="assistant", content="")
    for n in range(exchange.json["max_tokens"]):
        time.sleep(0.05)
        exchange.delta(content=f" {n}")
    exchange.delta(finish="stop")
    exchange.end_stream()


class Listener(threading.Thread):
    """Reads one stream to its end and notes the words that came. HTTP/2 by a client of ours: httpx gives a stream up when
    GOAWAY comes, though it allows the stream to end."""

    def __init__(self, place, gateway, http2: bool, words: int = EVENTS):
        super().__init__(daemon=True)
        self.place, self.gateway, self.wanted = place, gateway, words
        self.read = self.read_http2 if http2 else self.read_http1
        self.words, self.done, self.trouble = [], False, None
        self.began = threading.Event()

    def run(self):
        body = {"model": "m", "stream": True, "max_tokens": self.wanted, "messages": [{"role": "user", "content": "Hi."}]}
        try:
            self.read(body)
        except Exception as error:  # noqa: BLE001 - whatever it is, the stream was not whole
            self.trouble = repr(error)

    def read_http1(self, body: dict) -> None:
        with httpx.Client(base_url=self.gateway.url, verify=self.place.stack.trust, timeout=30) as http, \
                http.stream("POST", "/v1/chat/completions", json=body, headers=self.place.bearer) as answer:
            assert answer.status_code == 200
            for line in answer.iter_lines():
                self.take(line)

    def read_http2(self, body: dict) -> None:
        client = connect_http2(self.gateway)
        fields = [*self.place.bearer.items(), ("content-type", "application/json")]
        stream = client.request("/v1/chat/completions", "POST", fields, json.dumps(body).encode())
        client.wait_for(h2.events.DataReceived, stream, 30)
        self.began.set()
        client.wait_for(h2.events.StreamEnded, stream, 60)
        for line in client.body(stream).decode().splitlines():
            self.take(line)
        client.close()

    def take(self, line: str) -> None:
        if line == "data: [DONE]":
            self.done = True
        elif line.startswith("data:"):
            text = json.loads(line[5:])["choices"][0]["delta"].get("content")
            if text:
                self.words.append(int(text))
                self.began.set()

    def assert_whole(self) -> None:
        self.join(60)
        assert (self.trouble, self.done) == (None, True) and self.words == list(range(self.wanted)), (
            self.trouble, self.done, self.words)


def anyone() -> ssl.SSLContext:
    """A context of its own: httpx sets ALPN on the one it is given."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def connect_http2(gateway) -> H2:
    def connect(alpn: str) -> ssl.SSLSocket:
        context = anyone()
        context.set_alpn_protocols([alpn])
        return context.wrap_socket(socket.create_connection(("127.0.0.1", int(gateway.port)), timeout=60))
    return H2(SimpleNamespace(connect=connect))


class Asker(threading.Thread):
    """Asks again and again until end(). A request is sent once: whatever goes wrong with it is kept."""

    def __init__(self, gateway, pause: float = 0.005):
        super().__init__(daemon=True)
        self.gateway, self.pause = gateway, pause
        self.answers, self.wrong, self.connections = 0, [], 1
        self.ended = threading.Event()

    def run(self):
        self.open()
        while not self.ended.wait(self.pause):
            try:
                self.ask()
                self.answers += 1
            except Exception as error:  # noqa: BLE001 - all that a client may meet
                self.wrong.append(repr(error))
                self.open()

    def end(self):
        self.ended.set()
        self.join()
        assert self.answers > 20 and self.wrong == [], (self.answers, self.wrong[:3])


class KeepAlive(Asker):
    """HTTP/1.1: another connection only after `connection: close`."""

    def open(self):
        self.http = http.client.HTTPSConnection("localhost", int(self.gateway.port), context=anyone(), timeout=60)

    def ask(self):
        self.http.request("GET", "/livez")
        answer = self.http.getresponse()
        self.connections += answer.getheader("connection") == "close"
        assert answer.read() == b"ok\n"


class Multiplexed(Asker):
    """HTTP/2: another connection only after GOAWAY."""

    def open(self):
        self.http = connect_http2(self.gateway)

    def ask(self):
        if self.http.goaway_code() is not None:
            self.http.close()
            self.connections += 1
            self.open()
        assert self.http.body(self.http.request("/livez")) == b"ok\n"


class Fresh(Asker):
    """A new connection for every request."""

    def open(self):
        pass

    def ask(self):
        assert self.gateway.get("/livez").text == "ok\n"
