"""tide-worker over two emulated CUDA devices that share a model, behind a gateway: it says what the CPU's worker says; a
rank that is lost or never comes ends its worker, and the gateway asks another one; what cannot be shared is refused."""
import subprocess

import pytest

from tide.chat_rig import ChatRig
from tide.process import wait_until
from tide.tiny_model import write_tiny_model
from tide.worker import ALIAS, Worker

from test_worker_device import EMULATED, ENV, text_of

ASK = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 12, "temperature": 0}
SMALL = ["--slots", "2", "--context", "128"]
DEATHS = {"device-lost:150@1": ("60s", "rank 1 of 2: cuda: "),
          "collective-hangs:20": ("3s", "no end after 3000 ms: ")}

pytestmark = pytest.mark.skipif(not EMULATED.exists(), reason="this build has no emulator")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.gguf")


def shared(folder, model, *options, fails="") -> Worker:
    return Worker(folder, "--device", "cuda", "--tensor-parallel-size", "2", *SMALL, *options, model=model, path=EMULATED,
                  name="ranks", env={**ENV, "TIDE_EMU_DEVICES": "2", "TIDE_EMU_FAIL": fails})


def test_two_devices_say_what_the_cpu_says(tmp_path, model):
    with Worker(tmp_path, *SMALL, model=model) as cpu, shared(tmp_path, model) as ranks:
        assert 'ranks=2 backend=cuda device="emulated' in ranks.log.read_text()
        rig = ChatRig(tmp_path, [f"127.0.0.1:{ranks.port}"], model=ALIAS, first_byte="10m", idle="10m")
        rig.http.timeout = 600
        try:
            said = text_of(rig.read_stream(**ASK))
        finally:
            rig.close()
        assert said == cpu.chat("Hi", **ASK).json()["choices"][0]["message"]["content"]
        assert len(said) == ASK["max_tokens"] and len(set(said)) > 2 and said.islower(), said


@pytest.mark.parametrize("fails", DEATHS)
def test_a_rank_that_dies_ends_its_worker_alone(tmp_path, model, fails):
    patience, words = DEATHS[fails]
    with Worker(tmp_path, *SMALL, model=model) as healthy:
        dying = shared(tmp_path, model, "--collective-timeout", patience, fails=fails)
        dying.__enter__()
        rig = ChatRig(tmp_path, [f"127.0.0.1:{w.port}" for w in (dying, healthy)], model=ALIAS)
        rig.http.timeout = 120
        try:
            def ended():
                assert rig.post(**ASK).status_code == 200, "the other worker answers"
                return not dying.is_alive()
            wait_until(ended, 90, "a request met the devices and the worker is gone")
            assert dying.child.returncode == 1
            assert words in dying.log.read_text()
            wait_until(lambda: not rig.is_up(0), 20, "it is seen down")
            assert rig.post(**ASK).status_code == 200
        finally:
            rig.close()
        dying.assert_no_report()
        dying.http.close()


@pytest.mark.parametrize("ranks,words", [("3", "4 query heads do not divide among 3 devices"),
                                         ("4", "4 devices are wanted, 3 can be used"),
                                         ("9", "--tensor-parallel-size: expected 1 to 8")])
def test_what_cannot_be_shared(tmp_path, model, ranks, words):
    done = subprocess.run([EMULATED, "--model", model, "--listen", f"unix:{tmp_path}/w", "--tensor-parallel-size", ranks],
                          capture_output=True, text=True, timeout=120, env={**ENV, "TIDE_EMU_DEVICES": "3"})
    assert done.returncode != 0
    assert words in done.stderr
