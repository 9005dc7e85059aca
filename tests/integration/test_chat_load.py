"""Gateways that know of each other only by what workers tell of their load."""
import json
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tide.chat_rig import ChatRig
from tide.process import wait_until
from tide.scripted import ScriptedWorker, answer_well
from tide.worker import ALIAS, Worker

LISTENING = {"load_report": True, "report_fresh": "30s"}


def folder(path: Path, name: str) -> Path:
    (path / name).mkdir()
    return path / name


def begin(stack: ExitStack, rig: ChatRig) -> None:
    """A stream that has begun and goes on until the stack ends."""
    answer = stack.enter_context(rig.stream(max_tokens=1500, ignore_eos=True))
    assert answer.status_code == 200
    lines = answer.iter_lines()
    stack.callback(lines.close)  # one that nobody holds would end the stream
    next(line for line in lines if '"content":"' in line)


def test_a_worker_that_another_gateway_loads_is_seen_busy(tmp_path):
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(tmp_path, "--slots", "4", "--threads", "1", name=f"tide-worker-{i}"))
                   for i in range(2)]
        targets = [f"127.0.0.1:{w.port}" for w in workers]
        a, b = (ChatRig(folder(tmp_path, name), of, model=ALIAS, protocol="h2", worker=LISTENING)
                for name, of in (("a", targets[:1]), ("b", targets)))
        stack.callback(a.close)
        stack.callback(b.close)
        wait_until(lambda: all(b.of_worker(i, "report_credit") == 1 for i in range(2)), 30, "both tell")
        with ExitStack() as streams:
            for _ in range(3):
                begin(streams, a)
            wait_until(lambda: b.of_worker(0, "others_running") == 3, 30, "b has heard of them")
            assert a.of_worker(0, "others_running") == 0  # they are its own
            for _ in range(4):
                assert b.post(max_tokens=1).status_code == 200
            wait_until(lambda: b.of_worker(1, "requests_total") == 4, 20, "counted")
            assert b.of_worker(0, "requests_total") == 0
            busy, idle = json.loads(b.ctl("get", "workers", "-o", "json").stdout)["items"]
            assert (busy["others"], idle["others"]) == (3, 0) and busy["report_age_ms"] < 30000
            assert "OTHERS" in b.ctl("get", "workers").stdout
        wait_until(lambda: b.of_worker(0, "others_running") == 0, 30, "b has heard of their end")


def telling(*loads: dict, then_silent: bool = False):
    """Answers chats, and tells these loads, the last for as long as somebody listens."""
    def behave(exchange):
        if exchange.path != "/tide/v1/load":
            return answer_well(exchange)
        exchange.start_stream()
        for load in loads:
            exchange.event(load)
        while True:  # until the gateway leaves: sending fails
            time.sleep(0.05)
            exchange.chunk(b": still here\n\n") if then_silent else exchange.event(loads[-1])
    return behave


def load(waiting: int) -> dict:
    return {"running": 0, "waiting": waiting, "slots": 8, "kv_blocks_used": 0, "kv_blocks": 64, "draining": False}


def missing(exchange):
    return exchange.reply(404, {}) if exchange.path == "/tide/v1/load" else answer_well(exchange)


def chats(worker: ScriptedWorker) -> int:
    return sum(x.method == "POST" for x in worker.asked)


@pytest.fixture
def scripted(tmp_path):
    """scripted(behaviour, ...): a gateway over such workers."""
    made = []

    def make(*behaviours) -> ChatRig:
        workers = [ScriptedWorker() for _ in behaviours]
        for worker, behave in zip(workers, behaviours):
            worker.behave = behave
        rig = ChatRig(tmp_path, [w.target for w in workers], worker=LISTENING)
        rig.workers = workers
        made.append(rig)
        return rig
    yield make
    for rig in made:
        rig.close()
        for worker in rig.workers:
            worker.stop()
            assert not worker.errors


def test_who_falls_silent_does_not_get_everything(scripted):
    rig = scripted(telling(load(50)), telling(load(0)))
    wait_until(lambda: all(rig.of_worker(i, "report_credit") == 1 for i in range(2)), 30, "both tell")
    for _ in range(10):
        assert rig.post().status_code == 200
    assert [chats(w) for w in rig.workers] == [0, 10]
    rig.workers[1].behave = telling(load(0), then_silent=True)
    for worker in rig.settings["chat"]["workers"]:
        worker["report_fresh"] = "100ms"
    rig.reload()
    wait_until(lambda: rig.of_worker(1, "reports_total") == 1 and rig.of_worker(1, "report_credit") == 0, 30,
               "its last word has become old")
    assert rig.of_worker(0, "others_running") == 50
    for _ in range(40):
        assert rig.post().status_code == 200
    assert chats(rig.workers[0]) > 0 and chats(rig.workers[1]) > 10


def test_who_tells_nothing_or_nonsense_is_used_all_the_same(scripted):
    rig = scripted(telling(load(50)), missing, telling({"running": "many"}))
    wait_until(lambda: rig.of_worker(0, "report_credit") == 1, 30, "the first tells")
    wait_until(lambda: rig.process.log.read_text().count("what=load_report") >= 2, 30, "the gateway has looked at the others")
    for _ in range(60):
        assert rig.post().status_code == 200
    assert all(chats(w) > 0 for w in rig.workers), [chats(w) for w in rig.workers]
    assert [rig.of_worker(i, "reports_total") > 0 for i in range(3)] == [True, False, False]
    items = json.loads(rig.ctl("get", "workers", "-o", "json").stdout)["items"]
    assert [w["others"] for w in items] == [50, None, None]
    assert all(sum(x.method == "GET" for x in w.asked) == 1 for w in rig.workers[1:])  # they are left alone for a minute
    log = rig.process.log.read_text()
    assert log.count("what=load_report status=404") == 1 and 'running: expected a number' in log
