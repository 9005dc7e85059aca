"""HTTP/2 frames that ask for nothing and cost work: one attack for each kind (CVE-2019-9511 to 9518 and their like)."""
import frames
from attacker import attack
from frames import get, head

CLOSED = "tidegate_http_limit_closes_total"

FLOODS = {
    "ping": ("CVE-2019-9512, Ping Flood", frames.frame(frames.PING, 0, 0, b"12345678")),
    "ping answers": ("unasked PING answers", frames.frame(frames.PING, 1, 0, b"12345678")),
    "settings": ("CVE-2019-9515, Settings Flood", frames.SettingsFrame(0, settings={3: 100, 4: 65535}).serialize()),
    "empty settings": ("CVE-2019-9515, without content", frames.SettingsFrame(0).serialize()),
    "priority": ("CVE-2019-9513, Resource Loop", b"".join(frames.frame(2, 0, s, (s ^ 2).to_bytes(4, "big") + b"\x10")
                                                         for s in range(1, 41, 2))),
    "priority update": ("RFC 9218 PRIORITY_UPDATE", frames.frame(16, 0, 0, b"\0\0\0\1u=1")),
    "window update": ("WINDOW_UPDATE of the connection", frames.frame(frames.WINDOW_UPDATE, 0, 0, b"\0\0\0\1")),
    "unknown frames": ("frames of no known type", frames.frame(0xF0, 0, 0)),
    "unknown long frames": ("the same, 16 kB each", frames.frame(0xF0, 0, 0, bytes(16384))),
    "goaway": ("GOAWAY", frames.frame(frames.GOAWAY, 0, 0, bytes(8))),
}


def register(what: str, of: str, one: bytes) -> None:
    def run(a):
        piece = one * max(1, 16000 // len(one))

        def pieces():
            while True:
                yield piece
        a.flood(pieces)
    run.__name__ = what.replace(" ", "_") + "_flood"
    run.__doc__ = f"{what[0].upper()}{what[1:]}, as fast as they are taken."
    attack(of, limit="http.h2_control_frames", counter=CLOSED + '{reason="h2_control_frames"}', closes=True, starts=0)(run)


for _what, (_of, _one) in FLOODS.items():
    register(_what, _of, _one)


@attack("CVE-2019-9518, Empty Frames Flood", limit="http.h2_control_frames", counter=CLOSED + '{reason="h2_control_frames"}',
        closes=True, starts=200)
def empty_data_flood(a):
    """DATA without content and without an end."""
    def pieces():
        yield get(1, head(method=b"POST"), end=False)
        while True:
            yield frames.frame(frames.DATA, 0, 1) * 1000
    a.flood(pieces)


@attack("padding flood", limit="http.h2_control_frames", closes=True, starts=200)
def padding_flood(a):
    """DATA frames that consist of padding."""
    def pieces():
        yield get(1, head(method=b"POST"), end=False)
        while True:
            yield frames.frame(frames.DATA, 8, 1, b"\x01\x00") * 1000
    a.flood(pieces)


@attack("CVE-2019-9516, 0-Length Headers Leak", limit="http.fields", starts=0)
def zero_length_headers(a):
    """Fields whose names and values are empty."""
    block = head() + b"\x10\0\0" * 1000

    def pieces():
        for s in range(1, 1 << 30, 2):
            yield get(s, block)
    a.flood(pieces)


@attack("WINDOW_UPDATE of streams", limit="http.h2_control_frames", counter=CLOSED + '{reason="h2_control_frames"}', closes=True,
        starts=200)
def stream_window_flood(a):
    """Opens the window of one stream, byte by byte."""
    def pieces():
        yield get(1, head(b"/x/hang"))
        while True:
            yield frames.frame(frames.WINDOW_UPDATE, 0, 1, b"\0\0\0\1") * 1000
    a.flood(pieces)


@attack("one-byte DATA", limit="http.h2_control_frames")
def tiny_data(a):
    """An honest body in frames of one byte: ten on the wire for each."""
    def pieces():
        for s in range(1, 1 << 30, 2):
            yield get(s, head(method=b"POST"), end=False)
            for _ in range(30):
                yield frames.frame(frames.DATA, 0, s, b"a") * 1000
            yield frames.frame(frames.DATA, 1, s, b"a")
    a.flood(pieces)
