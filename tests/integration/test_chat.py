"""Chat through the gateway, with workers that do what each test says. No database, no Redis: tokens come from an issuer
of the test's own."""
import asyncio
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import h2.connection
import h2.events
import httpx
import openai
import pytest

from tide.chat_rig import MESSAGES, ChatRig
from tide.process import wait_until
from tide.scripted import ScriptedWorker, answer_well
from tide.scripted_h2 import ScriptedH2Worker

class Rig(ChatRig):
    """A gateway over scripted workers."""

    def __init__(self, folder, workers=2, protocol="h1", **options):
        kind = ScriptedH2Worker if protocol == "h2" else ScriptedWorker
        self.workers = [kind() for _ in range(workers)]
        super().__init__(folder, [w.target for w in self.workers], protocol=protocol, **options)

    def close(self):
        super().close()
        for worker in self.workers:
            worker.stop()
        assert not [e for w in self.workers for e in w.errors]

    def asked(self) -> list:
        return sorted((x for w in self.workers for x in w.asked), key=lambda x: x.at)

    def set(self, behave):
        for worker in self.workers:
            worker.behave = behave


@pytest.fixture
def protocol():
    """What the workers speak."""
    return "h1"


over_both = pytest.mark.parametrize("protocol", ["h1", "h2"])


@pytest.fixture
def rig(tmp_path, request, protocol):
    options = getattr(request, "param", {})
    r = Rig(tmp_path, protocol=protocol, **options)
    yield r
    r.close()


def with_rig(**options):
    return pytest.mark.parametrize("rig", [options], indirect=True, ids=lambda o: "")


def text_of(lines):
    return "".join(json.loads(line[6:])["choices"][0]["delta"].get("content") or ""
                   for line in lines if line.startswith("data: {"))


# --- what works -------------------------------------------------------------------------------------------------------


@over_both
def test_an_answer_and_a_stream(rig):
    r = rig.post()
    assert r.status_code == 200
    assert r.json()["choices"][0]["message"]["content"] == "The tide turns."
    assert r.json()["usage"]["total_tokens"] == 7
    lines = rig.read_stream()
    assert text_of(lines) == "The tide turns."
    assert lines[-1] == "data: [DONE]"
    assert not [line for line in lines if '"usage"' in line], "nobody asked for the usage event"
    lines = rig.read_stream(stream_options={"include_usage": True})
    assert json.loads(lines[-2][6:])["usage"]["completion_tokens"] == 3


def test_the_openai_client_unmodified(rig):
    client = openai.OpenAI(base_url=rig.url + "/v1", api_key=rig.issuer.token(), max_retries=0)
    assert {m.id for m in client.models.list()} == {"m", "tide-chat"}
    assert client.models.retrieve("tide-chat").id == "tide-chat"
    answer = client.chat.completions.create(model="tide-chat", messages=MESSAGES)
    assert answer.choices[0].message.content == "The tide turns."
    parts = list(client.chat.completions.create(model="m", messages=MESSAGES, stream=True,
                                                stream_options={"include_usage": True}))
    assert "".join(p.choices[0].delta.content or "" for p in parts if p.choices) == "The tide turns."
    assert parts[-1].usage.prompt_tokens == 5
    with pytest.raises(openai.NotFoundError) as e:
        client.chat.completions.create(model="none", messages=MESSAGES)
    assert e.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as e:
        client.chat.completions.create(model="m", messages=[])
    assert e.value.param == "messages"
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=rig.url + "/v1", api_key="nobody", max_retries=0).models.list()


@over_both
def test_bytes_survive_and_credentials_do_not(rig):
    body = (b'{ "model" : "m", "messages":[{"role":"user","content":"\\u00e9 \xe6\xbd\xae"}],'
            b'"seed":18446744073709551615,"unknown":{"a":[1.50,null]},'
            b'"tools":[{"type":"function","function":{"name":"f","parameters":{}}}] }')
    r = rig.http.post("/v1/chat/completions", content=body, headers={
        "content-type": "application/json", "cookie": "a=b", "apikey": "k", "x-forwarded-for": "8.8.8.8",
        "x-tide-user": "root", "x-other": "1", "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01"})
    assert r.status_code == 200
    seen = rig.asked()[0]
    assert seen.body == body
    assert set(seen.headers) == {"host", "content-type", "accept", "x-request-id", "x-tide-tenant", "traceparent",
                                 "content-length"}
    assert seen.headers["x-request-id"] == r.headers["x-request-id"]
    assert len(seen.headers["x-tide-tenant"]) == 16
    rig.read_stream(seed=18446744073709551615)
    sent = rig.asked()[-1]
    assert sent.json["stream_options"] == {"include_usage": True}
    assert b"18446744073709551615" in sent.body


def test_bad_bodies_are_refused_by_field(rig):
    for change, param in [({"model": 1}, "model"), ({"messages": "x"}, "messages"), ({"stream": "yes"}, "stream"),
                          ({"max_tokens": -1}, "max_tokens"), ({"temperature": 9}, "temperature"), ({"n": 99}, "n")]:
        r = rig.post(**change)
        assert r.status_code == 400, change
        assert r.json()["error"]["param"] == param
        assert r.json()["error"]["type"] == "invalid_request_error"
    for text in (b"", b"{", b'{"model":"m"}x', b'{"model":"a","model":"b"}', b'{"model":"\\ud800"}', b"\xff",
                 b"[" * 5000, b'{"model":"\\u0000"}'):
        r = rig.http.post("/v1/chat/completions", content=text)
        assert r.status_code == 400, text[:20]
    assert rig.http.post("/v1/chat/completions", content=b" " * (1 << 20) + b"{}").status_code == 413
    assert rig.asked() == []


def test_reasoning_gets_the_name_clients_read(rig):
    def think(x):
        if x.json.get("stream"):
            x.start_stream()
            x.delta(role="assistant", content="")
            x.delta(reasoning="hm \"reasoning\"")
            x.delta(reasoning_content="still")
            x.delta(content="42")
            x.delta(finish="stop")
            x.end_stream()
        else:
            x.completion("42", reasoning="hm")
    rig.set(think)
    assert rig.post().json()["choices"][0]["message"]["reasoning_content"] == "hm"
    deltas = [json.loads(line[6:])["choices"][0]["delta"] for line in rig.read_stream()[:-1]]
    assert deltas[1:4] == [{"reasoning_content": 'hm "reasoning"'}, {"reasoning_content": "still"}, {"content": "42"}]


@over_both
def test_a_large_answer_and_a_large_question(rig):
    rig.set(lambda x: x.completion("t" * 3_000_000 + str(len(x.body))))
    big = [{"role": "user", "content": "w" * 1_000_000}]
    r = rig.post(messages=big)
    assert r.status_code == 200
    text = r.json()["choices"][0]["message"]["content"]
    assert text == "t" * 3_000_000 + str(len(rig.asked()[0].body)) and len(rig.asked()[0].body) > 1_000_000
    rig.set(lambda x: x.completion("t" * 9_000_000))
    assert rig.post().status_code == 502, "past chat.answer_bytes"


@over_both
def test_two_workers_balance(rig):
    gate = threading.Event()

    def hold(x):
        gate.wait(10)
        answer_well(x)
    rig.set(hold)
    with ThreadPoolExecutor(12) as pool:
        results = [pool.submit(rig.post) for _ in range(12)]
        wait_until(lambda: len(rig.asked()) == 12, 10, "all requests reach the workers")
        counts = [len(w.asked) for w in rig.workers]
        gate.set()
        assert all(r.result().status_code == 200 for r in results)
    assert counts == [6, 6], "the one with less to do is taken"
    wait_until(rig.is_idle, 5, "all load is given back")


# --- trouble before the first content ----------------------------------------------------------------------------------


def first_fails(rig, how):
    """The worker asked first fails as told, whichever it is; the other one answers."""
    first = []

    def behave(x):
        first.append(x)
        if len(first) == 1:
            how(x)
        else:
            answer_well(x)
    rig.set(behave)


@over_both
@pytest.mark.parametrize("how", [
    lambda x: x.close(),
    lambda x: x.reset(),
    lambda x: x.reply(503, {"error": {"message": "loading"}}),
    lambda x: x.reply(502, {}),
    lambda x: x.reply(429, {"error": {"message": "full"}}),
], ids=["close", "reset", "503", "502", "429"])
def test_one_retry_on_the_other_worker(rig, how):
    first_fails(rig, how)
    assert rig.post().status_code == 200
    assert sorted(len(w.asked) for w in rig.workers) == [1, 1]
    assert rig.metric("tidegate_chat_retries_total") == 1


@over_both
def test_a_stream_that_dies_before_content_is_taken_over(rig):
    def preamble_only(x):
        x.start_stream()
        x.chunk(b": ping\n\n")
        x.delta(role="assistant", content="")
        time.sleep(0.2)
        x.reset()
    first_fails(rig, preamble_only)
    lines = rig.read_stream()
    assert text_of(lines) == "The tide turns."
    assert len([line for line in lines if "role" in line]) == 1, "the first worker left no trace"
    assert lines[-1] == "data: [DONE]"


@over_both
def test_two_failures_are_enough(rig):
    rig.set(lambda x: x.close())
    r = rig.post()
    assert r.status_code == 502
    assert r.json()["error"]["type"] == "server_error"
    assert len(rig.asked()) == 2
    rig.set(lambda x: x.reply(503, {}, "retry-after: 7\r\n"))
    r = rig.post()
    assert r.status_code == 503
    assert int(r.headers["retry-after"]) >= 5
    wait_until(rig.is_idle, 5, "all load is given back")


def test_a_500_is_not_tried_again(rig):
    rig.set(lambda x: x.reply(500, {"error": {"message": "secret stack trace"}}))
    r = rig.post()
    assert r.status_code == 502
    assert "secret" not in r.text
    assert len(rig.asked()) == 1


def test_the_workers_refusal_reaches_the_client(rig):
    rig.set(lambda x: x.reply(400, {"error": {"message": "context too long", "type": "invalid_request_error",
                                              "param": None, "code": "context_length_exceeded"}}))
    r = rig.post()
    assert r.status_code == 400
    assert r.json()["error"]["code"] == "context_length_exceeded"
    assert len(rig.asked()) == 1
    rig.set(lambda x: x.reply(401, {"error": {"message": "your key"}}))
    assert rig.post().status_code == 502


@over_both
def test_dead_workers_are_left_alone_and_come_back(rig):
    rig.workers[0].stop()
    for _ in range(10):
        assert rig.post().status_code == 200
    wait_until(lambda: rig.metric('tidegate_worker_up{worker="w1"}') == 0, 5, "w1 is seen down")
    rig.workers[1].stop()
    r = rig.post()
    assert r.status_code in (502, 503)
    wait_until(lambda: rig.post().status_code == 503, 5, "no worker is left")
    assert "retry-after" in rig.post().headers
    rig.workers[0].start()
    wait_until(lambda: rig.post().status_code == 200, 8, "w1 serves again")
    rig.workers[1].start()


# --- trouble after it ---------------------------------------------------------------------------------------------------


def broken_stream(x):
    x.start_stream()
    x.delta(role="assistant", content="")
    x.delta(content="The tide")


@over_both
@pytest.mark.parametrize("how", [
    lambda x: x.reset(),
    lambda x: x.close(),
    lambda x: x.end_stream(done=False),
    lambda x: (x.event({"error": {"message": "CUDA out of memory at 0x7f", "code": 500}}), x.end_stream()),
    lambda x: (x.event("not json"), x.end_stream()),
    lambda x: x.break_framing(),
    lambda x: x.chunk(b"data: " + b"x" * 300000 + b"\n\n"),
], ids=["reset", "close", "no-finish", "error-event", "garbage", "bad-chunk", "huge-event"])
def test_a_stream_that_breaks_ends_with_an_error_event(rig, how):
    def behave(x):
        broken_stream(x)
        time.sleep(0.1)
        how(x)
    rig.set(behave)
    lines = rig.read_stream()
    assert text_of(lines[:-1]) == "The tide"
    error = json.loads(lines[-1][6:])["error"]
    assert error["code"] == "stream_interrupted"
    assert error["type"] == "server_error"
    assert "CUDA" not in lines[-1]
    assert len(rig.asked()) == 1, "nothing is tried again after content"
    client = openai.OpenAI(base_url=rig.url + "/v1", api_key=rig.issuer.token(), max_retries=0)
    with pytest.raises(openai.APIError):
        list(client.chat.completions.create(model="m", messages=MESSAGES, stream=True))
    wait_until(rig.is_idle, 5, "all load is given back")


@over_both
def test_an_answer_that_breaks_is_an_error(rig):
    rig.set(lambda x: x.answer_short())
    assert rig.post().status_code == 502
    rig.set(lambda x: x.reply(200, b"<html>"))
    assert rig.post().status_code == 502


def test_a_finished_stream_without_done_is_whole(rig):
    def behave(x):
        broken_stream(x)
        x.delta(finish="stop")
        x.end_stream(done=False)
    rig.set(behave)
    assert rig.read_stream()[-1] == "data: [DONE]"


@over_both
@with_rig(idle="300ms", first_byte="400ms")
def test_silence_ends_in_time(rig):
    rig.set(lambda x: x.wait_gone(5))
    assert rig.post().status_code == 504

    def stall(x):
        broken_stream(x)
        x.wait_gone(5)
    rig.set(stall)
    assert json.loads(rig.read_stream()[-1][6:])["error"]["code"] == "stream_interrupted"


# --- events are whole ---------------------------------------------------------------------------------------------------


@over_both
def test_events_are_never_cut(rig):
    def dribble(x):
        x.start_stream()
        text = b""
        for word in ("潮", "が", "満", "ちる"):
            text += ("data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]},
                                           ensure_ascii=False) + "\r\n\r\n").encode()
        text += b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
        for i in range(0, len(text), 3):
            x.chunk(text[i:i + 3])
            time.sleep(0.001)
        x.end_stream(done=False)
    rig.set(dribble)
    with rig.stream() as r:
        for piece in r.iter_raw():
            piece.decode()
            assert piece.endswith((b"\n\n", b"\r\n\r\n", b"\r\n\r")), piece
    lines = rig.read_stream()
    assert text_of(lines) == "潮が満ちる"
    assert lines[-1] == "data: [DONE]"


@with_rig(keep_alive="150ms")
def test_keep_alives_while_waiting(rig):
    def slow(x):
        time.sleep(0.6)
        x.stream(["late"])
    rig.set(slow)
    lines = rig.read_stream()
    assert lines.count(": keep-alive") >= 2
    assert text_of(lines) == "late"
    rig.set(lambda x: (time.sleep(0.4), x.reply(500, {})))
    lines = rig.read_stream()  # 200 has gone out: the error comes as an event
    assert json.loads(lines[-1][6:])["error"]["code"] == "bad_gateway"


# --- clients that leave or dawdle ---------------------------------------------------------------------------------------


def leave(rig, body, after=b"", wait=0.0):
    """Sends a request on a bare socket and leaves when `after` has been seen."""
    data = json.dumps({"model": "m", "messages": MESSAGES, **body}).encode()
    s = socket.create_connection(("127.0.0.1", rig.port))
    s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: " +
              rig.headers["authorization"].encode() + b"\r\ncontent-length: %d\r\n\r\n" % len(data) + data)
    seen = b""
    while after not in seen:
        seen += s.recv(65536)
    time.sleep(wait)
    s.close()


@over_both
@pytest.mark.parametrize("phase", ["before-head", "after-head", "in-stream", "no-stream"])
def test_a_client_that_leaves_stops_the_worker(rig, phase):
    gone = []

    def behave(x):
        if phase in ("after-head", "in-stream"):
            x.start_stream()
        if phase == "in-stream":
            x.delta(content="one")
        gone.append(x.wait_gone(5))
    rig.set(behave)
    leave(rig, {"stream": phase != "no-stream"}, b"one" if phase == "in-stream" else b"", wait=0.3)
    wait_until(lambda: gone, 5, "the worker sees the end")
    assert gone[0] < 1.0
    wait_until(rig.is_idle, 5, "all load is given back")


def reset_after_first_byte(rig, body):
    conn = h2.connection.H2Connection()
    conn.initiate_connection()
    data = json.dumps(body).encode()
    conn.send_headers(1, [(":method", "POST"), (":scheme", "http"), (":authority", "x"), (":path", "/v1/chat/completions"),
                          ("authorization", rig.headers["authorization"]), ("content-length", str(len(data)))])
    conn.send_data(1, data, end_stream=True)
    s = socket.create_connection(("127.0.0.1", rig.port))
    s.sendall(conn.data_to_send())
    while not any(isinstance(e, h2.events.DataReceived) for e in conn.receive_data(s.recv(65536))):
        s.sendall(conn.data_to_send())
    conn.reset_stream(1)
    s.sendall(conn.data_to_send())
    return s


async def ask_at_once(rig, n, body):
    """Many streams of one connection."""
    async with httpx.AsyncClient(base_url=rig.url, headers=rig.headers, http1=False, http2=True, timeout=20) as client:
        answers = await asyncio.gather(*(client.post("/v1/chat/completions", json=body) for _ in range(n)))
        return [a.status_code for a in answers]


@over_both
def test_the_same_over_http2(rig):
    client = httpx.Client(base_url=rig.url, headers=rig.headers, http1=False, http2=True, timeout=20)
    body = {"model": "m", "messages": MESSAGES, "stream": True}
    with client.stream("POST", "/v1/chat/completions", json=body) as r:
        assert r.http_version == "HTTP/2"
        lines = [line for line in r.iter_lines() if line]
    assert text_of(lines) == "The tide turns." and lines[-1] == "data: [DONE]"
    gone = []

    def behave(x):
        x.start_stream()
        x.delta(content="one")
        gone.append(x.wait_gone(5))
    rig.set(behave)
    bare = reset_after_first_byte(rig, body)
    wait_until(lambda: gone, 5, "the worker sees the end")
    bare.close()
    rig.set(answer_well)
    assert asyncio.run(ask_at_once(rig, 16, {**body, "stream": False})) == [200] * 16
    client.close()
    wait_until(rig.is_idle, 5, "all load is given back")


@over_both
@with_rig(workers=1)
def test_a_slow_reader_costs_little_memory(rig):
    size, sent = 1000, []

    def flood(x):
        x.start_stream()
        for i in range(40000):
            x.delta(content="x" * size)
            sent.append(size)
        x.delta(finish="stop")
        x.end_stream()
    rig.set(flood)
    before = rss_kb(rig.process.pid)
    s = socket.create_connection(("127.0.0.1", rig.port))
    data = json.dumps({"model": "m", "messages": MESSAGES, "stream": True}).encode()
    s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: " +
              rig.headers["authorization"].encode() + b"\r\ncontent-length: %d\r\n\r\n" % len(data) + data)
    time.sleep(2)
    stalled = len(sent)
    time.sleep(0.5)
    assert len(sent) == stalled < 40000, "the worker waits for the reader"
    assert rss_kb(rig.process.pid) - before < 8192
    total, tail = 0, b""
    while b"[DONE]" not in tail:
        piece = s.recv(1 << 20)
        assert piece
        total += len(piece)
        tail = (tail + piece)[-200:]
    assert total > 40000 * size, "and nothing is lost"
    s.close()


def rss_kb(pid):
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS:"))


# --- many streams on one connection ------------------------------------------------------------------------------------


@with_rig(workers=1)
@pytest.mark.parametrize("protocol", ["h2"])
def test_streams_share_a_connection_and_nothing_else(rig):
    """One is stopped by its reader, one by its client's leaving, one by the worker; the others come whole."""
    gate = threading.Event()
    gone = []

    def behave(x):
        role = x.json["user"]
        x.start_stream()
        x.delta(content="The")
        if role == "left":
            gone.append(x.wait_gone(10))
        elif role == "reset":
            x.reset()
        elif role == "slow":
            for _ in range(3000):
                x.delta(content="x" * 1000)
        else:
            gate.wait(10)
            x.delta(content=" tide")
        if role in ("slow", "well"):
            x.delta(finish="stop")
            x.end_stream()
    rig.set(behave)
    with ThreadPoolExecutor(12) as pool, rig.stream(user="slow") as slow:
        well = [pool.submit(rig.read_stream, user="well") for _ in range(8)]
        wait_until(lambda: len(rig.asked()) == 9, 5, "all run")
        leave(rig, {"stream": True, "user": "left"}, b"The")
        broken = rig.read_stream(user="reset")
        gate.set()
        assert [text_of(f.result()) for f in well] == ["The tide"] * 8
        assert json.loads(broken[-1][6:])["error"]["code"] == "stream_interrupted"
        wait_until(lambda: gone, 5, "the worker sees who left")
        assert gone[0] < 1.0
        assert len(text_of(slow.iter_lines())) == 3 + 3000 * 1000
    assert rig.workers[0].connections <= 3, "one for each of two loops, one for probes"
    wait_until(rig.is_idle, 5, "all load is given back")


# --- queue --------------------------------------------------------------------------------------------------------------


@with_rig(workers=1, slots=1, queue="700ms", queue_length=3, queue_per_user=2)
def test_requests_wait_for_a_slot_in_turn(rig):
    gate = threading.Event()

    def hold(x):
        gate.wait(10)
        answer_well(x)
    rig.set(hold)
    other = {"authorization": f"Bearer {rig.issuer.token('00000000-0000-4000-8000-000000000002')}"}
    with ThreadPoolExecutor(8) as pool:
        running = pool.submit(rig.post)
        wait_until(lambda: rig.asked(), 5, "one runs")
        mine = [pool.submit(rig.post) for _ in range(2)]
        wait_until(lambda: rig.metric("tidegate_chat_queued_total") == 2, 5, "two wait")
        r = rig.post()
        assert r.status_code == 429, "a third of the same user may not"
        theirs = pool.submit(rig.post, headers=other)
        wait_until(lambda: rig.metric("tidegate_chat_queued_total") == 3, 5, "another user may")
        third = {"authorization": f"Bearer {rig.issuer.token('00000000-0000-4000-8000-000000000003')}"}
        r = rig.post(headers=third)
        assert r.status_code == 503 and r.json()["error"]["code"] == "queue_full"
        assert "retry-after" in r.headers
        gate.set()
        assert [f.result().status_code for f in (running, theirs, *mine)] == [200] * 4
    gate.clear()
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(rig.post)
        wait_until(lambda: len(rig.asked()) == 5, 5, "one runs")
        began = time.monotonic()
        r = rig.post()
        assert r.status_code == 503 and r.json()["error"]["code"] == "queue_timeout"
        assert 0.5 < time.monotonic() - began < 3
        gate.set()
        assert running.result().status_code == 200
    wait_until(rig.is_idle, 5, "all load is given back")


@with_rig(workers=1, slots=1)
def test_who_leaves_the_queue_makes_room(rig):
    gate = threading.Event()

    def hold(x):
        gate.wait(10)
        answer_well(x)
    rig.set(hold)
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(rig.post)
        wait_until(lambda: rig.asked(), 5, "one runs")
        leave(rig, {}, wait=0.3)
        wait_until(lambda: rig.metric("tidegate_chat_queue_waiting") == 0, 5, "the queue is empty")
        gate.set()
        assert running.result().status_code == 200
    assert rig.post().status_code == 200
    assert len(rig.asked()) == 2, "nobody works for the one who left"


# --- operators ----------------------------------------------------------------------------------------------------------


def test_a_drained_worker_gets_nothing_new(rig):
    rig.ctl("drain", "worker", "w1", "--confirm=w1")
    rig.workers[0].asked.clear()
    assert all(rig.post().status_code == 200 for _ in range(6))
    assert rig.workers[0].asked == []
    rows = {w["name"]: w for w in json.loads(rig.ctl("get", "workers", "-o", "json").stdout)["items"]}
    assert rows["w1"]["state"] == "draining" and rows["w2"]["state"] == "ready"
    assert rows["w2"]["models"] == ["m"] and rows["w2"]["requests"] == 6


@over_both
def test_a_reload_changes_workers_under_running_streams(rig, tmp_path):
    gate = threading.Event()

    def hold(x):
        x.start_stream()
        x.delta(content="The")
        gate.wait(10)
        x.delta(content=" tide")
        x.delta(finish="stop")
        x.end_stream()
    rig.set(hold)
    third = type(rig.workers[0])(models=["m", "new"])
    key = tmp_path / "w3.key"
    key.write_text("sk-worker\n")
    key.chmod(0o600)
    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(rig.read_stream) for _ in range(4)]
        wait_until(lambda: len(rig.asked()) == 4, 5, "streams run on both workers")
        rig.settings["chat"]["workers"] = [{"name": "w3", "target": third.target, "api_key_file": str(key),
                                             "protocol": rig.settings["chat"]["workers"][0]["protocol"]}]
        rig.reload()
        wait_until(lambda: rig.of_worker(2, "up") == 1, 5, "the new worker is up")
        wait_until(lambda: rig.http.get("/v1/models/new").status_code == 200, 5, "its models are known")
        assert rig.post(model="new").status_code == 200
        assert rig.post().status_code == 200
        assert len(rig.asked()) == 4, "the old workers get nothing new"
        assert third.asked[-1].headers["authorization"] == "Bearer sk-worker"
        gate.set()
        assert [text_of(f.result()) for f in running] == ["The tide"] * 4
    assert 'worker="w1"' not in rig.metrics()
    third.stop()


def test_models_that_come_and_go(rig):
    rig.workers[0].models = ["m", "later", "org/a+b-2.0"]
    wait_until(lambda: rig.http.get("/v1/models/later").status_code == 200, 15, "a new model is found")
    assert rig.post(model="later").status_code == 200
    assert rig.workers[0].asked[-1].json["model"] == "later"
    assert rig.post(model="never").json()["error"]["code"] == "model_not_found"
    client = openai.OpenAI(base_url=rig.url + "/v1", api_key=rig.issuer.token(), max_retries=0)
    assert client.models.retrieve("org/a+b-2.0").id == "org/a+b-2.0"  # the client writes %2F
    assert rig.http.get("/v1/models/org/a+b-2.0").status_code == 200
    for path in ("org%2Fother", "%ff", "org/a%20b-2.0"):
        unknown = rig.http.get("/v1/models/" + path)
        assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found"), path
