#!/usr/bin/env python3
"""How long tide-worker takes from its start to ready, and the memory it then holds, against the size of the model's file.

    build/venv/bin/python tests/bench/start_cost.py [--rounds 5] [--workers 2] [OPTION ...]      TIDE_MODEL, TIDE_BUILD as for tests

Workers start one after the other, in a folder where no packed weights are kept yet: the first writes them, the others map
them. OPTIONs are tide-worker's; with `--packed-dir none` each has its own. `held` is what is resident, `peak` the most that
was, `share` where pages that several processes have count in parts (Pss); after an answer of a few tokens, so with a little
of the KV cache, and each weight read once.
"""
import argparse
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))
os.environ.setdefault("TIDE_BUILD", str(Path(__file__).resolve().parents[2] / "build" / "release"))

from tide.process import wait_until  # noqa: E402
from tide.stack import model_file  # noqa: E402
from tide.worker import Worker  # noqa: E402


def kilobytes(pid: int, file: str, *names: str) -> list:
    rows = [line.split() for line in Path(f"/proc/{pid}/{file}").read_text().splitlines()]
    return [int(row[1]) for name in names for row in rows if row[0] == f"{name}:"]


def start(folder: Path, number: int, options: list) -> tuple:
    worker = Worker(folder, *options, name=f"worker-{number}")
    began = time.monotonic()
    worker.start()
    wait_until(worker.is_ready, 600, "ready", every=0.005)
    return worker, time.monotonic() - began


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--workers", type=int, default=2)
    args, options = arguments.parse_known_args()
    size = model_file().stat().st_size / 1024
    print(f"a file of {size / 1024:.0f} MiB; memory in parts of it")
    for _ in range(args.rounds):
        with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
            own = [] if "--packed-dir" in options else ["--packed-dir", name]
            workers = []
            for i in range(args.workers):
                workers.append(start(Path(name), i, [*own, *options]))
                stack.callback(workers[-1][0].__exit__, None)
            for worker, _ in workers:
                worker.complete("Tides rise and", max_tokens=4).raise_for_status()  # every weight is read once
            for worker, seconds in workers:
                held, peak = (n / size for n in kilobytes(worker.pid, "status", "VmRSS", "VmHWM"))
                share = kilobytes(worker.pid, "smaps_rollup", "Pss")[0] / size
                print(f"{worker.name}: ready after {seconds:.2f} s; held {held:.2f}, peak {peak:.2f}, share {share:.2f}", flush=True)


if __name__ == "__main__":
    main()
