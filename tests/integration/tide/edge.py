"""Starts tests/fixtures/edge_server and talks to it in raw bytes, so that tests can break HTTP on purpose."""
import atexit
import json
import os
import re
import select
import signal
import socket
import ssl
import subprocess
import time
from pathlib import Path

import h2.config
import h2.connection
import h2.events
from hyperframe.frame import GoAwayFrame, RstStreamFrame

ROOT = Path(__file__).resolve().parents[3]
BUILD = Path(os.environ.get("TIDE_BUILD", ROOT / "build" / "dev"))


def make_certificate(folder):
    """A P-256 certificate for localhost: (certificate file, key file)."""
    key, cert = folder / "key.pem", folder / "cert.pem"
    if not cert.exists():
        subprocess.run(["openssl", "req", "-new", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                        "-nodes", "-keyout", key, "-out", cert, "-days", "30", "-subj", "/CN=localhost",
                        "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"], check=True, capture_output=True)
        key.chmod(0o600)
    return cert, key


class Edge:
    """One running edge_server. Stops by pid; a test fails if it did not end cleanly."""

    def __init__(self, folder, tls=False, listen="127.0.0.1:0", loops=1, certificates=(), more=(), files=None,
                 **limits):
        """files: descriptors that the server may have; None: as many as we."""
        self.cert = None
        args = ["prlimit", f"--nofile={files}"] if files else []
        args += [str(BUILD / "tests" / "edge_server"), "--listen", listen, "--loops", str(loops), *more]
        if tls:
            self.cert, key = make_certificate(folder)
            certificates = [(self.cert, key)]
        for cert, key in certificates:
            args += ["--cert", str(cert), "--key", str(key)]
        for name, value in limits.items():
            args += ["--limit", f"{name}={value}"]
        self.stderr = open(folder / "edge.err", "w+")
        self.process = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=self.stderr, text=True)
        atexit.register(self.process.kill)  # a test that failed before stop()
        line = self.process.stdout.readline()
        assert line.startswith("listening "), self.errors()
        self.address = line.split()[1]
        self.port = int(self.address.rsplit(":", 1)[1]) if listen.startswith("127") else None
        self.tls = tls

    def errors(self):
        self.stderr.seek(0)
        return self.stderr.read()

    def stop(self, sig=signal.SIGTERM, within=10):
        if self.process.poll() is None:
            self.process.send_signal(sig)
        code = self.process.wait(within)
        assert code == 0, f"edge_server ended with {code}: {self.errors()}"
        return code

    def connect(self, alpn=None, timeout=10):
        """A connected socket, in TLS when the server is."""
        if self.address.startswith("unix:"):
            s = socket.socket(socket.AF_UNIX)
            s.connect(self.address[5:])
        else:
            s = socket.create_connection(("127.0.0.1", self.port))
        s.settimeout(timeout)
        if not self.tls:
            return s
        context = ssl.create_default_context(cafile=str(self.cert))
        if alpn:
            context.set_alpn_protocols([alpn])
        return context.wrap_socket(s, server_hostname="localhost")

    def rss_kb(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1))

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def cpu_s(self):
        ticks = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")

    def get(self, path):
        """Status and body of one fresh HTTP/1.1 request."""
        with self.connect() as s:
            s.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            return split_answer(read_all(s))

    def finishes(self):
        return json.loads(self.get("/finishes")[2])

    def metric(self, line_start):
        """Value of the first metric line that starts so; 0 when there is none."""
        for line in self.get("/metrics")[2].decode().splitlines():
            if line.startswith(line_start):
                return float(line.rsplit(" ", 1)[1])
        return 0.0


def read_all(s):
    data = b""
    try:
        while chunk := s.recv(65536):
            data += chunk
    except (ConnectionResetError, ssl.SSLError):
        pass
    return data


def split_answer(data):
    """(status, fields, body) of the first answer; the body is all that follows."""
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    fields = {}
    for line in lines[1:]:
        name, _, value = line.partition(": ")
        fields[name] = value
    status = int(lines[0].split()[1]) if lines[0] else 0
    return status, fields, body


def wait_until(check, seconds=5.0, what="condition"):
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, f"{what} did not come true in {seconds} s"
        time.sleep(0.02)


class H2:
    """An HTTP/2 client that sends what it is told, also when that is wrong."""

    def __init__(self, edge, **settings):
        self.sock = edge.connect(alpn="h2")
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8", validate_outbound_headers=False,
                                           normalize_outbound_headers=False)
        self.conn = h2.connection.H2Connection(config)
        self.conn.initiate_connection()
        self.events = []
        self.frames = []
        self.rest = b""
        self.closed = False
        self.flush()

    def flush(self):
        data = self.conn.data_to_send()
        if data:
            self.sock.sendall(data)

    def raw(self, frame):
        self.sock.sendall(frame if isinstance(frame, bytes) else frame.serialize())

    def request(self, path, method="GET", fields=(), body=None, end=True, pseudo=None):
        stream = self.conn.get_next_available_stream_id()
        names = {":method": method, ":scheme": "https", ":authority": "localhost", ":path": path, **(pseudo or {})}
        head = [*names.items(), *fields]
        self.conn.send_headers(stream, head, end_stream=end and body is None)
        if body is not None:
            self.conn.send_data(stream, body, end_stream=end)
        self.flush()
        return stream

    def poll(self, seconds=0.2):
        """Reads until nothing comes for a while."""
        end = time.monotonic() + seconds
        while not self.closed and (left := end - time.monotonic()) > 0:
            pending = getattr(self.sock, "pending", lambda: 0)()
            if not pending and not select.select([self.sock], [], [], left)[0]:
                break
            try:
                data = self.sock.recv(65536)
            except (ConnectionError, ssl.SSLError):
                data = b""
            if not data:
                self.closed = True
                break
            self.take(data)
        return self.events

    def take(self, data):
        """Frames one by one; GOAWAY is kept from h2, which would not look at anything after it."""
        self.rest += data
        while len(self.rest) >= 9 and len(self.rest) >= 9 + (n := int.from_bytes(self.rest[:3], "big")):
            frame, self.rest = self.rest[:9 + n], self.rest[9 + n:]
            self.frames.append(frame)
            if frame[3] == GoAwayFrame.type:
                continue
            try:
                self.events += self.conn.receive_data(frame)
                self.flush()
            except Exception:  # h2 refuses what a broken client provoked: the raw frames are kept
                pass

    def wait_for(self, kind, stream=None, seconds=5.0):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for e in self.events:
                if isinstance(e, kind) and (stream is None or e.stream_id == stream):
                    return e
            if self.closed:
                break
            self.poll(0.1)
        raise AssertionError(f"no {kind.__name__}; closed {self.closed}; {self.events[-5:]}")

    def has_answer(self, stream):
        return any(isinstance(e, h2.events.ResponseReceived) and e.stream_id == stream for e in self.events)

    def status(self, stream):
        return int(dict(self.wait_for(h2.events.ResponseReceived, stream).headers)[":status"])

    def body(self, stream):
        self.wait_for(h2.events.StreamEnded, stream)
        return b"".join(e.data for e in self.events if isinstance(e, h2.events.DataReceived) and e.stream_id == stream)

    def raw_frames(self, cls):
        """All frames of a type that were received, by their raw bytes."""
        found = []
        for data in self.frames:
            if data[3] == cls.type:
                frame, _ = cls.parse_frame_header(memoryview(data[:9]))
                frame.parse_body(memoryview(data[9:]))
                found.append(frame)
        return found

    def goaway_code(self):
        frames = self.raw_frames(GoAwayFrame)
        return frames[-1].error_code if frames else None

    def reset_codes(self):
        return [f.error_code for f in self.raw_frames(RstStreamFrame)]

    def close(self):
        self.sock.close()
