"""The dashboard over a real installation: its numbers are those of the gateway, and it stands when the others fall."""
import httpx
import pytest

from tide.fixtures import new_stack
from tide.process import wait_until
from tide.stack import APIKEY, Stack
from tide.status_page import StatusPage

REASON = "pumped from <script>document.title='x'</script> & others"


def new_ops(stack: Stack) -> StatusPage:
    page = StatusPage(stack.folder / "status", stack.gateway.url, stack.ca, stack.cert, stack.key)
    page.settings["database"] = {"uri": stack.postgres.uri("tidegate_status"), "connect_timeout": "1s"}
    page.settings["probe"].update({
        "apikey": APIKEY, "metrics_url": f"http://127.0.0.1:{stack.gateway.metrics_port}/metrics", "interval": "500ms"})
    page.settings["ops"] = {"address": f"unix:{stack.folder}/ops.sock", "gateway": f"unix:{stack.folder}/read.sock",
                            "interval": "200ms"}
    return page


@pytest.fixture(scope="module")
def ops():
    with new_stack() as stack:
        stack.start_servers()
        stack.start_scripted()
        settings = stack.settings()
        settings["admin"] = {"read_socket": f"unix:{stack.folder}/read.sock"}
        settings["limits"]["rules"].append({"name": "few_settings", "by": "address", "at": "auth_settings", "limit": "1/1h",
                                            "burst": "1"})
        stack.start_gateway(settings)
        page = new_ops(stack).start()
        page.stack = stack
        yield page
        page.stop()


def text(ops) -> str:
    with httpx.Client(transport=httpx.HTTPTransport(uds=f"{ops.stack.folder}/ops.sock"), timeout=30) as client:
        answer = client.get("http://ops/ops")
    assert answer.status_code == 200
    return answer.text


def panel(ops, name: str) -> str:
    return text(ops).partition(f'<section id="{name}">')[2].partition("</section>")[0]


def shows(ops, name: str, *words: str) -> None:
    try:
        wait_until(lambda: all(word in panel(ops, name) for word in words), 30, f"{name} shows {words}")
    except AssertionError as error:
        raise AssertionError(f"{error}:\n{panel(ops, name)}") from None


def test_it_shows_what_the_gateway_does(ops):
    gateway = ops.stack.gateway
    shows(ops, "workers", ">w1<", "ready")
    shows(ops, "stores", "PostgreSQL", "<dt>Redis</dt>", "answers")
    shows(ops, "policy", "open", "first policy", "migration")
    shows(ops, "sms", "sms_day", "100 %", "Provider sms", "none")
    shows(ops, "attack", '<li class="ok"><b>A0</b>')
    shows(ops, "public", "Log-in")
    with ops.stack.app() as app:
        app.sign_up("+8613800138001")
    shows(ops, "signup", '<td class="r">1</td></tr><tr><th scope="row">Signed in')
    for _ in range(5):
        gateway.get("/auth/v1/settings", headers={"apikey": APIKEY})
    shows(ops, "limits", "few_settings", "127.0.0.1/32")


def test_measures_come_with_who_and_why(ops):
    gateway = ops.stack.gateway
    gateway.ctl("policy", "set", "mainland-phone-only", "--reason", REASON)
    tame = REASON.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("'", "&#39;")
    shows(ops, "policy", "mainland-phone-only", "restricted", tame, "unix:0(root)", "Before")
    assert "<script>document" not in text(ops)
    shows(ops, "public", "Sign-up: limited to mainland China phone numbers")
    with ops.stack.app() as app:
        refused = app.http.post("/auth/v1/otp", json={"phone": "+85251234567"})
    assert refused.status_code == 403, refused.text
    shows(ops, "signup", 'refused by policy</th><td class="m"><svg class="bar w"')
    gateway.ctl("attack", "set", "A1", "--ttl", "1h", "--reason", "a drill")
    shows(ops, "attack", '<li class="on"><b>A1</b>', "a drill", "A0 → A1", "manual, until")
    assert "<h1" in text(ops) and "Attack ladder at A1" in text(ops)
    gateway.ctl("ban", "add", "203.0.113.0/24", "--ttl", "1h", "--reason", "a drill")
    shows(ops, "guard", "Bans and allowances in force: 1")


def test_it_stands_when_the_others_fall(ops):
    stack = ops.stack
    stack.gateway.ctl("policy", "set", "mainland-phone-only", "--reason", "before the fall")
    shows(ops, "policy", "mainland-phone-only", "before the fall")
    shows(ops, "public", "limited to mainland China")
    stack.postgres.kill()
    shows(ops, "stores", '<dt>PostgreSQL</dt><dd class="bad">')
    shows(ops, "policy", "Data as of", "mainland-phone-only")
    shows(ops, "public", "limited to mainland China")
    assert "PostgreSQL is away" in text(ops)
    stack.gateway.process.kill()
    wait_until(lambda: "The gateway is silent for" in text(ops), 60, "silence is told")
    shows(ops, "policy", "Data as of", "mainland-phone-only")
    shows(ops, "workers", "Data as of", ">w1<")
    stack.postgres.start()
    stack.gateway.start()
    wait_until(lambda: "silent" not in text(ops) and "PostgreSQL is away" not in text(ops), 60, "both are back")
    wait_until(lambda: "Data as of" not in panel(ops, "policy"), 60, "and its answers are new")
