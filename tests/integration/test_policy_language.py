"""The policy language from outside: simulate against a model of its own, lint, and the JSON Schema.

TIDE_POLICY_CASES=100000 is the long form of the comparison with the model: 25 s with a release build, no disagreement on 2026-11-26."""
import json
import os
import random

import httpx
import jsonschema
import pytest

from tide import policy_model
from tide.stack import ROOT

CASES = int(os.environ.get("TIDE_POLICY_CASES", "20000"))  # attempts, 50 a policy
PHONES = {"+8613800138000": ("CN", "mobile", False), "+8617012345678": ("CN", "mobile", True),
          "+85251234567": ("HK", "mobile", False), "+12025550123": ("US", "fixed_or_mobile", False),
          "+447400123456": ("GB", "mobile", False), "+8613912345678": ("CN", "mobile", False)}
DOMAINS = ["x.org", "mail.x.org", "trash.example", "a.b.trash.example", "good.example", "ox.org"]
CLOSED = {"effect": "deny", "reason": "signup_closed"}


@pytest.fixture
def admin(pair):
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(pair.gateways[0].socket)), base_url="http://admin",
                      timeout=60) as client:
        yield client


def simulate(admin, attempts: list, **more) -> dict:
    answer = admin.post("/admin/v1/policy/simulate", json={"attempts": attempts, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


def document(rules: list, default: dict = CLOSED) -> dict:
    return {"name": "t", "rules": rules, "default": default, "existing_users": "unaffected"}


# --- the same decision, every time ------------------------------------------------------------------------


def some(dice: random.Random, values: list) -> list:
    return dice.sample(values, dice.randint(1, min(3, len(values))))


def random_time(dice: random.Random) -> dict:
    time = {"zone": dice.choice(["UTC", "Asia/Shanghai", "-05:00"])}
    if dice.random() < 0.5:
        time["from"] = f"2026-11-{dice.randint(1, 15):02}T{dice.randint(0, 23):02}:00"
    if dice.random() < 0.5:
        time["until"] = f"2026-11-{dice.randint(16, 30)}T{dice.randint(0, 23):02}:30"
    if len(time) == 1 or dice.random() < 0.5:
        begin, end = dice.sample([f"{hour:02}:{minute}" for hour in range(24) for minute in ("00", "45")], 2)
        time["weekly"] = [{"days": some(dice, policy_model.DAYS), "from": begin, "until": end}]
    return time


def random_when(dice: random.Random) -> dict:
    version = lambda: ".".join(str(dice.randint(0, 11)) for _ in range(dice.randint(1, 3)))  # noqa: E731
    all_of = {
        "method": lambda: some(dice, ["phone", "email", "apple", "google"]),
        "phone_country": lambda: some(dice, ["CN", "HK", "US", "GB"]),
        "phone_prefix": lambda: some(dice, ["+86", "+86138", "+8613800138000", "+852", "+1"]),
        "phone_type": lambda: some(dice, ["mobile", "fixed_or_mobile", "voip"]),
        "phone_virtual": lambda: dice.random() < 0.5,
        "email_domain": lambda: some(dice, DOMAINS),
        "email_disposable": lambda: dice.random() < 0.5,
        "ip_country": lambda: some(dice, ["CN", "HK", "US", "SG"]),
        "asn": lambda: some(dice, [1, 4134, 4294967295]),
        "phone_country_is_ip_country": lambda: dice.random() < 0.5,
        "device": lambda: some(dice, ["none", "basic", "strong"]),
        "app_version": lambda: {"at_least": version()} if dice.random() < 0.5 else {"below": version()},
        "platform": lambda: some(dice, ["ios", "android", "web"]),
        "invite": lambda: dice.random() < 0.5,
        "campaign": lambda: some(dice, ["spring", "autumn"]),
        "time": lambda: random_time(dice),
    }
    names = dice.sample(sorted(all_of), dice.choice([0, 1, 1, 1, 2, 2, 3]))
    return {name: all_of[name]() for name in names}


def random_policy(dice: random.Random) -> dict:
    rules = []
    for i in range(dice.randint(0, 8)):
        rule = {"id": f"r{i}", "when": random_when(dice), "effect": "allow"}
        if dice.random() < 0.4:
            rule |= dice.choice([{"effect": "deny", "reason": "signup_disabled"}, {"effect": "waitlist"}])
        if dice.random() < 0.3:
            rule["challenge"] = dice.choice(["none", "pow", "pow_hard"])
        if dice.random() < 0.4 and rule["effect"] == "allow":
            rule["caps"] = {period: dice.choice([0, 1, 1_000_000_000])
                            for period in some(dice, ["per_minute", "per_hour", "per_day"])}
        if dice.random() < 0.2:
            rule["shadow"] = dice.random() < 0.8
        if dice.random() < 0.3:
            rule["ramp_percent"] = dice.choice([0.01, 1, 25, 33.33, 50, 99.99, 100])
        rules.append(rule)
    return document(rules, dice.choice([CLOSED, {"effect": "allow"}, {"effect": "waitlist", "challenge": "pow"}]))


def random_attempt(dice: random.Random) -> dict:
    all_of = {
        "phone": dice.choice(list(PHONES)), "email": f"p{dice.randint(0, 99)}@{dice.choice(DOMAINS)}",
        "email_disposable": dice.random() < 0.5, "ip_country": dice.choice(["CN", "HK", "US", "SG"]),
        "asn": dice.choice([1, 4134, 4294967295, 7]), "device": dice.choice(["none", "basic", "strong"]),
        "app_version": ".".join(str(dice.randint(0, 11)) for _ in range(dice.randint(1, 4))),
        "platform": dice.choice(["ios", "android", "web"]), "invite": dice.random() < 0.5,
        "campaign": dice.choice(["spring", "autumn", "winter"]),
    }
    attempt = {name: value for name, value in all_of.items() if dice.random() < 0.6}
    if dice.random() < 0.5:
        attempt["caps_full"] = some(dice, [f"r{i}" for i in range(8)])
    attempt["method"] = dice.choice(["phone", "phone", "email", "google"])
    attempt["at"] = f"2026-11-{dice.randint(1, 30):02}T{dice.randint(0, 23):02}:{dice.randint(0, 59):02}:00+00:00"
    return attempt


def as_known(attempt: dict, ring) -> dict:
    """What the model is told: also what the number itself tells."""
    known = {**attempt, "ramp": None}
    if "phone" in attempt:
        known["phone_country"], known["phone_type"], known["phone_virtual"] = PHONES[attempt["phone"]]
    identifier = {"phone": attempt.get("phone"), "email": attempt.get("email")}.get(attempt["method"])
    if identifier:
        known["ramp"] = policy_model.ramp_of(ring, attempt["method"], identifier)
    return known


def test_decides_as_the_model_does(pair, admin):
    dice = random.Random(7)
    ring = pair.gateways[0].settings["auth"]["key_ring_file"]
    seen, shadows, full = set(), 0, 0
    for _ in range(CASES // 50):
        policy = random_policy(dice)
        attempts = [random_attempt(dice) for _ in range(50)]
        results = simulate(admin, attempts, document=policy)["results"]
        for attempt, result in zip(attempts, results, strict=True):
            known = as_known(attempt, policy_model.Path(ring))
            wanted = policy_model.decide(policy, known)
            assert {name: result[name] for name in wanted} == wanted, (policy, known)
            assert result["ramp"] == known["ramp"]
            seen.add((wanted["effect"], wanted["rule"]))
            shadows += wanted["shadow"] is not None
            full += any(rule in attempt.get("caps_full", []) for rule in (r["id"] for r in policy["rules"] if "caps" in r))
    assert shadows > CASES // 50 and full > CASES // 50
    assert {(effect, rule) for effect in ("allow", "deny", "waitlist") for rule in ("default", "r3")} <= seen


# --- tidectl ----------------------------------------------------------------------------------------------


def test_simulate_says_why(pair, tmp_path):
    file = tmp_path / "policy.json"
    file.write_text(json.dumps(document([
        {"id": "abroad", "when": {"phone_country_is_ip_country": False, "platform": ["web"]}, "effect": "deny",
         "reason": "signup_region_not_allowed"},
        {"id": "mainland", "when": {"phone_country": ["CN"]}, "effect": "allow"}])))
    ctl = pair.gateways[0].ctl
    words = ("policy", "simulate", "--policy", str(file), "--phone", "13800138000")
    said = ctl(*words, "--ip-country", "CN", "--platform", "web").stdout
    assert said.startswith("allow  rule mainland  reason -  ramp ")
    assert "abroad (deny): phone_country_is_ip_country failed, platform held" in said
    assert "* mainland (allow): phone_country held" in said
    assert ctl(*words).stdout.startswith("deny  rule abroad  reason signup_region_not_allowed")  # nothing is known
    cases = tmp_path / "cases.jsonl"
    cases.write_text('{"phone":"13800138000","ip_country":"CN"}\n\n{"phone":"+85251234567","ip_country":"HK"}\n')
    answer = json.loads(ctl("-o", "json", "policy", "simulate", "--policy", str(file), "-f", str(cases)).stdout)
    assert [r["rule"] for r in answer["results"]] == ["mainland", "default"]
    assert json.loads(ctl("-o", "json", "policy", "simulate", "--phone", "13800138000").stdout)["version"] > 0
    for wrong, code, words in ((("--phone", "12"), 1, "$.attempts[0].phone"), (("--device", "stron"), 1, "strong"),
                               (("--asn", "AS1"), 2, "asn"), (("--asn", "1", "--asn", "2"), 2, "twice"),
                               (("--phone", "1", "-f", "x"), 2, "either"), (("-f", "/nowhere"), 1, "/nowhere")):
        done = ctl("policy", "simulate", *wrong, check=False)
        assert done.returncode == code and words in done.stderr, (wrong, done.stderr)


def test_lint_and_show(pair, tmp_path):
    ctl = pair.gateways[0].ctl
    file = tmp_path / "policy.json"
    file.write_text(json.dumps(document([{"id": "a", "when": {}, "effect": "allow"},
                                         {"id": "b", "when": {"asn": [1]}, "effect": "allow"}])))
    done = ctl("policy", "lint", str(file), check=False)
    assert done.returncode == 3 and "$.rules[1]: rule b is never asked" in done.stdout
    file.write_text(json.dumps(document([{"id": "a", "whem": {}, "effect": "allow"}])))
    done = ctl("policy", "lint", str(file), check=False)
    assert done.returncode == 1 and "$.rules[0].whem: unknown member (did you mean when?)" in done.stderr
    assert ctl("policy", "lint").stdout == "nothing found\n"  # the one in force: open
    assert json.loads(ctl("policy", "show", "1").stdout)["name"] == "open"
    assert ctl("policy", "show", "99999", check=False).returncode == 5


def test_set_looks_first(pair, tmp_path):
    """Errors of lint refuse a document and change nothing, warnings are shown; forced, it comes into force."""
    ctl = pair.gateways[0].ctl
    before = json.loads(ctl("-o", "json", "policy", "get").stdout)["version"]
    file = tmp_path / "policy.json"
    file.write_text(json.dumps(document([{"id": "a", "when": {}, "effect": "allow", "caps": {"per_day": 0}}])))
    words = ("policy", "set", "-f", str(file), "--reason", "test")
    done = ctl(*words, check=False)
    assert done.returncode == 1 and "$.rules[0]: rule a lets nobody in: its cap per day is 0 (cap_zero" in done.stderr
    assert json.loads(ctl("-o", "json", "policy", "get").stdout)["version"] == before
    try:
        done = ctl(*words, "--force")
        assert f"version {before + 1}" in done.stdout and "warning: rule a lets nobody in" in done.stderr
        file.write_text(json.dumps(document([{"id": "a", "when": {"device": ["strong"]}, "effect": "allow"}])))
        answer = ctl("-o", "json", *words)
        assert [f["code"] for f in json.loads(answer.stdout)["findings"]] == ["unknown_fact"]
    finally:
        ctl("policy", "set", "open", "--reason", "test")


def test_a_large_policy(pair, admin):
    """1,000 rules and 100,000 e-mail domains: by the socket, within a second or so under sanitizers."""
    rules = [{"id": f"p{i}", "when": {"phone_prefix": [f"+8613{i:04}"]}, "effect": "allow"} for i in range(999)]
    rules.append({"id": "trash", "when": {"email_domain": [f"d{i}.example" for i in range(100_000)]}, "effect": "allow"})
    results = simulate(admin, [{"method": "email", "email": "a@x.d99999.example"}, {"method": "email", "email": "a@e.example"},
                               {"phone": "+8613099812345"}], document=document(rules))["results"]
    assert [r["rule"] for r in results] == ["trash", "default", "p998"]
    refused = admin.post("/admin/v1/policy/lint", json={"document": document(rules + rules[:1])})
    assert refused.status_code == 400 and "at most 1000 rules" in refused.text


# --- the schema -------------------------------------------------------------------------------------------


def test_the_schema_agrees_with_the_gateway(pair, admin):
    schema = json.loads(pair.gateways[0].ctl("policy", "schema").stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    checker = jsonschema.Draft202012Validator(schema)
    dice = random.Random(11)
    for version in json.loads(pair.gateways[0].ctl("-o", "json", "policy", "history").stdout)["items"]:
        checker.validate(json.loads(pair.gateways[0].ctl("policy", "show", str(version["version"])).stdout))
    for _ in range(100):
        policy = random_policy(dice)
        checker.validate(policy)
    rule = {"id": "a", "when": {}, "effect": "allow"}
    for broken in (document([{**rule, "effect": "waitlist", "reason": "signup_waitlisted"}]), document([{**rule, "reason": "signup_closed"}]),
                   document([{**rule, "challenge": 1}]), document([{**rule, "when": {"asn": []}}]),
                   document([{**rule, "when": {"email_domain": ["Big.example"]}}]), document([{**rule, "ramp_percent": 0}]), document([{**rule, "caps": {}}]), document([{**rule, "caps": {"per_day": -1}}]),
                   document([{**rule, "effect": "waitlist", "caps": {"per_day": 1}}]), document([{**rule, "shadow": 0}]),
                  
                   document([{**rule, "when": {"time": {"zone": "UTC"}}}]), document([], {"effect": "deny"}),
                   document([{**rule, "when": {"country": ["CN"]}}]), {**document([]), "existing_users": "gone"}):
        assert not checker.is_valid(broken), broken
        assert admin.post("/admin/v1/policy/lint", json={"document": broken}).status_code == 400, broken


# --- the manual -------------------------------------------------------------------------------------------


def situations() -> list:
    """(title, document, [(attempt, outcome)]) of each situation that docs/policy.md teaches by."""
    found = []
    for part in (ROOT / "docs" / "policy.md").read_text().split("\n### ")[1:]:
        title, blocks = part.split("\n", 1)[0], part.split("```")
        cases = [line.split(" -> ") for line in blocks[3].removeprefix("text").strip().splitlines()]
        found.append(pytest.param(json.loads(blocks[1].removeprefix("json")), [(json.loads(a), o) for a, o in cases], id=title))
    return found


def told(result: dict) -> str:
    more = [result["reason"], result["challenge"] if result["challenge"] != "none" else None,
            f"shadow={result['shadow']}" if result["shadow"] else None]
    return " ".join([result["effect"], result["rule"], *filter(None, more)])


def test_ten_situations_are_taught():
    assert len(situations()) == 10 and all(len(one.values[1]) >= 2 for one in situations())


@pytest.mark.parametrize("policy,cases", situations())
def test_a_situation(pair, admin, policy, cases):
    lint = admin.post("/admin/v1/policy/lint", json={"document": policy})
    assert lint.status_code == 200 and lint.json()["findings"] == [], lint.text
    results = simulate(admin, [attempt for attempt, _ in cases], document=policy)["results"]
    assert [told(result) for result in results] == [outcome for _, outcome in cases]
