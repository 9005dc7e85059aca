"""HTTP/1 of the edge, from outside: framing, keep-alive, pipelining, bodies, errors, TLS, unix sockets, drain."""
import ctypes
import json
import os
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time

import httpx
import pytest
from tide.edge import BUILD, Edge, make_certificate, read_all, split_answer, wait_until


def talk(edge, data):
    with edge.connect() as s:
        s.sendall(data)
        return read_all(s)


def test_fields_of_an_answer(edge):
    status, fields, body = edge.get("/small")
    assert status == 200 and body == b"x" * 200
    assert fields["content-length"] == "200" and fields["connection"] == "close"
    assert len(fields["x-request-id"]) == 32 and fields["date"].endswith("GMT")
    assert ("strict-transport-security" in fields) == edge.tls


def test_keep_alive_and_pipelining(edge):
    one = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s"
    bodies = [b"first", b"second" * 1000, b"", b"fourth"]
    last = b"GET /small HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    data = talk(edge, b"".join(one % (len(b), b) for b in bodies) + last)
    for expected in [*bodies, b"x" * 200]:
        status, fields, rest = split_answer(data)
        n = int(fields["content-length"])
        assert status == 200 and rest[:n] == expected
        data = rest[n:]
    assert data == b""


def test_a_request_byte_by_byte(edge):
    with edge.connect() as s:
        for byte in b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n" \
                    b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-T: 1\r\n\r\n":
            s.sendall(bytes([byte]))
        assert split_answer(read_all(s))[2] == b"abcde"


def test_http_1_0(edge):
    status, fields, body = split_answer(talk(edge, b"GET /stream?n=2&ms=1 HTTP/1.0\r\n\r\n"))
    assert status == 200 and "transfer-encoding" not in fields and fields["connection"] == "close"
    assert body == b'data: {"n":1}\n\n' * 2


def test_head_has_no_body(edge):
    status, fields, body = split_answer(
        talk(edge, b"HEAD /bytes?n=500 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"))
    assert (status, fields["content-length"], body) == (200, "500", b"")


def test_expect_continue(edge):
    with edge.connect() as s:
        s.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert s.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        s.sendall(b"ok")
        assert s.recv(1000).endswith(b"ok")


def test_expect_continue_is_not_given_for_a_body_that_is_refused(edge):
    with edge.connect() as s:
        s.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\nExpect: 100-continue\r\n\r\n")
        status, fields, _ = split_answer(read_all(s))
        assert status == 413 and fields["connection"] == "close"


def test_large_bodies_both_ways(edge):
    payload = os.urandom(3_000_000)
    verify = str(edge.cert) if edge.tls else True
    scheme = "https" if edge.tls else "http"
    with httpx.Client(verify=verify, base_url=f"{scheme}://localhost:{edge.port}") as client:
        assert client.post("/pipe", content=payload).content == payload
        assert client.post("/echo", content=payload[:1 << 20]).content == payload[:1 << 20]
        refused = client.post("/echo", content=payload)
        assert refused.status_code == 413 and refused.json()["code"] == "payload_too_large"
        assert len(client.get("/bytes?n=5000000").content) == 5_000_000
        assert client.post("/late", content=b"later").content == b"later"


def test_an_unread_small_body_keeps_the_connection(edge):
    with edge.connect() as s:
        for _ in range(2):
            s.sendall(b"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n")
            time.sleep(0.05)
            s.sendall(b"ignore")
            status, fields, _ = split_answer(s.recv(4096))
            assert status == 401 and "connection" not in fields


def test_a_cut_answer_is_seen_as_cut(edge):
    data = talk(edge, b"GET /abort?n=1000 HTTP/1.1\r\nHost: a\r\n\r\n")
    assert not data.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("request_text, status", [
    (b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
    (b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505),
    (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: magic\r\n\r\n", 417),
    (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    (b"GET /" + b"a" * 20000, 414),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 20000 + b"\r\n\r\n", 431),
    (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 65 + b"\r\n", 431),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n", 400),
    (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
])
def test_bad_requests_are_answered_and_closed(edge, request_text, status):
    data = talk(edge, request_text + b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n")
    got, fields, body = split_answer(data)
    assert got == status and fields["connection"] == "close"
    problem = json.loads(body)  # one answer and nothing behind it
    assert problem["status"] == status and fields["content-type"] == "application/problem+json"


def test_errors_speak_the_clients_language(edge):
    data = talk(edge, b"GET /nothing HTTP/1.1\r\nHost: a\r\nAccept-Language: zh-TW\r\nConnection: close\r\n\r\n")
    _, fields, body = split_answer(data)
    assert fields["content-language"] == "zh-Hant" and json.loads(body)["message"] == "內容不存在。"


def test_client_gone_is_noticed_while_waiting(edge):
    before = edge.finishes()["client_gone"]
    with edge.connect() as s:
        s.sendall(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_until(lambda: edge.finishes()["live"] == 1, what="the request")
    wait_until(lambda: edge.finishes()["client_gone"] == before + 1, what="client_gone")
    assert edge.finishes()["live"] == 0


def test_back_pressure_on_a_client_that_does_not_read(edge):
    with edge.connect() as s:
        rss = edge.rss_kb()
        s.sendall(b"GET /bytes?n=200000000 HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(1)
        assert edge.rss_kb() - rss < 8000
        assert edge.finishes()["live"] == 1


def test_back_pressure_on_a_handler_that_does_not_consume(edge):
    """/sink takes 100 KB/s: the client can push no more than the buffers on the way."""
    with edge.connect(timeout=1) as s:
        s.sendall(b"POST /sink HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
        sent = 0
        with pytest.raises((TimeoutError, socket.timeout, ssl.SSLError)):
            while sent < 50_000_000:
                sent += s.send(b"y" * 65536)
        assert sent < 20_000_000


def test_header_deadline(limited):
    e = limited(header_ms=500, first_byte_ms=400)
    with e.connect() as s:
        start = time.monotonic()
        s.sendall(b"GET / HT")
        status, _, body = split_answer(read_all(s))
        assert status == 408 and json.loads(body)["code"] == "request_timeout"
        assert 0.4 < time.monotonic() - start < 3
    with e.connect() as s:
        start = time.monotonic()
        assert read_all(s) == b"" and time.monotonic() - start < 3
    with e.connect() as s:  # a drop now and then does not help
        start = time.monotonic()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            for _ in range(100):
                s.sendall(b"X")
                time.sleep(0.05)
        assert time.monotonic() - start < 3.5
    assert e.metric('tidegate_http_limit_closes_total{reason="request_timeout"}') == 2


def test_body_deadline_and_rate(limited):
    e = limited(body_ms=400)
    with e.connect() as s:
        s.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n123")
        status, fields, _ = split_answer(read_all(s))
        assert status == 408 and fields["connection"] == "close"
    assert e.finishes()["timeout"] == 1


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("is_reset", [False, True])
def test_a_client_that_leaves_while_nothing_is_read_is_missed(limited, tls, is_reset):
    """Its end is seen all the same, and until then the loop does not spin."""
    e = limited(tls=tls)
    s = e.connect()
    s.sendall(b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n"
              b"POST /hang HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n" + b"x" * 500)
    assert s.recv(1000)
    wait_until(lambda: e.finishes()["live"] == 1, 20, "the second request hangs, and its body waits")
    cpu = e.cpu_s()
    if is_reset:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    socket.socket.close(s)
    looks = 0
    while e.finishes()["client_gone"] == 0:
        time.sleep(0.3)  # each look costs time of the processor, too
        assert (looks := looks + 1) < 100
    assert e.cpu_s() - cpu < 0.5


def test_send_stall(limited):
    e = limited(send_stall_ms=500)
    with e.connect() as s:
        s.sendall(b"GET /bytes?n=100000000 HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_until(lambda: e.finishes()["timeout"] == 1, what="the stall")
    assert e.metric('tidegate_http_limit_closes_total{reason="send_stall"}') == 1


def takes(s, bytes_a_turn: int, until) -> None:
    """Reads so much ten times a second, until that is so or the server is done with it."""
    s.settimeout(60)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)  # the kernel acknowledges in small steps
    def turn():
        time.sleep(0.1)
        try:
            return until() or s.recv(bytes_a_turn) == b""
        except OSError:
            return True
    wait_until(turn, 60, "the end of a slow reader")


@pytest.mark.parametrize("tls", [False, True])
def test_a_reader_below_the_rate_is_cut_off(tmp_path, tls):
    e = Edge(tmp_path, tls=tls, send_stall_ms=4000, send_min_rate=1 << 28)
    with e.connect() as s:
        s.sendall(b"GET /bytes?n=1000000000 HTTP/1.1\r\nHost: a\r\n\r\n")
        takes(s, 2048, lambda: e.finishes()["timeout"] == 1)
    assert e.metric('tidegate_http_limit_closes_total{reason="send_min_rate"}') == 1
    assert e.metric('tidegate_http_limit_closes_total{reason="send_stall"}') == 0
    e.stop()


def test_a_slow_reader_above_the_rate_keeps_its_answer(tmp_path):
    """The kernel's buffer is much larger than what it takes in the time of a stall: what counts is what it acknowledged."""
    e = Edge(tmp_path, send_stall_ms=4000, send_min_rate=1024)
    with e.connect() as s:
        began = time.monotonic()
        s.sendall(b"GET /bytes?n=1000000000 HTTP/1.1\r\nHost: a\r\n\r\n")
        takes(s, 4096, lambda: time.monotonic() - began > 10)
        assert e.finishes()["live"] == 1
    wait_until(lambda: e.finishes()["client_gone"] == 1, 20, "the reader has left")
    e.stop()


def goes_deaf(s):
    """From now on this socket's kernel drops every segment before TCP sees it: silence, as of a phone in a tunnel."""
    drop_all = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # BPF: return 0
    s.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HL", 1, ctypes.addressof(drop_all)))  # SO_ATTACH_FILTER


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("path", ["/stream?n=1000000&ms=20", "/bytes?n=100000000"])
def test_a_client_that_is_gone_without_a_word(tmp_path, tls, path):
    """The kernel's buffer would take a stream's events for hours; what is not acknowledged ends it."""
    e = Edge(tmp_path, tls=tls, unacked_ms=600)
    with e.connect() as s:
        s.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        s.recv(1)
        goes_deaf(s)
        wait_until(lambda: e.finishes()["client_gone"] == 1, what="the end")
    assert e.metric('tidegate_http_limit_closes_total{reason="unacknowledged"}') == 1
    e.stop()


def test_idle_age_and_request_count(limited):
    e = limited(idle_ms=500, requests_per_connection=2)
    get = b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n"
    with e.connect() as s:
        s.sendall(get)
        assert "connection" not in split_answer(s.recv(4096))[1]
        s.sendall(get)
        assert split_answer(read_all(s))[1]["connection"] == "close"
    with e.connect() as s:
        s.sendall(get)
        s.recv(4096)
        start = time.monotonic()
        assert s.recv(1) == b"" and 0.3 < time.monotonic() - start < 3


def test_connection_limit_evicts_idle_ones(limited):
    e = limited(connections=5)
    get = b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n"
    idle = [e.connect() for _ in range(5)]
    for s in idle:
        s.sendall(get)
        s.recv(4096)
    assert e.get("/small")[0] == 200
    assert idle[0].recv(1) == b""
    for s in idle:
        s.close()


def test_running_out_of_descriptors_is_survived(tmp_path):
    e = Edge(tmp_path, connections=1000, files=40)
    many = [e.connect() for _ in range(80)]
    wait_until(lambda: e.descriptors() >= 39, 30, "the last descriptor")
    def refused():
        return sum(1 for s in many if read_now(s) == b"")
    wait_until(lambda: refused() >= 35, 60, "those without a descriptor are refused")
    for s in many:
        s.close()
    wait_until(lambda: e.descriptors() < 20, 20)
    assert e.metric('tidegate_http_connections_refused_total{reason="descriptors"}') >= 35
    e.stop()


def read_now(s):
    """b"" when the other side has closed, None when it waits."""
    s.settimeout(0.05)
    try:
        return s.recv(10)
    except ConnectionResetError:
        return b""
    except TimeoutError:
        return None


def test_second_instance_is_refused(edge, tmp_path):
    run = subprocess.run([BUILD / "tests" / "edge_server", "--listen", edge.address], capture_output=True, text=True,
                         timeout=10)
    assert run.returncode == 1 and "another instance" in run.stderr


def test_unix_socket_and_its_user(tmp_path):
    path = tmp_path / "edge.sock"
    e = Edge(tmp_path, listen=f"unix:{path}")
    try:
        assert path.stat().st_mode & 0o777 == 0o600
        assert e.get("/uid")[2] == str(os.getuid()).encode()
    finally:
        e.stop()
    assert not path.exists()


def test_stale_unix_socket_is_taken_over(tmp_path):
    path = tmp_path / "edge.sock"
    e = Edge(tmp_path, listen=f"unix:{path}")
    e.process.kill()
    e.process.wait()
    assert path.exists()
    again = Edge(tmp_path, listen=f"unix:{path}")
    assert again.get("/small")[0] == 200
    again.stop()


def test_key_that_others_can_read_is_refused(tmp_path):
    cert, key = make_certificate(tmp_path)
    key.chmod(0o640)
    run = subprocess.run([BUILD / "tests" / "edge_server", "--cert", cert, "--key", key], capture_output=True, text=True,
                         timeout=10)
    assert run.returncode == 1 and "others can read" in run.stderr


def test_drain_ends_idle_and_lets_answers_end(tmp_path):
    e = Edge(tmp_path, tls=True)
    idle, busy = e.connect(), e.connect()
    idle.sendall(b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n")
    idle.recv(4096)
    busy.sendall(b"GET /stream?n=5&ms=100 HTTP/1.1\r\nHost: a\r\n\r\n")
    busy.recv(100)
    threading.Timer(0.1, e.process.send_signal, [signal.SIGTERM]).start()
    assert idle.recv(1) == b""
    assert read_all(busy).count(b"data: ") >= 3
    e.stop()


def test_drain_reads_on_a_body_that_nobody_wants(tmp_path):
    """Its answer is out, and would be lost to a client that is told of a reset while it sends the rest."""
    for _ in range(10):
        e = Edge(tmp_path)
        with e.connect() as s:
            s.sendall(b"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n" + b"x" * 10)
            assert split_answer(s.recv(4096))[0] == 401
            began = time.monotonic()
            e.process.send_signal(signal.SIGTERM)
            assert s.recv(1) == b""
            try:
                for _ in range(4):
                    s.sendall(b"x" * 1000)
                was_read = True
            except OSError:
                was_read = False
            took = time.monotonic() - began
        e.stop()
        if was_read or took < 1.5:
            break  # else it was too slow to tell: it reads on for 2 s
    assert was_read


def test_drain_deadline_cuts_what_is_left(tmp_path):
    e = Edge(tmp_path)
    s = e.connect()
    s.sendall(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")
    time.sleep(0.2)
    start = time.monotonic()
    e.stop()
    assert 1.5 < time.monotonic() - start < 5  # the fixture gives 2 s
    assert read_all(s) == b""
