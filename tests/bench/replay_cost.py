#!/usr/bin/env python3
"""How long a replay takes: a million kept attempts, read from a private PostgreSQL, against a policy of some rules.

    TIDE_BUILD=build/release build/venv/bin/python tests/bench/replay_cost.py [--attempts 1000000]

Prints the seconds of `tidectl policy replay`, and the gateway's CPU time of them."""
import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))
from tide.stack import Stack  # noqa: E402

FILL = """
INSERT INTO signup_attempts
SELECT i, now() - i * interval '10 ms', 1 + i % 7, 'otp', CASE WHEN i % 3 = 0 THEN 'allow' ELSE 'deny' END, 1, 'default',
    CASE WHEN i % 3 = 0 THEN '' ELSE 'signup_region_not_allowed' END,
    json_build_object('method', 'phone', 'phone_country', (ARRAY['CN', 'HK', 'US', 'GB'])[1 + i % 4],
        'phone_prefix', (ARRAY['+861380013', '+85251234', '+120255', '+4474001'])[1 + i % 4], 'phone_type', 'mobile',
        'phone_virtual', i % 50 = 0, 'ramp', i % 10000, 'ip_country', (ARRAY['CN', 'HK', 'SG'])[1 + i % 3], 'asn', 4134,
        'platform', 'ios', 'app_version', '2.10.0.0'),
    sha256(i::text::bytea), 'k' FROM generate_series(0, ATTEMPTS - 1) i;
ANALYZE signup_attempts;
"""


def policy() -> dict:
    rules = [{"id": f"net{i}", "when": {"asn": [i]}, "effect": "deny", "reason": "signup_disabled"} for i in range(1, 20)]
    rules.append({"id": "virtual", "when": {"phone_virtual": True}, "effect": "deny", "reason": "signup_disabled"})
    rules.append({"id": "near", "when": {"phone_country": ["CN", "HK"], "ip_country": ["CN", "HK"]}, "effect": "allow"})
    rules.append({"id": "some", "when": {"app_version": {"at_least": "2.9"}}, "effect": "allow", "ramp_percent": 10})
    return {"name": "bench", "rules": rules, "default": {"effect": "deny", "reason": "signup_closed"}, "existing_users": "unaffected"}


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--attempts", type=int, default=1_000_000)
    n = ask.parse_args().attempts
    with tempfile.TemporaryDirectory(prefix="tide-", dir="/tmp") as folder, Stack(Path(folder)) as s:
        s.start_servers()
        gateway = s.start_gateway()
        subprocess.run(["psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-d", s.postgres.uri(), "-c", FILL.replace("ATTEMPTS", str(n))], check=True)
        document = Path(folder) / "policy.json"
        document.write_text(json.dumps(policy()))
        began, cpu = time.monotonic(), cpu_seconds(gateway.process.pid)
        said = json.loads(gateway.ctl("-o", "json", "policy", "replay", "-f", str(document), "-n", str(n)).stdout)
        seconds, used = time.monotonic() - began, cpu_seconds(gateway.process.pid) - cpu
        assert said["attempts"] == n and said["unreadable"] == 0, said
        print(f"attempts {n}  seconds {seconds:.1f}  cpu_seconds {used:.1f}  us_each {seconds / n * 1e6:.1f}"
              f"  changed {sum(c['attempts'] for c in said['changes'])}")


if __name__ == "__main__":
    main()
