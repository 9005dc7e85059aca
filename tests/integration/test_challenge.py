"""Proof of work: any ALTCHA client solves it, through clients that know nothing of it; no cheat gets a code."""
import base64
import hmac
import json
import time
from concurrent.futures import ThreadPoolExecutor

import altcha.v2 as altcha
import httpx
import pytest
from supabase_auth import SyncGoTrueClient
from supabase_auth.errors import AuthApiError

from tide.browser import needs_browser, picture
from tide.client import code_of, mainland_phone
from tide.fixtures import new_stack
from tide.process import wait_until
from tide.stack import APIKEY

WORK = 2000


def challenging(stack, **challenge):
    settings = stack.settings()
    settings["trusted_proxies"] = ["127.0.0.1/32"]
    settings["challenge"] = {"level": "pow", "work": WORK, "hard_work": 2 * WORK, **challenge}
    return stack.start_gateway(settings)


@pytest.fixture(scope="module")
def asked():
    """Two gateways that ask everybody for work."""
    with new_stack() as s:
        s.start_servers()
        challenging(s)
        challenging(s)
        yield s


@pytest.fixture
def one(asked):
    with asked.app(asked.gateways[0]) as app:
        yield app


def fetch(app, **query) -> dict:
    answer = app.http.get("/auth/v1/challenge", params={"for": "otp", **query})
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()


def solve(challenge: dict) -> dict:
    parsed = altcha.Challenge.from_dict(challenge)
    solution = altcha.solve_challenge(parsed)
    return altcha.Payload(parsed, solution).to_dict()


def encode(payload) -> str:
    return base64.b64encode(json.dumps(payload).encode()).decode()


def solved(app, **query) -> str:
    return encode(solve(fetch(app, **query)))


def ask(app, token=None, phone=None, headers=None, **more) -> httpx.Response:
    security = {} if token is None else {"gotrue_meta_security": {"captcha_token": token}}
    return app.http.post("/auth/v1/otp", json={"phone": phone or mainland_phone(), **security, **more}, headers=headers)


def refused(answer: httpx.Response) -> str:
    """Why; and the answer has all that a client needs to do better."""
    body = answer.json()
    assert (answer.status_code, body["code"]) == (400, "captcha_failed"), answer.text
    assert answer.headers["x-sb-error-code"] == "captcha_failed"
    assert body["field"] == "gotrue_meta_security.captcha_token"
    assert body["challenge"]["parameters"]["algorithm"] == "SHA-256" and len(body["challenge"]["signature"]) == 64
    return body["reason"]


def signing_key(stack) -> bytes:
    """As the gateway derives it, so that a test can sign what a gateway never would."""
    ring = json.loads((stack.folder / "keyring.json").read_text())["keys"]
    token = next(k for k in ring if k["use"] == "token" and k["state"] == "active")
    return hmac.digest(base64.b64decode(token["secret"]), b"tidegate challenge", "sha256")


# --- clients ------------------------------------------------------------------------------------------


def test_supabase_client_with_an_altcha_solution_signs_up(asked, one):
    phone = mainland_phone()
    transport = httpx.Client(verify=str(asked.ca), timeout=30)
    client = SyncGoTrueClient(url=asked.gateways[0].url + "/auth/v1", http_client=transport,
                              headers={"apikey": APIKEY, "Authorization": f"Bearer {APIKEY}"})
    with pytest.raises(AuthApiError) as without:
        client.sign_in_with_otp({"phone": phone})
    assert (without.value.status, without.value.code) == (400, "captcha_failed")
    sent = client.sign_in_with_otp({"phone": phone, "options": {"captcha_token": solved(one)}})
    assert sent.message_id
    answer = client.verify_otp({"phone": phone, "token": asked.outbox.wait_for_code(phone), "type": "sms"})
    assert answer.user.phone == phone[1:]
    assert asked.gateways[0].metric('tidegate_challenge_checks_total{result="ok"}') >= 1


def test_the_library_verifies_what_we_sign(asked, one):
    challenge = fetch(one)
    assert set(challenge["parameters"]) == {"algorithm", "cost", "data", "expiresAt", "keyLength", "keyPrefix", "nonce",
                                            "salt"}
    key = signing_key(asked)
    assert altcha.verify_solution(encode(solve(challenge)), key).verified
    challenge["parameters"]["expiresAt"] += 1
    assert altcha.verify_solution(encode(solve(challenge)), key).invalid_signature


def test_the_refusal_brings_the_next_challenge(asked, one):
    answer = ask(one)
    assert refused(answer) == "missing" and answer.json()["level"] == "pow"
    assert ask(one, encode(solve(answer.json()["challenge"]))).status_code == 200


def test_a_field_carries_it_too(one):
    assert ask(one, headers={"x-altcha": solved(one)}).status_code == 200
    assert refused(ask(one, headers={"x-altcha": "bm8="})) == "malformed"


def test_sign_in_only_is_not_asked(one):
    assert ask(one, create_user=False).status_code == 200


@pytest.mark.parametrize("query,field", [({"for": "chat"}, "for"), ({"for": ""}, "for"), ({"level": "none"}, "level"),
                                         ({"level": "9"}, "level")])
def test_a_challenge_for_nothing_we_know(one, query, field):
    answer = one.http.get("/auth/v1/challenge", params=query)
    assert (answer.status_code, code_of(answer)) == (400, "validation_failed")
    assert answer.json()["detail"].startswith(field + ":")


@pytest.mark.parametrize("security,detail", [
    ("x", "gotrue_meta_security: must be an object"), ([], "gotrue_meta_security: must be an object"),
    ({"captcha_token": 7}, "gotrue_meta_security.captcha_token: must be a string"),
    ({"captcha_token": "A" * 8200}, None)])
def test_a_payload_of_another_shape(one, security, detail):
    answer = one.http.post("/auth/v1/otp", json={"phone": mainland_phone(), "gotrue_meta_security": security})
    assert (answer.status_code, code_of(answer)) == (400, "validation_failed"), answer.text
    assert detail is None or answer.json()["detail"] == detail


# --- cheats -------------------------------------------------------------------------------------------


def expired(payload, key):
    return sign(payload, key, expiresAt=int(time.time()) - 1)


def sign(payload, key, data=None, **parameters):
    """A challenge as a gateway could have signed it, solved."""
    given = payload["challenge"]["parameters"]
    made = altcha.create_challenge(
        parameters.pop("algorithm", "SHA-256"), parameters.pop("cost", 1), counter=3, hmac_secret=key,
        expires_at=parameters.pop("expiresAt", given["expiresAt"]), data=data or given["data"], **parameters)
    return solve(made.to_dict())


def change(*path_and_value):
    *path, last, value = path_and_value

    def edit(payload, key):
        at = payload
        for part in path:
            at = at[part]
        at[last] = value(at[last]) if callable(value) else value
        return payload
    return edit


CHEATS = {
    "expired": (expired, "expired"),
    "expiry moved": (change("challenge", "parameters", "expiresAt", lambda v: v + 3600), "bad_signature"),
    "other purpose": (lambda p, k: sign(p, k, {**p["challenge"]["parameters"]["data"], "for": "login"}), "wrong_purpose"),
    "other network": (lambda p, k: sign(p, k, {**p["challenge"]["parameters"]["data"], "net": "0" * 16}), "wrong_address"),
    "forged signature": (change("challenge", "signature", "0" * 64), "bad_signature"),
    "own key": (lambda p, k: sign(p, b"x" * 32), "bad_signature"),
    "lowered difficulty": (change("challenge", "parameters", "keyPrefix", "00"), "malformed"),
    "other prefix": (change("challenge", "parameters", "keyPrefix", "0" * 32), "bad_signature"),
    "prefix of none": (change("challenge", "parameters", "keyPrefix", ""), "malformed"),
    "level of none": (lambda p, k: sign(p, k, {**p["challenge"]["parameters"]["data"], "level": 0}), "too_easy"),
    "level raised by hand": (change("challenge", "parameters", "data", "level", 2), "bad_signature"),
    "wrong algorithm": (change("challenge", "parameters", "algorithm", "PBKDF2/SHA-256"), "wrong_algorithm"),
    "signed wrong algorithm": (lambda p, k: sign(p, k, algorithm="SHA-512"), "wrong_algorithm"),
    "huge cost": (change("challenge", "parameters", "cost", 10 ** 9), "bad_signature"),
    "counter zero": (lambda p, k: {**p, "solution": {**p["solution"], "counter": 0}}, "wrong_solution"),
    "next counter": (change("solution", "counter", lambda v: v + 1), "wrong_solution"),
    "truncated number": (change("solution", "counter", lambda v: v + 2 ** 32), "malformed"),
    "truncated key": (change("solution", "derivedKey", lambda v: v[:32]), "malformed"),
    "another's key": (change("solution", "derivedKey", "0" * 64), "wrong_solution"),
    "key in capitals": (change("solution", "derivedKey", str.upper), "malformed"),
    "no solution": (lambda p, k: {"challenge": p["challenge"]}, "malformed"),
    "more than was asked": (lambda p, k: {**p, "verified": True}, "malformed"),
}


@pytest.mark.parametrize("name", CHEATS)
def test_cheats_are_refused_by_name(asked, one, name):
    edit, reason = CHEATS[name]
    phone = mainland_phone()
    payload = edit(solve(fetch(one)), signing_key(asked))
    assert refused(ask(one, encode(payload), phone)) == reason
    assert asked.outbox.messages(phone) == []


def test_double_members_are_refused(one):
    honest = json.dumps(solve(fetch(one)))
    for cheat in (honest.replace('"counter":', '"counter": 0, "counter":'), honest[:-1] + ', "solution": {}}',
                  honest.replace('"cost":', '"cost": 1, "cost":')):
        assert refused(ask(one, base64.b64encode(cheat.encode()).decode())) == "malformed"
    assert ask(one, base64.b64encode(honest.encode()).decode()).status_code == 200


@pytest.mark.parametrize("token", ["", "x", "bm8=", "e30=", "A" * 4100])
def test_garbage_is_refused(one, token):
    assert refused(ask(one, token)) == ("malformed" if token else "missing")


def test_a_challenge_is_of_one_network(one):
    from_a = {"x-forwarded-for": "198.51.100.20"}
    same_net, other_net = {"x-forwarded-for": "198.51.100.99"}, {"x-forwarded-for": "198.51.101.20"}

    def token():
        return encode(solve(one.http.get("/auth/v1/challenge", headers=from_a).json()))
    assert refused(ask(one, token(), headers=other_net)) == "wrong_address"
    assert ask(one, token(), headers=same_net).status_code == 200


def test_a_solution_counts_once_in_the_fleet(asked, one):
    for _ in range(5):
        token = solved(one)
        apps = [asked.app(asked.gateways[i % 2]) for i in range(10)]
        with ThreadPoolExecutor(10) as pool:
            answers = list(pool.map(lambda app: ask(app, token), apps))
        for app in apps:
            app.close()
        assert sorted(a.status_code for a in answers) == [200] + [400] * 9
        assert {refused(a) for a in answers if a.status_code == 400} == {"already_used"}


def test_without_redis_a_solution_counts_once_a_gateway(own_stack):
    s = own_stack.start_servers()
    for gateway in (0, 1):
        settings = s.settings()
        settings["challenge"] = {"level": "pow", "work": WORK, "hard_work": WORK}
        settings["limits"]["rules"] = [{**rule, "on_error": "local"} for rule in settings["limits"]["rules"]]
        s.start_gateway(settings)
    with s.app(s.gateways[0]) as a, s.app(s.gateways[1]) as b:
        token = solved(a)
        s.redis.stop()
        assert ask(a, token).status_code == 503  # the work is taken; no code goes out that cannot be accounted for
        assert refused(ask(a, token)) == "already_used"
        assert ask(b, token).status_code == 503  # the stated bound: once a gateway
        assert refused(ask(b, token)) == "already_used"
        assert s.gateways[0].metric("tidegate_challenge_spent_locally_total") == 1


# --- how hard -----------------------------------------------------------------------------------------


def test_policy_asks_for_more_and_says_so(own_stack, tmp_path):
    s = own_stack.start_servers()
    gateway = challenging(s, level="none")
    document = tmp_path / "policy.json"
    document.write_text(json.dumps({
        "name": "careful", "existing_users": "unaffected", "default": {"effect": "deny", "reason": "signup_closed"},
        "rules": [{"id": "cn", "when": {"phone_country": ["CN"]}, "effect": "allow", "challenge": "pow_hard"},
                  {"id": "hk", "when": {"phone_country": ["HK"]}, "effect": "allow"}]}))
    gateway.ctl("policy", "set", "-f", document, "--reason", "test")
    with s.app() as app:
        wait_until(lambda: ask(app).status_code == 400, 30, "the policy is in force")
        answer = ask(app, solved(app))
        assert refused(answer) == "too_easy" and answer.json()["level"] == "pow_hard"
        assert ask(app, solved(app, level="pow_hard")).status_code == 200
        assert ask(app, phone="+85251234567").status_code == 200  # nothing was asked of it


def test_load_makes_it_harder(own_stack):
    s = own_stack.start_servers()
    challenging(s, work=100, hard_work=100, busy=1, busy_max=50)

    def tries(app):
        return max(solve(fetch(app))["solution"]["counter"] for _ in range(20))
    with s.app() as app:
        assert tries(app) < 100
        for _ in range(200):  # however slow the machine: the greatest number is of a busy second
            ask(app)
            if s.gateway.metric("tidegate_challenge_load_factor") >= 4:
                break
        assert s.gateway.metric("tidegate_challenge_load_factor") >= 4


# --- browsers -----------------------------------------------------------------------------------------


def test_the_page_is_ours_alone(asked):
    gateway = asked.gateways[0]
    for path, kind in (("page", "text/html"), ("page.css", "text/css"), ("page.js", "text/javascript")):
        answer = gateway.get(f"/auth/v1/challenge/{path}")
        assert answer.status_code == 200 and answer.headers["content-type"].startswith(kind)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert "http://" not in answer.text.replace("http://www.w3.org", "")
    assert gateway.get("/auth/v1/challenge/else").status_code == 404
    assert code_of(gateway.get("/auth/v1/challenge/page?origin=https://evil.example")) == "validation_failed"


def test_only_listed_origins_embed_the_page(own_stack):
    settings = own_stack.start_servers().settings()
    settings["cors"] = {"origins": ["https://app.example.com"]}
    gateway = own_stack.start_gateway(settings)
    page = gateway.get("/auth/v1/challenge/page?origin=https://app.example.com")
    assert "frame-ancestors https://app.example.com" in page.headers["content-security-policy"]
    assert gateway.get("/auth/v1/challenge/page?origin=https://app.example.com.evil").status_code == 400


@needs_browser
def test_chromium_solves_it(asked, one, browser):
    for lang, done in (("en", "All set"), ("zh-CN", "验证完成"), ("zh-TW", "驗證完成")):
        browser.get(f"{asked.gateways[0].url}/auth/v1/challenge/page?lang={lang}")
        wait_until(lambda: browser.execute_script("return document.querySelector('.card').dataset.state") != "working", 60,
                   "the page is done")
        picture(browser, f"challenge-{lang}")
        assert browser.execute_script("return document.getElementById('title').textContent") == done
        token = browser.execute_script("return document.getElementById('payload').value")
        assert ask(one, token).status_code == 200
        loaded = browser.execute_script("return performance.getEntriesByType('resource').map(r => new URL(r.name).origin)")
        assert set(loaded) == {asked.gateways[0].url}
        assert [line for line in browser.get_log("browser") if line["level"] == "SEVERE" and "favicon" not in line["message"]] == []
