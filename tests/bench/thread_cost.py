#!/usr/bin/env python3
"""What a second loop costs: instructions of one request with one thread and with two, counted by callgrind.

    tests/bench/thread_cost.py [BUILD]        BUILD: folder of a release build (default build/release)

Each number is the difference of two runs that differ only in how many requests they answer, so that start and end of the
program drop out. Requests go over 16 kept connections, which SO_REUSEPORT spreads over the loops.
"""
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FEW, MANY, CONNECTIONS = 2000, 10000, 16
REQUEST = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n"


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def connect(port: int) -> list[socket.socket]:
    for _ in range(300):
        try:
            return [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(CONNECTIONS)]
        except ConnectionRefusedError:
            time.sleep(0.1)
    raise SystemExit("the gateway does not listen")


def ask(port: int, requests: int) -> None:
    sockets = connect(port)
    for n in range(requests):
        s = sockets[n % CONNECTIONS]
        s.sendall(REQUEST)
        answer = b""
        while not answer.endswith(b"ok\n"):
            answer += s.recv(4096)
    for s in sockets:
        s.close()


def instructions(build: Path, threads: int, requests: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        port, conf = free_port(), Path(folder) / "t.yaml"
        conf.write_text(f"process: {{threads: {threads}, access_log: {folder}/access.log, log_level: warn, watchdog: 10m}}\n"
                        f"listeners: [{{address: '127.0.0.1:{port}', tls: false}}]\nlimits: {{shipped_rules: false}}\n")
        gateway = subprocess.Popen(["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out",
                                    build / "bin" / "tidegate", "-c", conf], stderr=subprocess.PIPE, text=True)
        ask(port, requests)
        gateway.send_signal(signal.SIGTERM)
        _, said = gateway.communicate(timeout=60)
        return int(re.search(r"Collected : (\d+)", said).group(1))


def main() -> None:
    build = Path(sys.argv[1] if len(sys.argv) > 1 else "build/release")
    cost = {}
    for threads in (1, 2):
        cost[threads] = (instructions(build, threads, MANY) - instructions(build, threads, FEW)) / (MANY - FEW)
        print(f"{threads} threads: {cost[threads]:.0f} instructions per request", flush=True)
    print(f"the second adds {100 * (cost[2] / cost[1] - 1):+.1f} %")


main()
