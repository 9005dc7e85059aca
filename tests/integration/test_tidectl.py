"""tidectl from an operator's side: what it prints, its exit codes, what it leaves in the audit log."""
import json

import pytest

from conftest import new_folder
from tide.scripted import ScriptedWorker
from tide.stack import Stack


@pytest.fixture(scope="module")
def pair():
    """Two gateways on one database and one Redis, one scripted worker."""
    with Stack(new_folder()) as s:
        s.start_postgres()
        s.start_redis()
        s.start_outbox()
        worker = ScriptedWorker()
        for _ in range(2):
            settings = s.settings()
            settings["chat"]["workers"] = [{"name": "w1", "target": worker.target, "models": ["m"]}]
            s.start_gateway(settings)
        yield s
        worker.stop()


def ctl(pair, *words, code: int = 0):
    done = pair.gateways[0].ctl(*words, check=False)
    assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done


def ask(pair, *words) -> dict:
    return json.loads(ctl(pair, "-o", "json", *words).stdout)


# --- policy -------------------------------------------------------------------------------------------


def test_policy_set_get_history_rollback(pair):
    first = ask(pair, "policy", "get")
    ctl(pair, "policy", "set", "mainland-phone-only", "--reason", "attack 17")
    second = ask(pair, "policy", "get")
    assert second["version"] > first["version"]
    assert (second["name"], second["reason"]) == ("mainland-phone-only", "attack 17")
    done = ctl(pair, "policy", "rollback", str(first["version"]), "--reason", "over")
    assert done.stdout == "policy rolled back\n"
    third = ask(pair, "policy", "get")
    assert third["version"] > second["version"] and third["name"] == first["name"]
    history = ask(pair, "policy", "history")["items"]
    assert [row["version"] for row in history[:3]] == [third["version"], second["version"], first["version"]]
