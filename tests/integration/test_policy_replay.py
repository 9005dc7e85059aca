"""Attempts of before against another policy: what is kept of them, and what a replay tells."""
import json

import pytest

from tide.client import mainland_phone
from tide.policy_admin import Admin, told
from tide.process import wait_until

CLOSED = {"effect": "deny", "reason": "signup_closed"}


def document(*rules: dict, default: dict | None = None) -> dict:
    return {"name": "t", "rules": list(rules), "default": default or CLOSED, "existing_users": "unaffected"}


def rule(name: str, effect: str = "allow", **when) -> dict:
    return {"id": name, "when": when, "effect": effect, **({} if effect == "allow" else {"reason": "signup_disabled"})}


@pytest.fixture
def admin(pair):
    admin = Admin(pair.gateways[0])
    pair.postgres.query("TRUNCATE signup_attempts")
    yield admin
    admin.put(preset="open")


def keep(pair, rows: int, facts: dict, effect: str = "deny", stands_for: int = 1) -> None:
    """Attempts as gateways keep them, a second apart, the last one now."""
    pair.postgres.query(
        "INSERT INTO signup_attempts SELECT nextval('signup_attempts_slot'), now() - (i || ' seconds')::interval,"
        f" {stands_for}, 'otp', '{effect}', 1, 'then', '{'' if effect == 'allow' else 'signup_closed'}', '{json.dumps(facts)}',"
        f" sha256(i::text::bytea), 'k' FROM generate_series(1, {rows}) i")


def cn(prefix: str = "+861380013", **more) -> dict:
    return {"method": "phone", "phone_country": "CN", "phone_prefix": prefix, "phone_type": "mobile", "phone_virtual": False, **more}


def hk(**more) -> dict:
    return cn("+85251234", phone_country="HK") | more


def test_real_attempts_are_kept_and_replayed(pair, admin):
    let_in = mainland_phone()
    with pair.app() as app:
        app.sign_up(let_in)
        version = admin.put(preset="mainland-phone-only")["version"]
        wait_until(lambda: told(pair.gateways[0])["policy_version"] == version, 30, "in force")
        assert app.ask_code("+85251999888").status_code == 403
    wait_until(lambda: pair.postgres.query("SELECT count(*) FROM signup_attempts") == "2", 30, "both are kept")
    kept = json.loads(pair.postgres.query("SELECT json_agg(json_build_array(effect, policy_rule, stage, facts) ORDER BY at)"
                                          " FROM signup_attempts"))
    assert [row[:3] for row in kept] == [["allow", "default", "verify"], ["deny", "default", "otp"]]
    assert 0 <= kept[0][3].pop("ramp") < 10000 and kept[1][3].pop("ramp") >= 0
    assert kept[0][3].items() >= {**cn(let_in[:10])}.items() and kept[1][3].items() >= hk(phone_prefix="+85251999").items()
    assert let_in[3:] not in pair.postgres.dump() and "51999888" not in pair.postgres.dump()
    said = admin.ask("POST", "/replay", document=document(rule("hk", phone_country=["HK"])))
    assert said["attempts"] == 2 and said["same"] == 0
    ways = {(c["was"], c["was_rule"], c["now"], c["now_rule"]) for c in said["changes"]}
    assert ways == {("allow", "default", "deny", "default"), ("deny", "default", "allow", "hk")}


def test_counts_by_rule_with_samples(pair, admin):
    keep(pair, 30, cn(ramp=2000), "allow")
    keep(pair, 50, hk(ramp=100), stands_for=7)
    keep(pair, 20, hk(ramp=9000))
    candidate = document(rule("virtual", "deny", phone_virtual=True), rule("cn", phone_country=["CN"]),
                         {**rule("hk", phone_country=["HK"]), "ramp_percent": 10})
    said = admin.ask("POST", "/replay", document=candidate)
    assert (said["attempts"], said["stands_for"], said["same"], said["uncertain"], said["unreadable"]) == (100, 400, 50, 0, 0)
    (change,) = said["changes"]
    assert (change["was"], change["was_rule"], change["now"], change["now_rule"]) == ("deny", "then", "allow", "hk")
    assert (change["attempts"], change["stands_for"], len(change["samples"])) == (50, 350, 5)
    assert change["samples"][0]["facts"] == hk(ramp=100)
    shown = pair.gateways[0].ctl("policy", "replay", "closed").stdout
    assert "allow by then -> deny by default: 30 attempts, standing for 30" in shown and "70 decided as before" in shown
    assert admin.ask("POST", "/replay", preset="open", limit=1)["attempts"] == 1


def test_all_facts_go_there_and_back(pair, admin):
    keep(pair, 1, cn(ip_country="CN", asn=4134, device="strong", platform="ios", app_version="2.10.0.0", invite=True,
                     campaign="spring", email_domain="x.org", email_disposable=False, ramp=7))
    when = {"ip_country": ["CN"], "asn": [4134], "device": ["strong"], "platform": ["ios"], "app_version": {"at_least": "2.9"},
            "invite": True, "campaign": ["spring"], "email_domain": ["x.org"], "email_disposable": False, "method": ["phone"],
            "phone_prefix": ["+86138"], "phone_type": ["mobile"], "phone_virtual": False, "phone_country_is_ip_country": True}
    for name, other in (("", None), ("ip_country", ["HK"]), ("asn", [1]), ("device", ["none"]), ("platform", ["web"]),
                        ("app_version", {"below": "2.9"}), ("invite", False), ("campaign", ["autumn"]), ("email_domain", ["y.org"]),
                        ("email_disposable", True), ("method", ["email"]), ("phone_prefix", ["+87"]), ("phone_type", ["voip"]),
                        ("phone_virtual", True), ("phone_country_is_ip_country", False)):
        conditions = {**when, **({name: other} if name else {})}
        said = admin.ask("POST", "/replay", document=document(rule("all", **conditions)))
        assert len(said["changes"]) == (0 if name else 1), (name, said)


def test_what_was_not_kept_is_not_guessed(pair, admin):
    keep(pair, 3, cn("+861380013"))
    keep(pair, 2, cn("+861391111"))
    for prefixes, uncertain, changed in ((["+8613800138"], 3, 0), (["+8613800139"], 3, 0), (["+861380013"], 0, 1), (["+86138"], 0, 1),
                                         (["+8613711111"], 0, 0)):
        said = admin.ask("POST", "/replay", document=document(rule("p", phone_prefix=prefixes)))
        assert (said["uncertain"], len(said["changes"])) == (uncertain, changed), (prefixes, said)
    # nothing uncertain where the rule fails for another reason, or is not asked
    said = admin.ask("POST", "/replay", document=document(rule("p", phone_prefix=["+8613800138"], phone_country=["HK"])))
    assert said["uncertain"] == 0
    said = admin.ask("POST", "/replay", document=document(rule("all"), rule("p", phone_prefix=["+8613800138"])))
    assert said["uncertain"] == 0


def test_rows_that_cannot_be_read_are_counted(pair, admin):
    for facts in ({"method": "carrier pigeon"}, {"method": "phone", "new_fact": 1}, {"method": "phone", "asn": -1}, cn("8613800")):
        keep(pair, 1, facts)
    assert admin.ask("POST", "/replay", preset="open")["unreadable"] == 4


def test_more_than_a_batch_newest_first(pair, admin):
    keep(pair, 45_000, cn(), "allow")
    said = admin.ask("POST", "/replay", preset="closed", limit=45_001)
    assert said["attempts"] == 45_000 and said["changes"][0]["attempts"] == 45_000
    pair.postgres.query("UPDATE signup_attempts SET at = '2026-01-01'")  # all at one moment: none twice, none left out
    assert admin.ask("POST", "/replay", preset="closed", limit=1_000_000)["attempts"] == 45_000


@pytest.mark.parametrize("body,words", [
    ({}, "either"), ({"preset": "opne"}, "preset"), ({"preset": "open", "limit": 0}, "limit"), ({"document": {"name": 1}}, "$.name"),
    ({"preset": "open", "limit": 1_000_001}, "limit"), ({"preset": "open", "x": 1}, "x"), ({"preset": "open", "limit": "all"}, "limit")])
def test_wrong_bodies(pair, body, words):
    assert words in Admin(pair.gateways[0]).ask("POST", "/replay", code=400, **(body or {"limit": 1}))["detail"]


def test_wrong_words(pair, tmp_path):
    ctl = pair.gateways[0].ctl
    for words, code, message in (((), 2, "either"), (("open", "-f", "x"), 2, "either"), (("-f", "/nowhere"), 1, "/nowhere"),
                                 (("opne",), 1, "preset"), (("open", "-n", "0"), 2, "--limit"), (("open", "-n", "9999999"), 1, "limit")):
        done = ctl("policy", "replay", *words, check=False)
        assert done.returncode == code and message in done.stderr and done.stdout == "", (words, done)


def test_without_a_database(own_stack):
    own_stack.start_servers()
    gateway = own_stack.start_gateway()
    own_stack.postgres.kill()
    done = gateway.ctl("policy", "replay", "open", check=False)
    assert done.returncode == 7 and "tidectl: " in done.stderr
