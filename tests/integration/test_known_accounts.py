"""Numbers that the policy refuses are told from those with an account by a filter in memory, without the database; and
nobody who has an account is ever refused, whatever the filter has missed."""
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tide.client import code_of, mainland_phone
from tide.fixtures import new_stack
from tide.policy_admin import told
from tide.process import wait_until

SMALL = 64  # bytes: one cache line, full at 64 numbers


@pytest.fixture(scope="module")
def closed():
    """Two gateways that let in who has an invite; there is no pause between codes, so a log-in may follow on a sign-up at once."""
    with new_stack() as s:
        s.start_servers()
        for _ in range(2):
            settings = s.settings()
            settings["auth"].update({"otp_resend": "0s", "job_timeout": "60s"})
            s.start_gateway(settings)
        s.gateway.ctl("policy", "set", "invite-only", "--reason", "test")
        for g in s.gateways:
            wait_until(lambda: told(g)["policy"] == "invite-only", 60, "the policy is in force")
            wait_until(lambda: is_ready(g), 60, "the filter is ready")
        made = s.gateway.ctl("invite", "create", "--uses", "100000", "--reason", "test", "-o", "json").stdout
        s.invite = json.loads(made)["items"][0]["code"]
        yield s


@pytest.fixture
def a(closed):
    with closed.app(closed.gateways[0]) as one:
        yield one


@pytest.fixture
def b(closed):
    with closed.app(closed.gateways[1]) as one:
        yield one


def is_ready(gateway) -> bool:
    return gateway.metric("tidegate_known_filter_ready") == 1


def answers(gateway, which: str) -> float:
    return gateway.metric(f'tidegate_known_filter_answers_total{{answer="{which}"}}')


def ask(app, phone: str, **more):
    """The answer of a machine that is not too busy."""
    seen = []
    wait_until(lambda: seen.append(app.ask_code(phone, **more)) or seen[-1].status_code != 503, 60, f"an answer but 503: {seen}")
    return seen[-1]


def come_in(closed, app) -> str:
    """A new account, by invite; its number."""
    phone = mainland_phone()
    asked = ask(app, phone, data={"invite": closed.invite})
    assert asked.status_code == 200, asked.text
    answer = app.verify(phone, closed.outbox.wait_for_code(phone, 0, 60))
    assert answer.status_code == 200 and answer.json()["is_new_user"], answer.text
    return phone


def is_stranger(app, phone: str) -> bool:
    answer = ask(app, phone)
    assert answer.status_code in (200, 403), answer.text
    assert answer.status_code == 200 or code_of(answer) == "invite_required"
    return answer.status_code == 403


def ask_many(closed, count: int) -> int:
    """How many of them were refused."""
    with closed.app(http2=False) as app:
        return sum(is_stranger(app, mainland_phone()) for _ in range(count))


def test_strangers_are_refused_without_a_look_up(closed, a):
    """Whoever looked, would be told that it may not."""
    before = answers(closed.gateway, "surely_not")
    known = come_in(closed, a)
    closed.postgres.query("REVOKE SELECT ON identities FROM tidegate_app")
    try:
        with ThreadPoolExecutor(8) as pool:
            seen = list(pool.map(lambda _: ask_many(closed, 25), range(8)))
        assert a.ask_code(known).status_code == 500
    finally:
        closed.postgres.query("GRANT SELECT ON identities TO tidegate_app")
    assert seen == [25] * 8 and answers(closed.gateway, "surely_not") - before == 200
    assert not is_stranger(a, known)


def test_an_account_that_goes_while_it_asks_for_a_code(closed, a):
    """Known when it was looked up, and nobody's when its code was drawn: it is answered, and nothing is sent."""
    phone = come_in(closed, a)
    lock, look = "LOCK TABLE identities IN ACCESS EXCLUSIVE MODE", "SELECT id, user_id FROM identities"
    decoys = 'tidegate_auth_code_requests_total{result="decoy"}'
    before = closed.gateway.metric(decoys), len(closed.outbox.messages(phone))

    def waits(query: str) -> bool:
        return closed.postgres.query("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                                     f" AND starts_with(query, '{query}')") == "1"
    with closed.app(http2=False) as app, ThreadPoolExecutor(2) as pool:  # over HTTP/2, pings keep up the hope of an answer
        with closed.postgres.holding(lock):
            asked = pool.submit(app.ask_code, phone)
            wait_until(lambda: waits(look), 20, "the number is being looked up")
            gone = pool.submit(closed.postgres.query, f"{lock}; DELETE FROM users WHERE id ="
                               " (SELECT user_id FROM identities ORDER BY created_at DESC LIMIT 1)")
            wait_until(lambda: waits(lock), 20, "the next to have the table is who deletes")
        assert asked.result(60).status_code == 200
        gone.result(60)
    assert (closed.gateway.metric(decoys), len(closed.outbox.messages(phone))) == (before[0] + 1, before[1])


def is_surely_stranger(gateway, app, phone: str) -> bool:
    before = answers(gateway, "surely_not")
    return is_stranger(app, phone) and answers(gateway, "surely_not") == before + 1


def test_an_account_by_sql_counts_from_its_commit_on(closed, a, b):
    phone = come_in(closed, a)
    hashed = closed.postgres.query("SELECT encode(subject_hash, 'hex') FROM identities ORDER BY created_at DESC LIMIT 1")
    closed.postgres.query("DELETE FROM users WHERE id = (SELECT user_id FROM identities ORDER BY created_at DESC LIMIT 1);"
                          " UPDATE account_feed_state SET epoch = gen_random_uuid()")
    for g, app in zip(closed.gateways, (a, b)):
        wait_until(lambda: is_surely_stranger(g, app, phone), 60, "the filter was loaded without the deleted")
    account = ("WITH u AS (INSERT INTO users (id, policy_version, policy_rule, signup_method)"
               " VALUES (gen_random_uuid(), 1, 'import', 'phone') RETURNING id)"
               " INSERT INTO identities (id, user_id, provider, subject_hash, subject_key, subject_enc)"
               f" SELECT id, id, 'phone', decode('{hashed}', 'hex'), '1', '' FROM u")
    with closed.postgres.holding(account, "COMMIT"):
        assert is_stranger(a, phone) and is_stranger(b, phone)
        assert not is_stranger(b, come_in(closed, a))  # others' transactions come and go meanwhile
    assert not is_stranger(b, phone) and not is_stranger(a, phone)


def test_who_has_an_account_is_never_refused_whatever_is_loaded(closed, a, b):
    """Accounts come to be on one gateway and log in on the other at once, while the feed breaks again and again and
    the filters are loaded anew, under a flood of strangers."""
    ended, trouble = threading.Event(), []

    def disturb() -> None:
        for step in range(1000):
            if ended.wait(0.3):
                return
            closed.postgres.query(("UPDATE account_feed_state SET epoch = gen_random_uuid()",
                                   "TRUNCATE account_feed, account_feed_state")[step % 2])

    def flood() -> None:
        with closed.app(closed.gateways[1]) as app:
            while not ended.is_set():
                if not is_stranger(app, mainland_phone()):
                    trouble.append("a stranger has got a code")

    threads = [threading.Thread(target=f) for f in (disturb, flood, flood)]
    for thread in threads:
        thread.start()
    try:
        refused = [phone for phone in (come_in(closed, a) for _ in range(60)) if is_stranger(b, phone)]
    finally:
        ended.set()
        for thread in threads:
            thread.join(60)
    assert refused == [] and trouble == []
    assert answers(closed.gateways[1], "surely_not") > 0
    assert "lost track" in closed.gateways[1].process.tail(100_000)
    for g in closed.gateways:
        wait_until(lambda: is_ready(g), 60, "the filter is ready again")


def test_without_the_database_nobody_is_taken_for_a_stranger(closed, a, b):
    known = come_in(closed, a)
    closed.postgres.kill()
    try:
        for app in (a, b):
            for phone in (known, mainland_phone()):
                answer = app.ask_code(phone)
                assert (answer.status_code, code_of(answer)) == (503, "database_unavailable")
        assert not is_ready(closed.gateway)
    finally:
        closed.postgres.start()
    for g, app in zip(closed.gateways, (a, b)):
        wait_until(lambda: is_ready(g), 60, "the filter is ready again")
        assert not is_stranger(app, known) and is_stranger(app, mainland_phone())


def test_a_restart_loads_all_and_too_many_are_looked_up(closed, a):
    people = [come_in(closed, a) for _ in range(3)]
    second = closed.gateways[1]

    def assert_tells_people_from_strangers() -> None:
        with closed.app(second) as app:
            assert not any(is_stranger(app, phone) for phone in people) and is_stranger(app, mainland_phone())

    assert second.process.stop() == 0
    second.start()
    wait_until(lambda: is_ready(second), 60, "the filter is ready")
    assert_tells_people_from_strangers()
    assert answers(second, "surely_not") == 1 and answers(second, "maybe") == 3
    have = int(closed.postgres.query("SELECT count(*) FROM identities"))
    assert second.metric("tidegate_known_filter_entries") == have and second.metric("tidegate_known_filter_bytes") == 65536
    for _ in range(SMALL + 10 - have):
        come_in(closed, a)
    assert second.process.stop() == 0
    second.settings["auth"]["known_filter_max"] = str(SMALL)
    second.write()
    second.start()
    wait_until(lambda: "do not fit auth.known_filter_max" in second.process.tail(1000), 60, "it gives up")
    assert_tells_people_from_strangers()
    assert answers(second, "surely_not") == 0 and answers(second, "maybe") == 4 and not is_ready(second)
