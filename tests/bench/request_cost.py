#!/usr/bin/env python3
"""What a proxied request costs: instructions by callgrind, with HTTP/1.1 and HTTP/2 over TLS, and a handshake with one request.

    tests/bench/request_cost.py [BUILD] [h1|h2|full ...]      BUILD: folder of a release build (default build/release)

As in rig a of docs/benchmarks.md: metrics, traces, an access log, request ids, no token and no limit. Each number is the
difference of two runs that differ only in how many requests h2load sends, so that start, end and connections drop out;
`full` differs in connections, of one GET /livez each. Counting instructions, neighbours on the machine do not matter:
for a before and an after this is the measure. The kernel's part, which is the larger one, it does not see.
"""
import asyncio
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

KINDS = {  # h2load's words, what is counted few and many times
    "h1": (["--h1", "-c4", "-n"], "/small", 2000, 12000),
    "h2": (["-c4", "-m8", "-n"], "/small", 2000, 12000),
    "full": (["--h1", "-c"], "/livez", 50, 250),
}
ANSWER = (b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 200\r\n\r\n"
          + b'{"id":"' + b"0" * 191 + b'"}')
CONF = """
process: {{threads: 1, access_log: {folder}/access.log, log_level: error, watchdog: 10m}}
listeners: [{{address: '127.0.0.1:{port}'}}]
certificates: [{{cert_file: {folder}/cert.pem, key_file: {folder}/key.pem}}]
http: {{connections_per_address: 100000, requests_per_connection: 1000000, handshake: 1m, first_byte: 5m}}
limits: {{shipped_rules: false}}
proxy:
  upstreams: [{{name: stub, targets: ['127.0.0.1:{upstream}'], keep: 10m}}]
  routes: [{{name: small, path: /small, methods: [GET], upstream: stub, auth: none, body: none}}]
"""


class Upstream(asyncio.Protocol):
    """Answers each head with the same 200 bytes."""

    def connection_made(self, transport):
        self.transport, self.rest = transport, b""

    def data_received(self, data):
        *heads, self.rest = (self.rest + data).split(b"\r\n\r\n")
        self.transport.write(ANSWER * len(heads))


def start_upstream() -> int:
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(Upstream, "127.0.0.1", 0))
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return server.sockets[0].getsockname()[1]


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port: int) -> None:
    for _ in range(600):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=60) as s, \
                    ssl._create_unverified_context().wrap_socket(s):
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the gateway does not listen")


def instructions(build: Path, upstream: int, kind: str, count: int) -> int:
    words, path, _, _ = KINDS[kind]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                        "-keyout", f"{folder}/key.pem", "-out", f"{folder}/cert.pem", "-subj", "/CN=localhost"],
                       check=True, capture_output=True)
        port, conf = free_port(), Path(folder) / "t.yaml"
        conf.write_text(CONF.format(folder=folder, port=port, upstream=upstream))
        gateway = subprocess.Popen(["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out",
                                    build / "bin" / "tidegate", "-c", conf], stderr=subprocess.PIPE, text=True)
        wait_for(port)
        load = ["h2load", *words[:-1], words[-1] + str(count), f"https://127.0.0.1:{port}{path}"]
        if kind == "full":
            load.insert(1, f"-n{count}")
        told = subprocess.run(load, capture_output=True, text=True, check=True).stdout
        gateway.send_signal(signal.SIGTERM)
        _, said = gateway.communicate(timeout=60)
        if f" {count} 2xx" not in told:
            raise SystemExit(f"{kind}: not all was answered\n{told}")
        return int(re.search(r"Collected : (\d+)", said).group(1))


def main() -> None:
    asked = [word for word in sys.argv[1:] if word in KINDS]
    build = Path(next((word for word in sys.argv[1:] if word not in KINDS), "build/release"))
    upstream = start_upstream()
    for kind in asked or KINDS:
        few, many = KINDS[kind][2:]
        cost = (instructions(build, upstream, kind, many) - instructions(build, upstream, kind, few)) / (many - few)
        print(f"{kind}: {cost:,.0f} instructions", flush=True)


main()
