"""Invites: the code travels in data.invite of the code request, the account counts it, each use once whatever happens."""
import concurrent.futures
import itertools
import json

import httpx
import pytest

from tide.client import code_of, mainland_phone
from tide.process import wait_until
from tide.stack import APIKEY

NOT_A_CODE = "ZZZZ-ZZZZ-ZZZZ-ZZZZ"  # well formed, nobody's


@pytest.fixture(scope="module", autouse=True)
def invite_only(pair):
    put(pair, "invite-only")
    yield
    put(pair, "open")


def put(stack, *words: str) -> None:
    done = json.loads(stack.gateways[0].ctl("-o", "json", "policy", "set", *words, "--reason", "test").stdout)
    headers = {"apikey": APIKEY}
    wait_until(lambda: all(g.get("/auth/v1/settings", headers=headers).json()["signup"]["policy_version"] == done["version"]
                           for g in stack.gateways), 30, "the policy on every gateway")


def admin(gateway) -> httpx.Client:
    return httpx.Client(transport=httpx.HTTPTransport(uds=str(gateway.socket)), base_url="http://localhost", timeout=30)


def create(gateway, **order) -> list[str]:
    with admin(gateway) as http:
        answer = http.post("/admin/v1/invites", json={"reason": "test", **order})
    assert answer.status_code == 200, answer.text
    return [item["code"] for item in answer.json()["items"]]


def create_one(gateway, **order) -> str:
    return create(gateway, **order)[0]


def row(gateway, code: str) -> dict:
    with admin(gateway) as http:
        return http.get("/admin/v1/invites", params={"code": code}).json()["items"][0]


def ask(app, phone: str, invite=None, **more) -> httpx.Response:
    return app.ask_code(phone, data={"invite": invite}, **more)


def come_in(app, phone: str, invite: str) -> httpx.Response:
    asked = ask(app, phone, invite)
    assert asked.status_code == 200, asked.text
    return app.verify(phone, app.outbox.wait_for_code(phone))


# --- the door ---------------------------------------------------------------------------------------------


def test_a_good_one_opens_the_door(pair, a, b):
    code = create_one(pair.gateways[0], campaign="spring")
    phone = mainland_phone()
    refused = a.ask_code(phone)
    assert (refused.status_code, code_of(refused)) == (403, "invite_required")
    assert refused.json()["signup"]["state"] == "restricted" and pair.outbox.messages(phone) == []
    asked = ask(a, phone, code.lower().replace("-", " "))
    assert asked.status_code == 200
    assert row(pair.gateways[1], code)["uses"] == 0  # asking for a code uses nothing up
    answer = b.verify(phone, pair.outbox.wait_for_code(phone))
    assert answer.status_code == 200 and answer.json()["is_new_user"] is True
    found = row(pair.gateways[1], code)
    assert (found["uses"], found["state"], found["campaign"]) == (1, "used up", "spring")
    assert pair.postgres.query("SELECT invite_id FROM users WHERE id = '" + answer.json()["user"]["id"] + "'") == found["id"]


@pytest.mark.parametrize("accept,words", [("en", "used up"), ("zh-CN", "邀请码已被用完"), ("zh-TW", "邀請碼已被用完")])
def test_refusals_say_what_is_wrong(pair, a, accept, words):
    g = pair.gateways[0]
    used = create_one(g)
    assert come_in(a, mainland_phone(), used).status_code == 200
    late = create_one(g, ttl_s=3600)
    pair.postgres.query(f"UPDATE invites SET expires_at = now() WHERE id = '{row(g, late)['id']}'")
    revoked = create_one(g)
    with admin(g) as http:
        assert http.post("/admin/v1/invites/revoke", json={"code": revoked, "reason": "leaked"}).json() == {"revoked": 1}
        assert http.post("/admin/v1/invites/revoke", json={"code": revoked, "reason": "leaked"}).json() == {"revoked": 0}
    for code, reason in ((used, "invite_used_up"), (late, "invite_expired"), (revoked, "invite_invalid"),
                         (NOT_A_CODE, "invite_invalid"), ("no such thing", "invite_invalid"), ("é" * 100, "invite_invalid"),
                         ("", "invite_required"), (None, "invite_required")):
        refused = ask(a, mainland_phone(), code)
        assert (refused.status_code, code_of(refused)) == (403, reason), code
    answer = a.http.post("/auth/v1/otp", json={"phone": mainland_phone(), "data": {"invite": used}},
                         headers={"accept-language": accept}).json()
    assert words in answer["message"] and answer["login_unaffected"] is True


@pytest.mark.parametrize("data,field", [(5, "data"), ("x", "data"), ([], "data"), ({"invite": 5}, "data.invite"),
                                        ({"invite": {}}, "data.invite"), ({"invite": ["a"]}, "data.invite")])
def test_malformed_ones_are_named(a, data, field):
    refused = a.ask_code(mainland_phone(), data=data)
    assert (refused.status_code, code_of(refused)) == (400, "validation_failed")
    assert refused.json()["field"] == field


def test_other_data_of_apps_is_let_pass(pair, a):
    phone = mainland_phone()
    code = create_one(pair.gateways[0])
    assert a.ask_code(phone, data={"name": "Li", "nested": {"invite": 5}, "invite": code}).status_code == 200
    assert a.ask_code(mainland_phone(), data=None, create_user=False).status_code == 200


def test_who_has_an_account_needs_none(pair, a):
    phone = mainland_phone()
    code = create_one(pair.gateways[0], uses=5)
    assert come_in(a, phone, code).status_code == 200
    for invite in (None, NOT_A_CODE, code):
        pair.resend_time_passes()
        seen = len(pair.outbox.messages(phone))
        assert ask(a, phone, invite).status_code == 200
        answer = a.verify(phone, pair.outbox.wait_for_code(phone, seen))
        assert answer.status_code == 200 and answer.json()["is_new_user"] is False
    assert row(pair.gateways[0], code)["uses"] == 1


# --- campaigns, and policies that want none ---------------------------------------------------------------------


def document(tmp_path, rules: list, default: dict) -> str:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps({"name": "t", "existing_users": "unaffected", "rules": rules, "default": default}))
    return str(path)


def test_a_campaign_is_a_condition(pair, a, tmp_path):
    g = pair.gateways[0]
    spring, autumn, plain = (create_one(g, campaign=name) for name in ("spring", "autumn", ""))
    put(pair, "-f", document(tmp_path, [
        {"id": "leaked", "when": {"campaign": ["autumn"]}, "effect": "deny", "reason": "signup_disabled"},
        {"id": "spring", "when": {"campaign": ["spring"]}, "effect": "allow"}], {"effect": "deny", "reason": "invite_required"}))
    try:
        assert code_of(ask(a, mainland_phone(), autumn)) == "signup_disabled"
        assert code_of(ask(a, mainland_phone(), plain)) == "invite_required"
        assert code_of(a.ask_code(mainland_phone())) == "invite_required"  # no invite: of no campaign, so not leaked
        assert come_in(a, mainland_phone(), spring).status_code == 200
    finally:
        put(pair, "invite-only")


def test_an_open_door_counts_good_ones_and_forgives_bad_ones(pair, a):
    g = pair.gateways[0]
    code = create_one(g)
    put(pair, "open")
    try:
        assert come_in(a, mainland_phone(), NOT_A_CODE).status_code == 200
        assert come_in(a, mainland_phone(), code).status_code == 200
        assert row(g, code)["uses"] == 1
        assert come_in(a, mainland_phone(), code).status_code == 200  # used up: not needed either
        assert row(g, code)["uses"] == 1
    finally:
        put(pair, "invite-only")


# --- each use once ----------------------------------------------------------------------------------------------


@pytest.mark.tsan
def test_many_at_once_on_two_gateways_get_what_there_is(pair):
    g = pair.gateways[0]
    code = create_one(g, uses=5)
    phones = [mainland_phone() for _ in range(20)]
    apps = [pair.app(gateway, http2=False) for gateway in pair.gateways]  # httpx shares HTTP/2 badly between threads
    try:
        for phone, app in zip(phones, itertools.cycle(apps)):
            assert ask(app, phone, code).status_code == 200
        codes = {phone: pair.outbox.wait_for_code(phone) for phone in phones}
        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            answers = list(pool.map(lambda i: apps[i % 2].verify(phones[i], codes[phones[i]]), range(len(phones))))
    finally:
        for app in apps:
            app.close()
    refused = [answer for answer in answers if answer.status_code != 200]
    assert len(answers) - len(refused) == 5
    assert {code_of(answer) for answer in refused} == {"invite_used_up"}
    assert row(g, code)["uses"] == 5


def counted(stack, gateway, code: str) -> tuple[int, int]:
    """Uses on the invite, accounts that came by it."""
    found = row(gateway, code)
    return found["uses"], int(stack.postgres.query(f"SELECT count(*) FROM users WHERE invite_id = '{found['id']}'"))


def test_a_gateway_killed_while_it_redeems(own_pair):
    """kill -9 in the middle: the invite is not counted, and lets the same person in elsewhere."""
    s = own_pair
    put(s, "invite-only")
    first, second = s.gateways
    code = create_one(first)
    phone = mainland_phone()
    with s.app(first) as app:
        assert ask(app, phone, code).status_code == 200
        sms = s.outbox.wait_for_code(phone)
        with s.postgres.holding(f"SELECT 1 FROM invites WHERE id = '{row(first, code)['id']}' FOR UPDATE"):
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                waiting = pool.submit(app.verify, phone, sms)
                wait_until(lambda: s.postgres.query("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                                                    " AND query LIKE '%auth_create_user%'") == "1", 60, "it waits for the invite")
                first.process.kill()
                assert isinstance(waiting.exception(30), httpx.TransportError)
    wait_until(lambda: s.postgres.query("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'") == "0", 60,
               "its transaction is over")
    uses, accounts = counted(s, second, code)
    assert uses == accounts == 0
    with s.app(second) as app:
        assert app.verify(phone, sms).status_code == 200
    assert counted(s, second, code) == (1, 1)


def test_without_database_nothing_is_used_up(own_stack):
    s = own_stack
    s.start_servers()
    gateway = s.start_gateway()
    put(s, "invite-only")
    code = create_one(gateway)
    phone = mainland_phone()
    with s.app(gateway) as app:
        assert ask(app, phone, code).status_code == 200
        sms = s.outbox.wait_for_code(phone)
        s.postgres.kill()
        for answer in (ask(app, mainland_phone(), code), app.verify(phone, sms)):
            assert (answer.status_code, code_of(answer)) == (503, "database_unavailable")
        s.postgres.start()
        wait_until(lambda: gateway.get("/readyz").status_code == 200 and app.verify(phone, sms).status_code == 200, 60,
                   "the database is back")
    assert counted(s, gateway, code) == (1, 1)


# --- guessing ---------------------------------------------------------------------------------------------------


def test_guessing_is_limited_and_good_ones_are_not_charged(own_stack):
    s = own_stack
    s.start_servers()
    settings = s.settings()
    settings["limits"]["rules"] = [rule for rule in settings["limits"]["rules"] if rule["name"] != "invite_failed"] + [
        {"name": "invite_failed", "by": "address", "at": "invite", "limit": "3/1h"}]
    gateway = s.start_gateway(settings)
    put(s, "invite-only")
    code = create_one(gateway, uses=10)
    with s.app(gateway) as app:
        for _ in range(5):
            assert ask(app, mainland_phone(), code).status_code == 200
        assert [ask(app, mainland_phone(), NOT_A_CODE).status_code for _ in range(3)] == [403, 403, 403]
        for guess in (NOT_A_CODE, "garbage", code):
            refused = ask(app, mainland_phone(), guess)
            assert (refused.status_code, code_of(refused)) == (429, "over_request_rate_limit")
            assert int(refused.headers["retry-after"]) > 0
        assert code_of(app.ask_code(mainland_phone())) == "invite_required"


# --- operators --------------------------------------------------------------------------------------------------


def test_codes_are_shown_once_and_stored_nowhere(pair):
    codes = create(pair.gateways[0], count=50, uses=3, campaign="once")
    assert len(set(codes)) == 50
    dump = pair.postgres.dump()
    for code in codes:
        assert code not in dump and code.replace("-", "") not in dump
    log = pair.gateways[0].process.tail(2000)
    assert row(pair.gateways[0], codes[0])["hint"] == codes[0][-4:]
    assert all(code not in log for code in codes)


def test_a_campaign_is_revoked_whole(pair, a):
    g = pair.gateways[0]
    codes = create(g, count=5, campaign="leak")
    other = create_one(g, campaign="leaks")
    with admin(g) as http:
        assert http.post("/admin/v1/invites/revoke", json={"campaign": "leak", "reason": "posted"}).json() == {"revoked": 5}
        listed = http.get("/admin/v1/invites", params={"campaign": "leak"}).json()["items"]
    assert [item["state"] for item in listed] == ["revoked"] * 5
    assert code_of(ask(a, mainland_phone(), codes[0])) == "invite_invalid"
    assert ask(a, mainland_phone(), other).status_code == 200
    audited = pair.postgres.query("SELECT reason, detail->>'revoked' FROM audit WHERE target = 'campaign/leak'")
    assert audited == "posted|5"


@pytest.mark.parametrize("order,names", [
    ({"count": 0}, "count"), ({"count": 10001}, "count"), ({"uses": 0}, "uses"), ({"uses": 10**9}, "uses"),
    ({"ttl_s": -1}, "ttl_s"), ({"campaign": "x" * 64}, "campaign"), ({"campaign": "春"}, "campaign"),
    ({"inviter": " li"}, "inviter"), ({"quota": 5}, "quota"), ({"reason": ""}, "reason"), ({"count": "3"}, "count"),
    ({"odd": 1}, "odd")])
def test_orders_that_are_refused(pair, order, names):
    before = pair.postgres.query("SELECT count(*) FROM invites")
    with admin(pair.gateways[0]) as http:
        refused = http.post("/admin/v1/invites", json={"reason": "test", **order})
    assert refused.status_code == 400 and names in refused.json()["detail"], refused.text
    assert pair.postgres.query("SELECT count(*) FROM invites") == before


def test_inviters_have_a_quota(pair):
    g = pair.gateways[0]
    create(g, inviter="wang", count=2, uses=5)  # auth.invite_quota: 10
    with admin(g) as http:
        refused = http.post("/admin/v1/invites", json={"reason": "test", "inviter": "wang"})
        assert refused.status_code == 409 and "wang has 10 of 10" in refused.json()["detail"]
        assert http.post("/admin/v1/invites", json={"reason": "test", "inviter": "wang", "quota": 11}).status_code == 200
        last = http.get("/admin/v1/invites", params={"limit": 1}).json()["items"][0]
        assert http.post("/admin/v1/invites/revoke", json={"id": last["id"], "reason": "test"}).json() == {"revoked": 1}
        assert http.post("/admin/v1/invites", json={"reason": "test", "inviter": "wang"}).status_code == 200  # given back
        assert http.get("/admin/v1/invites", params={"code": NOT_A_CODE}).status_code == 404
        assert http.get("/admin/v1/invites", params={"code": "x"}).status_code == 400


def test_tidectl_makes_lists_shows_and_revokes(pair, a):
    g = pair.gateways[0]
    made = json.loads(g.ctl("invite", "create", "--count", "3", "--uses", "2", "--campaign", "cli", "--ttl", "1d",
                            "--reason", "wave one", "-o", "json").stdout)["items"]
    assert len(made) == 3
    listed = g.ctl("invite", "list", "--campaign", "cli").stdout
    assert all(item["id"] in listed and item["code"] not in listed for item in made)
    for name in (made[0]["id"], made[0]["code"]):
        shown = json.loads(g.ctl("invite", "show", name, "-o", "json").stdout)["items"][0]
        assert (shown["id"], shown["state"], shown["max_uses"], shown["hint"]) == (made[0]["id"], "good", 2, made[0]["code"][-4:])
    assert g.ctl("invite", "revoke", made[0]["code"], "--reason", "posted").returncode == 0
    assert "revoked" in g.ctl("invite", "show", made[0]["id"]).stdout
    g.ctl("invite", "revoke", "--campaign", "cli", "--confirm=cli", "--reason", "over")
    assert code_of(ask(a, mainland_phone(), made[2]["code"])) == "invite_invalid"
    for words, status in ((("show", NOT_A_CODE), 5), (("show", "x"), 1), (("revoke", "--reason", "t"), 2),
                          (("revoke", NOT_A_CODE, "--reason", "t"), 5), (("create",), 2), (("create", "--uses", "0", "--reason", "t"), 2),
                          (("create", "--quota", "5", "--reason", "t"), 1)):
        done = g.ctl("invite", *words, check=False)
        assert done.returncode == status and done.stderr, (words, done.returncode, done.stderr)
