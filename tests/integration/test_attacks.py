"""Every attack of tests/attack in a short form, against the sanitizer build: an honest client beside it is served, the limit
that is meant for it ends it and counts, memory stays bounded, and nothing is left running upstream.

The command runs once, on deadlines below a second; each test looks at one attack's result. Broken on purpose, a limit
shows here (for instance h2_charge always true: twenty attacks stay open or start too much)."""
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tide.stack import BUILD, ROOT, program, run

FOLDER = ROOT / "tests" / "attack"
sys.path.insert(0, str(FOLDER))

import attacks  # noqa: E402, F401 - registers them
from attacker import ATTACKS  # noqa: E402


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict[str, dict]:
    file = tmp_path_factory.mktemp("attack") / "results.json"
    done = subprocess.run([FOLDER / "run", "--build", BUILD, "--hasty", "--seconds", "1", "--jobs", "3", "--save", file],
                          capture_output=True, text=True, timeout=400)
    assert file.exists(), done.stdout + done.stderr
    return {r["attack"]: r for r in json.loads(file.read_text())["results"]}


@pytest.mark.parametrize("name", ATTACKS)
def test_tidegate_bears(results, name):
    attack = ATTACKS[name]
    if attack.needs_addresses and name not in results:
        pytest.skip("no network of our own on this machine (unshare --net)")
    r = results[name]
    tally = r["tally"]
    assert r["survived"] and not r["trouble"], r["trouble"]
    assert len(r["probe_failed"]) <= 1 and r["probe_ok"] >= 5, r["probe_failed"]  # one: the machine may be busy
    assert tally["opened"] > 0, "nothing was attacked"
    assert all(tally["cases"].values()), [case for case, refused in tally["cases"].items() if not refused]
    assert r["grew_mb"] < attack.grows_mb, f"{r['grew_mb']:.1f} MiB more"
    assert r["left_running"] <= 0, f"{r['left_running']} requests still run upstream"
    if attack.counter:
        assert r["counters"].get(attack.counter, 0) > 0, f"{attack.counter} did not count: {r['counters']}"
    if attack.closes:  # but what was opened in the last moment
        assert tally["open"] <= attack.late, f"{tally['open']} of {tally['connections']} are still open"
    if attack.starts is not None:
        assert r["started"] <= attack.starts, f"{r['started']} requests went upstream"


def test_the_defaults_are_those_of_the_manual(tmp_path):
    """The limits that the attacks name, as a configuration without any of them has them."""
    conf = tmp_path / "tidegate.yaml"
    conf.write_text("listeners: [{address: '127.0.0.1:1', tls: false}]\n")
    shown = run(program("tidegate"), "-c", conf, "--print-config").stdout
    section = shown.partition("\nhttp:\n")[2]
    for name, value in DEFAULTS.items():
        assert f"\n  {name}: {value}\n" in "\n" + section, name


DEFAULTS = {"handshake": "5s", "first_byte": "5s", "header": "10s", "body": "30s", "body_min_rate": "1KiB", "send_stall": "30s", "send_min_rate": 240,
            "idle": "1m", "h1_header": "16KiB", "h2_header": "32KiB", "fields": 64, "target": "4KiB",
            "connections_per_address": 256, "handshakes_in_flight": 256, "new_connections_per_second": 50, "h2_streams": 100,
            "h2_resets": 100, "h2_control_frames": 200}
