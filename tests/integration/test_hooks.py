"""The SMS hook from outside: where it may connect, and what a receiver can do to the gateway."""
import contextlib
import gzip
import http.server
import ssl
import threading
import time

import pytest
import yaml

from tide.client import mainland_phone
from tide.stack import program, run


@contextlib.contextmanager
def receiver(stack, answer, tls: bool = True):
    """An HTTP(S) server on loopback that does `answer(handler)` for each message; its port and what came: Host fields."""
    seen: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            seen.append(self.headers["host"])
            with contextlib.suppress(OSError):  # a client that has had enough
                answer(self)

        do_GET = do_POST

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(stack.cert, stack.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield server.server_address[1], seen
    finally:
        server.shutdown()
        server.server_close()


def reply(handler, status: int = 200, body: bytes = b"", **fields) -> None:
    handler.send_response(status)
    for name, value in fields.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("content-length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


@pytest.fixture
def installed(own_stack):
    own_stack.start_postgres()
    own_stack.start_redis()
    return own_stack


def start(stack, url: str, networks: list[str] | None = None, **hook):
    settings = stack.settings()
    settings["hooks"]["sms"].update({"url": url, "tries": 1, **hook})
    if url.startswith("https"):
        settings["hooks"]["sms"]["ca_file"] = str(stack.ca)
    if networks:
        settings["hooks"]["allowed_networks"] = networks
    return stack.start_gateway(settings)


def ask(stack, gateway):
    with stack.app(gateway) as app:
        return app.ask_code(mainland_phone())


DENIED = "tidegate_hook_addresses_denied_total"


def test_a_name_of_a_private_address_is_not_connected_to(installed):
    """Every name below localhost means 127.0.0.1, to curl without any server of names: a name that was turned."""
    installed.renew_certificate("hook.localhost")
    with receiver(installed, reply) as (port, seen):
        gateway = start(installed, f"https://hook.localhost:{port}/sms")
        refused = ask(installed, gateway)
        assert (refused.status_code, refused.json()["code"]) == (422, "sms_send_failed"), refused.text
        assert seen == [] and gateway.metric(DENIED) >= 1
        assert "hooks.allowed_networks" in gateway.process.log.read_text()

        allowed = start(installed, f"https://hook.localhost:{port}/sms", ["127.0.0.0/8", "::1/128"])
        assert ask(installed, allowed).status_code == 200
        assert seen == [f"hook.localhost:{port}"], "the certificate was checked by that name, Host says it"


def test_a_redirect_is_not_followed(installed):
    with receiver(installed, reply, tls=False) as (target, reached), \
            receiver(installed, lambda h: reply(h, 302, location=f"http://127.0.0.1:{target}/latest/meta-data"), tls=False) \
            as (port, seen):
        gateway = start(installed, f"http://127.0.0.1:{port}/sms", tries=3)
        refused = ask(installed, gateway)
        assert (refused.status_code, refused.json()["code"]) == (422, "sms_send_failed")
        assert len(seen) == 1 and reached == []


def test_a_receiver_that_drips_ends_at_the_deadline(installed):
    def drip(handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        for _ in range(100):
            handler.wfile.write(b"x")
            time.sleep(0.05)

    with receiver(installed, drip, tls=False) as (port, _):
        gateway = start(installed, f"http://127.0.0.1:{port}/sms", timeout="300ms")
        began = time.monotonic()
        assert ask(installed, gateway).json()["code"] == "sms_send_failed"
        assert time.monotonic() - began < 3


def test_an_answer_without_end_is_cut_and_a_packed_one_stays_packed(installed):
    def flood(handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(2000):
            handler.wfile.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        handler.wfile.write(b"0\r\n\r\n")

    def bomb(handler):
        reply(handler, 200, gzip.compress(bytes(100_000_000)), content_encoding="gzip")

    with receiver(installed, flood, tls=False) as (port, _):
        gateway = start(installed, f"http://127.0.0.1:{port}/sms")
        assert ask(installed, gateway).json()["code"] == "sms_send_failed"
    with receiver(installed, bomb, tls=False) as (port, _):
        gateway = start(installed, f"http://127.0.0.1:{port}/sms", timeout="20s")
        before = gateway.process.rss_kb()
        assert ask(installed, gateway).status_code == 200
        assert gateway.process.rss_kb() - before < 30_000


@pytest.mark.parametrize("url", ["http://10.1.2.3/sms", "http://127.0.0.1:1@sms.example.com/", "https://0x7f.1/sms",
                                 "https://2130706433/sms", "https://127.1/sms", "ftp://sms.example.com/"])
def test_odd_urls_are_refused_by_name(own_stack, url):
    settings = own_stack.settings()
    settings["hooks"] = {"sms": {"url": url, "secret_file": str(own_stack.folder / "hook.secret")}}
    (own_stack.folder / "odd.yaml").write_text(yaml.safe_dump(settings))
    done = run(program("tidegate"), "-c", own_stack.folder / "odd.yaml", "--check", check=False)
    assert done.returncode == 1 and "hooks.sms.url" in done.stderr, done.stderr
