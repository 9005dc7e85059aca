"""Sign-up closed in an emergency: at a gateway's own socket, with the database there and without it."""
import json

import pytest

from tide.client import code_of, mainland_phone
from tide.policy_admin import Admin, in_time, told
from tide.process import wait_until


def close(admin, **more) -> dict:
    return admin.ask("POST", "/emergency", closed=True, reason="they are all over us", **more)


def reopen(admin, code: int = 200, query: str = "") -> dict:
    return admin.ask("POST", "/emergency" + query, code=code, closed=False, reason="over")


def audit(stack, action: str) -> int:
    return int(stack.postgres.query(f"SELECT count(*) FROM audit WHERE action = '{action}'"))


def states(stack) -> list:
    return [told(g)["state"] for g in stack.gateways]


def database_is_known_up(stack) -> None:
    for g in stack.gateways:
        wait_until(lambda: g.metric("tidegate_database_up") == 1, 60, "the gateway has found the database")


def pending(gateway) -> float:
    return gateway.metric("tidegate_policy_emergency")


@pytest.fixture
def admins(own_pair):
    return [Admin(g) for g in own_pair.gateways]


def test_with_a_database_it_is_a_change_for_all(own_pair, admins):
    base = admins[0].put(preset="mainland-phone-only")
    done = close(admins[0])
    assert done["where"] == "every gateway" and done["version"] == base["version"] + 1
    assert told(own_pair.gateways[0])["state"] == "closed"  # here at once
    wait_until(lambda: states(own_pair) == ["closed", "closed"], 30, "everywhere")
    wait_until(lambda: pending(own_pair.gateways[0]) == 0, 30, "the gateway follows the database again")
    again = close(admins[1])  # beside the first: no second version
    assert again["version"] == done["version"] and again["id"] != done["id"]
    now = admins[1].get()
    assert (now["reverts_to"], now["reverts_by"], now["reverts_at"]) == (base["version"], "emergency-open", None)
    opened = reopen(admins[1])
    assert opened["version"] == done["version"] + 1
    wait_until(lambda: states(own_pair) == ["restricted", "restricted"], 30, "as before")
    assert admins[0].get()["name"] == "mainland-phone-only"
    assert audit(own_pair, "policy.emergency_close") == 2 and audit(own_pair, "policy.emergency_open") == 1
    assert "not closed" in reopen(admins[0], code=409)["detail"]


def test_an_id_that_was_opened_again_closes_anew(own_pair, admins):
    """Under an id of its own, ordered while the database is there or not; the same order twice is one closing."""
    done = close(admins[0])
    reopen(admins[0])
    wait_until(lambda: states(own_pair) == ["open", "open"], 60, "opened everywhere")
    again = close(admins[1], id=done["id"])
    assert again["where"] == "every gateway" and again["version"] == done["version"] + 2 and again["id"] != done["id"]
    wait_until(lambda: states(own_pair) == ["closed", "closed"], 60, "everywhere")
    assert close(admins[0], id=again["id"])["version"] == again["version"]
    reopen(admins[0])
    wait_until(lambda: states(own_pair) == ["open", "open"], 60, "opened everywhere")
    own_pair.postgres.kill()
    kept = close(admins[0], id=done["id"])
    assert (kept["where"], kept["id"]) == ("this gateway", done["id"])
    own_pair.postgres.start()
    wait_until(lambda: states(own_pair) == ["closed", "closed"] and pending(own_pair.gateways[0]) == 0, 60, "written")
    assert admins[1].get()["version"] == again["version"] + 2 and audit(own_pair, "policy.emergency_close") == 3
    reopen(admins[1])
    wait_until(lambda: states(own_pair) == ["open", "open"], 60, "opened everywhere")


def test_without_a_database(own_pair, admins):
    """Closed by each gateway's socket, kept over a restart, written once when the database is back."""
    first, second = own_pair.gateways
    own_pair.postgres.kill()
    done = close(admins[0])
    assert done["where"] == "this gateway" and done["kept"] is True and "version" not in done
    assert states(own_pair) == ["closed", "open"] and pending(first) == 1
    assert close(admins[0])["id"] == done["id"]  # it is closed already
    same = close(admins[1], id=done["id"])  # one emergency, told to both
    assert same["id"] == done["id"] and states(own_pair) == ["closed", "closed"]
    with own_pair.app(first) as app:
        refused = app.ask_code(mainland_phone())
        assert refused.status_code in (403, 503), refused.text  # who has an account cannot be looked up now
    known = admins[0].get()
    assert (known["name"], known["reason"]) == ("closed", "they are all over us")
    for gateway in own_pair.gateways:
        gateway.process.kill()
        gateway.start(ready=False)
    assert states(own_pair) == ["closed", "closed"]
    own_pair.postgres.start()
    database_is_known_up(own_pair)
    for gateway in own_pair.gateways:
        wait_until(lambda: pending(gateway) == 0, 60, "it is written")
        assert not (gateway.folder / "state" / "emergency").exists()
    assert states(own_pair) == ["closed", "closed"]
    assert own_pair.postgres.query("SELECT count(*) FROM policy_versions WHERE name = 'closed'") == "1"
    assert own_pair.postgres.query("SELECT id FROM policy_emergencies") == done["id"]
    assert audit(own_pair, "policy.emergency_close") == 1
    notice = own_pair.postgres.query("SELECT body FROM status_notices ORDER BY id DESC LIMIT 1")
    assert json.loads(notice)["state"] == "closed"
    reopen(Admin(second))
    wait_until(lambda: states(own_pair) == ["open", "open"], 30, "opened everywhere")


def test_opened_before_it_could_be_written(own_pair, admins):
    own_pair.postgres.kill()
    done = close(admins[0])
    assert reopen(admins[0], query="?dry_run=1")["state"] == "open" and states(own_pair)[0] == "closed"
    opened = reopen(admins[0])
    assert (opened["state"], opened["where"], opened["id"]) == ("open", "this gateway", done["id"])
    assert states(own_pair) == ["open", "open"]
    assert "away" in reopen(admins[1], code=503)["detail"]  # nothing of its own to open
    gateway = own_pair.gateways[0]
    gateway.process.kill()
    gateway.start(ready=False)
    assert told(gateway)["state"] == "open"
    own_pair.postgres.start()
    wait_until(lambda: audit(own_pair, "policy.emergency_open") == 1, 60, "the audit log is told")
    assert audit(own_pair, "policy.emergency_close") == 1
    assert own_pair.postgres.query("SELECT count(*) FROM policy_versions") == "1"
    assert own_pair.postgres.query("SELECT count(*) FROM policy_emergencies") == "1"


def test_what_was_for_a_time_before_it_is_so_again(own_pair, admins):
    base = admins[0].get()
    strict = admins[0].put(preset="mainland-phone-only", for_s=3600)
    due = admins[0].get()["reverts_at"]
    close(admins[0])
    assert admins[0].get()["reverts_to"] == strict["version"]
    reopen(admins[1])
    now = admins[0].get()
    assert (now["name"], now["reverts_to"], now["reverts_at"]) == ("mainland-phone-only", base["version"], due)
    # another change for a time, over the emergency over this one, goes back to what was before all of them
    close(admins[0])
    admins[0].put(preset="invite-only", for_s=3600)
    assert admins[0].get()["reverts_to"] == base["version"]
    assert own_pair.postgres.query("SELECT count(*) FROM policy_pending") == "1"
    # one whose time is over when the emergency is ends then
    close(admins[0])
    own_pair.postgres.query("UPDATE policy_pending SET due_at = now() WHERE kind = 'held'")
    assert admins[0].get()["name"] == "closed"
    reopen(admins[1])
    wait_until(lambda: admins[0].get()["name"] == "open", 30, "its time was over")
    assert own_pair.postgres.query("SELECT reason FROM policy_versions ORDER BY version DESC LIMIT 1") == "expired"


def test_written_but_not_yet_seen_is_the_fleets(own_pair, admins):
    """The gateway knows that the database has it, and the database is lost before it has seen that version."""
    gateway = own_pair.gateways[0]
    own_pair.postgres.query("REVOKE SELECT ON versions FROM tidegate_app")  # no gateway sees a change
    assert close(admins[0])["where"] == "every gateway" and pending(gateway) == 1
    own_pair.postgres.kill()
    for query in ("?dry_run=1", ""):  # which says what would come
        assert "away" in reopen(admins[0], code=503, query=query)["detail"]
    assert told(gateway)["state"] == "closed"
    own_pair.postgres.start()
    own_pair.postgres.query("GRANT SELECT ON versions TO tidegate_app")
    database_is_known_up(own_pair)
    wait_until(lambda: states(own_pair) == ["closed", "closed"] and pending(gateway) == 0, 60, "the fleet has it")
    reopen(admins[0])
    wait_until(lambda: states(own_pair) == ["open", "open"], 30, "opened everywhere")
    assert audit(own_pair, "policy.emergency_open") == 1


@pytest.mark.parametrize("is_same", [True, False])
def test_opened_after_a_closing_whose_answer_was_lost(own_pair, admins, is_same):
    """The database got it by another way than this gateway knows of; another emergency than this one is not opened."""
    first = own_pair.gateways[0]
    own_pair.postgres.kill()
    done = close(admins[0])
    reopen(admins[0])
    first.process.kill()
    own_pair.postgres.start()
    wait_until(lambda: own_pair.gateways[1].metric("tidegate_database_up") == 1, 60, "the other gateway has found the database")
    version = close(admins[1], **({"id": done["id"]} if is_same else {}))["version"]
    if not is_same:  # beside the one in force
        wait_until(lambda: pending(own_pair.gateways[1]) == 0, 60, "that one is the database's")
        assert close(admins[1], id=done["id"])["version"] == version
    first.start()
    wait_until(lambda: not (first.folder / "state" / "emergency").exists(), 60, "it is written")
    wait_until(lambda: states(own_pair) == ["open" if is_same else "closed"] * 2, 60, "on both")
    assert audit(own_pair, "policy.emergency_open") == (1 if is_same else 0)


def test_what_the_fleet_has_closed_is_not_opened_alone(own_pair, admins):
    close(admins[0])
    wait_until(lambda: states(own_pair) == ["closed", "closed"], 30, "everywhere")
    wait_until(lambda: pending(own_pair.gateways[0]) == 0, 30, "it is the database's")
    own_pair.postgres.kill()
    for admin in admins:
        assert "away" in reopen(admin, code=503)["detail"]
    assert states(own_pair) == ["closed", "closed"]


def test_a_code_from_before_makes_no_account(own_pair, admins):
    """The stricter wins also where the database, back again, still has an open policy of a newer version."""
    phone = mainland_phone()
    with own_pair.app(own_pair.gateways[0]) as app:
        assert app.ask_code(phone).status_code == 200
        code = own_pair.outbox.wait_for_code(phone)
        with own_pair.postgres.holding("LOCK TABLE policy_emergencies"):  # it cannot be written yet
            assert close(admins[0])["where"] == "this gateway"
            refused = app.verify(phone, code)
            assert (refused.status_code, code_of(refused)) == (403, "signup_closed")
    wait_until(lambda: states(own_pair) == ["closed", "closed"], 60, "written")


def test_scheduled_changes_wait_until_it_is_over(own_pair, admins):
    admins[0].ask("POST", "/schedule", preset="mainland-phone-only", at=in_time(1), reason="t")
    close(admins[0])
    wait_until(lambda: own_pair.postgres.query("SELECT count(*) FROM policy_pending WHERE kind = 'set' AND due_at < now()") == "1",
               30, "its time comes")
    assert admins[0].get()["name"] == "closed"
    reopen(admins[1])
    wait_until(lambda: admins[0].get()["name"] == "mainland-phone-only", 30, "now it comes into force")


@pytest.mark.parametrize("body,words", [
    ({}, "closed"), ({"closed": "yes"}, "closed"), ({"closed": True, "id": "7"}, "id"), ({"closed": False, "id": "7"}, "id"),
    ({"closed": True, "reason": ""}, "reason"), ({"closed": True, "reason": "x" * 201}, "reason"),
    ({"closed": True, "preset": "open"}, "preset")])
def test_wrong_bodies(pair, body, words):
    answer = Admin(pair.gateways[0]).ask("POST", "/emergency", code=400, **{"reason": "t", **body})
    assert words in answer["detail"] and told(pair.gateways[0])["state"] == "open"


def test_a_broken_record_does_not_stop_a_start(own_stack):
    own_stack.start_servers()
    gateway = own_stack.start_gateway()
    for text in ("", "{}", "\0" * 5000, '{"id": 7}'):
        gateway.process.stop()
        (gateway.folder / "state" / "emergency").write_text(text)
        gateway.start()
        assert told(gateway)["state"] == "open"
    assert "record of an emergency" in gateway.process.tail(200)
