"""What a chat is charged when no worker has told: the tokens of its line in the access log are those that limits settle."""
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tide.chat_rig import MESSAGES, ChatRig
from tide.process import wait_until
from tide.scripted import ScriptedWorker, answer_well


@pytest.fixture
def rig(tmp_path):
    worker = ScriptedWorker()
    log = tmp_path / "access.log"
    rig = ChatRig(tmp_path, [worker.target], slots=1, queue="700ms", keep_alive="100ms", connect="30s",
                  process={"access_log": str(log)})
    rig.worker, rig.log = worker, log
    yield rig
    rig.close()
    worker.stop()
    assert not worker.errors


def charged(rig) -> list[tuple]:
    lines = [json.loads(line) for line in rig.log.read_text().splitlines()] if rig.log.exists() else []
    return [(line["prompt_tokens"], line["completion_tokens"]) for line in lines if "/v1/chat" in line["path"]]


def wait_charged(rig, count: int) -> list[tuple]:
    wait_until(lambda: len(charged(rig)) == count, 20, f"{count} lines")
    return charged(rig)


def test_who_waited_in_vain_pays_nothing(rig):
    gate = threading.Event()

    def hold(x):
        gate.wait(60)
        answer_well(x)
    rig.worker.behave = hold
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(rig.post)
        wait_until(lambda: rig.worker.asked, 20, "one runs")
        lines = rig.read_stream(max_tokens=500)
        assert ": keep-alive" in lines, "its status was 200"
        assert json.loads(lines[-1][6:])["error"]["code"] == "queue_timeout"
        assert wait_charged(rig, 1) == [(0, 0)]
        gate.set()
        assert running.result().status_code == 200
    assert wait_charged(rig, 2)[1] == (5, 2)


def test_who_was_served_nothing_pays_nothing(rig):
    rig.worker.behave = lambda x: x.reply(503, {})
    assert rig.post().status_code == 503
    assert wait_charged(rig, 1) == [(0, 0)]


def ask_and_leave(rig, when, **body) -> int:
    """The bytes of the question."""
    data = json.dumps({"model": "m", "messages": MESSAGES, "max_tokens": 50, **body}).encode()
    with socket.create_connection(("127.0.0.1", rig.port)) as s:
        s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: " +
                  rig.headers["authorization"].encode() + b"\r\ncontent-length: %d\r\n\r\n" % len(data) + data)
        wait_until(when, 20, "it is time to leave")
    return len(data)


def leave_in_work(rig, gone: list, **body) -> int:
    rig.worker.behave = lambda x: gone.append(x.wait_gone(20))
    size = ask_and_leave(rig, lambda: rig.worker.asked, **body)
    wait_until(lambda: gone, 20, "the worker sees the end")
    return size


def test_who_leaves_an_answer_in_work_pays_what_was_reserved(rig):
    size = leave_in_work(rig, [], n=2)
    assert wait_charged(rig, 1) == [(size // 4 + 1, 2 * 50)]


def test_who_leaves_a_stream_pays_what_was_sent(rig):
    size = leave_in_work(rig, [], stream=True)
    assert wait_charged(rig, 1) == [(size // 4 + 1, 0)]


def test_who_leaves_before_the_worker_is_reached_pays_nothing(rig):
    rig.worker.take_no_more()
    for i, more in enumerate([{"n": 2}, {"stream": True}]):
        ask_and_leave(rig, lambda: rig.of_worker(0, "requests_running") == 1, **more)
        assert wait_charged(rig, i + 1)[i] == (0, 0)
        wait_until(rig.is_idle, 20, "its place is free")
    assert not rig.worker.asked
