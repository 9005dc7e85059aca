"""The results as lines on a terminal, and as the tables of docs/attacks.md."""
import sys

from attacker import Attack

HEAD = (f"{'attack':38} {'target':9} {'probe':>6} {'p99 ms':>7} {'MB':>6} {'kept':>6} {'CPU':>5} {'closed':>7} {'open':>5} "
        f"{'after s':>8} {'starts':>7}")
ORDER = ("tidegate", "nginx", "haproxy", "nghttpx")
FAMILIES = (("connections", "Connections"), ("tls", "TLS"), ("http1", "HTTP/1"), ("http2", "HTTP/2: streams and heads"),
            ("http2_floods", "HTTP/2: frames that ask for nothing"), ("smuggling", "Smuggling"), ("application", "Behind the parser"))


def print_head(private: bool) -> None:
    if not private:
        print("no network of our own here: attacks that need addresses are left out")
    print(HEAD, flush=True)


def print_row(attack: Attack, r) -> None:
    t = r.tally
    after = f"{t['close_s']:.2f}" if t.get("close_s") is not None else "-"
    print(f"{r.attack:38.38} {r.target:9} {100 * r.probe_share:5.1f}% {r.p99_ms:7.1f} {r.grew_mb:6.1f} {r.kept_mb:6.1f} "
          f"{r.cpu_percent:4.0f}% {t.get('closed', 0):7} {t.get('open', 0):5} {after:>8} {r.started:7}", flush=True)
    passed = [name for name, refused in t.get("cases", {}).items() if not refused]
    for line in ([f"not refused: {', '.join(passed)}"] if passed else []) + ([r.trouble] if r.trouble else []) + \
            ([] if r.survived else ["DID NOT SURVIVE"]) + ([f"probe: {r.probe_failed[:2]}"] if r.probe_failed else []):
        print(f"    {line}", flush=True)
    if attack.counter and r.target == "tidegate" and not r.counters.get(attack.counter):
        print(f"    not counted: {attack.counter}", flush=True)


# --- Markdown ---------------------------------------------------------------------------------------------------


def family_of(attack: Attack) -> str:
    return sys.modules[attack.run.__module__].__name__.rpartition(".")[2]


def ended(tally: dict) -> str:
    """How connections of the attacker ended."""
    closed, open_, refused = tally.get("closed", 0), tally.get("open", 0), tally.get("refused", 0)
    if closed and closed >= open_:
        after = tally["close_s"]
        return f"{after:.2f} s" if after >= 0.01 else "at once"
    if open_:
        return "open"
    return "refused" if refused else "-"


def cell(r: dict | None) -> str:
    if not r:
        return "-"
    asked = r["probe_ok"] + len(r["probe_failed"])
    ok = 100 * r["probe_ok"] / max(1, asked)
    cases = r["tally"].get("cases", {})
    refused = f"; refused {sum(cases.values())} of {len(cases)}" if len(cases) > 2 else ""
    text = f"{ok:.4g} %, {r['p99_ms']:.0f} ms; {r['grew_mb']:.1f} MB; {r['cpu_percent']:.0f} %; {ended(r['tally'])}; {r['started']}{refused}"
    return text if r["survived"] else f"**no longer served**; {text}"


def tables(attacks: dict[str, Attack], results: dict, patience: dict) -> str:
    targets = [t for t in ORDER if any(target == t for _, target in results)]
    lines = []
    for family, title in FAMILIES:
        rows = [a for a in attacks.values() if family_of(a) == family]
        lines += [f"### {title}", "", "| Attack | Ended by | " + " | ".join(targets) + " |", "|---|---|" + "---|" * len(targets)]
        for a in rows:
            what = f"**{a.name}** ({a.of}). {a.run.__doc__.strip()}"
            cells = [cell(results.get((a.name, t))) for t in targets]
            lines.append(f"| {what} | {limit(a)} | " + " | ".join(cells) + " |")
        lines.append("")
    lines += ["### How long they bear with it", "", "| Attack | " + " | ".join(targets) + " |", "|---|" + "---|" * len(targets)]
    for a in attacks.values():
        if a.slow:
            lines.append(f"| {a.name} | " + " | ".join(bears(patience.get(t, {}).get(a.name)) for t in targets) + " |")
    return "\n".join(lines) + "\n"


def limit(a: Attack) -> str:
    return f"`{a.limit}`" if a.limit.startswith(("http.", "identify.", "trusted_")) else a.limit


def bears(tally: dict | None) -> str:
    if not tally or not tally["connections"]:
        return "-"
    return f"{tally['close_s']:.1f} s" if tally["closed"] > tally["open"] else "longer"
