"""What an operator can see of single requests: traces, running ones, and what is written when the process dies."""
import ctypes
import json
import re
import signal
import time

import httpx
import pytest

from tide.place import Held, Place, open_stream
from tide.process import wait_until

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def place(own_stack):
    p = Place(own_stack)
    yield p
    p.worker.stop()


def ask(place, gateway, **headers) -> httpx.Response:
    return httpx.post(gateway.url + "/v1/chat/completions", verify=place.stack.trust, headers={**place.bearer, **headers},
                      json={"model": "m", "messages": [{"role": "user", "content": "Hi."}]}, timeout=20)


def line_of(gateway, request_id: str) -> dict:
    def found():
        return [line for text in gateway.access_log.read_text().splitlines() if (line := json.loads(text))["request_id"] == request_id]
    return wait_until(found, 5, "the line of the access log")[0]


def test_a_trace_tells_where_the_time_went(place):
    g = place.start()
    place.worker.behave = lambda exchange: (time.sleep(0.2), exchange.completion("The tide turns."))
    answer = ask(place, g, traceparent=f"00-{TRACE}-{PARENT}-01", tracestate="v=1")
    id = answer.headers["x-request-id"]
    told = place.worker.asked[-1].headers
    assert re.fullmatch(f"00-{TRACE}-[0-9a-f]{{16}}-01", told["traceparent"]) and PARENT not in told["traceparent"]
    assert told["tracestate"] == "v=1"
    for name in (id, TRACE):
        found, = json.loads(g.ctl("trace", name, "-o", "json").stdout)["items"]
        assert (found["request_id"], found["trace_id"], found["route"], found["status"], found["finish"], found["worker"]) == (
            id, TRACE, "chat", 200, "done", "w")
        assert found["first_byte_us"] >= 200_000 and found["last_byte_us"] >= found["first_byte_us"]
        parts = sum(found[p + "_us"] for p in ("parse", "auth", "limit"))
        assert 0 < parts < 200_000 and found["auth_us"] > 0
    line = line_of(g, id)
    assert (line["trace_id"], line["parent_id"]) == (TRACE, PARENT) and line["auth_s"] * 1e6 == pytest.approx(found["auth_us"])
    assert f"request_id     {id}\n" in g.ctl("trace", id).stdout
    assert id in g.ctl("trace", "sample").stdout
    g.get("/nothing")
    last = json.loads(g.ctl("trace", "sample", "--limit", "1", "-o", "json").stdout)["items"]
    assert "/nothing" in [item["path"] for item in last]
    assert g.ctl("trace", "nosuch", check=False).returncode == 5
    text = g.metrics()
    for phase in ("parse", "auth", "limit", "first_byte", "last_byte"):
        assert f'tidegate_request_phase_seconds_count{{phase="{phase}"}} 0' not in text, phase


def test_a_malformed_traceparent_begins_a_new_trace(place):
    g = place.start()
    answer = ask(place, g, traceparent=f"00-{TRACE}-{PARENT}", tracestate="v=1")
    id = answer.headers["x-request-id"]
    told = place.worker.asked[-1].headers
    assert re.fullmatch(f"00-{id}-[0-9a-f]{{16}}-00", told["traceparent"]) and "tracestate" not in told
    assert "trace_id" not in line_of(g, id)


def test_the_rule_that_refused_is_named(place):
    settings = place.settings()
    settings["limits"]["rules"] = [{"name": "narrow", "by": "account", "at": "chat", "limit": "1/1m"}]
    g = place.stack.start_gateway(settings)
    assert ask(place, g).status_code == 200
    refused = ask(place, g)
    assert refused.status_code == 429
    found, = json.loads(g.ctl("trace", refused.headers["x-request-id"], "-o", "json").stdout)["items"]
    assert found["limit_rule"] == "narrow" == line_of(g, found["request_id"])["limit_rule"]


def test_a_running_request_is_shown_and_killed(place):
    g = place.start()
    held = Held(place.worker)
    client = open_stream(place, g)
    assert held.began.wait(10)
    running = json.loads(g.ctl("show", "requests", "-o", "json").stdout)
    assert running["silent_loops"] == 0
    request, = running["items"]
    assert (request["route"], request["state"], request["worker"], request["status"]) == ("chat", "handling", "w", 200)
    id = request["request_id"]
    assert id in g.ctl("show", "requests").stdout and "handling" in g.ctl("trace", id).stdout
    assert g.ctl("kill", "nosuch", check=False).returncode == 5
    assert id in g.ctl("kill", id).stdout
    wait_until(lambda: client.poll(0.1) is not None and client.reset_codes(), 5, "the stream is cut")
    assert held.gone.wait(5)  # and the worker was told
    assert line_of(g, id)["finish"] == "aborted"
    assert json.loads(g.ctl("show", "requests", "-o", "json").stdout)["items"] == []
    assert g.get("/livez").status_code == 200
    client.close()


@pytest.mark.parametrize("number,name", [(signal.SIGSEGV, "SIGSEGV"), (signal.SIGABRT, "SIGABRT")])
def test_a_crash_names_what_was_in_flight(place, number, name):
    """The signal is sent to the thread of the loop that has the stream, as a fault there would be."""
    log = place.stack.folder / "gateway.log"
    g = place.start(process={**place.settings()["process"], "threads": 1, "log_file": str(log)})
    held = Held(place.worker)
    client = open_stream(place, g)
    assert held.began.wait(10)
    id = json.loads(g.ctl("show", "requests", "-o", "json").stdout)["items"][0]["request_id"]
    loop, = [int(task.name) for task in g.process.tasks() if (task / "comm").read_text() == "loop-0\n"]
    tgkill = 234
    assert ctypes.CDLL(None).syscall(tgkill, g.process.pid, loop, number) == 0
    ended = g.process.child.wait(20)
    assert ended in (-number, 99), ended  # 99: a sanitizer's handler had the last word
    for text in (g.process.log.read_text(), log.read_text()):
        report = text[text.index("crash signal="):text.index("crash end")]
        assert report.startswith(f"crash signal={name} ") and "thread=loop-0" in report
        assert f"crash request id={id} route=chat state=handling\n" in report
        assert "loop_run" in report  # a stack with names
    g.process.log.write_text("")  # it has served: the fixture takes such lines for a fault
    client.close()
