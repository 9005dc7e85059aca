"""One gateway over workers that are there already: plain HTTP on loopback, no database, no Redis; tokens come from an
issuer of its own."""
import signal
import time

import httpx
import yaml

from .process import Process, can_connect, free_port, wait_until
from .stack import SANITIZERS, program, run
from .tokens import Issuer

MESSAGES = [{"role": "user", "content": "When does the tide turn?"}]


class ChatRig:
    def __init__(self, folder, targets: list[str], slots: int = 64, model: str = "m", proxy: dict | None = None,
                 http: dict | None = None, process: dict | None = None, protocol: str = "h1",
                 worker: dict | None = None, **chat):
        self.folder = folder
        self.targets = targets
        self.model = model
        self.issuer = Issuer(folder)
        self.port, self.metrics_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.socket = folder / "admin.sock"
        self.settings = {
            "process": {"threads": 2, "drain": "20s", "state_dir": str(folder), "log_level": "debug", **(process or {})},
            "listeners": [{"address": f"127.0.0.1:{self.port}", "tls": False, "plaintext": True}],
            "metrics": {"address": f"127.0.0.1:{self.metrics_port}"},
            "issuers": [self.issuer.settings()],
            "limits": {"shipped_rules": False},
            "chat": {"workers": [{"name": f"w{i + 1}", "target": target, "protocol": protocol, "slots": slots,
                                  **(worker or {})}
                                 for i, target in enumerate(targets)],
                     "aliases": [{"name": "tide-chat", "model": model}], "probe": "400ms", "connect": "500ms", **chat},
            "proxy": proxy or {}, "http": http or {},
            "admin": {"socket": f"unix:{self.socket}"},
        }
        self.conf = folder / "tidegate.yaml"
        self.conf.write_text(yaml.safe_dump(self.settings))
        self.process = Process("gateway", [program("tidegate"), "-c", self.conf], folder, env=SANITIZERS).start()
        wait_until(lambda: can_connect(self.port), 30, f"the gateway listens: {self.process.tail()}")
        self.headers = {"authorization": f"Bearer {self.issuer.token()}"}
        self.http = httpx.Client(base_url=self.url, headers=self.headers, timeout=60)
        wait_until(lambda: all(self.is_up(i) for i in range(len(targets))), 10, "the workers are up")

    def close(self):
        self.http.close()
        began = time.monotonic()
        code = self.process.stop()
        self.process.assert_no_report()
        assert code == 0, self.process.tail()
        assert time.monotonic() - began < 10, f"something held up the drain:\n{self.process.tail()}"

    def reload(self) -> None:
        """Takes what self.settings says now."""
        self.conf.write_text(yaml.safe_dump(self.settings))
        self.process.send(signal.SIGHUP)

    def ctl(self, *words):
        return run(program("tidectl"), "--socket", self.socket, *words)

    def metrics(self) -> str:
        return httpx.get(f"http://127.0.0.1:{self.metrics_port}/metrics").text

    def metric(self, name: str) -> float:
        return next((float(line.rpartition(" ")[2]) for line in self.metrics().splitlines()
                     if line.startswith(name + " ")), 0.0)

    def of_worker(self, i: int, what: str) -> float:
        return self.metric(f'tidegate_worker_{what}{{worker="w{i + 1}"}}')

    def is_up(self, i: int) -> bool:
        return self.of_worker(i, "up") == 1

    def is_idle(self) -> bool:
        """Nothing is held by any request any more."""
        return all(self.of_worker(i, what) == 0 for what in ("requests_running", "outstanding_tokens")
                   for i in range(len(self.targets)))

    def post(self, path="/v1/chat/completions", headers=None, **body):
        return self.http.post(path, json={"model": self.model, "messages": MESSAGES, **body}, headers=headers)

    def stream(self, **body):
        return self.http.stream("POST", "/v1/chat/completions",
                                json={"model": self.model, "messages": MESSAGES, "stream": True, **body})

    def read_stream(self, **body) -> list[str]:
        """Lines of a whole stream that are not empty."""
        with self.stream(**body) as r:
            assert r.status_code == 200, r.read()
            assert r.headers["content-type"].startswith("text/event-stream")
            return [line for line in r.iter_lines() if line]
