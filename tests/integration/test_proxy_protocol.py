"""PROXY headers in front of TLS and HTTP: who may send one, who counts as the peer, and what happens without one."""
import shutil
import socket
import ssl
import struct
import subprocess
import time

import pytest
from tide.edge import Edge, read_all, split_answer, wait_until
from tide.process import free_port

V2 = b"\r\n\r\n\0\r\nQUIT\n"
GET = b"GET /peer HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def v1(peer="203.0.113.7", family="TCP4", other="10.0.0.1"):
    return f"PROXY {family} {peer} {other} 4711 443\r\n".encode()


def v2(peer="203.0.113.7", other="10.0.0.1", tlv=b"", command=0x21):
    family = socket.AF_INET6 if ":" in peer else socket.AF_INET
    body = socket.inet_pton(family, peer) + socket.inet_pton(family, other) + struct.pack("!HH", 4711, 443) + tlv
    return V2 + struct.pack("!BBH", command, 0x21 if ":" in peer else 0x11, len(body)) + body


LOCAL = V2 + b"\x20\0\0\0"


@pytest.fixture(scope="module", params=["plain", "tls"])
def edge(request, tmp_path_factory):
    e = start(tmp_path_factory.mktemp("edge"), tls=request.param == "tls")
    yield e
    e.stop()


def start(folder, tls=False, proxies="127.0.0.1/32", **limits):
    return Edge(folder, tls=tls, more=["--proxy-from", proxies], **limits)


def connect(edge, header, source="127.0.0.1"):
    """A connection behind its header, in TLS when the server is."""
    s = socket.create_connection(("127.0.0.1", edge.port), source_address=(source, 0))
    s.settimeout(10)
    s.sendall(header)
    if not edge.tls:
        return s
    context = ssl.create_default_context(cafile=str(edge.cert))
    return context.wrap_socket(s, server_hostname="localhost")


def get(edge, header, request=GET):
    with connect(edge, header) as s:
        s.sendall(request)
        return split_answer(read_all(s))


def is_cut(s):
    """The server closed, or reset, without a byte."""
    s.settimeout(10)
    try:
        return s.recv(100) == b""
    except ConnectionResetError:
        return True


def metric(edge, line):
    text = get(edge, LOCAL, GET.replace(b"/peer", b"/metrics"))[2].decode()
    return next((float(x.rpartition(" ")[2]) for x in text.splitlines() if x.startswith(line)), 0.0)


@pytest.mark.parametrize("header, peer", [
    (v1(), "203.0.113.7"),
    (v1("2001:db8::5", "TCP6", "2001:db8::1"), "2001:db8::5"),
    (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    (v2(), "203.0.113.7"),
    (v2("2001:db8::5", "::1"), "2001:db8::5"),
    (v2(tlv=b"\x04\0\x05noise" + b"\x02\0\x09localhost"), "203.0.113.7"),
    (LOCAL, "127.0.0.1"),
    (v2(command=0x20), "127.0.0.1"),
    (V2 + b"\x21\0\0\0", "127.0.0.1"),
    (V2 + b"\x21\x31\0\xd8" + b"\0" * 216, "127.0.0.1"),
])
def test_the_header_names_the_peer(edge, header, peer):
    status, _, body = get(edge, header)
    assert (status, body.decode()) == (200, peer)


def test_a_header_byte_by_byte_and_one_with_all_that_follows(edge):
    with socket.create_connection(("127.0.0.1", edge.port)) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in v2("198.51.100.4"):
            s.sendall(bytes([byte]))
        if edge.tls:
            s = ssl.create_default_context(cafile=str(edge.cert)).wrap_socket(s, server_hostname="localhost")
        s.sendall(GET)
        assert split_answer(read_all(s))[2] == b"198.51.100.4"
    if not edge.tls:
        with socket.create_connection(("127.0.0.1", edge.port)) as s:
            s.sendall(v1() + GET)
            assert split_answer(read_all(s))[2] == b"203.0.113.7"


@pytest.mark.parametrize("start_bytes", [
    GET, b"\x16\x03\x01\x00\xf8\x01\x00\x00\xf4\x03\x03", b"PROXY TCP4 1.2.3.4 1.2.3.4 1 99999\r\n", b"PROXY" + b" " * 200,
    V2 + b"\x21\x11\x02\x09", V2 + b"\x22\x11\0\x0c" + b"\0" * 12, V2 + b"\x21\x12\0\x0c" + b"\0" * 12, v1() + v1() + GET])
def test_without_a_proper_header_nothing_is_answered(edge, start_bytes):
    before = metric(edge, 'tidegate_http_limit_closes_total{reason="proxy_header"}')
    with socket.create_connection(("127.0.0.1", edge.port)) as s:
        s.sendall(start_bytes)
        if start_bytes.startswith(v1()):  # a second header is the client's own bytes: a malformed request
            assert edge.tls or split_answer(read_all(s))[0] == 400
            return
        assert is_cut(s)
    assert metric(edge, 'tidegate_http_limit_closes_total{reason="proxy_header"}') == before + 1


def test_only_listed_proxies_may_connect(edge):
    with socket.create_connection(("127.0.0.1", edge.port), source_address=("127.0.0.2", 0)) as s:
        assert is_cut(s)
    assert metric(edge, 'tidegate_http_connections_refused_total{reason="not_a_proxy"}') >= 1


def test_silence_and_an_unfinished_header_end_in_time(tmp_path):
    e = start(tmp_path, proxy_header_ms=300)
    for begin in (b"", v2()[:-1]):
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", e.port)) as s:
            s.sendall(begin)
            assert is_cut(s)
        assert 0.2 < time.monotonic() - began < 3
    assert metric(e, 'tidegate_http_limit_closes_total{reason="proxy_header_timeout"}') == 2
    e.stop()


def test_the_named_address_is_what_is_limited(tmp_path):
    """One balancer, many clients: each has its own share; the balancer itself has none."""
    e = start(tmp_path, connections_per_addr=3)
    held = [connect(e, v1("192.0.2.1")) for _ in range(3)]
    for s in held:
        s.sendall(GET.replace(b"Connection: close\r\n", b""))
        assert split_answer(s.recv(4096))[2] == b"192.0.2.1"
    assert is_cut(connect(e, v1("192.0.2.1")))
    assert get(e, v1("192.0.2.2"))[2] == b"192.0.2.2"
    assert all(get(e, LOCAL)[0] == 200 for _ in range(10))
    held.pop().close()
    wait_until(lambda: not is_refused(e, "192.0.2.1"), what="room for another one")
    for s in held:
        s.close()
    e.stop()


def is_refused(edge, peer):
    try:
        return get(edge, v1(peer))[0] != 200
    except OSError:
        return True


def test_a_normal_listener_takes_the_header_for_a_bad_request(tmp_path):
    e = Edge(tmp_path)
    for header in (v1(), v2()):
        with e.connect() as s:
            s.sendall(header + GET)
            assert split_answer(read_all(s))[0] == 400
    e.stop()


HAPROXY = """
defaults
  mode tcp
  timeout connect 5s
  timeout client 5s
  timeout server 5s
listen one
  bind 127.0.0.1:{front}
  server s1 127.0.0.1:{back} {send}
"""


@pytest.mark.parametrize("send", ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options unique-id,crc32c"])
def test_behind_haproxy(edge, tmp_path, send):
    haproxy = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    front = free_port()
    conf = tmp_path / "haproxy.cfg"
    conf.write_text(HAPROXY.format(front=front, back=edge.port, send=send))
    process = subprocess.Popen([haproxy, "-db", "-q", "-f", conf], stderr=subprocess.PIPE)
    try:
        wait_until(lambda: is_open(front), what="haproxy listens")
        s = socket.create_connection(("127.0.0.1", front), source_address=("127.0.0.9", 0))
        if edge.tls:
            s = ssl.create_default_context(cafile=str(edge.cert)).wrap_socket(s, server_hostname="localhost")
        s.sendall(GET)
        assert split_answer(read_all(s))[2] == b"127.0.0.9"
        s.close()
    finally:
        process.terminate()
        process.wait(5)


def is_open(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0
