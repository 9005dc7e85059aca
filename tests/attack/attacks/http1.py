"""HTTP/1: slow, large, and many."""
import time

from attacker import attack

CLOSED = "tidegate_http_limit_closes_total"
GET = b"GET /x/small HTTP/1.1\r\nhost: localhost\r\n"
POST = b"POST /x/small HTTP/1.1\r\nhost: localhost\r\n"


def hold_after(a, first: bytes, every: float, drip, many: int = 200, **how) -> None:
    conns = []
    for _ in a.count(many):
        conns.append(a.tls(**how))
        if conns[-1]:
            conns[-1].send(first)
    a.hold(conns, every, drip)


@attack("Slowloris", limit="http.header", counter=CLOSED + '{reason="request_timeout"}', closes=True, slow=True)
def slow_head(a):
    """A header that never ends: a field now and then."""
    hold_after(a, GET, 0.2, lambda turn: b"x-%d: 1\r\n" % turn if turn < 40 else b"")


@attack("Slowloris, silent", limit="http.first_byte", counter=CLOSED + '{reason="first_byte"}', closes=True, slow=True)
def slow_first_byte(a):
    """A handshake, and then not one byte."""
    hold_after(a, b"", 0.2, lambda turn: b"")


@attack("R.U.D.Y., slow POST", limit="http.body", counter=CLOSED + '{reason="request_timeout"}', closes=True, slow=True)
def slow_body(a):
    """A body of 100,000 bytes, one at a time."""
    hold_after(a, POST + b"content-length: 100000\r\n\r\n", 0.2, lambda turn: b"a")


@attack("slow POST in chunks", limit="http.body_min_rate", counter=CLOSED + '{reason="request_timeout"}', closes=True, slow=True,
        lasts=7)
def slow_chunks(a):
    """The same without saying how long it will be."""
    hold_after(a, POST + b"transfer-encoding: chunked\r\n\r\n", 0.2, lambda turn: b"1\r\na\r\n")


@attack("slow read", limit="http.send_stall", counter=CLOSED + '{reason="send_stall"}', closes=True, slow=True)
def slow_read(a):
    """Asks for 50 MB with a small window and takes none of it."""
    conns = [a.tls(receive=4096) for _ in a.count(40)]
    for conn in conns:
        if conn:
            conn.send(b"GET /x/bytes?n=50000000 HTTP/1.1\r\nhost: localhost\r\n\r\n")
    a.hold(conns, 0.2, lambda turn: b"", reads=False)


@attack("slow read, a little at a time", limit="http.send_min_rate", counter=CLOSED + '{reason="send_min_rate"}', closes=True, slow=True)
def slow_sips(a):
    """Asks for 50 MB, takes some, and then 150 bytes a second, so that it never stalls."""
    conns = [a.tls(receive=4096) for _ in a.count(40)]
    for conn in conns:
        if conn:
            conn.send(b"GET /x/bytes?n=50000000 HTTP/1.1\r\nhost: localhost\r\n\r\n")
    a.hold(conns, 0.2, lambda turn: b"", sip=lambda turn: 2000 if turn < 10 else 30)


@attack("keep-alive hoard", limit="http.idle", counter=CLOSED + '{reason="idle"}', closes=True, slow=True)
def idle_keep_alive(a):
    """One request, and then the connection is kept for nothing."""
    hold_after(a, GET + b"\r\n", 0.2, lambda turn: b"")


@attack("header bomb", limit="http.h1_header", counter=CLOSED + '{reason="header_fields_too_large"}', closes=True)
def header_bomb(a):
    """A header field of 64 MB."""
    while a.goes_on():
        conn = a.tls()
        if conn:
            a.pour(conn, [GET + b"x: "] + [b"a" * 16384] * 4000)
            conn.sock.close()
        time.sleep(0.02)


@attack("many header fields", limit="http.fields", counter=CLOSED + '{reason="header_fields_too_large"}', closes=True)
def header_fields(a):
    """Hundreds of small fields, just below the limit of bytes, in every request."""
    request = GET + b"".join(b"a%d: b\r\n" % n for n in range(900)) + b"\r\n"
    while a.goes_on():
        conn = a.tls()
        if conn:
            a.pour(conn, [request] * 20)
            conn.sock.close()
        time.sleep(0.02)


@attack("pipelining flood", limit="one request of a connection at a time", starts=None)
def pipelining(a):
    """Thousands of requests at once, and no answer is read."""
    while a.goes_on():
        conn = a.tls()
        if conn:
            a.pour(conn, [(GET + b"\r\n") * 200] * 1000, reads=False)
            conn.sock.close()


@attack("one-byte chunks", limit="http.body_min_rate")
def tiny_chunks(a):
    """A body in chunks of one byte: six bytes on the wire for each, and work for each."""
    while a.goes_on():
        conn = a.tls()
        if conn:
            a.pour(conn, [POST + b"transfer-encoding: chunked\r\n\r\n"] + [b"1\r\na\r\n" * 2700] * 60 + [b"0\r\n\r\n"])
            conn.sock.close()


@attack("client abort flood", limit="upstream cancelled at once", starts=200)
def abort_flood(a):
    """Asks for something slow and leaves at once: rapid reset by hand."""
    while a.goes_on():
        conn = a.tls()
        if conn:
            conn.send(b"GET /x/hang HTTP/1.1\r\nhost: localhost\r\n\r\n")
            a.drop(conn)


@attack("Expect: 100-continue hoard", limit="http.body", counter=CLOSED + '{reason="request_timeout"}', closes=True, slow=True)
def expect_and_wait(a):
    """Asks whether it may send a body, and never does."""
    hold_after(a, POST + b"expect: 100-continue\r\ncontent-length: 1000\r\n\r\n", 0.2, lambda turn: b"")
