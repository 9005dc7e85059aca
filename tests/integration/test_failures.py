"""Parts are killed under load and come back: who is signed in never sees a 5xx on chat, nothing is done twice."""
import threading
import time
from collections import Counter

from tide.process import wait_until
from tide.scripted import ScriptedWorker


class ChatLoad:
    """Signed-in people who chat until told to stop: threads over keep-alive connections, with pauses."""

    def __init__(self, apps: list, pause_s: float = 0.1):
        self.apps = apps
        self.pause_s = pause_s
        self.codes: Counter = Counter()
        self.wrong: list[str] = []
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=self.chat, args=(app, i)) for i, app in enumerate(apps)]

    def chat(self, app, i: int) -> None:
        while not self.ended.wait(self.pause_s):
            try:
                answer = app.chat(model="m", stream=bool(i % 2))
                self.codes[answer.status_code] += 1
                if answer.status_code != 200 or (i % 2 and "[DONE]" not in answer.text):
                    self.wrong.append(f"{answer.status_code} {answer.text[:300]}")
            except Exception as error:  # noqa: BLE001 - whatever it is, a person would have seen it
                self.wrong.append(repr(error))

    def __enter__(self) -> "ChatLoad":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.ended.set()
        for thread in self.threads:
            thread.join()

    def run_for(self, requests: int, seconds: float = 30) -> None:
        """Until so many more answers have come."""
        before = self.codes.total()
        wait_until(lambda: self.codes.total() >= before + requests or self.wrong, seconds, "the load goes on")


def start_pair(s):
    s.start_postgres()
    s.start_redis()
    s.start_outbox()
    worker = ScriptedWorker()
    for _ in range(2):
        settings = s.settings()
        settings["chat"]["workers"] = [{"name": "w", "target": worker.target, "models": ["m"]}]
        s.start_gateway(settings)
    return worker


def test_redis_postgres_and_both_are_killed_under_load(own_stack):
    s = own_stack
    worker = start_pair(s)
    apps = [s.app(s.gateways[i % 2]) for i in range(4)]
    for app in apps:
        app.sign_up()
    pids = [g.process.pid for g in s.gateways]
    with ChatLoad(apps) as load:
        load.run_for(20)
        for parts in ((s.redis,), (s.postgres,), (s.redis, s.postgres)):
            for part in parts:
                part.kill()
            load.run_for(40)
            for part in parts:
                part.start()
            load.run_for(20)
            wait_until(lambda: s.gateways[0].metric("tidegate_database_up") == 1, 10, "the database is seen")
    assert load.wrong == [], load.wrong[:5]
    assert set(load.codes) == {200}
    for app in apps:
        wait_until(lambda: app.refresh().status_code == 200, 10, "refresh")
        app.close()
    with s.app(s.gateways[1]) as app:
        time.sleep(1.05)
        app.sign_up()
    assert s.postgres.query("SELECT count(*) FROM users") == "5"
    assert [g.process.pid for g in s.gateways] == pids and all(g.process.is_alive() for g in s.gateways)
    worker.stop()
