#!/usr/bin/env python3
"""Tokens a second of tide-worker beside llama.cpp (PyPI xllamacpp, an AVX2 build), both over HTTP on this machine.

    tests/bench/worker_speed.py [--rounds 5] [--threads N]         TIDE_MODEL and TIDE_BUILD as for the tests

For information, not a test. Rounds are interleaved, ours and theirs in turn, and the table gives the median and the
best: a shared machine makes single numbers meaningless. `b1` and `b8`: 1 and 8 answers at once, tokens of all
answers over the time from the first request to the last token, prompts included. `prefill`: a prompt of 400 tokens.
"""
import argparse
import concurrent.futures
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))
os.environ.setdefault("TIDE_BUILD", str(Path(__file__).resolve().parents[2] / "build" / "release"))

from tide.worker import Llama, Worker  # noqa: E402

ANSWER = 64
PROMPT = [504, 3575, 282, 4649, 314] * 3


def ours(worker, prompt, n):
    body = {"prompt": prompt, "max_tokens": n, "temperature": 0, "ignore_eos": True}
    answer = worker.http.post("/v1/completions", json=body)
    assert answer.json()["usage"]["completion_tokens"] == n, answer.text


def theirs(llama, prompt, n):
    body = {"prompt": prompt, "n_predict": n, "temperature": 0, "ignore_eos": True, "cache_prompt": False}
    answer = llama.http.post("/completion", json=body)
    assert answer.json()["tokens_predicted"] == n, answer.text


def rate(call, server, at_once):
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        began = time.monotonic()
        list(pool.map(lambda i: call(server, [*PROMPT, 1000 + i], ANSWER), range(at_once)))
        return at_once * ANSWER / (time.monotonic() - began)


def prefill(call, server, turn):
    began = time.monotonic()
    call(server, [1000 + (turn * 7 + i * 13) % 30000 for i in range(400)], 1)
    return 400 / (time.monotonic() - began)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="tide-speed-"))
    results = {}
    with Llama(context=8 * 1024, slots=8, threads=options.threads) as llama, \
            Worker(folder, "--slots", "8", "--context", "1024", "--threads", str(options.threads)) as worker:
        for turn in range(options.rounds + 1):
            for name, call, server in (("ours", ours, worker), ("llama.cpp", theirs, llama)):
                row = {"b1": rate(call, server, 1), "b8": rate(call, server, 8), "prefill": prefill(call, server, turn)}
                if turn:  # the first round warms up
                    for key, value in row.items():
                        results.setdefault(key, {}).setdefault(name, []).append(value)
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    print(f"{cpu}, {options.threads} threads, {options.rounds} interleaved rounds; tokens/s, median (best)")
    for key, row in results.items():
        cells = [f"{name} {statistics.median(v):7.1f} ({max(v):7.1f})" for name, v in row.items()]
        ratio = statistics.median(row["ours"]) / statistics.median(row["llama.cpp"])
        print(f"{key:8s} {'   '.join(cells)}   ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
