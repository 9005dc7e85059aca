"""A name server for tests: UDP, the real wire format, and every way of not answering."""
import socket
import struct
import threading
import time

A, AAAA = 1, 28
NOERROR, SERVFAIL, NXDOMAIN = 0, 2, 3


def qname(data: bytes, at: int) -> tuple[str, int]:
    labels = []
    while data[at]:
        labels.append(data[at + 1:at + 1 + data[at]])
        at += 1 + data[at]
    return b".".join(labels).decode().lower(), at + 1


class Dns:
    """Names are changed while it runs: dns.set("up.test", a=[...], aaaa=[...], ttl=2) or dns.fail("up.test", how)."""

    def __init__(self):
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.sock.getsockname()[1]
        self.names, self.failing = {}, {}
        self.asked = []  # (time, name, type)
        threading.Thread(target=self.serve, daemon=True).start()

    def set(self, name, a=(), aaaa=(), ttl=60):
        self.names[name] = {A: list(a), AAAA: list(aaaa), "ttl": ttl}
        self.failing.pop(name, None)

    def fail(self, name, how, types=(A, AAAA)):
        """how: nxdomain, servfail, silent, garbage, wrong_id, truncated."""
        self.failing[name] = (how, types)

    def count(self, name, kind=None):
        return sum(n == name and kind in (None, k) for _, n, k in list(self.asked))

    def close(self):
        self.sock.close()

    def serve(self):
        while True:
            try:
                data, peer = self.sock.recvfrom(4096)
            except OSError:
                return
            reply = self.answer(data)
            if reply:
                self.sock.sendto(reply, peer)

    def answer(self, data):
        name, at = qname(data, 12)
        kind = struct.unpack("!H", data[at:at + 2])[0]
        self.asked.append((time.monotonic(), name, kind))
        how, types = self.failing.get(name, ("", ()))
        how = how if kind in types else ""
        if how == "silent":
            return None
        if how == "garbage":
            return data[:2] + b"\x81\x80" + b"\xff" * 40
        record = self.names.get(name)
        code = {"nxdomain": NXDOMAIN, "servfail": SERVFAIL}.get(how, NOERROR if record else NXDOMAIN)
        values = record[kind] if record and code == NOERROR and kind in record else []
        family = socket.AF_INET if kind == A else socket.AF_INET6
        body = b""
        for value in values:
            raw = socket.inet_pton(family, value)
            body += b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, record["ttl"], len(raw)) + raw
        flags = 0x8180 | code | (0x0200 if how == "truncated" else 0)
        mark = data[:2] if how != "wrong_id" else bytes([data[0] ^ 0xFF, data[1]])
        return mark + struct.pack("!HHHHH", flags, 1, len(values), 0, 0) + data[12:at + 4] + body
