"""Redis as fleets have it: with TLS, behind Sentinels, as a Cluster. Private ports, data in temporary folders."""
import functools
import subprocess
from contextlib import ExitStack
from pathlib import Path

from .process import Process, free_port, wait_until


def cli(port: int, *words, check: bool = False) -> str:
    done = subprocess.run(["redis-cli", "-p", str(port), *map(str, words)], capture_output=True, text=True, timeout=60)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def calls(port: int, command: str = "evalsha") -> int:
    """How often a server has run a command."""
    for line in cli(port, "INFO", "commandstats").splitlines():
        if line.startswith(f"cmdstat_{command}:calls="):
            return int(line.split("=")[1].split(",")[0])
    return 0


def stop_all(whatever: list) -> None:
    """Also those behind one that does not end by itself."""
    with ExitStack() as stack:
        for one in reversed(whatever):
            stack.callback(one.stop)


def stopped_on_failure(start):
    """Whoever fails to start leaves nothing behind: nobody will have it to stop it."""
    @functools.wraps(start)
    def start_or_stop(self):
        try:
            return start(self)
        except BaseException:
            self.stop()
            raise
    return start_or_stop


class Server:
    """One redis-server on a loopback port, without persistence."""

    def __init__(self, folder: Path, port: int, *options):
        folder.mkdir(parents=True, exist_ok=True)
        self.port = port
        self.process = Process(f"redis-{port}", [
            "redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", folder, "--dbfilename", f"{port}.rdb",
            "--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0", *options], folder)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @stopped_on_failure
    def start(self) -> "Server":
        self.process.start()
        wait_until(lambda: cli(self.port, "PING") == "PONG", 60, f"{self.address} answers")
        return self

    def stop(self) -> None:
        self.process.stop()

    def role(self) -> str:
        return cli(self.port, "ROLE").split("\n")[0]


class TlsServer:
    """Speaks TLS only, and asks for client certificates; the certificate is the stack's, for localhost."""

    def __init__(self, folder: Path, ca: Path, cert: Path, key: Path, client: dict):
        self.port = free_port()
        self.proof = ["--tls", "--cacert", ca, "--cert", client["cert_file"], "--key", client["key_file"]]
        folder.mkdir(parents=True)
        self.process = Process("redis-tls", [
            "redis-server", "--port", "0", "--tls-port", self.port, "--bind", "127.0.0.1", "--dir", folder, "--save", "",
            "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", ca, "--tls-auth-clients", "yes"], folder)

    @stopped_on_failure
    def start(self) -> "TlsServer":
        self.process.start()
        wait_until(lambda: self.cli("PING") == "PONG", 60, "Redis with TLS answers")
        return self

    def stop(self) -> None:
        self.process.stop()

    def cli(self, *words) -> str:
        done = subprocess.run(["redis-cli", "-h", "localhost", "-p", str(self.port), *map(str, [*self.proof, *words])],
                              capture_output=True, text=True, timeout=20)
        return done.stdout.strip()


class Sentinels:
    """One primary, two replicas, three Sentinels; a primary that is silent for `down_ms` is replaced."""

    def __init__(self, folder: Path, down_ms: int = 300):
        folder.mkdir(parents=True)
        first = free_port()
        self.servers = [Server(folder, first)] + [
            Server(folder, free_port(), "--replicaof", "127.0.0.1", first) for _ in range(2)]
        self.ports = [free_port() for _ in range(3)]
        self.watchers = []
        for port in self.ports:
            conf = folder / f"sentinel-{port}.conf"
            conf.write_text(f"port {port}\nbind 127.0.0.1\ndir {folder}\nsentinel monitor tide 127.0.0.1 {first} 2\n"
                            f"sentinel down-after-milliseconds tide {down_ms}\nsentinel failover-timeout tide 2000\n"
                            "sentinel parallel-syncs tide 2\n")
            self.watchers.append(Process(f"sentinel-{port}", ["redis-server", conf, "--sentinel"], folder))

    @stopped_on_failure
    def start(self) -> "Sentinels":
        for server in self.servers:
            server.start()
        wait_until(lambda: all("master_link_status:up" in cli(server.port, "INFO", "replication")
                               for server in self.servers[1:]), 60, "the replicas follow")
        for watcher in self.watchers:
            watcher.start()
        for port in self.ports:
            wait_until(lambda: cli(port, "SENTINEL", "CKQUORUM", "tide").startswith("OK 3") and
                       len(cli(port, "SENTINEL", "REPLICAS", "tide").split("runid\n")) == 3, 60, "the Sentinels know all")
        return self

    @property
    def settings(self) -> dict:
        return {"sentinels": [f"127.0.0.1:{port}" for port in self.ports], "master": "tide"}

    def primary(self, sentinel: int | None = None) -> Server:
        """As a Sentinel says; the last one is never killed here."""
        port = int(cli(sentinel or self.ports[-1], "SENTINEL", "get-master-addr-by-name", "tide").split()[1])
        return next(server for server in self.servers if server.port == port)

    def stop(self) -> None:
        stop_all(self.watchers + self.servers)


class Cluster:
    """Three primaries with a replica each; a node that is silent for `down_ms` is replaced."""

    def __init__(self, folder: Path, replicas: int = 1, down_ms: int = 1000):
        self.servers = [
            Server(folder / str(i), free_port(10000), "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf",
                   "--cluster-node-timeout", down_ms, "--cluster-require-full-coverage", "no") for i in range(3 * (1 + replicas))]
        self.replicas = replicas

    @stopped_on_failure
    def start(self) -> "Cluster":
        for server in self.servers:
            server.start()
        done = subprocess.run(["redis-cli", "--cluster", "create", *[server.address for server in self.servers],
                               "--cluster-replicas", str(self.replicas), "--cluster-yes"], capture_output=True, text=True,
                              timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        for server in self.servers:
            wait_until(lambda: "cluster_state:ok" in cli(server.port, "CLUSTER", "INFO") and
                       cli(server.port, "CLUSTER", "NODES").count("\n") == len(self.servers) - 1, 60, "the cluster is up")
        wait_until(lambda: sum(cli(server.port, "INFO", "replication").count("master_link_status:up")
                               for server in self.servers) == 3 * self.replicas, 60, "the replicas follow")
        wait_until(self.agrees, 60, "the nodes agree about the slots")
        return self

    def agrees(self) -> bool:
        return subprocess.run(["redis-cli", "--cluster", "check", self.servers[0].address], capture_output=True,
                              timeout=60).returncode == 0

    @property
    def settings(self) -> dict:
        return {"cluster": [server.address for server in self.servers[:2]]}

    def primaries(self) -> list[Server]:
        return [server for server in self.servers if server.process.is_alive() and server.role() == "master"]

    def id_of(self, server: Server) -> str:
        return cli(server.port, "CLUSTER", "MYID")

    def move(self, slots: int, source: Server, target: Server) -> None:
        cli(source.port, "--cluster", "reshard", source.address, "--cluster-from", self.id_of(source), "--cluster-to",
            self.id_of(target), "--cluster-slots", slots, "--cluster-yes", check=True)
        wait_until(self.agrees, 60, "the nodes agree about the slots that moved")

    def keys(self) -> list[str]:
        return [key for server in self.primaries() for key in cli(server.port, "KEYS", "*").split()]

    def stop(self) -> None:
        stop_all(self.servers)
