"""tide-worker over an emulated CUDA device, behind a gateway: it says what the CPU's worker says; without a device that
can be used it serves from the CPU; a device that fails ends it, and the gateway asks another worker."""
import json
import subprocess

import pytest

from tide.chat_rig import ChatRig
from tide.process import wait_until
from tide.stack import BUILD, SANITIZERS, model_file
from tide.worker import ALIAS, Worker

EMULATED = BUILD / "tests" / "tide-worker-emulated"
SHORT = [{"role": "system", "content": ""}, {"role": "user", "content": "Hi"}]  # a prompt of 14 tokens: seconds each
ASK = {"messages": SHORT, "max_tokens": 2, "temperature": 0}
NO_DEVICE = {"no-device": "no CUDA-capable device is detected",
             "old-driver": "CUDA driver version is insufficient for CUDA runtime version",
             "out-of-memory:40": "memory for weights: out of memory",
             "kernel-fault": "trying a kernel: an illegal memory access was encountered"}
FAILURES = {"kernel-fault:40": "an illegal memory access was encountered",
            "device-lost:40": "CUDA-capable device(s) is/are busy or unavailable"}
# gcc misaligns vectors of 64 bytes on the stacks that the option makes (its bug 110027); only the release worker goes without.
ENV = {**SANITIZERS, "ASAN_OPTIONS": SANITIZERS["ASAN_OPTIONS"].replace("use_after_return=1", "use_after_return=0")}

pytestmark = pytest.mark.skipif(not EMULATED.exists(), reason="this build has no emulator")


def emulated(folder, *options, device="cuda", fails="", name="emulated") -> Worker:
    return Worker(folder, "--device", device, "--slots", "2", "--context", "256", *options, path=EMULATED, name=name,
                  env={**ENV, "TIDE_EMU_FAIL": fails})


def text_of(lines: list[str]) -> str:
    assert lines[-1] == "data: [DONE]"
    choices = [json.loads(line[6:])["choices"] for line in lines if line.startswith("data: {")]
    return "".join(c[0]["delta"].get("content") or "" for c in choices if c)


def test_a_device_says_what_the_cpu_says(tmp_path):
    with Worker(tmp_path) as cpu, emulated(tmp_path, "--request-timeout", "1h") as device:
        assert 'backend=cuda device="emulated' in device.log.read_text()
        wanted = cpu.chat("Hi", **ASK).json()["choices"][0]["message"]["content"]
        rig = ChatRig(tmp_path, [f"127.0.0.1:{device.port}"], model=ALIAS, protocol="h2",
                      first_byte="30m", idle="30m")
        rig.http.timeout = 600
        try:
            assert text_of(rig.read_stream(**ASK)) == wanted != ""
        finally:
            rig.close()
        assert device.metric("tide_worker_steps_total") > 0


@pytest.mark.parametrize("fails", NO_DEVICE)
def test_without_a_device_the_cpu_serves(tmp_path, fails):
    with emulated(tmp_path, device="auto", fails=fails) as worker:
        assert worker.chat("Hi", **ASK).status_code == 200
        log = worker.log.read_text()
        assert "level=warn" in log and "worker device=cpu reason=" in log and NO_DEVICE[fails] in log
        assert "backend=cpu" in log


@pytest.mark.parametrize("fails", NO_DEVICE)
def test_a_device_that_must_be_there(tmp_path, fails):
    done = subprocess.run([EMULATED, "--model", model_file(), "--listen", f"unix:{tmp_path}/w", "--device", "cuda"],
                          capture_output=True, text=True, timeout=120, env={**ENV, "TIDE_EMU_FAIL": fails})
    assert done.returncode == 1, done.stderr
    assert NO_DEVICE[fails] in done.stderr.splitlines()[-2] + done.stderr.splitlines()[-1]


@pytest.mark.parametrize("fails", FAILURES)
def test_a_device_that_fails_ends_its_worker_alone(tmp_path, fails):
    with Worker(tmp_path) as healthy:
        failing = emulated(tmp_path, fails=fails)
        failing.__enter__()
        rig = ChatRig(tmp_path, [f"127.0.0.1:{w.port}" for w in (failing, healthy)], model=ALIAS)
        rig.http.timeout = 120
        try:
            for _ in range(40):  # until one of them meets the device
                assert rig.post(**ASK).status_code == 200, "the other worker answers"
                if "engine state=failed" in failing.log.read_text():
                    break
            wait_until(lambda: not failing.is_alive(), 60, "it ends")
            assert failing.child.returncode == 1
            log = failing.log.read_text()
            assert 'engine state=failed reason="cuda: ' in log and FAILURES[fails] in log
            wait_until(lambda: not rig.is_up(0), 20, "it is seen down")
            assert rig.post(**ASK).status_code == 200
        finally:
            rig.close()
        failing.assert_no_report()
        failing.http.close()
