"""10,000 bad or broken clients: memory and descriptors return to where they were. (The sanitizer build also
reports what is still allocated at the end.)"""
import os
import random
import socket
import ssl
import time

import pytest
from tide.edge import Edge, wait_until

REPEATS = 10000
WARM_UP = 2000

H1 = [
    b"GET / HTTP/1.1\nHost: a\r\n\r\n",
    b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nonly this",
    b"POST /pipe HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /bytes?n=3000000 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /abort?n=50000 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /stream?n=5&ms=1000 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /late HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab",
    b"GET / HTT",
    b"\r\n\r\n\r\n",
    b"GET /" + b"a" * 17000,
    b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n" * 20,
    b"\0" * 64,
    b"",
]
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"
GET_HANG = b"\0\0\x0c\x01\x05\0\0\0\x01\x82\x86\x41\x01a\x44\x05/hang"
H2 = [
    PREFACE,
    PREFACE + GET_HANG,
    PREFACE + GET_HANG[:15],
    PREFACE + GET_HANG + b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08",
    PREFACE + GET_HANG + b"\0\0\x01\0\0\0\0\0\x01x",
    PREFACE + b"\0\0\x04\x01\x05\0\0\0\x01\xff\xff\xff\xff",
    PREFACE + b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",
    PREFACE + b"\0\0\x08\x06\0\0\0\0\0pingpong" * 300,
    PREFACE[:20],
]


def rss_settled(edge):
    wait_until(lambda: edge.finishes()["live"] == 0, 15, "all exchanges ended")
    wait_until(lambda: edge.metric("tidegate_http_connections") == 1, 15, "all connections closed")
    time.sleep(0.5)  # the last look's own connection closes
    return edge.rss_kb(), edge.descriptors()


def client_context(edge):
    c = ssl.create_default_context(cafile=str(edge.cert))
    c.check_hostname = False
    return c


def one_bad_client(edge, data, chance, context):
    s = socket.create_connection(("127.0.0.1", edge.port))
    try:
        if context and chance.random() < 0.2:  # garbage instead of a handshake, or half of one
            s.sendall(chance.choice([data, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"]))
        else:
            if context:
                s = context.wrap_socket(s)
            s.sendall(data)
        if chance.random() < 0.3:
            s.settimeout(0.005)
            s.recv(chance.choice([10, 100000]))
    except OSError:
        pass
    if chance.random() < 0.3:  # a reset instead of an end
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    s.close()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_bad_clients_leave_nothing(tmp_path, monkeypatch, tls):
    monkeypatch.setenv("ASAN_OPTIONS", "quarantine_size_mb=1:" + os.environ.get("ASAN_OPTIONS", ""))
    edge = Edge(tmp_path, tls=tls, header_ms=1000, first_byte_ms=1000, handshake_ms=1000)
    chance = random.Random(1)
    context = client_context(edge) if tls else None
    repeats = REPEATS // 4 if tls else REPEATS
    rss = fds = 0
    for i in range(WARM_UP // (4 if tls else 1) + repeats):
        if i == WARM_UP // (4 if tls else 1):
            rss, fds = rss_settled(edge)
        one_bad_client(edge, chance.choice(H1 + H2), chance, context)
    rss_after, fds_after = rss_settled(edge)
    assert fds_after == fds
    assert rss_after - rss < 3000, f"{rss} kB before, {rss_after} kB after"
    edge.stop()
