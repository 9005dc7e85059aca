"""The risk hook: a service of the operator's own adds to the score of a code request, or is late, or talks nonsense, or is away."""
import base64
import concurrent.futures
import hashlib
import hmac
import http.server
import json
import threading

import pytest
import yaml

from test_suspicion import QUIET, WEIGHTS, ask, attempt, parts
from tide.client import code_of, mainland_phone
from tide.fixtures import new_stack
from tide.process import free_port, wait_until
from tide.stack import program, run


class Service:
    """Answers each question with `status` and `body`, once `go` is set; keeps what it was asked."""

    def __init__(self, secret: bytes, port: int = 0):
        self.status, self.body, self.questions = 200, b'{"points": 35, "why": "because"}', []
        self.go = threading.Event()
        self.go.set()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                signed = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + body
                mac = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
                assert self.headers["webhook-signature"] == f"v1,{mac}"
                outer.questions.append(json.loads(body))
                outer.go.wait(60)
                self.send_response(outer.status)
                self.send_header("content-length", str(len(outer.body)))
                self.end_headers()
                self.wfile.write(outer.body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # a client that has had enough
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def port(self) -> int:
        return self.server.server_address[1]

    def stop(self) -> None:
        self.go.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def servers():
    with new_stack() as s:
        yield s.start_servers()


def secret(stack) -> bytes:
    return base64.b64decode((stack.folder / "hook.secret").read_text().strip().removeprefix("whsec_"))


@pytest.fixture
def service(servers):
    one = Service(secret(servers))
    yield one
    one.stop()


def settings_for(stack, port: int, **risk) -> dict:
    settings = stack.settings()
    settings["process"]["threads"] = 1
    settings["trusted_proxies"] = ["127.0.0.1/32"]
    settings["challenge"] = {"work": 1000, "hard_work": 1000}
    settings["suspicion"] = {**QUIET, "mode": "enforce", "challenge_at": 30, "weights": {name: 0 for name in WEIGHTS}}
    settings["hooks"]["risk"] = {"url": f"http://127.0.0.1:{port}/risk", "secret_file": str(stack.folder / "hook.secret"),
                                 "timeout": "30s", **risk}
    return settings


@pytest.fixture
def made(servers):
    """Makes gateways on shared servers, which end with the test."""
    gateways = []

    def make(port: int, **risk):
        gateways.append(servers.start_gateway(settings_for(servers, port, **risk)))
        return gateways[-1]
    yield make
    for gateway in gateways:
        assert gateway.process.stop() == 0


def answers(gateway, result: str) -> float:
    return gateway.metric(f'tidegate_risk_answers_total{{result="{result}"}}')


def test_its_points_are_listed_and_count(servers, made, service):
    gateway = made(service.port)
    phone = mainland_phone()
    with servers.app(gateway) as app:
        answer = ask(app, "198.51.100.1", phone)
        assert code_of(answer) == "captcha_failed"  # 35 are more than challenge_at
        kept = attempt(gateway, answer)
        assert kept["signals"] == [{"signal": "risk_hook", "points": 35, "seen": 35, "limit": 50}]
        assert "risk_hook" in gateway.ctl("explain", answer.headers["x-request-id"]).stdout
        question = service.questions[0]
        assert question["type"] == "risk.code_request"
        data = question["data"]
        assert (data["request_id"], data["address"], data["phone_prefix"]) == (answer.headers["x-request-id"], "198.51.100.1", phone[:10])
        assert (data["may_create"], data["policy_effect"], data["policy_rule"]) == (True, "allow", "default")
        assert phone[1:] not in json.dumps(question)
        service.body = b'{"points": 0}'
        answer = ask(app, "198.51.100.1", phone, create_user=False)
        assert answer.status_code == 200 and parts(attempt(gateway, answer)) == {}
        assert service.questions[1]["data"]["number"] == data["number"] and service.questions[1]["data"]["may_create"] is False
    assert answers(gateway, "answered") == 2


@pytest.mark.parametrize("status,body,result", [
    (200, b"points", "invalid"), (200, b'{"points": "9"}', "invalid"), (200, b'{"points": 51}', "invalid"),
    (200, b'{"points": -1}', "invalid"), (200, b'{"points": 1.5}', "invalid"), (200, b"[9]", "invalid"), (200, b"{}", "invalid"),
    (200, b"", "invalid"), (200, b'{"points": 9, "x": "' + b"x" * 5000 + b'"}', "failed"), (500, b'{"points": 9}', "failed"),
    (404, b'{"points": 9}', "failed"), (302, b'{"points": 9}', "failed")])
def test_nonsense_counts_as_silence(servers, nonsense_gateway, status, body, result):
    gateway, service = nonsense_gateway
    service.status, service.body = status, body
    before = answers(gateway, result)
    with servers.app(gateway) as app:
        answer = ask(app, "198.51.100.1")
        assert answer.status_code == 200
        assert attempt(gateway, answer)["signals"] == [{"signal": "risk_hook", "points": 7, "seen": 0, "limit": 50}]
    assert answers(gateway, result) == before + 1


@pytest.fixture(scope="module")
def nonsense_gateway(servers):
    service = Service(secret(servers))
    gateway = servers.start_gateway(settings_for(servers, service.port, silent_points=7))
    yield gateway, service
    assert gateway.process.stop() == 0
    service.stop()


def test_one_that_is_late_is_not_waited_for(servers, made, service):
    service.go.clear()
    gateway = made(service.port, timeout="50ms", silent_points=9)
    with servers.app(gateway) as app:
        answer = ask(app, "198.51.100.1")
        assert answer.status_code == 200 and parts(attempt(gateway, answer)) == {"risk_hook": 9}
    assert answers(gateway, "late") + answers(gateway, "failed") == 1  # both clocks end it, one of them first


def test_others_are_served_while_one_waits(servers, made, service):
    """One loop: it goes on while a question is out, also when who asked leaves."""
    service.go.clear()
    gateway = made(service.port, in_flight=2)
    with servers.app(gateway) as app, servers.app(gateway, http2=False, timeout=2) as leaver, servers.app(gateway) as third, \
            concurrent.futures.ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(ask, app, "198.51.100.1")
        left = pool.submit(ask, leaver, "198.51.100.2")
        wait_until(lambda: len(service.questions) == 2, 25, "both questions are out")
        assert gateway.get("/livez").status_code == 200
        passed = ask(third, "198.51.100.3")  # too many are under way: it is not asked
        assert left.exception(25) is not None and not waiting.done()
        service.go.set()
        assert parts(attempt(gateway, waiting.result(30))) == {"risk_hook": 35}
        assert parts(attempt(gateway, passed)) == {}
    assert (answers(gateway, "answered"), answers(gateway, "skipped")) == (1, 1)


def test_one_that_is_away_is_left_alone_and_found_again(servers, made):
    port = free_port()
    gateway = made(port, silent_points=3)
    with servers.app(gateway) as app:
        for _ in range(6):
            answer = ask(app, "198.51.100.1")
            assert answer.status_code == 200 and parts(attempt(gateway, answer)) == {"risk_hook": 3}
        assert answers(gateway, "failed") >= 3 and answers(gateway, "skipped") >= 1
        service = Service(secret(servers), port)
        service.body = b'{"points": 4}'
        try:
            wait_until(lambda: parts(attempt(gateway, ask(app, "198.51.100.1"))) == {"risk_hook": 4}, 60, "it is asked again")
        finally:
            service.stop()


@pytest.mark.parametrize("change,words", [
    ({"secret_file": None}, "hooks.risk.secret_file: is wanted"), ({"url": "http://198.51.100.1/risk"}, "hooks.risk.url"),
    ({"silent_points": 51}, "hooks.risk.silent_points: must not be above hooks.risk.points (50)"),
    ({"points": 1001}, "hooks.risk.points"), ({"timeout": "1m"}, "hooks.risk.timeout")])
def test_its_configuration_is_checked(servers, change, words):
    settings = settings_for(servers, 1)
    settings["hooks"]["risk"] = {k: v for k, v in {**settings["hooks"]["risk"], **change}.items() if v is not None}
    file = servers.folder / "odd.yaml"
    file.write_text(yaml.safe_dump(settings))
    done = run(program("tidegate"), "-c", file, "--check", check=False)
    assert done.returncode == 1 and words in done.stderr, done.stderr
