"""What a server has to refuse, after the list of Http11Probe (its names), sent to a route that passes through: every case
is refused, the connection closes, what follows in it is never answered, and the upstream never sees a request of it."""
import re
import socket
import threading
import time

import pytest

from tide.edge import read_all, split_answer
from tide.chat_rig import ChatRig

HOST = b"Host: localhost\r\n"
HIDDEN = b"GET /stream/hidden HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Recorder:
    """An upstream that keeps every byte, and answers whatever looks like a request."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.target = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.lock = threading.Lock()
        self.seen = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()

    def serve(self, s):
        with s:
            slot = bytearray()
            with self.lock:
                self.seen.append(slot)
            try:
                while data := s.recv(65536):
                    with self.lock:
                        slot += data
                    if is_whole(bytes(slot)):
                        s.sendall(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok")
                        return
            except OSError:
                pass

    def take(self):
        with self.lock:
            seen = [bytes(x) for x in self.seen if x]
            self.seen.clear()
        return seen

    def close(self):
        self.listener.close()


def is_whole(request):
    """Of the gateway's own framing, which is plain."""
    head, mark, body = request.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" in head:
        return body.endswith(b"0\r\n\r\n")
    lengths = [int(x[15:]) for x in head.split(b"\r\n") if x.startswith(b"content-length:")]
    return bool(mark) and len(body) >= (lengths[0] if lengths else 0)


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    upstream = Recorder()
    gateway = ChatRig(tmp_path_factory.mktemp("probe"), [], http={"header": "2s", "body": "2s", "first_byte": "2s"}, proxy={
        "upstreams": [{"name": "up", "targets": [upstream.target]}],
        "routes": [{"name": "stream", "path": "/stream/", "upstream": "up", "auth": "none"},
                   {"name": "whole", "path": "/whole/", "upstream": "up", "auth": "none", "body": "buffer"}]})
    gateway.upstream = upstream
    yield gateway
    gateway.close()
    upstream.close()


def send(rig, data, end=False):
    with socket.create_connection(("127.0.0.1", rig.port)) as s:
        s.settimeout(10)
        try:
            s.sendall(data)
            if end:
                s.shutdown(socket.SHUT_WR)
        except OSError:  # it closed while we were still sending
            pass
        return read_all(s)


def answers(data):
    """Statuses of the answers in data; their bodies are the gateway's own and have a length."""
    found = []
    while data:
        status, fields, rest = split_answer(data)
        found.append(status)
        data = rest[int(fields.get("content-length", 0)):]
    return found


def look(rig, name):
    """A proper request, after which nothing of the case can be on its way any more; what the upstream saw before it."""
    reply = send(rig, b"GET /whole/%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % name)
    assert answers(reply) == [200], reply
    seen = rig.upstream.take()
    assert seen[-1].startswith(b"GET /whole/" + name), seen
    return seen[:-1]


def post(fields, body=b"", path=b"/stream/x", version=b"HTTP/1.1"):
    return b"POST " + path + b" " + version + b"\r\n" + HOST + fields + b"\r\n" + body


def chunked(body):
    return post(b"Transfer-Encoding: chunked\r\n", body)


def get(line, fields=HOST):
    return line + b"\r\n" + fields + b"\r\n"


CL5, TE = b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"
SMUGGLED = b"0\r\n\r\n" + HIDDEN
CL_SMUGGLED = b"Content-Length: %d\r\n" % len(SMUGGLED)

# The head alone is enough to refuse: the upstream sees no byte.
HEADS = {
    # smuggling: framing conflicts
    "CL-TE-BOTH": post(b"Content-Length: 28\r\n" + TE, b"D\r\nhello-bananas\r\n0\r\n\r\n"),
    "CLTE-PIPELINE": post(b"Content-Length: 4\r\n" + TE, b"0\r\n\r\n"),
    "TECL-PIPELINE": post(TE + b"Content-Length: 30\r\n", b"0\r\n\r\n"),
    "TE-HTTP10": post(TE, b"0\r\n\r\n", version=b"HTTP/1.0"),
    "DUPLICATE-CL": post(CL5 + b"Content-Length: 10\r\n", b"helloworld"),
    "CL-LEADING-ZEROS": post(b"Content-Length: 005\r\n", b"hello"),
    "CL-NEGATIVE": post(b"Content-Length: -1\r\n"),
    "CL-COMMA-DIFFERENT": post(b"Content-Length: 5, 10\r\n", b"helloworld"),
    "CL-OCTAL": post(b"Content-Length: 0o5\r\n", b"hello"),
    "CL-HEX-PREFIX": post(b"Content-Length: 0x5\r\n", b"hello"),
    "CL-INTERNAL-SPACE": post(b"Content-Length: 1 0\r\n", b"helloworld"),
    "CL-COMMA-SAME": post(b"Content-Length: 5, 5\r\n", b"hello"),
    "CL-COMMA-TRIPLE": post(b"Content-Length: 5, 5, 5\r\n", b"hello"),
    "CL-UNDERSCORE": post(b"Content-Length: 1_0\r\n", b"helloworld"),
    "CL-NEGATIVE-ZERO": post(b"Content-Length: -0\r\n"),
    "CL-DOUBLE-ZERO": post(b"Content-Length: 00\r\n"),
    "CL-LEADING-ZEROS-OCTAL": post(b"Content-Length: 0200\r\n", b"x" * 200),
    "TE-XCHUNKED": post(b"Transfer-Encoding: xchunked\r\n" + CL5, b"hello"),
    "TE-TRAILING-SPACE": post(b"Transfer-Encoding: chunked \r\n" + CL5, b"hello"),
    "TE-SP-BEFORE-COLON": post(b"Transfer-Encoding : chunked\r\n" + CL5, b"hello"),
    "TE-EMPTY-VALUE": post(b"Transfer-Encoding:\r\n" + CL5, b"hello"),
    "TE-LEADING-COMMA": post(b"Transfer-Encoding: , chunked\r\n" + CL5, b"hello"),
    "TE-DUPLICATE-HEADERS": post(TE + b"Transfer-Encoding: identity\r\n" + CL5, b"hello"),
    "TE-NOT-FINAL-CHUNKED": post(b"Transfer-Encoding: chunked, gzip\r\n", b"0\r\n\r\n"),
    "TE-IDENTITY": post(b"Transfer-Encoding: identity\r\n" + CL5, b"hello"),
    "TE-DOUBLE-CHUNKED": post(b"Transfer-Encoding: chunked, chunked\r\n" + CL5, b"hello"),
    "TE-CASE-MISMATCH": post(b"Transfer-Encoding: Chunked\r\n" + CL5, b"hello"),
    "TE-OBS-FOLD": post(b"Transfer-Encoding:\r\n chunked\r\n" + CL5, b"hello"),
    "TE-TRAILING-COMMA": post(b"Transfer-Encoding: chunked,\r\n" + CL5, b"hello"),
    "TE-VTAB": post(b"Transfer-Encoding: \x0bchunked\r\n" + CL5, b"hello"),
    "TE-FORMFEED": post(b"Transfer-Encoding: \x0cchunked\r\n" + CL5, b"hello"),
    "TE-NULL": post(b"Transfer-Encoding: chunked\0\r\n" + CL5, b"hello"),
    "CHUNKED-WITH-PARAMS": post(b"Transfer-Encoding: chunked;ext=val\r\n", b"0\r\n\r\n"),
    "UNKNOWN-TE": post(b"Transfer-Encoding: gzip\r\n", b"hello"),
    "BARE-CR-HEADER-VALUE": post(b"X-Test: val\rue\r\n" + CL5, b"hello"),
    "ABSOLUTE-URI-HOST-MISMATCH": get(b"GET http://other.example/stream/x HTTP/1.1"),
    "MULTIPLE-HOST-COMMA": get(b"GET /stream/x HTTP/1.1", b"Host: localhost, other\r\n"),
    "CLTE-CONN-CLOSE": post(b"Content-Length: 5\r\n" + TE, b"0\r\n\r\n"),
    "TECL-CONN-CLOSE": post(TE + b"Content-Length: 5\r\n", b"0\r\n\r\n"),
    "CLTE-DESYNC": post(b"Content-Length: 6\r\n" + TE, b"0\r\n\r\nX"),
    "TECL-DESYNC": post(TE + b"Content-Length: 30\r\n", b"0\r\n\r\nX"),
    "CLTE-SMUGGLED-GET": post(CL_SMUGGLED + TE, SMUGGLED),
    "CLTE-SMUGGLED-HEAD": post(CL_SMUGGLED + TE, SMUGGLED.replace(b"GET", b"HEAD")),
    "TECL-SMUGGLED-GET": post(TE + b"Content-Length: 4\r\n", b"%x\r\n" % len(HIDDEN) + HIDDEN + b"\r\n0\r\n\r\n"),
    "TE-DUPLICATE-HEADERS-SMUGGLED-GET": post(TE + b"Transfer-Encoding: identity\r\n" + CL_SMUGGLED, SMUGGLED),
    "DUPLICATE-CL-SMUGGLED-GET": post(b"Content-Length: 4\r\n" + CL_SMUGGLED, b"PING" + HIDDEN),
    "CLTE-SMUGGLED-GET-TE-TRAILING-SPACE": post(CL_SMUGGLED + b"Transfer-Encoding: chunked \r\n", SMUGGLED),
    "CLTE-SMUGGLED-GET-TE-LEADING-COMMA": post(CL_SMUGGLED + b"Transfer-Encoding: , chunked\r\n", SMUGGLED),
    "CLTE-SMUGGLED-GET-TE-CASE-MISMATCH": post(CL_SMUGGLED + b"Transfer-Encoding: Chunked\r\n", SMUGGLED),
    "CLTE-SMUGGLED-GET-CL-PLUS": post(b"Content-Length: +60\r\n" + TE, SMUGGLED),
    "CLTE-SMUGGLED-GET-CL-NON-NUMERIC": post(b"Content-Length: 60x\r\n" + TE, SMUGGLED),
    "CLTE-SMUGGLED-GET-TE-OBS-FOLD": post(CL_SMUGGLED + b"Transfer-Encoding:\r\n chunked\r\n", SMUGGLED),
    "OPTIONS-TE-OBS-FOLD": get(b"OPTIONS /stream/x HTTP/1.1", HOST + b"Transfer-Encoding:\r\n chunked\r\n"),
    # compliance: lines, fields, host, version, target
    "CL-NON-NUMERIC": post(b"Content-Length: abc\r\n", b"hello"),
    "CL-PLUS-SIGN": post(b"Content-Length: +5\r\n", b"hello"),
    "SP-BEFORE-COLON": get(b"GET /stream/x HTTP/1.1", HOST + b"X-Test : value\r\n"),
    "SP-BEFORE-COLON-CL": post(b"Content-Length : 5\r\n", b"hello"),
    "TAB-IN-NAME": post(b"Content\tLength: 5\r\n", b"hello"),
    "OBS-FOLD": get(b"GET /stream/x HTTP/1.1", HOST + b"X-Test: value\r\n continued\r\n"),
    "EMPTY-HEADER-NAME": get(b"GET /stream/x HTTP/1.1", HOST + b": empty\r\n"),
    "INVALID-HEADER-NAME": get(b"GET /stream/x HTTP/1.1", HOST + b"Bad[Name]: value\r\n"),
    "HEADER-NO-COLON": get(b"GET /stream/x HTTP/1.1", HOST + b"NoColonHere\r\n"),
    "WHITESPACE-BEFORE-HEADERS": get(b"GET /stream/x HTTP/1.1", b" " + HOST),
    "MISSING-HOST": get(b"GET /stream/x HTTP/1.1", b"X: y\r\n"),
    "DUPLICATE-HOST": get(b"GET /stream/x HTTP/1.1", HOST + b"Host: other\r\n"),
    "DUPLICATE-HOST-SAME": get(b"GET /stream/x HTTP/1.1", HOST + HOST),
    "HOST-WITH-USERINFO": get(b"GET /stream/x HTTP/1.1", b"Host: user@localhost\r\n"),
    "HOST-WITH-PATH": get(b"GET /stream/x HTTP/1.1", b"Host: localhost/path\r\n"),
    "HOST-EMPTY-VALUE": get(b"GET /stream/x HTTP/1.1", b"Host:\r\n"),
    "CR-ONLY-LINE-ENDING": b"GET /stream/x HTTP/1.1\rHost: localhost\r\n\r\n",
    "BARE-LF-REQUEST-LINE": b"GET /stream/x HTTP/1.1\nHost: localhost\r\n\r\n",
    "BARE-LF-HEADER": b"GET /stream/x HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n",
    "MULTI-SP-REQUEST-LINE": get(b"GET  /stream/x HTTP/1.1"),
    "REQUEST-LINE-TAB": get(b"GET\t/stream/x\tHTTP/1.1"),
    "MISSING-TARGET": get(b"GET HTTP/1.1"),
    "FRAGMENT-IN-TARGET": get(b"GET /stream/x#frag HTTP/1.1"),
    "SPACE-IN-TARGET": get(b"GET /stream/x y HTTP/1.1"),
    "ASTERISK-WITH-GET": get(b"GET * HTTP/1.1"),
    "HTTP09-REQUEST": b"GET /stream/x\r\n\r\n",
    "INVALID-VERSION": get(b"GET /stream/x HTTP/9.9"),
    "HTTP12-VERSION": get(b"GET /stream/x HTTP/1.2"),
    "VERSION-MISSING-MINOR": get(b"GET /stream/x HTTP/1"),
    "VERSION-LEADING-ZEROS": get(b"GET /stream/x HTTP/01.01"),
    "VERSION-WHITESPACE": get(b"GET /stream/x HTTP/ 1.1"),
    "VERSION-CASE": get(b"GET /stream/x http/1.1"),
    "EXPECT-UNKNOWN": get(b"GET /stream/x HTTP/1.1", HOST + b"Expect: 200-ok\r\n"),
    "METHOD-CONNECT": get(b"CONNECT localhost:443 HTTP/1.1"),
    "METHOD-CONNECT-NO-PORT": get(b"CONNECT localhost HTTP/1.1"),
    # malformed input
    "LONG-URL": get(b"GET /stream/" + b"a" * 100000 + b" HTTP/1.1"),
    "LONG-HEADER-NAME": get(b"GET /stream/x HTTP/1.1", HOST + b"a" * 100000 + b": x\r\n"),
    "LONG-HEADER-VALUE": get(b"GET /stream/x HTTP/1.1", HOST + b"X: " + b"a" * 100000 + b"\r\n"),
    "LONG-METHOD": get(b"A" * 100000 + b" /stream/x HTTP/1.1"),
    "MANY-HEADERS": get(b"GET /stream/x HTTP/1.1", HOST + b"X: y\r\n" * 10000),
    "NUL-IN-URL": get(b"GET /stream/\0x HTTP/1.1"),
    "NUL-IN-HEADER-VALUE": get(b"GET /stream/x HTTP/1.1", HOST + b"X: a\0b\r\n"),
    "CONTROL-CHARS-HEADER": get(b"GET /stream/x HTTP/1.1", HOST + b"X: a\x01\x02b\r\n"),
    "NON-ASCII-HEADER-NAME": get(b"GET /stream/x HTTP/1.1", HOST + b"X-\xe9: a\r\n"),
    "NON-ASCII-URL": get(b"GET /stream/\xe9 HTTP/1.1"),
    "BINARY-GARBAGE": bytes(range(128, 256)) * 2 + b"\r\n\r\n",
    "POST-CL-HUGE-NO-BODY": post(b"Content-Length: 999999999\r\n"),
    "CL-OVERFLOW": post(b"Content-Length: 99999999999999999999\r\n", b"hello"),
    "CL-EMPTY": post(b"Content-Length:\r\n", b"hello"),
    "WHITESPACE-ONLY-LINE": b"   \r\n\r\n",
    "URL-BACKSLASH": get(b"GET /stream\\..\\x HTTP/1.1"),
    "URL-OVERLONG-UTF8": get(b"GET /stream/\xc0\xaf HTTP/1.1"),
    "URL-PERCENT-NULL": get(b"GET /stream/%00 HTTP/1.1"),
    "URL-PERCENT-CRLF": get(b"GET /stream/x%0d%0aX:y HTTP/1.1"),
    "URL-DOT-SEGMENTS": get(b"GET /stream/../whole/x HTTP/1.1"),
    "URL-DOT-SEGMENTS-ENCODED": get(b"GET /stream/%2e%2e/whole/x HTTP/1.1"),
    "COOKIE-NUL": get(b"GET /stream/x HTTP/1.1", HOST + b"Cookie: a=\0b\r\n"),
    "COOKIE-CONTROL-CHARS": get(b"GET /stream/x HTTP/1.1", HOST + b"Cookie: a=\x01\x02\r\n"),
    "COOKIE-OVERSIZED": get(b"GET /stream/x HTTP/1.1", HOST + b"Cookie: a=" + b"b" * 65536 + b"\r\n"),
    # WebSocket and other protocols
    "WS-UPGRADE": get(b"GET /stream/x HTTP/1.1", HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: "
                      b"dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"),
    "WS-UPGRADE-INVALID-VER": get(b"GET /stream/x HTTP/1.1", HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
                                  b"Sec-WebSocket-Version: 99\r\n"),
}

# Refused while the body is read: a request that began to pass through is cut, never completed.
BODIES = {
    "CHUNK-BARE-SEMICOLON": b"5;\r\nhello\r\n0\r\n\r\n",
    "CHUNK-HEX-PREFIX": b"0x5\r\nhello\r\n0\r\n\r\n",
    "CHUNK-UNDERSCORE": b"1_0\r\nhello world!!!!!\r\n0\r\n\r\n",
    "CHUNK-LEADING-SP": b" 5\r\nhello\r\n0\r\n\r\n",
    "CHUNK-MISSING-TRAILING-CRLF": b"5\r\nhello0\r\n\r\n",
    "CHUNK-EXT-LF": b"5;ext\nhello\r\n0\r\n\r\n",
    "CHUNK-SPILL": b"5\r\nhello!!\r\n0\r\n\r\n",
    "CHUNK-LF-TERM": b"5\r\nhello\n0\r\n\r\n",
    "CHUNK-EXT-CTRL": b"5;e\0xt\r\nhello\r\n0\r\n\r\n",
    "CHUNK-EXT-CR": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "CHUNK-LF-TRAILER": b"5\r\nhello\r\n0\r\n\n",
    "CHUNK-NEGATIVE": b"-1\r\nhello\r\n0\r\n\r\n",
    "CHUNK-BARE-CR-TERM": b"5\rhello\r\n0\r\n\r\n",
    "CHUNK-SIZE-PLUS": b"+5\r\nhello\r\n0\r\n\r\n",
    "CHUNK-SIZE-TRAILING-OWS": b"5 \r\nhello\r\n0\r\n\r\n",
    "CHUNK-EXT-INVALID-TOKEN": b"5;[\r\nhello\r\n0\r\n\r\n",
    "CHUNK-INVALID-SIZE-DESYNC": b"+0\r\n\r\nX",
    "CHUNK-EXT-64K": b"5;ext=" + b"a" * 65536 + b"\r\nhello\r\n0\r\n\r\n",
    "CHUNK-SIZE-OVERFLOW": b"FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
    "TRAILER-OBS-FOLD": b"5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n",
    "TRAILER-SP-BEFORE-COLON": b"5\r\nhello\r\n0\r\nX : y\r\n\r\n",
}

# Allowed by the grammar: passed on once, in the gateway's own framing, and the next request is the next request.
ALIKE = {
    "CL-TRAILING-SPACE": post(b"Content-Length: 5 \r\n", b"hello"),
    "CL-EXTRA-LEADING-SP": post(b"Content-Length:  5\r\n", b"hello"),
    "CL-TAB-BEFORE-VALUE": post(b"Content-Length:\t5\r\n", b"hello"),
    "TE-TAB-BEFORE-VALUE": post(b"Transfer-Encoding:\tchunked\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
    "TE-CASE": post(b"TRANSFER-ENCODING: CHUNKED\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
    "CHUNKED-MULTI": chunked(b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"),
    "CHUNKED-HEX-UPPERCASE": chunked(b"A\r\nhellohello\r\n0\r\n\r\n"),
    "CHUNKED-EXTENSION": chunked(b"5;ext=value\r\nhello\r\n0\r\n\r\n"),
    "TRAILER-CL": chunked(b"5\r\nhello\r\n0\r\nContent-Length: 50\r\n\r\n"),
    "TRAILER-TE": chunked(b"5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "TRAILER-HOST": chunked(b"5\r\nhello\r\n0\r\nHost: evil.example\r\n\r\n"),
    "TRAILER-AUTH": chunked(b"5\r\nhello\r\n0\r\nAuthorization: Bearer evil\r\n\r\n"),
    "TRAILER-CONTENT-TYPE": chunked(b"5\r\nhello\r\n0\r\nContent-Type: text/evil\r\n\r\n"),
    "UNDERSCORE-CL": post(b"Content_Length: 99\r\n" + CL5, b"hello"),
    "UNDERSCORE-TE": post(b"Transfer_Encoding: chunked\r\n" + CL5, b"hello"),
    "LEADING-CRLF": b"\r\n" + post(CL5, b"hello"),
    "EXPECT-100-CL": post(b"Expect: 100-continue\r\n" + CL5, b"hello"),
    "GET-CL-BODY": get(b"GET /stream/x HTTP/1.1", HOST + CL5) + b"hello",
    "GET-CL-PREFIX": get(b"GET /stream/x HTTP/1.1", HOST + b"Content-Length: %d\r\n" % (len(HIDDEN) - 2)) + HIDDEN[:-2],
    "CL0-BODY": post(b"Content-Length: 0\r\n"),
    "POST-NO-CL-NO-TE": post(b""),
    "ABSOLUTE-FORM": get(b"GET http://localhost/stream/x HTTP/1.1"),
    "RANGE-POST": post(b"Range: bytes=0-1\r\n" + CL5, b"hello"),
    "DUPLICATE-CT": post(b"Content-Type: a/b\r\nContent-Type: c/d\r\n" + CL5, b"hello"),
    "WS-UPGRADE-POST": post(b"Connection: Upgrade\r\nUpgrade: websocket\r\n" + CL5, b"hello"),
    "WS-UPGRADE-MISSING-CONN": get(b"GET /stream/x HTTP/1.1", HOST + b"Upgrade: websocket\r\n"),
    "WS-UPGRADE-UNKNOWN": get(b"GET /stream/x HTTP/1.1", HOST + b"Connection: Upgrade\r\nUpgrade: unknown/1\r\n"),
    "UPGRADE-H2C": get(b"GET /stream/x HTTP/1.1", HOST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
                       b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"),
}


@pytest.mark.parametrize("name", HEADS)
def test_refused_heads(rig, name):
    began = time.monotonic()
    data = send(rig, HEADS[name] + HIDDEN)
    took = time.monotonic() - began
    if data:  # a client that is still sending 100 kB may lose the answer to the reset that follows
        status, fields, _ = split_answer(data)
        assert 400 <= status < 600 and status not in (404, 500, 502, 503, 504), data
        assert len(answers(data)) == 1 and fields["connection"] == "close", data
    else:
        assert len(HEADS[name]) > 60000, "no answer"
    assert took < 5
    assert look(rig, name.encode()) == []


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("route", ["stream", "whole"])
def test_refused_bodies(rig, route, name):
    data = send(rig, post(TE, BODIES[name], path=b"/%s/x" % route.encode()) + HIDDEN)
    assert answers(data) in ([400], []), data  # [] when the answer of the upstream had begun
    seen = look(rig, name.encode())
    assert not [x for x in seen if is_whole(x) or b"hidden" in x]
    assert not seen or route == "stream"


def in_one_piece(body):
    """However it was cut into chunks: what waits unsent leaves as one."""
    return re.sub(rb"\r\n[0-9A-Fa-f]+\r\n", b"", body)


@pytest.mark.parametrize("name", ALIKE)
def test_allowed_forms_become_plain_ones(rig, name):
    data = send(rig, ALIKE[name] + HIDDEN.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert [x for x in answers(data) if x != 100] == [200, 200], data
    seen = look(rig, name.encode())
    assert len(seen) == 2 and seen[1].startswith(b"GET /stream/hidden HTTP/1.1\r\n")
    head, _, body = seen[0].partition(b"\r\n\r\n")
    fields = [line.split(b":")[0] for line in head.split(b"\r\n")[1:]]
    assert head.split(b"\r\n")[0].split(b" ")[1] == b"/stream/x"
    assert not {b"upgrade", b"connection", b"http2-settings", b"expect", b"te", b"trailer"} & set(fields)
    assert fields.count(b"content-length") + fields.count(b"transfer-encoding") <= 1
    assert b"evil" not in seen[0] and (b"hello" in in_one_piece(body)) == (b"hello" in in_one_piece(ALIKE[name]))


@pytest.mark.parametrize("data", [
    post(b"Content-Length: 10\r\n", b"hello"), post(TE, b"5\r\nhello\r\n"), b"GET /stream/x HTT", b"",
    post(CL5, b"", path=b"/whole/x")], ids=["CL-UNDERSEND", "CHUNKED-NO-FINAL", "INCOMPLETE-REQUEST", "EMPTY-REQUEST", "NO-BODY"])
@pytest.mark.parametrize("end", [True, False], ids=["then FIN", "then silence"])
def test_what_never_ends_is_never_a_request(rig, data, end):
    reply = send(rig, data, end)
    assert answers(reply) in ([], [408]), reply
    assert not [x for x in look(rig, b"after") if is_whole(x)]


def test_an_http2_preface_with_nonsense_behind_it(rig):
    reply = send(rig, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + HIDDEN)
    assert b"HTTP/1.1" not in reply
    assert look(rig, b"preface") == []


@pytest.mark.parametrize("method", [b"OPTIONS", b"HEAD", b"TRACE"])
def test_a_body_that_nobody_asked_for_is_not_the_next_request(rig, method):
    body = HIDDEN.replace(b"hidden", b"inside")
    data = send(rig, get(method + b" /stream/x HTTP/1.1", HOST + b"Content-Length: %d\r\n" % len(body)) + body +
                HIDDEN.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert data.startswith(b"HTTP/1.1 200" if method == b"HEAD" else b"HTTP/1.1 405")
    assert data.count(b"HTTP/1.1 ") == 2 and data.endswith(b"\r\n\r\nok")
    seen = look(rig, b"method-" + method)
    assert seen[-1].startswith(b"GET /stream/hidden ") and len(seen) == (2 if method == b"HEAD" else 1)


def test_no_interim_answer_to_http_1_0(rig):
    data = send(rig, post(b"Expect: 100-continue\r\n" + CL5, b"hello", version=b"HTTP/1.0"))
    assert answers(data) == [200]
    look(rig, b"interim")


def test_answers_say_what_they_must(rig):
    data = send(rig, get(b"DELETE /health HTTP/1.1", HOST + b"Connection: close\r\n"))
    status, fields, _ = split_answer(data)
    assert status in (404, 405) and fields["date"].endswith("GMT") and (status == 404 or fields["allow"])
    data = send(rig, get(b"TRACE /whole/x HTTP/1.1", HOST + b"Authorization: secret\r\nConnection: close\r\n"))
    status, fields, body = split_answer(data)
    assert status == 405 and b"secret" not in body and "GET" in fields["allow"]
    assert look(rig, b"must") == []
