#!/usr/bin/env python3
"""What a sign-up costs that the policy refuses, above /livez on the same kept connections: CPU time of the gateway, and
database jobs, on real PostgreSQL and Redis.

    TIDE_BUILD=build/release build/venv/bin/python tests/bench/refused_cost.py [--requests 20000] [--callgrind FOLDER]

filtered:  each from an address of its own; the filter of numbers with an account says that it is nobody's.
looked up: the same without that filter (auth.known_filter_max 0), so the database is asked.
limited:   all from one address, which the rule signup_denied refuses by now: nothing is looked up.
With --callgrind instructions are counted instead, as the difference of many and few requests; the profiles stay in FOLDER."""
import argparse
import json
import re
import socket
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))
from tide.process import free_port, wait_until  # noqa: E402
from tide.stack import APIKEY, Gateway, Stack  # noqa: E402

CONNECTIONS = 64  # that ask at once: as under load, a wake-up serves many
LIVEZ = b"GET /livez HTTP/1.1\r\nhost: localhost\r\nuser-agent: bench\r\n\r\n"


KINDS = {"filtered": {403}, "looked up": {403}, "limited": {429}}  # and what the answers are


def otp(number: int, address: bytes) -> bytes:
    body = b'{"phone":"+852%08d"}' % (51_000_000 + number)
    return (b"POST /auth/v1/otp HTTP/1.1\r\nhost: localhost\r\nuser-agent: bench\r\napikey: %s\r\nx-forwarded-for: %s\r\n"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (APIKEY.encode(), address, len(body), body))


def read_answer(s: socket.socket) -> int:
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += s.recv(65536)
    head, _, rest = answer.partition(b"\r\n\r\n")
    left = int(re.search(rb"content-length: (\d+)", head.lower()).group(1)) - len(rest)
    while left > 0:
        left -= len(s.recv(left))
    return int(head[9:12])


class Bench:
    def __init__(self, stack: Stack, kind: str, callgrind: Path | None = None):
        self.kind = kind
        settings = stack.settings()
        self.port = free_port()
        settings["process"] |= {"threads": 1, "log_level": "warn", "watchdog": "10m"}
        settings["listeners"].append({"address": f"127.0.0.1:{self.port}", "tls": False})
        settings["trusted_proxies"] = ["127.0.0.1/32"]
        settings["limits"]["rules"] = [rule for rule in settings["limits"]["rules"] if rule["at"] != "signup_denied"]
        settings["auth"]["known_filter_max"] = "0" if kind == "looked up" else "256MiB"
        self.gateway = Gateway(stack, "gateway-1", settings)
        stack.gateways.append(self.gateway)
        if callgrind:
            command = self.gateway.process.command
            command[:0] = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={callgrind}"]
        self.gateway.start()
        self.gateway.ctl("policy", "set", "mainland-phone-only", "--reason", "bench")
        wait_until(lambda: self.gateway.get("/auth/v1/settings", headers={"apikey": APIKEY}).json()["signup"]["policy"] ==
                   "mainland-phone-only", 60, "the policy is in force")
        wait_until(lambda: self.gateway.metric("tidegate_known_filter_ready") == (kind != "looked up"), 60, "the filter")
        self.sockets = [socket.create_connection(("127.0.0.1", self.port), timeout=60) for _ in range(CONNECTIONS)]

    def ask(self, first: int, count: int, is_livez: bool) -> set:
        """The statuses that came."""
        seen = set()
        for begin in range(first, first + count, CONNECTIONS):
            for i, s in enumerate(self.sockets):
                s.sendall(LIVEZ if is_livez else otp(begin + i, self.address_of(begin + i)))
            seen |= {read_answer(s) for s in self.sockets}
        return seen

    def address_of(self, n: int) -> bytes:
        return b"192.0.2.1" if self.kind == "limited" else b"10.%d.%d.%d" % (n >> 16, n >> 8 & 255, n & 255)

    def cpu_us(self) -> float:
        tasks = Path(f"/proc/{self.gateway.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1000

    def jobs(self) -> float:
        return sum(float(line.rpartition(" ")[2]) for line in self.gateway.metrics().splitlines()
                   if line.startswith("tidegate_pg_jobs_total"))

    def measure(self, first: int, count: int, is_livez: bool) -> tuple[float, float, set]:
        """CPU and database jobs a request; what the process does by itself is taken off by the caller's /livez."""
        jobs, cpu = self.jobs(), self.cpu_us()
        seen = self.ask(first, count, is_livez)
        return (self.cpu_us() - cpu) / count, (self.jobs() - jobs) / count, seen


def timed(kind: str, count: int, folder: Path) -> None:
    with Stack(folder) as s:
        s.start_servers()
        bench = Bench(s, kind)
        bench.ask(0, 512, False)
        rounds = []
        count -= count % (5 * CONNECTIONS)
        for i in range(5):
            livez, _, _ = bench.measure(0, count // 5, True)
            cost, jobs, seen = bench.measure(512 + i * count, count // 5, False)
            assert seen == KINDS[kind], seen
            rounds.append((cost - livez, livez, jobs))
        above, livez, _ = sorted(rounds)[2]
        jobs = sum(r[2] for r in rounds) / 5
        print(f"us above livez {above:.1f} [{min(rounds)[0]:.1f}..{max(rounds)[0]:.1f}]  livez {livez:.1f}  database jobs {jobs:.3f}",
              flush=True)


def counted(kind: str, count: int, out: Path, folder: Path) -> None:
    total, few = {}, 4 * CONNECTIONS
    count -= count % CONNECTIONS
    for what, many in (("livez", count), ("livez", few), ("refused", count), ("refused", few)):
        profile = out / f"{kind.replace(' ', '-')}.{what}.{many}"
        folder.mkdir(exist_ok=True)
        with Stack(folder / f"{what}{many}") as s:
            s.start_servers()
            bench = Bench(s, kind, profile)
            bench.ask(0, CONNECTIONS, False)
            bench.ask(CONNECTIONS, many, what == "livez")
        total[what, many] = int(re.search(r"^(?:summary|totals): (\d+)", profile.read_text(), re.MULTILINE).group(1))
    each = {what: (total[what, count] - total[what, few]) / (count - few) for what in ("livez", "refused")}
    print(f"instructions {each['refused']:.0f}  livez {each['livez']:.0f}", flush=True)


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--requests", type=int, default=20_000)
    ask.add_argument("--callgrind", type=Path)
    words = ask.parse_args()
    with tempfile.TemporaryDirectory(prefix="tide-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)  # PostgreSQL runs as another user
        for kind in KINDS:
            print(f"{kind:10}", end="", flush=True)
            if words.callgrind:
                counted(kind, words.requests, words.callgrind.resolve(), Path(folder) / kind.replace(" ", ""))
            else:
                timed(kind, words.requests, Path(folder) / kind.replace(" ", ""))


if __name__ == "__main__":
    main()
