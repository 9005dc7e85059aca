"""The honest client: twenty small requests a second, by turns on a new HTTP/1 connection and on a kept HTTP/2 one."""
import socket
import ssl
import time
from dataclasses import dataclass, field

import frames
from frames import HELLO, get, head

EVERY, PATIENCE = 0.05, 2.0
BLOCK = head(b"/probe")


@dataclass
class Seen:
    """Milliseconds of what was answered, and reasons of what was not."""
    ms: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


class Probe:
    def __init__(self, port: int, source: str, seen: Seen):
        self.port, self.source, self.seen = port, source, seen
        self.h2: ssl.SSLSocket | None = None
        self.stream = 1
        self.contexts = {}
        for alpn in ("http/1.1", "h2"):
            self.contexts[alpn] = context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.set_alpn_protocols([alpn])

    def connect(self, alpn: str) -> ssl.SSLSocket:
        raw = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE, source_address=(self.source, 0))
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self.contexts[alpn].wrap_socket(raw, server_hostname="localhost")

    def by_h1(self) -> None:
        with self.connect("http/1.1") as s:
            s.sendall(b"GET /probe HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            answer = b""
            while piece := s.recv(65536):
                answer += piece
        if not answer.startswith(b"HTTP/1.1 200 ") or not answer.endswith(b"x" * 200):
            raise ValueError(f"h1: {answer[:40]!r}")

    def by_h2(self) -> None:
        if self.h2 is None:
            self.h2, self.stream = self.connect("h2"), 1
            self.h2.sendall(HELLO + frames.frame(frames.WINDOW_UPDATE, 0, 0, b"\x3f\0\0\0"))
        self.h2.settimeout(PATIENCE)
        self.h2.sendall(get(self.stream, BLOCK))
        body, rest = b"", b""
        while True:
            piece = self.h2.recv(65536)
            if not piece:
                raise ConnectionError("h2: closed")
            found, rest = frames.split(rest + piece)
            for kind, flags, stream, payload in found:
                if kind in (frames.SETTINGS, frames.PING) and not flags & frames.ACK:
                    self.h2.sendall(frames.frame(kind, frames.ACK, 0, payload if kind == frames.PING else b""))
                if kind == frames.DATA and stream == self.stream:
                    body += payload
                if stream == self.stream and kind == frames.RST_STREAM:
                    raise ConnectionError("h2: reset")
                if stream == self.stream and flags & frames.END_STREAM and kind in (frames.DATA, frames.HEADERS):
                    self.stream += 2
                    if body != b"x" * 200:
                        raise ValueError(f"h2: {body[:40]!r}")
                    return

    def once(self, turn: int) -> None:
        began = time.monotonic()
        try:
            (self.by_h1, self.by_h2)[turn % 2]()
        except (OSError, ValueError) as error:
            self.seen.failed.append(f"{'h1' if turn % 2 == 0 else 'h2'} {error!r}"[:100])
            if turn % 2 and self.h2:
                self.h2.close()
                self.h2 = None
            return
        self.seen.ms.append((time.monotonic() - began) * 1000)

    def run(self, is_over) -> None:
        due = time.monotonic()
        turn = 0
        while not is_over():
            self.once(turn)
            turn += 1
            due += EVERY
            now = time.monotonic()
            if due > now:
                time.sleep(due - now)
            else:
                due = now
        if self.h2:
            self.h2.close()
