"""A stack without accounts, for tests of one gateway's life, and a client that asks it without a pause."""
import json
import socket
import ssl
import threading
from types import SimpleNamespace

import h2.events
import httpx

from .edge import H2
from .scripted import ScriptedWorker
from .stack import Stack
from .tokens import Issuer


class Place:
    """A stack without accounts, one scripted worker, and an issuer for chat tokens."""

    def __init__(self, stack: Stack):
        self.stack = stack
        self.worker = ScriptedWorker()
        self.issuer = Issuer(stack.folder)

    def settings(self) -> dict:
        settings = self.stack.settings()
        settings["chat"]["workers"] = [{"name": "w", "target": self.worker.target, "models": ["m"]}]
        settings["issuers"] = [self.issuer.settings()]
        return settings

    def start(self, **sections):
        settings = self.settings()
        for name, section in sections.items():
            settings[name] = {**settings.get(name, {}), **section} if isinstance(section, dict) else section
        return self.stack.start_gateway(settings)

    @property
    def bearer(self) -> dict:
        return {"authorization": f"Bearer {self.issuer.token()}"}


class Caller(threading.Thread):
    """Asks without a pause, on a kept connection and on fresh ones by turns, and keeps what went wrong."""

    def __init__(self, gateway, trust):
        super().__init__(daemon=True)
        self.gateway, self.trust = gateway, trust
        self.answers, self.wrong = 0, []
        self.ended = threading.Event()

    def run(self):
        with httpx.Client(base_url=self.gateway.url, verify=self.trust, http2=True, timeout=20) as kept:
            while not self.ended.wait(0.01):
                try:
                    answer = kept.get("/livez") if self.answers % 4 else self.gateway.get("/livez")
                    if answer.status_code != 200:
                        self.wrong.append(answer.text)
                    self.answers += 1
                except httpx.HTTPError as error:
                    self.wrong.append(repr(error))

    def end(self):
        self.ended.set()
        self.join()
        assert self.answers > 20 and self.wrong == [], (self.answers, self.wrong[:3])


class Held:
    """The worker holds its stream after the first words until it is let go."""

    def __init__(self, worker: ScriptedWorker):
        self.began, self.may_end, self.gone = threading.Event(), threading.Event(), threading.Event()
        worker.behave = self.speak

    def speak(self, exchange) -> None:
        exchange.start_stream()
        exchange.delta(role="assistant", content="")
        exchange.delta(content="The")
        self.began.set()
        try:
            while not self.may_end.wait(0.05):
                exchange.send(b"")
                exchange.sock.setblocking(False)
                try:
                    if exchange.sock.recv(1, socket.MSG_PEEK) == b"":
                        self.gone.set()
                        return
                except BlockingIOError:
                    pass
                finally:
                    exchange.sock.setblocking(True)
        except ConnectionError:
            self.gone.set()
            return
        exchange.delta(content=" tide", finish="stop")
        exchange.end_stream()


def open_stream(place, gateway) -> H2:
    """A running chat on an HTTP/2 connection of its own."""
    edge = SimpleNamespace(connect=lambda alpn: connect_tls(gateway, place.stack.trust, alpn))
    client = H2(edge)
    fields = [(name, value) for name, value in place.bearer.items()] + [("content-type", "application/json")]
    body = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": "Hi."}]}).encode()
    client.stream = client.request("/v1/chat/completions", "POST", fields, body)
    assert client.status(client.stream) == 200
    client.wait_for(h2.events.DataReceived, client.stream)
    return client


def connect_tls(gateway, trust, alpn: str) -> ssl.SSLSocket:
    return begin_tls(socket.create_connection(("127.0.0.1", int(gateway.port)), timeout=20), alpn)


def begin_tls(raw: socket.socket, alpn: str) -> ssl.SSLSocket:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols([alpn])
    return context.wrap_socket(raw, server_hostname="localhost")
