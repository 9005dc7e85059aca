"""TLS of whole gateways: tickets of a fleet, kinds of clients, the admin API for clients with certificates."""
import contextlib
import http.client
import json
import os
import ssl
import subprocess
import sys

import pytest

from tide.authority import Authority
from tide.edge import split_answer
from tide.process import free_port, wait_until
from tide.scripted import ScriptedWorker
from tide.stack import Stack, program, run


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """Gateways without accounts: each test starts its own."""
    folder = tmp_path_factory.mktemp("tls", numbered=True)
    with Stack(folder) as s:
        yield s


# --- tickets -------------------------------------------------------------------------------------------


def resume(gateway, ticket, version="-tls1_3", option="-sess_in", keep=None):
    """Whether the session in the file was resumed there; keep: where the new session goes."""
    words = ["openssl", "s_client", "-connect", f"127.0.0.1:{gateway.port}", "-servername", "localhost", version,
             option, ticket, "-ign_eof"] + (["-sess_out", keep] if keep else [])
    out = subprocess.run(words, input=b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
                         capture_output=True, timeout=20).stdout
    assert b"HTTP/1.1 200" in out, out
    return b"Reused, TLSv1" in out


def reload(gateway):
    serial = json.loads(gateway.ctl("-o", "json", "check", check=False).stdout)["config_serial"]
    gateway.ctl("reload")
    wait_until(lambda: json.loads(gateway.ctl("-o", "json", "check", check=False).stdout)["config_serial"] > serial, 5,
               "the reload")


@pytest.fixture(scope="module")
def fleet(stack):
    """Two gateways, each with its own copy of the ring, as on two machines."""
    made = []
    run(program("tidectl"), "keyring", "rotate", stack.folder / "keyring.json")  # from now on there is a next key
    for name in ("one", "two"):
        ring = stack.folder / f"{name}.json"
        ring.touch(0o600)
        ring.write_bytes((stack.folder / "keyring.json").read_bytes())
        settings = stack.settings()
        settings["ticket_ring_file"] = str(ring)
        gateway = stack.start_gateway(settings)
        gateway.ring = ring
        made.append(gateway)
    return made


def test_each_resumption_brings_a_new_ticket(fleet, tmp_path):
    """Clients of TLS 1.3 use a ticket once."""
    tickets = [tmp_path / str(i) for i in range(4)]
    resume(fleet[0], tickets[0], option="-sess_out")
    for old, new in zip(tickets, tickets[1:]):
        assert resume(fleet[0], old, keep=new)
    assert len({ticket.read_bytes() for ticket in tickets}) == 4


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_session_of_one_gateway_is_resumed_by_the_other(fleet, tmp_path, version):
    one, two = fleet
    ticket = tmp_path / "ticket"
    assert not resume(one, ticket, version, "-sess_out")
    assert resume(two, ticket, version) and resume(one, ticket, version)


def test_keys_roll_through_the_fleet_and_nobody_notices(stack, fleet, tmp_path):
    """Three times; after each change of one machine, sessions of both are resumed by both."""
    one, two = fleet
    session = [tmp_path / "one.0", tmp_path / "two.0"]
    resume(one, session[0], option="-sess_out")
    resume(two, session[1], option="-sess_out")
    for turn in range(1, 4):
        run(program("tidectl"), "keyring", "rotate", stack.folder / "keyring.json")
        for gateway in fleet:
            gateway.ring.write_bytes((stack.folder / "keyring.json").read_bytes())
            reload(gateway)
            for at, other in ((0, two), (1, one)):
                mine = fleet[at]
                assert resume(mine, session[at]) and resume(other, session[at])
                newer = tmp_path / f"{mine.name}.{turn}.{gateway.name}"
                assert resume(mine, session[at], keep=newer)
                session[at] = newer


def test_a_ticket_of_a_forgotten_key_costs_a_full_handshake(stack, fleet, tmp_path):
    one, _ = fleet
    ticket = tmp_path / "ticket"
    resume(one, ticket, option="-sess_out")
    for turn in range(3):
        run(program("tidectl"), "keyring", "rotate", one.ring)
        reload(one)
        assert resume(one, ticket) == (turn < 1)
    one.ring.write_bytes((stack.folder / "keyring.json").read_bytes())
    reload(one)
    assert resume(one, ticket)


def test_a_ring_that_is_broken_leaves_the_old_keys(fleet, tmp_path):
    one, _ = fleet
    ticket, good = tmp_path / "ticket", one.ring.read_bytes()
    resume(one, ticket, option="-sess_out")
    one.ring.write_text("{}")
    done = one.ctl("reload", check=False)
    assert done.returncode == 1 and "one.json" in done.stderr
    assert resume(one, ticket)
    one.ring.write_bytes(good)


def test_without_a_ring_sessions_outlive_a_reload(stack, tmp_path):
    gateway = stack.start_gateway()
    ticket = tmp_path / "ticket"
    resume(gateway, ticket, option="-sess_out")
    reload(gateway)
    assert resume(gateway, ticket)


# --- JA4 -----------------------------------------------------------------------------------------------


def test_kinds_of_clients_are_logged_and_limited(stack):
    upstream = ScriptedWorker()
    upstream.behave = lambda exchange: exchange.reply(200, {})
    settings = stack.settings()
    settings["limits"]["rules"].append({"name": "kind", "by": "ja4", "at": "looked_at", "limit": "3/1h"})
    settings["proxy"] = {"upstreams": [{"name": "u", "targets": [upstream.target]}],
                         "routes": [{"name": "looked_at", "path": "/x", "methods": ["GET"], "upstream": "u",
                                     "auth": "none", "body": "none"}]}
    gateway = stack.start_gateway(settings)

    def curl(*args):
        return subprocess.run(["curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", *args, gateway.url + "/x"],
                              capture_output=True, text=True, timeout=20).stdout

    assert [curl() for _ in range(4)] == ["200", "200", "200", "429"]
    assert curl("--tls-max", "1.2") == "200"
    wait_until(lambda: gateway.access_log.read_text().count('"looked_at"') == 5, 5, "all are logged")
    lines = [json.loads(line) for line in gateway.access_log.read_text().splitlines()]
    kinds = [line["ja4"] for line in lines if line["route"] == "looked_at"]
    assert len(set(kinds[:4])) == 1 and kinds[0].startswith("t13d") and kinds[4].startswith("t12d")
    assert kinds[0] not in gateway.metrics()
    upstream.stop()


# --- the admin API over TLS ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def admin(stack):
    """A gateway with an admin address; reader, writer, chief and outsiders with their certificates."""
    own = Authority(stack.folder / "operators")
    alien = Authority(stack.folder / "aliens")
    cert, key = own.issue("gateway", ["localhost", "127.0.0.1"])
    settings = stack.settings()
    port = free_port()
    settings["admin"] = {"read_socket": f"unix:{stack.folder}/read.sock", "address": f"127.0.0.1:{port}",
                         "cert_file": str(cert), "key_file": str(key), "client_ca_file": str(own.file),
                         "clients": [{"name": "reader@ops.test"}, {"name": "writer", "level": "write"},
                                     {"name": "spiffe://ops.test/chief", "level": "admin"}]}
    gateway = stack.start_gateway(settings)
    gateway.server, gateway.ca, gateway.aliens = f"https://localhost:{port}", own.file, alien.file
    gateway.shown = {"reader": own.issue("r", ["reader@ops.test"], client=True),
                     "writer": own.issue("writer", client=True),
                     "chief": own.issue("c", ["spiffe://ops.test/chief"], client=True),
                     "stranger": own.issue("stranger", ["nobody.test"], client=True),
                     "late": own.issue("writer", client=True, days=(-3, -1), label="late"),
                     "server": own.issue("writer", ["writer"], label="server"),
                     "alien": alien.issue("writer", ["reader@ops.test"], client=True)}
    return gateway


def ctl(gateway, who, *words, code=0):
    cert, key = gateway.shown[who]
    done = run(program("tidectl"), "--server", gateway.server, "--ca", gateway.ca, "--cert", cert, "--key", key, *words,
               check=False)
    assert done.returncode == code, f"{who} {words}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done


@pytest.mark.parametrize("who, drain, again", [("reader", 4, 4), ("writer", 5, 4), ("chief", 5, 0)])
def test_levels(admin, who, drain, again):
    """Exit 4: not allowed. 5: allowed, but there is no such worker."""
    ctl(admin, who, "get", "workers")
    ctl(admin, who, "drain", "worker", "nobody", code=drain)
    ctl(admin, who, "reload", code=again)


def test_refusals_say_who_and_what(admin):
    assert "wants level admin; cert:writer has write" in ctl(admin, "writer", "reload", code=4).stderr


@pytest.mark.parametrize("who", ["stranger", "late", "server", "alien"])
def test_others_fail_in_the_handshake(admin, who):
    before = admin.metric('tidegate_http_tls_handshakes_total{outcome="failed"}')
    done = ctl(admin, who, "get", "workers", code=7)
    assert "alert" in done.stderr and done.stdout == ""
    assert admin.metric('tidegate_http_tls_handshakes_total{outcome="failed"}') == before + 1


@contextlib.contextmanager
def connected(gateway, who):
    """A connection that stays, with the certificate of `who`."""
    trust = ssl.create_default_context(cafile=str(gateway.ca))
    trust.load_cert_chain(*gateway.shown[who])
    one = http.client.HTTPSConnection("localhost", int(gateway.server.rpartition(":")[2]), context=trust, timeout=60)
    one.connect()
    one.auto_open = 0  # once it is closed, asking fails
    yield one
    one.close()


def ask(connection):
    connection.request("GET", "/admin/v1/workers")
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def change(gateway, **settings):
    gateway.settings["admin"].update(settings)
    gateway.write()
    reload(gateway)


def test_open_connections_may_do_what_the_last_reload_says(admin):
    """A name that is gone, and an authority that is: also for a request whose body is still coming."""
    before = dict(admin.settings["admin"])
    with connected(admin, "writer") as open_one, connected(admin, "writer") as asking, connected(admin, "reader") as reader:
        assert ask(open_one)[0] == ask(asking)[0] == ask(reader)[0] == 200
        change(admin, clients=[one for one in before["clients"] if one["name"] != "writer"])
        status, text = ask(open_one)
        assert status == 403 and "cert:? has none" in text and ask(reader)[0] == 200
        change(admin, clients=before["clients"])
        assert ask(open_one)[0] == 200
        body = b'{"drain": true, "reason": "test"}'
        asking.putrequest("POST", "/admin/v1/workers/late/drain")
        asking.putheader("content-length", str(len(body)))
        asking.endheaders(body[:-1])
        wait_until(lambda: "path=/admin/v1/workers/late/drain" in admin.process.tail(400), 30, "the head was read")
        change(admin, client_ca_file=str(admin.aliens))
        assert ask(open_one)[0] == ask(reader)[0] == 403
        asking.send(body[-1:])
        assert asking.getresponse().status == 403
        ctl(admin, "alien", "get", "workers")
        change(admin, **before)
        assert ask(open_one)[0] == ask(reader)[0] == 200


def test_without_a_certificate(admin):
    out = subprocess.run(["curl", "-s", "--cacert", admin.ca, admin.server + "/admin/v1/check"], capture_output=True)
    assert out.returncode != 0 and out.stdout == b""


def test_a_session_is_not_resumed_there(admin, tmp_path):
    """Neither its own nor one of the public listener: both would come without a certificate."""
    cert, key = admin.shown["writer"]
    ask = b"GET /admin/v1/check HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    words = ["openssl", "s_client", "-connect", admin.server[8:], "-cert", cert, "-key", key, "-ign_eof"]
    for version in ("-tls1_2", "-tls1_3"):
        own, public = tmp_path / f"own{version}", tmp_path / f"public{version}"
        out = subprocess.run([*words, version, "-sess_out", own], input=ask, capture_output=True, timeout=20).stdout
        assert b"HTTP/1.1 200" in out
        resume(admin, public, version, "-sess_out")
        for ticket in (own, public):
            if ticket.exists():
                out = subprocess.run([*words, version, "-sess_in", ticket], input=ask, capture_output=True,
                                     timeout=20).stdout
                assert b"Reused" not in out
        out = subprocess.run(["openssl", "s_client", "-connect", admin.server[8:], "-ign_eof", version, "-sess_in", public],
                             input=ask, capture_output=True, timeout=20).stdout
        assert b"HTTP/1.1" not in out


def test_tidectl_knows_its_gateway(admin, stack):
    cert, key = admin.shown["chief"]
    shown = ["--cert", cert, "--key", key]
    done = run(program("tidectl"), "--server", admin.server, "--ca", stack.ca, *shown, "check", check=False)
    assert done.returncode == 7 and "unable to get local issuer certificate" in done.stderr
    done = run(program("tidectl"), "--server", admin.server.replace("localhost", "127.0.0.2"), "--ca", admin.ca, *shown,
               "check", check=False)
    assert done.returncode == 7
    done = run(program("tidectl"), "--server", "https://nowhere", *shown, "check", check=False)
    assert done.returncode == 2 and "https://HOST:PORT" in done.stderr
    done = run(program("tidectl"), "--server", admin.server, "check", check=False)
    assert done.returncode == 2 and "--cert and --key" in done.stderr


def test_the_environment_names_the_gateway(admin):
    cert, key = admin.shown["reader"]
    env = {**os.environ, "TIDEGATE_ADMIN_URL": admin.server, "TIDEGATE_ADMIN_CERT": str(cert),
           "TIDEGATE_ADMIN_KEY": str(key), "TIDEGATE_ADMIN_CA": str(admin.ca)}
    done = subprocess.run([program("tidectl"), "get", "limits"], env=env, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0 and done.stdout.startswith("NAME")


def test_the_reading_socket(admin, stack):
    words = [program("tidectl"), "--socket", stack.folder / "read.sock"]
    assert run(*words, "get", "limits").stdout.startswith("NAME")
    done = run(*words, "reload", check=False)
    assert done.returncode == 4 and "has read" in done.stderr
    assert (stack.folder / "read.sock").stat().st_mode & 0o777 == 0o660


def test_clients_change_by_a_reload(admin):
    """A name that is taken off the list is out at once, also on a connection that stands."""
    cert, key = admin.shown["writer"]
    client = subprocess.Popen(["openssl", "s_client", "-connect", admin.server[8:], "-cert", cert, "-key", key, "-quiet"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def status():
        client.stdin.write(b"GET /admin/v1/limits HTTP/1.1\r\nHost: localhost\r\n\r\n")
        client.stdin.flush()
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.stdout.read(1)
        client.stdout.read(int(split_answer(head)[1]["content-length"]))
        return split_answer(head)[0]

    assert status() == 200
    clients = admin.settings["admin"]["clients"]
    admin.settings["admin"]["clients"] = [row for row in clients if row["name"] != "writer"]
    admin.write()
    reload(admin)
    assert status() == 403
    client.kill()
    client.wait()
    ctl(admin, "writer", "get", "limits", code=7)
    admin.settings["admin"]["clients"] = clients
    admin.write()
    reload(admin)
    ctl(admin, "writer", "get", "limits")


# --- what scanners say ---------------------------------------------------------------------------------


def test_sslyze_finds_nothing_weak(stack, tmp_path):
    """Mozilla's "intermediate" configuration holds, but for our authority, which no browser knows."""
    own = Authority(stack.folder / "scanned")
    settings = stack.settings()
    settings["certificates"] = [dict(zip(("cert_file", "key_file"), map(str, own.issue("localhost", ["localhost"], kind))))
                                for kind in ("ec", "rsa")]
    gateway = stack.start_gateway(settings, ready=False)
    report = tmp_path / "sslyze.json"
    done = subprocess.run([sys.executable, "-m", "sslyze", "--json_out", report, "--mozilla_config", "intermediate",
                           f"localhost:{gateway.port}"], capture_output=True, text=True, timeout=60)
    findings = [line.split("*")[1].split(":")[0].strip() for line in done.stdout.partition("FAILED - Not compliant")[2]
                .splitlines() if line.strip().startswith("*")]
    assert findings == ["certificate_path_validation"], done.stdout[-2000:]
    found = json.loads(report.read_text())["server_scan_results"][0]["scan_result"]
    accepted = {name: len(found[f"{name}_cipher_suites"]["result"]["accepted_cipher_suites"])
                for name in ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1", "tls_1_2", "tls_1_3")}
    assert accepted == {"ssl_2_0": 0, "ssl_3_0": 0, "tls_1_0": 0, "tls_1_1": 0, "tls_1_2": 6, "tls_1_3": 3}
    for name, weakness in (("heartbleed", "is_vulnerable_to_heartbleed"),
                           ("openssl_ccs_injection", "is_vulnerable_to_ccs_injection"),
                           ("session_renegotiation", "is_vulnerable_to_client_renegotiation_dos"),
                           ("tls_compression", "supports_compression")):
        assert found[name]["result"][weakness] is False, name
