"""Two gateways that share one Redis and one PostgreSQL behave as one, by turns and all at once. What each of
them owes the other is in test_accounts, test_policy and test_limits."""
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from tide.client import mainland_phone
from tide.stack import MODEL


def accounts(stack) -> int:
    return int(stack.postgres.query("SELECT count(*) FROM users"))


def test_two_gateways_serve_one_person_by_turns(own_pair):
    s = own_pair
    phone = mainland_phone()
    with s.app(s.gateways[0]) as a, s.app(s.gateways[1]) as b:
        assert a.ask_code(phone).status_code == 200
        early = b.ask_code(phone)
        assert (early.status_code, early.json()["code"]) == (429, "over_sms_send_rate_limit")
        code = s.outbox.wait_for_code(phone)
        b.session = b.verify(phone, code).json()
        assert a.verify(phone, code).json()["code"] == "otp_expired"
        a.session = a.refresh(b.session["refresh_token"]).json()
        assert a.session["user"]["id"] == b.session["user"]["id"]
        b.session = a.session
        assert a.chat(max_tokens=1).status_code == b.chat(max_tokens=1).status_code == 200
        s.gateways[0].process.kill()  # the other one goes on with what was begun here
        b.session = b.refresh().json()
        assert b.user().json()["id"] == a.session["user"]["id"]


@pytest.mark.tsan
def test_many_things_at_once(own_pair):
    """Sign-ups, refreshes, chats, reloads and policy changes side by side; nothing but the expected answers."""
    odd = Counter()

    def live(i: int) -> None:
        with own_pair.app(own_pair.gateways[i % 2], http2=i % 3 != 0) as app:
            app.sign_up()
            for _ in range(3):
                for answer in (app.chat("Hi.", max_tokens=2), app.refresh(), app.user()):
                    if answer.status_code != 200:
                        odd[(str(answer.url.path), answer.status_code)] += 1
                    elif "refresh_token" in answer.text:
                        app.session = answer.json()
            app.http.post("/auth/v1/logout", headers=app.bearer())

    with ThreadPoolExecutor(8) as pool:
        lives = [pool.submit(live, i) for i in range(16)]
        for _ in range(4):
            for gateway in own_pair.gateways:
                assert gateway.ctl("reload").returncode == 0
                gateway.metrics()
            own_pair.gateways[0].ctl("policy", "set", "open", "--reason", "again")
            time.sleep(0.5)
        for done in lives:
            done.result(120)
    assert not odd, odd
    assert accounts(own_pair) == 16
    assert MODEL in own_pair.gateway.ctl("get", "workers").stdout
