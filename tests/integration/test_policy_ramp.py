"""A policy that comes into force in stages: `tidectl policy ramp` on two gateways, which carry it on by themselves."""
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tide.client import mainland_phone
from tide.policy_admin import Admin, in_time, told
from tide.process import wait_until

HONG_KONG = {"name": "hk", "rules": [
    {"id": "mainland", "when": {"method": ["phone"], "phone_country": ["CN"]}, "effect": "allow"},
    {"id": "hk", "when": {"phone_country": ["HK"]}, "effect": "allow"}],
    "default": {"effect": "deny", "reason": "signup_region_not_allowed"}, "existing_users": "unaffected"}
ENDED = ("done", "reverted", "aborted", "replaced")


class Ramps:
    """What the tests ask of two gateways; all that was begun is ended."""

    def __init__(self, pair):
        self.pair = pair
        self.one, self.two = (Admin(g) for g in pair.gateways)

    def set(self, preset: str, **more) -> int:
        return self.one.put(preset=preset, **more)["version"]

    def start(self, code: int = 200, **body) -> dict:
        return self.one.ask("POST", "/ramp", code=code, **{"reason": "opening", **body})

    def tell(self, verb: str, code: int = 200) -> dict:
        return self.two.ask("POST", f"/ramp/{verb}", code=code, reason="by hand")

    def status(self) -> dict:
        return self.two.ask("GET", "/ramp")

    def wait(self, **wanted) -> dict:
        wait_until(lambda: wanted.items() <= self.status().items(), 60, f"the ramp is {wanted}")
        return self.status()

    def audit(self) -> list[str]:
        return self.pair.postgres.query("SELECT action FROM audit WHERE action LIKE 'policy.%' ORDER BY id").splitlines()

    def close(self) -> None:
        if self.status()["state"] not in (*ENDED, "none"):
            self.tell("abort")
        self.set("open")
        for admin in (self.one, self.two):
            admin.http.close()


@pytest.fixture
def ramps(pair):
    r = Ramps(pair)
    r.set("mainland-phone-only")
    yield r
    r.close()


# --- stepping -----------------------------------------------------------------------------------------------


@pytest.mark.tsan
def test_it_steps_by_itself(pair, ramps):
    base = ramps.one.get()["version"]
    before = len(ramps.audit())
    begun = ramps.start(document=HONG_KONG, stages=[1, 25, 100], every_s=1)
    assert (begun["state"], begun["percent"], begun["version"], begun["base"]) == ("running", 1, base + 1, base)
    assert begun["stages"] == [1, 25, 100] and begun["findings"] == []
    ended = ramps.wait(state="done")
    assert (ended["percent"], ended["note"]) == (100, "the last stage went well") and ended["ended_at"]
    rows = [(v["version"], v["name"], v["reason"]) for v in ramps.one.history()[:3]]
    assert rows == [(base + 3, "hk", "opening (ramp: 100 %)"), (base + 2, "hk.ramp-25", "opening (ramp: 25 %)"),
                    (base + 1, "hk.ramp-1", "opening")]
    assert ramps.one.get()["document"] == HONG_KONG  # the last stage is the document itself
    assert ramps.audit()[before:] == ["policy.ramp", "policy.ramp_step", "policy.ramp_step", "policy.ramp_done"]
    for gateway in pair.gateways:
        wait_until(lambda g=gateway: told(g)["policy"] == "hk", 60, "every gateway follows")
        wait_until(lambda g=gateway: g.metric("tidegate_policy_ramp_percent") == 0, 60, "nothing is left of it")
    assert ramps.one.ask("POST", "/rollback", version=base + 2, reason="back")["name"] == "hk.ramp-25"


@pytest.mark.parametrize("before", ["", "x", "xx"])
def test_a_long_reason_stays_whole(ramps, before):
    reason = before + "放" * 120
    ramps.start(preset="open", stages=[1, 100], every_s=1, reason=reason)
    ramps.wait(percent=100)
    assert ramps.one.history()[0]["reason"] == f"{reason} (ramp: 100 %)"


def test_a_share_of_the_people_is_let_in(pair, ramps):
    """The part of a stage is that of `ramp_percent`: the same people at every gateway, and those of a smaller stage within."""
    attempts = [{"phone": f"+8525123{n:04}"} for n in range(400)]

    def allowed() -> set:
        said = ramps.two.ask("POST", "/simulate", attempts=attempts)["results"]
        return {i for i, item in enumerate(said) if item["effect"] == "allow"}

    wait_until(lambda: allowed() == set(), 60, "the second gateway follows")
    seen = []
    for percent in (10, 50):
        ramps.start(document=HONG_KONG, stages=[percent, 100], every_s=3600)
        wait_until(lambda p=percent: told(pair.gateways[1])["policy"] == f"hk.ramp-{p}", 60, "the second follows")
        seen.append(allowed())
        assert ramps.tell("abort")["state"] == "aborted"
    assert 10 <= len(seen[0]) <= 90 and 130 <= len(seen[1]) <= 270 and seen[0] < seen[1], [len(s) for s in seen]
    a = pair.app(pair.gateways[1])
    wait_until(lambda: told(pair.gateways[1])["policy"] == "mainland-phone-only", 60, "it is back")
    assert a.ask_code(mainland_phone()).status_code == 200  # whom both let in was never touched


def test_pause_resume_abort(ramps):
    ramps.start(preset="open", stages=[5, 100], every_s=5)
    assert ramps.tell("pause")["state"] == "paused"
    assert "paused already" in ramps.tell("pause", 409)["detail"]
    at = ramps.status()
    time.sleep(6)  # more than a stage lasts
    assert ramps.status() == at and at["note"] == "by hand" and at["next_at"] is None
    assert ramps.tell("resume")["state"] == "running"
    assert "running" in ramps.tell("resume", 409)["detail"]
    assert ramps.tell("abort")["state"] == "aborted"
    now = ramps.one.get()
    assert (now["name"], now["reason"]) == ("mainland-phone-only", "by hand")
    for verb in ("pause", "resume", "abort"):
        assert ramps.tell(verb, 404)["detail"] == "no ramp runs"
    told = [action for action in ramps.audit() if action in ("policy.ramp_pause", "policy.ramp_resume", "policy.ramp_abort")]
    assert told[-4:] == ["policy.ramp_pause", "policy.ramp_resume", "policy.ramp_abort", "policy.ramp_abort"]


def test_the_gateways_die_in_between(own_pair):
    ramps = Ramps(own_pair)
    ramps.set("mainland-phone-only")
    ramps.start(preset="open", stages=[1, 50, 100], every_s=2)
    for gateway in own_pair.gateways:
        gateway.process.kill()
    at = own_pair.postgres.query("SELECT state, stage FROM policy_ramps")
    time.sleep(3)  # a stage ends while nobody is there
    assert own_pair.postgres.query("SELECT state, stage FROM policy_ramps") == at
    for gateway in own_pair.gateways:
        gateway.start(ready=False)
    ramps = Ramps(own_pair)
    ramps.wait(state="done")
    stages = own_pair.postgres.query("SELECT name FROM policy_versions WHERE name LIKE 'open%' ORDER BY version").splitlines()
    assert stages == ["open", "open.ramp-1", "open.ramp-50", "open"]  # each once, none left out


# --- another change -------------------------------------------------------------------------------------------


def test_another_change_ends_it(pair, ramps):
    ramps.start(preset="open", stages=[5, 100], every_s=3600)
    mine = ramps.set("closed")
    ended = ramps.wait(state="replaced")
    assert ended["note"] == f"version {mine} is in force instead"
    assert ramps.one.get()["version"] == mine and ramps.audit()[-1] == "policy.ramp_end"


def test_another_begins_over_one_that_a_change_has_ended(pair, ramps):
    """At once: nobody has to wait until a gateway has seen the change."""
    for _ in range(5):
        ended = ramps.start(preset="open", stages=[5, 100], every_s=3600)["id"]
        ramps.set("mainland-phone-only")
        begun = ramps.start(preset="open", stages=[5, 100], every_s=3600)["id"]
        assert pair.postgres.query(f"SELECT state FROM policy_ramps WHERE id = {ended}") == "replaced"
        assert ramps.status()["id"] == begun and ramps.status()["state"] == "running"
        assert ramps.audit()[-2:] == ["policy.ramp_end", "policy.ramp"]
        ramps.set("mainland-phone-only")


@pytest.mark.parametrize("on_bad,state,after", [("hold", "held", "open.ramp-5"), ("revert", "reverted", "mainland-phone-only")])
def test_an_emergency_stops_it(ramps, on_bad, state, after):
    """What was in force comes back after an emergency: the stage, or, where the ramp was to go back, what was before it."""
    ramps.start(preset="open", stages=[5, 100], every_s=3600, on_bad=on_bad)
    ramps.one.ask("POST", "/emergency", closed=True, reason="fire")
    assert ramps.wait(state=state)["note"] == "another policy is in force for a time"
    assert ramps.one.get()["name"] == "closed"
    if state == "held":
        assert "another policy" in ramps.tell("resume", 409)["detail"]
    ramps.two.ask("POST", "/emergency", closed=False, reason="out")
    assert ramps.one.get()["name"] == after
    if state == "held":
        ramps.wait(version=ramps.one.get()["version"])
        assert ramps.tell("resume")["state"] == "running"


@pytest.mark.parametrize("cover", ["emergency", "for"])
def test_none_begins_over_what_is_for_a_time(pair, ramps, cover):
    """It would make that permanent."""
    def state():
        return pair.postgres.query("SELECT version::text FROM policy_current UNION ALL SELECT w::text FROM policy_pending w"
                                   " UNION ALL SELECT count(*)::text FROM policy_ramps UNION ALL SELECT count(*)::text FROM audit")

    if cover == "emergency":
        ramps.one.ask("POST", "/emergency", closed=True, reason="fire")
    else:
        ramps.set("closed", for_s=3600)
    wait_until(lambda: pair.postgres.query("SELECT count(*) FROM policy_pending WHERE kind = 'revert'") == "1", 60, "it is written")
    before = state()
    for path in ("/ramp", "/ramp?dry_run=1"):
        said = ramps.one.ask("POST", path, code=409, preset="open", reason="t")["detail"]
        assert said == "what is in force is so for a time: end that first"
    done = pair.gateways[0].ctl("policy", "ramp", "open", "--reason", "t", check=False)
    assert done.returncode == 6 and "end that first" in done.stderr, done
    assert state() == before
    if cover == "emergency":
        ramps.two.ask("POST", "/emergency", closed=False, reason="out")
    else:
        ramps.set("mainland-phone-only")
    assert ramps.start(preset="open", every_s=3600)["state"] == "running"


@pytest.mark.parametrize("verb,state,after", [("resume", "running", "open.ramp-5"), ("abort", "aborted", "mainland-phone-only")])
def test_one_cover_after_another(pair, ramps, verb, state, after):
    """Between them the stage came back under a version that no gateway had the time to note."""
    ramps.start(preset="open", stages=[5, 100], every_s=3600)
    ramps.one.ask("POST", "/emergency", closed=True, reason="fire")
    ramps.wait(state="held")
    ramps.one.ask("POST", "/schedule", preset="waitlist", at=in_time(3600), for_s=3600, reason="t")
    pair.postgres.query("UPDATE policy_pending SET due_at = now() WHERE kind = 'set'")
    with pair.postgres.holding("SELECT FROM policy_ramps WHERE ended_at IS NULL FOR UPDATE"):
        ramps.two.ask("POST", "/emergency", closed=False, reason="out")
        wait_until(lambda: ramps.one.get()["name"] == "waitlist", 60, "what waited is in force")
    time.sleep(2)  # both gateways look at it
    assert ramps.status()["state"] == "held"
    if verb == "abort":
        assert ramps.tell("abort")["state"] == state
    else:
        assert "another policy" in ramps.tell("resume", 409)["detail"]
    pair.postgres.query("UPDATE policy_pending SET due_at = now() WHERE kind = 'revert'")
    wait_until(lambda: ramps.one.get()["name"] == after, 60, "it is over")
    if verb == "resume":
        ramps.wait(version=ramps.one.get()["version"])
        assert ramps.tell("resume")["state"] == state


@pytest.mark.parametrize("verb,after", [(None, "open.ramp-5"), ("abort", "mainland-phone-only")])
def test_an_emergency_over_a_cover(pair, ramps, verb, after):
    """What lies beneath both is still the ramp's stage."""
    ramps.start(preset="open", stages=[5, 100], every_s=3600)
    ramps.set("waitlist", for_s=3600)
    ramps.wait(state="held")
    ramps.one.ask("POST", "/emergency", closed=True, reason="fire")
    if verb:
        assert ramps.tell(verb)["state"] == "aborted"
    else:
        assert "another policy" in ramps.tell("resume", 409)["detail"]
    ramps.two.ask("POST", "/emergency", closed=False, reason="out")
    assert ramps.one.get()["name"] == "waitlist"
    pair.postgres.query("UPDATE policy_pending SET due_at = now() WHERE kind = 'revert'")
    wait_until(lambda: ramps.one.get()["name"] == after, 60, "its time is over")
    assert ramps.status()["state"] == ("aborted" if verb else "held")


def test_a_cover_that_ends_while_it_is_aborted(own_stack):
    own_stack.start_servers()
    settings = own_stack.settings()
    settings["database"]["job_timeout"] = "60s"  # the abort waits for another's transaction
    gateway = own_stack.start_gateway(settings)
    admin, other = Admin(gateway), Admin(gateway)
    admin.put(preset="mainland-phone-only")
    admin.ask("POST", "/ramp", preset="open", stages=[5, 100], every_s=3600, reason="t")
    admin.put(preset="closed", for_s=3600)
    wait_until(lambda: admin.ask("GET", "/ramp")["state"] == "held", 60, "it is held")
    waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%policy_ramp_uncover%'"
    with ThreadPoolExecutor(1) as threads:
        with own_stack.postgres.holding("SELECT policy_end(0, 'over', 't', '', 'policy.end')", end="COMMIT"):
            said = threads.submit(other.ask, "POST", "/ramp/abort", code=409, reason="t")
            wait_until(lambda: own_stack.postgres.query(waits) == "1" or said.done(), 60, "the abort waits")
        assert said.result()["detail"] == "the policy has just changed"
    assert (admin.get()["name"], admin.ask("GET", "/ramp")["state"]) == ("open.ramp-5", "held")
    assert admin.ask("POST", "/ramp/abort", reason="t")["state"] == "aborted"
    assert admin.get()["name"] == "mainland-phone-only"


# --- bad signals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_bad,state,after", [("hold", "held", "open.ramp-5"), ("revert", "reverted", "mainland-phone-only")])
def test_an_attack_stops_it(pair, ramps, on_bad, state, after):
    ramps.start(preset="open", stages=[5, 100], every_s=3600, on_bad=on_bad)
    gateway = pair.gateways[0]
    gateway.ctl("attack", "set", "A2", "--ttl", "1h", "--reason", "pumping")
    try:
        assert ramps.wait(state=state)["note"] == "attack level A2"
        assert ramps.one.get()["name"] == after  # not everybody may sign up by either: the ladder leaves it
    finally:
        gateway.ctl("attack", "set", "A0", "--ttl", "1s", "--reason", "over")
    assert ramps.one.get()["name"] == after
    assert ramps.audit()[-1] == f"policy.ramp_{on_bad}"
    if state == "held":  # the ladder's way down does not open anything by itself
        ramps.wait(version=ramps.one.get()["version"])
        assert (ramps.status()["state"], ramps.status()["percent"]) == ("held", 5)
        assert ramps.tell("resume")["state"] == "running"


@pytest.fixture
def ladder(pair):
    def move(level: str) -> None:
        pair.gateways[0].ctl("attack", "set", level, "--ttl", "1h", f"--confirm={level}", "--reason", "pumping")
    yield move
    move("A0")


@pytest.mark.parametrize("level,own", [("A2", "mainland-phone-only"), ("A3", "mainland-phone-only"), ("A3", "closed")])
def test_none_begins_while_the_ladder_restricts_sign_up(pair, ramps, ladder, level, own):
    """Over the ladder's policy it would make that permanent; over one of somebody's own it would open for its first stage."""
    ramps.set(own)
    ladder(level)

    def state():
        return ramps.one.get(), pair.postgres.query("SELECT count(*) FROM policy_ramps"), ramps.audit()

    before = state()
    assert before[0]["name"] == ("closed" if level == "A3" else "mainland-phone-only")
    for path in ("/ramp", "/ramp?dry_run=1"):
        said = ramps.one.ask("POST", path, code=409, preset="open", reason="t")["detail"]
        assert said == f"the attack ladder is at {level}: a ramp waits until it is below A2"
    done = pair.gateways[1].ctl("policy", "ramp", "open", "--reason", "t", check=False)
    assert done.returncode == 6 and "a ramp waits" in done.stderr, done
    assert state() == before
    ladder("A1")
    assert ramps.one.get()["name"] == own
    assert ramps.start(preset="open", stages=[5, 100], every_s=3600)["state"] == "running"


def test_a_ramp_goes_on_at_the_first_level_and_rests_at_the_next(ramps, ladder):
    ramps.set("closed")
    ramps.start(preset="mainland-phone-only", stages=[5, 50, 100], every_s=1)
    ladder("A1")
    ramps.wait(state="done")
    ramps.start(preset="open", stages=[5, 100], every_s=3600)
    ladder("A2")
    ramps.wait(state="held")
    assert "the attack ladder is at A2" in ramps.tell("resume", 409)["detail"]
    ladder("A1")
    wait_until(lambda: ramps.one.get()["name"] == "open.ramp-5", 60, "the stage is back")
    ramps.wait(version=ramps.one.get()["version"])
    assert ramps.tell("resume")["state"] == "running"


def test_a_blocked_prefix_stops_it(pair, ramps):
    ramps.start(preset="open", stages=[5, 100], every_s=3600, on_bad="revert")
    pair.postgres.query("INSERT INTO audit (actor, action, target, reason, request_id, detail) VALUES"
                        " ('gateway', 'sms.block', 'phone_prefix/+8616528', 'few', '', '{}')")  # as sms.guard writes it
    assert ramps.wait(state="reverted")["note"] == "codes are pumped: blocked phone_prefix/+8616528"
    now = ramps.one.get()
    assert (now["name"], now["actor"]) == ("mainland-phone-only", "gateway")


def test_failures_stop_it(own_stack):
    """Codes that nobody can send: more than the share that may fail."""
    own_stack.start_servers()
    settings = own_stack.settings()
    settings["ramp"] = {"attempts": 5, "failed_percent": 30}
    gateway = own_stack.start_gateway(settings)
    admin = Admin(gateway)
    admin.ask("POST", "/ramp", preset="open", stages=[5, 100], every_s=3600, reason="t")
    wait_until(lambda: gateway.metric("tidegate_policy_ramp_percent") == 5, 60, "it is seen")
    own_stack.outbox_process.stop()
    app = own_stack.app()

    def is_held() -> bool:
        app.ask_code(mainland_phone())
        return admin.ask("GET", "/ramp")["state"] == "held"
    wait_until(is_held, 60, "it is held")
    assert re.fullmatch(r"\d+ % of the code requests fail", admin.ask("GET", "/ramp")["note"])
    wait_until(lambda: gateway.metric("tidegate_policy_ramp_stands") == 1, 60, "the metric says so")


def test_a_budget_near_its_end_stops_it(own_stack):
    own_stack.start_servers()
    settings = own_stack.settings()
    settings["limits"]["rules"].append({"name": "sms_day", "by": "all", "at": "sms", "limit": "10/1d", "on_error": "closed",
                                        "role": "ledger"})
    settings["limits"]["rules"].append({"name": "sms_running", "by": "all", "at": "sms", "limit": "2", "unit": "concurrent",
                                        "on_error": "closed", "role": "ledger"})
    settings["database"]["job_timeout"] = "60s"
    settings["ramp"] = {"budget_percent": 45}
    gateway = own_stack.start_gateway(settings)
    admin, app = Admin(gateway), own_stack.app()

    def ramp(**wanted) -> None:
        wait_until(lambda: wanted.items() <= admin.ask("GET", "/ramp").items(), 60, f"the ramp is {wanted}")

    admin.ask("POST", "/ramp", preset="open", stages=[5, 10, 100], every_s=1, reason="t")
    ramp(state="done")  # there is enough
    admin.ask("POST", "/ramp", preset="open", stages=[5, 100], every_s=3600, reason="t")
    waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%otp_codes%'"
    with ThreadPoolExecutor(2) as threads:
        with own_stack.postgres.holding("LOCK TABLE otp_codes"):  # all that may run at once do: that is no budget
            asked = [threads.submit(app.ask_code, mainland_phone()) for _ in range(2)]
            wait_until(lambda: own_stack.postgres.query(waits) == "2", 60, "both run")
            time.sleep(3)
            ramp(state="running", percent=5)
        assert [a.result().status_code for a in asked] == [200, 200]
    for _ in range(4):
        assert app.ask_code(mainland_phone()).status_code == 200
    ramp(state="held", percent=5)
    assert re.fullmatch(r"\d+ % is left of the SMS budget sms_day", admin.ask("GET", "/ramp")["note"])
    admin.ask("POST", "/ramp/abort", reason="t")
    wait_until(lambda: gateway.metric("tidegate_policy_ramp_percent") == 0, 60, "nothing is left of it")
    own_stack.redis.stop()  # now nobody knows what is left: no further
    admin.ask("POST", "/ramp", preset="open", stages=[5, 100], every_s=1, reason="t")
    time.sleep(4)
    last = admin.ask("GET", "/ramp")
    assert last["percent"] == 5 and last["state"] in ("running", "held"), last  # held: by what was known last


# --- words ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body,said", [
    ({}, "either preset or document"), ({"preset": "opne"}, "preset"), ({"preset": "open", "document": HONG_KONG}, "either"),
    ({"preset": "open", "stages": [1, 5]}, "the last one is 100"), ({"preset": "open", "stages": [5, 5, 100]}, "larger"),
    ({"preset": "open", "stages": [0, 100]}, "0.01 to 100"), ({"preset": "open", "stages": [101]}, "0.01 to 100"),
    ({"preset": "open", "stages": []}, "stages: 1 to 20"), ({"preset": "open", "stages": list(range(1, 22))}, "too many"),
    ({"preset": "open", "stages": "1,100"}, "list of percents"), ({"preset": "open", "stages": ["1"]}, "0.01 to 100"),
    ({"preset": "open", "every_s": 0}, "every_s"), ({"preset": "open", "every_s": "10m"}, "every_s"),
    ({"preset": "open", "on_bad": "panic"}, "on_bad"), ({"preset": "open", "for_s": 5}, "unknown member for_s"),
    ({"preset": "open", "reason": ""}, "reason"), ({"document": {**HONG_KONG, "odd": 1}}, "$.odd"),
    ({"document": {**HONG_KONG, "rules": [{"id": "a", "when": {}, "effect": "allow", "caps": {"per_day": 0}}]}}, "cap_zero")])
def test_ramps_that_are_none(ramps, body, said):
    before = ramps.one.get()
    answer = ramps.start(code=400, **body)
    assert said in answer["detail"] and ramps.one.get() == before and ramps.status()["state"] in (*ENDED, "none")


def test_one_at_a_time_and_versions(ramps):
    before = ramps.one.get()["version"]
    assert f"version {before} is in force, not 1" in ramps.start(code=409, preset="open", if_version=1)["detail"]
    assert ramps.one.get()["version"] == before
    ramps.start(preset="open", if_version=before, every_s=3600)
    assert ramps.status()["stages"] == [1, 5, 25, 100]
    assert "a ramp to open is there (running)" in ramps.start(code=409, preset="open")["detail"]


def test_a_dry_run_changes_nothing(pair, ramps):
    def state():
        return ramps.one.get(), ramps.status(), pair.postgres.query("SELECT count(*) FROM audit, policy_ramps")
    before = state()
    said = ramps.one.ask("POST", "/ramp?dry_run=1", document=HONG_KONG, reason="t")
    assert said["dry_run"] and said["diff"]["same"] is False and said["version"] == before[0]["version"]
    assert state() == before
    ramps.start(preset="open", every_s=3600)
    before = state()
    ramps.one.ask("POST", "/ramp?dry_run=1", code=409, preset="open", reason="t")
    for verb in ("pause", "abort"):
        ramps.one.ask("POST", f"/ramp/{verb}?dry_run=1", reason="t")
    assert state() == before


def test_tidectl(pair, ramps, tmp_path):
    def ctl(*words, code: int = 0):
        done = pair.gateways[0].ctl("policy", "ramp", *words, check=False)
        assert done.returncode == code, done
        return done.stdout + done.stderr

    file = tmp_path / "hk.json"
    file.write_text(json.dumps(HONG_KONG))
    assert "nothing was changed" in ctl(str(file), "--dry-run", "--reason", "t")
    said = ctl(str(file), "--stages", "2.5,100", "--every", "1h", "--on-bad", "revert", "--reason", "Hong Kong")
    assert re.search(r"^PERCENT +2.5$", said, re.M) and re.search(r"^STATE +running$", said, re.M)
    assert "is there (running)" in ctl("open", "--reason", "t", code=6)
    assert ctl("status", "-o", "name") == f"ramp/{ramps.status()['id']}\n"
    assert json.loads(ctl("status", "-o", "json"))["on_bad"] == "revert"
    assert ctl("pause", "--reason", "t") == "policy/ramp stands at its stage\n"
    assert ctl("resume", "--reason", "t") == "policy/ramp goes on\n"
    assert ctl("abort", "--reason", "t") == "policy/ramp is over; the policy from before is in force\n"
    assert "no ramp runs" in ctl("abort", "--reason", "t", code=5)
    assert "like 1,5,25,100" in ctl("open", "--stages", "one", "--reason", "t", code=2)
    assert "either a preset, or a file" in ctl("--reason", "t", code=2)
    assert "hold revert" in ctl("open", "--on-bad", "panic", "--reason", "t", code=2)
