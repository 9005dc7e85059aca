"""tide-worker by itself, and llama.cpp's server (PyPI xllamacpp) as the oracle beside it."""
import json
import subprocess
import sys
from pathlib import Path

import httpx

from .process import Process, free_port, wait_until
from .stack import SANITIZERS, model_file, program

ALIAS = "smollm2"


class Worker(Process):
    """with Worker(folder, "--slots", "4") as w: w.http.post("/v1/completions", json=...)"""

    def __init__(self, folder: Path, *options: str, model: Path | str | None = None, name: str = "tide-worker",
                 path: Path | None = None, env: dict | None = None, alias: str | None = ALIAS):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.http = httpx.Client(base_url=self.url, timeout=120)
        named = ["--alias", alias] if alias else []
        super().__init__(name, [path or program("tide-worker"), "--model", model or model_file(), "--listen",
                                f"127.0.0.1:{self.port}", *named, *options], folder, env={**SANITIZERS, **(env or {})})

    def is_ready(self) -> bool:
        assert self.is_alive(), self.tail()
        return httpx.get(f"{self.url}/health", timeout=5).status_code == 200

    def __enter__(self) -> "Worker":
        self.start()
        try:
            wait_until(lambda: not self.is_alive() or self.is_ready(), 120, f"{self.name} is ready", every=0.1)
            assert self.is_alive(), self.tail()
        except BaseException:
            self.child.kill()
            raise
        return self

    def __exit__(self, kind, *_) -> None:
        self.http.close()
        status = self.stop(60)
        if kind is None:
            self.assert_no_report()
            assert status == 0, f"status {status}: {self.tail()}"

    def metric(self, name_and_labels: str) -> float:
        for line in self.http.get("/metrics").text.splitlines():
            if line.startswith(name_and_labels + " "):
                return float(line.rpartition(" ")[2])
        raise AssertionError(f"no metric {name_and_labels}")

    def chat(self, text: str, **fields) -> httpx.Response:
        body = {"model": ALIAS, "messages": [{"role": "user", "content": text}], **fields}
        return self.http.post("/v1/chat/completions", json=body)

    def complete(self, prompt, **fields) -> httpx.Response:
        return self.http.post("/v1/completions", json={"model": ALIAS, "prompt": prompt, **fields})

    def tokens(self, text: str) -> list:
        answer = self.http.post("/tokenize", json={"prompt": text})
        assert answer.status_code == 200, answer.text
        return answer.json()["tokens"]


def events(response: httpx.Response):
    """The data of each server-sent event, "[DONE]" included."""
    for line in response.iter_lines():
        if line.startswith("data: "):
            yield line[6:]


def chunks(response: httpx.Response) -> list:
    """All chunks of a stream that must end with [DONE]."""
    data = list(events(response))
    assert data and data[-1] == "[DONE]", data[-1:]
    return [json.loads(d) for d in data[:-1]]


def tool(*arguments, check: bool = True) -> subprocess.CompletedProcess:
    """A run of tide-worker that ends by itself; stdout as bytes."""
    import os

    done = subprocess.run([str(program("tide-worker")), *map(str, arguments)], capture_output=True, timeout=600,
                          env={**os.environ, **SANITIZERS})
    assert not check or done.returncode == 0, done.stderr.decode(errors="replace")[-3000:]
    return done


class Llama:
    """llama.cpp's server in a process of its own: it has threads that never end."""

    SCRIPT = """
import sys, xllamacpp as x
p = x.CommonParams()
p.model.path, p.n_ctx, p.n_parallel, p.port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), 0
p.cpuparams.n_threads = int(sys.argv[4])
p.warmup, p.verbosity = False, 0
s = x.Server(p)
print("address", s.listening_address, flush=True)
sys.stdin.read()
import os
os._exit(0)
"""

    def __init__(self, context: int = 4096, slots: int = 1, threads: int = 2):
        self.arguments = [str(model_file()), str(context), str(slots), str(threads)]

    def __enter__(self) -> "Llama":
        self.child = subprocess.Popen([sys.executable, "-c", self.SCRIPT, *self.arguments], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for line in self.child.stdout:
            if line.startswith("address "):
                self.http = httpx.Client(base_url=line.split()[1], timeout=300)
                return self
        raise AssertionError("llama.cpp did not start")

    def __exit__(self, *_) -> None:
        self.http.close()
        self.child.stdin.close()
        try:
            self.child.wait(20)
        except subprocess.TimeoutExpired:
            self.child.kill()

    def tokens(self, text: str, parse_special: bool = False, add_special: bool = False) -> list:
        body = {"content": text, "add_special": add_special, "parse_special": parse_special}
        return self.http.post("/tokenize", json=body).raise_for_status().json()["tokens"]

    def greedy(self, prompt: list, n: int, top: int) -> dict:
        """{"tokens": [...], "top": [[(id, logprob), ...], ...]}"""
        body = {"prompt": prompt, "n_predict": n, "temperature": 0, "n_probs": top, "cache_prompt": False,
                "return_tokens": True, "ignore_eos": False}
        answer = self.http.post("/completion", json=body).raise_for_status().json()
        return {"tokens": answer["tokens"],
                "top": [[(t["id"], t["logprob"]) for t in position["top_logprobs"]]
                        for position in answer["completion_probabilities"]]}
