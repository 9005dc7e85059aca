"""tidectl limits: who is refused, what somebody has left, other numbers for a while."""
import json
import signal
import time

import pytest

from test_limits import BY_DEVICE, ask, with_rules
from tide.client import mainland_phone
from tide.process import wait_until

BY_ADDRESS = {"name": "address", "by": "address", "prefixes": "32 64 48x16", "at": "livez", "limit": "20/1h",
              "newcomers": "exact"}


def answer(gateway, *words) -> dict:
    return json.loads(gateway.ctl("-o", "json", "limits", *words).stdout)


def items(gateway, *words) -> dict[str, dict]:
    return {item["rule"]: item for item in answer(gateway, *words)["items"]}


@pytest.fixture
def gateway(own_stack):
    own_stack.start_redis()
    settings = with_rules(own_stack, BY_ADDRESS, {**BY_DEVICE, "limit": "3/1h"},
                          {"name": "phone", "by": "phone", "at": "sms", "limit": "5/1h"})
    settings["trusted_proxies"] = ["127.0.0.0/8"]
    return own_stack.start_gateway(settings)


def test_explain_counts_a_number_as_its_requests_do(own_stack):
    own_stack.start_servers()
    settings = own_stack.settings()
    names = ("otp_phone_hour", "country")
    settings["limits"]["rules"] = [rule for rule in settings["limits"]["rules"] if rule["name"] != "otp_phone_hour"] + [
        {"name": "otp_phone_hour", "by": "phone", "at": "sms", "limit": "5/1h", "role": "ledger", "on_error": "closed"},
        {"name": "country", "by": "phone_country", "at": "sms", "limit": "9/1h", "role": "ledger", "on_error": "closed"}]
    gateway = own_stack.start_gateway(settings)
    phone = mainland_phone()
    left = lambda: [items(gateway, "explain", phone)[name]["remaining"] for name in names]
    assert left() == [5, 9]
    with own_stack.app(gateway) as app:
        app.sign_up(phone)
    assert left() == [4, 8]


def come_from(gateway, address: str, times: int, device: str | None = None) -> list[int]:
    return [ask(gateway, device, x_forwarded_for=address).status_code for _ in range(times)]


def test_top_names_addresses_and_hides_the_rest(gateway):
    assert answer(gateway, "top") == {"items": []}
    come_from(gateway, "2001:db8:5::1", 20 + 30)
    come_from(gateway, "203.0.113.9", 20 + 7)
    come_from(gateway, "198.51.100.1", 9, device="secret-device")
    top = answer(gateway, "top")["items"]
    assert [(i["rule"], i["source"], i["refused"]) for i in top[:2]] == [
        ("address", "2001:db8:5::/64", 30), ("address", "203.0.113.9/32", 7)]
    device = next(i for i in top if i["rule"] == "device")
    assert device["refused"] == 6
    assert len(device["source"]) == 32 and "secret" not in json.dumps(top)
    assert [i["rule"] for i in answer(gateway, "top", "device")["items"]] == ["device"]
    assert len(answer(gateway, "top", "--limit", "1")["items"]) == 1


def test_explain_looks_without_taking(gateway):
    for _ in range(3):
        before = items(gateway, "explain", "2001:db8:5::1")
    assert before["address"]["remaining"] == 20
    assert before["address_48"]["remaining"] == 320
    assert "device" not in before and "phone" not in before
    come_from(gateway, "2001:db8:5::1", 15)
    seen = items(gateway, "explain", "2001:db8:5::99")  # the same /64
    assert (seen["address"]["remaining"], seen["address"]["next"]) == (5, "passes")
    assert seen["address_48"]["remaining"] == 305
    assert come_from(gateway, "2001:db8:5::1", 6) == [200] * 5 + [429]
    seen = items(gateway, "explain", "2001:db8:5::1")["address"]
    assert (seen["remaining"], seen["next"]) == (0, "refused")
    assert 0 < seen["retry_s"] <= 180
    assert items(gateway, "explain", "2001:db8:6::1")["address"]["remaining"] == 20
    refused = gateway.ctl("limits", "explain", "+1", check=False)
    assert refused.returncode == 1 and "key" in refused.stderr


def test_other_numbers_for_a_while_here(gateway):
    assert "limit/address is 2/1h for 2 s" in gateway.ctl(
        "limits", "set", "address", "2/1h", "--ttl", "2s", "--reason", "flood").stdout
    began = time.monotonic()
    assert come_from(gateway, "203.0.113.1", 4) == [200, 200, 429, 429]
    gateway.process.send(signal.SIGHUP)  # a reload keeps it
    wait_until(lambda: "reload result=ok" in gateway.process.tail(), 5, "the reload is done")
    shown = json.loads(gateway.ctl("-o", "json", "get", "limits").stdout)
    assert [(o["rule"], o["limit"], o["reason"]) for o in shown["overrides"]] == [("address", "2/1h", "flood")]
    assert next(r for r in shown["rules"] if r["name"] == "address_48")["burst"] == 32
    wait_until(lambda: json.loads(gateway.ctl("-o", "json", "get", "limits").stdout)["overrides"] == [], 5,
               "it ends by itself")
    assert come_from(gateway, "203.0.113.2", 4) == [200] * 4
    assert time.monotonic() - began < 5
    for words, code, part in (
            (("nothing", "2/1h", "--ttl", "2s", "--reason", "r"), 5, "no rule nothing"),
            (("address", "many", "--ttl", "2s", "--reason", "r"), 1, "limit: a count"),
            (("address", "2/1h", "--ttl", "30d", "--reason", "r"), 1, "ttl_s"),
            (("address", "2/1h", "--ttl", "soon", "--reason", "r"), 2, "--ttl"),
            (("address", "2/1h", "--ttl", "2s"), 2, "--reason")):
        refused = gateway.ctl("limits", "set", *words, check=False)
        assert refused.returncode == code and part in refused.stderr, (words, refused)


def test_other_numbers_for_a_while_everywhere(own_stack):
    own_stack.start_postgres()
    own_stack.start_redis()
    first, second = (own_stack.start_gateway(with_rules(own_stack, BY_DEVICE)) for _ in range(2))
    first.ctl("limits", "set", "device", "4/1h", "--ttl", "1h", "--reason", "attack 17")
    began = time.monotonic()
    wait_until(lambda: json.loads(second.ctl("-o", "json", "get", "limits").stdout)["rules"][0]["burst"] == 4, 3,
               "the other gateway knows", every=0.02)
    assert time.monotonic() - began < 1.5  # one second, and tidectl's own time
    wait_until(lambda: json.loads(first.ctl("-o", "json", "get", "limits").stdout)["rules"][0]["burst"] == 4, 3,
               "and the one that was told")
    codes = [ask(g, "d").status_code for g in (first, second) * 4]
    assert codes.count(200) == 4, codes
    audit = json.loads(first.ctl("-o", "json", "get", "audit", "--limit", "1").stdout)["items"][0]
    assert (audit["action"], audit["target"], audit["reason"]) == ("limit.set", "limit/device", "attack 17")
    third = own_stack.start_gateway(with_rules(own_stack, BY_DEVICE))
    wait_until(lambda: json.loads(third.ctl("-o", "json", "get", "limits").stdout)["rules"][0]["burst"] == 4, 3,
               "one that starts later knows")
    second.ctl("limits", "reset", "device", "--reason", "over")
    for gateway in (first, second, third):
        wait_until(lambda g=gateway: json.loads(g.ctl("-o", "json", "get", "limits").stdout)["rules"][0]["burst"] == 10,
                   3, "the configuration's numbers are back")
