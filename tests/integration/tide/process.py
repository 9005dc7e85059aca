"""One child process: started with a log file, ended by its pid, its log searched for sanitizer reports."""
import collections
import ctypes
import os
import random
import re
from signal import SIGKILL, SIGTERM
import socket
import subprocess
import time
from pathlib import Path

REPORT = re.compile(r"ERROR: (Address|Leak)Sanitizer|runtime error:|WARNING: ThreadSanitizer|BUG: |^crash signal=", re.MULTILINE)


# Ours for as long as the next 200 ports take, so that no other process of the tests is given one before its server has it.
# Below the ports that the kernel gives to clients, none of whom can take one either.
ports_held = collections.deque(maxlen=200)
FIRST_PORT, LAST_PORT = 12000, 21999


def free_port(*others: int) -> int:
    """One that nobody listens on, nor on those so many ports above it."""
    while True:
        port = random.SystemRandom().randint(FIRST_PORT, LAST_PORT)
        held = socket.socket(socket.AF_UNIX)
        try:
            held.bind(f"\0tidegate-tests/port/{port}")
            for other in (0, *others):
                with socket.socket() as s:
                    s.bind(("127.0.0.1", port + other))
        except OSError:
            held.close()
            continue
        ports_held.append(held)
        return port


def wait_until(check, seconds: float, what: str, every: float = 0.05):
    """The first true value of check(); exceptions count as false."""
    deadline = time.monotonic() + seconds
    last = None
    while time.monotonic() < deadline:
        try:
            value = check()
            if value:
                return value
        except Exception as error:  # noqa: BLE001 - whatever it is, it is "not yet"
            last = error
        time.sleep(every)
    raise AssertionError(f"not within {seconds} s: {what} ({last!r})")


def can_connect(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=1):
        return True


class Adopted:
    """What subprocess.Popen is to a child, for the process that a child of ours started in its own place."""

    def __init__(self, pid: int):
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Once its parent has ended it is our child, and we learn how it ended."""
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                self.returncode = os.waitstatus_to_exitcode(status) if pid else None
            except ChildProcessError:
                self.returncode = None if Path(f"/proc/{self.pid}").exists() else 0
        return self.returncode

    def wait(self, seconds: float) -> int:
        deadline = time.monotonic() + seconds
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), seconds)
            time.sleep(0.02)
        return self.returncode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(SIGKILL)


def adopt_orphans() -> None:
    """PR_SET_CHILD_SUBREAPER: processes whose parents have ended become children of this one."""
    assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0


class Process:
    def __init__(self, name: str, command: list, folder: Path, env: dict | None = None, user: str | None = None):
        self.name = name
        self.command = [str(part) for part in command]
        self.folder = folder
        self.log = folder / f"{name}.log"
        self.env = {**os.environ, **(env or {})}
        self.user = user
        self.child: subprocess.Popen | None = None

    def start(self) -> "Process":
        assert self.child is None or self.child.poll() is not None, f"{self.name} runs already"
        with open(self.log, "ab") as log:
            self.child = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env, user=self.user,
                group=self.user, extra_groups=[] if self.user else None, cwd=self.folder, start_new_session=True)
        return self

    @property
    def pid(self) -> int:
        return self.child.pid

    def is_alive(self) -> bool:
        return self.child is not None and self.child.poll() is None

    def send(self, number: int) -> None:
        self.child.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        self.child.kill()
        self.child.wait(10)

    def stop(self, seconds: float = 30, number: int = SIGTERM) -> int:
        """Asks it to end; its exit status. Nothing to do when it has ended."""
        if self.child is None:
            return 0
        if self.child.poll() is None:
            self.child.send_signal(number)
            try:
                self.child.wait(seconds)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait(10)
                raise AssertionError(f"{self.name} did not end within {seconds} s of signal {number}; log: {self.tail()}")
        return self.child.returncode

    def tail(self, lines: int = 40) -> str:
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def assert_no_report(self) -> None:
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        found = REPORT.search(text)
        assert not found, f"{self.name} reported:\n{text[max(0, found.start() - 200):found.start() + 4000]}"

    def rss_kb(self) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        return 0

    def open_files(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def tasks(self) -> list[Path]:
        """Its threads: each folder has `comm`, the thread's name."""
        return list(Path(f"/proc/{self.pid}/task").iterdir())
