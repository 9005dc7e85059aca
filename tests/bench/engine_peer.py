#!/usr/bin/env python3
"""The engine beside llama.cpp's own benchmarks, on one machine, in one run.

    tests/bench/engine_peer.py --llama DIR [--rounds 5] [--threads N] [--build build/release]     TIDE_MODEL as for the tests

DIR holds llama-bench and llama-batched-bench, built natively (-DGGML_NATIVE=ON). Files of other types are made with llama-quantize.
AVX2 against AVX2: a peer with -DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON, and
`cmake --preset release -B build/avx2 -DCMAKE_C_FLAGS=-DTIDE_NO_AVX512`. Rounds are interleaved: ours, theirs, and
share_bench, in turn. A ratio is the median of the ratios of each round, with [quartiles]. `prompt n`: a prompt of n tokens;
`answers n`: n answers of 32 tokens at once after prompts of 16, tokens of all together. The last line is the share of the
memory's bandwidth that one answer takes, where a token reads all of the model's bytes once.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODEL = Path(os.environ.get("TIDE_MODEL", ROOT / "build/model/SmolLM2-135M-Instruct.Q4_1.gguf"))
PROMPTS, BATCHES = (128, 512), (1, 8, 16)


def run(*args) -> str:
    return subprocess.run([str(a) for a in args], check=True, capture_output=True, text=True).stdout


def ours(build: Path, threads: int) -> dict:
    table = run(build / "bin/tide-worker", "bench", "--model", MODEL, "--threads", threads, "--rounds", 1)
    rows = re.findall(r"\| (prompt|answers) +\| +(\d+) \| +([\d.]+) \|", table)
    return {(what, int(n)): float(rate) for what, n, rate in rows}


def theirs(tools: Path, threads: int) -> dict:
    prompts = json.loads(run(tools / "llama-bench", "-m", MODEL, "-t", threads, "-p", ",".join(map(str, PROMPTS)), "-n", 0, "-r", 1,
                             "-o", "json"))
    rates = {("prompt", row["n_prompt"]): row["avg_ts"] for row in prompts}
    lines = run(tools / "llama-batched-bench", "-m", MODEL, "-t", threads, "-c", 4096, "-npp", 16, "-ntg", 32, "-npl",
                ",".join(map(str, BATCHES)), "--output-format", "jsonl")
    for row in map(json.loads, filter(lambda line: line.startswith("{"), lines.splitlines())):
        rates["answers", row["pl"]] = row["speed_tg"]
    return rates


def share(build: Path, threads: int) -> tuple[float, float]:
    """GB/s that memory is read with, and the part of it that one answer takes."""
    line = run(build / "tests/share_bench", MODEL, threads, 20)
    return tuple(float(n) for n in re.search(r"memory ([\d.]+) GB/s, share ([\d.]+)", line).groups())


def spread(values: list) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.2f} [{low:.2f}..{high:.2f}]"


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--llama", type=Path, required=True)
    p.add_argument("--build", type=Path, default=ROOT / "build/release")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    args = p.parse_args()
    mine, peer, shares = [], [], []
    for _ in range(args.rounds):
        mine.append(ours(args.build, args.threads))
        peer.append(theirs(args.llama, args.threads))
        shares.append(share(args.build, args.threads))
    print(f"{MODEL.name}, {args.threads} threads, {args.rounds} interleaved rounds; tokens/s, medians\n")
    print("| | Tidegate | llama.cpp | ratio |\n|---|---|---|---|")
    for key in [("prompt", n) for n in PROMPTS] + [("answers", n) for n in BATCHES]:
        a, b = [r[key] for r in mine], [r[key] for r in peer]
        print(f"| {key[0]} {key[1]} | {statistics.median(a):.0f} | {statistics.median(b):.0f} | {spread([x / y for x, y in zip(a, b)])} |")
    print(f"\nMemory read: {statistics.median(gb for gb, _ in shares):.1f} GB/s; share of it that one answer takes: "
          f"{spread([part for _, part in shares])}")


if __name__ == "__main__":
    main()
