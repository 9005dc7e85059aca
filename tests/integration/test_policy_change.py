"""Changing the policy safely: what a change would do, changes for a time, scheduled ones. By the admin API, where the
database decides; tidectl's words for it are in test_policy_commands.py."""
import json
import time
from datetime import datetime

import pytest

from tide.policy_admin import Admin, in_time, told
from tide.process import wait_until

CLOSED = {"effect": "deny", "reason": "signup_closed"}


def document(*rules: dict, name: str = "t", default: dict | None = None) -> dict:
    return {"name": name, "rules": list(rules), "default": default or CLOSED, "existing_users": "unaffected"}


def allow(name: str, **when) -> dict:
    return {"id": name, "when": when, "effect": "allow"}


@pytest.fixture
def one(pair):
    admin = Admin(pair.gateways[0])
    yield admin
    admin.put(preset="open")
    for row in admin.ask("GET", "/schedule")["items"]:
        admin.ask("POST", f"/schedule/{row['id']}/cancel", reason="test over")
    admin.http.close()


@pytest.fixture
def two(pair):
    admin = Admin(pair.gateways[1])
    yield admin
    admin.http.close()


def notice(pair) -> dict:
    return json.loads(pair.postgres.query("SELECT body FROM status_notices WHERE kind = 'signup_policy' ORDER BY id DESC LIMIT 1"))


# --- what a change would do ---------------------------------------------------------------------------------


def test_diff_tells_rules_and_members(one):
    before = document(allow("cn", phone_country=["CN"]), allow("hk", phone_country=["HK"]), allow("us", phone_country=["US"]))
    after = document(allow("us", phone_country=["US"]), allow("mo", phone_country=["MO"]), allow("cn", phone_country=["MO", "CN"]),
                     name="t2", default={"effect": "allow"})
    after["rules"][2]["ramp_percent"] = 5
    said = one.ask("POST", "/diff", base_document=before, document=after)
    assert said["same"] is False
    by_id = {(c["what"], c.get("id")): c for c in said["changes"]}
    assert by_id["rule", "hk"]["change"] == "removed" and by_id["rule", "hk"]["from"] == 1
    assert by_id["rule", "mo"]["change"] == "added" and by_id["rule", "mo"]["to"] == 1
    assert by_id["rule", "mo"]["after"] == allow("mo", phone_country=["MO"])
    changed = by_id["rule", "cn"]
    assert (changed["change"], changed["from"], changed["to"]) == ("changed", 0, 2)
    assert {m["member"] for m in changed["members"]} == {"when.phone_country", "ramp_percent"}
    assert [m for m in changed["members"] if m["member"] == "ramp_percent"] == [{"member": "ramp_percent", "after": 5}]
    assert [m["added"] for m in changed["members"] if "added" in m] == [["MO"]]
    moved = by_id.get(("rule", "us")) or changed  # either of the two changed places, not both
    assert (("rule", "us") in by_id) != changed["moved"] and moved["change"] in ("moved", "changed")
    assert {(m["member"], m.get("before"), m.get("after")) for m in by_id["default", None]["members"]} == {
        ("effect", "deny", "allow"), ("reason", "signup_closed", None)}
    assert by_id["name", None]["members"] == [{"member": "name", "before": "t", "after": "t2"}]


def test_diff_does_not_see_spelling(one):
    before = document(allow("cn", phone_country=["CN", "HK"], method=["phone"]))
    after = json.loads(json.dumps(before))
    after["rules"][0]["when"] = {"method": ["phone"], "phone_country": ["HK", "CN"]}
    after["version"] = 1
    assert one.ask("POST", "/diff", base_document=before, document=after) == {"same": True, "changes": []}


def test_diff_of_versions_and_large_lists(one):
    domains = [f"d{i}.example" for i in range(3000)]
    first = one.put(document=document(allow("trash", email_domain=domains)))["version"]
    second = one.put(document=document(allow("trash", email_domain=domains[100:] + ["new.example"])))["version"]
    said = one.ask("POST", "/diff", base_version=first, version=second)["changes"][0]["members"][0]
    assert (said["added"], said["added_count"], said["removed_count"], len(said["removed"])) == (["new.example"], 1, 100, 20)
    assert one.ask("POST", "/diff", base_version=second) == {"same": True, "changes": []}  # the one in force
    assert "99999" in one.ask("POST", "/diff", code=404, base_version=99999)["detail"]
    said = one.ask("POST", "/diff", base_preset="closed", preset="open")
    assert {(m["before"], m.get("after")) for c in said["changes"] if c["what"] == "name" for m in c["members"]} == {("closed", "open")}
    one.ask("POST", "/diff", code=400, version=first, preset="open")
    one.ask("POST", "/diff", code=400, base_version=first, base_preset="open")
    assert "base_preset" in one.ask("POST", "/diff", code=400, base_preset="ajar")["detail"]
    one.ask("POST", "/diff", code=400, base_document={"name": "t"}, preset="open")


def test_a_dry_run_changes_nothing(pair, one):
    def put(code: int = 200, **body) -> dict:
        return one.ask("PUT", "?dry_run=1", code=code, reason="test", **body)

    before = one.get()
    rows = pair.postgres.query("SELECT count(*) FROM audit")
    said = put(document=document(allow("a"), allow("b", asn=[1]), name="dry"))
    assert said["dry_run"] and said["version"] == before["version"] and said["diff"]["same"] is False
    assert any(f["code"] == "unreachable_rule" for f in said["lint"]["findings"])
    said = one.ask("POST", "/rollback?dry_run=1", version=before["version"], reason="t")
    assert said["diff"] == {"same": True, "changes": []}
    assert "$.odd" in put(code=400, document={**document(), "odd": 1})["detail"]
    stale = put(code=409, preset="closed", if_version=before["version"] + 7)["detail"]
    assert stale == f"version {before['version']} is in force, not {before['version'] + 7}"
    assert one.put(code=409, preset="closed", if_version=before["version"] + 7)["detail"] == stale
    said = one.ask("POST", "/schedule?dry_run=1", preset="closed", at=in_time(3600), reason="t")
    assert said["diff"]["same"] is False and one.ask("GET", "/schedule")["items"] == []
    assert one.get() == before and pair.postgres.query("SELECT count(*) FROM audit") == rows


# --- for a time ---------------------------------------------------------------------------------------------


def test_for_a_time(pair, one, two):
    base = one.get()
    done = two.put(preset="closed", for_s=2, reason="flood")
    now = one.get()
    assert (now["version"], now["reverts_to"], now["reverts_by"]) == (done["version"], base["version"], "itself")
    assert abs(datetime.fromisoformat(now["reverts_at"]).timestamp() - time.time() - 2) < 60
    assert notice(pair)["state"] == "closed"
    wait_until(lambda: one.get()["version"] > done["version"], 30, "it goes back")
    history = one.history()
    assert [(v["name"], v["reason"]) for v in history[:2]] == [("open", "expired"), ("closed", "flood")]
    assert history[0]["actor"] == history[1]["actor"] and history[0]["version"] == done["version"] + 1  # once
    assert notice(pair) == {"policy": "open", "state": "open", "messages": {}, "policy_version": history[0]["version"]}
    action = pair.postgres.query("SELECT action, reason FROM audit ORDER BY id DESC LIMIT 1")
    assert action == "policy.expire|expired"
    for gateway in pair.gateways:
        wait_until(lambda: told(gateway)["policy_version"] == history[0]["version"], 30, "every gateway follows")
    assert one.get()["reverts_at"] is None


def test_a_later_change_stays(pair, one):
    one.put(preset="closed", for_s=1)
    mine = one.put(preset="mainland-phone-only")
    assert pair.postgres.query("SELECT count(*) FROM policy_pending") == "0"
    assert one.get()["reverts_at"] is None and one.get()["version"] == mine["version"]


def test_changes_for_a_time_do_not_pile_up(one):
    base = one.get()["version"]
    one.put(preset="closed", for_s=3600)
    one.put(preset="mainland-phone-only", for_s=3600)
    assert one.get()["reverts_to"] == base
    one.put(preset="closed", for_s=1)
    wait_until(lambda: one.get()["name"] == "open", 30, "back to what was before all of them")
    assert one.get()["reason"] == "expired"


@pytest.mark.parametrize("seconds", [0, -1, 40_000_000, "2h", 1.5])
def test_times_that_are_none(one, seconds):
    version = one.get()["version"]
    assert "for_s" in one.put(code=400, preset="closed", for_s=seconds)["detail"]
    assert one.get()["version"] == version


def test_it_goes_back_though_every_gateway_died(own_pair):
    """The time passes while nobody is there: whoever comes first carries it out, once."""
    admin = Admin(own_pair.gateways[0])
    done = admin.put(preset="closed", for_s=2)
    for gateway in own_pair.gateways:
        gateway.process.kill()
    time.sleep(2.5)  # the time itself passes
    for gateway in own_pair.gateways:
        gateway.start(ready=False)
    count = "SELECT count(*) FROM policy_versions WHERE version > " + str(done["version"])
    wait_until(lambda: own_pair.postgres.query(count) == "1", 30, "it went back")
    for gateway in own_pair.gateways:
        wait_until(lambda: told(gateway)["state"] == "open", 30, "every gateway follows")
    assert own_pair.postgres.query(count) == "1"
    assert own_pair.postgres.query("SELECT count(*) FROM audit WHERE action = 'policy.expire'") == "1"


# --- scheduled ----------------------------------------------------------------------------------------------


def test_scheduled_for_a_time(pair, one, two):
    base = one.get()["version"]
    done = one.ask("POST", "/schedule", preset="closed", at=in_time(2), for_s=2, reason="exam day")
    row = two.ask("GET", "/schedule")["items"][0]
    assert (row["id"], row["name"], row["reason"]) == (done["id"], "closed", "exam day") and row["until"] > row["at"]
    assert one.get()["version"] == base  # not yet
    wait_until(lambda: one.get()["version"] == base + 1, 30, "the time comes")
    closed = one.history()[0]
    assert (closed["name"], closed["reason"]) == ("closed", "exam day")
    wait_until(lambda: one.get()["version"] == base + 2, 30, "and passes")
    assert (one.get()["name"], one.get()["reason"]) == ("open", "expired")
    assert two.ask("GET", "/schedule")["items"] == []
    actions = pair.postgres.query("SELECT action FROM audit ORDER BY id DESC LIMIT 3").splitlines()
    assert actions == ["policy.expire", "policy.scheduled", "policy.schedule"]


def test_a_scheduled_change_can_be_taken_back(pair, one):
    done = one.ask("POST", "/schedule", document=document(name="later"), at=in_time(3600), reason="t")
    assert one.ask("POST", f"/schedule/{done['id']}/cancel", reason="no")["canceled"] == done["id"]
    assert one.ask("GET", "/schedule")["items"] == []
    assert str(done["id"]) in one.ask("POST", f"/schedule/{done['id']}/cancel", code=404, reason="no")["detail"]
    one.ask("POST", "/schedule/x/cancel", code=404, reason="no")
    assert pair.postgres.query("SELECT action FROM audit ORDER BY id DESC LIMIT 1") == "policy.unschedule"


@pytest.mark.parametrize("change,words", [
    ({"at": "tomorrow"}, "at:"), ({"at": "2026-01-01T00:00:00Z"}, "past"), ({"at": ""}, "at:"), ({"for_s": 0}, "for_s"),
    ({"preset": "opne"}, "preset"), ({"reason": ""}, "reason"), ({"document": {"name": "x"}}, "either"),
    ({"if_version": 1}, "unknown member")])
def test_schedules_that_are_none(pair, one, change, words):
    body = {"preset": "closed", "at": in_time(3600), "reason": "t", **change}
    assert words in one.ask("POST", "/schedule", code=400, **body)["detail"]
    assert one.ask("GET", "/schedule")["items"] == []


def test_documents_are_read_before_their_time(one):
    broken = {**document(), "odd": 1}
    assert "$.odd" in one.ask("POST", "/schedule", code=400, document=broken, at=in_time(3600), reason="t")["detail"]


def test_the_schedule_is_bounded(pair, one):
    for _ in range(100):
        one.ask("POST", "/schedule", preset="open", at=in_time(3600), reason="t")
    assert "100" in one.ask("POST", "/schedule", code=409, preset="open", at=in_time(3600), reason="t")["detail"]


@pytest.mark.tsan
def test_two_gateways_carry_it_out_once(pair, one, two):
    before = one.get()["version"]
    for _ in range(3):
        one.ask("POST", "/schedule", preset="closed", at=in_time(1), reason="t")
        two.ask("POST", "/schedule", preset="open", at=in_time(1), reason="t")
    wait_until(lambda: one.get()["version"] >= before + 6, 30, "all six are carried out")
    time.sleep(1)  # time enough for a second time, were there one
    assert one.get()["version"] == before + 6 and one.ask("GET", "/schedule")["items"] == []
