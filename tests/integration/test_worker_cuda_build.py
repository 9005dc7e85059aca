"""tide-worker as it is built for devices, where nvcc and NCCL are installed: the kernels, their tests for devices and the
program compile and link with warnings as errors; on a machine without a device the program falls back or ends with the
runtime's words, and the tests for devices are skipped, not passed."""
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tide.stack import BUILD, ROOT
from tide.tiny_model import write_tiny_model
from tide.worker import Worker

NVCC = shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")
CUDA = BUILD / "cuda"
NO_DEVICE = re.compile(r"cuda: looking for (a )?devices?: (CUDA driver version is insufficient|no CUDA-capable device)")

pytestmark = pytest.mark.skipif(
    not NVCC or not (Path(os.path.realpath(NVCC or "")).parents[1] / "include" / "nccl.h").exists(),
    reason="skipped: nvcc or NCCL is not installed")


def run(*command, timeout=900, **options) -> subprocess.CompletedProcess:
    return subprocess.run([str(c) for c in command], cwd=ROOT, capture_output=True, text=True, timeout=timeout, **options)


@pytest.fixture(scope="module")
def worker():
    """For one architecture; tests/kernels/compiled has the others."""
    steps = [("cmake", "--preset", "release", "-B", CUDA, "-DTIDE_CUDA=ON", "-DTIDE_WERROR=ON", "-DCMAKE_CUDA_ARCHITECTURES=90"),
             ("cmake", "--build", CUDA, "-j", os.cpu_count(), "--target", "tide-worker", "device_tests")]
    for step in steps:
        done = run(*step)
        assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return CUDA / "bin" / "tide-worker"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.gguf")


@pytest.fixture
def no_device(worker):
    if run(CUDA / "tests" / "device_present").returncode == 0:
        pytest.skip("there is a device")


def test_a_device_that_must_be_there(tmp_path, worker, model, no_device):
    for options in ["--device", "cuda"], ["--tensor-parallel-size", "2"]:
        done = run(worker, "--model", model, "--listen", f"unix:{tmp_path}/w", *options, timeout=120)
        assert done.returncode == 1, done.stderr
        assert NO_DEVICE.search(done.stderr), done.stderr


def test_without_a_device_the_cpu_serves(tmp_path, worker, model, no_device):
    with Worker(tmp_path, "--device", "auto", "--context", "128", model=model, path=worker) as w:
        assert w.chat("Hi", max_tokens=2, temperature=0).status_code == 200
        log = w.log.read_text()
        assert "level=warn" in log and "worker device=cpu reason=" in log and NO_DEVICE.search(log), log
        assert "backend=cpu" in log


def test_tests_for_devices_are_skipped(worker, no_device):
    done = run("ctest", "--test-dir", CUDA, "-L", "gpu")
    outcomes = re.findall(r"Test +#\d+: device_\w+ \.*[* ]*(\w+)", done.stdout)
    assert len(outcomes) >= 12 and set(outcomes) == {"Skipped"}, done.stdout


def test_one_command_for_a_machine_with_a_device(worker, no_device):
    before = list((ROOT / "docs").rglob("*"))
    done = run("tests/kernels/on-device", env={**os.environ, "TIDE_DEVICE_BUILD": str(CUDA)})
    assert done.returncode == 77 and "skipped: no device (" in done.stdout, done.stdout + done.stderr
    assert list((ROOT / "docs").rglob("*")) == before, "no page of a device that is not there"
