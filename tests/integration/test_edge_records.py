"""TLS 1.3 records after the handshake: ours, or OpenSSL's where it stays."""
import os
import subprocess

import pytest
from tide.edge import Edge, read_all, split_answer
from tide.tls_wire import RawTls13

SUITES = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"]
OWN = "tidegate_http_tls_own_records_total"


@pytest.fixture(scope="module", params=["ours", "openssl"])
def edge(request, tmp_path_factory):
    limits = {} if request.param == "ours" else {"own_records": 0}
    e = Edge(tmp_path_factory.mktemp("edge"), tls=True, **limits)
    e.own = request.param == "ours"
    yield e
    e.stop()


def curl(edge, *args):
    done = subprocess.run(["curl", "-sS", "--cacert", edge.cert, "--resolve", f"localhost:{edge.port}:127.0.0.1", *args],
                          capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
@pytest.mark.parametrize("suite", SUITES)
def test_every_suite_carries_bodies_both_ways(edge, tmp_path, suite, version):
    sent = tmp_path / "body"
    sent.write_bytes(os.urandom(700_001))
    before = edge.metric(OWN)
    back = curl(edge, version, "--tls13-ciphers", suite, "--tlsv1.3", "-H", "Expect:", "--data-binary", f"@{sent}",
                f"https://localhost:{edge.port}/pipe")
    assert back == sent.read_bytes()
    assert edge.metric(OWN) - before == (2 if edge.own else 0)  # curl's and that of the second look


def test_tls_1_2_stays_with_openssl(edge):
    before = edge.metric(OWN)
    assert curl(edge, "--tls-max", "1.2", f"https://localhost:{edge.port}/small")
    assert edge.metric(OWN) - before == (1 if edge.own else 0)  # that of the second look


def test_connections_take_turns(edge):
    """One cipher context serves all connections of a loop."""
    open_ones = [edge.connect() for _ in range(12)]
    for turn in range(5):
        for s in open_ones:
            s.sendall(b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n")
        for s in open_ones[::-1]:
            assert split_answer(s.recv(4096))[0] == 200, turn
    for s in open_ones:
        s.close()


def test_the_answer_ends_with_close_notify(edge):
    with edge.connect() as s:
        s.sendall(b"GET /small HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert split_answer(read_all(s))[0] == 200
        assert s.recv(1) == b""  # a TCP end without close_notify would raise


@pytest.mark.parametrize("record", [b"\x14\x03\x03\x00\x01\x01", b"\x15\x03\x03\x00\x02\x01\x00", b"\x17\x03\x03\xff\xff",
                                    b"\x17\x03\x03\x00\x11" + bytes(17)])
def test_what_is_no_record_of_the_client_ends_the_connection(edge, tmp_path, record):
    raw = RawTls13(edge.port, tmp_path)
    assert raw.closes(record)
    assert edge.get("/small")[0] == 200
