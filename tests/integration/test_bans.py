"""Bans and allowances: who is turned away where, on every gateway, with and without the database."""
import ipaddress
import json
import random
import socket
import ssl
import subprocess

import httpx
import pytest

from tide.client import mainland_phone
from tide.process import free_port, wait_until
from tide.stack import BUILD


class Bans:
    """The admin API of one gateway."""

    def __init__(self, gateway):
        self.http = httpx.Client(transport=httpx.HTTPTransport(uds=str(gateway.socket)), base_url="http://admin",
                                 timeout=30)

    def post(self, path: str, dry_run: bool = False, **body) -> httpx.Response:
        return self.http.post(f"/admin/v1/bans{path}", params={"dry_run": 1} if dry_run else {},
                              json={"reason": "attack 17", **body})

    def add(self, *targets, **more) -> dict:
        answer = self.post("", items=list(targets), **more)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def remove(self, *targets, **more) -> int:
        answer = self.post("/remove", targets=list(targets), **more)
        assert answer.status_code == 200, answer.text
        return answer.json()["removed"]

    def list(self, **query) -> list[dict]:
        return self.http.get("/admin/v1/bans", params=query).json()["items"]

    def holds(self, target: str) -> bool:
        return self.http.get("/admin/v1/bans/test", params={"target": target}).json()["banned"]


def known(gateway, effect: str = "ban") -> int:
    return int(gateway.metric(f'tidegate_bans_entries{{effect="{effect}"}}'))


def wait_known(gateway, n: int, effect: str = "ban") -> None:
    wait_until(lambda: known(gateway, effect) == n, 20, f"{gateway.name} knows {n} of {effect}", every=0.05)


def is_reset(gateway, source: str) -> bool:
    """The connection ends without a byte of TLS."""
    context = ssl.create_default_context(cafile=str(gateway.stack.ca))
    try:
        with socket.create_connection(("127.0.0.1", int(gateway.port)), 10, source_address=(source, 0)) as s:
            context.wrap_socket(s, server_hostname="localhost").close()
        return False
    except (ConnectionError, ssl.SSLError):
        return True


@pytest.fixture
def gateway(own_stack):
    own_stack.start_servers()
    settings = own_stack.settings()
    settings["trusted_proxies"] = ["127.0.0.1/32"]
    return own_stack.start_gateway(settings)


def code(gateway, address: str, **headers) -> str:
    answer = gateway.get("/livez", headers={"x-forwarded-for": address, **headers})
    return "passes" if answer.status_code == 200 else f"{answer.status_code} {answer.json()['code']}"


def test_addresses_are_turned_away_before_tls_and_behind_proxies(gateway):
    bans = Bans(gateway)
    assert bans.add("127.0.0.9", "203.0.113.0/24", "2001:db8::/32") == {
        "added": 3, "renewed": 0, "removed": 0, "dry_run": False}
    wait_known(gateway, 3)
    assert is_reset(gateway, "127.0.0.9")
    assert not is_reset(gateway, "127.0.0.8")
    assert code(gateway, "203.0.113.7") == "403 address_banned"
    assert code(gateway, "2001:db8:1::1") == "403 address_banned"
    assert code(gateway, "203.0.112.7") == "passes"
    assert gateway.metric('tidegate_bans_hits_total{stage="accept",kind="address"}') >= 1
    assert gateway.metric('tidegate_http_connections_refused_total{reason="banned"}') >= 1
    # an allowance wins, whichever is longer
    bans.add("203.0.113.128/25", effect="allow")
    wait_known(gateway, 1, "allow")
    assert code(gateway, "203.0.113.129") == "passes"
    assert code(gateway, "203.0.113.7") == "403 address_banned"
    assert bans.remove("203.0.113.0/24") == 1
    wait_known(gateway, 2)
    assert code(gateway, "203.0.113.7") == "passes"
    assert bans.remove("203.0.113.0/24") == 0


def test_hits_are_counted_and_audited(gateway):
    bans = Bans(gateway)
    bans.add({"target": "198.51.100.0/24", "reason": "pumping", "ttl_s": 3600}, list="friday")
    wait_known(gateway, 1)
    for _ in range(7):
        assert code(gateway, "198.51.100.1") == "403 address_banned"
    wait_until(lambda: [b["hits"] for b in bans.list()] == [7], 20, "the database has the hits")
    ban = bans.list(list="friday")[0]
    assert (ban["target"], ban["effect"], ban["reason"], ban["list"]) == ("198.51.100.0/24", "ban", "pumping", "friday")
    assert ban["actor"].startswith("unix:") and ban["until"] and ban["last_hit_at"]
    assert bans.post("/remove", list="friday").json()["removed"] == 1
    audit = json.loads(gateway.ctl("-o", "json", "get", "audit", "--limit", "2").stdout)["items"]
    assert [(a["action"], a["target"], a["reason"]) for a in audit] == [
        ("ban.remove", "list/friday", "attack 17"), ("ban.add", "list/friday", "attack 17")]
    assert audit[1]["detail"] == {"added": 1, "renewed": 0, "targets": ["198.51.100.0/24"]}


def test_a_ban_ends_by_itself_and_leaves_the_wider_one(gateway):
    bans = Bans(gateway)
    bans.add("203.0.113.0/24", "203.0.113.7", ttl_s=0)
    bans.add({"target": "203.0.113.8", "ttl_s": 2}, {"target": "192.0.2.8", "ttl_s": 2})
    wait_known(gateway, 4)
    assert code(gateway, "192.0.2.8") == "403 address_banned"
    wait_until(lambda: code(gateway, "192.0.2.8") == "passes", 20, "its time is over")
    assert code(gateway, "203.0.113.8") == "403 address_banned"
    assert {b["target"]: b["until"] is None for b in bans.list()} == {"203.0.113.0/24": True, "203.0.113.7/32": True}


def test_devices_clients_and_phone_prefixes(own_stack, gateway):
    bans = Bans(gateway)
    app = own_stack.app()
    app.http.headers["x-device-id"] = "phone-of-eve"
    bans.add("device:phone-of-eve")
    wait_known(gateway, 1)
    assert code(gateway, "192.0.2.1", **{"x-device-id": "phone-of-eve"}) == "403 device_banned"
    assert code(gateway, "192.0.2.1", **{"x-device-id": "phone-of-ada"}) == "passes"
    refused = app.ask_code(mainland_phone())
    assert refused.status_code == 403 and refused.json()["code"] == "device_banned", refused.text
    # phone prefixes: a code is neither sent nor tried
    phone = mainland_phone()
    bans.add(phone[:7])
    wait_known(gateway, 2)
    with own_stack.app() as other:
        for answer in (other.ask_code(phone), other.verify(phone, "123456")):
            assert answer.status_code == 403 and answer.json()["code"] == "client_banned", answer.text
        assert own_stack.outbox.messages(phone) == []
        unlike = next(p for p in iter(mainland_phone, None) if not p.startswith(phone[:7]))
        assert other.ask_code(unlike).status_code == 200
    # kinds of TLS clients: the handshake ends at the hello
    context = ssl.create_default_context(cafile=str(own_stack.ca))
    context.set_alpn_protocols(["http/1.1"])
    with httpx.Client(verify=context) as client:
        client.get(gateway.url + "/livez")
    ja4 = next(json.loads(line)["ja4"] for line in reversed(gateway.access_log.read_text().splitlines())
               if json.loads(line).get("ja4"))
    bans.add(f"ja4:{ja4}")
    wait_known(gateway, 3)
    with httpx.Client(verify=context) as client, pytest.raises(httpx.TransportError):
        client.get(gateway.url.replace("localhost", "127.0.0.2") + "/livez")


def test_the_fleet_and_a_start_without_the_database(own_stack):
    own_stack.start_servers()
    first = own_stack.start_gateway()
    second = own_stack.start_gateway()
    Bans(first).add("127.0.0.9", "AS64500")
    for gateway in (first, second):
        wait_known(gateway, 2)
        assert is_reset(gateway, "127.0.0.9")
    wait_until(lambda: (second.folder / "state" / "bans").exists(), 30, "they are on disk")
    own_stack.postgres.stop()
    assert is_reset(first, "127.0.0.9")
    second.process.stop()
    second.start(ready=False)
    wait_known(second, 2)
    assert is_reset(second, "127.0.0.9")
    refused = Bans(second).post("", items=["192.0.2.1"])
    assert refused.status_code == 503, refused.text
    own_stack.postgres.start()
    Bans(first).http.close()
    wait_until(lambda: Bans(first).post("/remove", targets=["127.0.0.9"]).status_code == 200, 60, "the database is back")
    wait_known(second, 1)
    assert not is_reset(second, "127.0.0.9")


def test_a_proxy_header_names_who_is_banned(own_stack):
    own_stack.start_servers()
    settings = own_stack.settings()
    port = free_port()
    settings["listeners"].append({"address": f"127.0.0.1:{port}", "proxy_protocol": True, "proxy_protocol_from": ["127.0.0.1/32"]})
    gateway = own_stack.start_gateway(settings)
    bans = Bans(gateway)
    bans.add("203.0.113.0/24")
    wait_known(gateway, 1)
    context = ssl.create_default_context(cafile=str(own_stack.ca))

    def passes(address: str) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), 10) as s:
                s.sendall(f"PROXY TCP4 {address} 10.0.0.1 4711 443\r\n".encode())
                context.wrap_socket(s, server_hostname="localhost").close()
            return True
        except (ConnectionError, ssl.SSLError):
            return False
    assert passes("198.51.100.1")
    assert not passes("203.0.113.1")
    refused = bans.post("", items=["127.0.0.0/8"], confirm="127.0.0.0/8")
    assert refused.status_code == 400 and "would ban the trusted proxy 127.0.0.1/32" in refused.text


def test_bad_changes_say_what_is_wrong_and_change_nothing(own_stack):
    own_stack.start_servers()
    settings = own_stack.settings()
    settings["trusted_proxies"] = ["10.1.0.0/16"]
    settings["bans"] = {"most": 5}
    gateway = own_stack.start_gateway(settings)
    bans = Bans(gateway)
    for body, part in (
            ({"items": ["10.1.2.3"]}, "would ban the trusted proxy 10.1.0.0/16"),
            ({"items": ["10.0.0.0/8"]}, "would ban the trusted proxy"),
            ({"items": ["128.0.0.0/1"]}, "confirm it by its name"),
            ({"items": [{"target": "192.0.2.1"}, {"target": "192.0.2.300", "line": 17}]}, "line 17: "),
            ({"items": [{"target": "192.0.2.1", "tll_s": 3}]}, "wants {"),
            ({"items": [{"target": "192.0.2.1", "ttl_s": -3}]}, "ttl_s"),
            ({"items": ["192.0.2.1"], "ttl_s": -3}, "ttl_s"),
            ({"items": ["192.0.2.1"], "ttl_s": 9223372036854775807}, "ttl_s: 0 (no end) to a year"),
            ({"items": ["+86"]}, "+86 is a large part of the world's numbers: confirm it by its name"),
            ({"items": ["+882", "+979"], "confirm": "+882"}, "+979 is a large part"),
            ({"items": []}, "1 to 2000"),
            ({"items": ["192.0.2.1"] * 2001}, "1 to 2000"),
            ({"items": "192.0.2.1"}, "items: wants an array"),
            ({"items": ["192.0.2.1"], "effect": "kick"}, "effect"),
            ({"items": ["192.0.2.1"], "reason": ""}, "reason"),
            ({"items": ["+8613800138000"]}, "no phone prefix"),
            ({"items": ["192.0.2.1"], "colour": "red"}, "colour")):
        refused = bans.post("", **body)
        assert refused.status_code in (400, 422) and part in refused.text, (body, refused.text)
    many = bans.post("", items=[{"target": "x", "line": i} for i in range(1, 41)]).json()["detail"]
    assert many.count("line ") == 10 and many.endswith("and 30 more")
    full = bans.post("", items=[f"192.0.2.{i}" for i in range(6)])
    assert full.status_code == 409 and "bans.most is 5" in full.text
    assert bans.list() == []
    assert bans.add("192.0.2.1", "192.0.2.1/32", dry_run=True) == {
        "added": 0, "renewed": 0, "removed": 0, "checked": 2, "dry_run": True}
    assert bans.list() == []
    assert bans.add("192.0.2.1", "192.0.2.1/32")["added"] == 1
    assert bans.add("192.0.2.1", "192.0.2.2") == {"added": 1, "renewed": 1, "removed": 0, "dry_run": False}
    assert bans.add("0.0.0.0/1", confirm="0.0.0.0/1", effect="allow")["added"] == 1
    assert bans.add("+882", "+979", confirm="+882, +979")["added"] == 2


def test_what_has_ended_takes_no_place_from_what_is_in_force(own_stack):
    """Rows stay a day after their end: a start must not read those, and leave the newest out."""
    own_stack.start_servers()
    settings = own_stack.settings()
    settings["bans"] = {"most": 5}
    gateway = own_stack.start_gateway(settings)
    bans = Bans(gateway)
    for n in range(3):
        bans.add(*(f"192.0.2.{10 * n + i}" for i in range(4)))
        assert bans.remove(*(f"192.0.2.{10 * n + i}" for i in range(4))) == 4
    bans.add("198.51.100.7", "198.51.100.8")
    wait_known(gateway, 2)
    gateway.process.stop()
    gateway.start()
    wait_known(gateway, 2)
    assert bans.holds("198.51.100.7") and bans.holds("198.51.100.8") and not bans.holds("192.0.2.1")
    # and more changes at once than there may be bans: those that ended before, and one that is new
    own_stack.postgres.query("WITH v AS (UPDATE versions SET bans = bans + 1 RETURNING bans) UPDATE bans SET moved = v.bans FROM v"
                             " WHERE removed_at IS NOT NULL")
    bans.add("198.51.100.9")
    wait_known(gateway, 3)
    assert bans.holds("198.51.100.9") and bans.holds("198.51.100.7")


def networks(rng, n: int) -> list:
    """Nested, touching and equal ones, of both families and all lengths."""
    out = []
    for _ in range(n):
        if out and rng.random() < 0.5:  # inside or around one that is there
            other = rng.choice(out)
            bits = rng.randint(0, other.max_prefixlen)
            address = rng.choice((other.network_address, other.broadcast_address))
            out.append(ipaddress.ip_network((address, bits), strict=False))
        else:
            width = rng.choice((32, 128))
            make = ipaddress.IPv4Network if width == 32 else ipaddress.IPv6Network
            out.append(make((rng.getrandbits(width), rng.randint(0, width)), strict=False))
    return [x for x in out if x.version == 4 or x.prefixlen > 0]


def questions(rng, nets: list, n: int) -> list:
    for _ in range(n):
        net = rng.choice(nets)
        edge = rng.choice((int(net.network_address), int(net.broadcast_address))) + rng.choice((-1, 0, 1))
        edge = min(max(edge, 0), 2**net.max_prefixlen - 1)
        yield type(net.network_address)(rng.choice((edge, rng.getrandbits(net.max_prefixlen))))


@pytest.mark.parametrize("seed", range(8))
def test_the_table_agrees_with_ipaddress(seed):
    rng = random.Random(seed)
    nets = networks(rng, 10 ** (1 + seed % 4))
    asked = [a for a in questions(rng, nets, 3000) if not (a.version == 6 and int(a) < 2**48)]  # ::a.b.c.d, ::ffff:...
    text = "\n".join([*map(str, nets), "", *map(str, asked), ""])
    done = subprocess.run([BUILD / "tests" / "prefix_find"], input=text, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    by_length: dict = {}
    for net in nets:
        by_length.setdefault((net.version, net.prefixlen), set()).add(net.network_address)
    for address, answer in zip(asked, done.stdout.split(), strict=True):
        longest = next((ipaddress.ip_network((address, bits), strict=False) for bits in range(address.max_prefixlen, -1, -1)
                        if ipaddress.ip_network((address, bits), strict=False).network_address
                        in by_length.get((address.version, bits), ())), None)
        assert answer == (str(longest) if longest else "-"), address


def test_an_operator_bans_lists_imports_and_exports(own_stack, tmp_path):
    own_stack.start_servers()
    gateway = own_stack.start_gateway()
    ctl = gateway.ctl

    def known_targets(*words) -> set:
        return {b["target"] for b in json.loads(ctl("ban", "list", "--limit", "10000", "-o", "json", *words).stdout)["items"]}

    assert ctl("ban", "add", "203.0.113.7", "as64500", "--reason", "why").stdout.startswith("ban/203.0.113.7... banned")
    assert ctl("ban", "add", "198.51.100.0/24", "--allow", "--reason", "partner").returncode == 0
    assert known_targets() == {"203.0.113.7/32", "AS64500"} and known_targets("--allow") == {"198.51.100.0/24"}
    assert "203.0.113.7/32" in ctl("ban", "list").stdout
    assert ctl("ban", "test", "203.0.113.7", "-o", "name").returncode == 0
    assert json.loads(ctl("ban", "test", "203.0.113.7", "-o", "json").stdout)["by"] == "203.0.113.7/32"

    plain = tmp_path / "drop.txt"
    plain.write_text("# a list\n192.0.2.0/24 ; SBL1\r\n\n2001:db8::/32 # SBL2\n" +
                     "".join(f"10.{i // 250}.{i % 250}.1\n" for i in range(2500)))
    assert "would be imported: 2502 entries" in ctl("ban", "import", plain, "--dry-run", "--reason", "r").stdout
    assert len(known_targets()) == 2
    done = ctl("ban", "import", plain, "--list", "drop", "--ttl", "24h", "--reason", "daily")
    assert "imported: 2502 added, 0 renewed, 0 skipped" in done.stdout
    assert "0 added, 2502 renewed" in ctl("ban", "import", plain, "--list", "drop", "--reason", "daily").stdout
    reasons = {b["target"]: b["reason"] for b in json.loads(ctl("ban", "list", "-o", "json", "--list", "drop",
                                                                        "--limit", "10000").stdout)["items"]}
    assert reasons["192.0.2.0/24"] == "SBL1" and "daily" in reasons.values()

    exported = tmp_path / "export.txt"
    exported.write_text(ctl("ban", "export").stdout)
    assert len(exported.read_text().splitlines()) == 2504 and "192.0.2.0/24 # SBL1\n" in exported.read_text()
    assert json.loads(ctl("ban", "remove", "--list", "drop", "--reason", "old", "-o", "json").stdout)["removed"] == 2502
    assert "2502 added, 2 renewed" in ctl("ban", "import", exported, "--reason", "again").stdout
    assert ctl("ban", "remove", "203.0.113.7", "AS64500", "--reason", "over").stdout == "ban/203.0.113.7... removed: 2\n"
    assert "AS64500" not in known_targets()

    decisions = tmp_path / "decisions.json"
    decisions.write_text(json.dumps([
        {"duration": "4h", "scope": "ip", "type": "ban", "value": "1.2.3.4"},
        {"duration": "3h59m57.953s", "scope": "Range", "type": "ban", "value": "1.2.4.0/24", "scenario": "http-bf"},
        {"duration": "-1h0m", "scope": "Ip", "type": "ban", "value": "1.2.3.5"},
        {"duration": "4h", "scope": "Ip", "type": "captcha", "value": "1.2.3.6"},
        {"duration": "4h", "scope": "Country", "type": "ban", "value": "XX"},
        {"source": {"scope": "Ip"}, "decisions": [{"duration": "1h", "scope": "AS", "type": "ban", "value": "64501"}]},
    ], indent=1))
    assert "imported: 3 added, 0 renewed, 3 skipped" in ctl("ban", "import", decisions, "--list", "cs", "--reason", "x").stdout
    assert known_targets("--list", "cs") == {"1.2.3.4/32", "1.2.4.0/24", "AS64501"}
    decisions.write_text('{"new": [{"value": "1.2.3.7"}], "deleted": null}')
    assert "1 added" in ctl("ban", "import", decisions, "--reason", "x").stdout

    before = known_targets()
    for text, words in (("192.0.2.1\n192.0.2.300\n", ("line 2:", "192.0.2.300")),
                        ("192.0.2.1\n192.0.2.2 192.0.2.3\n", (":2: more than one word",)),
                        ('[{"value": "1.2.3.8"},\n\n {"value": "1.2.3.9", "duration": "soon"}]', (":3: duration",)),
                        ('[{"value": "1.2.3.8"},\n 17]', (":2: is no decision",)),
                        ('{"old": []}', ("is no list of decisions",)),
                        ('[{"value": ', ("decisions.json:1:",))):
        decisions.write_text(text)
        refused = ctl("ban", "import", decisions, "--reason", "x", check=False)
        assert refused.returncode == 1 and all(w in refused.stderr for w in words), (text, refused)
    for words, code, part in ((("add", "192.0.2.300", "--reason", "r"), 1, "192.0.2.300"),
                              (("add", "192.0.2.1"), 2, "--reason"), (("add", "--reason", "r"), 2, "TARGET"),
                              (("remove", "--reason", "r"), 2, "--list"), (("import", "nofile", "--reason", "r"), 1, "nofile"),
                              (("add", "12.0.0.0/7", "--reason", "r"), 1, "confirm"),
                              (("remove", "192.0.2.77", "--reason", "r"), 5, "no such ban"),
                              (("remove", "192.0.2.77", "--allow", "--reason", "r"), 5, "no such allowance")):
        refused = ctl("ban", *words, check=False)
        assert refused.returncode == code and part in refused.stderr, (words, refused)
    assert known_targets() == before
