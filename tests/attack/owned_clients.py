"""Clients whose requests own their bytes: they compare all that comes back, and break off now and then."""
import json
import socket
import ssl

import frames
from frames import HELLO, frame, get, head
from hpack import Decoder
from owners import bytes_of, path_of

PATIENCE = 30
STREAMS = 20


class Client:
    alpn = "http/1.1"

    def __init__(self, name, rng, target, done: dict, trouble: list):
        self.name, self.rng, self.target, self.done, self.trouble = name, rng, target, done, trouble
        self.sock: ssl.SSLSocket | None = None
        self.number = 0
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname, self.context.verify_mode = False, ssl.CERT_NONE
        self.context.set_alpn_protocols([self.alpn])

    def connect(self) -> None:
        raw = socket.create_connection(("127.0.0.1", self.target.port), timeout=PATIENCE)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = self.context.wrap_socket(raw, server_hostname="localhost")

    def close(self) -> None:
        if self.sock:
            self.sock.close()
        self.sock = None

    def owner(self) -> str:
        self.number += 1
        self.done["asked"] += 1
        return f"{self.name}-{self.number}-{self.rng.randrange(1 << 32):08x}"

    def size(self) -> int:
        return self.rng.choice((0, 1, 100, 100, 100, 2000, 2000, 17000, 70000, 150000))

    def delay(self) -> int:
        return self.rng.choice((0, 0, 0, 0, 0, 0, 0, 1, 5, 20))

    def wish(self) -> tuple[str, str, bytes, bool]:
        """Owner, path, what must come, and whether the upstream will break it off: never an empty answer, since that would be
        whole, and an upload that meets the kept connection as it closes may not be sent again (502)."""
        owner, n = self.owner(), self.size()
        cut = n > 0 and self.rng.random() < 0.01
        return owner, path_of(owner, n, self.delay(), cut), bytes_of(owner, n), cut

    def compare(self, owner: str, said: str | None, body: bytes, wanted: bytes, whole: bool) -> None:
        if said not in (owner, None) or body != wanted[:len(body)] or (whole and len(body) != len(wanted)):
            at = next((i for i, (a, b) in enumerate(zip(body, wanted)) if a != b), min(len(body), len(wanted)))
            self.trouble.append(f"{owner} ({len(wanted)} bytes) got x-owner {said}, {len(body)} bytes, other at {at}: {body[at:at + 80]!r}")
        self.done["whole" if whole else "broken"] += 1

    def chat(self, owner: str) -> bytes:
        return json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": owner}]}).encode()

    def compare_chat(self, owner: str, body: bytes) -> None:
        events = [line[6:] for line in body.split(b"\n") if line.startswith(b"data: {")]
        said = {json.loads(e)["choices"][0]["delta"]["content"] for e in events} | {json.loads(e)["id"] for e in events}
        if said != {owner} or len(events) != 4:
            self.trouble.append(f"chat of {owner} got {body[:300]!r}")
        self.done["whole"] += 1


class H1Client(Client):
    def __init__(self, *args):
        super().__init__(*args)
        self.file = None

    def connect(self) -> None:
        super().connect()
        self.file = self.sock.makefile("rb")

    def round(self) -> None:
        if not self.sock:
            self.connect()
        how = self.rng.choices((self.pipelined, self.upload, self.talk, self.abandon_upload, self.abandon_answer), (10, 5, 2, 1, 1))[0]
        how()

    def read_answer(self) -> tuple[int, dict[str, str], bytes, bool]:
        """Status, fields, body, and whether it is whole."""
        line = self.file.readline()
        if not line:
            return 0, {}, b"", False
        fields = {}
        while (field := self.file.readline().strip()):
            name, _, value = field.decode().partition(": ")
            fields[name] = value
        if "chunked" in fields.get("transfer-encoding", ""):
            body, whole = self.read_chunks()
        else:
            n = int(fields.get("content-length", 0))
            body = self.file.read(n)
            whole = len(body) == n
        return int(line.split()[1]), fields, body, whole

    def read_chunks(self) -> tuple[bytes, bool]:
        body = b""
        while (line := self.file.readline()):
            n = int(line, 16)
            body += self.file.read(n)
            self.file.readline()
            if n == 0:
                return body, True
        return body, False

    def take(self, owner: str, wanted: bytes, cut: bool) -> bool:
        """False: the connection is over."""
        try:
            status, fields, body, whole = self.read_answer()
        except OSError:
            status, fields, body, whole = 0, {}, b"", False
        if status not in ((200,) if not cut else (0, 200, 502)) and status != 0:
            self.trouble.append(f"{owner}: {status} {body[:200]!r}")
        if status == 502:
            self.done["broken"] += 1
        else:
            self.compare(owner, fields.get("x-owner"), body, wanted, whole)
        if not whole and not cut:
            self.trouble.append(f"{owner}: ended early, status {status}, {len(body)} of {len(wanted)}")
        if not whole or fields.get("connection") == "close":
            self.close()
            return False
        return True

    def pipelined(self) -> None:
        wishes = [self.wish() for _ in range(self.rng.choice((1, 1, 2, 5)))]
        self.sock.sendall(b"".join(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode() for _, path, _, _ in wishes))
        for at, (owner, _, wanted, cut) in enumerate(wishes):
            if not self.take(owner, wanted, cut):
                self.done["broken"] += len(wishes) - at - 1
                return

    def upload(self) -> None:
        owner, path, wanted, cut = self.wish()
        body = bytes_of(owner, self.size())
        start = f"POST {path} HTTP/1.1\r\nhost: localhost\r\n"
        if self.rng.random() < 0.5:
            step = self.rng.choice((7, 300, 20_000)) if len(body) < 20_000 else 20_000
            pieces = [body[at:at + step] for at in range(0, len(body), step)]
            self.sock.sendall(start.encode() + b"transfer-encoding: chunked\r\n\r\n" +
                              b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n")
        else:
            self.sock.sendall(start.encode() + b"content-length: %d\r\n\r\n" % len(body) + body)
        self.take(owner, wanted, cut)

    def talk(self) -> None:
        owner = self.owner()
        body = self.chat(owner)
        self.sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer " + self.target.token +
                          b"\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        status, _, answer, whole = self.read_answer()
        if status == 200 and whole:
            self.compare_chat(owner, answer)
        else:
            self.trouble.append(f"chat of {owner}: {status} {answer[:200]!r}")
            self.close()

    def abandon_upload(self) -> None:
        owner, path, _, _ = self.wish()
        self.sock.sendall(f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 50000\r\n\r\n".encode() + bytes_of(owner, 20_000))
        self.done["broken"] += 1
        self.close()

    def abandon_answer(self) -> None:
        owner, path, wanted, cut = self.wish()
        self.sock.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        self.file.read(self.rng.choice((1, 50, 300)) if len(wanted) > 300 and not cut else 0)
        self.done["broken"] += 1
        self.close()


class Stream:
    def __init__(self, owner: str, wanted: bytes, cut: bool, is_chat: bool = False):
        self.owner, self.wanted, self.cut, self.is_chat = owner, wanted, cut, is_chat
        self.fields: dict[str, str] = {}
        self.body = bytearray()


class H2Client(Client):
    alpn = "h2"

    def connect(self) -> None:
        super().connect()
        self.next, self.rest, self.decoder = 1, b"", Decoder()
        self.open: dict[int, Stream] = {}
        self.reset: set[int] = set()
        self.sock.sendall(HELLO + frames.SettingsFrame(0, settings={4: 1 << 20}).serialize() +
                          frame(frames.WINDOW_UPDATE, 0, 0, (1 << 30).to_bytes(4, "big")))
        self.given = 0

    def round(self) -> None:
        """Twenty streams at once, and all their answers."""
        if not self.sock or self.next > 40_000:
            self.close()
            self.connect()
        try:
            for _ in range(STREAMS):
                self.sock.sendall(self.begin())
            while self.open:
                self.read()
        except OSError as error:
            self.trouble.append(f"h2 {self.name}: {error!r}")
            self.close()

    def begin(self) -> bytes:
        s, self.next = self.next, self.next + 2
        dice = self.rng.random()
        if dice < 0.08:
            owner = self.owner()
            body = self.chat(owner)
            self.open[s] = Stream(owner, b"", False, is_chat=True)
            fields = [(b"authorization", b"Bearer " + self.target.token), (b"content-length", b"%d" % len(body))]
            return get(s, head(b"/v1/chat/completions", b"POST", fields), end=False) + frame(frames.DATA, 1, s, body)
        owner, path, wanted, cut = self.wish()
        if dice < 0.16:  # opened, half sent, reset
            self.done["broken"] += 1
            self.reset.add(s)
            return (get(s, head(path.encode(), b"POST"), end=False) + frame(frames.DATA, 0, s, bytes_of(owner, 300)) +
                    frame(frames.RST_STREAM, 0, s, (8).to_bytes(4, "big")))
        self.open[s] = Stream(owner, wanted, cut)
        if dice < 0.3:
            body = bytes_of(owner, self.rng.choice((0, 10, 900, 2500)))
            return get(s, head(path.encode(), b"POST"), end=False) + b"".join(
                frame(frames.DATA, 0, s, body[at:at + 500]) for at in range(0, len(body), 500)) + frame(frames.DATA, 1, s)
        return get(s, head(path.encode()))

    def read(self) -> None:
        piece = self.sock.recv(65536)
        if not piece:
            raise ConnectionError(f"closed with {len(self.open)} streams open")
        found, self.rest = frames.split(self.rest + piece)
        for kind, flags, s, payload in found:
            self.take(kind, flags, s, payload)
        if self.given > 1 << 28:
            self.sock.sendall(frame(frames.WINDOW_UPDATE, 0, 0, self.given.to_bytes(4, "big")))
            self.given = 0

    def take(self, kind: int, flags: int, s: int, payload: bytes) -> None:
        if kind in (frames.SETTINGS, frames.PING) and not flags & frames.ACK:
            self.sock.sendall(frame(kind, frames.ACK, 0, payload if kind == frames.PING else b""))
        if kind == frames.GOAWAY:
            raise ConnectionError(f"GOAWAY {payload[4:8].hex()}")
        if kind == frames.HEADERS:
            fields = dict(self.decoder.decode(payload))
            if s in self.open:
                self.open[s].fields = fields
        if kind == frames.DATA:
            self.given += len(payload)
            if s in self.open:
                self.open[s].body += payload
            elif s not in self.reset:
                self.trouble.append(f"DATA on stream {s}, which nobody waits for")
        if s in self.open and (kind == frames.RST_STREAM or (kind in (frames.DATA, frames.HEADERS) and flags & frames.END_STREAM)):
            self.end(self.open.pop(s), whole=kind != frames.RST_STREAM)
        elif s in self.open and kind == frames.DATA and self.rng.random() < 0.01 and not self.open[s].is_chat:
            one = self.open.pop(s)
            self.reset.add(s)
            self.compare(one.owner, one.fields.get("x-owner"), bytes(one.body), one.wanted, whole=False)
            self.sock.sendall(frame(frames.RST_STREAM, 0, s, (8).to_bytes(4, "big")))

    def end(self, one: Stream, whole: bool) -> None:
        status = one.fields.get(":status", "0")
        if one.is_chat and whole and status == "200":
            self.compare_chat(one.owner, bytes(one.body))
        elif one.cut and (status == "502" or not whole):
            self.done["broken"] += 1
        elif status != "200" or not whole:
            self.trouble.append(f"{one.owner}: {status} whole {whole} {bytes(one.body[:200])!r}")
        else:
            self.compare(one.owner, one.fields.get("x-owner"), bytes(one.body), one.wanted, whole)
