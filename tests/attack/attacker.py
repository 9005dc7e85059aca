"""What an attack has in its hands: connections from its own addresses, and a tally of how they ended."""
import contextlib
import itertools
import select
import socket
import ssl
import time
from dataclasses import dataclass
from typing import Callable, Iterable

import frames
from frames import HELLO

IPV6_FREEBIND = 78
PIECE = 16384
IGNORED = (OSError, ssl.SSLError)


@dataclass(frozen=True)
class Attack:
    """One way to do harm. `limit`: the setting that ends it; `counter`: the metric by which Tidegate says that it did.
    What must hold of Tidegate: `closes`: no connection outlives it, but `late` ones; `starts`: requests that the upstream
    sees in a second or two; `grows_mb`: memory while it lasts."""
    run: Callable
    of: str
    limit: str = ""
    counter: str = ""
    closes: bool = False
    late: int = 2
    starts: int | None = None
    grows_mb: int = 16
    slow: bool = False  # waits for a deadline
    lasts: float = 0  # seconds that it needs at least, with the deadlines of tests
    needs_addresses: bool = False  # more than loopback, which is exempt from limits by address

    @property
    def name(self) -> str:
        return self.run.__name__.replace("_", " ")


ATTACKS: dict[str, Attack] = {}


def attack(of: str, **more):
    """Registers a function as an attack: CVE, RFC or the name that it is known by."""
    if more.get("slow"):
        more.setdefault("lasts", 2.5)

    def register(run):
        one = Attack(run, of, **more)
        ATTACKS[one.name] = one
        return run
    return register


class Conn:
    """A connection that knows when the other side ended it."""

    def __init__(self, sock: socket.socket):
        self.sock = sock
        self.began = time.monotonic()
        self.ended: float | None = None
        self.received = b""  # the first of it
        self.got = 0

    def note_end(self) -> None:
        if self.ended is None:
            self.ended = time.monotonic()

    def send(self, data: bytes) -> bool:
        """All of it, waiting as long as it takes (at most the socket's timeout). False once it has ended."""
        try:
            self.sock.sendall(data)
        except IGNORED:
            self.note_end()
        return self.ended is None

    def offer(self, data: bytes) -> int:
        """As much of a piece as goes at once."""
        try:
            return self.sock.send(data)
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return 0
        except IGNORED:
            self.note_end()
            return 0

    def drain(self) -> bytes:
        """What is there to read."""
        data = b""
        self.sock.setblocking(False)
        try:
            while len(data) < 1 << 18 and (piece := self.sock.recv(65536)):
                data += piece
            if not data or not piece:
                self.note_end()
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except IGNORED:
            self.note_end()
        self.got += len(data)
        if len(self.received) < 65536:
            self.received += data
        return data

    def sip(self, most: int) -> None:
        """So many bytes from below TLS, which would read a record of 16 KiB for the first of them."""
        self.sock.setblocking(False)
        try:
            data = socket.socket.recv(self.sock, most)
            self.got += len(data)
            if not data:
                self.note_end()
        except BlockingIOError:
            pass
        except IGNORED:
            self.note_end()

    def read(self, seconds: float) -> bytes:
        """What comes within a time, or up to the end."""
        until = time.monotonic() + seconds
        self.drain()
        while self.ended is None and (left := until - time.monotonic()) > 0:
            select.select([self.sock], [], [], left)
            self.drain()
        return self.received

    def first(self, seconds: float, mark: bytes = b"") -> bytes:
        """The first bytes that come, up to this mark at least."""
        until = time.monotonic() + seconds
        self.drain()
        while self.ended is None and (not self.received or mark not in self.received) and (left := until - time.monotonic()) > 0:
            select.select([self.sock], [], [], left)
            self.drain()
        return self.received

    def answer(self, seconds: float = 2) -> int:
        """Status of an HTTP/1 answer; 0 when it was closed without one, or said nothing."""
        self.first(seconds, b"\r\n")
        words = self.received.split(b" ", 2)
        return int(words[1]) if words[0].startswith(b"HTTP/1") and words[1:] else 0


class Attacker:
    def __init__(self, target, seconds: float, private: bool, few: bool = False):
        self.target = target
        self.private = private  # in a network of our own, where all addresses are ours
        self.few = few
        self.until = time.monotonic() + seconds
        self.held_until = self.until  # by hold: those of tests wait for all to end, however slow the machine is
        self.conns: list[Conn] = []
        self.opened = self.refused = 0
        self.cases: dict[str, bool] = {}  # what was sent: whether it was refused
        self.numbers = itertools.count(1)
        self.context = self.make_context()

    @staticmethod
    def make_context(alpn: str | None = None, most=ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.maximum_version = most
        if alpn:
            context.set_alpn_protocols([alpn])
        return context

    # --- time and size ----------------------------------------------------------------------------

    def goes_on(self) -> bool:
        return time.monotonic() < self.until

    def count(self, many: int) -> range:
        """How many connections: many, or three where only the time to their end is asked."""
        return range(3 if self.few else many)

    # --- connections ------------------------------------------------------------------------------

    def address(self, host: int = 1) -> str:
        return f"198.51.100.{host % 254 + 1}" if self.private else "127.0.0.3"

    def tcp(self, source: str | None = None, receive: int = 0) -> Conn | None:
        """None when it was refused."""
        source = source or self.address()
        family = socket.AF_INET6 if ":" in source else socket.AF_INET
        sock = socket.socket(family)
        sock.settimeout(3)
        if receive:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.bind((source, 0))
            sock.connect(("::1" if family == socket.AF_INET6 else "127.0.0.1", self.target.port))
        except OSError:
            sock.close()
            self.refused += 1
            return None
        self.opened += 1
        self.conns.append(Conn(sock))
        return self.conns[-1]

    def tls(self, alpn: str | None = None, context: ssl.SSLContext | None = None, **how) -> Conn | None:
        conn = self.tcp(**how)
        if not conn:
            return None
        context = context or (self.make_context(alpn) if alpn else self.context)
        try:
            conn.sock = context.wrap_socket(conn.sock, server_hostname="localhost")
        except IGNORED:
            self.turned_away(conn)
            return None
        conn.began = time.monotonic()
        return conn

    def h2(self, hello: bytes = HELLO, **how) -> Conn | None:
        conn = self.tls("h2", **how)
        if conn:
            conn.send(hello)
        return conn

    def turned_away(self, conn: Conn) -> None:
        """It was taken from the queue only to be closed before the handshake was over."""
        self.conns.remove(conn)
        conn.sock.close()
        self.refused += 1

    def drop(self, conn: Conn) -> None:
        """Closed by us: it says nothing about the target's patience."""
        if conn.ended is None and conn in self.conns:
            self.conns.remove(conn)
        conn.sock.close()

    # --- ways of the many -------------------------------------------------------------------------

    def pour(self, conn: Conn, pieces: Iterable[bytes], reads: bool = True) -> None:
        """Sends pieces as fast as the target takes them, until it ends the connection or the time is over."""
        conn.sock.setblocking(False)
        rest = b""
        pieces = iter(pieces)
        while self.goes_on() and conn.ended is None:
            if not rest:
                rest = next(pieces, b"")
                if not rest:
                    break
            if reads:
                conn.drain()
            sent = conn.offer(rest[:PIECE])
            rest = rest[sent:]
            if sent == 0 and conn.ended is None:
                select.select([conn.sock] if reads else [], [conn.sock], [], 0.1)
        if reads and conn.ended is None:
            conn.read(min(1.0, max(0.0, self.until - time.monotonic())))

    def flood(self, pieces: Callable[[], Iterable[bytes]], reads: bool = True, **how) -> None:
        """Again and again: an HTTP/2 connection and all that it takes. Who is cut off comes back, as attackers do."""
        while self.goes_on():
            conn = self.h2(**how)
            if conn:
                self.pour(conn, pieces(), reads)
                conn.sock.close()
            else:
                time.sleep(0.02)

    def hold(self, conns: list[Conn | None], every: float, drip: Callable[[int], bytes], reads: bool = True,
             sip: Callable[[int], int] | None = None) -> None:
        """Keeps connections open with a little data now and then, until all have ended or the time is over. sip: how much
        each reads in a turn, as bytes on the wire."""
        open_ = [c for c in conns if c]
        turn = 0
        while open_ and time.monotonic() < self.held_until:
            piece = drip(turn)
            for conn in open_:
                if piece:
                    conn.sock.setblocking(False)
                    conn.offer(piece)
                if sip:
                    conn.sip(sip(turn))
                elif reads:
                    conn.drain()
                if (sip or not reads) and is_hung_up(conn.sock):  # what came before a reset can still be read
                    conn.note_end()
            open_ = [c for c in open_ if c.ended is None]
            turn += 1
            time.sleep(min(every, max(0.0, self.held_until - time.monotonic())))

    # --- the end ----------------------------------------------------------------------------------

    def tally(self) -> dict:
        took = sorted(c.ended - c.began for c in self.conns if c.ended is not None)
        open_ = sum(c.ended is None for c in self.conns)
        return {"opened": self.opened, "connections": len(self.conns), "refused": self.refused, "closed": len(took), "open": open_,
                "close_s": took[len(took) // 2] if took else None, "cases": self.cases}


def is_hung_up(sock: socket.socket) -> bool:
    """Whether the other side has reset or closed it, without reading."""
    poll = select.poll()
    poll.register(sock, select.POLLRDHUP | select.POLLHUP | select.POLLERR)
    return any(events & (select.POLLRDHUP | select.POLLHUP | select.POLLERR) for _, events in poll.poll(0))


@contextlib.contextmanager
def closing(conns: list[Conn | None]):
    try:
        yield [c for c in conns if c]
    finally:
        for conn in conns:
            if conn:
                conn.sock.close()


def streams(block: bytes, more: Callable[[int], bytes], per_piece: int = 100):
    """Pieces that open streams 1, 3, 5, ... with this head, each followed by more(stream)."""
    for first in range(1, 1 << 30, 2 * per_piece):
        yield b"".join(frames.get(s, block) + more(s) for s in range(first, first + 2 * per_piece, 2))
