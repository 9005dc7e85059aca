"""HTTP/2 in raw frames. Heads use no dynamic table (indexed and never-indexed fields only), so that a block can be
built once and sent on any stream of any connection."""
import struct

from hyperframe.frame import (ContinuationFrame, DataFrame, ExtensionFrame, GoAwayFrame, HeadersFrame, PingFrame,
                              PriorityFrame, RstStreamFrame, SettingsFrame, WindowUpdateFrame)

__all__ = ["ContinuationFrame", "DataFrame", "ExtensionFrame", "GoAwayFrame", "HeadersFrame", "PingFrame", "PriorityFrame",
           "RstStreamFrame", "SettingsFrame", "WindowUpdateFrame", "HELLO", "field", "head", "frame", "get", "split"]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HELLO = PREFACE + SettingsFrame(0).serialize()
END_STREAM, END_HEADERS, ACK = 1, 4, 1
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9


def _text(value: bytes) -> bytes:
    """A string literal without Huffman code; its length as a 7-bit-prefix integer."""
    n = len(value)
    if n < 127:
        return bytes([n]) + value
    n -= 127
    out = bytearray([127])
    while n >= 128:
        out.append(n % 128 + 128)
        n //= 128
    return bytes(out + bytes([n])) + value


def field(name: bytes, value: bytes) -> bytes:
    """A literal that is never indexed."""
    return b"\x10" + _text(name) + _text(value)


def head(path: bytes = b"/x/small", method: bytes = b"GET", fields=(), authority: bytes = b"localhost") -> bytes:
    pseudo = ((b":method", method), (b":scheme", b"https"), (b":authority", authority), (b":path", path))
    return b"".join(field(name, value) for name, value in (*pseudo, *fields))


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def get(stream: int, block: bytes, end: bool = True) -> bytes:
    return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, block)


def split(data: bytes) -> tuple[list[tuple[int, int, int, bytes]], bytes]:
    """(type, flags, stream, payload) of the whole frames, and the rest."""
    found = []
    while len(data) >= 9 and len(data) >= 9 + (n := int.from_bytes(data[:3], "big")):
        found.append((data[3], data[4], int.from_bytes(data[5:9], "big") & 0x7FFFFFFF, data[9:9 + n]))
        data = data[9 + n:]
    return found, data
