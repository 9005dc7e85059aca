"""The waiting list: a place without proof, nothing told about other people's numbers, released by one gateway, told once."""
import base64
import concurrent.futures
import contextlib
import json
import re
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from tide.client import code_of, mainland_phone
from tide.process import wait_until
from tide.stack import APIKEY


@pytest.fixture(scope="module", autouse=True)
def waitlist(pair):
    put(pair, "waitlist")
    yield
    put(pair, "open")


@pytest.fixture(autouse=True)
def nobody_waits(pair):
    """Each test begins with an empty line. The state comes first: a gateway that counts has it locked."""
    pair.postgres.query("UPDATE waitlist_state SET head = NULL, passed = (SELECT last_value FROM waitlist_seq);"
                        " DELETE FROM waitlist; DELETE FROM waitlist_left; DELETE FROM waitlist_blocks")


def put(stack, *words: str) -> None:
    done = json.loads(stack.gateways[0].ctl("-o", "json", "policy", "set", *words, "--reason", "test").stdout)
    headers = {"apikey": APIKEY}
    wait_until(lambda: all(g.get("/auth/v1/settings", headers=headers).json()["signup"]["policy_version"] == done["version"]
                           for g in stack.gateways), 30, "the policy on every gateway")


def join(app, phone: str | None = None, **more) -> dict:
    answer = app.http.post("/auth/v1/waitlist", json={"phone": phone or mainland_phone()}, **more)
    assert answer.status_code == 202, answer.text
    return answer.json()


def place(app, ticket: str) -> dict:
    answer = app.http.get("/auth/v1/waitlist", params={"ticket": ticket})
    assert answer.status_code == 200, answer.text
    return answer.json()


def release(gateway, *words: str) -> int:
    return json.loads(gateway.ctl("waitlist", "release", *words, "--reason", "test", "-o", "json").stdout)["released"]


@contextlib.contextmanager
def waitlist_ttl(gateway, app, ttl: str):
    """Another auth.waitlist_ttl, which is under a minute, for a while."""
    def reload(is_in_force) -> None:
        gateway.write()
        gateway.process.send(signal.SIGHUP)
        wait_until(lambda: is_in_force(join(app)["expires_at"] - time.time()), 30, "the reload is done")
    gateway.settings["auth"]["waitlist_ttl"] = ttl
    reload(lambda left: left < 60)
    try:
        yield
    finally:
        del gateway.settings["auth"]["waitlist_ttl"]
        reload(lambda left: left > 3600)


def notices(stack, phone: str) -> list[dict]:
    return [message for message in stack.outbox.messages(phone) if message["code"] == ""]


def messages_accounted(stack) -> float:
    return sum(gateway.metric('tidegate_sms_messages_total{provider="sms"}') for gateway in stack.gateways)


# --- a place -------------------------------------------------------------------------------------------------


def test_from_the_line_to_an_account(pair, a, b):
    first, second = mainland_phone(), mainland_phone()
    refused = a.ask_code(first)
    assert (refused.status_code, code_of(refused)) == (403, "signup_waitlisted")
    assert refused.json()["waitlist"] == {"position": 1, "join": "/auth/v1/waitlist"}
    assert refused.json()["login_unaffected"] is True and pair.outbox.messages(first) == []
    one, two = join(a, first), join(b, second)
    assert (one["status"], one["position"], two["position"]) == ("waiting", 1, 2)
    assert place(b, one["ticket"])["position"] == 1 and place(a, two["ticket"])["position"] == 2
    assert code_of(a.ask_code(first)) == "signup_waitlisted"  # a place is no account yet
    before = messages_accounted(pair)
    assert release(pair.gateways[1], "1") == 1
    assert place(a, one["ticket"])["status"] == "released" and place(a, two["ticket"])["position"] == 1
    wait_until(lambda: len(notices(pair, first)) == 1, 60, "the message arrives")
    wait_until(lambda: messages_accounted(pair) > before, 30, "what it cost is counted")
    assert code_of(b.ask_code(second)) == "signup_waitlisted"
    pair.resend_time_passes()
    asked = b.ask_code(first)
    assert asked.status_code == 200, asked.text
    answer = a.verify(first, pair.outbox.wait_for_code(first, 1))
    assert answer.status_code == 200 and answer.json()["is_new_user"] is True
    assert place(a, one["ticket"])["status"] == "joined"
    row = pair.postgres.query("SELECT policy_rule, waitlist_id IS NOT NULL FROM users WHERE id = '"
                              + answer.json()["user"]["id"] + "'")
    assert row == "default|t"
    assert len(notices(pair, first)) == 1 and notices(pair, second) == []


@pytest.mark.parametrize("accept,words", [("en", "waiting list"), ("zh-CN", "目前注册需要排队"), ("zh-TW", "目前註冊需要排隊")])
def test_refusals_and_messages_speak_the_callers_language(pair, a, accept, words):
    phone = mainland_phone()
    refused = a.http.post("/auth/v1/otp", json={"phone": phone}, headers={"accept-language": accept})
    assert words in refused.json()["message"]
    join(a, phone, headers={"accept-language": accept})
    assert release(pair.gateways[0], "10") == 1
    wait_until(lambda: notices(pair, phone), 60, "the message arrives")
    said = notices(pair, phone)[0]["text"]
    assert {"en": "sign up now", "zh-CN": "已轮到您", "zh-TW": "已輪到您"}[accept] in said


def test_nothing_is_told_about_other_peoples_numbers(pair, a, b):
    """A number with an account, one with a place, and a new one: the same answers, the place of a newcomer."""
    put(pair, "open")
    known, listed = mainland_phone(), mainland_phone()
    a.sign_up(known)
    put(pair, "waitlist")
    ticket = join(a, listed)["ticket"]
    for _ in range(3):
        join(a)
    answers = [join(b, phone) for phone in (known, known, listed, listed, mainland_phone(), mainland_phone())]
    assert [answer["position"] for answer in answers] == [5, 6, 7, 8, 9, 10], "each moves the next one"
    assert all(set(answer) == set(answers[0]) and len(answer["ticket"]) == len(answers[0]["ticket"]) for answer in answers)
    assert [place(a, answer["ticket"])["position"] for answer in answers] == [5, 6, 7, 8, 9, 10]
    assert place(a, ticket)["position"] == 1  # the real place stands
    assert pair.postgres.query("SELECT count(*) FROM waitlist") == "6"


def drawn_s(ticket: str) -> int:
    """When a ticket was drawn, which everybody can read in it."""
    raw = base64.urlsafe_b64decode(ticket[3:] + "=" * (-len(ticket[3:]) % 4))
    return int.from_bytes(raw[1:7], "big") // 1000


def test_an_end_is_shown_by_the_ticket_alone(pair, a):
    """A number with a place and new ones, at a fraction of a second that a row would round up."""
    listed = mainland_phone()
    join(a, listed)
    joined = [join(a, listed if i % 2 else None) for i in range(20)]
    pair.postgres.query("UPDATE waitlist SET expires_at = to_timestamp(floor(extract(epoch FROM expires_at)) + .7)")
    shown = [place(a, answer["ticket"]) for answer in joined]
    assert {p["status"] for p in shown} == {"waiting"}
    assert len({p["expires_at"] - drawn_s(answer["ticket"]) for p, answer in zip(shown, joined)}) == 1
    assert [p["expires_at"] for p in shown] == [answer["expires_at"] for answer in joined]


def test_another_ttl_tells_nothing_about_earlier_tickets(pair, a):
    """A place that ended by its row's time, and a ticket without a row, are shown alike whatever is configured since."""
    listed = mainland_phone()
    join(a, listed)
    joined = [join(a), join(a, listed)]
    pair.postgres.query("UPDATE waitlist SET expires_at = now() - interval '1 s'")
    with waitlist_ttl(pair.gateways[0], a, "1s"):
        shown = [place(a, answer["ticket"]) for answer in joined]
        short = [join(a), join(a, listed)]
    for answer in short:
        wait_until(lambda: place(a, answer["ticket"]) == {"status": "expired"}, 30, "its own time is over")
    assert [(p["status"], p["expires_at"]) for p in shown] == [("waiting", answer["expires_at"]) for answer in joined]


def test_only_who_named_a_number_first_learns_what_became_of_it(pair, a, b):
    phone = mainland_phone()
    mine = join(a, phone)["ticket"]
    pair.postgres.query("UPDATE waitlist SET expires_at = expires_at - interval '1 day'")
    others, new = join(b, phone)["ticket"], join(b)["ticket"]
    shown = [place(b, ticket) for ticket in (others, new)]
    assert {p["status"] for p in shown} == {"waiting"} and abs(shown[0]["expires_at"] - shown[1]["expires_at"]) < 3600, "not since when it waits"
    assert release(pair.gateways[0], "1") == 1
    assert place(a, mine)["status"] == "released" and place(b, others)["status"] == "waiting"
    pair.resend_time_passes()
    a.sign_up(phone)
    assert place(a, mine)["status"] == "joined" and place(b, others)["status"] == "waiting"


def leave(app, ticket: str) -> None:
    answer = app.http.delete("/auth/v1/waitlist", params={"ticket": ticket})
    assert (answer.status_code, answer.content) == (204, b""), answer.text


def test_a_place_is_given_up_by_the_ticket_it_came_with(pair, a, b):
    first, second = mainland_phone(), mainland_phone()
    mine, next_one = join(a, first)["ticket"], join(a, second)["ticket"]
    leave(b, mine)
    assert pair.postgres.query("SELECT count(*) FROM waitlist") == "1"
    assert place(a, next_one)["position"] == 2  # as it was: whoever knows the ticket before would learn that it had a place
    leave(a, mine)  # again: nothing more
    assert place(a, next_one)["status"] == "waiting"
    events = 'tidegate_waitlist_events_total{event="left"}'
    assert sum(g.metric(events) for g in pair.gateways) == 1
    # at the end, when they come again; and who has been released can leave as well
    again = join(a, first)
    assert again["position"] == 3
    assert release(pair.gateways[0], "2") == 2
    assert join(a)["position"] == 1
    leave(a, next_one)
    pair.resend_time_passes()
    assert code_of(a.ask_code(second)) == "signup_waitlisted"
    assert place(a, again["ticket"])["status"] == "released"


def test_who_named_a_number_first_cannot_take_its_place_away(pair, a, b):
    """A stranger was quicker than the number's owner, and gives up what the owner counts on."""
    phone = mainland_phone()
    strangers = join(b, phone)["ticket"]
    for owners in (join(a, phone)["ticket"], join(a, phone)["ticket"]):
        leave(b, strangers)
        leave(a, owners)
    assert place(a, owners)["status"] == place(b, strangers)["status"] == "waiting"
    assert release(pair.gateways[0], "1") == 1
    wait_until(lambda: len(notices(pair, phone)) == 1, 60, "the owner is told")
    leave(b, strangers)
    pair.resend_time_passes()
    a.sign_up(phone)
    assert place(b, strangers)["status"] == "joined"
    # a place that is over is nobody's: whoever joins then is the only one again
    phone = mainland_phone()
    for _ in range(2):
        join(b, phone)
    pair.postgres.query("UPDATE waitlist SET expires_at = now()")
    leave(a, join(a, phone)["ticket"])
    assert pair.postgres.query("SELECT count(*) FROM waitlist WHERE state = 'waiting'") == "0"


def test_giving_up_tells_nothing_about_a_number(pair, a, b):
    """A stranger joins and leaves with a number that has an account, one that waits, and a new one."""
    put(pair, "open")
    known, listed = mainland_phone(), mainland_phone()
    a.sign_up(known)
    put(pair, "waitlist")
    join(a, listed)
    tickets = [join(b, phone)["ticket"] for phone in (known, listed, mainland_phone())]
    for ticket in tickets:
        leave(b, ticket)
    shown = [place(b, ticket) for ticket in tickets]
    assert [(p["status"], p["position"]) for p in shown] == [("waiting", 2), ("waiting", 3), ("waiting", 4)]
    assert join(b)["position"] == 5
    assert a.http.delete("/auth/v1/waitlist", params={"ticket": "wl_x"}).status_code == 400
    assert a.http.delete("/auth/v1/waitlist").status_code == 400


def counted_again(stack) -> None:
    """As a gateway does it every ten seconds; whoever is at it is waited for."""
    stack.postgres.query("UPDATE waitlist_state SET tended_at = '-infinity'; SELECT waitlist_tend('0 s', 5000)")


def crowd(stack, count: int, country: str = "CN") -> None:
    stack.postgres.query("INSERT INTO waitlist (id, seq, subject_hash, subject_key, subject_enc, country, lang, expires_at)"
                         " SELECT gen_random_uuid(), s, sha256(('x' || s)::bytea), '1', '', '" + country + "', 'en',"
                         f" now() + interval '1 day' FROM (SELECT nextval('waitlist_seq') AS s FROM generate_series(1, {count})) n")


def test_giving_up_moves_nobody(pair, a, b):
    """Who stands behind does not see that they had a place: the first of all, and one in another block."""
    first = join(b)["ticket"]
    crowd(pair, 1000, "HK")
    middle = join(b)["ticket"]
    crowd(pair, 4100)
    last = join(a)["ticket"]
    counted_again(pair)
    before = place(a, last)["position"]
    assert before == 5103
    for ticket in (first, middle):
        leave(b, ticket)
        counted_again(pair)
        assert place(a, last)["position"] == before
    wait_until(lambda: all(g.metric("tidegate_waitlist_waiting") == 5101 for g in pair.gateways), 60, "the gauge counts people")
    # the line passes them
    assert release(pair.gateways[0], "1", "--phone-country", "HK") == 1
    counted_again(pair)
    assert place(a, last)["position"] == before - 2 and pair.postgres.query("SELECT count(*) FROM waitlist_left") == "1"
    # or their time does
    pair.postgres.query("UPDATE waitlist_left SET expires_at = now()")
    counted_again(pair)
    assert pair.postgres.query("SELECT count(*) FROM waitlist_left") == "0"


def test_tickets_cannot_be_made_up(a):
    good = join(a)["ticket"]
    other = "A" if good[20] != "A" else "B"
    for ticket in (good[:20] + other + good[21:], good[:-2], good + "A", good.replace("wl_", "rt_"), "", "wl_", "wl_" + "A" * 55,
                   "'", "\x00", "9" * 500):
        refused = a.http.get("/auth/v1/waitlist", params={"ticket": ticket})
        assert (refused.status_code, code_of(refused)) == (400, "waitlist_ticket_invalid"), ticket
    assert a.http.get("/auth/v1/waitlist").status_code == 400


@pytest.mark.parametrize("body,field", [({}, "phone"), ({"phone": 5}, "phone"), ({"phone": "+8619412345678"}, "phone"),
                                        ({"phone": "+8613800138000", "odd": 1}, "odd"),
                                        ({"phone": "+8613800138000", "gotrue_meta_security": 5}, "gotrue_meta_security")])
def test_malformed_joins_are_named(a, body, field):
    refused = a.http.post("/auth/v1/waitlist", json=body)
    assert refused.status_code == 400 and refused.json()["field"] == field, refused.text


def test_only_whom_the_policy_puts_on_the_list(pair, a, tmp_path):
    file = tmp_path / "policy.json"
    file.write_text(json.dumps({"name": "t", "existing_users": "unaffected", "default": {"effect": "waitlist"}, "rules": [
        {"id": "mainland", "when": {"phone_country": ["CN"]}, "effect": "allow"},
        {"id": "macau", "when": {"phone_country": ["MO"]}, "effect": "deny", "reason": "signup_region_not_allowed"}]}))
    put(pair, "-f", str(file))
    try:
        for phone, status, code in (("+8613800138000", 409, "waitlist_not_needed"), ("+85366123456", 403, "signup_region_not_allowed")):
            refused = a.http.post("/auth/v1/waitlist", json={"phone": phone})
            assert (refused.status_code, code_of(refused)) == (status, code)
        join(a, "+85251234567")
        assert release(pair.gateways[0], "1") == 1
        put(pair, "closed", "--confirm=closed")  # a release is no way around a denial
        assert code_of(a.ask_code("+85251234567")) == "signup_closed"
    finally:
        put(pair, "waitlist")


def test_behind_a_cap_the_line_may_be_joined(pair, a, tmp_path):
    file = tmp_path / "policy.json"
    file.write_text(json.dumps({"name": "t", "existing_users": "unaffected", "default": {"effect": "waitlist"}, "rules": [
        {"id": "few", "when": {"phone_country": ["CN"]}, "effect": "allow", "caps": {"per_day": 1}}]}))
    put(pair, "-f", str(file))
    try:
        phone = mainland_phone()
        assert a.ask_code(phone).status_code == 200
        assert a.verify(phone, pair.outbox.wait_for_code(phone)).status_code == 200
        late = mainland_phone()
        assert code_of(a.ask_code(late)) == "signup_waitlisted"
        assert join(a, late)["position"] == 1
    finally:
        put(pair, "waitlist")


def test_an_invite_jumps_the_line(pair, a):
    phone = mainland_phone()
    ticket = join(a, phone)["ticket"]
    code = json.loads(pair.gateways[0].ctl("invite", "create", "--reason", "t", "-o", "json").stdout)["items"][0]["code"]
    assert a.ask_code(phone, data={"invite": code}).status_code == 200
    assert a.verify(phone, pair.outbox.wait_for_code(phone)).status_code == 200
    assert place(a, ticket)["status"] == "joined"
    assert release(pair.gateways[0], "5") == 0


# --- releases --------------------------------------------------------------------------------------------------


@pytest.mark.tsan
def test_two_gateways_release_at_once_and_nobody_twice(pair, a):
    phones = [mainland_phone() for _ in range(40)]
    for phone in phones:
        join(a, phone)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        released = list(pool.map(lambda i: release(pair.gateways[i % 2], "3"), range(8)))
    assert released == [3] * 8
    rows = pair.postgres.query("SELECT string_agg(state, ',' ORDER BY seq) FROM waitlist").split(",")
    assert rows == ["released"] * 24 + ["waiting"] * 16  # in order, without a gap
    wait_until(lambda: all(notices(pair, phone) for phone in phones[:24]), 90, "all are told")
    assert [len(notices(pair, phone)) for phone in phones] == [1] * 24 + [0] * 16
    audited = pair.postgres.query("SELECT count(*), sum((detail->>'released')::int) FROM audit WHERE action = 'waitlist.release'"
                                  " AND at > now() - interval '1 minute' AND detail->>'asked' = '3'")
    assert audited == "8|24"


def test_release_by_rule(pair, a, tmp_path):
    for phone in ("+85251234001", mainland_phone(), "+85251234002", mainland_phone()):
        join(a, phone)
    g = pair.gateways[0]
    pair.postgres.query("UPDATE waitlist SET joined_at = joined_at - interval '1 day' WHERE seq < (SELECT max(seq) FROM waitlist)")
    assert release(g, "100", "--phone-country", "CN", "--joined-before", pair.postgres.query(
        "SELECT to_char(now() AT TIME ZONE 'UTC' - interval '1 hour', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')")) == 1
    assert pair.postgres.query("SELECT string_agg(country || ' ' || state, ',' ORDER BY seq) FROM waitlist") == (
        "HK waiting,CN released,HK waiting,CN waiting")
    assert release(g, "1", "--phone-country", "HK") == 1
    listed = json.loads(g.ctl("get", "waitlist", "-o", "json").stdout)["items"]
    assert [(item["position"], item["country"]) for item in listed] == [(1, "HK"), (2, "CN")]
    assert all(re.fullmatch(r"\+\d+\*{4}\d{4}", item["phone"]) for item in listed)
    status = json.loads(g.ctl("waitlist", "status", "-o", "json").stdout)
    assert (status["waiting"], status["released"]) == (2, 2)
    for words, code in ((("0",), 2), (("x",), 2), (("20001",), 1), (("1", "--phone-country", "China"), 1),
                        (("1", "--joined-before", "soon"), 1), (("1", "--ttl", "1s"), 1)):
        done = g.ctl("waitlist", "release", *words, "--reason", "t", check=False)
        assert done.returncode == code and done.stderr, words
    assert g.ctl("waitlist", "release", "1", check=False).returncode == 2  # why?


def test_places_and_releases_end(pair, a):
    phone = mainland_phone()
    join(a, phone)
    pair.postgres.query("UPDATE waitlist SET expires_at = now()")
    assert release(pair.gateways[0], "1") == 0
    wait_until(lambda: pair.postgres.query("SELECT state FROM waitlist") == "expired", 60, "a gateway ends it")
    again = join(a, phone)["ticket"]
    assert place(a, again)["position"] == 1
    assert release(pair.gateways[0], "1", "--ttl", "10m") == 1
    wait_until(lambda: len(notices(pair, phone)) == 1, 60, "the message arrives")
    assert a.ask_code(phone).status_code == 200
    sms = pair.outbox.wait_for_code(phone, 1)
    pair.postgres.query("UPDATE waitlist SET expires_at = now()")
    refused = a.verify(phone, sms)  # too late: decided again when the account is made
    assert (refused.status_code, code_of(refused)) == (403, "signup_waitlisted")
    wait_until(lambda: pair.postgres.query("SELECT state FROM waitlist") == "expired", 60, "a gateway ends it")
    assert join(a, phone)["position"] == 1
    assert pair.postgres.query("SELECT state FROM waitlist") == "waiting"


def test_positions_far_back_are_counted_by_blocks(pair, a):
    """10,000 people: blocks and the places at the end give the exact place once a gateway has counted."""
    crowd(pair, 10000)
    ticket = join(a)["ticket"]
    wait_until(lambda: place(a, ticket)["position"] == 10001, 60, "the whole line is seen")
    pair.postgres.query("DELETE FROM waitlist WHERE country = 'CN' AND subject_enc = '' AND seq % 2 = 0")
    pair.postgres.query("UPDATE waitlist_state SET tended_at = '-infinity'")
    # of the last block, up to 4096 places, nobody can see who has left
    wait_until(lambda: join(a)["position"] in range(5002, 5002 + 2048 + 100), 60, "counted again")
    for gateway in pair.gateways:
        wait_until(lambda: 5000 < gateway.metric("tidegate_waitlist_waiting") < 5100, 60, "the gauge")


# --- failures ---------------------------------------------------------------------------------------------------


class Receiver:
    """An SMS hook that keeps its callers waiting until it is opened."""

    def __init__(self):
        self.ids: list[str] = []
        self.open = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                assert body["type"] == "sms.waitlist_released" and "sms" not in body and body["data"]["expires_at"] > 0
                outer.ids.append(self.headers["webhook-id"])
                outer.open.wait(60)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.open.set()
        self.server.shutdown()


def test_a_gateway_that_dies_while_it_tells(own_stack):
    """kill -9 between the hook and the database: another gateway tells again, under the same id, and then nobody does."""
    s = own_stack
    s.start_servers()
    receiver = Receiver()
    try:
        for _ in range(2):
            settings = s.settings()
            settings["hooks"]["sms"] |= {"url": f"http://127.0.0.1:{receiver.server.server_port}/sms", "timeout": "30s", "tries": 1}
            settings["hooks"]["sms_deadline"] = "120s"
            s.start_gateway(settings)
        put(s, "waitlist")
        first, second = s.gateways
        with s.app(first) as app:
            join(app)
        assert release(second, "1") == 1
        wait_until(lambda: len(receiver.ids) == 1, 60, "somebody tells")
        teller = next(g for g in s.gateways if g.metric('tidegate_hook_tries_total{hook="sms"}') == 1)
        teller.process.kill()
        receiver.open.set()
        assert s.postgres.query("SELECT notified_at IS NULL AND notify_at > now() FROM waitlist") == "t"  # leased
        s.postgres.query("UPDATE waitlist SET notify_at = now()")  # the lease is over
        wait_until(lambda: s.postgres.query("SELECT notified_at IS NOT NULL FROM waitlist") == "t", 60, "the other one tells")
        assert len(receiver.ids) == 2 and len(set(receiver.ids)) == 1
        other = next(g for g in s.gateways if g is not teller)
        wait_until(lambda: other.metric('tidegate_waitlist_events_total{event="told"}') == 1, 60, "counted")
        assert json.loads(other.ctl("waitlist", "status", "-o", "json").stdout)["to_be_told"] == 0
    finally:
        receiver.close()


def test_messages_are_paced_over_all_gateways(own_pair):
    """Four a minute: two gateways and ten people, and after the first few the rest wait."""
    s = own_pair
    for gateway in s.gateways:
        gateway.settings["auth"]["waitlist_notices"] = 4
        gateway.write()
        gateway.ctl("reload")
    put(s, "waitlist")
    phones = [mainland_phone() for _ in range(10)]
    with s.app() as app:
        for phone in phones:
            join(app, phone)
    assert release(s.gateways[0], "10") == 10
    wait_until(lambda: any(notices(s, phone) for phone in phones), 60, "the first is told")
    began = s.postgres.query("SELECT min(notified_at) FROM waitlist")
    wait_until(lambda: s.postgres.query("SELECT count(notified_at) >= 2 FROM waitlist") == "t", 90, "another is told")
    told, minutes = s.postgres.query("SELECT count(notified_at), extract(epoch FROM max(notified_at) - '"
                                     + (began or "now") + "'::timestamptz) / 60 FROM waitlist").split("|")
    assert int(told) <= 2 + 4 * float(minutes)


def test_without_database_nothing_is_lost(own_stack):
    s = own_stack
    s.start_servers()
    gateway = s.start_gateway()
    put(s, "waitlist")
    with s.app(gateway) as app:
        ticket = join(app)["ticket"]
        s.postgres.kill()
        for answer in (app.http.post("/auth/v1/waitlist", json={"phone": mainland_phone()}),
                       app.http.get("/auth/v1/waitlist", params={"ticket": ticket})):
            assert (answer.status_code, code_of(answer)) == (503, "database_unavailable")
            assert int(answer.headers["retry-after"]) > 0
        assert app.ask_code(mainland_phone()).status_code == 503
        assert gateway.metric('tidegate_auth_code_requests_total{result="failed"}') == 1, "a failed look-up is a failed request"
        assert gateway.ctl("waitlist", "release", "1", "--reason", "t", check=False).returncode == 7
        s.postgres.start()
        wait_until(lambda: app.http.get("/auth/v1/waitlist", params={"ticket": ticket}).status_code == 200, 60, "it is back")
        assert place(app, ticket)["position"] == 1
        assert release(gateway, "1") == 1


def test_joining_is_limited(own_stack):
    s = own_stack
    s.start_servers()
    settings = s.settings()
    settings["limits"]["rules"] = [rule for rule in settings["limits"]["rules"] if rule["name"] != "waitlist_address"] + [
        {"name": "waitlist_address", "by": "address", "at": "waitlist", "limit": "3/1h"}]
    gateway = s.start_gateway(settings)
    put(s, "waitlist")
    with s.app(gateway) as app:
        for _ in range(3):
            join(app)
        refused = app.http.post("/auth/v1/waitlist", json={"phone": mainland_phone()})
        assert (refused.status_code, code_of(refused)) == (429, "over_request_rate_limit")
        assert s.postgres.query("SELECT count(*) FROM waitlist") == "3"


def test_numbers_are_kept_as_hash_and_ciphertext(pair, a):
    phone = mainland_phone()
    ticket = join(a, phone)["ticket"]
    place(a, ticket)
    dump = pair.postgres.dump()
    assert phone[1:] not in dump and ticket not in dump
    log = pair.gateways[0].process.tail(2000) + pair.gateways[0].access_log.read_text()
    assert phone[1:] not in log and ticket not in log
