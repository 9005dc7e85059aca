"""tide-worker beside serving: inspect, bench, chat in a terminal, and the load report that gateways listen to."""
import concurrent.futures
import json
import signal
import subprocess
from pathlib import Path

import pytest

from tide.stack import model_file, program
from tide.worker import Worker, tool


def test_inspect_tells_what_the_file_holds():
    told = tool("inspect", model_file()).stdout.decode()
    assert 'string   general.architecture = "llama"' in told and "u32      llama.block_count = 30" in told
    assert "array    tokenizer.ggml.tokens = 49152 x string: " in told and "f32      llama.rope.freq_base = 100000" in told
    assert "Q8_0       30081024  token_embd.weight [576, 49152]" in told and "272 tensors" in told
    assert "32768 tokens of 23040 bytes (--slots 8, --context 4096)" in told  # 2 x 2 bytes x 30 layers x 3 heads x 64
    assert told.rstrip().endswith("serves       smollm2")


def test_inspect_refuses_what_is_no_model(tmp_path):
    (tmp_path / "x.gguf").write_bytes(b"no model at all")
    done = subprocess.run([program("tide-worker"), "inspect", tmp_path / "x.gguf"], capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == "" and "GGUF" in done.stderr


def test_inspect_serves_what_a_worker_serves(tmp_path):
    """A marker that the template writes is not there, or a context is longer than the model's: no worker starts."""
    broken, marker = tmp_path / "x.gguf", b"<|im_end|>"
    bytes_ = bytearray(Path(model_file()).read_bytes())
    at = bytes_.index(len(marker).to_bytes(8, "little") + marker) + 8
    bytes_[at:at + len(marker)] = b"<|im_eND|>"
    broken.write_bytes(bytes_)
    for model, options, why in ((broken, [], "<|im_end|>"),
                                (model_file(), ["--context", "10000"], "--context 10000 is more than the 8192")):
        told = tool("inspect", model, *options).stdout.decode().splitlines()[-1]
        start = tool("--model", model, "--listen", f"unix:{tmp_path}/s", "--packed-dir", "none", *options, check=False)
        assert start.returncode == 1 and why in start.stderr.decode(), start.stderr
        assert told.startswith("not served: ") and why in told, told


@pytest.mark.parametrize("command", ["inspect", "tensor", "tokens"])
def test_what_a_full_disk_did_not_take_is_an_error(command):
    options = {"tensor": ["--name", "output_norm.weight"]}.get(command, [])
    with open("/dev/full", "w") as full:
        done = subprocess.run([program("tide-worker"), command, "--model", model_file(), *options], stdout=full,
                              input=b'{"prompt": "a"}\n', stderr=subprocess.PIPE)
    assert done.returncode == 1 and b"No space left on device" in done.stderr, done.stderr


def test_bench_prints_rates():
    lines = tool("bench", "--model", model_file(), "--rounds", 1).stdout.decode().splitlines()
    assert "threads=" in lines[0] and "1 rounds" in lines[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")][1:]
    assert [(row[0], int(row[1])) for row in rows] == [("prompt", n) for n in (32, 128, 512, 2048)] + [
        ("answers", n) for n in (1, 2, 4, 8, 16, 32, 64)]
    assert all(float(row[2]) > 0 and row[2] == row[3] == row[4] for row in rows)


def test_a_talk_in_the_terminal():
    turns = "What is a tide?\nAnd a gate?\n/new\nHi.\n/exit\nnever read\n"
    done = subprocess.run([program("tide-worker"), "chat", "--model", model_file(), "--context", "512", "--log-level", "error"],
                          input=turns, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    told = [line for line in done.stdout.splitlines() if line.startswith("[")]
    assert len(told) == 3 and "never read" not in done.stdout
    known = [int(line.split(", ")[1].split(" of ")[0]) for line in told]
    assert known[0] == 0 and known[1] >= 32 and known[1] > known[2]  # the second turn goes on, the third begins anew


def test_amx_or_the_reason_why_not(tmp_path):
    """The log says which kernels multiply prompts and why; a prompt's logits are the same bits either way."""
    ids = tmp_path / "ids.json"
    ids.write_text(json.dumps([1, 504, 3575, 282, 4649, 314] + list(range(2000, 2030))))
    both = [tool("logits", "--model", model_file(), "--tokens", ids, "--top", "20", *options) for options in ([], ["--no-amx"])]
    reasons = [done.stderr.decode().count("amx=no reason=") for done in both]
    assert reasons == [0 if "amx_int8" in Path("/proc/cpuinfo").read_text() else 1, 0], both[0].stderr
    assert len(both[0].stdout.splitlines()) == 36 and both[0].stdout == both[1].stdout


@pytest.mark.parametrize("arguments, message", [
    (["inspect"], "--model MODEL is required"), (["chat", "--model", "/none"], "/none"), (["bench", "x", "--model", "y"], "not an option"),
    (["bench", "--model", "y", "--rounds", "0"], "--rounds: expected 1 to 100"),
])
def test_wrong_arguments(arguments, message):
    done = subprocess.run([program("tide-worker"), *arguments], capture_output=True, text=True)
    assert done.returncode in (1, 2) and message in done.stderr and done.stdout == ""


def test_the_load_is_told_while_it_changes(tmp_path):
    with Worker(tmp_path, "--slots", "2", "--context", "512", "--queue", "10") as w:
        with w.http.stream("GET", "/tide/v1/load") as report:
            assert report.headers["content-type"].startswith("text/event-stream")
            events = (json.loads(line[6:]) for line in report.iter_lines() if line.startswith("data: "))
            idle = next(events)
            assert idle == {"running": 0, "waiting": 0, "slots": 2, "kv_blocks_used": 0, "kv_blocks": 64, "draining": False}
            with concurrent.futures.ThreadPoolExecutor(3) as pool:
                asked = [pool.submit(w.complete, [1000 + i] * 40, max_tokens=100, ignore_eos=True) for i in range(3)]
                busy = next(e for e in events if e["running"] == 2 and e["waiting"] == 1)
                assert busy["kv_blocks_used"] >= 2 * 3  # of 16 tokens
                assert [a.result().status_code for a in asked] == [200] * 3
            after = next(e for e in events if e["running"] == 0)
            assert after["waiting"] == 0 and after["kv_blocks_used"] == 0
            w.child.send_signal(signal.SIGTERM)
            assert next(e for e in events if e["draining"])["draining"] is True
            assert list(events) == []  # the report ends, and does not hold up the drain
