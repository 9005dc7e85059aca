"""Everything that changes a gateway, at once and under load: what loops share shows under ThreadSanitizer."""
import itertools
import json
import signal
import threading

import pytest

from tide.askers import Fresh, KeepAlive, Multiplexed
from tide.client import mainland_phone
from tide.process import wait_until


class Again(threading.Thread):
    """Does one thing after another until told to stop, a pause after each; keeps the first error."""

    def __init__(self, *actions, pause: float = 0.05):
        super().__init__(daemon=True)
        self.actions, self.pause, self.rounds, self.trouble = actions, pause, 0, None
        self.ended = threading.Event()

    def run(self):
        try:
            while not self.ended.is_set():
                for action in self.actions:
                    if self.ended.wait(self.pause):
                        return
                    action()
                self.rounds += 1
        except Exception as error:  # noqa: BLE001 - the test tells it
            self.trouble = repr(error)

    def end(self):
        self.ended.set()
        self.join(60)
        assert self.trouble is None and self.rounds > 0, self.trouble


def chat(app, stream: bool) -> None:
    answer = app.chat("Hi.", stream=stream, max_tokens=2, model="m")
    assert answer.status_code == 200 or answer.json()["error"]["code"] == "rate_limit_exceeded", answer.text


def sign_up_or_be_refused(app) -> None:
    """Under an open policy or a closed one; 503 where a busy machine makes Redis late, since codes are closed then.

    Codes that nobody uses look like an attack after a while: then a proof of work is asked for."""
    answer = app.ask_code(mainland_phone())
    assert answer.status_code in (200, 403, 503) or answer.json()["code"] == "captcha_failed", answer.text


def reload(gateway, n) -> None:
    gateway.settings["cors"] = {"origins": [f"https://{next(n)}.example"]}
    gateway.write()
    gateway.process.send(signal.SIGHUP)


def trace_one(gateway) -> None:
    for item in json.loads(gateway.ctl("show", "requests", "-o", "json").stdout)["items"][:1]:
        gateway.ctl("trace", item["request_id"], check=False)  # it may have ended


@pytest.mark.tsan
def test_everything_at_once(own_stack):
    s = own_stack
    s.start_postgres()
    s.start_redis()
    s.start_outbox()
    s.start_scripted()
    settings = s.settings()
    settings["process"]["threads"] = 4
    settings["limits"]["rules"].append({"name": "chats", "by": "account", "at": "chat", "limit": "20/1s"})
    g = s.start_gateway(settings)
    apps = [s.app() for _ in range(4)]
    for app in apps[:3]:
        app.sign_up()
    n = itertools.count()
    asking = [kind(g, pause=0.02) for kind in (KeepAlive, KeepAlive, Multiplexed, Multiplexed, Fresh)]
    # A reload keeps the control thread for tens of milliseconds here: without a pause nothing else would come to its turn.
    acting = [Again(lambda: chat(apps[0], False), lambda: chat(apps[0], True)), Again(lambda: chat(apps[1], True)),
              Again(lambda: sign_up_or_be_refused(apps[3])),
              Again(lambda: apps[2].refresh(), lambda: apps[2].user()),
              Again(lambda: g.ctl("policy", "set", "closed", "--confirm=closed", "--reason", "t"), lambda: g.ctl("policy", "set", "open", "--reason", "t")),
              Again(lambda: reload(g, n), pause=0.3), Again(g.metrics, lambda: trace_one(g)),
              Again(*(lambda words=words: g.ctl(*words) for words in (("trace", "sample"), ("get", "limits"), ("get", "workers"))))]
    for thread in asking + acting:
        thread.start()
    wait_until(lambda: all(t.rounds >= 4 or t.trouble for t in acting), 240, "each has gone round four times")
    for thread in acting:
        thread.end()
    for app in apps:
        app.close()  # their client gives a connection up when it is told to leave; the askers' does not
    g.upgrade()
    seen = [one.answers for one in asking]
    wait_until(lambda: all(one.answers > max(20, before + 5) or one.wrong for one, before in zip(asking, seen)), 120, "they go on")
    for one in asking:
        one.end()
    assert g.get("/readyz").status_code == 200
