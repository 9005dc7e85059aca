#!/usr/bin/env python3
"""What a request costs while N connections are open: instructions (callgrind) and CPU time of the process.

    tests/bench/connections_cost.py [--build build/release] [--tls] [--connections 100,15000] [--requests 3000]

Starts edge_server, opens N connections that have each had one request, then sends requests over all of them in turn, and
over 50 of them. Instructions are exact; CPU time is the least of five rounds, interleaved, on an otherwise idle machine."""
import argparse
import os
import re
import resource
import socket
import ssl
import subprocess
import tempfile
import time
from pathlib import Path

GET = b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n"
LIMITS = ["idle_ms=3600000", "max_age_ms=604800000", "first_byte_ms=300000", "handshake_ms=60000", "connections=100000",
          "requests_per_connection=1000000000", "handshakes_per_loop=100000"]


class Server:
    def __init__(self, build, folder, tls, valgrind):
        args = [str(build / "tests/edge_server"), "--listen", "127.0.0.1:0"]
        for limit in LIMITS:
            args += ["--limit", limit]
        self.context = None
        if tls:
            key, cert = folder / "key.pem", folder / "cert.pem"
            subprocess.run(["openssl", "req", "-new", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                            "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=localhost"], check=True, capture_output=True)
            key.chmod(0o600)
            args += ["--cert", str(cert), "--key", str(key)]
            self.context = ssl.create_default_context(cafile=str(cert))
            self.context.check_hostname = False
        if valgrind:
            args = ["valgrind", "--tool=callgrind", "-q", f"--callgrind-out-file={folder}/out", "--dump-instr=no", *args]
        self.folder = folder
        self.process = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=folder)
        self.port = int(self.process.stdout.readline().rsplit(":", 1)[1])
        self.open = []

    def grow(self, n):
        while len(self.open) < n:
            s = socket.create_connection(("127.0.0.1", self.port))
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.context:
                s = self.context.wrap_socket(s)
            self.open.append(s)
            self.ask(s)

    def ask(self, s):
        s.sendall(GET)
        data = s.recv(4096)
        while not data.endswith(b"x" * 200):
            data += s.recv(4096)

    def requests(self, n, active):
        step = max(1, len(self.open) // active)
        chosen = self.open[::step][:active]
        for i in range(n):
            self.ask(chosen[i % len(chosen)])

    def instructions(self, n, active):
        control = ["callgrind_control"]
        subprocess.run([*control, "-z", str(self.process.pid)], check=True, capture_output=True)
        self.requests(n, active)
        for old in self.folder.glob("out.*"):
            old.unlink()
        subprocess.run([*control, "-d", str(self.process.pid)], check=True, capture_output=True)
        while not (new := [p for p in self.folder.glob("out.*") if "totals:" in p.read_text()]):
            time.sleep(0.1)
        return int(re.search(r"^summary: (\d+)", new[0].read_text(), re.MULTILINE).group(1)) / n

    def cpu_us(self, n, active):
        before = self.cpu_ns()
        self.requests(n, active)
        return (self.cpu_ns() - before) / 1000 / n

    def cpu_ns(self):
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((t / "schedstat").read_text().split()[0]) for t in tasks)

    def stop(self):
        for s in self.open:
            s.close()
        self.process.kill()
        self.process.wait(60)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--build", type=Path, default=Path(__file__).resolve().parents[2] / "build/release")
    options.add_argument("--tls", action="store_true")
    options.add_argument("--connections", default="100,15000")
    options.add_argument("--requests", type=int, default=3000)
    o = options.parse_args()
    counts = [int(x) for x in o.connections.split(",")]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(counts) + 2000), hard))
    print(f"{'open':>7} {'active':>7} {'instructions/request':>21} {'CPU us/request':>15}")
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for n in counts:
            server = Server(o.build.resolve(), Path(folder), o.tls, valgrind=True)
            server.grow(n)
            for active in (50, n):
                server.requests(200, active)
                rows[n, active] = [server.instructions(o.requests, active), []]
            server.stop()
        servers = {n: Server(o.build.resolve(), Path(folder), o.tls, valgrind=False) for n in counts}
        for n, server in servers.items():
            server.grow(n)
        for _ in range(5):
            for (n, active), row in rows.items():
                row[1].append(servers[n].cpu_us(o.requests, active))
        for server in servers.values():
            server.stop()
    for (n, active), (instructions, cpu) in rows.items():
        print(f"{n:>7} {active:>7} {instructions:>21.0f} {min(cpu):>15.2f}")


if __name__ == "__main__":
    os.umask(0o077)
    main()
