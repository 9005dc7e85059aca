#!/usr/bin/env python3
"""What the operators' dashboard costs: CPU time of tide-status and of the gateway without it, with it, and with viewers, and
how many bytes the first page and the stream are. Real PostgreSQL and Redis, a gateway that is asked things all the while.

    TIDE_BUILD=build/release build/venv/bin/python tests/bench/ops_cost.py [--viewers 20] [--seconds 20]"""
import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))
from tide.process import wait_until  # noqa: E402
from tide.stack import APIKEY, Stack  # noqa: E402
from tide.status_page import StatusPage  # noqa: E402


def cpu_s(pid: int) -> float:
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


class Viewer(threading.Thread):
    def __init__(self, path: Path):
        super().__init__(daemon=True)
        self.client = httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), timeout=60)
        self.bytes = self.beats = 0
        self.is_over = False

    def run(self) -> None:
        with self.client.stream("GET", "http://ops/ops/events") as response:
            for chunk in response.iter_raw():
                self.bytes += len(chunk)
                self.beats += chunk.count(b"event: beat")
                if self.is_over:
                    return


class Traffic(threading.Thread):
    """Fifty requests a second, so that the numbers change."""

    def __init__(self, stack: Stack):
        super().__init__(daemon=True)
        self.stack = stack
        self.is_over = False

    def run(self) -> None:
        with httpx.Client(verify=self.stack.trust, headers={"apikey": APIKEY}, timeout=30) as client:
            while not self.is_over:
                client.get(self.stack.gateway.url + "/auth/v1/settings")
                time.sleep(0.02)


def measure(page: StatusPage, stack: Stack, seconds: float) -> tuple[float, float]:
    """Percent of a core: tide-status, gateway."""
    pids = page.process.pid, stack.gateway.process.pid
    before, began = [cpu_s(pid) for pid in pids], time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - began
    return tuple(100 * (cpu_s(pid) - b) / took for pid, b in zip(pids, before))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--viewers", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tide-", dir="/tmp") as folder, Stack(Path(folder) / "stack") as stack:
        Path(folder).chmod(0o755)
        stack.start_servers()
        stack.start_scripted()
        settings = stack.settings()
        settings["admin"] = {"read_socket": f"unix:{folder}/read.sock"}
        stack.start_gateway(settings)
        traffic = Traffic(stack)
        traffic.start()
        page = StatusPage(stack.folder / "status", stack.gateway.url, stack.ca, stack.cert, stack.key)
        page.settings["probe"] |= {"apikey": APIKEY, "metrics_url": f"http://127.0.0.1:{stack.gateway.metrics_port}/metrics",
                                   "interval": "2s", "confirm": "2s", "chat_interval": "5s"}
        print(f"{'':34}{'tide-status':>14}{'gateway':>12}   percent of a core")
        page.start()
        print("%-34s%14.2f%12.2f" % ("without the dashboard", *measure(page, stack, options.seconds)))
        page.stop()
        page.settings["ops"] = {"address": f"unix:{folder}/ops.sock", "gateway": f"unix:{folder}/read.sock"}
        page.start()
        print("%-34s%14.2f%12.2f" % ("with it, nobody looks", *measure(page, stack, options.seconds)))
        viewers = [Viewer(Path(folder) / "ops.sock") for _ in range(options.viewers)]
        for viewer in viewers:
            viewer.start()
        wait_until(lambda: all(v.beats > 1 for v in viewers), 60, "all look")
        sent = sum(v.bytes for v in viewers), sum(v.beats for v in viewers)
        print("%-34s%14.2f%12.2f" % (f"with {options.viewers} viewers", *measure(page, stack, options.seconds)))
        sent = sum(v.bytes for v in viewers) - sent[0], sum(v.beats for v in viewers) - sent[1]
        with httpx.Client(transport=httpx.HTTPTransport(uds=f"{folder}/ops.sock")) as client:
            first = len(client.get("http://ops/ops").content), len(client.get("http://ops/ops.js").content)
        print(f"first page {first[0]} bytes and {first[1]} of script, not compressed; "
              f"a drawing {sent[0] / max(sent[1], 1):.0f} bytes a viewer")
        for thread in [traffic, *viewers]:
            thread.is_over = True
            thread.join(60)
        page.stop()


main()
