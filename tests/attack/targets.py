"""The servers under attack: Tidegate and its peers, each on one core, in front of the same upstream, with the limits that
they come with."""
import ctypes
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
TICKS = os.sysconf("SC_CLK_TCK")
PR_SET_PDEATHSIG = 1
PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024
SANITIZERS = {"ASAN_OPTIONS": "detect_leaks=1:exitcode=99:quarantine_size_mb=1:thread_local_quarantine_size_kb=64:malloc_context_size=2",
              "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1:exitcode=99"}


def free_port() -> int:
    """Below those that the kernel gives to connections: there are thousands of them."""
    while True:
        with socket.socket() as s:
            try:
                s.bind(("0.0.0.0", port := random.randrange(12000, 32000)))
                return port
            except OSError:
                continue


class Target:
    """One server in a folder of its own. Stops by pid."""
    program = ""
    package = ""

    def __init__(self, folder: Path, site: "Site"):
        self.folder, self.site = folder, site
        folder.mkdir(parents=True, exist_ok=True)
        # The honest client has an upstream of its own, so that what slows it down is the target.
        self.port, self.upstream, self.probed = free_port(), free_port(), free_port()
        self.token = site.token
        self.child: subprocess.Popen | None = None
        self.log = folder / "log"

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> "Target":
        with open(self.log, "wb") as log:
            self.child = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                                          start_new_session=True, env={**os.environ, **SANITIZERS},
                                          preexec_fn=self.site.in_child)
        until = time.monotonic() + 20
        while time.monotonic() < until and self.is_alive():
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return self
            except OSError:
                time.sleep(0.05)
        raise RuntimeError(f"{self.program} does not listen:\n{self.log.read_text()[-2000:]}")

    def is_alive(self) -> bool:
        return self.child.poll() is None

    def stop(self) -> int:
        """The exit status; children that stayed are ended with it."""
        children = self.pids()[1:]
        if self.is_alive():
            self.child.send_signal(signal.SIGTERM)
        try:
            code = self.child.wait(15)
        except subprocess.TimeoutExpired:
            self.child.kill()
            code = self.child.wait()
        for pid in children:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        return code

    # --- what it costs ----------------------------------------------------------------------------

    def pids(self) -> list[int]:
        found = [self.child.pid]
        for pid in found:
            try:
                text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
            except OSError:
                continue
            found += [int(p) for p in text.split()]
        return found

    def rss_kb(self) -> int:
        total = 0
        for pid in self.pids():
            try:
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_KB
            except OSError:
                pass
        return total

    def cpu_s(self) -> float:
        total = 0
        for pid in self.pids():
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                total += int(fields[11]) + int(fields[12])
            except OSError:
                pass
        return total / TICKS

    def counters(self) -> dict[str, float]:
        return {}


class Site:
    """What all targets share: a certificate, a token, and the folder of Tidegate's build."""

    def __init__(self, folder: Path, build: Path, private: bool, hasty: bool):
        self.folder, self.build, self.private, self.hasty = folder, build, private, hasty
        self.core: int | None = None  # where targets run; None: anywhere
        self.cert, self.key = folder / "cert.pem", folder / "key.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                        "-keyout", self.key, "-out", self.cert, "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
                       check=True, capture_output=True)
        self.key.chmod(0o600)
        both = folder / "both.pem"
        both.touch(0o600)
        both.write_bytes(self.cert.read_bytes() + self.key.read_bytes())
        self.keys = folder / "issuer"
        self.keys.mkdir()
        self.token = self.make_token()

    def in_child(self) -> None:
        """Of a target that starts: it ends with us, however we end, and takes its core."""
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if self.core is not None:
            os.sched_setaffinity(0, {self.core})

    def make_token(self) -> bytes:
        import jwt
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        key = ec.generate_private_key(ec.SECP256R1())
        (self.keys / "k1.pem").write_bytes(key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
        now = int(time.time())
        claims = {"iss": "https://issuer.test", "aud": "chat", "sub": "00000000-0000-4000-8000-000000000001", "iat": now,
                  "exp": now + 7200}
        return jwt.encode(claims, key, algorithm="ES256", headers={"kid": "k1"}).encode()


# Deadlines short enough for a test to wait for them; the defaults are what --print-config says.
HASTY = {"handshake": "600ms", "first_byte": "600ms", "header": "600ms", "body": "800ms", "idle": "1s", "send_stall": "800ms",
         "send_min_rate": "1GiB"}


class Tidegate(Target):
    program = "tidegate"

    def __init__(self, folder: Path, site: Site, changes: dict | None = None, threads: int = 1):
        super().__init__(folder, site)
        self.metrics_port = free_port()
        self.threads = threads
        self.changes = changes or {}  # sections that replace ours

    def command(self) -> list[str]:
        addresses = [f"0.0.0.0:{self.port}", f"[::]:{self.port}"] if self.site.private else [f"127.0.0.1:{self.port}"]
        upstream = f"127.0.0.1:{self.upstream}"
        conf = {
            "process": {"threads": self.threads, "state_dir": str(self.folder), "log_level": "warn", "drain": "1s",
                        "access_log": str(self.folder / "access.log")},
            "listeners": [{"name": f"l{n}", "address": address} for n, address in enumerate(addresses)],
            "certificates": [{"cert_file": str(self.site.cert), "key_file": str(self.site.key)}],
            "metrics": {"address": f"127.0.0.1:{self.metrics_port}"},
            "http": HASTY if self.site.hasty else {},
            "issuers": [{"issuer": "https://issuer.test", "audience": "chat", "keys": str(self.site.keys)}],
            "chat": {"workers": [{"name": "w", "target": upstream}]},
            "proxy": {"upstreams": [{"name": "up", "targets": [upstream]},
                                    {"name": "probed", "targets": [f"127.0.0.1:{self.probed}"]}],
                      "routes": [{"name": "x", "path": "/x/", "upstream": "up", "auth": "none"},
                                 {"name": "probe", "path": "/probe", "upstream": "probed", "auth": "none"}]},
        }
        path = self.folder / "tidegate.yaml"
        path.write_text(yaml.safe_dump({**conf, **self.changes}))
        return [str(self.site.build / "bin" / "tidegate"), "-c", str(path)]

    def counters(self) -> dict[str, float]:
        import urllib.request
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line and line[0] != "#")}


class Nginx(Target):
    program = package = "nginx"

    def command(self) -> list[str]:
        listen = "listen 443 ssl http2;".replace("443", str(self.port)) + (
            f" listen [::]:{self.port} ssl http2;" if self.site.private else "")
        f = self.folder
        (f / "nginx.conf").write_text(f"""
worker_processes 1; daemon off; pid {f}/pid; error_log {f}/error.log;
events {{ worker_connections 768; }}
http {{
  access_log {f}/access.log;
  client_body_temp_path {f}/body; proxy_temp_path {f}/proxy; fastcgi_temp_path {f}/f; uwsgi_temp_path {f}/u; scgi_temp_path {f}/s;
  ssl_certificate {self.site.cert}; ssl_certificate_key {self.site.key};
  server {{
    {listen}
    location / {{ proxy_pass http://127.0.0.1:{self.upstream}; }}
    location = /probe {{ proxy_pass http://127.0.0.1:{self.probed}; }}
  }}
}}
""")
        return [shutil.which("nginx"), "-e", f"{f}/error.log", "-c", f"{f}/nginx.conf"]


class Haproxy(Target):
    program = package = "haproxy"

    def command(self) -> list[str]:
        bind = f"ssl crt {self.site.folder}/both.pem alpn h2,http/1.1"
        six = f"bind :::{self.port} v6only {bind}" if self.site.private else ""
        (self.folder / "haproxy.cfg").write_text(f"""
global
  nbthread 1
defaults
  mode http
  timeout connect 5000
  timeout client 50000
  timeout server 50000
frontend f
  bind 0.0.0.0:{self.port} {bind}
  {six}
  use_backend probed if {{ path /probe }}
  default_backend b
backend b
  server s 127.0.0.1:{self.upstream}
backend probed
  server s 127.0.0.1:{self.probed}
""")
        return [shutil.which("haproxy"), "-db", "-f", str(self.folder / "haproxy.cfg")]


class Nghttpx(Target):
    program = "nghttpx"
    package = "nghttp2-proxy"

    def command(self) -> list[str]:
        six = [f"--frontend=::,{self.port}"] if self.site.private else []
        return [shutil.which("nghttpx"), "--conf=/dev/null", f"--frontend=0.0.0.0,{self.port}", *six,
                f"--backend=127.0.0.1,{self.upstream};/", f"--backend=127.0.0.1,{self.probed};/probe", "--workers=1", "--accesslog-file=/dev/null",
                f"--errorlog-file={self.folder}/error.log", str(self.site.key), str(self.site.cert)]


TARGETS: dict[str, type[Target]] = {cls.program: cls for cls in (Tidegate, Nginx, Haproxy, Nghttpx)}
