"""Chat over real workers: our own, killed while it works, and llama.cpp's server as a foreign one."""
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlparse

import httpx
import openai
import pytest

from tide.chat_rig import MESSAGES, ChatRig
from tide.process import wait_until
from tide.worker import ALIAS, Llama, Worker


@pytest.fixture(params=["h2"])
def pair(tmp_path, request):
    """Two workers and a gateway; a test may kill the workers."""
    workers = [Worker(tmp_path, "--slots", "4", "--threads", "1", name=f"tide-worker-{i}") for i in range(2)]
    for worker in workers:
        worker.__enter__()
    rig = ChatRig(tmp_path, [f"127.0.0.1:{w.port}" for w in workers], model=ALIAS, protocol=request.param)
    rig.workers = workers
    yield rig
    rig.close()
    for worker in workers:
        if worker.is_alive():
            worker.__exit__(None, None, None)


def client_of(rig) -> openai.OpenAI:
    return openai.OpenAI(base_url=rig.url + "/v1", api_key=rig.issuer.token(), max_retries=0, timeout=120)


def data_of(lines) -> list:
    return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


over_both = pytest.mark.parametrize("pair", ["h1", "h2"], indirect=True)


@over_both
def test_our_worker_answers_and_streams_the_same(pair):
    client = client_of(pair)
    assert ALIAS in {m.id for m in client.models.list()}
    fields = {"model": ALIAS, "messages": MESSAGES, "max_tokens": 12, "temperature": 0, "seed": 7}
    answer = client.chat.completions.create(**fields)
    assert answer.usage.completion_tokens > 0
    parts = list(client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **fields))
    text = "".join(p.choices[0].delta.content or "" for p in parts if p.choices)
    assert text == answer.choices[0].message.content and text
    assert parts[-1].usage.completion_tokens == answer.usage.completion_tokens
    assert not [p for p in client.chat.completions.create(stream=True, **fields) if p.usage], "not asked, not sent"


def test_two_of_our_workers_share_the_work(pair):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: pair.post(max_tokens=8), range(8)))
    assert [a.status_code for a in answers] == [200] * 8
    wait_until(lambda: pair.of_worker(0, "requests_total") + pair.of_worker(1, "requests_total") == 8, 5, "counted")
    assert all(pair.of_worker(i, "requests_total") >= 2 for i in range(2))


def test_a_client_that_leaves_frees_the_worker(pair):
    with pair.stream(max_tokens=1000) as r:
        for line in r.iter_lines():
            if '"content":"' in line:
                break
    wait_until(pair.is_idle, 3, "the gateway holds nothing")
    for worker in pair.workers:
        wait_until(lambda: 'vllm:num_requests_running 0' in worker.http.get("/metrics").text, 5,
                   f"the worker stopped: {worker.http.get('/metrics').text}")


@over_both
def test_a_worker_killed_before_and_during_a_stream(pair):
    lines, began = [], threading.Event()

    def read():
        with pair.stream(max_tokens=1500, temperature=0, ignore_eos=True) as r:
            for line in r.iter_lines():
                lines.append(line)
                if '"content":"' in line:
                    began.set()
    reader = threading.Thread(target=read)
    reader.start()
    assert began.wait(60)
    wait_until(lambda: pair.of_worker(0, "requests_running") + pair.of_worker(1, "requests_running") == 1, 5, "running")
    busy = 0 if pair.of_worker(0, "requests_running") else 1
    pair.workers[busy].kill()
    killed = time.monotonic()
    reader.join(20)
    assert not reader.is_alive() and time.monotonic() - killed < 3
    data = data_of(lines)
    assert data[-1]["error"]["code"] == "stream_interrupted"
    assert "[DONE]" not in lines[-1]
    for _ in range(6):  # the dead one is asked at most once, and the other takes over
        assert pair.post(max_tokens=2).status_code == 200
    wait_until(lambda: not pair.is_up(busy), 5, "it is seen down")
    pair.workers[busy].start()
    wait_until(lambda: pair.is_up(busy), 60, "it is back without a restart of the gateway")
    assert pair.post(max_tokens=2).status_code == 200
    wait_until(pair.is_idle, 5, "the gateway holds nothing")


@pytest.fixture
def foreign(tmp_path):
    with Llama(context=1024, slots=2) as llama:
        model = llama.http.get("/v1/models").json()["data"][0]["id"]
        rig = ChatRig(tmp_path, [urlparse(str(llama.http.base_url)).netloc], model=model)
        rig.llama = llama
        yield rig
        rig.close()


def test_llama_cpp_is_a_worker_like_ours(foreign):
    client = client_of(foreign)
    fields = {"model": "tide-chat", "messages": MESSAGES, "max_tokens": 12, "temperature": 0, "seed": 7}
    answer = client.chat.completions.create(**fields)
    assert answer.choices[0].message.content and answer.usage.completion_tokens > 0
    parts = list(client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **fields))
    assert "".join(p.choices[0].delta.content or "" for p in parts if p.choices) == answer.choices[0].message.content
    assert parts[-1].usage.completion_tokens == answer.usage.completion_tokens
    lines = foreign.read_stream(max_tokens=5)
    assert lines[-1] == "data: [DONE]"
    assert not [d for d in data_of(lines) if d.get("usage")]


def test_llama_cpp_stops_when_the_client_leaves(foreign):
    def slots_busy():
        return [s for s in foreign.llama.http.get("/slots").json() if s["is_processing"]]
    with foreign.stream(max_tokens=900) as r:
        for line in r.iter_lines():
            if '"content":"' in line:
                break
    wait_until(foreign.is_idle, 3, "the gateway holds nothing")
    try:
        wait_until(lambda: not slots_busy(), 5, "llama.cpp stopped")
    except httpx.HTTPError:
        pytest.fail("llama.cpp's /slots does not answer")


def test_what_llama_cpp_refuses_reaches_the_client(foreign):
    r = foreign.post(messages=[{"role": "user", "content": "tide " * 3000}])
    assert r.status_code == 400
    assert r.json()["error"]["message"]
