"""TLS of the edge: versions, suites, tickets, floods."""
import socket
import ssl
import subprocess
import time

import pytest
from tide.edge import Edge, read_all, split_answer, wait_until


@pytest.fixture(scope="module")
def edge(tmp_path_factory):
    e = Edge(tmp_path_factory.mktemp("edge"), tls=True, handshake_ms=700)
    yield e
    e.stop()


def context(edge, **kw):
    c = ssl.create_default_context(cafile=str(edge.cert))
    for name, value in kw.items():
        setattr(c, name, value)
    return c


def s_client(edge, *args, data=b""):
    return subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{edge.port}", "-servername", "localhost", *args],
                          input=data, capture_output=True, timeout=20)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions(edge, version):
    c = context(edge, minimum_version=version, maximum_version=version)
    c.set_alpn_protocols(["http/1.1"])
    with c.wrap_socket(socket.create_connection(("127.0.0.1", edge.port)), server_hostname="localhost") as s:
        assert s.selected_alpn_protocol() == "http/1.1"
        s.sendall(b"GET /small HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert split_answer(read_all(s))[0] == 200


def test_alpn_prefers_h2_and_refuses_strangers(edge):
    for offered, chosen in ((["http/1.1", "h2"], "h2"), (["http/1.1"], "http/1.1")):
        c = context(edge)
        c.set_alpn_protocols(offered)
        with c.wrap_socket(socket.create_connection(("127.0.0.1", edge.port)), server_hostname="localhost") as s:
            assert s.selected_alpn_protocol() == chosen
    c = context(edge)
    c.set_alpn_protocols(["spdy/3"])
    with pytest.raises(ssl.SSLError, match="NO_APPLICATION_PROTOCOL|no application protocol"):
        c.wrap_socket(socket.create_connection(("127.0.0.1", edge.port)), server_hostname="localhost")


@pytest.mark.parametrize("args", [["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], ["-tls1_2", "-cipher", "AES128-SHA"],
                                  ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256"]])
def test_old_versions_and_suites_are_refused(edge, args):
    out = s_client(edge, *args)
    assert out.returncode != 0 and b"Cipher is (NONE)" in out.stdout


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_sessions_resume(edge, tmp_path, version):
    ticket = tmp_path / "ticket"
    ask = b"GET /small HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    s_client(edge, version, "-sess_out", ticket, "-ign_eof", data=ask)
    out = s_client(edge, version, "-sess_in", ticket, "-ign_eof", data=ask)
    assert b"Reused, TLSv1" in out.stdout and b"200 OK" in out.stdout


def test_renegotiation_is_refused(edge):
    p = subprocess.Popen(["openssl", "s_client", "-connect", f"127.0.0.1:{edge.port}", "-tls1_2"],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    time.sleep(0.5)
    p.stdin.write(b"R\n")
    p.stdin.flush()
    time.sleep(0.5)
    p.stdin.close()
    out = p.stdout.read()
    p.wait(10)
    assert b"no renegotiation" in out or b"handshake failure" in out


def test_key_update_flood_is_cut(edge):
    before = edge.metric('tidegate_http_limit_closes_total{reason="tls_key_updates"}')
    p = subprocess.Popen(["openssl", "s_client", "-connect", f"127.0.0.1:{edge.port}", "-tls1_3"],
                         stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.5)
    try:
        for _ in range(80):
            p.stdin.write(b"k\n")
            p.stdin.flush()
            time.sleep(0.02)
    except BrokenPipeError:
        pass
    finally:
        try:
            p.stdin.close()
        except BrokenPipeError:
            pass
    p.wait(10)
    assert edge.metric('tidegate_http_limit_closes_total{reason="tls_key_updates"}') == before + 1


def test_handshake_deadline(edge):
    s = socket.create_connection(("127.0.0.1", edge.port))
    s.settimeout(5)
    start = time.monotonic()
    s.sendall(b"\x16\x03\x01\x02\x00\x01")  # the start of a ClientHello
    assert s.recv(100) == b"" and 0.5 < time.monotonic() - start < 3


def test_stalled_handshakes_make_room(tmp_path):
    e = Edge(tmp_path, tls=True, handshakes_per_loop=4, handshake_ms=20000)
    stalled = [socket.create_connection(("127.0.0.1", e.port)) for _ in range(4)]
    time.sleep(0.8)
    assert e.get("/small")[0] == 200
    for s in stalled:
        s.close()
    e.stop()


def test_garbage_instead_of_tls(edge):
    for data in (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x00" * 100, b"\x16\x03\x03\x40\x01" + b"a" * 20000,
                 b"\x17\x03\x03\x00\x05hello"):
        with socket.create_connection(("127.0.0.1", edge.port)) as s:
            s.settimeout(5)
            s.sendall(data)
            read_all(s)
    wait_until(lambda: edge.metric("tidegate_http_connections") == 1, what="all closed but the one that asks")
