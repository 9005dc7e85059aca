"""What operators do to people who have an account: bans, and signing everybody out; as the people meet it, on every gateway."""
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import jwt
import pytest
from supabase_auth import SyncGoTrueClient
from supabase_auth.errors import AuthApiError

from tide.client import code_of, mainland_phone
from tide.process import wait_until
from tide.stack import APIKEY
from tide.tokens import Issuer


def era(session: dict) -> int:
    return jwt.decode(session["access_token"], options={"verify_signature": False}).get("era", 0)


def models(stack, gateway, token: str) -> httpx.Response:
    """On /v1 nobody asks the database."""
    with stack.app(gateway) as one:
        return one.http.get("/v1/models", headers={"authorization": f"Bearer {token}"})


def refused_everywhere(stack, token: str) -> None:
    for gateway in stack.gateways:
        wait_until(lambda: models(stack, gateway, token).status_code == 401, 10, "the token is refused", every=0.05)
        assert models(stack, gateway, token).json()["error"]["code"] == "session_expired"


def supabase(stack) -> SyncGoTrueClient:
    return SyncGoTrueClient(url=stack.gateways[1].url + "/auth/v1", http_client=httpx.Client(verify=str(stack.ca)),
                            auto_refresh_token=False, headers={"apikey": APIKEY, "Authorization": f"Bearer {APIKEY}"})


def banned_until(stack, user: str) -> str | None:
    found = stack.gateways[0].ctl("get", "users", "--user", user, "-o", "json").stdout
    return json.loads(found)["items"][0]["banned_until"]


def test_a_ban_keeps_its_user_out_until_it_is_lifted(pair, a, b):
    phone, client = mainland_phone(), supabase(pair)
    session = a.sign_up(phone)
    user = session["user"]["id"]
    other = b.sign_up()
    assert models(pair, pair.gateways[1], session["access_token"]).status_code == 200
    done = pair.gateways[0].ctl("ban", "user", user, "--ttl", "24h", "--reason", "spam")
    assert done.stdout == f"user/{user} banned\n"
    refused_everywhere(pair, session["access_token"])
    for app in (a, b):
        answer = app.refresh(session["refresh_token"])
        assert (answer.status_code, code_of(answer)) == (403, "user_banned")
    with pytest.raises(AuthApiError) as error:
        client.refresh_session(session["refresh_token"])
    assert error.value.code == "user_banned"
    pair.resend_time_passes()
    client.sign_in_with_otp({"phone": phone})
    code = pair.outbox.wait_for_code(phone, seen=1)
    with pytest.raises(AuthApiError) as error:
        client.verify_otp({"phone": phone, "token": code, "type": "sms"})
    assert error.value.code == "user_banned"
    assert b.refresh(other["refresh_token"]).status_code == 200
    assert user in pair.gateways[1].ctl("get", "users", "--banned").stdout
    pair.gateways[1].ctl("unban", "user", user, "--reason", "appeal")
    assert banned_until(pair, user) is None
    assert code_of(a.refresh(session["refresh_token"])) == "session_not_found"  # no session comes back
    pair.resend_time_passes()
    again = a.sign_up(phone)
    assert again["user"]["id"] == user and models(pair, pair.gateways[1], again["access_token"]).status_code == 200


def test_a_ban_ends_by_itself(pair, a):
    phone = mainland_phone()
    user = a.sign_up(phone)["user"]["id"]
    pair.gateways[0].ctl("ban", "user", user, "--until", "2099-01-01T08:00:00+08:00", "--reason", "t")
    assert banned_until(pair, user) == "2099-01-01T00:00:00.000Z"
    pair.gateways[0].ctl("ban", "user", user, "--reason", "for good")
    assert banned_until(pair, user) == "infinity"
    pair.postgres.query(f"UPDATE users SET banned_until = now() - interval '1 s' WHERE id = '{user}'")
    pair.resend_time_passes()
    assert a.sign_up(phone)["user"]["id"] == user


def test_a_ban_by_plain_sql_is_one(pair, a):
    session = a.sign_up()
    pair.postgres.query(f"UPDATE users SET banned_until = 'infinity' WHERE id = '{session['user']['id']}'")
    refused_everywhere(pair, session["access_token"])
    assert code_of(a.refresh()) == "user_banned"


@pytest.mark.parametrize("body, word", [
    ({"reason": "t", "until": "soon"}, "until"), ({"reason": "t", "until": "2001-01-01T00:00:00Z"}, "over"), ({"reason": "t", "until": ""}, "until"),
    ({"reason": "t", "until": "1926-12-01T09:00:00Z"}, "until"), ({"until": "2099-01-01T00:00:00Z"}, "reason"),
    ({"reason": "t", "ttl_s": 0}, "ttl_s"), ({"reason": "t", "ttl_s": -1}, "ttl_s"), ({"reason": "t", "ttl_s": 1 << 62}, "ttl_s"),
    ({"reason": "t", "ttl_s": 60, "until": "2099-01-01T00:00:00Z"}, "either"), ({"reason": "t", "ban_duration": "24h"}, "ban_duration")])
def test_odd_bans_are_refused_by_name(pair, a, body, word):
    session = a.sign_up()
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(pair.gateways[0].socket)), base_url="http://admin") as http:
        answer = http.post(f"/admin/v1/users/{session['user']['id']}/ban", json=body)
    assert answer.status_code in (400, 422) and word in answer.text, answer.text
    assert a.refresh().status_code == 200


def test_everybody_is_signed_out_at_once(own_stack, tmp_path):
    s, other = own_stack, Issuer(tmp_path)
    s.start_servers()
    s.start_scripted()
    for _ in range(2):
        s.start_gateway({**s.settings(), "issuers": [other.settings()]})
    began, gone = threading.Event(), threading.Event()

    def speak_until_the_client_goes(exchange):
        exchange.start_stream()
        exchange.delta(role="assistant", content="")
        exchange.delta(content="The tide")
        began.set()
        exchange.wait_gone(10)
        gone.set()

    s.scripted.behave = speak_until_the_client_goes
    foreign = other.token()
    with s.app(s.gateways[0]) as here, s.app(s.gateways[1]) as there:
        first, second = here.sign_up(), there.sign_up()
        assert era(first) == 0
        told = s.postgres.query("SELECT count(*) FROM revocations")
        with ThreadPoolExecutor(1) as pool, pytest.raises(httpx.HTTPError), there.stream(model="m") as answer:
            reading = pool.submit(lambda: list(answer.iter_lines()))
            assert began.wait(10)
            assert "everybody" in s.gateways[0].ctl("revoke", "everybody", "--reason", "t", check=False).stderr  # wants to be confirmed
            assert here.user().status_code == 200
            s.gateways[0].ctl("revoke", "everybody", "--confirm=everybody", "--reason", "a proxy logged tokens")
            assert gone.wait(5)  # the worker was told to stop
            reading.result(5)
        for session in (first, second):
            refused_everywhere(s, session["access_token"])
            for app in (here, there):
                answer = app.refresh(session["refresh_token"])
                assert (answer.status_code, code_of(answer)) == (403, "session_not_found")
        assert s.postgres.query("SELECT count(*) FROM revocations") == told  # one number for all
        assert {models(s, gateway, foreign).status_code for gateway in s.gateways} == {200}  # not ours to sign out
        new = here.sign_up()  # at once, in the same second
        assert era(new) > 0 and era(there.refresh(new["refresh_token"]).json()) == era(new)
        assert {models(s, gateway, new["access_token"]).status_code for gateway in s.gateways} == {200}
        assert here.user().status_code == 200
    # A gateway that starts without the database knows it.
    state = s.gateways[0].folder / "state" / "ended-sessions"
    wait_until(lambda: f"era {era(new)}" in state.read_text(), 10, "the era is on disk")
    s.gateways[0].process.stop()
    s.postgres.kill()
    s.gateways[0].start()
    assert models(s, s.gateways[0], first["access_token"]).status_code == 401
    assert models(s, s.gateways[0], new["access_token"]).status_code == 200
    # A database that has lost it, in a failover, is right: nobody would come in by tokens of its era.
    s.postgres.start()
    wait_until(lambda: s.gateways[0].metric("tidegate_database_up") == 1, 30, "the database is seen")
    s.postgres.query("UPDATE versions SET everybody = 0")
    wait_until(lambda: models(s, s.gateways[0], first["access_token"]).status_code == 200, 10, "the database's era")
