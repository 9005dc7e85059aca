"""The launch day in short: everything at once, and nobody with an account notices (tests/chaos/launch-day)."""
import json
import os
import subprocess
import sys

from tide.stack import BUILD, ROOT, WORKER_BUILD


def test_a_launch_day(tmp_path):
    found = tmp_path / "day.json"
    done = subprocess.run([sys.executable, ROOT / "tests" / "chaos" / "launch-day", "--short", "--json", found], text=True,
                          capture_output=True, timeout=400,
                          env={**os.environ, "TIDE_BUILD": str(BUILD), "TIDE_WORKER_BUILD": str(WORKER_BUILD)})
    assert found.exists(), done.stdout + done.stderr
    day = json.loads(found.read_text())
    rows = {row["phase"]: row for row in day["rows"]}
    # who has an account was never refused, whatever they did
    assert day["existing_ok"] == day["existing"] and min(day["existing"].values()) >= 10, day["counts"]
    assert day["sent"] <= day["budget"] and day["budget_left"] >= 0, day
    # the table is of a day on which something happened
    assert rows["surge"]["allowed"] > 0 and rows["surge"]["refused"] > 0, day["counts"]
    assert rows["pumping"]["challenged"] > 0 and rows["pumping"]["pumping"] > 20, day["counts"]
    assert all("abroad allowed" not in result for result in day["counts"]["mainland newcomers"]), day["counts"]
    told = day["commands"]["mainland-phone-only"]
    assert told["fleet_s"] <= 5 and told["page_s"] <= 15, told
    assert day["ramp"]["state"] == "done" and day["ramp"]["percent"] == 100, day["ramp"]
