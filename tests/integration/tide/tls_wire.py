"""TLS below the library: the bytes of a ClientHello, their JA4 computed apart from the server's code, a relay that sees
and cuts what a client sends, and a TLS 1.3 client that encrypts whatever records a test wants."""
import hashlib
import socket
import ssl
import struct
import threading

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

HANDSHAKE, ALERT, DATA, CHANGE_CIPHER = 22, 21, 23, 20


def record(kind: int, body: bytes, version: int = 0x0301) -> bytes:
    return struct.pack("!BHH", kind, version, len(body)) + body


def extension(kind: int, body: bytes) -> bytes:
    return struct.pack("!HH", kind, len(body)) + body


def hello(extensions: bytes = b"", ciphers=(0x1301, 0xC02B)) -> bytes:
    """A ClientHello message; only as good as its extensions."""
    suites = b"".join(struct.pack("!H", c) for c in ciphers)
    body = b"\x03\x03" + bytes(32) + b"\x00" + struct.pack("!H", len(suites)) + suites + b"\x01\x00"
    body += struct.pack("!H", len(extensions)) + extensions
    return b"\x01" + len(body).to_bytes(3, "big") + body


def first_message(data: bytes) -> bytes:
    """The first handshake message of what a client sent, put together from its records; empty while it is not whole."""
    joined, at = b"", 0
    while len(data) >= at + 5 and data[at] == HANDSHAKE:
        n = int.from_bytes(data[at + 3:at + 5], "big")
        joined += data[at + 5:at + 5 + n]
        at += 5 + n
    if len(joined) < 4 or len(joined) < 4 + int.from_bytes(joined[1:4], "big"):
        return b""
    return joined[:4 + int.from_bytes(joined[1:4], "big")]


# --- JA4 -------------------------------------------------------------------------------------------------

GREASE = {i << 12 | 0xA00 | i << 4 | 0xA for i in range(16)}
VERSIONS = {0x304: "13", 0x303: "12", 0x302: "11", 0x301: "10", 0x300: "s3"}


def numbers(data: bytes) -> list[int]:
    return [v for (v,) in struct.iter_unpack("!H", data) if v not in GREASE]


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12] if text else "0" * 12


def ja4(message: bytes) -> str:
    at = 4 + 2 + 32
    at += 1 + message[at]
    n = int.from_bytes(message[at:at + 2], "big")
    ciphers = numbers(message[at + 2:at + 2 + n])
    at += 2 + n
    at += 1 + message[at] + 2
    kinds, bodies = [], {}
    while at < len(message):
        kind, n = struct.unpack("!HH", message[at:at + 4])
        if kind not in GREASE:
            kinds.append(kind)
            bodies[kind] = message[at + 4:at + 4 + n]
        at += 4 + n
    version = max(numbers(bodies[43][1:])) if 43 in bodies else int.from_bytes(message[4:6], "big")
    alpn = bodies.get(16, b"")[3:3 + bodies.get(16, b"\0\0\0")[2]]
    ends = "00" if not alpn else chr(alpn[0]) + chr(alpn[-1])
    if not (ends.isascii() and ends.isalnum()):
        ends = alpn.hex()[0] + alpn.hex()[-1]
    algorithms = ",".join(f"{v:04x}" for v in numbers(bodies.get(13, b"")[2:]))
    told = ",".join(f"{v:04x}" for v in sorted(kinds) if v not in (0, 16))
    return (f"t{VERSIONS.get(version, '00')}{'d' if 0 in bodies else 'i'}{min(len(ciphers), 99):02}{min(len(kinds), 99):02}"
            f"{ends}_{digest(','.join(f'{c:04x}' for c in sorted(ciphers)))}"
            f"_{digest(told + ('_' + algorithms if algorithms and told else ''))}")


# --- a relay ---------------------------------------------------------------------------------------------


class Relay:
    """Between one client and the server: keeps what the client sends first, and with piece > 0 cuts the records that
    carry it into pieces of so many bytes, each sent by itself."""

    def __init__(self, port: int, piece: int = 0):
        self.target, self.piece = port, piece
        self.first = b""
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        client, _ = self.listener.accept()
        server = socket.create_connection(("127.0.0.1", self.target))
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while not first_message(self.first):
                self.first += client.recv(65536)
            for data in self._pieces():
                server.sendall(data)
            threading.Thread(target=self._copy, args=(server, client), daemon=True).start()
            self._copy(client, server)
        except OSError:
            pass

    def _pieces(self) -> list[bytes]:
        if not self.piece:
            return [self.first]
        message = first_message(self.first)
        return [record(HANDSHAKE, message[at:at + self.piece]) for at in range(0, len(message), self.piece)]

    @staticmethod
    def _copy(source: socket.socket, to: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                to.sendall(data)
            to.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    @property
    def ja4(self) -> str:
        return ja4(first_message(self.first))


# --- records of one's own --------------------------------------------------------------------------------


def expand(secret: bytes, label: str, n: int) -> bytes:
    name = b"tls13 " + label.encode()
    info = struct.pack("!HB", n, len(name)) + name + b"\x00"
    return HKDFExpand(algorithm=hashes.SHA256(), length=n, info=info).derive(secret)


class RawTls13:
    """A handshake by the library; from then on this class encrypts, so that a test may send what no library would."""

    def __init__(self, port: int, folder):
        keylog = folder / "keys.log"
        keylog.unlink(missing_ok=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.set_alpn_protocols(["http/1.1"])
        context.keylog_filename = str(keylog)
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.settimeout(5)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        library = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
        while True:
            try:
                library.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.sock.sendall(outgoing.read())
                incoming.write(self.sock.recv(65536))
        self.sock.sendall(outgoing.read())
        assert library.cipher()[0] == "TLS_AES_128_GCM_SHA256", library.cipher()
        secrets = [line.split()[2] for line in keylog.read_text().splitlines() if line.startswith("CLIENT_TRAFFIC_SECRET_0 ")]
        self.use(bytes.fromhex(secrets[-1]))

    def use(self, secret: bytes) -> None:
        self.secret, self.sequence = secret, 0
        self.cipher, self.iv = AESGCM(expand(secret, "key", 16)), expand(secret, "iv", 12)

    def seal(self, kind: int, body: bytes) -> bytes:
        inner = body + bytes([kind])
        head = struct.pack("!BHH", DATA, 0x0303, len(inner) + 16)
        nonce = bytes(a ^ b for a, b in zip(self.iv, self.sequence.to_bytes(12, "big")))
        self.sequence += 1
        return head + self.cipher.encrypt(nonce, inner, head)

    def key_update(self, wants_answer: bool = False) -> bytes:
        data = self.seal(HANDSHAKE, b"\x18\x00\x00\x01" + bytes([wants_answer]))
        self.use(expand(self.secret, "traffic upd", 32))
        return data

    def closes(self, data: bytes = b"") -> bool:
        """Sends, then reads until the end; false when the server waits for more."""
        try:
            self.sock.sendall(data)
            while self.sock.recv(65536):
                pass
        except ConnectionError:
            pass
        except TimeoutError:
            return False
        return True
