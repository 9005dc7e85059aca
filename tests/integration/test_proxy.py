"""Routes that pass through: what goes on, what stays behind, and what happens when the upstream fails."""
import socket
import threading
import time

import httpx
import pytest

from tide.chat_rig import ChatRig
from tide.edge import read_all
from tide.process import free_port, wait_until
from tide.scripted import ScriptedWorker
from tide.scripted_h2 import ScriptedH2Worker
from tide.tokens import Issuer


class ProxyRig(ChatRig):
    def __init__(self, folder):
        self.servers = [ScriptedWorker(), ScriptedWorker()]
        self.set(lambda x: x.reply(200, {"path": x.path, "got": len(x.body)}, "x-up: 1\r\nset-cookie: a=b\r\n"))
        super().__init__(folder, [], proxy={
            "upstreams": [{"name": "up", "targets": [s.target for s in self.servers], "connect": "300ms",
                           "answer": "600ms", "idle": "500ms"},
                          {"name": "gone", "targets": [f"127.0.0.1:{free_port()}"]}],
            "routes": [{"name": "open", "path": "/open/", "upstream": "up", "auth": "none"},
                       {"name": "small", "path": "/small", "upstream": "up", "auth": "none", "methods": ["GET"]},
                       {"name": "mine", "path": "/mine/", "upstream": "up", "auth": "user"},
                       {"name": "inner", "path": "/open/inner/", "upstream": "up", "auth": "user", "methods": ["GET"]},
                       {"name": "whole", "path": "/whole/", "upstream": "up", "auth": "none", "body": "buffer",
                        "max_body": "64KiB"},
                       {"name": "cookies", "path": "/cookies/", "upstream": "up", "auth": "none", "cookies": True},
                       {"name": "gone", "path": "/gone", "upstream": "gone", "auth": "none"}]})
        self.http.headers.pop("authorization")

    def set(self, behave):
        for server in self.servers:
            server.behave = behave

    def asked(self):
        return sorted((x for s in self.servers for x in s.asked), key=lambda x: x.at)

    def close(self):
        super().close()
        for server in self.servers:
            server.stop()
        assert not [e for s in self.servers for e in s.errors]


@pytest.fixture
def rig(tmp_path):
    r = ProxyRig(tmp_path)
    yield r
    r.close()


def test_requests_pass_and_credentials_stay(rig):
    r = rig.http.get("/open/a%20b?x=1&y=%41", headers={
        "x-chunks": "5", "x-delay-ms": "2", "accept": "a/b", "cookie": "s=1", "apikey": "k", "authorization": "Basic x",
        "x-forwarded-for": "8.8.8.8", "forwarded": "for=8.8.8.8", "x-real-ip": "8.8.8.8", "x-tide-user": "root",
        "connection": "keep-alive, x-hop", "x-hop": "1", "te": "trailers", "proxy-authorization": "x"})
    assert r.status_code == 200
    assert r.json()["path"] == "/open/a%20b?x=1&y=%41"
    assert r.headers["x-up"] == "1" and "set-cookie" not in r.headers
    seen = rig.asked()[0].headers
    for name in ("cookie", "apikey", "authorization", "forwarded", "x-real-ip", "x-tide-user", "x-hop", "te",
                 "proxy-authorization"):
        assert name not in seen, name
    assert (seen["x-chunks"], seen["x-delay-ms"], seen["accept"]) == ("5", "2", "a/b")
    assert seen["x-forwarded-for"] == "127.0.0.1"
    assert seen["x-forwarded-proto"] == "http"
    assert seen["x-request-id"] == r.headers["x-request-id"]


def test_no_other_spelling_and_no_second_connection_field_lets_more_pass(rig):
    """Upstreams that speak CGI make one variable of x-tide-user and x_tide_user."""
    rig.set(lambda x: x.reply(200, {}, "connection: keep-alive, x-a\r\nx-a: 1\r\nx-b: 2\r\nx-c: 3\r\nconnection: X-B\r\n"))
    forged = ["x_tide_user", "x-tide_user", "x.tide.user", "x_forwarded_for", "x_real_ip", "x_request_id", "content_length",
              "transfer_encoding", "proxy_authorization", "x-hop", "x-skip"]
    fields = [("connection", "keep-alive, x-hop"), ("x_other", "1"), ("connection", "X-Skip"), *((name, "7") for name in forged)]
    r = rig.http.get("/open/x", headers=fields)
    seen = rig.asked()[0].headers
    assert r.status_code == 200 and [name for name in forged if name in seen] == []
    assert (seen["x_other"], seen["x-forwarded-for"]) == ("1", "127.0.0.1")
    assert "x-a" not in r.headers and "x-b" not in r.headers and r.headers["x-c"] == "3"


def test_one_word_on_an_origin(rig):
    """Two fields access-control-allow-origin, and browsers show the script nothing. What is not ours to say stays upstream's."""
    ours, strange = "https://app.example", "https://elsewhere.example"
    rig.set(lambda x: x.reply(200, {}, "access-control-allow-origin: *\r\naccess-control-allow-credentials: true\r\n"
                                       "access-control-expose-headers: x-up\r\nx-up: 1\r\n"))

    def told(origin):
        answer = rig.http.get("/open/x", headers={"origin": origin}).headers
        return answer.get_list("access-control-allow-origin"), answer.get("access-control-allow-credentials")

    assert told(ours) == (["*"], "true")
    rig.settings["cors"] = {"origins": [ours]}
    rig.reload()
    wait_until(lambda: told(ours)[0] != ["*"], 30, "the new configuration is in force")
    assert told(ours) == ([ours], None) and told(strange) == (["*"], "true")
    exposed = rig.http.get("/open/x", headers={"origin": ours}).headers["access-control-expose-headers"]
    assert "x-up" in exposed and "x-request-id" in exposed


def test_a_route_may_demand_a_user_and_pass_cookies(rig):
    assert rig.http.get("/mine/x").status_code == 401
    assert rig.http.get("/mine/x", headers=rig.headers).status_code == 200
    assert rig.asked()[-1].headers["x-tide-user"] == "00000000-0000-4000-8000-000000000001"
    r = rig.http.get("/cookies/x", headers={"cookie": "s=1"})
    assert rig.asked()[-1].headers["cookie"] == "s=1" and r.headers["set-cookie"] == "a=b"
    rig.http.get("/cookies/x", headers=[("cookie", "a=1"), ("x-between", "1"), ("cookie", "b=2"), ("cookie", "c=3")])
    assert rig.asked()[-1].headers["cookie"] == "a=1; b=2; c=3", "in pieces on HTTP/2, in one on HTTP/1"
    assert rig.asked()[-1].headers["x-between"] == "1"
    assert rig.http.post("/small").status_code == 405


def test_a_partners_subject_is_nobody_of_ours(rig):
    ours = rig.issuer.token()
    partner = Issuer(rig.folder / "partner", "https://partner.test")
    rig.settings["issuers"].append(partner.settings())
    rig.reload()

    def named(token) -> str | None:
        r = rig.http.get("/mine/x", headers={"authorization": f"Bearer {token}"})
        return rig.asked()[-1].headers["x-tide-user"] if r.status_code == 200 else None

    wait_until(lambda: named(partner.token()), 10, "the partner's tokens are taken")
    me = "00000000-0000-4000-8000-000000000001"
    assert (named(ours), named(partner.token(user=me))) == (me, f"https://partner.test|{me}")
    assert named(partner.token(user="a|b")) == "https://partner.test|a|b"


@pytest.mark.parametrize("path", ["/open/%69nner/x", "/open//inner/x", "/open/inner%2Fx", "/open/inner;a=1/x",
                                  "/%6Fpen/inner/x", "/open/inne%72/"])
def test_no_spelling_of_a_path_is_a_way_around_the_route_that_guards_it(rig, path):
    assert rig.http.get("/open/inner/x").status_code == 401
    with socket.create_connection(("127.0.0.1", rig.port)) as s:  # httpx would write some of them otherwise
        s.sendall(f"GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".encode())
        assert read_all(s).split()[1] == (b"404" if path.startswith("/%") else b"400")
    assert rig.asked() == []
    assert rig.http.get("/open/inner/%69;a=1//x", headers=rig.headers).status_code == 200


def test_another_method_is_no_way_around_the_route_that_guards_a_path(rig):
    r = rig.http.post("/open/inner/x", content=b"x")
    assert (r.status_code, r.headers["allow"]) == (405, "GET")
    assert rig.asked() == []
    assert rig.http.post("/open/other", content=b"x").status_code == 200


def test_bodies_stream_and_are_limited(rig):
    def pieces():
        for _ in range(300):
            yield b"z" * 1000
    for content in (b"q" * 300000, pieces()):
        r = rig.http.put("/open/put", content=content)
        assert r.status_code == 200 and r.json()["got"] == 300000
    assert rig.asked()[0].headers["content-length"] == "300000"
    assert rig.http.post("/whole/x", content=b"q" * 65536).json()["got"] == 65536
    assert rig.http.post("/whole/x", content=b"q" * 65537).status_code == 413
    assert rig.http.post("/open/x", content=b"q" * ((1 << 20) + 1)).status_code == 413


def test_answers_stream_with_back_pressure(rig):
    sent = []

    def flood(x):
        x.start_stream()
        for _ in range(30000):
            x.chunk(b"y" * 1000)
            sent.append(1)
        x.send(b"0\r\n\r\n")
    rig.set(flood)
    s = socket.create_connection(("127.0.0.1", rig.port))
    s.sendall(b"GET /open/flood HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    time.sleep(1.5)
    stalled = len(sent)
    assert stalled < 30000
    time.sleep(0.3)
    assert len(sent) == stalled
    total = 0
    while piece := s.recv(1 << 20):
        total += len(piece)
    assert total > 30_000_000


def test_a_head_answer_and_an_empty_one(rig):
    rig.set(lambda x: x.send(b"HTTP/1.1 200 OK\r\ncontent-length: 123\r\n\r\n"))
    r = rig.http.head("/open/x")
    assert r.status_code == 200 and r.headers["content-length"] == "123"
    rig.set(lambda x: x.send(b"HTTP/1.1 204 No Content\r\n\r\n"))
    assert rig.http.get("/open/x").status_code == 204
    rig.set(lambda x: x.send(b"HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\n\r\n"))
    assert rig.http.get("/open/x").status_code == 304
    rig.set(lambda x: x.reply(200, {}))
    assert rig.http.get("/open/x").status_code == 200


def test_upstream_trouble(rig):
    assert rig.http.get("/gone").status_code == 503
    rig.set(lambda x: x.close())
    assert rig.http.get("/open/x").status_code == 502
    rig.set(lambda x: x.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n"))
    r = rig.http.get("/open/x")
    assert r.status_code == 502 and r.headers["content-type"].startswith("application/problem+json")
    rig.set(lambda x: x.wait_gone(5))
    assert rig.http.get("/open/x").status_code == 504
    rig.set(lambda x: (x.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"), x.close()))
    with pytest.raises(httpx.RemoteProtocolError):
        rig.http.get("/open/x")
    rig.set(lambda x: x.reply(200, {}))
    assert rig.http.get("/open/x").status_code == 200


def test_a_streamed_body_for_an_upstream_that_fails_at_once(tmp_path):
    """Head and body come in one piece: the request has failed before its body is handed over and ended."""
    server = ScriptedWorker()
    server.behave = lambda x: x.wait_gone(60)
    absent = f"unix:{tmp_path}/nobody.sock"
    rig = ChatRig(tmp_path, [], process={"threads": 1}, proxy={
        "upstreams": [{"name": "absent", "targets": [absent]},
                      {"name": "absent2", "targets": [absent], "protocol": "h2"},
                      {"name": "full", "targets": [server.target], "max_connections": 1}],
        "routes": [{"name": name, "path": f"/{name}", "upstream": name, "auth": "none"}
                   for name in ("absent", "absent2", "full")]})
    try:
        with socket.create_connection(("127.0.0.1", rig.port)) as busy:
            busy.sendall(b"GET /full HTTP/1.1\r\nhost: x\r\n\r\n")
            wait_until(lambda: server.asked, 30, "the one connection is in use")
            for name in ("absent", "absent2", "full"):
                for body in (b"content-length: 5\r\n\r\nhello", b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"):
                    with socket.create_connection(("127.0.0.1", rig.port)) as s:
                        s.sendall(f"POST /{name} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n".encode() + body)
                        assert b" 503 " in read_all(s).partition(b"\r\n")[0], (name, body)
        assert rig.http.get("/livez").status_code == 200
    finally:
        rig.close()
        server.stop()
    assert not server.errors


def test_an_answer_that_ends_with_its_connection_shows_when_it_was_cut(rig):
    """To HTTP/1.0 an answer of unknown length is whole when the connection ends in order."""
    may_end = threading.Event()

    def speak(x, whole):
        x.start_stream()
        x.chunk(b"half")
        may_end.wait(30)
        x.send(b"0\r\n\r\n") if whole else x.close()
    for whole in (True, False):
        may_end.clear()
        rig.set(lambda x: speak(x, whole))
        with socket.create_connection(("127.0.0.1", rig.port), timeout=30) as s:
            s.sendall(b"GET /open/x HTTP/1.0\r\n\r\n")
            got = b""
            while not got.endswith(b"half"):
                got += (piece := s.recv(4096))
                assert piece, got
            may_end.set()
            if whole:
                assert s.recv(1) == b""
            else:
                with pytest.raises(ConnectionResetError):
                    s.recv(1)


def test_a_client_that_leaves_stops_the_upstream(rig):
    gone = []
    rig.set(lambda x: gone.append(x.wait_gone(5)))
    s = socket.create_connection(("127.0.0.1", rig.port))
    s.sendall(b"GET /open/x HTTP/1.1\r\nhost: x\r\n\r\n")
    time.sleep(0.2)
    s.close()
    wait_until(lambda: gone, 5, "the upstream sees the end")
    assert gone[0] < 1


def test_the_less_busy_server_is_taken(rig):
    gate = threading.Event()
    rig.set(lambda x: (gate.wait(0.5), x.reply(200, {})))
    threads = [threading.Thread(target=lambda: httpx.get(rig.url + "/open/x")) for _ in range(8)]
    for t in threads:
        t.start()
    wait_until(lambda: len(rig.asked()) == 8, 5, "all arrive")
    counts = sorted(len(s.asked) for s in rig.servers)
    gate.set()
    for t in threads:
        t.join()
    assert counts[0] >= 2  # each of the two loops balances what it has


@pytest.mark.parametrize("protocol,worker", [("h1", ScriptedWorker), ("h2", ScriptedH2Worker)])
def test_the_last_request_of_an_older_configuration_may_be_canceled(tmp_path, protocol, worker):
    """Its end frees the connections of that configuration: by a client that leaves, and by a body that is too long."""
    server = worker()
    gone = []
    server.behave = lambda x: gone.append(x.wait_gone(60)) if x.path == "/open/wait" else x.reply(200, {})
    rig = ChatRig(tmp_path, [], process={"threads": 1}, proxy={
        "upstreams": [{"name": "up", "targets": [server.target], "protocol": protocol, "ping": "60s"}],
        "routes": [{"name": "open", "path": "/open/", "upstream": "up", "auth": "none"}]})

    def reload_again():
        rig.settings["proxy"]["upstreams"][0]["max_idle"] = n = 10 + len(reloads)
        reloads.append(n)
        rig.reload()
        wait_until(lambda: rig.metric('tidegate_config_reloads_total{result="ok"}') == len(reloads), 30, "a reload")
        assert rig.http.get("/open/x").status_code == 200, "of the new configuration"
    reloads = []
    try:
        with socket.create_connection(("127.0.0.1", rig.port)) as s:
            s.sendall(b"GET /open/wait HTTP/1.1\r\nhost: x\r\n\r\n")
            wait_until(lambda: server.asked, 30, "the upstream is asked")
            reload_again()
        wait_until(lambda: gone, 30, "the upstream sees the end")
        with socket.create_connection(("127.0.0.1", rig.port)) as s:
            s.sendall(b"POST /open/put HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n")
            wait_until(lambda: rig.metric("tidegate_requests_active") == 1, 30, "the request runs")
            reload_again()
            s.sendall(b"180000\r\n" + b"z" * 0x180000)
            assert b" 413 " in read_all(s).splitlines()[0]
        assert rig.http.get("/livez").status_code == 200
    finally:
        rig.close()
        server.stop()
    assert not server.errors


def test_a_silent_http2_upstream_is_pinged_and_given_up(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        rig = ChatRig(tmp_path, [], proxy={
            "upstreams": [{"name": "up", "targets": [f"127.0.0.1:{silent.getsockname()[1]}"], "protocol": "h2", "ping": "200ms"}],
            "routes": [{"name": "open", "path": "/open/", "upstream": "up", "auth": "none"}]})
        try:
            assert rig.http.get("/open/x", timeout=40).status_code == 502  # not 504 after `answer`, a minute
            assert rig.metric("tidegate_client_ping_timeouts_total") == 1
            conn, _ = silent.accept()
            with conn:
                assert b"\0\0\x08\x06\0\0\0\0\0" in read_all(conn)
        finally:
            rig.close()
