"""Requests that two servers in a row could understand differently. Each form is sent on a connection of its own, with a
second request behind it: it must be refused (4xx or closed), and the second must never be answered."""
import frames
from attacker import attack
from frames import get, head

HOST = b"host: localhost\r\n"
INNER = b"GET /x/smuggled HTTP/1.1\r\nhost: localhost\r\n\r\n"


def post(*fields: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    return b"POST /x/small HTTP/" + version + b"\r\n" + HOST + b"".join(f + b"\r\n" for f in fields) + b"\r\n" + body


CHUNKED = b"transfer-encoding: chunked"
FRAMING = {
    "CL.TE": post(b"content-length: 5", CHUNKED, body=b"0\r\n\r\n"),
    "TE.CL": post(CHUNKED, b"content-length: 4", body=b"0\r\n\r\n"),
    "two CL": post(b"content-length: 0", b"content-length: 5", body=b"hello"),
    "equal CL": post(b"content-length: 5", b"content-length: 5", body=b"hello"),
    "CL list": post(b"content-length: 5, 5", body=b"hello"),
    "CL +5": post(b"content-length: +5", body=b"hello"),
    "CL -1": post(b"content-length: -1"),
    "CL 0x5": post(b"content-length: 0x5", body=b"hello"),
    "CL 5_0": post(b"content-length: 5_0", body=b"hello"),
    "CL of 2^64": post(b"content-length: 18446744073709551621", body=b"hello"),
    "CL empty": post(b"content-length:", body=b""),
    "CL with a space": post(b"content-length: 1 0", body=b"hello"),
    "TE x": post(b"transfer-encoding: x", body=b"0\r\n\r\n"),
    "TE xchunked": post(b"transfer-encoding: xchunked", body=b"0\r\n\r\n"),
    "TE chunked, identity": post(b"transfer-encoding: chunked, identity", body=b"0\r\n\r\n"),
    "TE identity": post(b"transfer-encoding: identity", b"content-length: 5", body=b"hello"),
    "TE gzip, chunked": post(b"transfer-encoding: gzip, chunked", body=b"0\r\n\r\n"),
    "two TE": post(CHUNKED, CHUNKED, body=b"0\r\n\r\n"),
    "TE with VT": post(b"transfer-encoding: \x0bchunked", body=b"0\r\n\r\n"),
    "TE quoted": post(b'transfer-encoding: "chunked"', body=b"0\r\n\r\n"),
    "TE and a space": post(b"transfer-encoding : chunked", body=b"0\r\n\r\n"),
    "TE.0 in HTTP/1.0": post(CHUNKED, body=b"0\r\n\r\n", version=b"1.0"),
    "TE by line folding": post(b"transfer-encoding:\r\n chunked", body=b"0\r\n\r\n"),
}
LINES = {
    "bare LF": b"GET /x/small HTTP/1.1\nhost: localhost\n\n",
    "LF in the middle": b"GET /x/small HTTP/1.1\r\nhost: localhost\nx: y\r\n\r\n",
    "bare CR": b"GET /x/small HTTP/1.1\r\nhost: localhost\r\nx: a\rb\r\n\r\n",
    "NUL": b"GET /x/small HTTP/1.1\r\nhost: localhost\r\nx: a\0b\r\n\r\n",
    "folded line": b"GET /x/small HTTP/1.1\r\nhost: localhost\r\nx: a\r\n b\r\n\r\n",
    "space before colon": b"GET /x/small HTTP/1.1\r\nhost : localhost\r\n\r\n",
    "space before name": b"GET /x/small HTTP/1.1\r\n host: localhost\r\n\r\n",
    "no colon": b"GET /x/small HTTP/1.1\r\nhost: localhost\r\nnothing\r\n\r\n",
    "empty name": b"GET /x/small HTTP/1.1\r\nhost: localhost\r\n: x\r\n\r\n",
    "two hosts": b"GET /x/small HTTP/1.1\r\nhost: localhost\r\nhost: other\r\n\r\n",
    "no host": b"GET /x/small HTTP/1.1\r\n\r\n",
    "host with a path": b"GET /x/small HTTP/1.1\r\nhost: localhost/x\r\n\r\n",
    "tab in the request line": b"GET\t/x/small HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "two spaces": b"GET  /x/small  HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "HTTP/1.2x": b"GET /x/small HTTP/1.2x\r\nhost: localhost\r\n\r\n",
    "method with a brace": b"GE{T /x/small HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "control byte in the target": b"GET /x/\x01small HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "fragment in the target": b"GET /x/small#a HTTP/1.1\r\nhost: localhost\r\n\r\n",
}
CHUNKS = {
    "extension with LF": b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    "size 0x5": b"0x5\r\nhello\r\n0\r\n\r\n",
    "size +5": b"+5\r\nhello\r\n0\r\n\r\n",
    "size -5": b"-5\r\nhello\r\n0\r\n\r\n",
    "leading space": b" 5\r\nhello\r\n0\r\n\r\n",
    "empty size": b"\r\nhello\r\n0\r\n\r\n",
    "size of 17 digits": b"00000000000000005\r\nhello\r\n0\r\n\r\n",
    "size past 2^64": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "size by LF": b"5\nhello\r\n0\r\n\r\n",
    "data by LF": b"5\r\nhello\n0\r\n\r\n",
    "data too long": b"5\r\nhello!!\r\n0\r\n\r\n",
    "end by LF": b"5\r\nhello\r\n0\n\n",
    "long extension": b"5;" + b"a" * 20000 + b"\r\nhello\r\n0\r\n\r\n",
    "trailers without end": b"0\r\n" + b"x: y\r\n" * 2000 + b"\r\n",
    "trailer with bare CR": b"0\r\nx: a\rb\r\n\r\n",
    "size G": b"G\r\nhello\r\n0\r\n\r\n",
}


def try_all(a, forms: dict[str, bytes]) -> None:
    for name, form in forms.items():
        conn = a.tls()
        if not conn:
            a.cases[name] = True
            continue
        conn.send(form + INNER)
        status = conn.answer(1.0)
        seen = conn.read(0.1).count(b"HTTP/1.1 200")
        a.cases[name] = seen == 0 and (status == 0 or 400 <= status < 600)
        conn.sock.close()


@attack("RFC 9112 6.3, request smuggling (CL.TE, TE.CL, TE.0, CL.0)", limit="strict parser")
def smuggling_by_framing(a):
    """Lengths that contradict each other, or are written so that only some read them."""
    try_all(a, FRAMING)


@attack("RFC 9112 2.2 and 5, request smuggling by line ends and names", limit="strict parser")
def smuggling_by_lines(a):
    """Bare CR and LF, folding, NUL, spaces where none belong."""
    try_all(a, LINES)


@attack("RFC 9112 7.1, CVE-2025-55315 and its like", limit="strict parser")
def smuggling_by_chunks(a):
    """Chunk sizes, extensions and trailers that parsers read differently."""
    try_all(a, {name: post(CHUNKED, body=body) for name, body in CHUNKS.items()})


INJECTIONS = {
    "CRLF in a value": head(fields=[(b"x", b"a\r\ntransfer-encoding: chunked")]),
    "LF in a value": head(fields=[(b"x", b"a\nb: c")]),
    "NUL in a value": head(fields=[(b"x", b"a\0b")]),
    "CRLF in a name": head(fields=[(b"x\r\ny: z\r\na", b"b")]),
    "colon in a name": head(fields=[(b"x: y", b"b")]),
    "space in a name": head(fields=[(b"x y", b"b")]),
    "upper case name": head(fields=[(b"X", b"b")]),
    "CRLF in the path": head(b"/x/small HTTP/1.1\r\nhost: a\r\n\r\nGET /x/smuggled"),
    "space in the path": head(b"/x/small HTTP/1.1"),
    "space in the method": head(method=b"GET /x/smuggled HTTP/1.1\r\n\r\nGET"),
    "CRLF in the authority": head(authority=b"localhost\r\nx: y"),
    "transfer-encoding": head(method=b"POST", fields=[(b"transfer-encoding", b"chunked")]),
    "connection": head(fields=[(b"connection", b"close")]),
    "upgrade": head(fields=[(b"upgrade", b"websocket")]),
    "two paths": head() + frames.field(b":path", b"/x/smuggled"),
    "late pseudo field": head(fields=[(b"x", b"y"), (b":path", b"/x/smuggled")]),
    "unknown pseudo field": head() + frames.field(b":x", b"y"),
    "no path": b"".join(frames.field(n, v) for n, v in ((b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"a"))),
    "host against authority": head(fields=[(b"host", b"other")]),
    "length against body": head(method=b"POST", fields=[(b"content-length", b"100")]),
}


@attack("HTTP/2 downgrade injection", limit="strict fields")
def downgrade_injection(a):
    """Fields that HTTP/2 can carry and that would be more than one line of HTTP/1."""
    for name, block in INJECTIONS.items():
        conn = a.h2()
        if not conn:
            a.cases[name] = True
            continue
        short = name == "length against body"
        conn.send(get(1, block, end=not short) + (frames.frame(frames.DATA, 1, 1, b"short") if short else b""))
        found, _ = frames.split(conn.read(0.4))
        status = next((payload for kind, _, stream, payload in found if kind == frames.HEADERS and stream == 1), b"")
        a.cases[name] = not status.startswith((b"\x88", b"\x20\x88", b"\x3f\xe1\x1f\x88"))  # :status 200 by its index
        conn.sock.close()
