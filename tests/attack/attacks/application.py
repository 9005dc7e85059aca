"""What costs behind the parser: bodies that unfold, tokens that must be checked, limits that must be kept."""
import itertools
import json
import os
import time
import zlib

from attacker import attack


def ask(path: bytes, fields: bytes = b"", body: bytes | None = None, method: bytes | None = None) -> bytes:
    length = b"" if body is None else b"content-length: %d\r\n" % len(body)
    method = method or (b"GET" if body is None else b"POST")
    return method + b" " + path + b" HTTP/1.1\r\nhost: localhost\r\n" + fields + length + b"\r\n" + (body or b"")


def repeat(a, requests, path_of_status: dict | None = None) -> None:
    """One request after another over connections that are kept; counts the statuses as cases."""
    conn = None
    for request in requests:
        if not a.goes_on():
            break
        if conn is None or conn.ended is not None:
            if conn:
                conn.sock.close()
            conn = a.tls()
            if not conn:
                time.sleep(0.02)
                continue
        conn.received = b""
        conn.sock.setblocking(True)
        conn.sock.settimeout(3)
        conn.send(request)
        status = conn.answer()
        if path_of_status is not None:
            path_of_status[status] = path_of_status.get(status, 0) + 1
    if conn:
        conn.sock.close()


def chat(body: bytes, token: bytes) -> bytes:
    return ask(b"/v1/chat/completions", b"authorization: Bearer " + token + b"\r\ncontent-type: application/json\r\n", body)


@attack("JSON bomb", limit="scan before any tree is built", starts=0)
def json_bomb(a):
    """Bodies of a megabyte that are deep, wide, or one number of a million digits."""
    bombs = [b"[" * 1_000_000, b'{"a":' * 200_000, b"{" + b",".join(b'"%d":1' % n for n in range(90_000)) + b"}",
             b'{"messages":[' + b"1," * 500_000 + b"1]}", b'{"n":' + b"9" * 1_000_000 + b"}", b'{"s":"' + b"\\u0000" * 170_000 + b'"}']
    repeat(a, (chat(b, a.target.token) for b in itertools.cycle(bombs)))


@attack("compression bomb", limit="no content-encoding in requests", starts=0)
def compression_bomb(a):
    """Zeros by the hundred megabytes, a thousandth of that as gzip."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = 100 * (packer.compress(bytes(1 << 20)) + packer.flush())  # a hundred members, as gzip allows
    fields = b"authorization: Bearer " + a.target.token + b"\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\n"
    repeat(a, itertools.repeat(ask(b"/v1/chat/completions", fields, bomb)))


def colliding_names(n: int) -> list[bytes]:
    """All have one value under the hash h*33+c, since "Ez" and "FY" have."""
    return [b"".join(pair) for pair in itertools.islice(itertools.product((b"Ez", b"FY"), repeat=12), n)]


@attack("hash flooding", limit="keyed hashes, bounded tables")
def hash_flood(a):
    """Names that collide in an unkeyed hash: members of JSON, header fields, parts of a query."""
    names = colliding_names(4000)
    body = b"{" + b",".join(b'"%s":1' % n for n in names[:900]) + b"}"
    fields = b"".join(b"%s: 1\r\n" % n for n in names[:40])
    query = b"/x/small?" + b"&".join(b"%s=1" % n for n in names[:150])
    repeat(a, itertools.cycle([chat(body, a.target.token), ask(b"/x/small", fields), ask(query)]))


@attack("credential stuffing", limit="identify.failures", counter='tidegate_token_checks_total{result="throttled"}', starts=0)
def bad_token_flood(a):
    """Tokens that look right and are signed by nobody: each asks for an elliptic curve check."""
    def tokens():
        head, claims, signature = a.target.token.split(b".")
        for n in itertools.count():
            forged = b"%s%010d%s" % (signature[:20], n, signature[30:])
            yield chat(b"{}", b".".join((head, claims, forged)))
    statuses: dict[int, int] = {}
    repeat(a, tokens(), statuses)
    a.cases["no forged token passes"] = 200 not in statuses


@attack("X-Forwarded-For spoof", limit="trusted_proxies (none)", counter='tidegate_limits_decisions_total{rule="address",decision="fallback_denied"}', needs_addresses=True)
def forwarded_for_spoof(a):
    """Another pretended address in every request, to be counted as nobody."""
    statuses: dict[int, int] = {}
    repeat(a, (ask(b"/x/small", b"x-forwarded-for: 10.%d.%d.%d\r\n" % (n >> 16, n >> 8 & 255, n & 255)) for n in itertools.count()),
           statuses)
    a.cases["limited all the same"] = 429 in statuses or sum(statuses.values()) < 200


@attack("many-key spray", limit="ratelimit tables of fixed size", grows_mb=12)
def key_spray(a):
    """Another device, session and query in every request: each would be a key to remember."""
    repeat(a, (ask(b"/x/small?%d" % n, b"x-device-id: %s\r\ncookie: session=%d\r\n" % (os.urandom(16).hex().encode(), n))
               for n in itertools.count()))


@attack("retry storm", limit="local deny cache")
def retry_storm(a):
    """Is told to wait and asks again at once, on twenty pipelined requests at a time."""
    while a.goes_on():
        conn = a.tls()
        if conn:
            a.pour(conn, itertools.repeat(ask(b"/x/small") * 20))
            conn.sock.close()
        else:
            time.sleep(0.02)


@attack("aborted uploads", limit="http.body")
def aborted_uploads(a):
    """Announces a megabyte, sends half, and leaves."""
    half = ask(b"/x/small", b"content-length: 1000000\r\n", method=b"POST") + b"z" * 500_000
    while a.goes_on():
        conn = a.tls()
        if conn:
            conn.send(half)
            a.drop(conn)
        else:
            time.sleep(0.02)


@attack("chat hoarding", limit="chat queue and slots")
def long_messages(a):
    """Chat requests of a megabyte each, whole and valid."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "w " * 450_000}]}).encode()
    repeat(a, itertools.repeat(chat(body, a.target.token)))
