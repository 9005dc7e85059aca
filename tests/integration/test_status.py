"""The status page by itself: contract, caching, incidents, snapshot. Its gateway is a fake that fails on command."""
import email.utils
import gzip
import importlib
import re
import signal
import shutil
import subprocess
import time
import xml.etree.ElementTree as xml

import httpx
import pytest

from tide.process import wait_until
from tide.stack import run, program
from tide.status_page import StatusPage

PAGE = ["id", "name", "url", "time_zone", "updated_at"]
COMPONENT = ["id", "name", "status", "created_at", "updated_at", "position", "description", "showcase", "start_date", "group_id",
             "page_id", "group", "only_show_if_degraded"]
INCIDENT = ["id", "name", "status", "created_at", "updated_at", "monitoring_at", "resolved_at", "impact", "shortlink",
            "started_at", "page_id", "incident_updates", "components", "reminder_intervals"]
UPDATE = ["id", "status", "body", "incident_id", "created_at", "updated_at", "display_at", "affected_components",
          "deliver_notifications", "custom_tweet", "tweet_id"]
BODIES = {
    "/api/v2/summary.json": ["page", "components", "incidents", "scheduled_maintenances", "status"],
    "/api/v2/status.json": ["page", "status"],
    "/api/v2/components.json": ["page", "components"],
    "/api/v2/incidents.json": ["page", "incidents"],
    "/api/v2/incidents/unresolved.json": ["page", "incidents"],
    "/api/v2/scheduled-maintenances.json": ["page", "scheduled_maintenances"],
    "/api/v2/scheduled-maintenances/upcoming.json": ["page", "scheduled_maintenances"],
    "/api/v2/scheduled-maintenances/active.json": ["page", "scheduled_maintenances"],
}
STAMP = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
CODE = re.compile(r"^[a-z0-9]{12}$")
STATUSES = {"operational", "degraded_performance", "partial_outage", "major_outage", "under_maintenance"}


# --- the contract ------------------------------------------------------------------------------------


def check_component(c: dict) -> None:
    keys = list(c)
    assert keys == COMPONENT + (["components"] if c["group"] else [])
    assert c["status"] in STATUSES and CODE.match(c["id"]) and STAMP.match(c["created_at"]) and STAMP.match(c["updated_at"])
    assert isinstance(c["position"], int) and c["position"] >= 1


def check_incident(i: dict) -> None:
    assert list(i) == INCIDENT
    assert i["status"] in {"investigating", "identified", "monitoring", "resolved", "postmortem"}
    assert i["impact"] in {"none", "minor", "major", "critical"}
    assert i["incident_updates"], "an incident says something"
    times = [u["created_at"] for u in i["incident_updates"]]
    assert times == sorted(times, reverse=True), "newest first"
    for u in i["incident_updates"]:
        assert list(u) == UPDATE and u["incident_id"] == i["id"] and STAMP.match(u["display_at"])
        for a in u["affected_components"] or []:
            assert list(a) == ["code", "name", "old_status", "new_status"]
    for c in i["components"]:
        check_component(c)


def check_contract(page: StatusPage) -> None:
    for path, keys in BODIES.items():
        body = page.json(path)
        assert list(body) == keys, path
        assert list(body["page"]) == PAGE and CODE.match(body["page"]["id"]) and STAMP.match(body["page"]["updated_at"])
        for c in body.get("components", []):
            check_component(c)
        for i in body.get("incidents", []):
            check_incident(i)
    status = page.json("/api/v2/status.json")["status"]
    assert list(status) == ["indicator", "description"]
    assert status["indicator"] in {"none", "minor", "major", "critical", "maintenance"}


def test_json_has_exactly_the_keys_of_statuspage(page, fake):
    page.start().wait_green()
    page.wait(lambda: page.status_of("m-two") == "operational", 10, "models appear by themselves")
    check_contract(page)
    components = page.json("/api/v2/summary.json")["components"]
    assert [c["name"] for c in components if not c["group_id"]] == ["Sign-up", "Log-in", "SMS verification", "Chat API", "Models"]
    group = next(c for c in components if c["group"])
    assert group["components"] == [c["id"] for c in components if c["group_id"] == group["id"]]
    assert {c["name"] for c in components if c["group_id"]} == {"m-one", "m-two"}
    fake.fail.add("m-one")
    page.wait(page.incidents, 10, "an incident opens")
    check_contract(page)


def test_an_independent_client_reads_it(page, fake, monkeypatch):
    """statuscheck (PyPI), as it is: only the address is ours."""
    statuspage = importlib.import_module("statuscheck.services.bases._statuspageio")
    monkeypatch.setenv("SSL_CERT_FILE", str(page.ca))

    class Ours(statuspage.BaseStatusPageAPI):
        def _get_base_url(self):
            return page.url + "/api/v2/"

    page.start().wait_green()
    page.wait(lambda: page.status_of("m-two") == "operational", 60, "models appear")
    summary = Ours().get_summary()
    assert summary.status.is_ok and summary.status.description == "All Systems Operational"
    assert {c.name for c in summary.components} >= {"Sign-up", "Log-in", "SMS verification", "Chat API", "m-one", "m-two"}
    assert summary.incidents == []
    fake.fail.add("m-one")
    page.wait(page.unresolved, 60, "an incident opens")
    summary = Ours().get_summary()
    assert not summary.status.is_ok and len(summary.incidents) == 1 and "m-one" in summary.incidents[0].name


def test_unknown_paths_and_methods(page):
    page.start()
    for path in ("/api/v2/nothing.json", "/api/v3/summary.json", "/api/", "/incidents/zzzzzzzzzzzz.json"):
        answer = page.get(path)
        assert answer.status_code == 404 and answer.headers["content-type"].startswith("application/json"), path
        assert answer.json() and answer.headers["access-control-allow-origin"] == "*"
    answer = page.get("/nothing", headers={"accept-language": "zh-TW"})
    assert answer.status_code == 404 and "頁面不存在" in answer.text and "etag" not in answer.headers
    for method in ("POST", "DELETE", "PUT"):
        answer = page.get("/api/v2/summary.json", method=method)
        assert answer.status_code == 405 and "GET" in answer.headers["allow"]
    preflight = page.get("/api/v2/summary.json", method="OPTIONS", headers={"origin": "https://a.example"})
    assert preflight.status_code == 204 and preflight.headers["access-control-allow-origin"] == "*"


# --- caching -----------------------------------------------------------------------------------------


def raw(page: StatusPage, path: str, method: str = "GET", **headers) -> httpx.Response:
    """Without httpx decoding anything: (response, bytes as sent)."""
    sent = {"accept-encoding": "identity", **{k.replace("_", "-"): v for k, v in headers.items()}}
    with httpx.Client(verify=page.trust, timeout=10) as client:
        with client.stream(method, page.url + path, headers=sent) as answer:
            return answer, b"".join(answer.iter_raw())


@pytest.mark.parametrize("path", ["/", "/zh/history", "/api/v2/components.json", "/history.atom", "/history.rss"])
def test_etag_gzip_head_and_not_modified(page, path):
    page.start().wait_green()
    time.sleep(1.5)  # nothing changes any more
    plain, body = raw(page, path)
    assert plain.status_code == 200 and "content-encoding" not in plain.headers
    assert plain.headers["cache-control"] == "public, max-age=5, stale-while-revalidate=30, stale-if-error=86400"
    assert plain.headers["access-control-allow-origin"] == "*"
    etag, modified = plain.headers["etag"], plain.headers["last-modified"]
    assert re.fullmatch(r'"[0-9a-f]+"', etag), "strong"
    assert email.utils.parsedate_to_datetime(modified)
    assert "accept-encoding" in plain.headers["vary"]
    assert ("accept-language" in plain.headers["vary"]) == (path == "/")

    zipped, packed = raw(page, path, accept_encoding="br;q=1, gzip;q=0.5")
    assert zipped.headers["content-encoding"] == "gzip" and gzip.decompress(packed) == body
    assert zipped.headers["etag"] != etag, "other bytes, other strong tag"
    refused, same = raw(page, path, accept_encoding="gzip;q=0, *")
    assert "content-encoding" not in refused.headers and same == body

    head, nothing = raw(page, path, method="HEAD")
    assert head.status_code == 200 and nothing == b"" and int(head.headers["content-length"]) == len(body)
    assert head.headers["etag"] == etag

    for tag in (etag, zipped.headers["etag"], f'"other", W/{etag}', "*"):
        unchanged, nothing = raw(page, path, if_none_match=tag)
        assert unchanged.status_code == 304 and nothing == b"", tag
        assert unchanged.headers["etag"] == etag and "cache-control" in unchanged.headers
    assert raw(page, path, if_modified_since=modified)[0].status_code == 304
    # a tag that does not match wins over a date that does
    assert raw(page, path, if_none_match='"other"', if_modified_since=modified)[0].status_code == 200
    assert raw(page, path, method="HEAD", if_none_match=etag)[0].status_code == 304


def test_a_change_changes_the_tag(page, fake):
    page.start().wait_green()
    before = raw(page, "/api/v2/summary.json")[0].headers["etag"]
    fake.fail.add("login")
    page.wait(lambda: raw(page, "/api/v2/summary.json", if_none_match=before)[0].status_code == 200, 10, "a new document")


def test_http2_and_http1_answer_alike(page):
    page.start()
    with httpx.Client(verify=page.trust, http2=True) as two, httpx.Client(verify=page.trust) as one:
        a, b = two.get(page.url + "/api/v2/components.json"), one.get(page.url + "/api/v2/components.json")
        assert a.http_version == "HTTP/2" and b.http_version == "HTTP/1.1" and list(a.json()) == list(b.json())


# --- the pages ---------------------------------------------------------------------------------------


def test_the_front_page_needs_nothing_else(page):
    page.start().wait_green()
    answer, packed = raw(page, "/en", accept_encoding="gzip")
    text = gzip.decompress(packed).decode()
    assert len(packed) <= 14 * 1024
    for forbidden in ("<script", "javascript:", " onload", "<iframe", "@import", "url(", " src="):
        assert forbidden not in text, forbidden
    assert all(not link.startswith("http") for link in re.findall(r'<link[^>]+href="([^"]+)"', text))
    assert "script-src" not in answer.headers["content-security-policy"] and "'unsafe-inline'" not in answer.headers[
        "content-security-policy"]
    assert text.count('<rect x="') == 90 * 6, "a bar a day and component"
    assert "All Systems Operational" in text and "Data as of <time" in text and 'class="stale"' not in text


def test_languages_by_header_and_path(page):
    page.start().wait_green()
    for tag, path, words in (("en-GB", "/en", "Data as of"), ("zh-CN,zh;q=0.9", "/zh", "数据截至"),
                             ("zh-HK", "/zh-hant", "資料截至")):
        by_header, by_path = page.get("/", headers={"accept-language": tag}), page.get(path)
        assert words in by_header.text and words in by_path.text
        assert by_header.headers["content-language"] == by_path.headers["content-language"]
        assert f'<html lang="{by_path.headers["content-language"]}">' in by_path.text


def test_feeds_are_well_formed(page, fake):
    page.start().wait_green()
    fake.models[0] = "m\x0b\uffff-one"  # nothing of it can be said in XML
    fake.fail.add(fake.models[0])
    page.wait(page.incidents, 30, "an incident opens")
    code = page.incidents()[0]["id"]
    feed = xml.fromstring(page.get("/history.atom").content)
    atom = "{http://www.w3.org/2005/Atom}"
    entries = feed.findall(atom + "entry")
    assert len(entries) == 1 and entries[0].find(atom + "id").text == f"tag:localhost:{page.port},2005:Incident/{code}"
    assert "m  -one" in entries[0].find(atom + "title").text
    content = entries[0].find(atom + "content")
    assert content.get("type") == "html"
    assert re.match(r"<p><small>[A-Z][a-z]{2} <var data-var='date'>\d{1,2}</var>, <var data-var='time'>\d\d:\d\d</var> UTC</small>"
                    r"<br><strong>Investigating</strong> - ", content.text)
    link = next(e.get("href") for e in entries[0].findall(atom + "link"))
    assert page.get(link.removeprefix(page.url)).status_code == 200
    rss = xml.fromstring(page.get("/history.rss").content)
    assert rss.find("channel/item/guid").text == link
    assert page.json(f"/incidents/{code}.json")["id"] == code


# --- incidents ---------------------------------------------------------------------------------------


def test_an_incident_opens_and_resolves_by_itself(page, fake):
    page.start().wait_green()
    page.wait(lambda: page.status_of("m-two") == "operational", 10, "models appear")
    fake.fail.add("m-one")
    page.wait(lambda: page.status_of("m-one") == "major_outage", 10, "the model is down")
    page.wait(lambda: page.status_of("Chat API") == "partial_outage", 5, "chat is partly down")
    incident = page.wait(page.incidents, 10, "an incident opens")[0]
    assert incident["status"] == "investigating" and "m-one" in incident["name"]
    assert "automatically" in incident["incident_updates"][-1]["body"]
    assert page.indicator() == "major" and "Happening now" in page.get("/en").text
    fake.fail.clear()
    page.wait(lambda: page.incidents()[0]["status"] == "monitoring", 10, "monitoring at once")
    assert page.indicator() == "major", "never below an unresolved incident"
    page.wait(lambda: page.incidents()[0]["status"] == "resolved", 15, "resolved after clean time")
    page.wait_green()
    assert page.incidents("/api/v2/incidents/unresolved.json") == []
    fake.fail.add("m-one")
    page.wait(lambda: page.incidents()[0]["status"] == "investigating", 15, "it returns")
    assert len(page.incidents()) == 1, "within the window it is the same incident"


def test_a_blip_opens_nothing(page, fake):
    page.settings["incidents"]["open_after"] = "3s"
    page.start().wait_green()
    fake.fail.add("login")
    page.wait(lambda: page.status_of("Log-in") == "major_outage", 5, "the component changes")
    fake.fail.clear()
    page.wait_green()
    time.sleep(3)
    assert page.incidents() == []


def test_sms_follows_the_counters(page, fake):
    page.start().wait_green()
    fake.sms = {"ok": 1, "failed": 30}
    page.wait(lambda: page.status_of("SMS verification") == "major_outage", 10, "SMS is down")
    fake.sms = {"ok": 40, "failed": 30}
    page.wait(lambda: page.status_of("SMS verification") == "operational", 10, "SMS works")


def test_signup_follows_the_settings_without_a_database(page, fake):
    page.start().wait_green()
    fake.signup = {"state": "restricted"}
    page.wait(lambda: page.status_of("Sign-up") == "degraded_performance", 5, "sign-up is limited")
    assert "Limited" in page.get("/en").text and page.indicator() == "minor"
    fake.signup = {"state": "closed"}
    page.wait(lambda: page.status_of("Sign-up") == "partial_outage", 20, "sign-up is closed")
    gauges = httpx.get(f"http://127.0.0.1:{page.metrics_port}/metrics").text
    assert 'tidestatus_component_status{component="signup"} 3' in gauges
    assert 'tidestatus_component_fault{component="signup"} 0' in gauges, "closed on purpose: nobody is woken"
    fake.signup = {"state": "open"}
    page.wait_green()


# --- failures ----------------------------------------------------------------------------------------


def test_gateway_gone_is_red_and_after_a_restart_the_snapshot_speaks(page, fake):
    page.start().wait_green()
    page.wait(lambda: page.status_of("m-two") == "operational", 10, "models appear")
    fake.stop()
    page.wait(lambda: page.indicator() == "critical" or page.indicator() == "major", 15, "the outage shows")
    page.wait(page.incidents, 10, "an incident opens")
    assert "Data as of" in page.get("/en").text
    page.process.kill()
    page.process.start()
    wait_until(lambda: page.get("/en").status_code == 200, 10, "the page is back")
    text = page.get("/en").text
    assert "All Systems Operational" not in text and "Data as of" in text
    assert page.indicator() != "none" and page.incidents(), "the incident is still known"
    fake.start()
    page.wait(lambda: page.incidents()[0]["status"] == "resolved", 30, "the same incident resolves")
    page.wait_green()
    assert len(page.incidents()) == 1


def test_blind_is_stale_and_not_green(page, fake):
    """Probes that are refused prove nothing."""
    page.start().wait_green()
    fake.refuse = True
    page.wait(lambda: page.indicator() == "minor", 20, "stale is not green")
    assert page.json("/api/v2/status.json")["status"]["description"] == "Status Data Out of Date"
    assert 'class="stale"' in page.get("/en").text and "Unknown" in page.get("/en").text
    page.wait(lambda: "operational" not in {c["status"] for c in page.json("/api/v2/components.json")["components"]}, 5,
              "not one is green")
    assert page.incidents() == [], "being blind is no outage"


def test_a_damaged_snapshot_is_refused_and_the_page_starts(page):
    page.snapshot.write_text('{"format":1,"components":[{"kind":77}]')
    page.start().wait_green()
    assert "snapshot refused" in page.process.log.read_text()


def test_pages_keep_answering_while_probes_hang(page, fake):
    page.start().wait_green()
    fake.hang_s = 20
    for _ in range(20):
        began = time.monotonic()
        assert page.get("/").status_code == 200
        assert time.monotonic() - began < 2
        time.sleep(0.1)


# --- operating ---------------------------------------------------------------------------------------


def test_check_print_config_and_errors(page, tmp_path):
    page.start()
    assert run(program("tide-status"), "--version").stdout.startswith("tide-status ")
    assert run(program("tide-status"), "-c", page.conf, "--check").returncode == 0
    printed = run(program("tide-status"), "-c", page.conf, "--print-config").stdout
    again = tmp_path / "again.yaml"
    again.write_text(printed)
    assert run(program("tide-status"), "-c", again, "--print-config").stdout == printed
    bad = tmp_path / "bad.yaml"
    bad.write_text(page.conf.read_text() + "colour: green\n")
    refused = run(program("tide-status"), "-c", bad, "--check", check=False)
    assert refused.returncode == 1 and re.search(r"bad\.yaml:\d+:\d+: .*colour", refused.stderr), refused.stderr
    second = run(program("tide-status"), "-c", page.conf, check=False)
    assert second.returncode == 1, "a second instance on the same port"


def test_listeners_have_any_number_of_shards(page, tmp_path):
    """More sockets than loops, fewer, and a unix socket: each connection is answered, whoever the kernel gives it to."""
    path = tmp_path / "page.sock"
    page.settings["process"]["threads"] = 2
    page.settings["listeners"] = [{"address": f"127.0.0.1:{page.port}", "shards": 5},
                                  {"name": "front", "address": f"unix:{path}", "tls": False, "unix_mode": "0660"}]
    page.start()
    assert all(page.get("/api/v2/status.json").status_code == 200 for _ in range(40))
    assert path.stat().st_mode & 0o777 == 0o660
    for _ in range(4):
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), timeout=10) as client:
            assert client.get("http://page/api/v2/status.json").status_code == 200


def test_reload_takes_good_and_refuses_bad(page):
    page.start().wait_green()
    text = page.conf.read_text()
    page.conf.write_text(text.replace("stale_after: 5s", "stale_after: nonsense"))
    page.process.send(signal.SIGHUP)
    wait_until(lambda: "reload result=refused" in page.process.log.read_text(), 5, "refused")
    page.conf.write_text(text.replace("stale_after: 5s", "stale_after: 6s"))
    page.process.send(signal.SIGHUP)
    wait_until(lambda: "reload result=ok" in page.process.log.read_text(), 5, "taken")
    assert page.indicator() == "none"


def test_metrics_and_health(page):
    page.start().wait_green()
    base = f"http://127.0.0.1:{page.metrics_port}"
    assert httpx.get(base + "/livez").status_code == 200 and httpx.get(base + "/readyz").status_code == 200
    metrics = httpx.get(base + "/metrics")
    assert metrics.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'tidestatus_component_status{component="login"} 0' in metrics.text
    assert page.get("/metrics").status_code == 404, "not for the public"
    if shutil.which("promtool"):
        done = subprocess.run(["promtool", "check", "metrics"], input=metrics.text, text=True, capture_output=True)
        assert done.returncode == 0, done.stdout + done.stderr
