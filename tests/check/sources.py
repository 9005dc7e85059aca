"""The tree's own source files, and C text without comments and strings. Used by the checks beside this file."""

import os
import re
import subprocess
import sys

sys.dont_write_bytecode = True

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
C_ENDINGS = (".c", ".h", ".cc", ".cu", ".cuh")
SKIPPED = ("build", "var", ".git", ".venv", ".cache")


def _walk():
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [f for f in folders if not (folder == ROOT and f.startswith(SKIPPED))]
        for name in names:
            yield os.path.relpath(os.path.join(folder, name), ROOT)


def _git():
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard"],
        capture_output=True, text=True)
    return listed.stdout.splitlines() if listed.returncode == 0 else None


def files(endings):
    """Paths below the root, sorted: what git knows or would take; every file where there is no git."""
    try:
        names = _git()
    except FileNotFoundError:
        names = None
    return sorted(n for n in (_walk() if names is None else names)
                  if n.endswith(endings) and os.path.isfile(os.path.join(ROOT, n)))


def read(name):
    with open(os.path.join(ROOT, name), encoding="utf-8") as f:
        return f.read()


_NOISE = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)


def code(text):
    """C text with comments, strings and characters blanked; lines keep their numbers."""
    def blank(match):
        return "".join(c if c == "\n" else " " for c in match.group(0))
    return _NOISE.sub(blank, text)
