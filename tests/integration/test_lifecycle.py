"""One gateway's life from outside: start, reload, logs, health, drain, what it tells the service manager."""
import json
import re
import resource
import select
import shutil
import signal
import socket
import ssl
import subprocess
import time

import h2.events
import httpx
import pytest
import yaml

from tide.client import mainland_phone
from tide.edge import read_all
from tide.fixtures import new_stack
from tide.place import Caller, Held, Place, connect_tls, open_stream
from tide.process import can_connect, free_port, wait_until
from tide.scripted import ScriptedWorker
from tide.servers import Postgres
from tide.stack import APIKEY, ROOT, Gateway, Stack, program, run
from tide.status_page import FakeGateway, StatusPage


@pytest.fixture
def place(own_stack):
    p = Place(own_stack)
    yield p
    p.worker.stop()


@pytest.fixture(scope="module")
def still():
    """One gateway that no test of this file changes."""
    with new_stack() as stack:
        p = Place(stack)
        p.start()
        yield p
        p.worker.stop()


# --- options ------------------------------------------------------------------------------------------


def test_version_and_options():
    for name in ("tidegate", "tidectl", "tide-status", "tide-worker"):
        said = run(program(name), "--version").stdout
        assert said.startswith(f"{name} ") and said[len(name) + 1].isdigit(), said
        assert run(program(name), "--bogus", check=False).returncode == 2
        assert run(program(name), "--help").stdout


def test_check_says_good_or_where(still):
    conf = still.stack.gateway.conf
    assert run(program("tidegate"), "-c", conf, "--check").stdout == f"{conf}: good\n"
    bad = still.stack.folder / "bad.yaml"
    text = conf.read_text() + "bogus: 1\n"
    bad.write_text(text)
    done = run(program("tidegate"), "-c", bad, "--check", check=False)
    assert done.returncode == 1
    assert f"{bad}:{len(text.splitlines())}:" in done.stderr and "bogus" in done.stderr
    assert run(program("tidegate"), "-c", still.stack.folder / "none.yaml", "--check", check=False).returncode == 1


def test_print_config_is_whole_and_masks_secrets(still):
    settings = yaml.safe_load(still.stack.gateway.conf.read_text())
    settings["database"] = {"uri": "postgresql://app:hunter2@/tidegate"}
    conf = still.stack.folder / "secret.yaml"
    conf.write_text(yaml.safe_dump(settings))
    printed = run(program("tidegate"), "-c", conf, "--print-config").stdout
    assert "hunter2" not in printed
    assert "BEGIN" not in printed  # files are named, not shown
    shown = yaml.safe_load(printed)
    assert shown["process"]["threads"] == 2 and shown["http"]["header"] == "10s"  # given, and preset
    again = still.stack.folder / "again.yaml"
    again.write_text(run(program("tidegate"), "-c", still.stack.gateway.conf, "--print-config").stdout)
    assert run(program("tidegate"), "-c", again, "--print-config").stdout == again.read_text()


def test_the_manual_names_every_setting(still):
    manual = run(program("tidegate"), "--print-manual").stdout
    for name in yaml.safe_load(run(program("tidegate"), "-c", still.stack.gateway.conf, "--print-config").stdout):
        assert f"{name}" in manual, name


@pytest.mark.parametrize("change,word", [
    ({"listeners": [{"address": "0.0.0.0:8443", "tls": False}]}, "plaintext"),
    ({"listeners": [{"address": "127.0.0.1:99999"}]}, "address"),
    ({"listeners": []}, "listeners"),
    ({"certificates": []}, "certificates"),
    ({"metrics": {"address": "0.0.0.0:9100"}}, "plaintext"),
    ({"admin": {"socket": "127.0.0.1:9000"}}, "unix"),
    ({"process": {"drain": "soon"}}, "drain"),
    ({"process": {"threads": 65}}, "threads"),
    ({"http": {"h1_header": "1GiB"}}, "h1_header"),
    ({"auth": {"issuer": "x"}}, "")])
def test_bad_configurations_are_refused_with_their_line(still, change, word):
    settings = {**yaml.safe_load(still.stack.gateway.conf.read_text()), **change}
    bad = still.stack.folder / "bad.yaml"
    bad.write_text(yaml.safe_dump(settings))
    done = run(program("tidegate"), "-c", bad, "--check", check=False)
    assert done.returncode == 1, done.stdout
    assert re.search(rf"{re.escape(str(bad))}:\d+:", done.stderr), done.stderr
    assert word in done.stderr


def test_plain_http_beyond_loopback_has_to_be_asked_for(still):
    settings = yaml.safe_load(still.stack.gateway.conf.read_text())
    settings["listeners"] = [{"address": "0.0.0.0:8443", "tls": False, "plaintext": True}]
    conf = still.stack.folder / "plain.yaml"
    conf.write_text(yaml.safe_dump(settings))
    run(program("tidegate"), "-c", conf, "--check")


# --- what every answer has ------------------------------------------------------------------------------


ORIGIN = "https://app.example"


def test_cors_is_off_and_hsts_is_on(still):
    g = still.stack.gateway
    for answer in (g.get("/livez", headers={"origin": ORIGIN}), g.get("/v1/models", headers={"origin": ORIGIN}),
                   httpx.options(g.url + "/v1/models", verify=still.stack.trust,
                                 headers={"origin": ORIGIN, "access-control-request-method": "GET"})):
        assert not [name for name in answer.headers if name.startswith("access-control")], answer.headers
        assert "max-age" in answer.headers["strict-transport-security"]


# What browsers ask leave for: openai-node, and supabase-js with tracing.
OPENAI_FIELDS = ("authorization,content-type,x-stainless-arch,x-stainless-lang,x-stainless-os,x-stainless-package-version,"
                 "x-stainless-retry-count,x-stainless-runtime,x-stainless-runtime-version,x-stainless-timeout")
SUPABASE_FIELDS = ("apikey,authorization,content-type,traceparent,x-client-info,x-supabase-api-version,"
                   "x-supabase-client-platform-version,x-supabase-client-runtime")


def test_cors_for_listed_origins_alone(place):
    g = place.start(cors={"origins": [ORIGIN]})
    refused = g.get("/v1/models", headers={"origin": ORIGIN})
    assert refused.status_code == 401 and refused.headers["access-control-allow-origin"] == ORIGIN
    asked = {"access-control-request-method": "POST", "access-control-request-headers": OPENAI_FIELDS}
    with httpx.Client(base_url=g.url, verify=place.stack.trust) as http:
        for fields in (OPENAI_FIELDS, SUPABASE_FIELDS, None, "x-" + "a" * 1023):
            early = http.options("/v1/chat/completions", headers={"origin": ORIGIN, "access-control-request-method": "POST"} |
                                 ({"access-control-request-headers": fields} if fields else {}))
            assert early.status_code == 204
            assert early.headers["access-control-allow-origin"] == ORIGIN
            assert early.headers.get_list("vary") == ["origin", "access-control-request-headers"]
            assert "POST" in early.headers["access-control-allow-methods"]
            assert "access-control-allow-credentials" not in early.headers
            allowed = fields if fields in (OPENAI_FIELDS, SUPABASE_FIELDS) else None
            assert early.headers.get("access-control-allow-headers") == allowed
        for stranger in ("https://app.example.evil", "http://app.example", "https://APP.example", "null"):
            answer = http.options("/v1/chat/completions", headers={"origin": stranger, **asked})
            assert not [name for name in answer.headers if name.startswith("access-control")], stranger
            assert answer.headers["vary"] == "origin"


def test_no_hsts_on_plain_listeners(place):
    port = free_port()
    settings = place.settings()
    settings["listeners"].append({"name": "inside", "address": f"127.0.0.1:{port}", "tls": False})
    place.stack.start_gateway(settings)
    answer = httpx.get(f"http://127.0.0.1:{port}/livez")
    assert answer.status_code == 200 and "strict-transport-security" not in answer.headers


# --- reload ---------------------------------------------------------------------------------------------


def served_certificate(gateway) -> bytes:
    return ssl.get_server_certificate(("localhost", int(gateway.port))).encode()


def reload(gateway, result: str) -> str:
    """Asks by signal; the new lines of the log."""
    known = len(gateway.process.log.read_bytes())
    gateway.process.send(signal.SIGHUP)
    def said():
        new = gateway.process.log.read_bytes()[known:].decode()
        return new if f"reload result={result}" in new else None
    return wait_until(said, 15, f"reload {result}")


def test_reload_changes_certificate_and_settings_and_loses_no_request(place):
    g = place.start()
    callers = [Caller(g, place.stack.trust) for _ in range(3)]
    for caller in callers:
        caller.start()
    old = served_certificate(g)
    for n in range(3):
        place.stack.renew_certificate()
        g.settings["cors"] = {"origins": [f"https://{n}.example"]}
        g.settings["process"]["drain"] = f"{11 + n}s"
        g.write()
        reload(g, "ok")
        wait_until(lambda: g.get("/livez", headers={"origin": f"https://{n}.example"}).headers.get(
            "access-control-allow-origin"), 5, "the new origin is listed")
        wait_until(lambda: served_certificate(g) != old, 5, "the new certificate is served")
        old = served_certificate(g)
    for caller in callers:
        caller.end()
    assert g.metric('tidegate_config_reloads_total{result="ok"}') == 3


def test_a_bad_reload_is_refused_whole_with_its_line(place):
    g = place.start()
    caller = Caller(g, place.stack.trust)
    caller.start()
    certificate = served_certificate(g)
    good = g.conf.read_text()
    key = place.stack.key.read_text()
    place.stack.renew_certificate()  # good, but must not be taken with what is bad
    for line in ("cors: {origins: [https://new.example]}\nbogus: 1", "cors: {origins: [https://new.example]}\nhttp: {idle: long}",
                 "cors: {origins: [https://new.example]}\n\ttab: 1"):
        g.conf.write_text(good.replace("http: {}\n", "") + line + "\n")
        wrong = len(g.conf.read_text().splitlines())
        assert f"{g.conf}:{wrong}:" in reload(g, "refused").replace("...", ""), line
    g.conf.write_text(good.replace("threads: 2", "threads: 3"))
    assert "process.threads changes only by a restart" in reload(g, "refused")
    g.conf.write_text(good)
    place.stack.key.write_text("garbage")
    assert str(place.stack.key) in reload(g, "refused")
    place.stack.key.write_text(key)
    answer = g.get("/livez", headers={"origin": "https://new.example"})
    assert answer.status_code == 200 and "access-control-allow-origin" not in answer.headers
    assert served_certificate(g) == certificate
    assert g.metric('tidegate_config_reloads_total{result="refused"}') == 5
    caller.end()
    assert g.ctl("reload", check=False).returncode == 1  # the key does not fit the renewed certificate
    place.stack.renew_certificate()
    reload(g, "ok")
    wait_until(lambda: served_certificate(g) != certificate, 5, "the new certificate is served")


# --- logs -----------------------------------------------------------------------------------------------


def test_logs_are_opened_anew(place):
    settings = place.settings()
    log = place.stack.folder / "gateway.log"
    settings["process"]["log_file"] = str(log)
    g = place.stack.start_gateway(settings)
    g.get("/livez?first")
    wait_until(lambda: '"/livez"' in g.access_log.read_text(), 5, "the line")
    for path in (log, g.access_log):
        path.rename(path.with_suffix(".1"))
    g.process.send(signal.SIGUSR1)
    wait_until(lambda: log.exists() and g.access_log.exists(), 10, "new files")
    old = g.access_log.with_suffix(".1").read_text()
    g.get("/nothing")
    wait_until(lambda: '"/nothing"' in g.access_log.read_text(), 5, "a line in the new file")
    assert g.access_log.with_suffix(".1").read_text() == old


def test_one_line_a_request_and_nothing_that_is_secret(own_stack):
    s = own_stack
    s.start_servers()
    worker = ScriptedWorker()
    settings = s.settings()
    settings["chat"]["workers"] = [{"name": "w", "target": worker.target, "models": ["m"]}]
    settings["process"].update({"log_level": "debug", "log_file": str(s.folder / "gateway.log")})
    g = s.start_gateway(settings)
    phone, prompt = mainland_phone(), "my hidden tide 7351"
    answers, secrets = [], [phone, phone[3:], prompt, "The tide turns", APIKEY]
    with s.app(g) as app:
        answers.append(app.ask_code(phone))
        code = s.outbox.wait_for_code(phone)
        answers.append(app.verify(phone, str((int(code[0]) + 1) % 10) + code[1:]))
        answers.append(app.verify(phone, code))
        app.session = answers[-1].json()
        secrets += [app.session["access_token"], app.session["refresh_token"]]
        answers.append(app.chat(prompt, model="m"))
        answers.append(app.chat(prompt, model="m", stream=True))
        answers.append(app.chat(prompt, model="none"))
        answers.append(app.refresh())
        secrets += [answers[-1].json()["access_token"], answers[-1].json()["refresh_token"]]
        answers.append(app.http.get(f"/auth/v1/user?access_token={app.session['access_token']}", headers=app.bearer()))
        answers.append(app.http.post("/auth/v1/otp", content=b'{"phone":"' + phone.encode()))
        answers.append(app.http.post("/auth/v1/logout", headers=app.bearer()))
    g.ctl("get", "users", "--phone", phone)
    g.ctl("policy", "set", "open", "--reason", "t")
    ids = {a.headers["x-request-id"] for a in answers}
    assert len(ids) == len(answers)

    def lines() -> list[dict]:
        found = [json.loads(line) for line in g.access_log.read_text().splitlines()]
        return [line for line in found if line["request_id"] in ids]

    wait_until(lambda: len(lines()) >= len(answers), 5, "the lines are written")
    by_id = {line["request_id"]: line for line in lines()}
    assert len(lines()) == len(by_id) == len(answers)
    for answer in answers:
        line = by_id[answer.headers["x-request-id"]]
        assert line["status"] == answer.status_code and line["path"] == answer.url.path and line["finish"] == "done"
    chat = by_id[answers[3].headers["x-request-id"]]
    assert (chat["model"], chat["worker"], chat["completion_tokens"]) == ("m", "w", 2)
    assert chat["user_id"] == app.session["user"]["id"]
    assert g.process.stop() == 0
    for path in (g.access_log, s.folder / "gateway.log", g.process.log):
        text = path.read_text()
        for secret in secrets:
            assert secret not in text, (path, secret)
        assert not re.search(rf"(?<![0-9a-f.]){code}(?![0-9a-f])", text), (path, "the code")
    assert "draining" in (s.folder / "gateway.log").read_text()
    worker.stop()


# --- health and metrics ---------------------------------------------------------------------------------


def check_metrics(text: str, colons_of: str = "") -> None:
    """Workers speak the names that dashboards of vLLM know; their colon is all that promtool may not like."""
    done = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, capture_output=True, timeout=30)
    complaints = [line for line in (done.stdout + done.stderr).splitlines() if line and not (
        colons_of and line.startswith(colons_of) and line.endswith("should not contain ':'"))]
    assert complaints == [] and done.returncode in (0, 3), done.stdout + done.stderr


def test_metrics_please_promtool(stack, app):
    app.sign_up()
    assert app.chat().status_code == 200
    stack.gateway.get("/nothing")
    text = stack.gateway.metrics()
    check_metrics(text)
    assert "tidegate_build_info{" in text and "process_start_time_seconds" in text
    assert len([line for line in text.splitlines() if not line.startswith("#")]) < 2000
    assert stack.gateway.get("/metrics").status_code == 404  # not on the public listener
    check_metrics(httpx.get(f"http://127.0.0.1:{stack.worker_ports[0]}/metrics").text, colons_of="vllm:")


def test_metrics_of_the_status_page_please_promtool(own_stack):
    fake = FakeGateway(own_stack.cert, own_stack.key).start()
    page = StatusPage(own_stack.folder / "status", fake.url, own_stack.ca, own_stack.cert, own_stack.key).start()
    page.wait_green()
    check_metrics(httpx.get(f"http://127.0.0.1:{page.metrics_port}/metrics").text)
    page.stop()
    fake.stop()


def test_health_says_what_depends_on_what(own_stack):
    s = own_stack
    s.start_postgres()
    s.start_redis()
    worker = ScriptedWorker()
    settings = s.settings()
    settings["hooks"] = {}
    settings["chat"].update({"workers": [{"name": "w", "target": worker.target, "models": ["m"]}], "probe": "200ms",
                             "connect": "300ms"})
    g = s.start_gateway(settings)
    assert "[+]policy ok" in g.get("/readyz?verbose").text
    s.redis.kill()
    s.postgres.kill()
    wait_until(lambda: "[-]database" in g.get("/readyz?verbose").text, 10, "the database is missed")
    assert g.get("/livez").status_code == 200
    assert g.get("/readyz").status_code == 200  # a policy and a worker are there: chat goes on
    worker.stop()
    wait_until(lambda: g.get("/readyz").status_code == 503, 20, "no worker: not ready")
    assert g.get("/livez").status_code == 200
    assert g.get("/readyz?exclude=workers").status_code == 200
    assert httpx.get(f"http://127.0.0.1:{g.metrics_port}/readyz").status_code == 503


# --- the service manager ----------------------------------------------------------------------------------


def test_an_older_schema_is_refused(own_stack):
    """At the start, and when the database comes later; a newer one is fine (test_tidectl)."""
    s = own_stack
    s.postgres = Postgres(s.folder / "postgres").start()
    s.start_redis()
    newest = sorted((ROOT / "migrations").glob("*.sql"))[-1]
    older = s.folder / "older"
    shutil.copytree(ROOT / "migrations", older, ignore=lambda *_: [newest.name])
    run(program("tidectl"), "migrate", "--database", s.postgres.uri(), "--folder", older)
    settings = s.settings()
    gateway = Gateway(s, "gateway", settings)
    refused = run(program("tidegate"), "-c", gateway.conf, check=False)
    assert refused.returncode == 1 and "run tidectl migrate" in refused.stderr, refused.stderr
    s.postgres.kill()
    s.gateways.append(gateway)
    gateway.start(ready=False)
    s.postgres.start()
    wait_until(lambda: "run tidectl migrate" in gateway.process.log.read_text(), 10, "it says what is missing")
    assert gateway.get("/readyz").status_code == 503
    run(program("tidectl"), "migrate", "--database", s.postgres.uri(), "--folder", ROOT / "migrations")
    wait_until(lambda: gateway.get("/readyz").status_code == 200, 10, "it goes on by itself")


def test_the_service_manager_is_told(place):
    path = place.stack.folder / "notify.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(60)
        settings = place.settings()
        settings["process"]["watchdog"] = "1s"
        g = Gateway(place.stack, "gateway-1", settings)
        place.stack.gateways.append(g)
        g.process.env.update({"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "2000000"})
        g.process.start()

        def next_with(word: str) -> str:
            while True:
                said = manager.recv(4096).decode()
                if word in said.splitlines():
                    return said

        assert "STATUS=" in next_with("READY=1")
        assert g.get("/livez").status_code == 200  # what was said is true
        next_with("WATCHDOG=1")
        g.process.send(signal.SIGSTOP)  # all of it stands still for longer than process.watchdog, and goes on
        time.sleep(2)
        while select.select([manager], [], [], 0)[0]:
            manager.recv(4096)  # from before
        g.process.send(signal.SIGCONT)
        for _ in range(3):
            next_with("WATCHDOG=1")
        wait_until(lambda: g.metric("tidegate_loops_stuck") == 0, 60, "every loop answers")
        g.process.send(signal.SIGHUP)
        assert "MONOTONIC_USEC=" in next_with("RELOADING=1")
        next_with("READY=1")
        g.process.send(signal.SIGTERM)
        next_with("STOPPING=1")
        assert g.process.stop() == 0


def test_the_soft_limit_of_open_files_is_raised(place):
    g = Gateway(place.stack, "gateway-1", place.settings())
    place.stack.gateways.append(g)
    g.process.command = ["prlimit", "--nofile=300:", *g.process.command]  # the soft one alone
    g.process.start()
    wait_until(lambda: g.get("/livez").status_code == 200, 60, "it answers")
    soft, hard = resource.prlimit(g.process.pid, resource.RLIMIT_NOFILE)
    assert hard == resource.getrlimit(resource.RLIMIT_NOFILE)[1] and soft == (hard if 0 <= hard < 1 << 20 else 1 << 20)


def test_a_second_instance_is_refused_and_the_first_goes_on(place):
    g = place.start()
    second = Gateway(place.stack, "second", {**place.settings(), "listeners": g.settings["listeners"]})
    second.process.start()
    assert second.process.child.wait(60) == 1
    assert f"127.0.0.1:{g.port}" in second.process.tail()
    same_socket = Gateway(place.stack, "third", place.settings())
    same_socket.settings["admin"] = g.settings["admin"]
    same_socket.write()
    same_socket.process.start()
    assert same_socket.process.child.wait(60) == 1
    assert str(g.socket) in same_socket.process.tail()
    for _ in range(5):
        assert g.get("/livez").status_code == 200
    g.ctl("check")
    for other in (second, same_socket):
        other.process.assert_no_report()


# --- the end ----------------------------------------------------------------------------------------------


def refuses(gateway) -> bool:
    try:
        return not can_connect(int(gateway.port))
    except ConnectionRefusedError:
        return True


def test_drain_lets_a_running_stream_end(place):
    g = place.start()
    held = Held(place.worker)
    client = open_stream(place, g)
    assert held.began.wait(10)
    idle = connect_tls(g, place.stack.trust, "http/1.1")
    idle.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b" 200 " in idle.recv(4096)
    g.process.send(signal.SIGTERM)
    wait_until(lambda: client.poll(0.1) is not None and client.goaway_code() is not None, 10, "GOAWAY")
    assert client.goaway_code() == 0
    wait_until(lambda: refuses(g), 10, "nobody new comes in")
    assert read_all(idle) == b""  # a connection without a request is closed at once
    health = f"http://127.0.0.1:{g.metrics_port}"
    assert httpx.get(health + "/readyz").status_code == 503
    assert httpx.get(health + "/livez").status_code == 200
    assert g.process.is_alive()
    held.may_end.set()
    assert b"data: [DONE]" in client.body(client.stream)
    assert g.process.child.wait(20) == 0
    client.close()


def test_drain_answers_a_request_that_has_begun(place):
    g = place.start(process={"threads": 1, "drain": "60s"})
    idle, half = (connect_tls(g, place.stack.trust, "http/1.1") for _ in range(2))
    request = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
    idle.sendall(request)
    half.sendall(request + request[:25])
    assert b" 200 " in idle.recv(4096) and b" 200 " in half.recv(4096)
    g.process.send(signal.SIGTERM)
    assert read_all(idle) == b""  # by now the other one knows as well
    half.sendall(request[25:])
    answer = read_all(half)
    assert answer.startswith(b"HTTP/1.1 200 ") and b"\r\nconnection: close\r\n" in answer
    assert g.process.child.wait(30) == 0


def test_drain_deadline_ends_what_is_left(place):
    settings = place.settings()
    settings["process"]["drain"] = "1s"
    g = place.stack.start_gateway(settings)
    held = Held(place.worker)
    client = open_stream(place, g)
    assert held.began.wait(10)
    asked = time.monotonic()
    g.process.send(signal.SIGTERM)
    assert g.process.child.wait(20) == 0
    assert 0.9 < time.monotonic() - asked < 15
    assert held.gone.wait(5)  # the worker was told
    assert b"[DONE]" not in b"".join(e.data for e in client.poll(1) if isinstance(e, h2.events.DataReceived))
    line = wait_until(lambda: [json.loads(text) for text in g.access_log.read_text().splitlines() if '"chat' in text], 5,
                      "the line of the stream")[-1]
    assert line["finish"] != "done"
    client.close()


def test_asked_twice_it_ends_at_once(place):
    settings = place.settings()
    settings["process"]["drain"] = "10m"
    g = place.stack.start_gateway(settings)
    held = Held(place.worker)
    client = open_stream(place, g)
    assert held.began.wait(10)
    g.process.send(signal.SIGTERM)
    wait_until(lambda: "draining" in g.process.log.read_text(), 10, "it drains")
    g.process.send(signal.SIGTERM)
    assert g.process.child.wait(20) == 0
    client.close()
