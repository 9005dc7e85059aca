"""The sign-up policy on two gateways: who may come in, who is told what, and that people inside are never touched."""
import itertools
import json
import time

import pytest

from tide.client import code_of, mainland_phone
from tide.process import wait_until
from tide.stack import APIKEY

_foreign = itertools.count(51_230_000 + int(time.time()) % 900 * 10)


def hong_kong_phone() -> str:
    return f"+852{next(_foreign)}"


@pytest.fixture(autouse=True)
def opened(pair):
    """Each test begins and ends open."""
    put(pair, "open")
    yield
    put(pair, "open")


def put(pair, *words: str, reason: str = "test", wait: bool = True) -> dict:
    words += ("--confirm=closed",) if "closed" in words else ()
    done = json.loads(pair.gateways[0].ctl("-o", "json", "policy", "set", *words, "--reason", reason).stdout)
    if wait:
        wait_until(lambda: all(signup(g)["policy_version"] == done["version"] for g in pair.gateways), 1.0,
                   "the policy on every gateway", every=0.02)
    return done


def signup(gateway, lang: str = "en") -> dict:
    return gateway.get("/auth/v1/settings", headers={"apikey": APIKEY, "accept-language": lang}).json()["signup"]


# --- who is refused, and how ----------------------------------------------------------------------------


@pytest.mark.tsan
def test_acts_on_every_gateway_within_a_second(pair, a, b):
    asked = time.monotonic()
    put(pair, "mainland-phone-only")
    assert time.monotonic() - asked < 1.5  # tidectl's own start included
    for app in (a, b):
        refused = app.ask_code(hong_kong_phone())
        assert (refused.status_code, code_of(refused)) == (403, "signup_region_not_allowed")
        assert app.ask_code(mainland_phone()).status_code == 200
    put(pair, "closed")
    for app in (a, b):
        refused = app.ask_code(mainland_phone())
        assert (refused.status_code, code_of(refused)) == (403, "signup_closed")
    put(pair, "open")
    assert a.ask_code(hong_kong_phone()).status_code == 200


@pytest.mark.parametrize("phone", ["+85266123456", "+85366123456", "+886912345678", "+12025550123", "+447400123456"])
def test_mainland_is_eighty_six_alone(pair, a, phone):
    put(pair, "mainland-phone-only")
    refused = a.ask_code(phone)
    assert (refused.status_code, code_of(refused)) == (403, "signup_region_not_allowed")
    assert pair.outbox.messages(phone) == []


@pytest.mark.parametrize("accept,words", [("zh-CN,zh;q=0.9", "目前仅支持中国大陆手机号注册"),
                                          ("zh-TW", "目前僅支援中國大陸手機號碼註冊"), ("en", "mainland China"),
                                          ("fr", "mainland China")])
def test_refusals_say_why_in_the_callers_language(pair, a, accept, words):
    version = put(pair, "mainland-phone-only")["version"]
    answer = a.http.post("/auth/v1/otp", json={"phone": hong_kong_phone()}, headers={"accept-language": accept}).json()
    assert words in answer["message"]
    assert answer["policy_version"] == version and answer["login_unaffected"] is True
    assert answer["signup"]["countries"] == ["CN"] and answer["signup"]["state"] == "restricted"
    assert words in signup(pair.gateways[1], accept)["message"]


def test_settings_follow(pair):
    g = pair.gateways[1]
    for preset, state, disabled in (("open", "open", False), ("mainland-phone-only", "restricted", False),
                                    ("closed", "closed", True)):
        put(pair, preset)
        said = g.get("/auth/v1/settings", headers={"apikey": APIKEY}).json()
        assert (said["signup"]["state"], said["disable_signup"]) == (state, disabled)
        assert said["external"]["phone"] is True and said["external"]["email"] is False


# --- every door -----------------------------------------------------------------------------------------


def test_no_door_is_open_under_mainland_phone_only(pair, a):
    put(pair, "mainland-phone-only")
    users = pair.postgres.query("SELECT count(*) FROM users")
    phone = hong_kong_phone()
    doors = [
        ("POST", "/auth/v1/otp", {"phone": phone}),
        ("POST", "/auth/v1/otp", {"phone": phone, "create_user": True}),
        ("POST", "/auth/v1/otp", {"phone": phone, "data": {"country": "CN", "phone": "+8613800138000"}}),
        ("POST", "/auth/v1/otp", {"email": "someone@example.com"}),
        ("POST", "/auth/v1/verify", {"type": "sms", "phone": phone, "token": "123456"}),
        ("POST", "/auth/v1/verify", {"type": "signup", "phone": phone, "token": "123456"}),
        ("POST", "/auth/v1/signup", {"phone": phone, "password": "correct horse battery"}),
        ("POST", "/auth/v1/signup", {"email": "someone@example.com", "password": "correct horse battery"}),
        ("POST", "/auth/v1/signup", {}),
        ("POST", "/auth/v1/token?grant_type=password", {"phone": phone, "password": "x"}),
        ("POST", "/auth/v1/token?grant_type=id_token", {"provider": "apple", "id_token": "x"}),
        ("POST", "/auth/v1/magiclink", {"email": "someone@example.com"}),
        ("POST", "/auth/v1/recover", {"email": "someone@example.com"}),
        ("POST", "/auth/v1/sso", {"domain": "example.com"}),
        ("GET", "/auth/v1/authorize?provider=google", None),
        ("POST", "/auth/v1/invite", {"email": "someone@example.com"}),
        ("POST", "/auth/v1/admin/users", {"phone": phone}),
        ("PUT", "/auth/v1/user", {"phone": phone, "phone_verified": True}),
    ]
    for method, path, body in doors:
        answer = a.http.request(method, path, json=body)
        assert 400 <= answer.status_code < 500, (path, answer.text)
    assert pair.outbox.messages(phone) == []
    assert pair.postgres.query("SELECT count(*) FROM users") == users


def test_a_code_from_before_makes_no_account_after(pair, a, b):
    phone = hong_kong_phone()
    a.ask_code(phone)
    code = pair.outbox.wait_for_code(phone)
    put(pair, "mainland-phone-only", wait=False)  # the gateway may not know yet: the database does
    refused = b.verify(phone, code)
    assert (refused.status_code, code_of(refused)) == (403, "signup_region_not_allowed")
    assert refused.json()["signup"]["state"] == "restricted"
    put(pair, "open")
    assert b.verify(phone, code).status_code == 403  # consumed
    pair.resend_time_passes()
    assert a.sign_up(phone)["is_new_user"] is True


def test_a_code_from_before_the_opening_works_after(pair, a):
    put(pair, "closed")
    known = mainland_phone()
    assert a.ask_code(known).status_code == 403
    put(pair, "open", wait=False)
    wait_until(lambda: a.ask_code(known).status_code == 200, 2, "the door opens")
    assert a.verify(known, pair.outbox.wait_for_code(known)).json()["is_new_user"] is True


# --- what is kept of refusals -----------------------------------------------------------------------------


def refusals(gateway, result: str) -> float:
    return gateway.metric(f'tidegate_auth_refusals_total{{result="{result}"}}')


def test_refusals_are_kept_with_what_was_decided_from(pair, a, b):
    early, late = hong_kong_phone(), hong_kong_phone()
    assert a.ask_code(early).status_code == 200
    version = put(pair, "mainland-phone-only")["version"]
    before = int(pair.postgres.query("SELECT count(*) FROM signup_attempts WHERE effect = 'deny'"))
    assert a.ask_code(late, data={"note": "nothing of this is kept"}).status_code == 403
    assert b.verify(early, pair.outbox.wait_for_code(early)).status_code == 403
    wait_until(lambda: int(pair.postgres.query("SELECT count(*) FROM signup_attempts WHERE effect = 'deny'")) == before + 2, 5, "both are kept")
    kept = pair.postgres.query("SELECT stage, policy_version, policy_rule, reason, facts->>'method', facts->>'phone_country',"
                               " facts->>'phone_prefix', facts->>'phone_type', facts->>'phone_virtual' FROM signup_attempts"
                               " WHERE effect = 'deny' ORDER BY at DESC LIMIT 2").splitlines()
    facts = f"{version}|default|signup_region_not_allowed|phone|HK|{late[:9]}|mobile|false"
    assert sorted(kept) == [f"otp|{facts}", f"verify|{facts}"]  # two gateways wrote them, in either order
    assert late[1:] not in pair.postgres.dump() and early[4:] not in pair.postgres.dump()
    put(pair, "open")
    pair.resend_time_passes()
    in_later = "SELECT count(*) FROM signup_attempts JOIN identities USING (subject_hash, subject_key) WHERE effect = 'deny'"
    so_far = int(pair.postgres.query(in_later))
    a.sign_up(late)  # the hash is the one that accounts have: who came in later can be told from who did not
    assert int(pair.postgres.query(in_later)) == so_far + 1


def test_the_sample_of_refusals_is_bounded(own_stack):
    s = own_stack
    s.start_servers()
    settings = s.settings()
    settings["process"]["threads"] = 1
    settings["auth"]["refusal_samples"] = 4
    gateway = s.start_gateway(settings)
    s.postgres.query("ALTER SEQUENCE signup_attempts_slot RESTART 999998")
    put(s, "closed")
    with s.app(gateway) as app:
        for _ in range(10):
            assert app.ask_code(mainland_phone()).status_code == 403
    wait_until(lambda: refusals(gateway, "stored") == 4, 5, "four are kept")
    assert refusals(gateway, "counted") == 6
    assert s.postgres.query("SELECT string_agg(slot::text, ',' ORDER BY at) FROM signup_attempts") == "999998,999999,0,1"
    s.postgres.query("ALTER SEQUENCE signup_attempts_slot RESTART 999998")
    s.postgres.query("UPDATE signup_attempts SET at = now() - interval '31 days' WHERE slot = 0")
    gateway.settings["auth"]["refusal_samples"] = 6000
    gateway.write()
    gateway.ctl("reload")
    with s.app(gateway) as app:
        assert app.ask_code(mainland_phone()).status_code == 403
    wait_until(lambda: s.postgres.query("SELECT stands_for FROM signup_attempts WHERE slot = 999998") == "7", 5,
               "the newest takes the oldest place, and stands for those that were only counted")
    assert s.postgres.query("SELECT signup_purge_refusals(10), (SELECT count(*) FROM signup_attempts WHERE slot = 0)") == "1|1"
    assert s.postgres.query("SELECT count(*) FROM signup_attempts WHERE effect = 'deny'") == "3"


# --- people inside --------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["mainland-phone-only", "closed"])
def test_existing_users_are_never_affected(pair, a, b, preset):
    abroad = hong_kong_phone()
    first = a.sign_up(abroad)
    put(pair, preset)
    pair.resend_time_passes()
    for more in ({}, {"create_user": False}, {"create_user": True}):
        seen = len(pair.outbox.messages(abroad))
        assert b.ask_code(abroad, **more).status_code == 200, more
        again = b.verify(abroad, pair.wait_for_code(abroad, seen))
        assert again.status_code == 200, again.text
        assert again.json()["user"]["id"] == first["user"]["id"]
        assert again.json()["is_new_user"] is False
        pair.resend_time_passes()
    assert a.refresh().status_code == 200
    a.session = a.refresh().json()
    assert a.user().status_code == 200
    assert a.http.post("/auth/v1/logout", headers=a.bearer()).status_code == 204


def test_create_user_false_always_answers_alike(pair, a):
    put(pair, "mainland-phone-only")
    unknown = hong_kong_phone()
    answer = a.ask_code(unknown, create_user=False)
    assert answer.status_code == 200
    time.sleep(0.3)
    assert pair.outbox.messages(unknown) == []


def test_asking_who_has_an_account_is_bounded(own_stack):
    """Denied numbers tell whether they have an account: by rule signup_denied, a few times an address and no more."""
    s = own_stack
    s.start_servers()
    settings = s.settings()
    settings["limits"]["rules"] = [rule for rule in settings["limits"]["rules"] if rule["name"] != "signup_denied"] + [
        {"name": "signup_denied", "by": "address", "at": "signup_denied", "limit": "3/1h"}]
    gateway = s.start_gateway(settings)
    known = hong_kong_phone()
    with s.app(gateway) as app:
        app.sign_up(known)
        put(s, "mainland-phone-only")
        s.resend_time_passes()
        assert [app.ask_code(hong_kong_phone()).status_code for _ in range(3)] == [403, 403, 403]
        for phone in (hong_kong_phone(), known):
            refused = app.ask_code(phone)
            assert (refused.status_code, code_of(refused)) == (429, "over_request_rate_limit")
        assert app.ask_code(mainland_phone()).status_code == 200  # whom the policy allows is not meant
        assert app.ask_code(known, create_user=False).status_code == 200


# --- operators ------------------------------------------------------------------------------------------


def test_is_audited_and_told_to_the_public_in_one_step(pair):
    done = put(pair, "mainland-phone-only", reason="registrations flooded")
    row = pair.postgres.query(f"SELECT action, reason, actor <> '' FROM audit WHERE target = 'policy/{done['version']}'")
    assert row == "policy.set|registrations flooded|t"
    notice = json.loads(pair.postgres.query("SELECT body FROM status_notices WHERE kind = 'signup_policy'"
                                            " ORDER BY id DESC LIMIT 1"))
    assert notice["state"] == "restricted" and notice["policy_version"] == done["version"]
    assert set(notice["messages"]) == {"en", "zh-Hans", "zh-Hant"}


def test_documents_are_refused_with_their_path(pair, tmp_path):
    before = signup(pair.gateways[0])["policy_version"]
    good = {"name": "t", "rules": [], "default": {"effect": "allow"}, "existing_users": "unaffected"}
    for change, path in (({"odd": 1}, "$.odd"), ({"default": {"effect": "deny"}}, "$.default"),
                         ({"existing_users": "signed out"}, "$.existing_users"),
                         ({"rules": [{"id": "x", "when": {"ip": ["::1"]}, "effect": "allow"}]}, "$.rules[0].when.ip")):
        file = tmp_path / "policy.json"
        file.write_text(json.dumps({**good, **change}))
        done = pair.gateways[0].ctl("policy", "set", "-f", str(file), "--reason", "t", check=False)
        assert done.returncode == 1 and path in done.stderr, done.stderr
    assert signup(pair.gateways[0])["policy_version"] == before


def test_own_document_stale_version_and_rollback(pair, a, tmp_path):
    file = tmp_path / "policy.json"
    file.write_text(json.dumps({
        "name": "no-virtual", "existing_users": "unaffected", "default": {"effect": "allow"},
        "rules": [{"id": "virtual", "when": {"phone_virtual": True}, "effect": "deny", "reason": "signup_disabled"}]}))
    first = put(pair, "-f", str(file))
    refused = a.ask_code("+86170" + mainland_phone()[-8:])
    assert code_of(refused) == "signup_disabled"
    assert a.ask_code(mainland_phone()).status_code == 200
    stale = pair.gateways[0].ctl("policy", "set", "closed", "--confirm=closed", "--reason", "t", "--if-version", str(first["version"] - 1), check=False)
    assert stale.returncode == 6, stale.stderr
    put(pair, "closed")
    pair.gateways[1].ctl("policy", "rollback", str(first["version"]), "--reason", "too strict")
    wait_until(lambda: signup(pair.gateways[0])["policy"] == "no-virtual", 1.5, "the rollback arrives")
    history = json.loads(pair.gateways[0].ctl("-o", "json", "policy", "history").stdout)["items"]
    assert [v["name"] for v in history[:3]] == ["no-virtual", "closed", "no-virtual"]


# --- failures -------------------------------------------------------------------------------------------


def test_last_known_policy_stands_across_a_restart_without_database(own_stack):
    s = own_stack
    s.start_servers()
    gateway = s.start_gateway()
    put(s, "mainland-phone-only")
    s.postgres.kill()
    assert gateway.process.stop() == 0
    gateway.start()  # ready: it has a policy
    assert signup(gateway)["policy"] == "mainland-phone-only"
    with s.app(gateway) as app:
        answer = app.ask_code(hong_kong_phone())
        assert answer.status_code == 503 and code_of(answer) == "database_unavailable"
    s.postgres.start()
    wait_until(lambda: gateway.ctl("policy", "history", check=False).returncode == 0, 60, "the database is back")
    assert json.loads(gateway.ctl("-o", "json", "policy", "get").stdout)["name"] == "mainland-phone-only"
    put(s, "open")
