"""PostgreSQL and Redis, private: data in a temporary folder, unix sockets (and a loopback port for Redis)."""
import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

from .process import Process, free_port, wait_until


def postgres_programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    assert found, "no PostgreSQL server is installed"
    return found[-1].parent


class Postgres:
    """Refuses root, so root runs it as the user postgres."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.user = "postgres" if os.getuid() == 0 else None
        folder.mkdir(parents=True)
        if self.user:
            shutil.chown(folder, self.user, self.user)
        programs = postgres_programs()
        subprocess.run([programs / "initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8",
                        "--locale=C.UTF-8", "--no-sync"], check=True, capture_output=True, user=self.user,
                       group=self.user, extra_groups=[] if self.user else None, cwd=folder)
        self.process = Process("postgres", [
            programs / "postgres", "-D", folder / "data", "-k", folder, "-c", "listen_addresses=",
            "-c", "shared_buffers=32MB", "-c", "max_connections=60", "-c", "synchronous_commit=on", "-c", "fsync=off"],
            folder, user=self.user)

    def uri(self, user: str = "postgres", database: str = "postgres") -> str:
        return f"postgresql:///{database}?host={self.folder}&user={user}"

    def start(self) -> "Postgres":
        self.process.start()
        wait_until(lambda: self.query("SELECT 1") == "1", 30, "PostgreSQL answers")
        return self

    def query(self, sql: str, database: str = "postgres") -> str:
        done = subprocess.run(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", self.uri(database=database), "-c", sql],
                              capture_output=True, text=True, timeout=20)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def dump(self) -> str:
        """All data as text, to look for what must not be there."""
        return subprocess.run(["pg_dump", "--data-only", "-d", self.uri()], check=True, capture_output=True, text=True).stdout

    @contextlib.contextmanager
    def holding(self, sql: str, end: str = "ROLLBACK"):
        """A transaction that has run this and stays open; how it ends."""
        psql = subprocess.Popen(["psql", "-XAtq", "-d", self.uri()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        psql.stdin.write(f"BEGIN; {sql}; SELECT 'held';\n")
        psql.stdin.flush()
        while psql.stdout.readline().strip() != "held":
            pass
        try:
            yield
        finally:
            psql.communicate(f"{end};\n", timeout=10)

    def kill(self) -> None:
        """SIGKILL to the postmaster and all its children, as the kernel would when memory is out."""
        children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True)
        self.process.kill()
        for pid in children.stdout.split():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                pass
        (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)

    def stop(self) -> None:
        self.process.stop(number=signal.SIGINT)


class Redis:
    def __init__(self, folder: Path):
        folder.mkdir(parents=True)
        self.folder = folder
        self.port = free_port()
        self.process = Process("redis", [
            "redis-server", "--port", self.port, "--bind", "127.0.0.1", "--unixsocket", folder / "redis.sock", "--dir", folder,
            "--save", "", "--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction"], folder)

    def start(self) -> "Redis":
        self.process.start()
        wait_until(lambda: self.command("PING") == "PONG", 20, "Redis answers")
        return self

    def command(self, *words: str) -> str:
        done = subprocess.run(["redis-cli", "-p", str(self.port), *words], capture_output=True, text=True, timeout=10)
        return done.stdout.strip()

    def kill(self) -> None:
        self.process.kill()

    def stop(self) -> None:
        self.process.stop()
