#!/usr/bin/env python3
"""How long tide-worker takes from its start to ready, and the memory it then holds, against the size of the model's file.

    build/venv/bin/python tests/bench/start_cost.py [--rounds 5] [OPTION of tide-worker ...]      TIDE_MODEL, TIDE_BUILD as for tests

The file is in the page cache from the second round on. `peak` is while the weights are repacked: pages of the file are let go
of as their tensors are done. The KV cache counts when it is used.
"""
import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))
os.environ.setdefault("TIDE_BUILD", str(Path(__file__).resolve().parents[2] / "build" / "release"))

from tide.process import wait_until  # noqa: E402
from tide.stack import model_file  # noqa: E402
from tide.worker import Worker  # noqa: E402


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rounds", type=int, default=5)
    args, options = arguments.parse_known_args()
    size = model_file().stat().st_size
    for _ in range(args.rounds):
        with tempfile.TemporaryDirectory() as folder:
            worker = Worker(Path(folder), *options)
            began = time.monotonic()
            worker.start()
            wait_until(worker.is_ready, 600, "ready", every=0.005)
            seconds = time.monotonic() - began
            status = dict(line.split(":", 1) for line in Path(f"/proc/{worker.child.pid}/status").read_text().splitlines())
            held, peak = (int(status[name].split()[0]) * 1024 / size for name in ("VmRSS", "VmHWM"))
            worker.__exit__(None)
        print(f"ready after {seconds:.2f} s; memory {held:.2f} of the file's {size / 1e6:.0f} MB, peak {peak:.2f}", flush=True)


if __name__ == "__main__":
    main()
