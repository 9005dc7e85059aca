"""One attack against one target: the honest client beside it, the target's memory and processor, and how it ended."""
import multiprocessing
import os
import threading
import time
import traceback
from dataclasses import asdict, dataclass, field

from attacker import Attack, Attacker
from probe import Probe, Seen
from targets import TARGETS, Site, Target
from upstream import Upstream

forked = multiprocessing.get_context("fork")
CALM_S = 0.5  # of the honest client alone, before the attack
PROBE_ADDRESS = "192.0.2.10"


@dataclass
class Result:
    target: str
    attack: str
    probe_ok: int = 0
    probe_failed: list[str] = field(default_factory=list)
    p50_ms: float = 0
    p99_ms: float = 0
    grew_mb: float = 0  # at most, while it lasted
    kept_mb: float = 0  # two seconds later
    cpu_percent: float = 0
    started: int = 0  # requests that the upstream saw
    left_running: int = 0  # at the upstream, once the attacker was gone
    tally: dict = field(default_factory=dict)
    counters: dict = field(default_factory=dict)  # Tidegate's, that moved
    survived: bool = False
    trouble: str = ""  # what went wrong with the attack itself, or a sanitizer's report

    @property
    def probe_share(self) -> float:
        return self.probe_ok / max(1, self.probe_ok + len(self.probe_failed))


def run_attack(attack: Attack, target: Target, seconds: float, private: bool, few: bool, pipe) -> None:
    attacker = Attacker(target, seconds, private, few)
    if attack.closes and target.site.hasty:
        attacker.held_until += 20
    trouble = ""
    try:
        attack.run(attacker)
    except Exception:  # noqa: BLE001 - told in the table
        trouble = traceback.format_exc()
    pipe.send((attacker.tally(), trouble))
    pipe.close()
    os._exit(0)  # all sockets at once


def run_probe(port: int, source: str, over, pipe) -> None:
    seen = Seen()
    Probe(port, source, seen).run(over.is_set)
    pipe.send(asdict(seen))
    os._exit(0)


class Watch(threading.Thread):
    """The highest memory of a target."""

    def __init__(self, target: Target):
        super().__init__(daemon=True)
        self.target, self.most, self.over = target, target.rss_kb(), threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.05):
            self.most = max(self.most, self.target.rss_kb())


def started_by_attacks(stats: dict) -> int:
    return sum(stats["started"].values())


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else 0.0


class Bout:
    def __init__(self, site: Site, name: str, attack: Attack):
        self.site, self.attack = site, attack
        folder = site.folder / f"{name}-{attack.name.replace(' ', '-')}"
        self.target: Target = TARGETS[name](folder, site)
        self.upstream, self.probed = Upstream(self.target.upstream), Upstream(self.target.probed)
        self.result = Result(name, attack.name)

    def child(self, run, *args):
        ours, theirs = forked.Pipe(False)
        process = forked.Process(target=run, args=(*args, theirs), daemon=True)
        process.start()
        theirs.close()
        return process, ours

    def run(self, seconds: float) -> Result:
        try:
            return self.fight(max(seconds, self.attack.lasts if self.site.hasty else 0))
        finally:
            self.upstream.stop()
            self.probed.stop()

    def fight(self, seconds: float) -> Result:
        target, result = self.target.start(), self.result
        source = PROBE_ADDRESS if self.site.private else "127.0.0.2"
        over = forked.Event()
        probe, heard = self.child(run_probe, target.port, source, over)
        time.sleep(CALM_S)
        before = self.upstream.stats()
        rss, cpu, began, counters = target.rss_kb(), target.cpu_s(), time.monotonic(), target.counters()
        watch = Watch(target)
        watch.start()
        attack, told = self.child(run_attack, self.attack, target, seconds, self.site.private, False)
        patience = seconds + 40
        if told.poll(patience):
            result.tally, result.trouble = told.recv()
        else:
            result.trouble = f"the attacker did not end within {patience} s"
            attack.kill()
        took = time.monotonic() - began
        result.cpu_percent = 100 * (target.cpu_s() - cpu) / took
        watch.over.set()
        watch.join()
        over.set()
        if heard.poll(5):
            self.take_probe(heard.recv())
        probe.kill()
        self.settle(before, counters)
        result.grew_mb, result.kept_mb = (watch.most - rss) / 1024, (target.rss_kb() - rss) / 1024
        self.end()
        return result

    def take_probe(self, seen: dict) -> None:
        r = self.result
        r.probe_ok, r.probe_failed = len(seen["ms"]), seen["failed"]
        r.p50_ms, r.p99_ms = percentile(seen["ms"], 0.5), percentile(seen["ms"], 0.99)

    def settle(self, before: dict, counters: dict) -> None:
        """What is left a moment after the attacker is gone, and whether an honest request passes."""
        r, until = self.result, time.monotonic() + 3
        time.sleep(0.5)
        seen = Seen()
        probe = Probe(self.target.port, PROBE_ADDRESS if self.site.private else "127.0.0.2", seen)
        for turn in range(4):
            probe.once(turn)
        after = self.upstream.stats()
        while after["running"] > 0 and time.monotonic() < until:
            time.sleep(0.1)
            after = self.upstream.stats()
        r.started, r.left_running = started_by_attacks(after) - started_by_attacks(before), after["running"]
        r.survived = self.target.is_alive() and len(seen.ms) > 0
        if self.target.is_alive():
            now = self.target.counters()
            r.counters = {k: v - counters.get(k, 0) for k, v in now.items() if v != counters.get(k, 0) and "_total" in k}

    def end(self) -> None:
        code = self.target.stop()
        log = self.target.log.read_text(errors="replace")
        if self.result.target == "tidegate" and (code != 0 or "Sanitizer" in log or "runtime error" in log or "BUG" in log):
            self.result.trouble += f"ended with {code}: {log[-3000:]}"


def measure_patience(site: Site, name: str, attacks: list[Attack], seconds: float) -> dict[str, dict]:
    """How long a target bears with each slow attack: all of them at once, a few connections each."""
    folder = site.folder / f"{name}-patience"
    target: Target = TARGETS[name](folder, site)
    upstreams = Upstream(target.upstream), Upstream(target.probed)
    target.start()
    children = []
    for attack in attacks:
        ours, theirs = forked.Pipe(False)
        process = forked.Process(target=run_attack, args=(attack, target, seconds, site.private, True, theirs), daemon=True)
        process.start()
        theirs.close()
        children.append((attack, process, ours))
    found = {}
    until = time.monotonic() + seconds + 15
    for attack, process, ours in children:
        if ours.poll(max(0.1, until - time.monotonic())):
            found[attack.name], _ = ours.recv()
        process.kill()
    target.stop()
    for upstream in upstreams:
        upstream.stop()
    return found
