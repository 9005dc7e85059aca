"""The life of the process, as an operator sees it: options, reload, drain, second instance, health, metrics, logs."""
import json
import signal
import subprocess
import threading
import time

import httpx
import pytest
import yaml

from tide.process import wait_until
from tide.stack import APIKEY, MODEL, ROOT, program, run


@pytest.fixture
def bare(own_stack):
    """A gateway without database, Redis and workers: edge and process only. Not started."""
    settings = own_stack.settings()
    settings["process"]["drain"] = "5s"
    return own_stack, settings


# --- options ---------------------------------------------------------------------------------------


def test_options(bare):
    stack, settings = bare
    gateway = stack.start_gateway(settings)
    assert run(program("tidegate"), "--version").stdout.startswith("tidegate ")
    assert "Examples:" in run(program("tidegate"), "--help").stdout
    assert "good" in run(program("tidegate"), "-c", gateway.conf, "--check").stdout
    shown = run(program("tidegate"), "-c", gateway.conf, "--print-config").stdout
    assert "drain: 5s" in shown and APIKEY in shown
    assert "| `drain`" in run(program("tidegate"), "--print-manual").stdout or "drain" in run(
        program("tidegate"), "--print-manual").stdout
    assert run(program("tidegate"), "--nonsense", check=False).returncode == 2
    assert run(program("tidegate"), "stray", check=False).returncode == 2


@pytest.mark.parametrize("text, words", [
    ("listeners:\n  - address: 127.0.0.1:1\n    tls: false\nnonsense: 1\n", [":4:", "nonsense"]),
    ("listeners:\n  - address: 127.0.0.1:1\n    tls: maybe\n", [":3:", "tls"]),
    ("listeners:\n  - address: 192.0.2.1:1\n    tls: false\n", ["plaintext"]),
    ("listeners:\n  - address: 127.0.0.1:1\n", ["certificate"]),
    ("listeners: []\n", ["listeners"]),
    ("listeners: &a\n  - address: 127.0.0.1:1\n", ["anchor"]),
    ("listeners:\n  - address: 127.0.0.1:1\n    tls: false\nadmin:\n  socket: 127.0.0.1:99\n", ["admin.socket"]),
    ("listeners:\n  - address: 127.0.0.1:1\n    tls: false\nhttp:\n  header: 5\n", [":5:"]),
    ("listeners:\n  - address: 127.0.0.1:1\n    tls: false\nprocess:\n  threads: 1\n  threads: 2\n", [":6:", "twice"]),
])
def test_a_bad_configuration_names_its_line(tmp_path, text, words):
    conf = tmp_path / "bad.yaml"
    conf.write_text(text)
    for options in (["--check"], []):
        done = run(program("tidegate"), "-c", conf, *options, check=False)
        assert done.returncode == 1 and "bad.yaml" in done.stderr
        for word in words:
            assert word in done.stderr, done.stderr


def test_a_key_that_others_can_read_is_refused(bare):
    stack, settings = bare
    stack.key.chmod(0o644)
    gateway_conf = stack.folder / "open.yaml"
    gateway_conf.write_text(yaml.safe_dump(settings))
    done = run(program("tidegate"), "-c", gateway_conf, "--check", check=False)
    assert done.returncode == 1 and "key_file" in done.stderr


# --- reload ----------------------------------------------------------------------------------------


def serial(gateway) -> int:
    return json.loads(gateway.ctl("check", "-o", "json", check=False).stdout)["config_serial"]


def test_a_good_reload_acts_and_a_bad_one_changes_nothing(bare):
    stack, settings = bare
    gateway = stack.start_gateway(settings)
    assert "access-control-allow-origin" not in gateway.get("/livez", headers={"origin": "https://a.test"}).headers
    gateway.settings["cors"] = {"origins": ["https://a.test"]}
    gateway.write()
    gateway.process.send(signal.SIGHUP)
    wait_until(lambda: gateway.get("/livez", headers={"origin": "https://a.test"}).headers.get(
        "access-control-allow-origin") == "https://a.test", 5, "the reload acts")
    assert "access-control-allow-origin" not in gateway.get("/livez", headers={"origin": "https://b.test"}).headers
    gateway.settings["cors"] = {"origin": []}
    gateway.write()
    before = serial(gateway)
    gateway.process.send(signal.SIGHUP)
    wait_until(lambda: gateway.metric('tidegate_config_reloads_total{result="refused"}') == 1, 5, "the reload is refused")
    assert gateway.conf.name + ":" in gateway.process.tail() and "unknown setting 'origin'" in gateway.process.tail()
    assert serial(gateway) == before
    assert gateway.get("/livez", headers={"origin": "https://a.test"}).headers["access-control-allow-origin"] == "https://a.test"


def test_what_needs_a_restart_is_refused_by_a_reload(bare):
    stack, settings = bare
    gateway = stack.start_gateway(settings)
    gateway.settings["process"]["threads"] = 3
    gateway.write()
    done = gateway.ctl("reload", check=False)
    assert done.returncode == 1 and "process.threads" in done.stderr


def test_a_reload_reads_the_certificate_again(bare):
    stack, settings = bare
    gateway = stack.start_gateway(settings)

    def subject() -> str:
        return subprocess.run(f"openssl s_client -connect 127.0.0.1:{gateway.port} -servername localhost </dev/null 2>/dev/null | "
                              "openssl x509 -noout -subject", shell=True, capture_output=True, text=True).stdout

    assert "CN = localhost" in subject()
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-keyout",
        stack.key, "-out", stack.cert, "-subj", "/CN=renewed", "-addext", "subjectAltName=DNS:localhost")
    stack.key.chmod(0o600)
    with httpx.Client(base_url=gateway.url, verify=stack.trust) as old:
        assert old.get("/livez").status_code == 200
        assert gateway.ctl("reload").returncode == 0
        wait_until(lambda: "CN = renewed" in subject(), 5, "new connections get the new certificate")
        assert old.get("/livez").status_code == 200  # the old connection goes on


# --- end -------------------------------------------------------------------------------------------


def test_a_second_instance_is_refused(bare):
    stack, settings = bare
    gateway = stack.start_gateway(settings)
    done = run(program("tidegate"), "-c", gateway.conf, check=False)
    assert done.returncode == 1 and f"127.0.0.1:{gateway.port}" in done.stderr
    assert gateway.get("/livez").status_code == 200


@pytest.mark.parametrize("protocol", ["--http1.1", "--http2"])
def test_sigterm_lets_a_running_stream_end(own_stack, protocol):
    """By curl: httpx takes a GOAWAY for the end of streams that it does not end."""
    own_stack.start_all()
    gateway = own_stack.gateway
    with own_stack.app() as app:
        app.sign_up()
        body = {"model": MODEL, "stream": True, "max_tokens": 48, "messages": [{"role": "user", "content": "A long story."}]}
        curl = subprocess.Popen(
            ["curl", "-sSN", protocol, "--cacert", own_stack.ca, gateway.url + "/v1/chat/completions", "-d", json.dumps(body),
             "-H", "authorization: " + app.bearer()["authorization"], "-H", "content-type: application/json"],
            stdout=subprocess.PIPE, text=True)
        first = curl.stdout.readline()
        gateway.process.send(signal.SIGTERM)
        rest = curl.stdout.read()
    assert first.startswith("data: {") and "data: [DONE]" in rest
    assert curl.wait(10) == 0
    assert gateway.process.stop() == 0


def test_the_drain_deadline_cuts_what_is_left(bare):
    stack, settings = bare
    settings["process"]["drain"] = "1s"
    settings["chat"]["workers"] = []
    server = HangingServer()
    settings["proxy"] = {"upstreams": [{"name": "u", "targets": [f"127.0.0.1:{server.port}"]}],
                         "routes": [{"name": "hang", "path": "/hang", "upstream": "u", "auth": "none"}]}
    gateway = stack.start_gateway(settings)
    failure = []

    def ask():
        try:
            httpx.get(gateway.url + "/hang", verify=stack.trust, timeout=20)
        except httpx.HTTPError as error:
            failure.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    wait_until(lambda: server.connections, 5, "the upstream is asked")
    began = time.monotonic()
    assert gateway.process.stop() == 0
    assert 0.8 < time.monotonic() - began < 8
    asking.join(10)
    assert failure, "the request was answered by nobody, so it must have been cut"
    server.close()


def test_while_draining_readyz_says_so_on_the_metrics_listener(bare):
    stack, settings = bare
    server = HangingServer()
    settings["proxy"] = {"upstreams": [{"name": "u", "targets": [f"127.0.0.1:{server.port}"]}],
                         "routes": [{"name": "hang", "path": "/hang", "upstream": "u", "auth": "none"}]}
    gateway = stack.start_gateway(settings)
    asking = threading.Thread(target=lambda: pytest.raises(httpx.HTTPError, httpx.get, gateway.url + "/hang",
                                                           verify=stack.trust, timeout=20))
    asking.start()
    wait_until(lambda: server.connections, 5, "the upstream is asked")
    assert httpx.get(f"http://127.0.0.1:{gateway.metrics_port}/readyz").status_code == 200
    gateway.process.send(signal.SIGTERM)
    wait_until(lambda: httpx.get(f"http://127.0.0.1:{gateway.metrics_port}/readyz").status_code == 503, 3, "not ready")
    assert httpx.get(f"http://127.0.0.1:{gateway.metrics_port}/livez").status_code == 200
    assert gateway.process.stop() == 0
    asking.join(10)
    server.close()


class HangingServer:
    """Accepts and never answers."""

    def __init__(self):
        import socket
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.connections = []
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        try:
            while True:
                self.connections.append(self.socket.accept()[0])
        except OSError:
            pass

    def close(self):
        self.socket.close()
        for connection in self.connections:
            connection.close()


# --- health, metrics, fields -----------------------------------------------------------------------


def test_health_and_the_fields_of_every_answer(stack):
    g = stack.gateway
    answer = g.get("/livez")
    assert answer.status_code == 200
    assert answer.headers["strict-transport-security"].startswith("max-age=")
    assert "access-control-allow-origin" not in g.get("/livez", headers={"origin": "https://evil.test"}).headers
    assert len(answer.headers["x-request-id"]) == 32
    verbose = g.get("/readyz?verbose").text
    assert "[+]policy ok" in verbose and "[+]workers ok" in verbose
    assert g.get("/nothing/here").status_code == 404
    assert g.get("/nothing/here").headers["content-type"] == "application/problem+json"
    wrong = httpx.delete(g.url + "/livez", verify=stack.trust)
    assert wrong.status_code == 405 and "GET" in wrong.headers["allow"]


def test_metrics_pass_promtool_and_name_what_happened(stack, app):
    app.sign_up()
    app.chat()
    text = stack.gateway.metrics()
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert stack.gateway.metric('tidegate_requests_total{route="chat",code="2xx"}') >= 1
    assert len([line for line in text.splitlines() if not line.startswith("#")]) < 2000


def test_the_access_log_has_one_line_a_request_and_no_secrets(stack, app):
    log = stack.gateway.access_log
    session = app.sign_up()
    wait_until(lambda: '"auth_verify"' in log.read_text().splitlines()[-1], 5, "the line of the sign-up is written")
    before = len(log.read_text().splitlines())
    answer = app.chat("my secret prompt 4711")
    app.user()
    app.http.get("/nothing?token=sesame")
    wait_until(lambda: len(log.read_text().splitlines()) >= before + 3, 5, "three lines are written")
    time.sleep(0.2)
    text = log.read_text()
    lines = [json.loads(line) for line in text.splitlines()[before:]]
    assert len(lines) == 3
    chat = lines[0]
    assert chat["route"] == "chat" and chat["status"] == 200 and chat["finish"] == "done" and chat["model"] == MODEL
    assert chat["request_id"] == answer.headers["x-request-id"] and chat["user_id"] == session["user"]["id"]
    assert chat["completion_tokens"] >= 1
    for secret in ("4711", "sesame", session["access_token"], session["refresh_token"], "+8613"):
        assert secret not in text
    server_log = stack.gateway.process.log.read_text()
    for secret in ("4711", "sesame", session["access_token"], session["refresh_token"], "+8613"):
        assert secret not in server_log


def test_sigusr1_opens_the_logs_anew(bare):
    stack, settings = bare
    gateway = stack.start_gateway(settings)
    gateway.get("/livez")
    wait_until(lambda: gateway.access_log.read_text(), 5, "a line is written")
    moved = gateway.access_log.with_suffix(".1")
    gateway.access_log.rename(moved)
    gateway.process.send(signal.SIGUSR1)
    wait_until(lambda: gateway.get("/livez") and gateway.access_log.exists() and gateway.access_log.read_text(), 5,
               "lines go to the new file")


# --- the service manager ---------------------------------------------------------------------------


def test_sd_notify(bare, tmp_path):
    import socket
    stack, settings = bare
    path = stack.folder / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(20)
        gateway = stack.start_gateway(settings)
        gateway.process.stop()
        gateway.process.env.update({"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "2000000"})
        gateway.start()
        assert b"READY=1" in manager.recv(4096)
        assert b"WATCHDOG=1" in manager.recv(4096)
        gateway.process.send(signal.SIGHUP)
        seen = [manager.recv(4096) for _ in range(2)]
        while not any(b"RELOADING=1" in s for s in seen):
            seen.append(manager.recv(4096))
        gateway.process.send(signal.SIGTERM)
        while b"STOPPING=1" not in manager.recv(4096):
            pass
    assert gateway.process.stop() == 0


# --- what is shipped -------------------------------------------------------------------------------


def test_the_shipped_example_is_good(own_stack):
    """With files of this machine in place of /etc/tidegate."""
    f = own_stack.folder
    conf = yaml.safe_load((ROOT / "deploy/tidegate.yaml").read_text())
    conf["certificates"] = [{"cert_file": str(own_stack.cert), "key_file": str(own_stack.key)}]
    conf["auth"].update({"key_ring_file": str(f / "keyring.json"), "signing_keys": str(f / "keys")})
    conf["issuers"][0]["keys"] = str(f / "keys")
    conf["hooks"]["sms"]["secret_file"] = str(f / "hook.secret")
    (f / "example.yaml").write_text(yaml.safe_dump(conf))
    assert "good" in run(program("tidegate"), "-c", f / "example.yaml", "--check").stdout
