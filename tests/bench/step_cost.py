#!/usr/bin/env python3
"""What a step of the engine costs beside the model's computation, with many answers at once.

    tests/bench/step_cost.py [--answers 64] [--tokens 200] [--steps 150] [--rounds 3]      TIDE_MODEL and TIDE_BUILD as for the tests

One thread computes, so that the HTTP thread and this client have the other core. As many clients as answers ask again and
again; a round is so many steps while all of them run. The figures are the worker's own: the whole step and the backend's
part of it. `outside`: choosing the batch, picking and telling tokens. `backend`: everything that the model computes, the
largest logit included where it is found there. `wakes`: how often the HTTP thread is woken a step; it says the same on a
busy machine, where the times do not.
"""
import argparse
import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))
os.environ.setdefault("TIDE_BUILD", str(Path(__file__).resolve().parents[2] / "build" / "release"))

from tide.worker import Worker  # noqa: E402


def loop_sleeps(worker) -> int:
    for task in Path(f"/proc/{worker.child.pid}/task").iterdir():
        if (task / "comm").read_text().strip() == "worker":
            status = (task / "status").read_text().splitlines()
            return int(next(line for line in status if line.startswith("voluntary_ctxt_switches")).split()[1])
    raise AssertionError("no HTTP thread")


def counts(worker) -> dict:
    names = [f"tide_worker_{part}_seconds_{what}" for part in ("step", "backend") for what in ("sum", "count")]
    return {"sleeps": loop_sleeps(worker), **{n: worker.metric(n) for n in names + ["vllm:generation_tokens_total"]}}


def ask_again_and_again(worker, number: int, tokens: int, temperature: float, enough: threading.Event) -> None:
    with httpx.Client(base_url=worker.http.base_url, timeout=300) as client:
        while not enough.is_set():
            body = {"model": "m", "prompt": f"{number} boats", "max_tokens": tokens, "temperature": temperature, "ignore_eos": True}
            assert client.post("/v1/completions", json=body).json()["usage"]["completion_tokens"] == tokens


def one_round(worker, steps: int) -> tuple[float, ...]:
    """Microseconds outside the backend and in it, a step; answers that a step went on with; wake-ups a step."""
    before = after = counts(worker)
    while after["tide_worker_step_seconds_count"] < before["tide_worker_step_seconds_count"] + steps:
        time.sleep(0.5)
        after = counts(worker)
    d = {n: v - before[n] for n, v in after.items()}
    done = d["tide_worker_step_seconds_count"]
    step, backend = (d[f"tide_worker_{part}_seconds_sum"] * 1e6 / done for part in ("step", "backend"))
    return step - backend, backend, d["vllm:generation_tokens_total"] / done, d["sleeps"] / done


def measure(worker, args, temperature: float) -> list[tuple[float, ...]]:
    enough = threading.Event()
    clients = [threading.Thread(target=ask_again_and_again, args=(worker, i, args.tokens, temperature, enough))
               for i in range(args.answers)]
    for c in clients:
        c.start()
    while worker.metric("vllm:num_requests_running") < args.answers:
        time.sleep(0.1)
    rounds = [one_round(worker, args.steps) for _ in range(args.rounds)]
    enough.set()
    for c in clients:
        c.join()
    return rounds


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--answers", type=int, default=64)
    p.add_argument("--tokens", type=int, default=200)
    p.add_argument("--steps", type=int, default=150)
    p.add_argument("--rounds", type=int, default=3)
    args = p.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="tide-steps-"))
    with Worker(folder, "--slots", str(args.answers), "--context", "256", "--threads", "1", "--alias", "m") as worker:
        for temperature in (0.0, 1.0):
            rounds = measure(worker, args, temperature)
            outside, backend, running, wakes = (statistics.median(column) for column in zip(*rounds))
            print(f"temperature {temperature}: {running:.1f} answers a step; us a step: outside {outside:.0f} "
                  f"[{min(r[0] for r in rounds):.0f}..{max(r[0] for r in rounds):.0f}], backend {backend:.0f}; "
                  f"wakes {wakes:.1f}")


if __name__ == "__main__":
    main()
