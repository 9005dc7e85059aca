"""The strict reader of requests beside h11 and llhttp: nothing is accepted or framed differently (tests/fuzz/differential.py)."""
import subprocess
import sys

from tide.edge import BUILD, ROOT


def test_nothing_is_accepted_or_framed_differently():
    run = subprocess.run([sys.executable, str(ROOT / "tests" / "fuzz" / "differential.py"), "--inputs", "40000"],
                         capture_output=True, text=True, timeout=100, env={"TIDE_BUILD": str(BUILD)})
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-2000:]
    assert "0 faults in 40000 inputs" in run.stdout
