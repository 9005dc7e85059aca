"""What people send who mean harm, or whose software is broken: a clear error each, and nothing stays behind."""
import contextlib
import gzip
import json
import re
import select
import socket
import ssl
import threading
import time

import httpx
import pytest

from tide.fixtures import new_stack
from tide.process import wait_until
from tide.scripted import ScriptedWorker
from tide.stack import APIKEY, Gateway, Stack
from tide.tokens import Issuer

USER = [{"role": "user", "content": "Hi."}]


class Door:
    """One gateway with accounts and chat, asked over HTTP/1.1 and HTTP/2."""

    def __init__(self, stack: Stack, http: dict | None = None, asan: str = ""):
        self.stack = stack
        self.issuer = Issuer(stack.folder)
        self.worker = ScriptedWorker()
        stack.start_postgres()
        stack.start_redis()
        settings = stack.settings()
        settings["issuers"] = [self.issuer.settings()]
        settings["chat"]["workers"] = [{"name": "w", "target": self.worker.target, "models": ["m"]}]
        settings["http"] = http or {}
        self.gateway = Gateway(stack, "gateway-1", settings)
        self.gateway.process.env["ASAN_OPTIONS"] += ":" + asan if asan else ""
        stack.gateways.append(self.gateway.start())
        self.bearer = {"authorization": f"Bearer {self.issuer.token()}"}
        self.context = ssl.create_default_context(cafile=str(stack.ca))  # httpx sets ALPN on the one it is given
        self.http = httpx.Client(base_url=self.gateway.url, verify=stack.trust, http2=True, timeout=30)

    def connect(self) -> ssl.SSLSocket:
        raw = socket.create_connection(("127.0.0.1", int(self.gateway.port)), timeout=30)
        return self.context.wrap_socket(raw, server_hostname="localhost")

    def chat(self, body: bytes) -> httpx.Response:
        return self.http.post("/v1/chat/completions", content=body,
                              headers={**self.bearer, "content-type": "application/json"})

    def auth(self, path: str, body: bytes) -> httpx.Response:
        return self.http.post(f"/auth/v1/{path}", content=body,
                              headers={"apikey": APIKEY, "content-type": "application/json"})


@pytest.fixture(scope="module")
def door():
    with new_stack() as stack:
        d = Door(stack)
        yield d
        d.http.close()
        d.worker.stop()


MALFORMED = {
    "empty": b"", "not JSON": b"phone=1", "cut": b'{"model":"m"', "two": b"{}{}", "array": b"[]", "number": b"1",
    "NUL": b'{"model":"m\\u0000"}', "raw NUL": b'{"model":"m\x00"}', "lone high surrogate": b'{"model":"\\ud800"}',
    "lone low surrogate": b'{"model":"\\udc00x"}', "bad UTF-8": b'{"model":"\xff"}', "BOM": b'\xef\xbb\xbf{"model":"m"}',
    "duplicate": b'{"model":"m","model":"n"}', "duplicate by escape": b'{"model":"m","mod\\u0065l":"n"}',
    "comment": b'{"model":"m"/*x*/}', "NaN": b'{"model":NaN}', "single quotes": b"{'model':'m'}",
    "trailing comma": b'{"model":"m",}', "leading zero": b'{"n":01}',
}


@pytest.mark.parametrize("what", MALFORMED)
def test_malformed_json_is_told_in_the_dialect_of_the_path(door, what):
    chat = door.chat(MALFORMED[what])
    assert chat.status_code == 400, chat.text
    error = chat.json()["error"]
    assert error["type"] == "invalid_request_error" and error["message"]
    for path in ("otp", "verify", "token?grant_type=refresh_token"):
        answer = door.auth(path, MALFORMED[what])
        assert answer.status_code == 400, (path, answer.text)
        assert answer.json()["code"] in ("bad_json", "validation_failed"), answer.text


# --- shapes that cost --------------------------------------------------------------------------------------


def nested(depth: int, name: str = "data") -> bytes:
    return b'{"%s":' % name.encode() + b"[" * depth + b"]" * depth + b"}"


def wide(members: int) -> bytes:
    return b"{" + b",".join(b'"k%d":1' % i for i in range(members)) + b"}"


@pytest.mark.parametrize("what,body,word", [
    ("deep", nested(100), "nested"), ("wide", wide(2000), "members"), ("long", b'{"data":[' + b"1," * 2000 + b"1]}", "items"),
    ("a long text", b'{"phone":"' + b"1" * 20000 + b'"}', "string"),
    ("a field too long", b'{"phone":"' + b"1" * 300 + b'"}', "phone")])
def test_bodies_past_the_limits_of_accounts_name_the_limit(door, what, body, word):
    for path in ("otp", "verify", "token?grant_type=refresh_token"):
        if what == "a field too long" and path.startswith("token"):
            continue
        answer = door.auth(path, body)
        assert answer.status_code == 400 and answer.json()["code"] == "validation_failed", (path, answer.text)
        assert word in answer.json()["detail"], (path, answer.text)


@pytest.mark.parametrize("body,word", [
    (nested(1000), "nested"), (wide(70000), "members"), (b'{"x":[' + b"1," * 70000 + b"1]}", "items"),
    (b"[" * 100_000, "nested"), (b'{"a":' * 100_000, "nested")])
def test_bodies_past_the_limits_of_chat_name_the_limit(door, body, word):
    answer = door.chat(body)
    assert answer.status_code == 400, answer.text
    assert word in answer.json()["error"]["message"], answer.text


@pytest.mark.parametrize("coding", ["gzip", "br", "identity, gzip", "x-unknown"])
def test_packed_bodies_are_refused_by_the_field(door, coding):
    packed = gzip.compress(b" " * 10_000_000)
    for path, headers in (("/auth/v1/otp", {"apikey": APIKEY}), ("/v1/chat/completions", door.bearer), ("/v1/completions", door.bearer)):
        answer = door.http.post(path, content=packed, headers={**headers, "content-encoding": coding})
        assert answer.status_code == 415 and "content-encoding" in answer.text, answer.text
        assert answer.headers["accept-encoding"] == "identity"
    plain = door.http.post("/auth/v1/otp", content=b"{", headers={"apikey": APIKEY, "content-encoding": "Identity"})
    assert plain.status_code == 400, plain.text


def test_oversize_bodies_are_refused_by_their_length(door):
    for path, headers, most in (("/auth/v1/otp", {"apikey": APIKEY}, 65536), ("/v1/chat/completions", door.bearer, 1 << 20)):
        for http2 in (False, True):
            with httpx.Client(base_url=door.gateway.url, verify=door.stack.trust, http2=http2, timeout=30) as http:
                announced = http.post(path, content=b'"' + b" " * most + b'"', headers=headers)
                assert announced.status_code == 413, announced.text
        with door.connect() as s:  # chunked: nobody says how long it will be; the answer comes before its end
            s.sendall(head("POST", path, {**headers, "transfer-encoding": "chunked"}))
            chunk, sent = b"%x\r\n" % 16384 + b" " * 16384 + b"\r\n", 0
            answer = b""
            s.settimeout(0.005)
            while not answer and sent < 64 * most:
                s.sendall(chunk)
                sent += 16384
                with contextlib.suppress(TimeoutError):
                    answer = s.recv(4096)
            assert answer.startswith(b"HTTP/1.1 413 ") and sent < 8 * most
    assert str(most) in announced.json()["error"]["message"]


@pytest.mark.parametrize("fields,status", [
    ({"x-long": "x" * 20000}, 431), ({f"x-{i}": "1" for i in range(100)}, 431), ({"authorization": "Bearer " + "a" * 9000}, 401),
    ({"cookie": "a=" + "b" * 20000}, 431)])
def test_oversize_heads(door, fields, status):
    with httpx.Client(base_url=door.gateway.url, verify=door.stack.trust, timeout=30) as http:
        assert http.get("/v1/models", headers=fields).status_code == status
        assert http.get("/livez?" + "q" * 5000).status_code == 414
        assert http.get("/livez").status_code == 200


# --- our own fields -----------------------------------------------------------------------------------------


PHONE = "+8613800138000"


@pytest.mark.parametrize("path,body,field", [
    ("otp", {"phone": PHONE, "phone_confirmed": True}, "phone_confirmed"), ("otp", {"phone": PHONE, "is_admin": 1}, "is_admin"),
    ("otp", {"phone": 13800138000}, "phone"), ("otp", {"phone": ["+86"]}, "phone"), ("otp", {"phone": {}}, "phone"),
    ("otp", {"phone": True}, "phone"), ("otp", {"phone": None}, "phone"), ("otp", {}, "phone"),
    ("otp", {"phone": PHONE, "create_user": 1}, "create_user"), ("otp", {"phone": PHONE, "channel": 5}, "channel"),
    ("otp", {"phone": PHONE, "channel": "carrier pigeon"}, "channel"),
    ("verify", {"type": "sms", "phone": PHONE, "token": 123456}, "token"),
    ("verify", {"type": "sms", "phone": PHONE, "token": "123456", "user_id": "x"}, "user_id"),
    ("verify", {"type": "recovery", "phone": PHONE, "token": "123456"}, "type"), ("verify", {"phone": PHONE, "token": "1"}, "type"),
    ("verify", {"type": "sms", "token": "123456"}, "phone"), ("verify", {"type": "sms", "phone": 7, "token": "1"}, "phone"),
    ("token?grant_type=refresh_token", {"refresh_token": 1}, "refresh_token"),
    ("token?grant_type=refresh_token", {"refresh_token": ["rt_"]}, "refresh_token"),
    ("token?grant_type=refresh_token", {"refresh_token": "rt_x", "scope": "admin"}, "scope")])
def test_wrong_fields_of_accounts_are_named(door, path, body, field):
    answer = door.auth(path, json.dumps(body).encode())
    assert answer.status_code == 400, answer.text
    problem = answer.json()
    assert problem["code"] == "validation_failed" and field in problem["detail"], answer.text
    assert answer.headers["content-type"] == "application/problem+json; charset=utf-8"
    assert answer.headers["x-sb-error-code"] == "validation_failed"


@pytest.mark.parametrize("change,field", [
    ({"model": None}, "model"), ({"model": ""}, "model"), ({"model": ["m"]}, "model"), ({"model": "m" * 200}, "model"),
    ({"messages": None}, "messages"), ({"messages": []}, "messages"), ({"messages": {}}, "messages"),
    ({"messages": ["hi"]}, "messages"), ({"messages": [[]]}, "messages"), ({"stream": 1}, "stream"), ({"stream": "true"}, "stream"),
    ({"stream": True, "stream_options": []}, "stream_options"),
    ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
    ({"max_tokens": 0}, "max_tokens"), ({"max_tokens": 1.5}, "max_tokens"), ({"max_tokens": "9"}, "max_tokens"),
    ({"max_tokens": 2 ** 63}, "max_tokens"), ({"max_completion_tokens": -5}, "max_completion_tokens"),
    ({"temperature": "hot"}, "temperature"), ({"temperature": 2.01}, "temperature"), ({"top_p": -0.1}, "top_p"),
    ({"presence_penalty": 3}, "presence_penalty"), ({"frequency_penalty": []}, "frequency_penalty"), ({"n": 0}, "n"),
    ({"n": 10 ** 30}, "n"), ({"seed": "x"}, "seed"), ({"stop": 1}, "stop"), ({"tools": {}}, "tools"), ({"user": 1}, "user")])
def test_wrong_fields_of_chat_are_named(door, change, field):
    answer = door.chat(json.dumps({"model": "m", "messages": USER, **change}).encode())
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["param"] == field and field in error["message"], answer.text
    assert answer.headers["content-type"] == "application/json"


def test_unknown_fields_of_chat_go_to_the_worker(door):
    seen = len(door.worker.asked)
    assert door.chat(json.dumps({"model": "m", "messages": USER, "of_tomorrow": {"x": [1]}}).encode()).status_code == 200
    assert door.worker.asked[seen].json["of_tomorrow"] == {"x": [1]}


# --- half and slow ------------------------------------------------------------------------------------------


def head(method: str, path: str, fields: dict) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\nhost: localhost\r\n{lines}\r\n".encode()


def request(method: str, path: str, fields: dict, body: bytes) -> bytes:
    return head(method, path, {**fields, "content-length": len(body)}) + body


def read_answer(s) -> tuple[int, bytes]:
    """Status and body of one answer with a content-length; 0 when the other side closes without one."""
    data = b""
    while b"\r\n\r\n" not in data:
        try:
            more = s.recv(65536)
        except (ConnectionError, ssl.SSLError):
            more = b""
        if not more:
            return 0, data
        data += more
    fields, _, body = data.partition(b"\r\n\r\n")
    found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", fields)
    while len(body) < (int(found[1]) if found else 0):
        more = s.recv(65536)
        if not more:
            break
        body += more
    return int(fields.split()[1]), body


@pytest.fixture(scope="module")
def hasty():
    """The same with times so short that a test can wait for them."""
    with new_stack() as stack:
        d = Door(stack, http={"handshake": "500ms", "first_byte": "500ms", "header": "500ms", "body": "700ms", "idle": "1s"})
        yield d
        d.http.close()
        d.worker.stop()


def drip(door, text: bytes, every: float, seconds: float) -> tuple[int, float]:
    """Sends byte by byte until it is answered or cut off: the status and how long it took."""
    with door.connect() as s:
        began = time.monotonic()
        s.settimeout(every)
        status = 0
        for byte in text:
            try:
                s.sendall(bytes([byte]))
            except OSError:
                break
            try:
                got = s.recv(65536)
                status = int(got.split()[1]) if got else 0
                break
            except TimeoutError:
                pass
            except OSError:
                break
            assert time.monotonic() - began < seconds, "nobody ends it"
        return status, time.monotonic() - began


CHAT_BODY = json.dumps({"model": "m", "messages": USER}).encode()


def test_slow_heads_and_bodies_are_ended(hasty):
    fields = {**hasty.bearer, "content-type": "application/json"}
    status, took = drip(hasty, head("GET", "/livez", {"x": "y" * 500}), 0.05, 10)
    assert status in (0, 408) and 0.3 < took < 8
    start = head("POST", "/v1/chat/completions", {**fields, "content-length": 5000})
    with hasty.connect() as s:
        s.settimeout(10)
        began = time.monotonic()
        s.sendall(start)
        for _ in range(100):
            try:
                s.sendall(b" ")
                time.sleep(0.05)
            except OSError:
                break
            if select.select([s], [], [], 0)[0]:
                break
        assert read_answer(s)[0] in (0, 408)
        assert 0.5 < time.monotonic() - began < 8
    assert hasty.worker.asked == []


def send_halves(door) -> None:
    """Requests and handshakes that never become whole; some stay, some leave."""
    whole = request("POST", "/v1/chat/completions", {**door.bearer, "content-type": "application/json"}, CHAT_BODY)
    for n in (0, 1, 20, len(whole) - len(CHAT_BODY) - 1, len(whole) - len(CHAT_BODY), len(whole) - 1):
        with door.connect() as s:  # stays open and says no more
            s.settimeout(10)
            s.sendall(whole[:n])
            assert read_answer(s)[0] in (0, 408), n
        with door.connect() as s:  # leaves
            s.sendall(whole[:n])
    raw = [socket.create_connection(("127.0.0.1", int(door.gateway.port))) for _ in range(20)]
    for i, s in enumerate(raw):
        s.sendall(b"\x16\x03\x01\x02\x00\x01"[:i % 7])
    for s in raw:
        s.settimeout(10)
        try:
            while s.recv(4096):
                pass
        except ConnectionError:
            pass
        s.close()


def test_half_requests_are_ended(hasty):
    send_halves(hasty)  # meanwhile the pools of connections that are ours have filled
    files = settled_files(hasty.gateway)
    send_halves(hasty)
    wait_until(lambda: hasty.gateway.process.open_files() <= files, 10, "descriptors are back")
    assert hasty.worker.asked == []
    assert hasty.chat(CHAT_BODY).status_code == 200


# --- ten thousand times -------------------------------------------------------------------------------------


def settled_files(gateway) -> int:
    """Open descriptors when nothing runs: the least of a second."""
    counts = []
    for _ in range(10):
        counts.append(gateway.process.open_files())
        time.sleep(0.1)
    return min(counts)


class Crowd(threading.Thread):
    """Sends its share of the mix over a connection that is kept while the server keeps it."""

    def __init__(self, door, mix: list, times: int, offset: int):
        super().__init__()
        self.door, self.mix, self.times, self.offset = door, mix, times, offset
        self.sock = None
        self.wrong: list[str] = []

    def run(self):
        try:
            for n in range(self.times):
                self.one(n + self.offset)
        except Exception as error:  # noqa: BLE001 - told by the test
            self.wrong.append(repr(error))
        if self.sock:
            self.sock.close()

    def one(self, n: int) -> None:
        what, text, allowed = self.mix[n % len(self.mix)]
        if n % 40 == 39 or not self.sock:  # some on fresh connections
            if self.sock:
                self.sock.close()
            self.sock = self.door.connect()
        self.sock.sendall(text)
        if allowed is None:  # half a request: leave
            self.sock.close()
            self.sock = None
            return
        status, body = read_answer(self.sock)
        if status not in allowed:
            self.wrong.append(f"{what}: {status} {body[:200]}")
        if what.startswith("closed"):
            self.sock.close()
            self.sock = None


def mixture(door) -> list:
    chat = {**door.bearer, "content-type": "application/json"}
    auth = {"apikey": APIKEY, "content-type": "application/json"}

    def post(path, fields, body):
        return request("POST", path, fields, body)

    mix = [(what, post("/v1/chat/completions", chat, body), (400,)) for what, body in MALFORMED.items()]
    mix += [(what, post("/auth/v1/otp", auth, body), (400,)) for what, body in MALFORMED.items()]
    mix += [
        ("deep", post("/v1/chat/completions", chat, nested(5000)), (400,)),
        ("wide", post("/auth/v1/verify", auth, wide(2000)), (400,)),
        ("wrong type", post("/v1/chat/completions", chat, b'{"model":1}'), (400,)),
        ("unknown field", post("/auth/v1/otp", auth, b'{"phone":"+8613800138000","x":1}'), (400,)),
        ("wrong code", post("/auth/v1/verify", auth, b'{"type":"sms","phone":"+8613800138000","token":"000000"}'), (403,)),
        ("no token", post("/v1/chat/completions", {}, CHAT_BODY), (401,)),
        ("garbage token", post("/v1/chat/completions", {"authorization": "Bearer " + "x" * 600}, CHAT_BODY), (401, 429)),
        ("no refresh token", post("/auth/v1/token?grant_type=refresh_token", auth, b'{"refresh_token":"rt_x"}'), (400,)),
        ("unknown path", head("GET", "/v1/nothing", {}), (404,)),
        ("wrong method", request("DELETE", "/v1/chat/completions", chat, b""), (405,)),
        ("good", post("/v1/chat/completions", chat, CHAT_BODY), (200,)),
        ("half head", b"POST /v1/chat/completions HTTP/1.1\r\nhost: loc", None),
        ("half body", post("/v1/chat/completions", chat, CHAT_BODY)[:-5], None),
        ("closed: two lengths", head("POST", "/v1/chat/completions", {"content-length": 3, "Content-Length": 4}) + b"abcd", (400,)),
        ("closed: length and chunks", head("POST", "/x", {"content-length": 3, "transfer-encoding": "chunked"}) + b"0\r\n\r\n", (400,)),
        ("closed: no HTTP", b"\x00\x01\x02 garbage\r\n\r\n", (400,)),
        ("closed: long head", head("GET", "/livez", {"x": "y" * 20000}), (431,)),
        ("closed: large", head("POST", "/v1/chat/completions", {**chat, "content-length": 1 << 30}), (413,)),
    ]
    return mix


def send_mixture(door, times: int, threads: int = 4) -> None:
    crowd = [Crowd(door, mixture(door), times // threads, i * 7) for i in range(threads)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()
    wrong = [text for one in crowd for text in one.wrong]
    assert wrong == [], wrong[:5]


def test_memory_and_descriptors_return_over_ten_thousand_repetitions():
    # the sanitizer keeps freed memory to catch its use: here it keeps 1 MiB, so that what grows is ours
    with new_stack() as stack:
        door = Door(stack, asan="quarantine_size_mb=1:thread_local_quarantine_size_kb=64:malloc_context_size=2")
        process = door.gateway.process
        send_mixture(door, 2000)  # meanwhile pools, caches and arenas have filled
        files, memory = settled_files(door.gateway), process.rss_kb()
        send_mixture(door, 8000)
        # to the worker it keeps as many connections as there were requests at once: four
        wait_until(lambda: process.open_files() <= files + 4, 20, "descriptors are back")
        grown = process.rss_kb() - memory
        assert grown < 6 * 1024, f"{grown} KiB more than after 2,000"
        wait_until(lambda: door.gateway.metric("tidegate_requests_active") == 0, 10, "no request is left")
        door.http.close()
        door.worker.stop()
