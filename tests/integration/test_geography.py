"""Where clients are: files of places, swapped under traffic, and what sign-up policies make of them."""
import json

import pytest

from tide import mmdb
from tide.client import code_of, mainland_phone
from tide.fixtures import new_stack
from tide.process import wait_until
from tide.stack import APIKEY

FIRST = 1_700_000_000  # when the first file was made
CN, HK, US = "203.0.113.7", "198.51.100.9", "192.0.2.44"
COUNTRIES = {"203.0.113.0/24": mmdb.country("CN"), "198.51.100.0/24": mmdb.country("HK"), "192.0.2.0/24": mmdb.country("US"),
             "2001:db8:7::/48": mmdb.country("CN")}
SYSTEMS = {"203.0.113.0/24": mmdb.system(4134), "192.0.2.0/24": mmdb.system(64500)}


@pytest.fixture(scope="module")
def whole():
    """A gateway that believes X-Forwarded-For and has two files of places."""
    with new_stack() as s:
        s.start_servers()
        settings = s.settings()
        settings["trusted_proxies"] = ["127.0.0.0/8"]
        settings["geography"] = {"country": str(mmdb.write(s.folder / "country.mmdb", COUNTRIES, built_s=FIRST)),
                                 "asn": str(mmdb.write(s.folder / "asn.mmdb", SYSTEMS)), "poll": "100ms"}
        s.start_gateway(settings)
        yield s


@pytest.fixture
def places(whole):
    """Each test finds the first files in use."""
    file, built = whole.folder / "country.mmdb", 'tidegate_geography_build_timestamp_seconds{file="country"}'
    if whole.gateway.metric(built) != FIRST:
        mmdb.write(file, COUNTRIES, built_s=FIRST)
        wait_until(lambda: whole.gateway.metric(built) == FIRST, 30, "the first file")
    return whole


def ask(s, phone: str, address: str, **headers):
    with s.app() as app:
        return app.http.post("/auth/v1/otp", json={"phone": phone}, headers={"x-forwarded-for": address, **headers})


def put(s, tmp_path, rules: list) -> None:
    file = tmp_path / "policy.json"
    file.write_text(json.dumps({"name": "places", "existing_users": "unaffected", "rules": rules,
                                "default": {"effect": "deny", "reason": "signup_region_not_allowed"}}))
    version = json.loads(s.gateway.ctl("-o", "json", "policy", "set", "-f", str(file), "--reason", "test").stdout)["version"]
    wait_until(lambda: s.gateway.get("/auth/v1/settings", headers={"apikey": APIKEY}).json()["signup"]["policy_version"] == version,
               30, "the policy", every=0.05)


def lines(s, address_part: str) -> list[dict]:
    every = [json.loads(line) for line in s.gateway.access_log.read_text().splitlines()]
    return [line for line in every if line["client"].startswith(address_part)]


def metric(s, text: str) -> float:
    return s.gateway.metric(text)


def test_real_signups_are_decided_by_place(places, tmp_path):
    s = places
    put(s, tmp_path, [{"id": "same", "when": {"phone_country_is_ip_country": True}, "effect": "allow"},
                      {"id": "partner", "when": {"asn": [64500]}, "effect": "allow"}])
    assert ask(s, mainland_phone(), CN).status_code == 200
    assert ask(s, mainland_phone(), "2001:db8:7::1").status_code == 200
    assert ask(s, mainland_phone(), US).status_code == 200  # by its system
    for address in (HK, "8.8.8.8"):  # another country, and one that the files do not know
        refused = ask(s, mainland_phone(), address)
        assert (refused.status_code, code_of(refused)) == (403, "signup_region_not_allowed"), address
    assert ask(s, "+85251234567", HK).status_code == 200
    put(s, tmp_path, [{"id": "abroad", "when": {"ip_country": ["HK", "US"]}, "effect": "allow"}])
    assert ask(s, mainland_phone(), CN).status_code == 403
    assert ask(s, mainland_phone(), HK).status_code == 200
    wait_until(lambda: len(lines(s, "203.0.113.")) >= 2 and lines(s, "198.51.100."), 30, "the access log")
    assert {(line["country"], line["asn"]) for line in lines(s, "203.0.113.")} == {("CN", 4134)}
    assert all(line["country"] == "HK" and "asn" not in line for line in lines(s, "198.51.100."))
    assert all("country" not in line for line in lines(s, "8.8.8."))
    assert metric(s, 'tidegate_geography_lookups_total{result="found"}') >= 3
    assert metric(s, 'tidegate_geography_lookups_total{result="unknown"}') >= 1
    assert metric(s, 'tidegate_geography_lookups_total{result="failed"}') == 0
    assert metric(s, 'tidegate_geography_build_timestamp_seconds{file="country"}') == FIRST


def test_the_account_is_decided_by_the_place_it_is_made_from(places, tmp_path):
    s = places
    put(s, tmp_path, [{"id": "here", "when": {"ip_country": ["CN"]}, "effect": "allow"}])
    phone = mainland_phone()
    assert ask(s, phone, CN).status_code == 200
    code = s.outbox.wait_for_code(phone, seconds=60)
    body = {"type": "sms", "phone": phone, "token": code}
    with s.app() as app:
        refused = app.http.post("/auth/v1/verify", json=body, headers={"x-forwarded-for": HK})
        assert (refused.status_code, code_of(refused)) == (403, "signup_region_not_allowed")


def test_what_an_app_says_of_itself(places, tmp_path):
    s = places
    flutter, web = "supabase-flutter/2.10.3; platform={}; platform-version=18.1; runtime=dart", "supabase-js-web/2.91.0"
    put(s, tmp_path, [{"id": "new-ios", "when": {"platform": ["ios"], "app_version": {"at_least": "2.10"}}, "effect": "allow"},
                      {"id": "page", "when": {"platform": ["web"]}, "effect": "allow"}])
    for headers, status in (({"x-app-platform": "iOS", "x-app-version": "2.10.1"}, 200),
                            ({"x-supabase-client-platform": "ios", "x-app-version": "3"}, 200),
                            ({"x-app-platform": "ios", "x-app-version": "2.9"}, 403), ({"x-app-platform": "ios"}, 403),
                            ({"x-app-platform": "beos", "x-app-version": "9"}, 403),
                            ({"x-app-platform": "ios", "x-app-version": "2.10; DROP"}, 403),
                            ({"x-app-platform": "android", "x-app-version": "9"}, 403),
                            ({"x-client-info": flutter.format("ios"), "x-app-version": "3"}, 200),
                            ({"x-client-info": flutter.format("android"), "x-app-version": "3"}, 403),
                            ({"x-client-info": flutter.format("android"), "x-app-platform": "web"}, 200),
                            ({"x-client-info": web, "x-supabase-client-platform": "Android"}, 200),
                            ({"x-client-info": "supabase-js-node/2.91.0", "x-supabase-client-platform": "Linux"}, 403)):
        assert ask(s, mainland_phone(), CN, **headers).status_code == status, headers


def test_a_banned_system_is_turned_away_from_outside(places, tmp_path):
    """All addresses of an AS, by the file that knows them, and nobody else; within a second, counted, and let go."""
    s, chinanet = places, "AS4134"
    put(s, tmp_path, [{"id": "all", "when": {}, "effect": "allow"}])
    banned = 'tidegate_bans_entries{effect="ban"}'
    hits = 'tidegate_bans_hits_total{stage="request",kind="asn"}'
    before = metric(s, hits)
    s.gateway.ctl("ban", "add", chinanet, "--ttl", "1h", "--reason", "test")
    wait_until(lambda: metric(s, banned) == 1, 30, "the ban is known")
    for path in ("/auth/v1/settings", "/auth/v1/health"):
        with s.app() as app:
            assert app.http.get(path, headers={"x-forwarded-for": CN}).status_code == 403
    refused = ask(s, mainland_phone(), CN)
    assert refused.status_code == 403 and code_of(refused) not in ("signup_region_not_allowed", "signup_closed"), refused.text
    for address in (US, HK, "203.0.114.7"):  # another system, and two that the file does not know
        assert ask(s, mainland_phone(), address).status_code == 200
    assert metric(s, hits) == before + 3
    wait_until(lambda: json.loads(s.gateway.ctl("ban", "list", "-o", "json").stdout)["items"][0]["hits"] == 3, 30, "hits are told")
    # the address of a partner inside of it
    s.gateway.ctl("ban", "add", CN, "--allow", "--reason", "partner")
    wait_until(lambda: ask(s, mainland_phone(), CN).status_code == 200, 30, "an allowance wins")
    s.gateway.ctl("ban", "remove", CN, "--allow", "--reason", "test")
    wait_until(lambda: ask(s, mainland_phone(), CN).status_code == 403, 30, "it counts again")
    s.gateway.ctl("ban", "remove", chinanet, "--reason", "test")
    wait_until(lambda: ask(s, mainland_phone(), CN).status_code == 200, 30, "over")


def test_files_are_swapped_under_traffic(places, tmp_path):
    s, file = places, places.folder / "country.mmdb"
    put(s, tmp_path, [{"id": "here", "when": {"ip_country": ["SG"]}, "effect": "allow"}])
    assert ask(s, mainland_phone(), CN).status_code == 403
    mmdb.write(file, {"203.0.113.0/24": mmdb.country("SG")}, built_s=1_750_000_000)
    built = 'tidegate_geography_build_timestamp_seconds{file="country"}'
    wait_until(lambda: metric(s, built) == 1_750_000_000, 30, "the new file")
    wait_until(lambda: ask(s, mainland_phone(), CN).status_code == 200, 30, "the new file on the loop")

    refused = 'tidegate_geography_loads_total{result="refused"}'
    whole = file.read_bytes()
    for broken in (b"", b"no database", whole[:len(whole) // 2], whole[:300] + b"\xff" * 60 + whole[360:]):
        before = metric(s, refused)
        file.write_bytes(broken)  # in place, as `cp` does
        wait_until(lambda: metric(s, refused) > before, 30, f"{broken[:12]} is refused")
        assert ask(s, mainland_phone(), CN).status_code == 200, "the old one stays"
    file.unlink()
    wait_until(lambda: metric(s, refused) > 4, 30, "a file that is gone is refused")
    assert metric(s, built) == 1_750_000_000 and ask(s, mainland_phone(), CN).status_code == 200
    assert "geography file refused" in s.gateway.process.tail(2000)

    mmdb.write(file, COUNTRIES, built_s=1_760_000_001)
    wait_until(lambda: metric(s, built) == 1_760_000_001, 30, "a good one again")


def test_reload_changes_the_files_and_a_start_lives_without(places, tmp_path):
    s, g = places, places.gateway
    put(s, tmp_path, [{"id": "here", "when": {"ip_country": ["CN"]}, "effect": "allow"}])
    g.settings["geography"] = {"country": str(mmdb.write(tmp_path / "both.mmdb", {"203.0.113.0/24": {**mmdb.country("SG"),
                                                                                                     **mmdb.system(7)}})),
                               "poll": "100ms"}
    g.write()
    g.ctl("reload")
    wait_until(lambda: ask(s, mainland_phone(), CN).status_code == 403, 30, "the other file")
    put(s, tmp_path, [{"id": "here", "when": {"asn": [7]}, "effect": "allow"}])  # one file holds both
    assert ask(s, mainland_phone(), CN).status_code == 200
    g.settings["geography"] = {"country": str(tmp_path / "none.mmdb"), "poll": "100ms"}
    g.write()
    g.process.stop()
    g.start()
    assert ask(s, mainland_phone(), CN).status_code == 403  # nothing is known: closed
    mmdb.write(tmp_path / "none.mmdb", {"203.0.113.0/24": {**mmdb.country("SG"), **mmdb.system(7)}})
    wait_until(lambda: ask(s, mainland_phone(), CN).status_code == 200, 30, "the file, once it is there")
