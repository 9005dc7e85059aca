"""The file of packed weights: workers of one machine share it, and start whatever is in its place."""
import fcntl
import os
import signal

import pytest

from tide.process import wait_until
from tide.stack import model_file
from tide.worker import Worker, tool


@pytest.fixture
def model(tmp_path):
    """A name of the model in a folder of its own."""
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "m.gguf").symlink_to(model_file())
    return folder / "m.gguf"


def packed(model):
    return model.with_name("m.gguf.tide-packed")


def resident(worker, path) -> dict:
    """Bytes of a file that a process has mapped: in memory (Rss), and its share of them (Pss)."""
    sums, is_it = {"Rss": 0, "Pss": 0}, False
    for line in open(f"/proc/{worker.child.pid}/smaps"):
        name, *rest = line.split()
        if not name.endswith(":"):
            is_it = line.rstrip().endswith(str(path))
        elif is_it and name[:-1] in sums:
            sums[name[:-1]] += int(rest[0]) * 1024
    return sums


def test_workers_that_start_at_once_share_what_one_writes(tmp_path, model):
    """One was killed while it wrote. Two that start together then have one file between them, and one copy in memory."""
    killed = Worker(tmp_path, "--context", "256", "--threads", "1", model=model, name="killed")
    killed.start()
    wait_until(lambda: list(model.parent.glob("*.tide-packed*")), 60, "it writes", every=0.001)
    killed.child.send_signal(signal.SIGKILL)
    killed.child.wait()
    two = [Worker(tmp_path, "--context", "256", "--threads", "1", model=model, name=f"worker-{i}") for i in range(2)]
    two[0].start()
    with two[1]:
        wait_until(two[0].is_ready, 120, "the other is ready", every=0.1)
        answers = [w.complete("Tides rise and", max_tokens=8, temperature=0).json()["choices"][0]["text"] for w in two]
        assert answers[0] and answers[0] == answers[1]
        assert sorted(p.name for p in model.parent.iterdir()) == ["m.gguf", "m.gguf.tide-packed"]
        size = packed(model).stat().st_size
        for w in two:
            assert "weights=mapped" in w.tail()
            weights = [w.metric(f'tide_worker_weights_bytes{{place="{place}"}}') for place in ("mapped", "private")]
            assert weights == [size - 64, 0]  # all but the header
            memory = resident(w, packed(model))
            assert memory["Rss"] > 0.9 * size and memory["Pss"] < 0.6 * size, (memory, size)
        two[0].__exit__(None)
    assert f"{size / 2**20:8.1f} MiB  {packed(model)}" in tool("inspect", model).stdout.decode()


def test_a_damaged_file_in_a_folder_that_cannot_be_written(tmp_path, model):
    """The worker says so, packs for itself, serves, and leaves the file alone."""
    packed(model).write_bytes(b"TIDEPACK" + bytes(1000))
    model.parent.chmod(0o555)
    worker = Worker(tmp_path, "--context", "256", model=model)
    if os.geteuid() == 0:  # what root may do whatever a folder's mode
        worker.command = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override", *worker.command]
    with worker:
        said = worker.tail()
        assert "weights state=unusable" in said and "1008 bytes, expected" in said
        assert "weights state=private" in said and "Permission denied" in said
        assert "weights=private" in said
        assert worker.metric('tide_worker_weights_bytes{place="mapped"}') == 0
        assert worker.metric('tide_worker_weights_bytes{place="private"}') > 50e6
        assert worker.complete("Tides rise and", max_tokens=4).status_code == 200
    assert packed(model).stat().st_size == 1008 and len(list(model.parent.iterdir())) == 2
    model.parent.chmod(0o755)


def test_it_can_be_stopped_while_it_waits_for_another_who_writes(tmp_path, model):
    with open(f"{packed(model)}.new", "w") as writers:
        fcntl.flock(writers, fcntl.LOCK_EX)
        worker = Worker(tmp_path, "--context", "256", model=model)
        worker.start()
        wait_until(lambda: "weights state=waiting" in worker.tail(), 60, "it waits")
        assert worker.stop(20) == 0
    worker.assert_no_report()


def test_a_file_past_the_limit_of_files_is_done_without(tmp_path, model):
    worker = Worker(tmp_path, "--context", "256", model=model)
    worker.command = ["prlimit", f"--fsize={2**20}:{2**20}", *worker.command]
    with worker:
        assert "weights=private" in worker.tail() and "File too large" in worker.tail()
    assert not packed(model).exists()
