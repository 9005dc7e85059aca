"""The short form of tests/attack/crosstalk: no answer carries another's bytes."""
import json
import subprocess

from tide.stack import BUILD, ROOT

REQUESTS = 16_000


def test_every_byte_comes_to_its_owner():
    done = subprocess.run([ROOT / "tests" / "attack" / "crosstalk", "--requests", str(REQUESTS), "--build", BUILD],
                          capture_output=True, text=True, timeout=300)
    told = json.loads(done.stdout.splitlines()[-1]) if done.stdout else {"trouble": [done.stderr]}
    assert done.returncode == 0 and not told["trouble"], told["trouble"]
    assert told["asked"] >= REQUESTS
    assert told["whole"] > 0.8 * REQUESTS and told["broken"] > 0.03 * REQUESTS, told
