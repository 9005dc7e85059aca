"""When things go wrong: everything is killed once, under load, and comes back without a restart of anything else."""
import collections
import concurrent.futures
import threading
import time

import httpx
import pytest

from tide.client import mainland_phone
from tide.process import wait_until
from tide.stack import MODEL


class Load:
    """Signed-in users who chat all the time; every answer is kept by its status (or the name of the error)."""

    def __init__(self, stack, users: int = 2, pause: float = 0.05):
        self.stack = stack
        self.pause = pause
        self.apps = [stack.app(gateway) for gateway in stack.gateways for _ in range(users)]
        for app in self.apps:
            app.sign_up()
        self.seen = collections.Counter()
        self.stopped = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(app,)) for app in self.apps]

    def run(self, app) -> None:
        while not self.stopped.wait(self.pause):
            try:
                self.seen[app.chat("Hi.", max_tokens=2).status_code] += 1
            except httpx.HTTPError as error:
                self.seen[type(error).__name__] += 1

    def __enter__(self) -> "Load":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.stopped.set()
        for thread in self.threads:
            thread.join(60)
        for app in self.apps:
            app.close()

    def wait_for(self, more: int, seconds: float = 60) -> None:
        """So many further answers."""
        until = sum(self.seen.values()) + more
        wait_until(lambda: sum(self.seen.values()) >= until, seconds, f"{more} more chats; so far {dict(self.seen)}")

    def assert_all_well(self) -> None:
        assert set(self.seen) == {200}, dict(self.seen)


def accounts(stack) -> int:
    return int(stack.postgres.query("SELECT count(*) FROM users"))


def can_sign_up(stack) -> bool:
    with stack.app() as app:
        return bool(app.sign_up())


# --- servers ---------------------------------------------------------------------------------------


@pytest.mark.tsan
def test_redis_killed_and_back(own_stack):
    own_stack.start_all()
    with Load(own_stack) as load, own_stack.app() as app:
        load.wait_for(6)
        own_stack.redis.kill()
        load.wait_for(10)
        refused = app.ask_code(mainland_phone())
        assert refused.status_code == 503, "codes cost money: closed while they cannot be counted"
        assert refused.json()["code"] == "service_unavailable" and int(refused.headers["retry-after"]) >= 1
        own_stack.redis.start()
        wait_until(lambda: app.ask_code(mainland_phone()).status_code == 200, 5, "codes are sent again")
        load.wait_for(6)
    load.assert_all_well()


@pytest.mark.tsan
def test_postgres_killed_and_back(own_stack):
    own_stack.start_all()
    with Load(own_stack) as load, own_stack.app() as app:
        app.sign_up()
        load.wait_for(6)
        own_stack.postgres.kill()
        load.wait_for(10)
        for refused in (app.ask_code(mainland_phone()), app.verify(mainland_phone(), "123456"), app.refresh()):
            assert refused.status_code == 503, refused.text
            assert int(refused.headers["retry-after"]) >= 1
        assert own_stack.gateway.ctl("check", check=False).returncode == 3
        own_stack.postgres.start()
        wait_until(lambda: app.refresh().status_code == 200, 10, "refresh works again")
        assert can_sign_up(own_stack)
        load.wait_for(6)
    load.assert_all_well()
    assert accounts(own_stack) == len(load.apps) + 2


@pytest.mark.tsan
def test_redis_and_postgres_killed_and_back(own_stack):
    own_stack.start_all()
    with Load(own_stack) as load:
        load.wait_for(4)
        own_stack.redis.kill()
        own_stack.postgres.kill()
        load.wait_for(12)
        own_stack.postgres.start()
        load.wait_for(4)
        own_stack.redis.start()
        wait_until(lambda: can_sign_up(own_stack), 20, "sign-up works again")
        load.wait_for(4)
    load.assert_all_well()


def test_a_start_without_the_database_knows_the_last_policy(own_stack):
    own_stack.start_all()
    gateway = own_stack.gateway
    gateway.ctl("policy", "set", "closed", "--reason", "test")
    wait_until(lambda: gateway.metric("tidegate_policy_version") == 2, 5, "the policy is known")
    with own_stack.app() as app:
        own_stack.postgres.kill()
        gateway.process.stop()
        gateway.start(ready=True)  # ready: the last known policy stands
        settings = app.http.get("/auth/v1/settings").json()
        assert settings["signup"]["state"] == "closed" and settings["signup"]["policy_version"] == 2


# --- the gateway -----------------------------------------------------------------------------------


def verify_while_killed(stack, delay: float) -> tuple[str, str]:
    """Asks to verify a code and kills the gateway `delay` seconds later. Phone and code."""
    phone = mainland_phone()
    with stack.app() as app:
        seen = len(app.outbox.messages(phone))
        assert app.ask_code(phone).status_code == 200
        code = app.outbox.wait_for_code(phone, seen)

        def ask():
            try:
                app.verify(phone, code)
            except httpx.HTTPError:
                pass

        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(delay)
        stack.gateway.process.kill()
        asking.join(30)
    return phone, code


def test_kill_9_in_the_middle_of_a_verify(own_stack):
    """Not committed: the same code works. Committed: otp_expired, and a new code signs in the same one user."""
    own_stack.start_postgres()
    own_stack.start_redis()
    own_stack.start_outbox()
    gateway = own_stack.start_gateway()
    outcomes = collections.Counter()
    for attempt in range(8):
        before = accounts(own_stack)
        phone, code = verify_while_killed(own_stack, 0.002 * attempt)
        committed = accounts(own_stack) - before
        gateway.start()
        with own_stack.app() as app:
            again = app.verify(phone, code)
            if committed:
                assert again.status_code == 403 and again.json()["code"] == "otp_expired", again.text
                wait_until(lambda: app.ask_code(phone).status_code == 200, 5, "a new code")
                answer = app.verify(phone, app.outbox.wait_for_code(phone, 1))
                assert answer.status_code == 200, answer.text
            else:
                assert again.status_code == 200, again.text
        assert accounts(own_stack) == before + 1
        outcomes["committed" if committed else "not committed"] += 1
    print(dict(outcomes))


def test_the_outbox_away_sends_no_code_and_charges_nothing_for_ever(own_stack):
    own_stack.start_all(workers=1)
    own_stack.outbox_process.kill()
    with own_stack.app() as app:
        phone = mainland_phone()
        failed = app.ask_code(phone)
        assert failed.status_code == 503 and failed.json()["code"] == "sms_send_failed", failed.text
        own_stack.start_outbox()
        wait_until(lambda: app.ask_code(phone).status_code == 200, 10, "the code is sent")


# --- workers ---------------------------------------------------------------------------------------


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
    own_stack.start_postgres()
    own_stack.start_redis()
    own_stack.start_outbox()
    own_stack.start_worker()
    own_stack.start_worker()
    own_stack.start_gateway()
    with Load(own_stack, users=1) as load:
        load.wait_for(6)
        own_stack.workers[0].kill()
        load.wait_for(15)
        own_stack.start_worker(own_stack.worker_ports[0])
        wait_until(lambda: '"state":"ready"' in own_stack.gateway.ctl("get", "workers", "-o", "json").stdout.split("w2")[0], 20,
                   "the worker is ready again")
        load.wait_for(6)
    assert load.seen[200] >= 25 and set(load.seen) <= {200, 502}, dict(load.seen)
    assert load.seen[502] <= 1, "at most the answer that had begun"


# --- two gateways as one ---------------------------------------------------------------------------


@pytest.fixture
def pair(own_stack):
    own_stack.start_all(gateways=2)
    return own_stack


def threaded(pair, i: int):
    """HTTP/1.1: httpx's HTTP/2 writes frames twice when several threads share a connection."""
    return pair.app(pair.gateways[i], http2=False)


@pytest.mark.tsan
def test_two_gateways_refresh_once(pair):
    """50 refreshes of one token at once, on both: one successor."""
    with threaded(pair, 0) as a, threaded(pair, 1) as b:
        session = a.sign_up()
        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            answers = list(pool.map(lambda i: (a, b)[i % 2].refresh(session["refresh_token"]), range(50)))
    assert {answer.status_code for answer in answers} == {200}, collections.Counter(x.status_code for x in answers)
    assert len({answer.json()["refresh_token"] for answer in answers}) == 1


@pytest.mark.tsan
def test_two_gateways_know_a_reused_token(pair):
    with pair.app(pair.gateways[0]) as a, pair.app(pair.gateways[1]) as b:
        first = a.sign_up()["refresh_token"]
        second = b.refresh(first).json()
        third = a.refresh(second["refresh_token"]).json()
        reused = b.refresh(first)
        assert reused.status_code == 400 and reused.json()["code"] == "refresh_token_already_used", reused.text
        assert a.refresh(third["refresh_token"]).status_code in (400, 403), "the whole family has ended"
        headers = {"authorization": f"Bearer {third['access_token']}"}
        for app in (a, b):
            wait_until(lambda: app.http.get("/auth/v1/user", headers=headers).status_code in (401, 403), 2,
                       "the access token is refused on every gateway")


@pytest.mark.tsan
def test_two_gateways_log_out_within_a_second(pair):
    with pair.app(pair.gateways[0]) as a, pair.app(pair.gateways[1]) as b:
        b.session = a.sign_up()
        assert b.chat().status_code == 200, "the token is in the other's cache"
        assert a.http.post("/auth/v1/logout", headers=a.bearer()).status_code == 204
        began = time.monotonic()
        wait_until(lambda: b.chat(max_tokens=1).status_code in (401, 403), 3, "the other refuses the token", every=0.01)
        assert time.monotonic() - began < 1.0
        assert a.chat(max_tokens=1).status_code in (401, 403)


@pytest.mark.tsan
def test_two_gateways_follow_a_policy_within_a_second(pair):
    with pair.app(pair.gateways[0]) as a, pair.app(pair.gateways[1]) as b:
        known = mainland_phone()
        a.sign_up(known)
        pair.gateways[0].ctl("policy", "set", "closed", "--reason", "two gateways")
        began = time.monotonic()
        for app in (a, b):
            wait_until(lambda: app.ask_code(mainland_phone()).status_code == 403, 3, "the policy acts", every=0.01)
        assert time.monotonic() - began < 1.0
        assert a.user().status_code == 200 and a.refresh().status_code == 200, "who has an account goes on"
        wait_until(lambda: b.ask_code(known).status_code == 200, 3, "and may sign in")
        notice = pair.postgres.query("SELECT body->>'policy_version' FROM status_notices ORDER BY id DESC LIMIT 1")
        assert notice == "2"


@pytest.mark.tsan
def test_two_gateways_make_one_account(pair):
    """One code verified on both at once, many times: one account, one session."""
    with threaded(pair, 0) as a, threaded(pair, 1) as b:
        phone = mainland_phone()
        assert a.ask_code(phone).status_code == 200
        code = a.outbox.wait_for_code(phone)
        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            answers = list(pool.map(lambda i: (a, b)[i % 2].verify(phone, code), range(20)))
    statuses = collections.Counter(answer.status_code for answer in answers)
    assert statuses[200] == 1 and statuses[403] == 19, statuses
    assert accounts(pair) == 1


@pytest.mark.tsan
def test_wrong_guesses_on_two_gateways_are_counted_together(pair):
    with threaded(pair, 0) as a, threaded(pair, 1) as b:
        phone = mainland_phone()
        assert a.ask_code(phone).status_code == 200
        code = a.outbox.wait_for_code(phone)
        wrong = [f"{(int(code) + i) % 1000000:06d}" for i in range(1, 21)]
        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            list(pool.map(lambda i: (a, b)[i % 2].verify(phone, wrong[i]), range(20)))
        late = a.verify(phone, code)
        assert late.status_code == 403 and late.json()["code"] == "otp_expired", "after five guesses the code is dead"
    assert accounts(pair) == 0


# --- load ------------------------------------------------------------------------------------------


@pytest.mark.tsan
def test_many_things_at_once(pair):
    """Sign-ups, refreshes, chats, reloads and policy changes side by side; nothing but the expected answers."""
    odd = collections.Counter()

    def live(i: int) -> None:
        with pair.app(pair.gateways[i % 2], http2=i % 3 != 0) as app:
            app.sign_up()
            for _ in range(3):
                for answer in (app.chat("Hi.", max_tokens=2), app.refresh(), app.user()):
                    if answer.status_code != 200:
                        odd[(str(answer.url.path), answer.status_code)] += 1
                    elif "refresh_token" in answer.text:
                        app.session = answer.json()
            app.http.post("/auth/v1/logout", headers=app.bearer())

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        lives = [pool.submit(live, i) for i in range(16)]
        for _ in range(4):
            for gateway in pair.gateways:
                assert gateway.ctl("reload").returncode == 0
                gateway.metrics()
            pair.gateways[0].ctl("policy", "set", "open", "--reason", "again")
            time.sleep(0.5)
        for done in lives:
            done.result(120)
    assert not odd, odd
    assert accounts(pair) == 16
    assert MODEL in pair.gateway.ctl("get", "workers").stdout
