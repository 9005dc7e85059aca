"""tide-status and, for tests of the page alone, a gateway that answers or fails on command."""
import http.server
import json
import ssl
import threading
import time
from pathlib import Path

import httpx
import yaml

from .process import Process, free_port, wait_until
from .stack import SANITIZERS, program


class FakeGateway:
    """The four interfaces that the probes use. `fail` holds what answers 503 now: login, list, MODEL."""

    def __init__(self, cert: Path, key: Path, models=("m-one", "m-two")):
        self.fail: set[str] = set()
        self.models = list(models)
        self.signup = {"state": "open"}
        self.sms = {"ok": 0, "failed": 0}
        self.more_metrics = ""
        self.refuse = False  # 429 to everything
        self.hang_s = 0
        self.cert, self.key = cert, key
        self.port = free_port()
        self.url = f"https://localhost:{self.port}"
        self.server = None

    def start(self) -> "FakeGateway":
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def answer(self, code, value, kind="application/json"):
                time.sleep(fake.hang_s)
                code = 429 if fake.refuse else code
                body = value.encode() if isinstance(value, str) else json.dumps(value).encode()
                self.send_response(code)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                if self.path == "/metrics":
                    lines = [f'tidegate_hook_calls_total{{hook="sms",result="{k}"}} {v}' for k, v in fake.sms.items()]
                    self.answer(200, "\n".join(lines) + "\n" + fake.more_metrics, "text/plain")
                elif self.path == "/auth/v1/settings":
                    self.answer(503 if "login" in fake.fail else 200, {"external": {"phone": True}, "signup": fake.signup})
                elif self.path == "/v1/models":
                    self.answer(503 if "list" in fake.fail else 200, {"object": "list", "data": [{"id": m} for m in fake.models]})
                else:
                    self.answer(404, {})

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if self.path == "/auth/v1/token?grant_type=refresh_token":
                    self.answer(400, {"code": "refresh_token_not_found", "message": "no"})
                elif self.path == "/v1/chat/completions" and body["max_tokens"] == 1:
                    bad = body["model"] in fake.fail
                    self.answer(503 if bad else 200, {} if bad else {"choices": [{"message": {"content": "Hi"}}]})
                else:
                    self.answer(404, {})

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert, self.key)
        self.server = Server(("127.0.0.1", self.port), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self) -> None:
        if self.server:
            self.server.shutdown()
            self.server.server_close()
            self.server = None


class StatusPage:
    """One tide-status with short intervals; its configuration may be changed before start."""

    def __init__(self, folder: Path, target: str, ca: Path, cert: Path, key: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.ca = ca
        self.trust = ssl.create_default_context(cafile=str(ca))
        self.port, self.metrics_port = free_port(), free_port()
        self.url = f"https://localhost:{self.port}"
        self.conf = folder / "tide-status.yaml"
        self.snapshot = folder / "snapshot.json"
        self.settings = {
            "process": {"snapshot": str(self.snapshot)},
            "listeners": [{"address": f"127.0.0.1:{self.port}"}],
            "certificates": [{"cert_file": str(cert), "key_file": str(key)}],
            "metrics": {"address": f"127.0.0.1:{self.metrics_port}"},
            "page": {"url": self.url, "stale_after": "5s"},
            "probe": {"target": target, "ca_file": str(ca), "interval": "300ms", "confirm": "200ms",
                      "chat_interval": "500ms", "slow": "30s", "chat_slow": "60s", "deadline": "5s", "chat_deadline": "30s"},
            "incidents": {"open_after": "1s", "update_gap": "500ms", "resolve_after": "2s"},
        }
        self.process = Process("tide-status", [program("tide-status"), "-c", self.conf], folder, env=SANITIZERS)

    def start(self) -> "StatusPage":
        self.conf.write_text(yaml.safe_dump(self.settings, sort_keys=False))
        self.process.start()
        wait_until(lambda: not self.process.is_alive() or self.get("/api/v2/status.json").status_code == 200, 30,
                   "the status page answers")
        assert self.process.is_alive(), f"tide-status ended:\n{self.process.tail()}"
        return self

    def get(self, path: str, method: str = "GET", **options) -> httpx.Response:
        with httpx.Client(verify=self.trust, timeout=10) as client:
            return client.request(method, self.url + path, **options)

    def json(self, path: str) -> dict:
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def indicator(self) -> str:
        return self.json("/api/v2/status.json")["status"]["indicator"]

    def component(self, name: str) -> dict | None:
        return next((c for c in self.json("/api/v2/components.json")["components"] if c["name"] == name), None)

    def status_of(self, name: str) -> str | None:
        found = self.component(name)
        return found and found["status"]

    def incidents(self, path: str = "/api/v2/incidents.json") -> list[dict]:
        return self.json(path)["incidents"]

    def unresolved(self) -> list[dict]:
        return self.incidents("/api/v2/incidents/unresolved.json")

    def state_of(self, code: str) -> str | None:
        """Status of one incident."""
        return next((i["status"] for i in self.incidents() if i["id"] == code), None)

    def wait(self, check, seconds: float, what: str):
        try:
            return wait_until(check, seconds, what)
        except AssertionError as error:
            raise AssertionError(f"{error}; log:\n{self.process.tail(15)}") from None

    def wait_green(self, seconds: float = 20) -> None:
        self.wait(lambda: self.indicator() == "none", seconds, "everything is operational")

    def stop(self) -> None:
        code = self.process.stop()
        self.process.assert_no_report()
        assert code == 0, f"tide-status ended with {code}:\n{self.process.tail()}"
