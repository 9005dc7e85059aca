#!/usr/bin/env python3
"""What the second turn of a long chat costs, when its beginning is found in the cache.

    tests/bench/prefix_cost.py [--rounds 5] [--tokens 2000] [--threads N]      TIDE_MODEL and TIDE_BUILD as for the tests

Time to the first event with content of a prompt of so many tokens, cold, and of the next turn of the same chat: the prompt, the
answer and a short new question. Every round has a text of its own, so the first turn never finds anything.
"""
import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))
os.environ.setdefault("TIDE_BUILD", str(Path(__file__).resolve().parents[2] / "build" / "release"))

from tide.worker import Worker  # noqa: E402

WORDS = "river sea gate tide boat stone wind salt rope harbour light morning north water bridge sand".split()


def turn(worker, messages: list) -> tuple[float, str, dict]:
    """Seconds to the first content, the answer, its usage."""
    body = {"model": "m", "messages": messages, "max_tokens": 16, "temperature": 0, "ignore_eos": True, "stream": True,
            "stream_options": {"include_usage": True}}
    began, first, text, usage = time.monotonic(), None, "", None
    with worker.http.stream("POST", "/v1/chat/completions", json=body) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                event = json.loads(line[6:])
                usage = event.get("usage") or usage
                content = "".join(c["delta"].get("content") or "" for c in event["choices"])
                if content and first is None:
                    first = time.monotonic() - began
                text += content
    return first, text, usage


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--tokens", type=int, default=2000)
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    args = p.parse_args()
    rng = random.Random(1)
    folder = Path(tempfile.mkdtemp(prefix="tide-prefix-"))
    cold, warm = [], []
    with Worker(folder, "--slots", "2", "--context", "4096", "--threads", str(args.threads), "--alias", "m") as worker:
        for _ in range(args.rounds):
            story = " ".join(rng.choices(WORDS, k=args.tokens))
            messages = [{"role": "user", "content": story}]
            seconds, text, usage = turn(worker, messages)
            assert usage["prompt_tokens_details"]["cached_tokens"] < 64, usage
            cold.append(seconds)
            messages += [{"role": "assistant", "content": text}, {"role": "user", "content": "And then?"}]
            seconds, _, usage = turn(worker, messages)
            assert usage["prompt_tokens_details"]["cached_tokens"] > args.tokens, usage
            warm.append(seconds)
    shares = [w / c for w, c in zip(warm, cold)]
    print(f"prompt of {args.tokens} words, {args.threads} threads, {args.rounds} rounds: first content after "
          f"{statistics.median(cold) * 1e3:.0f} ms cold, {statistics.median(warm) * 1e3:.0f} ms in the next turn: "
          f"{statistics.median(shares) * 100:.1f} % [{min(shares) * 100:.1f}..{max(shares) * 100:.1f}]")


if __name__ == "__main__":
    main()
