"""HTTP/2 of the edge, with frames made by hand: windows, limits and the flood families."""
import os
import time

import h2.events
import httpx
import pytest
from tide.edge import H2, Edge, wait_until
from hyperframe.frame import (ContinuationFrame, DataFrame, ExtensionFrame, HeadersFrame, PingFrame, PriorityFrame,
                              RstStreamFrame, SettingsFrame, WindowUpdateFrame)

CALM = 11  # ENHANCE_YOUR_CALM


def expect_calm(client):
    for _ in range(50):
        client.poll(0.1)
        if client.closed:
            break
    assert client.closed and client.goaway_code() == CALM


def test_many_requests_on_one_connection(edge):
    c = H2(edge)
    streams = [c.request("/small") for _ in range(50)]
    assert all(c.body(s) == b"x" * 200 for s in streams)
    c.close()


def test_httpx_over_tls(edge):
    if not edge.tls:
        pytest.skip("httpx has no prior knowledge")
    payload = os.urandom(2_000_000)
    with httpx.Client(verify=str(edge.cert), http2=True, base_url=f"https://localhost:{edge.port}") as client:
        answer = client.post("/echo", content=payload[:1 << 20])
        assert answer.http_version == "HTTP/2" and answer.content == payload[:1 << 20]
        assert client.post("/late", content=b"later").content == b"later"
        assert len(client.get("/bytes?n=3000000").content) == 3_000_000
        assert client.get("/stream?n=3&ms=10").text.count("data: ") == 3
        assert client.post("/echo", content=payload).status_code == 413
        assert client.head("/bytes?n=10").headers["content-length"] == "10"


def test_window_opens_only_as_the_handler_consumes(edge):
    c = H2(edge)
    stream = c.request("/sink", "POST", end=False)
    time.sleep(0.1)
    c.poll(0.1)
    sent = 0
    while (room := min(c.conn.local_flow_control_window(stream), 16384)) > 0:
        c.conn.send_data(stream, b"y" * room)
        c.flush()
        sent += room
    assert sent <= 65535
    c.poll(1.0)  # /sink takes about 100 KB/s
    assert 0 < c.conn.local_flow_control_window(stream) <= 65535
    c.conn.end_stream(stream)
    c.flush()
    assert c.status(stream) == 200
    c.close()


def test_a_slow_handler_does_not_cost_the_client_its_time(limited):
    """The body may take 1.2 s, and the handler takes 3 s to let the last of it be sent: the client is not late."""
    e = limited(body_ms=1200)
    c = H2(e)
    left = 65535 + 32767 + 1500  # what a window that was opened once lets through, and a little more
    stream = c.request("/sink?ms=30", "POST", [("content-length", str(left))], end=False)
    end = time.monotonic() + 60
    while left > 0 and not c.has_answer(stream):
        if (room := min(c.conn.local_flow_control_window(stream), 16384, left)) > 0:
            c.conn.send_data(stream, b"y" * room, end_stream=room == left)
            c.flush()
            left -= room
        else:
            c.poll(0.05)
        assert time.monotonic() < end
    assert c.status(stream) == 200
    c.close()


def test_one_stalled_stream_does_not_stop_others(edge):
    c = H2(edge)
    held = c.request("/hang", "POST", end=False)
    for _ in range(6):
        c.conn.send_data(held, b"y" * 10000)
    c.flush()
    other = c.request("/echo", "POST", body=b"through")
    assert c.body(other) == b"through"
    c.close()


def test_answer_obeys_the_clients_window(edge):
    c = H2(edge)
    before = edge.rss_kb()
    stream = c.request("/bytes?n=50000000")
    c.poll(0.5)
    got = sum(len(e.data) for e in c.events if isinstance(e, h2.events.DataReceived))
    assert got <= 65535 and edge.rss_kb() - before < 6000
    c.conn.acknowledge_received_data(got, stream)
    c.flush()
    c.poll(0.5)
    assert sum(len(e.data) for e in c.events if isinstance(e, h2.events.DataReceived)) > got
    c.close()


def test_reset_ends_the_exchange_at_once(edge):
    before = edge.finishes()["client_gone"]
    c = H2(edge)
    stream = c.request("/hang")
    wait_until(lambda: edge.finishes()["live"] == 1)
    c.conn.reset_stream(stream, 8)
    c.flush()
    wait_until(lambda: edge.finishes()["client_gone"] == before + 1)
    assert c.status(c.request("/small")) == 200
    c.close()


def test_answer_before_the_body_is_followed_by_a_reset(edge):
    c = H2(edge)
    stream = c.request("/unread", "POST", end=False)
    assert c.status(stream) == 401
    wait_until(lambda: c.poll(0.1) is not None and c.reset_codes() == [0], 8, what="RST_STREAM(NO_ERROR)")
    assert c.status(c.request("/small")) == 200
    c.close()


@pytest.mark.parametrize("fields, status", [
    ([("x", "a" * 33000)], 431),
    ([(f"x-{i}", "a") for i in range(70)], 431),
    ([("host", "other")], 400),
    ([(":path", "")], 0),
    ([(":path", "relative"), (":scheme", "x")], 400),
    ([(":path", "/#x")], 400),
    ([(":path", "/\u4e2d")], 400),
    ([(":authority", "a/b")], 0),
    ([(":authority", "user@a")], 400),
    ([(":method", "CONNECT2 x")], 0),
])
def test_heads_past_the_limits(edge, fields, status):
    c = H2(edge)
    pseudo = dict(f for f in fields if f[0][0] == ":")
    stream = c.request("/small", fields=[f for f in fields if f[0][0] != ":"], pseudo=pseudo)
    if status:
        assert c.status(stream) == status
    else:
        wait_until(lambda: c.poll(0.05) is not None and c.reset_codes())
    assert c.status(c.request("/small")) == 200
    c.close()


def test_long_target(edge):
    c = H2(edge)
    assert c.status(c.request("/" + "a" * 5000)) == 414
    c.close()


@pytest.mark.parametrize("fields", [
    [("x", "a\r\nb: c")], [("x", "a\x00b")], [("X-Upper", "a")], [("x y", "a")], [("x:", "a")],
    [("connection", "keep-alive")], [("transfer-encoding", "chunked")], [("te", "gzip")], [(":path", "/again")],
    [("content-length", "x")], [("content-length", "5"), ("content-length", "5")],
])
def test_malformed_fields_reset_the_stream(edge, fields):
    before = edge.finishes()["done"]
    c = H2(edge)
    c.request("/small", fields=fields)
    wait_until(lambda: c.poll(0.05) is not None and (c.reset_codes() or c.closed), what="RST_STREAM")
    assert not [e for e in c.events if isinstance(e, h2.events.ResponseReceived)]
    c.close()
    assert edge.finishes()["done"] <= before + 1  # the look itself


def test_content_length_must_match(edge):
    c = H2(edge)
    c.request("/echo", "POST", fields=[("content-length", "3")], body=b"four")
    wait_until(lambda: c.poll(0.05) is not None and c.reset_codes())
    c.close()


def test_hpack_bomb(edge):
    """One 4 KB field, then named by its index thousands of times: small on the wire, huge when decoded."""
    c = H2(edge)
    encoder = c.conn.encoder
    block = encoder.encode([(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/small"),
                            ("x", "a" * 3900)])
    index = bytes([0x80 | 62])
    frame = HeadersFrame(1, data=block + index * 12000, flags=["END_HEADERS", "END_STREAM"])
    rss = edge.rss_kb()
    c.raw(frame)
    expect_calm(c)
    assert edge.rss_kb() - rss < 4000
    c.close()


def test_continuation_flood(edge):
    c = H2(edge)
    block = c.conn.encoder.encode([(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/")])
    c.raw(HeadersFrame(1, data=block))
    try:
        for _ in range(200):
            c.raw(ContinuationFrame(1, data=c.conn.encoder.encode([("x", "y")])))
    except OSError:
        pass
    for _ in range(20):
        c.poll(0.1)
    assert c.closed
    c.close()


def test_unfinished_header_block_times_out(limited):
    e = limited(header_ms=400)
    c = H2(e)
    c.poll(0.2)  # the SETTINGS and their ACK
    block = c.conn.encoder.encode([(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/")])
    c.raw(HeadersFrame(1, data=block))
    expect_calm(c)
    c.close()


@pytest.mark.parametrize("ended", [False, True])
def test_unfinished_header_block_times_out_whatever_streams_do(limited, ended):
    """One of a new stream while another stream ends, and one of a stream that has ended."""
    e = limited(header_ms=600)
    c = H2(e)
    if ended:
        c.request("/hang")
        c.body(stream := c.request("/small"))
    else:
        c.poll(0.2)
        stream = c.request("/stream?n=2&ms=50") + 2
    block = c.conn.encoder.encode([(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/")])
    c.raw(HeadersFrame(stream, data=block))
    expect_calm(c)
    c.close()


def test_rapid_reset(edge):
    before = edge.metric('tidegate_http_limit_closes_total{reason="h2_resets"}')
    c = H2(edge)
    c.poll(0.1)
    sent = 0
    try:
        for _ in range(1000):
            stream = c.request("/hang")
            c.raw(RstStreamFrame(stream, error_code=8))
            c.conn.streams.pop(stream, None)
            sent += 1
    except OSError:
        pass
    expect_calm(c)
    assert edge.metric('tidegate_http_limit_closes_total{reason="h2_resets"}') == before + 1
    wait_until(lambda: edge.finishes()["live"] == 0)
    c.close()


MADE_TO_RESET = {
    "window update of zero": lambda s: WindowUpdateFrame(s, window_increment=0),
    "window overflow": lambda s: WindowUpdateFrame(s, window_increment=0x7FFFFFFF),
    "data after the end": lambda s: DataFrame(s, data=b"x"),
    "nothing (the head itself is malformed)": None,
    "priority of wrong size": lambda s: b"\x00\x00\x04\x02\x00" + s.to_bytes(4, "big") + b"\0\0\0\0",
}


@pytest.mark.parametrize("what", MADE_TO_RESET)
def test_made_you_reset(edge, what):
    """Frames by which a client makes the server reset: they count as its own resets."""
    c = H2(edge)
    c.poll(0.1)
    try:
        for _ in range(600):
            frame = MADE_TO_RESET[what]
            stream = c.request("/hang", fields=[] if frame else [("X-Upper", "a")])
            if frame:
                c.raw(frame(stream))
            c.conn.streams.pop(stream, None)
    except OSError:
        pass
    for _ in range(50):
        c.poll(0.1)
        if c.closed:
            break
    assert c.closed
    wait_until(lambda: edge.finishes()["live"] == 0)
    c.close()


FLOODS = {
    "ping": lambda i: PingFrame(0, opaque_data=b"12345678"),
    "settings": lambda i: SettingsFrame(0, settings={3: 100}),
    "empty settings": lambda i: SettingsFrame(0),
    "priority": lambda i: PriorityFrame(2 * i + 1, depends_on=0, stream_weight=1),
    "window updates": lambda i: WindowUpdateFrame(0, window_increment=1),
    "unknown frames": lambda i: ExtensionFrame(0xF0, 0, body=b""),
}


@pytest.mark.parametrize("what", FLOODS)
def test_control_floods(edge, what):
    rss = edge.rss_kb()
    c = H2(edge)
    try:
        for i in range(2000):
            c.raw(FLOODS[what](i))
    except OSError:
        pass
    expect_calm(c)
    assert edge.rss_kb() - rss < 4000
    c.close()


def test_empty_data_flood(edge):
    c = H2(edge)
    stream = c.request("/echo", "POST", end=False)
    try:
        for _ in range(500):
            c.raw(DataFrame(stream, data=b""))
    except OSError:
        pass
    expect_calm(c)
    c.close()


def test_a_long_download_needs_no_mercy(edge):
    """Small windows make many WINDOW_UPDATE frames: a slow honest client is not a flood."""
    c = H2(edge)
    stream = c.request("/bytes?n=3000000")
    end = time.monotonic() + 60
    seen = acked = 0
    while seen < 3_000_000 and time.monotonic() < end and not c.closed:
        c.poll(0.05)
        for e in c.events:
            if isinstance(e, h2.events.DataReceived):
                seen += len(e.data)
                c.conn.acknowledge_received_data(e.flow_controlled_length, stream)
        c.events.clear()
        c.flush()
        acked += 1
    assert seen == 3_000_000
    c.close()


def test_streams_past_the_announced_number_end_the_connection(limited):
    e = limited(h2_streams=5)
    c = H2(e)
    c.poll(0.2)
    assert c.conn.remote_settings.max_concurrent_streams == 5
    for s in range(1, 15, 2):
        block = c.conn.encoder.encode([(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/hang")])
        c.raw(HeadersFrame(s, data=block, flags=["END_HEADERS", "END_STREAM"]))
    wait_until(lambda: c.poll(0.05) is not None and c.closed)
    assert c.goaway_code() == 1 and e.finishes()["live"] == 0
    c.close()


def test_requests_past_the_unanswered_ones_wait_their_turn(limited):
    e = limited(h2_unanswered=3)
    c = H2(e)
    hung = [c.request("/hang") for _ in range(3)]
    first, second = c.request("/echo", "POST", body=b"x" * 1000), c.request("/small")
    given_up = c.request("/hang")
    wait_until(lambda: e.metric("tidegate_http2_requests_waited_total") == 3, 20, "three wait")
    c.conn.reset_stream(given_up)  # one that nobody began
    c.flush()
    assert c.poll(0.2) is not None and e.finishes()["live"] == 3
    c.conn.reset_stream(hung[0])
    c.flush()
    assert c.body(first) == b"x" * 1000 and c.status(second) == 200
    assert e.finishes()["live"] == 2
    streaming = [c.request("/stream?n=100000&ms=50") for _ in range(5)]  # an answer that has begun is one
    assert [c.status(s) for s in streaming] == [200] * 5
    assert e.finishes()["live"] == 7
    c.close()
    wait_until(lambda: e.finishes()["live"] == 0, 20, "nothing is left")


def test_stalled_window_is_reset(limited):
    e = limited(send_stall_ms=500)
    c = H2(e)
    c.request("/bytes?n=1000000")
    wait_until(lambda: c.poll(0.05) is not None and c.reset_codes())
    assert e.finishes()["timeout"] == 1
    c.close()


def test_windows_opened_too_slowly_reset_the_stream(limited):
    e = limited(send_stall_ms=3000, send_min_rate=1 << 28)
    c = H2(e)
    slow = c.request("/bytes?n=100000000")
    def open_a_little():
        c.poll(0.05)
        if not c.reset_codes():
            c.conn.increment_flow_control_window(4096)
            c.conn.increment_flow_control_window(4096, slow)
            c.flush()
        return c.reset_codes()
    wait_until(open_a_little, 60, "the reset")
    assert c.reset_codes() == [8] and e.finishes()["timeout"] == 1
    assert e.metric('tidegate_http_limit_closes_total{reason="send_min_rate"}') == 1
    assert c.status(c.request("/small")) == 200  # the connection goes on
    c.close()


def test_goaway_after_many_requests_and_on_idle(limited):
    e = limited(requests_per_connection=3, idle_ms=700)
    c = H2(e)
    for _ in range(3):
        assert c.status(c.request("/small")) == 200
    wait_until(lambda: c.poll(0.1) is not None and c.closed, seconds=5)
    assert c.goaway_code() == 0
    idle = H2(e)
    assert idle.status(idle.request("/small")) == 200
    wait_until(lambda: idle.poll(0.1) is not None and idle.closed, seconds=5)
    assert idle.goaway_code() == 0


def test_drain_sends_goaway_and_lets_streams_end(tmp_path):
    e = Edge(tmp_path, tls=True)
    c = H2(e)
    stream = c.request("/stream?n=10&ms=100")
    c.wait_for(h2.events.DataReceived)
    e.process.terminate()
    assert c.body(stream).count(b"data: ") == 10
    wait_until(lambda: c.poll(0.1) is not None and c.closed)
    assert c.goaway_code() == 0
    e.stop()


@pytest.mark.parametrize("data", [b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n" + b"\0" * 20, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 200])
def test_broken_prefaces(edge, data):
    s = edge.connect(alpn="h2")
    s.sendall(data)
    try:
        while s.recv(4096):
            pass
    except OSError:
        pass
    s.close()
    assert edge.get("/small")[0] == 200
