#!/usr/bin/env python3
"""What a request costs while N connections are open: instructions (callgrind) and CPU time of the process.

    tests/bench/connections_cost.py [--build build/release]... [--nginx] [--tls] [--connections 100,15000] [--only cpu]

Starts edge_server, opens N connections that have each had one request, then sends requests one after another: over 50 of
the connections, and over all of them in turn. Instructions are exact. CPU time is the median of the rounds, with
quartiles, interleaved; the ratio is to 50 connections of the fewest, round by round. It wants an otherwise idle machine:
servers run on its first processor, the client on its last. --nginx: beside nginx, which answers the same 200 bytes.
--build may be given twice: two builds beside one another."""
import argparse
import os
import re
import resource
import socket
import ssl
import statistics
import subprocess
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

GET = b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n"
LIMITS = ["idle_ms=3600000", "max_age_ms=604800000", "first_byte_ms=300000", "handshake_ms=60000", "connections=100000",
          "requests_per_connection=1000000000", "handshakes_per_loop=100000"]
NGINX = """daemon off; master_process off; worker_rlimit_nofile 40000; pid nginx.pid; error_log stderr error;
events {{ worker_connections 39000; }}
http {{
  access_log off; keepalive_timeout 3600s; keepalive_requests 1000000000;
  client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;
  server {{ listen 127.0.0.1:{port} backlog=1024{tls} location / {{ return 200 "{body}"; }} }}
}}
"""


class Server:
    def __init__(self, folder, tls):
        self.folder, self.context, self.open, self.at = folder, None, [], 0
        if tls:
            self.key, self.cert = folder / "key.pem", folder / "cert.pem"
            subprocess.run(["openssl", "req", "-new", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                            "-keyout", self.key, "-out", self.cert, "-days", "2", "-subj", "/CN=localhost"],
                           check=True, capture_output=True)
            self.key.chmod(0o600)
            self.context = ssl.create_default_context(cafile=str(self.cert))
            self.context.check_hostname = False

    def start(self, args):
        self.process = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=self.folder,
                                        preexec_fn=lambda: os.sched_setaffinity(0, {PROCESSORS[0]}))

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
        """Goes on where the last call stopped, so that all of the active ones have their turn."""
        step = max(1, len(self.open) // active)
        for i in range(self.at, self.at + n):
            self.ask(self.open[i % active * step])
        self.at += n

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


class EdgeServer(Server):
    def __init__(self, build, folder, tls, valgrind=False):
        super().__init__(folder, tls)
        args = [str(build / "tests/edge_server"), "--listen", "127.0.0.1:0"]
        for limit in LIMITS:
            args += ["--limit", limit]
        if tls:
            args += ["--cert", str(self.cert), "--key", str(self.key)]
        if valgrind:
            args = ["valgrind", "--tool=callgrind", "-q", f"--callgrind-out-file={folder}/out", "--dump-instr=no", *args]
        self.start(args)
        self.port = int(self.process.stdout.readline().rsplit(":", 1)[1])

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


class Nginx(Server):
    def __init__(self, folder, tls):
        super().__init__(folder, tls)
        with socket.create_server(("127.0.0.1", 0)) as s:
            self.port = s.getsockname()[1]
        keys = f" ssl; ssl_certificate {self.cert}; ssl_certificate_key {self.key};" if tls else ";"
        (folder / "nginx.conf").write_text(NGINX.format(port=self.port, tls=keys, body="x" * 200))
        self.start(["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")])
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except ConnectionRefusedError:
                time.sleep(0.05)
        raise RuntimeError("nginx does not listen")


def count_instructions(o, counts, folder):
    print(f"{'server':<22} {'open':>7} {'active':>7} {'instructions/request':>21}")
    for build in o.build:
        for n in counts:
            server = EdgeServer(build, folder, o.tls, valgrind=True)
            server.grow(n)
            for active in (50, n):
                server.requests(200, active)
                print(f"{build.parent.name + '/' + build.name:<22} {n:>7} {active:>7} "
                      f"{server.instructions(o.requests, active):>21.0f}", flush=True)
            server.stop()


class Client:
    """A server and its client in a process of their own: descriptors are limited by the process."""

    def __init__(self, n, server, *args):
        self.pool = ProcessPoolExecutor(1, initializer=Client.begin, initargs=(n, server, args))

    @staticmethod
    def begin(n, server, args):
        Client.server = server(*args)
        Client.server.grow(n)

    @staticmethod
    def cpu_us(n, active):
        return Client.server.cpu_us(n, active)

    @staticmethod
    def stop():
        Client.server.stop()

    def ask(self, what, *args):
        return self.pool.submit(what, *args).result()


def measure_cpu(o, counts, folder):
    clients = {}
    for n in counts:
        for build in o.build:
            clients[f"{build.parent.name}/{build.name}", n] = Client(n, EdgeServer, build, folder, o.tls)
        if o.nginx:
            clients["nginx", n] = Client(n, Nginx, folder, o.tls)
    rows = {(name, n, active): [] for name, n in clients for active in (50, n)}
    for i in range(1 + o.rounds):
        for (name, n, active), times in rows.items():
            took = clients[name, n].ask(Client.cpu_us, o.requests, active)
            if i > 0:
                times.append(took)
    for client in clients.values():
        client.ask(Client.stop)
    print(f"{'server':<22} {'open':>7} {'active':>7} {'CPU us/request':>15} {'ratio':>6}")
    for (name, n, active), times in rows.items():
        low, _, high = statistics.quantiles(times, n=4)
        ratio = statistics.median(t / first for t, first in zip(times, rows[name, counts[0], 50]))
        print(f"{name:<22} {n:>7} {active:>7} {statistics.median(times):>15.2f} {ratio:>6.3f}  [{low:.2f}..{high:.2f}]")


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--build", type=Path, action="append")
    options.add_argument("--tls", action="store_true")
    options.add_argument("--nginx", action="store_true")
    options.add_argument("--connections", default="100,15000")
    options.add_argument("--requests", type=int, default=3000)
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--only", choices=["instructions", "cpu"])
    o = options.parse_args()
    o.build = [b.resolve() for b in o.build or [Path(__file__).resolve().parents[2] / "build/release"]]
    counts = sorted(int(x) for x in o.connections.split(","))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.sched_setaffinity(0, {PROCESSORS[-1]})
    with tempfile.TemporaryDirectory() as folder:
        if o.only != "cpu":
            count_instructions(o, counts, Path(folder))
        if o.only != "instructions":
            measure_cpu(o, counts, Path(folder))


PROCESSORS = sorted(os.sched_getaffinity(0))

if __name__ == "__main__":
    os.umask(0o077)
    main()
