"""When things go wrong: everything is killed once, under load, and comes back without a restart of anything else. Who is
signed in never sees a 5xx on chat, and nothing is done twice."""
import contextlib
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tide.client import code_of, mainland_phone
from tide.process import wait_until
from tide.stack import APIKEY
from tide.tokens import aged


class Load:
    """Signed-in people who chat, every other one by streams, until told to stop: a thread and connections each."""

    def __init__(self, stack, people: int = 2, pause_s: float = 0.05, **chat):
        self.apps = [stack.app(gateway) for gateway in stack.gateways for _ in range(people)]
        for app in self.apps:
            app.sign_up()
        self.gateways = [(g.process, g.process.pid) for g in stack.gateways]
        self.pause_s = pause_s
        self.fields = {"max_tokens": 2, **chat}
        self.seen: Counter = Counter()  # status, or the name of the error
        self.wrong: list[str] = []
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=self.chat, args=(app, i)) for i, app in enumerate(self.apps)]

    def chat(self, app, i: int) -> None:
        while not self.ended.wait(self.pause_s):
            try:
                answer = app.chat("Hi.", stream=bool(i % 2), **self.fields)
            except httpx.HTTPError as error:
                self.seen[type(error).__name__] += 1
                self.wrong.append(repr(error))
                continue
            self.seen[answer.status_code] += 1
            if answer.status_code != 200 or (i % 2 and "[DONE]" not in answer.text):
                self.wrong.append(f"{answer.status_code} {answer.text[:300]}")

    def __enter__(self) -> "Load":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.end()
        for app in self.apps:
            app.close()

    def end(self) -> None:
        """From here on the test may speak through the apps: an HTTP/2 connection of httpcore does not stand two threads, one of
        which finds it closed now and then."""
        self.ended.set()
        for thread in self.threads:
            thread.join(60)

    def wait_for(self, more: int, seconds: float = 60) -> None:
        """So many further answers."""
        until = self.seen.total() + more
        wait_until(lambda: self.seen.total() >= until, seconds, f"{more} more chats; so far {dict(self.seen)}")

    def assert_all_well(self) -> None:
        assert self.wrong == [] and set(self.seen) == {200}, (dict(self.seen), self.wrong[:5])
        assert all(process.is_alive() and process.pid == pid for process, pid in self.gateways), "nothing was restarted"


def accounts(stack) -> int:
    return int(stack.postgres.query("SELECT count(*) FROM users"))


def can_sign_up(stack) -> bool:
    with stack.app() as app:
        return bool(app.sign_up())


# --- servers ------------------------------------------------------------------------------------------------


@pytest.mark.tsan
def test_redis_killed_and_back(own_pair):
    with Load(own_pair, model="m") as load, own_pair.app() as app:
        load.wait_for(20)
        own_pair.redis.kill()
        load.wait_for(40)
        refused = app.ask_code(mainland_phone())
        assert refused.status_code == 503, "codes cost money: closed while they cannot be counted"
        assert refused.json()["code"] == "service_unavailable" and int(refused.headers["retry-after"]) >= 1
        own_pair.redis.start()
        wait_until(lambda: app.ask_code(mainland_phone()).status_code == 200, 5, "codes are sent again")
        load.wait_for(20)
    load.assert_all_well()


@pytest.mark.tsan
def test_postgres_killed_and_back(own_pair):
    with Load(own_pair, model="m") as load, own_pair.app() as app:
        app.sign_up()
        load.wait_for(20)
        own_pair.postgres.kill()
        load.wait_for(40)
        for refused in (app.ask_code(mainland_phone()), app.verify(mainland_phone(), "123456"), app.refresh()):
            assert (refused.status_code, code_of(refused)) == (503, "database_unavailable"), refused.text
            assert int(refused.headers["retry-after"]) >= 1
        assert app.http.get("/auth/v1/settings").status_code == 200
        assert own_pair.gateway.ctl("check", check=False).returncode == 3
        own_pair.postgres.start()
        wait_until(lambda: app.refresh().status_code == 200, 10, "refresh works again")
        assert can_sign_up(own_pair)
        load.wait_for(20)
        load.end()
        for person in load.apps:
            wait_until(lambda: person.refresh().status_code == 200, 10, "refresh")
    load.assert_all_well()
    assert accounts(own_pair) == len(load.apps) + 2


@pytest.mark.tsan
def test_redis_and_postgres_killed_and_back(own_pair):
    with Load(own_pair, model="m") as load:
        load.wait_for(20)
        own_pair.redis.kill()
        own_pair.postgres.kill()
        load.wait_for(40)
        own_pair.postgres.start()
        load.wait_for(20)
        own_pair.redis.start()
        wait_until(lambda: can_sign_up(own_pair), 20, "sign-up works again")
        load.wait_for(20)
    load.assert_all_well()
    assert accounts(own_pair) >= len(load.apps) + 1


def test_expired_tokens_are_taken_while_the_database_is_away(own_stack):
    """auth.outage_grace: nobody can refresh then. By less than it, never a revoked one, and on /v1 alone."""
    s = own_stack
    s.start_servers()
    s.start_scripted()
    settings = s.settings()
    settings["auth"]["outage_grace"] = "10m"
    gateway = s.start_gateway(settings)

    def chat(token: str):
        with s.app() as one:
            one.session = {"access_token": token}
            return one.chat(model="m")

    with s.app() as app:
        fresh = app.sign_up()["access_token"]
        little, much = aged(fresh, s.folder / "keys", 300), aged(fresh, s.folder / "keys", 660)
    with s.app() as app:
        ended = app.sign_up()["access_token"]
        ended_and_old = aged(ended, s.folder / "keys", 300)
        assert app.http.post("/auth/v1/logout", headers=app.bearer()).status_code == 204
    for token in (little, much, ended_and_old):
        assert (chat(token).status_code, chat(token).json()["error"]["code"]) == (401, "bad_jwt")
    s.postgres.kill()
    wait_until(lambda: gateway.metric("tidegate_database_up") == 0, 10, "the outage is seen")
    for token, status, code in ((fresh, 200, None), (little, 200, None), (much, 401, "bad_jwt"), (ended, 401, "session_expired"),
                                (ended_and_old, 401, "session_expired")):
        for _ in range(2):  # checked, and from the cache
            answer = chat(token)
            assert answer.status_code == status, answer.text
            assert code is None or answer.json()["error"]["code"] == code
    with s.app() as app:
        app.session = {"access_token": little}
        assert app.user().status_code == 401, "on /v1 alone"
    gateway.process.stop()
    gateway.start()  # still without the database: who has signed out stays out
    assert [chat(token).status_code for token in (fresh, little, ended, ended_and_old)] == [200, 200, 401, 401]
    s.postgres.start()
    wait_until(lambda: gateway.metric("tidegate_database_up") == 1, 10, "the database is seen")
    assert [chat(token).status_code for token in (fresh, little, much, ended, ended_and_old)] == [200, 401, 401, 401, 401]
    # Tokens live shorter from now on, those of before as long as they said: who signed out hours ago stays out.
    gateway.settings["auth"].update({"access_ttl": "1m", "outage_grace": "0s"})
    gateway.write()
    gateway.process.stop()
    (gateway.folder / "state" / "ended-sessions").unlink()
    s.postgres.query("UPDATE revocations SET created_at = created_at - interval '3 h'")
    gateway.start()
    wait_until(lambda: chat(ended).status_code == 401, 60, "who signed out is known")
    assert chat(fresh).status_code == 200


# --- people who sign up while the database dies -------------------------------------------------------------


class SignUps(threading.Thread):
    """Signs one person up after another as an app would: it asks again while it is told 503 or hears nothing."""

    def __init__(self, s, gateway):
        super().__init__()
        self.s, self.gateway = s, gateway
        self.ended = threading.Event()
        self.users: dict[str, str] = {}  # phone -> user id as told
        self.wrong: list[str] = []

    def run(self):
        with self.s.app(self.gateway) as app:
            while not self.ended.is_set():
                try:
                    self.one(app, mainland_phone())
                except Exception as error:  # noqa: BLE001 - told by the test
                    self.wrong.append(repr(error))
                    return

    def one(self, app, phone: str) -> None:
        deadline = time.monotonic() + 60
        while phone not in self.users:
            assert time.monotonic() < deadline, f"no end of trying: {phone}"
            seen = len(self.s.outbox.messages(phone))
            asked = app.ask_code(phone)
            if asked.status_code != 200:
                self.must_be(asked, 429, 503)
                time.sleep(0.1)
                continue
            code = self.s.outbox.wait_for_code(phone, seen)
            answer = app.verify(phone, code)
            while answer.status_code == 503:
                time.sleep(0.1)
                answer = app.verify(phone, code)
            if answer.status_code == 200:
                self.users[phone] = answer.json()["user"]["id"]
            else:
                self.must_be(answer, 403)  # it had been used: the answer was lost, not the account

    def must_be(self, answer, *codes: int) -> None:
        if answer.status_code not in codes:
            self.wrong.append(f"{answer.status_code} {answer.text[:300]}")


def test_nothing_is_inserted_twice_when_postgres_dies_under_sign_ups(own_pair):
    s = own_pair
    crowd = [SignUps(s, s.gateways[i % 2]) for i in range(6)]
    for one in crowd:
        one.start()
    for _ in range(4):
        before = sum(len(one.users) for one in crowd)
        wait_until(lambda: sum(len(one.users) for one in crowd) >= before + 12, 60, "people sign up")
        s.postgres.kill()
        time.sleep(0.3)
        s.postgres.start()
    before = sum(len(one.users) for one in crowd)
    wait_until(lambda: sum(len(one.users) for one in crowd) >= before + 6, 60, "people sign up after the last time")
    for one in crowd:
        one.ended.set()
    for one in crowd:
        one.join()
    assert [text for one in crowd for text in one.wrong] == []
    told = {phone: user for one in crowd for phone, user in one.users.items()}
    assert s.postgres.query("SELECT count(*) FROM users") == str(len(told))
    assert s.postgres.query("SELECT count(*) FROM identities") == str(len(told))
    stored = set(s.postgres.query("SELECT id FROM users").splitlines())
    assert stored == set(told.values())
    assert s.postgres.query("SELECT count(*) FROM users u WHERE NOT EXISTS (SELECT FROM sessions s WHERE s.user_id = u.id)") == "0"


# --- a gateway dies in the middle of a verify ---------------------------------------------------------------


MOMENTS = ["otp_codes", "policy_current", "identities", "users", "sessions", "refresh_families", None, 0, 0.002, 0.005, 0.01, 0.02, 0.05]


def ask_and_kill(s, gateway, app, phone: str, code: str, moment) -> int:
    """Kills the gateway while it verifies: as its transaction waits for a table, as the answer has come (None), or so
    many seconds after the request. The status that was heard, 0 for none."""
    def verify() -> int:
        try:
            return app.verify(phone, code).status_code
        except httpx.HTTPError:
            return 0

    with ThreadPoolExecutor(1) as pool:
        if isinstance(moment, str):
            with s.postgres.holding(f"LOCK TABLE {moment} IN ACCESS EXCLUSIVE MODE"):
                heard = pool.submit(verify)
                wait_until(lambda: s.postgres.query("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                                                    " AND usename = 'tidegate_app'") != "0", 10, f"it waits for {moment}")
                gateway.process.kill()
        else:
            heard = pool.submit(verify)
            if moment is None:
                heard.result()
            else:
                time.sleep(moment)
            gateway.process.kill()
        return heard.result()


def test_a_gateway_killed_at_any_moment_of_a_verify(own_stack):
    s = own_stack
    s.start_servers()
    gateway = s.start_gateway()
    people, outcomes = 0, Counter()
    for moment in MOMENTS:
        phone = mainland_phone()
        with s.app(gateway) as app:
            assert app.ask_code(phone).status_code == 200
            code = s.outbox.wait_for_code(phone)
            heard = ask_and_kill(s, gateway, app, phone, code, moment)
        wait_until(lambda: s.postgres.query("SELECT count(*) FROM pg_stat_activity WHERE usename = 'tidegate_app'") == "0",
                   10, "its transaction is over")
        users = int(s.postgres.query("SELECT count(*) FROM users"))
        was_committed = users == people + 1
        assert was_committed or users == people
        assert was_committed or heard != 200, "told what did not happen"
        outcomes[was_committed] += 1
        gateway.start()
        with s.app(gateway) as app:
            again = app.verify(phone, code)
            if was_committed:
                assert (again.status_code, again.json()["code"]) == (403, "otp_expired"), moment
                s.resend_time_passes()
                user = app.sign_up(phone)["user"]["id"]
            else:
                assert again.status_code == 200, (moment, again.text)
                user = again.json()["user"]["id"]
        people += 1
        assert s.postgres.query("SELECT count(*) FROM users") == str(people)
        assert s.postgres.query("SELECT id FROM users ORDER BY created_at DESC LIMIT 1") == user
    assert outcomes[True] >= 1 and outcomes[False] >= 5, outcomes


@contextlib.contextmanager
def flood_of_codes(stack, people: int):
    """So many at once, each asking for the next code as soon as it has heard of the one before."""
    ended, heard = threading.Event(), Counter()

    def ask() -> None:
        with stack.app() as app:
            while not ended.is_set():
                heard[app.ask_code(mainland_phone()).status_code] += 1

    threads = [threading.Thread(target=ask) for _ in range(people)]
    for thread in threads:
        thread.start()
    try:
        yield heard
    finally:
        ended.set()
        for thread in threads:
            thread.join(60)


@pytest.mark.tsan
def test_a_flood_that_the_database_cannot_serve_keeps_nobody_from_closing_sign_up(own_stack):
    s = own_stack
    s.start_servers()
    for _ in range(2):
        settings = s.settings()
        settings["database"].update({"connections": 2, "queue": 4, "job_timeout": "30s"})
        settings["auth"]["job_timeout"] = "30s"
        s.start_gateway(settings)
    first, second = s.gateways

    def is_closed(gateway) -> bool:
        return gateway.get("/auth/v1/settings", headers={"apikey": APIKEY}).json()["disable_signup"]

    with flood_of_codes(s, 12) as heard, s.postgres.holding("LOCK TABLE otp_numbers IN ACCESS EXCLUSIVE MODE"):
        first.wait(lambda: first.metric("tidegate_pg_queue_jobs") >= 4 and heard[503] >= 20, "has all its jobs waiting")
        first.ctl("policy", "set", "closed", "--confirm=closed", "--reason", "flood")
        for gateway in (first, second):
            gateway.wait(lambda: is_closed(gateway), "knows that sign-up is closed", 10)
        second.ctl("policy", "set", "open", "--reason", "over")
        first.wait(lambda: not is_closed(first), "knows that it is open again", 10)
        assert first.metric("tidegate_database_up") == 1, "it is busy, not away"


@pytest.mark.tsan
def test_a_flood_of_codes_keeps_nobody_from_a_fresh_token(own_stack):
    s = own_stack
    s.start_servers()
    settings = s.settings()
    settings["database"].update({"connections": 1, "queue": 2})
    gateway = s.start_gateway(settings)
    with s.app() as app:
        app.sign_up()
        with flood_of_codes(s, 12) as heard:
            gateway.wait(lambda: heard[503] >= 20, "has more to do than it can")
            before = heard[503]
            for _ in range(20):
                fresh = app.refresh()
                assert fresh.status_code == 200, fresh.text
                app.session = fresh.json()
                assert app.user().status_code == 200
            assert heard[503] > before, "the flood went on meanwhile"
        assert app.http.post("/auth/v1/logout", headers=app.bearer()).status_code == 204


# --- workers ------------------------------------------------------------------------------------------------


def test_a_worker_killed_during_a_stream_ends_it_with_an_error(own_stack):
    own_stack.start_all()
    with own_stack.app() as app:
        app.sign_up()
        with app.stream("Tell me a very long story.", max_tokens=400) as response:
            lines = response.iter_lines()
            next(lines)
            own_stack.workers[0].kill()
            rest = [line for line in lines if line.startswith("data:")]
        assert "data: [DONE]" not in rest and '"error"' in rest[-1], rest[-3:]
        gone = app.chat()
        assert gone.status_code in (502, 503), gone.text
        own_stack.start_worker(own_stack.worker_ports[0])
        wait_until(lambda: app.chat().status_code == 200, 20, "chat works again")


def test_a_worker_killed_before_the_first_token_is_not_noticed(own_stack):
    own_stack.start_servers()
    own_stack.start_worker()
    own_stack.start_worker()
    own_stack.start_gateway()
    with Load(own_stack, people=1) as load:
        load.wait_for(6)
        own_stack.workers[0].kill()
        load.wait_for(15)
        own_stack.start_worker(own_stack.worker_ports[0])
        wait_until(lambda: '"state":"ready"' in own_stack.gateway.ctl("get", "workers", "-o", "json").stdout.split("w2")[0], 20,
                   "the worker is ready again")
        load.wait_for(6)
    assert load.seen[200] >= 25 and set(load.seen) <= {200, 502}, dict(load.seen)
    assert load.seen[502] <= 1, "at most the answer that had begun"
