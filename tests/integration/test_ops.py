"""The dashboard for operators: who may look, its stream, and what it shows of a gateway that says what the test wants."""
import itertools
import shutil
import signal
import socket
import stat
import subprocess

import httpx
import pytest
import yaml

from tide.browser import MEASURE, check_readable, needs_browser, picture, set_view
from tide.fixtures import new_folder
from tide.process import free_port, wait_until
from tide.read_socket import FakeReadSocket
from tide.stack import program

PASSWORD = "correct horse battery"
EVIL = "<img src=x onerror=document.body.remove()><b id=evil>\"'&amp;\nend"
PARTS = {"top", "pulse", "signup", "attack", "policy", "sms", "workers", "stores", "public", "limits", "guard"}
CALM = "tidegate_requests_total{code=\"2xx\"} 5\ntidegate_attack_level 0\ntidegate_policy_version 1\ntidegate_database_up 1\n"


def worker(name: str, **more) -> dict:
    return {"name": name, "state": "ready", "breaker": "closed", "running": 1, "slots": 8, "tokens": 100, "first_token_ms": 80,
            "failures": 0, **more}


@pytest.fixture
def folder():
    path = new_folder()
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def gateway(folder, fake):
    """Its read socket; `fake` is the rest of it."""
    fake.more_metrics = CALM
    read = FakeReadSocket(folder / "read.sock")
    read.answers["workers"] = {"items": [worker("w1")]}
    read.answers["policy/history"] = {"items": [{"version": 1, "in_force": True, "name": "open", "state": "open", "reason": "first",
                                                 "actor": "anna", "created_at": "2026-01-02T03:04:05Z"}]}
    yield read
    read.stop()


@pytest.fixture
def ops(page, gateway, folder):
    """The page with a dashboard on a unix socket, not started; ops.client() asks it."""
    page.ops_socket = folder / "ops.sock"
    page.settings["ops"] = {"address": f"unix:{page.ops_socket}", "gateway": f"unix:{gateway.path}", "interval": "100ms"}
    page.client = lambda: httpx.Client(transport=httpx.HTTPTransport(uds=str(page.ops_socket)), base_url="http://ops", timeout=30)
    page.ops_get = lambda path="/ops": one_answer(page, path)
    return page


def one_answer(page, path: str) -> httpx.Response:
    with page.client() as client:
        return client.get(path)


def groups(response: httpx.Response):
    """What came between two beats: part by part, its HTML."""
    parts, event = {}, ""
    for line in response.iter_lines():
        name, _, value = line.partition(": ")
        if name == "event":
            event = value
        elif name == "data" and event == "part":
            part, _, html = value.partition(" ")
            parts[part] = html
        elif line == "data:" and event == "beat":
            yield parts
            parts = {}


# --- who may look ------------------------------------------------------------------------------------


@pytest.mark.parametrize("change,says", [
    ({"address": "127.0.0.1:1"}, "ops.password_file: is missing: whoever reaches the address would see the dashboard"),
    ({"address": "10.0.0.1:1", "password_file": "PW"}, "ops.tls: beyond loopback the password has to travel by TLS"),
    ({"tls": True}, "ops.tls: means nothing on a unix socket"),
    ({"gateway": "127.0.0.1:1"}, "ops.gateway: want the gateway's admin.read_socket"),
    ({"gateway": None}, "ops.gateway: is required"),
    ({"viewers": 0}, "ops.viewers"),
    ({"interval": "1ms"}, "ops.interval"),
    ({"passwords": "x"}, "passwords"),
    ({"metrics_url": None}, "ops: wants probe.metrics_url"),
])
def test_what_would_be_open_to_all_is_refused(ops, folder, change, says):
    (folder / "pw").write_text(PASSWORD + "\n")
    (folder / "pw").chmod(0o600)
    if "metrics_url" in change:
        del ops.settings["probe"]["metrics_url"]
    else:
        ops.settings["ops"].update({k: str(folder / "pw") if v == "PW" else v for k, v in change.items()})
        ops.settings["ops"] = {k: v for k, v in ops.settings["ops"].items() if v is not None}
    ops.conf.write_text(yaml.safe_dump(ops.settings))
    done = subprocess.run([program("tide-status"), "-c", ops.conf, "--check"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and says in done.stderr, done.stderr


def test_the_public_page_knows_nothing_of_it(ops):
    ops.start()
    for path in ("/ops", "/ops.js", "/ops/events"):
        assert ops.get(path).status_code == 404
    assert stat.S_IMODE(ops.ops_socket.stat().st_mode) == 0o600
    answer = ops.ops_get()
    assert answer.status_code == 200 and answer.headers["cache-control"] == "no-store"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert ops.ops_get("/").text.startswith("<!DOCTYPE html>") and ops.ops_get("/other").status_code == 404
    with ops.client() as client:
        assert client.post("/ops").status_code == 405 and client.head("/ops").status_code == 200


def test_the_password_is_wanted_everywhere_and_can_change(ops, gateway, folder):
    secret = folder / "password"
    secret.write_text(PASSWORD + "\n")
    secret.chmod(0o600)
    port = free_port()
    ops.settings["ops"].update({"address": f"127.0.0.1:{port}", "tls": True, "password_file": str(secret)})
    ops.start()

    def status(path="/ops", password=None):
        auth = None if password is None else ("anna", password)
        with httpx.stream("GET", f"https://localhost:{port}{path}", verify=ops.trust, auth=auth, timeout=30) as answer:
            return answer.status_code

    for path in ("/ops", "/", "/ops.js", "/ops/events", "/nothing"):
        assert status(path) == 401 and status(path, "wrong horse battery") == 401
    assert status("/ops", PASSWORD) == 200 and status("/ops.js", PASSWORD) == 200
    answer = httpx.get(f"https://localhost:{port}/ops", verify=ops.trust)
    assert answer.headers["www-authenticate"].startswith("Basic ") and "Workers" not in answer.text

    url = f"https://localhost:{port}/ops/events"
    with httpx.stream("GET", url, verify=ops.trust, auth=("anna", PASSWORD), timeout=60) as stream:
        parts = groups(stream)
        assert set(next(p for p in parts if p)) == PARTS
        secret.write_text("short\n")
        ops.process.send(signal.SIGHUP)
        wait_until(lambda: "reload result=refused" in ops.process.log.read_text(), 30, "refused")
        assert "want one line of 16 to 256 characters" in ops.process.log.read_text()
        assert status("/ops", PASSWORD) == 200, "the old one goes on"
        gateway.answers["workers"] = {"items": [worker("after-the-refusal")]}
        assert any("after-the-refusal" in p.get("workers", "") for p in itertools.islice(parts, 300)), "and so does what was open"
        secret.write_text("another fine password\n")
        ops.process.send(signal.SIGHUP)
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):  # cut: it was the old one's
            for _ in itertools.islice(parts, 300):  # beats: half a minute
                pass
    wait_until(lambda: status("/ops", "another fine password") == 200, 30, "the new one is taken")
    assert status("/ops", PASSWORD) == 401
    assert PASSWORD not in ops.process.log.read_text() and "another fine" not in ops.process.log.read_text()


def test_without_a_password_no_name_of_the_public_dns(ops):
    ops.start()
    with ops.client() as client:
        for host in ("localhost:8445", "127.0.0.1:8445", "[::1]:8445", "ops"):
            assert client.get("/ops", headers={"host": host}).status_code == 200, host
        for path in ("/ops", "/ops.js", "/ops/events"):
            answer = client.get(path, headers={"host": "rebound.example:8445"})
            assert answer.status_code == 421 and "localhost only" in answer.text, path


# --- the stream --------------------------------------------------------------------------------------


def test_the_stream_sends_all_and_then_what_changes(ops, gateway):
    ops.start()
    with ops.client() as client, client.stream("GET", "/ops/events") as response:
        assert response.headers["content-type"] == "text/event-stream"
        stream = groups(response)
        assert next(stream) == {}, "the first beat says that the connection stands"
        first = next(stream)
        assert set(first) == PARTS and "w1" in first["workers"]
        gateway.answers["workers"] = {"items": [worker("w1"), worker("w2", state="down")]}
        changed = next(parts for parts in stream if "workers" in parts)
        assert "w2" in changed["workers"] and "policy" not in changed, "what is the same is not sent again"
        assert "Worker w2 is not ready" in (changed.get("top") or next(p["top"] for p in stream if "top" in p))
    assert "w2" in ops.ops_get().text, "the page says the same"


def test_more_viewers_than_allowed_get_the_page_only(ops):
    ops.settings["ops"]["viewers"] = 2
    ops.start()
    with ops.client() as a, ops.client() as b, ops.client() as c:
        with a.stream("GET", "/ops/events") as first, b.stream("GET", "/ops/events") as second:
            assert first.status_code == second.status_code == 200
            refused = c.get("/ops/events")
            assert refused.status_code == 503 and refused.headers["retry-after"] and "ops.viewers" in refused.text
            assert c.get("/ops").status_code == 200
        metrics = f"http://127.0.0.1:{ops.metrics_port}/metrics"
        wait_until(lambda: "tidestatus_ops_viewers 0" in httpx.get(metrics).text, 30, "who left is gone")
    with ops.client() as d, d.stream("GET", "/ops/events") as third:
        assert third.status_code == 200
        ops.process.send(signal.SIGTERM)
        for _ in third.iter_raw():  # to its end, in good order: a cut stream raises
            pass
    wait_until(lambda: not ops.process.is_alive(), 30, "it ends")  # a second SIGTERM on its last steps would kill it


def test_a_fleet_of_workers_fits_in_a_stream(ops, gateway):
    fleet = [worker(f"w{k}") for k in range(2999)] + [worker("the-last", state="down")]
    gateway.answers["workers"] = {"items": fleet}
    ops.start()
    with ops.client() as client, client.stream("GET", "/ops/events") as response:
        stream = itertools.islice(groups(response), 600)
        drawn = next(parts["workers"] for parts in stream if "and 2800 more" in parts.get("workers", ""))
        assert drawn.index("the-last") < drawn.index("w0<") and "w198<" in drawn and "w199<" not in drawn
        gateway.answers["workers"] = {"items": fleet[:-1]}
        assert "the-last" not in next(p["workers"] for p in stream if "and 2799 more" in p.get("workers", ""))


def slow_stream(ops) -> socket.socket:
    s = socket.socket(socket.AF_UNIX)
    s.connect(str(ops.ops_socket))
    s.sendall(b"GET /ops/events HTTP/1.1\r\nhost: ops\r\n\r\n")
    s.settimeout(30)
    return s


def grow(gateway) -> None:
    """Each reading differs, and is more than a socket takes for long."""
    turn = itertools.count()
    gateway.answers["workers"] = lambda: {"items": [worker(f"w{k}", tokens=next(turn)) for k in range(150)]}


def watch(ops, changes: int) -> None:
    """Another viewer, which reads, until so many changes have come."""
    with ops.client() as client, client.stream("GET", "/ops/events") as response:
        seen = (parts for parts in groups(response) if "workers" in parts)
        assert len(list(itertools.islice(seen, changes))) == changes


def test_who_does_not_read_is_left_out_and_catches_up(ops, gateway):
    grow(gateway)
    ops.start()
    wait_until(lambda: "anna" in ops.ops_get().text, 30, "the policy is read")
    with slow_stream(ops) as slow:
        watch(ops, 40)
        got = b""
        while got.count(b"data: policy ") < 2:  # which never changes: sent at first, and again to who missed something
            more = slow.recv(1 << 20)
            assert more, "it was cut off"
            got += more
        assert got.count(b"data: workers ") < 40, "what it missed is not sent later"


def test_who_never_reads_is_ended(ops, gateway):
    grow(gateway)
    ops.settings["http"] = {"send_stall": "1s"}
    ops.start()
    with slow_stream(ops) as slow:
        metrics = f"http://127.0.0.1:{ops.metrics_port}/metrics"
        wait_until(lambda: "tidestatus_ops_viewers 1" in httpx.get(metrics).text, 30, "it looks")
        wait_until(lambda: "tidestatus_ops_viewers 0" in httpx.get(metrics).text, 60, "it is ended")
        watch(ops, 5)
        assert slow.fileno() >= 0


# --- what it shows -----------------------------------------------------------------------------------


def test_a_gateway_that_falls_silent_leaves_its_last_numbers(ops, fake, gateway):
    ops.start()
    wait_until(lambda: "w1" in ops.ops_get().text and "anna" in ops.ops_get().text, 30, "read")
    assert "silent" not in ops.ops_get().text
    fake.refuse = True
    gateway.answers.clear()
    wait_until(lambda: "The gateway is silent for" in ops.ops_get().text, 60, "it says so")
    text = ops.ops_get().text
    assert "w1" in text and "anna" in text and "Data as of" in text and 'class="hero l3"' in text
    fake.refuse = False
    wait_until(lambda: "silent" not in ops.ops_get().text, 60, "and hears it again")


def test_other_answers_than_a_gateways_are_named(ops, fake, gateway):
    fake.more_metrics = CALM
    gateway.answers["workers"] = [1, "two", {"items": None}]
    gateway.answers["sms"] = {"budgets": "none", "health": 7}
    ops.start()
    wait_until(lambda: "Not known: not here" in ops.ops_get().text, 30, "what the gateway refuses is told")
    ops.stop()
    ops.settings["probe"]["metrics_url"] = fake.url + "/v1/models"
    ops.start()
    wait_until(lambda: "these are no metrics of a gateway" in ops.ops_get().text, 30, "named")


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_a_browser(browser, ops, fake, gateway, folder, scheme):
    secret = folder / "password"
    secret.write_text("correct-horse-battery\n")
    secret.chmod(0o600)
    port = free_port()
    ops.settings["ops"].update({"address": f"127.0.0.1:{port}", "password_file": str(secret)})
    gateway.answers |= {
        "workers": {"items": [worker(EVIL), worker("w2", state="down", breaker="open")]},
        "limits/top": {"items": [{"rule": EVIL, "source": "203.0.113.0/24", "refused": 4100}]},
        "sms": {"budgets": [{"rule": "sms_day", "limit": 1000, "remaining": 60, "known": True}],
                "health": [{"name": EVIL, "breaker": "open"}], "blocked": [{"prefix": "+8525123"}]},
        "attack": {"level": "A2", "mode": "automatic", "reason": EVIL, "since": "2026-01-02T03:04:05Z", "attempts_per_min": 4000,
                   "baseline_per_min": 80},
        "attack/history": {"items": [{"at": "2026-01-02T03:04:05Z", "before": "A1", "level": "A2", "reason": EVIL, "actor": "anna"}]}}
    fake.more_metrics = CALM.replace("attack_level 0", "attack_level 2")
    ops.start()
    url = f"http://anna:correct-horse-battery@127.0.0.1:{port}/ops"
    auth = ("anna", "correct-horse-battery")
    wait_until(lambda: "4.1k" in httpx.get(url, auth=auth).text, 30, "all is read")
    for width in (1440, 420):
        set_view(browser, scheme, width, height=1000 if width > 500 else 3200)
        browser.get(url)
        wait_until(lambda: browser.find_element("id", "live").text == "live", 30, "the stream stands")
        found = browser.execute_script(MEASURE)
        check_readable(found, f"{scheme} {width}")
        assert {name.partition("/ops")[2] for name in found["requests"]} <= {".js", "/events"}
        assert browser.execute_script("return document.querySelectorAll('img, #evil').length") == 0, "words stay words"
        assert EVIL.replace("\n", " ") in browser.find_element("id", "workers").text
        picture(browser, f"ops-{scheme}-{width}")

    browser.execute_script("window.kept = true")
    gateway.answers["workers"] = {"items": [worker("a-new-one")]}
    wait_until(lambda: "a-new-one" in browser.find_element("id", "workers").text, 30, "it comes by itself")
    fake.more_metrics = CALM + "tidegate_policy_emergency 1\n"
    wait_until(lambda: "closed by emergency" in browser.title, 30, "the tab says it too")
    assert browser.execute_script("return window.kept") is True, "without loading the page"
    assert "dc3b30" in browser.execute_script("return document.querySelector('link[rel=icon]').href")

    set_view(browser, scheme, 1440, script=False)
    browser.get(url)
    gateway.answers["workers"] = {"items": [worker("without-script")]}
    wait_until(lambda: "without-script" in browser.find_element("id", "workers").text, 60, "without script it reloads itself")
    assert browser.find_element("id", "live").text == "reloads every 5 s"
    set_view(browser, scheme, 1440)
    noise = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert noise == [], "the console stays empty, content security policy included"


@needs_browser
def test_a_browser_reloads_when_somebody_answers(browser, ops, folder):
    """Not before: the error page of a browser would stay."""
    secret = folder / "password"
    secret.write_text("correct-horse-battery\n")
    secret.chmod(0o600)
    port = free_port()
    ops.settings["ops"].update({"address": f"127.0.0.1:{port}", "password_file": str(secret), "viewers": 1})
    ops.start()
    url, auth = f"http://127.0.0.1:{port}/ops/events", ("anna", "correct-horse-battery")
    with httpx.stream("GET", url, auth=auth, timeout=60) as other:
        assert other.status_code == 200
        browser.get(f"http://anna:correct-horse-battery@127.0.0.1:{port}/ops")
        wait_until(lambda: browser.find_element("id", "live").text == "reloads every 10 s", 30, "it is one too many")
        browser.execute_script("window.tries = 0; const real = fetch; window.fetch = (...a) => { tries++; return real(...a); }")
        ops.stop()
    wait_until(lambda: browser.execute_script("return window.tries") >= 1, 60, "it asks")
    ops.start()
    wait_until(lambda: browser.execute_script("return window.tries") is None, 60, "it has reloaded")
    wait_until(lambda: browser.find_element("id", "live").text == "live", 60, "and is live")
    browser.get_log("browser")  # the refusals, which are none of the next test's
