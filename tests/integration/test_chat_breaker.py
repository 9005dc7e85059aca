"""What opens a worker's circuit breaker and what does not: a worker is not sick because one asks for more than it gives an
answer, or does not read."""
import contextlib
import json
import os
import resource
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tide.chat_rig import MESSAGES, ChatRig
from tide.process import wait_until
from tide.scripted import ScriptedWorker, answer_well
from tide.scripted_h2 import ScriptedH2Worker
from tide.worker import ALIAS, Worker

ENOUGH = 6  # results that would open it, if they were failures


def opened(rig) -> tuple:
    return rig.of_worker(0, "breaker_opened_total"), rig.of_worker(0, "failures_total")


def test_answers_past_the_workers_time_open_no_breaker(tmp_path):
    with Worker(tmp_path, "--context", "4096", "--slots", str(2 * ENOUGH), "--request-timeout", "2s") as worker:
        rig = ChatRig(tmp_path, [f"127.0.0.1:{worker.port}"], model=ALIAS, protocol="h2")
        endless = {"max_tokens": 4000, "ignore_eos": True}
        with ThreadPoolExecutor(2 * ENOUGH) as pool:
            whole = [pool.submit(rig.post, **endless) for _ in range(ENOUGH)]
            streams = [pool.submit(rig.post, **endless, stream=True) for _ in range(ENOUGH)]
        for answer in (w.result() for w in whole):
            assert answer.status_code == 504 and answer.json()["error"]["code"] == "gateway_timeout"
        for answer in (s.result() for s in streams):
            events = [line[6:] for line in answer.text.splitlines() if line.startswith("data: {")]
            last = json.loads(events[-1]) if events else answer.json()  # none: it was late before its first word
            assert last["error"]["code"] in ("stream_interrupted", "gateway_timeout")
        assert worker.metric('vllm:request_success_total{finished_reason="timeout"}') == 2 * ENOUGH
        wait_until(lambda: rig.of_worker(0, "requests_total") == 2 * ENOUGH, 20, "all are counted")
        assert opened(rig) == (0, 0)
        rig.close()


@pytest.fixture
def two(tmp_path):
    """Two workers behind a gateway."""
    workers = [ScriptedWorker(), ScriptedWorker()]
    rig = ChatRig(tmp_path, [w.target for w in workers])
    rig.workers = workers
    yield rig
    rig.close()
    for worker in workers:
        worker.stop()
        assert not worker.errors


def is_of_a_client(x) -> bool:
    """Not a question of the gateway's own."""
    return "x-request-id" in x.headers


def refuse(status: int):
    return lambda x: x.reply(status, {"error": {"message": "your key"}})


def filter_content(status: int):
    """Refuses what clients ask, and nothing else."""
    return lambda x: refuse(status)(x) if is_of_a_client(x) else answer_well(x)


def asked_by_clients(rig) -> list[int]:
    return [sum(map(is_of_a_client, w.asked)) for w in rig.workers]


def asked_by_the_gateway(rig) -> list[int]:
    return [len(w.asked) - n for w, n in zip(rig.workers, asked_by_clients(rig))]


@pytest.mark.parametrize("status, told", [(401, 502), (402, 502), (403, 400)])
def test_a_worker_that_refuses_our_key_is_left_alone(two, status, told):
    """It is quick at it, so it always looks free: nobody may notice, and soon it is asked only whether it still refuses."""
    for worker in two.workers:
        worker.behave = refuse(status)
    answer = two.post()
    assert answer.status_code == told and "key" not in answer.text
    assert asked_by_clients(two) == [1, 1]
    wait_until(lambda: [two.of_worker(i, "refuses_key") for i in (0, 1)] == [1, 1], 20, "both are found out")
    assert two.post().status_code == 502, "it is known whose fault it is"
    two.workers[1].behave = answer_well
    wait_until(lambda: two.is_up(1), 20, "it takes our key again")
    assert [two.of_worker(i, "refuses_key") for i in (0, 1)] == [1, 0]
    before = asked_by_clients(two)
    assert {two.post().status_code for _ in range(2 * ENOUGH)} == {200}
    after = asked_by_clients(two)
    assert after[1] == before[1] + 2 * ENOUGH and after[0] - before[0] <= 1, "each half minute one is let try"
    assert [two.of_worker(i, what) for i in (0, 1) for what in ("breaker_opened_total", "failures_total")] == [0] * 4
    question = next(x for x in two.workers[0].asked if not is_of_a_client(x)).json
    assert (question["model"], question["max_tokens"]) == ("m", 1)


@pytest.mark.parametrize("status", [401, 403])
def test_who_is_refused_by_one_worker_alone_takes_it_from_nobody(two, status):
    """It filters content, where another does not: by what is asked nobody can show that it is of no use to others."""
    two.workers[0].behave = filter_content(status)
    statuses = set()

    def is_refused_once_more():
        statuses.add(two.post().status_code)
        return asked_by_clients(two)[0] >= ENOUGH
    wait_until(is_refused_once_more, 30, "it is asked again and again")
    assert statuses == {200}
    wait_until(lambda: asked_by_the_gateway(two)[0] > 0, 20, "the gateway asks it as well")
    wait_until(two.is_idle, 20, "all are counted")
    assert opened(two) == (0, 0) and two.is_up(0) and two.of_worker(0, "refuses_key") == 0


def test_a_user_whose_requests_are_refused_opens_no_breaker(two):
    """Nor do two."""
    for worker in two.workers:
        worker.behave = filter_content(403)
    other = {"authorization": f"Bearer {two.issuer.token('00000000-0000-4000-8000-000000000002')}"}
    answers = [two.post(headers=headers) for _ in range(ENOUGH) for headers in (None, other)]
    assert {a.status_code for a in answers} == {400} and "key" not in answers[0].text
    wait_until(lambda: min(asked_by_the_gateway(two)) > 0 and two.is_idle(), 20, "both are asked by the gateway")
    assert [two.of_worker(i, what) for i in (0, 1) for what in ("breaker_opened_total", "failures_total")] == [0] * 4
    assert two.is_up(0) and two.is_up(1)


def test_a_key_that_is_good_for_one_of_a_workers_models_is_good(tmp_path):
    worker = ScriptedWorker(["m", "n"])
    worker.behave = lambda x: refuse(403)(x) if x.json["model"] == "m" else answer_well(x)
    rig = ChatRig(tmp_path, [worker.target])
    assert rig.post().status_code == 400
    wait_until(lambda: [x.json["model"] for x in worker.asked] == ["m", "m", "n"], 20, "each model is asked for")
    assert rig.post(model="n").status_code == 200
    wait_until(rig.is_idle, 20, "all are counted")
    assert rig.is_up(0) and rig.of_worker(0, "refuses_key") == 0
    rig.close()
    worker.stop()
    assert not worker.errors


@pytest.fixture
def one(tmp_path):
    """A worker behind a gateway."""
    worker = ScriptedWorker()
    rig = ChatRig(tmp_path, [worker.target])
    rig.workers = [worker]
    yield rig
    rig.close()
    worker.stop()
    assert not worker.errors


def refuse_by_text(x):
    """A front that lets clients' requests pass, but for one text, and nothing that the gateway asks."""
    if is_of_a_client(x) and "secret" not in x.body.decode():
        answer_well(x)
    else:
        refuse(403)(x)


SECRET = [{"role": "user", "content": "a secret"}]


def refuses_key(rig, i: int = 0) -> bool:
    return rig.of_worker(i, "refuses_key") == 1


def test_who_does_not_answer_has_not_said_that_it_takes_our_key(one):
    seen = []

    def say_nothing(x):
        x.wait_gone(20)
        x.close()

    def look_and_answer(x):
        seen.append(refuses_key(one))
        answer_well(x)
    script = iter([say_nothing, refuse(401), say_nothing, look_and_answer])
    one.workers[0].behave = lambda x: refuse(401)(x) if is_of_a_client(x) else next(script, answer_well)(x)
    assert one.post().status_code == 502
    wait_until(lambda: seen, 60, "it is asked until it has taken a question")
    assert seen == [True]
    wait_until(lambda: one.is_up(0) and not refuses_key(one), 20, "and is back")


def test_an_answer_to_a_client_undoes_a_refusal_of_the_gateways_question(one):
    one.workers[0].behave = refuse_by_text
    assert one.post(messages=SECRET).status_code == 400
    wait_until(lambda: refuses_key(one), 20, "what the gateway asks is refused as well")
    assert one.post().status_code == 200
    wait_until(lambda: one.is_up(0) and not refuses_key(one), 20, "it takes our key")
    assert one.post(messages=SECRET).status_code == 400


def test_a_refusal_while_clients_are_answered_is_no_verdict(one):
    asked, answered, ended = threading.Event(), threading.Event(), threading.Event()

    def wait_for_a_client(x):
        if not is_of_a_client(x):
            asked.set()
            assert answered.wait(20)
        refuse_by_text(x)
        if not is_of_a_client(x):
            ended.set()
    one.workers[0].behave = wait_for_a_client
    assert one.post(messages=SECRET).status_code == 400
    assert asked.wait(20)
    assert one.post().status_code == 200
    answered.set()
    assert ended.wait(20)
    wait_until(lambda: "it refused a request, and answers others" in one.process.tail(1000), 20, "no verdict")
    assert one.is_up(0) and not refuses_key(one)


def test_a_worker_that_is_thought_to_refuse_our_key_is_let_try(two):
    """Also where others answer all requests; nobody notices."""
    two.workers[0].behave = refuse_by_text
    two.workers[1].behave = answer_well
    def is_found_out():
        assert two.post(messages=SECRET).status_code == 200
        return refuses_key(two)
    wait_until(is_found_out, 20, "it is asked, and refuses")
    before = asked_by_clients(two)[0]

    def is_back():
        assert two.post().status_code == 200
        return two.is_up(0) and not refuses_key(two)
    wait_until(is_back, 90, "it is let try, and answers", every=0.5)
    assert asked_by_clients(two)[0] > before


@pytest.mark.parametrize("protocol", ["h1", "h2"])
def test_our_own_worker_with_another_key(tmp_path, protocol):
    """Until a reload brings the right one."""
    right, ours = tmp_path / "right", tmp_path / "ours"
    for key, text in ((right, "s3cret"), (ours, "wrong")):
        key.write_text(text)
        key.chmod(0o600)
    with Worker(tmp_path, "--context", "256", "--slots", "2", "--api-key-file", str(right)) as worker:
        worker.http.headers["authorization"] = "Bearer s3cret"
        rig = ChatRig(tmp_path, [f"127.0.0.1:{worker.port}"], model=ALIAS, protocol=protocol,
                      worker={"models": [ALIAS], "api_key_file": str(ours)})
        assert rig.post(max_tokens=4).status_code == 502
        wait_until(lambda: rig.of_worker(0, "refuses_key") == 1 and not rig.is_up(0), 20, "it is found out")
        assert json.loads(rig.ctl("get", "workers", "-o", "json").stdout)["items"][0]["refuses_key"] is True
        ours.write_text("s3cret")
        rig.reload()
        wait_until(lambda: rig.is_up(0), 20, "it is made anew")
        assert rig.post(max_tokens=4).status_code == 200
        assert worker.metric('vllm:request_success_total{finished_reason="length"}') >= 1, "ours, or the gateway's as well"
        wait_until(lambda: rig.of_worker(0, "refuses_key") == 0 and rig.is_up(0), 20, "and all is well")
        rig.close()


@pytest.fixture(params=["h1", "h2"])
def scripted(tmp_path, request):
    worker = ScriptedH2Worker() if request.param == "h2" else ScriptedWorker()
    rig = ChatRig(tmp_path, [worker.target], protocol=request.param)
    rig.worker = worker
    yield rig
    rig.close()
    worker.stop()
    assert not worker.errors


def ask_and_read_nothing(rig) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", rig.port))
    body = json.dumps({"model": "m", "messages": MESSAGES, "stream": True})
    sock.sendall(f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: {rig.headers['authorization']}\r\n"
                 f"content-length: {len(body)}\r\nconnection: close\r\n\r\n{body}".encode())
    return sock


def read_all(sock: socket.socket) -> bytes:
    with sock:
        sock.settimeout(60)
        return b"".join(iter(lambda: sock.recv(1 << 20), b""))


def test_a_cut_for_want_of_a_reader_opens_no_breaker(scripted):
    """Nor one that the gateway sees only when its client has begun to read."""
    cut = []

    def flood(x):
        x.start_stream()
        x.flood_until_held()
        x.reset()
        cut.append(x)
    scripted.worker.behave = flood
    socks = [ask_and_read_nothing(scripted) for _ in range(ENOUGH)]
    wait_until(lambda: len(cut) == ENOUGH, 60, "the worker has had enough")
    with ThreadPoolExecutor(ENOUGH) as pool:
        answers = list(pool.map(read_all, socks))
    assert all(b"stream_interrupted" in a for a in answers)
    wait_until(lambda: scripted.of_worker(0, "requests_total") == ENOUGH, 20, "all are counted")
    assert opened(scripted) == (0, 0)


def test_cuts_while_the_client_reads_do(scripted):
    def cut(x):
        x.start_stream()
        x.delta(content="The")
        x.reset()
    scripted.worker.behave = cut
    for _ in range(ENOUGH):
        scripted.post(stream=True)
    wait_until(lambda: scripted.of_worker(0, "breaker_opened_total") == 1, 20, "the breaker opens")
    scripted.worker.behave = answer_well
    wait_until(lambda: scripted.post().status_code == 200, 30, "it is tried again")


@contextlib.contextmanager
def no_more_descriptors(process):
    """What is open stays, and nothing new opens: as where connections have used up what LimitNOFILE allows."""
    before = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    taken = {int(fd) for fd in os.listdir(f"/proc/{process.pid}/fd")}
    first_free = next(n for n in range(len(taken) + 1) if n not in taken)
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (first_free, before[1]))
    try:
        yield
    finally:
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("protocol, worker", [("h1", ScriptedWorker), ("h2", ScriptedH2Worker)])
def test_what_this_gateway_lacks_is_no_workers_fault(tmp_path, protocol, worker):
    server = worker()
    server.behave = answer_well
    rig = ChatRig(tmp_path, [server.target], protocol=protocol)
    assert rig.http.get("/livez").status_code == 200  # a connection that is kept: none is needed for what follows
    with no_more_descriptors(rig.process):
        for _ in range(ENOUGH):
            refused = rig.post()
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "service_unavailable")
            assert int(refused.headers["retry-after"]) >= 1
    assert rig.post().status_code == 200, "at once"
    assert opened(rig) == (0, 0) and rig.is_up(0)
    rig.close()
    server.stop()
