"""RFC 9113 section by section, in raw frames: what has to be an error is one, of the right kind, and what is allowed works.
A connection error is a GOAWAY with its code and the end; after a stream error the connection goes on."""
import socket
import struct
import time

import hpack
import pytest
from tide.edge import Edge

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
PRIORITY_UPDATE = 0x10
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 1, 1, 4, 8, 0x20
NO_ERROR, PROTOCOL, INTERNAL, FLOW_CONTROL, TIMEOUT, STREAM_CLOSED, FRAME_SIZE, REFUSED, CANCEL, COMPRESSION = range(10)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
REQUEST = [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/small")]
UPLOAD = [(":method", "POST"), *REQUEST[1:3], (":path", "/echo")]
FOREVER = [*REQUEST[:3], (":path", "/hang")]


def frame(kind, flags=0, stream=0, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def headers(stream=1, fields=REQUEST, flags=END_STREAM | END_HEADERS):
    """Literal fields: the order and the forms are the test's own."""
    out = b""
    for name, value in fields:
        name, value = name.encode(), value.encode("latin-1")
        assert len(name) < 127 and len(value) < 127
        out += b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value
    return frame(HEADERS, flags, stream, out)


def settings(*pairs):
    return frame(SETTINGS, payload=b"".join(struct.pack("!HI", k, v) for k, v in pairs))


def update(stream, n):
    return frame(WINDOW_UPDATE, stream=stream, payload=struct.pack("!I", n))


def rst(stream, code=CANCEL):
    return frame(RST_STREAM, stream=stream, payload=struct.pack("!I", code))


class Peer:
    """A client of frames: sends bytes, collects (type, flags, stream, payload)."""

    def __init__(self, edge, first=settings()):
        self.sock = socket.create_connection(("127.0.0.1", edge.port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rest, self.frames, self.closed = b"", [], False
        self.decoder, self.decoded, self.statuses = hpack.Decoder(), 0, {}
        self.send(PREFACE + first)

    def send(self, *data):
        try:
            self.sock.sendall(b"".join(data))
        except OSError:
            pass

    def read(self, until, seconds=5.0):
        """Until a condition on the frames holds, or the end."""
        end = time.monotonic() + seconds
        while not until(self.frames):
            left = end - time.monotonic()
            if self.closed or left <= 0:
                return False
            self.sock.settimeout(left)
            try:
                data = self.sock.recv(1 << 16)
            except TimeoutError:
                return False
            except OSError:
                data = b""
            self.closed = not data
            self.take(data)
        return True

    def take(self, data):
        self.rest += data
        while len(self.rest) >= 9 and len(self.rest) >= 9 + int.from_bytes(self.rest[:3], "big"):
            n = 9 + int.from_bytes(self.rest[:3], "big")
            f, self.rest = self.rest[:n], self.rest[n:]
            kind, flags, stream, payload = f[3], f[4], int.from_bytes(f[5:9], "big"), f[9:]
            self.frames.append((kind, flags, stream, payload))

    def of(self, kind, stream=None):
        return [f for f in self.frames if f[0] == kind and (stream is None or f[2] == stream)]

    def pong(self, mark=b"12345678"):
        """Everything sent before was handled when this comes back."""
        self.send(frame(PING, payload=mark))
        return self.read(lambda fs: any(f[0] == PING and f[1] & ACK and f[3] == mark for f in fs))

    def status(self, stream):
        """Of the final answer. Header blocks of all streams go through the one decoder, in order."""
        def decode(frames):
            for f in [f for f in frames if f[0] == HEADERS][self.decoded:]:
                self.decoded += 1
                self.statuses.setdefault(f[2], []).append(int(dict(self.decoder.decode(f[3]))[":status"]))
            return any(x >= 200 for x in self.statuses.get(stream, []))
        assert self.read(decode), self.frames
        return self.statuses[stream][-1]

    def ended(self, stream):
        return self.read(lambda fs: any(f[2] == stream and f[0] in (DATA, HEADERS) and f[1] & END_STREAM for f in fs))

    def connection_error(self):
        """The code of the GOAWAY before the end; -1: closed without one; None: it goes on."""
        if self.read(lambda fs: False, 3.0) or not self.closed:
            return None
        goaways = self.of(GOAWAY)
        return struct.unpack("!I", goaways[-1][3][4:8])[0] if goaways else -1

    def stream_error(self, stream):
        self.read(lambda fs: any(f[0] == GOAWAY or (f[0] == RST_STREAM and f[2] == stream) for f in fs))
        resets = self.of(RST_STREAM, stream)
        return struct.unpack("!I", resets[0][3])[0] if resets else None


@pytest.fixture(scope="module")
def edge(tmp_path_factory):
    e = Edge(tmp_path_factory.mktemp("edge"))
    yield e
    e.stop()


def body_of(stream, data=b"x", flags=END_STREAM):
    return frame(DATA, flags, stream, data)


OPEN = headers(1, UPLOAD, END_HEADERS)  # a request that goes on
HELD = headers(1, FOREVER)              # one that is whole and not answered: half-closed (remote)
CUT = headers(1, FOREVER, END_STREAM)   # a header block that goes on

CONNECTION_ERRORS = {
    "3.4 no SETTINGS first": ("raw", frame(PING, payload=b"12345678"), {PROTOCOL}),
    "4.2 DATA past the frame size": (OPEN, body_of(1, b"x" * 16385), {FRAME_SIZE}),
    "4.2 HEADERS past the frame size": (b"", frame(HEADERS, 5, 1, b"\0" * 16385), {FRAME_SIZE}),
    "4.3 a header block that cannot be decoded": (b"", frame(HEADERS, 5, 1, b"\xbf\xff\xff\xff\xff\xff\x0f"), {COMPRESSION}),
    "4.3 an index beyond the table": (b"", frame(HEADERS, 5, 1, b"\xfe"), {COMPRESSION}),
    "4.3 a table size past what we allow": (b"", frame(HEADERS, 5, 1, b"\x3f\xe2\x7f"), {COMPRESSION}),
    "4.3 another frame inside a header block": (CUT, frame(PRIORITY, 0, 3, b"\0\0\0\0\x10"), {PROTOCOL}),
    "4.3 another stream's HEADERS inside one": (CUT, headers(3), {PROTOCOL}),
    "5.1 DATA on an idle stream": (b"", body_of(1), {PROTOCOL, STREAM_CLOSED}),
    "5.1 RST_STREAM on an idle stream": (b"", rst(1), {PROTOCOL}),
    "5.1 WINDOW_UPDATE on an idle stream": (b"", update(1, 100), {PROTOCOL}),
    "5.1 CONTINUATION on an idle stream": (b"", frame(CONTINUATION, 4, 1, b"\x82"), {PROTOCOL}),
    "5.1 DATA on a half-closed stream": (HELD, body_of(1), {STREAM_CLOSED}),
    "5.1 HEADERS on a half-closed stream": (HELD, headers(1), {STREAM_CLOSED, PROTOCOL}),
    "5.1.1 an even stream": (b"", headers(2), {PROTOCOL}),
    "5.5 an unknown frame inside a header block": (CUT, frame(0xF0, 0, 1, b"x"), {PROTOCOL}),
    "6.1 DATA on stream 0": (b"", body_of(0), {PROTOCOL}),
    "6.1 padding longer than the payload": (OPEN, frame(DATA, END_STREAM | PADDED, 1, b"\x06abcd"), {PROTOCOL}),
    "6.2 HEADERS on stream 0": (b"", headers(0), {PROTOCOL}),
    "6.2 padding longer than the block": (b"", frame(HEADERS, END_STREAM | END_HEADERS | PADDED, 1, b"\x09\x82"), {PROTOCOL}),
    "6.3 PRIORITY of 4 bytes": (HELD, frame(PRIORITY, 0, 1, b"\0\0\0\0"), {FRAME_SIZE}),
    "6.3 PRIORITY on stream 0": (b"", frame(PRIORITY, 0, 0, b"\0\0\0\0\x10"), {PROTOCOL}),
    "6.4 RST_STREAM on stream 0": (b"", rst(0), {PROTOCOL}),
    "6.4 RST_STREAM of 3 bytes": (HELD, frame(RST_STREAM, 0, 1, b"\0\0\0"), {FRAME_SIZE}),
    "6.5 SETTINGS ACK with a payload": (b"", frame(SETTINGS, ACK, 0, b"\0" * 6), {FRAME_SIZE}),
    "6.5 SETTINGS on a stream": (b"", frame(SETTINGS, 0, 1), {PROTOCOL}),
    "6.5 SETTINGS of 3 bytes": (b"", frame(SETTINGS, 0, 0, b"\0" * 3), {FRAME_SIZE}),
    "6.5.2 ENABLE_PUSH of 2": (b"", settings((2, 2)), {PROTOCOL}),
    "6.5.2 INITIAL_WINDOW_SIZE past 2^31-1": (b"", settings((4, 0x80000000)), {FLOW_CONTROL}),
    "6.5.2 MAX_FRAME_SIZE below 16384": (b"", settings((5, 16383)), {PROTOCOL}),
    "6.5.2 MAX_FRAME_SIZE past 2^24-1": (b"", settings((5, 0x1000000)), {PROTOCOL}),
    "6.5.2 NO_RFC7540_PRIORITIES of 2": (b"", settings((9, 2)), {PROTOCOL}),
    "6.6 PUSH_PROMISE from a client": (OPEN, frame(PUSH_PROMISE, 4, 1, b"\0\0\0\x02\x82"), {PROTOCOL}),
    "6.7 PING on a stream": (b"", frame(PING, 0, 1, b"12345678"), {PROTOCOL}),
    "6.7 PING of 7 bytes": (b"", frame(PING, 0, 0, b"1234567"), {FRAME_SIZE}),
    "6.8 GOAWAY on a stream": (b"", frame(GOAWAY, 0, 1, b"\0" * 8), {PROTOCOL}),
    "6.9 WINDOW_UPDATE of nothing": (b"", update(0, 0), {PROTOCOL}),
    "6.9 WINDOW_UPDATE of nothing for a stream": (HELD, update(1, 0), {PROTOCOL}),
    "6.9 WINDOW_UPDATE of 3 bytes": (b"", frame(WINDOW_UPDATE, 0, 0, b"\0\0\1"), {FRAME_SIZE}),
    "6.9.1 a window past 2^31-1": (b"", update(0, 0x7FFFFFFF), {FLOW_CONTROL}),
    "6.10 CONTINUATION after the end of the block": (HELD, frame(CONTINUATION, 4, 1, b"\x82"), {PROTOCOL}),
    "6.10 CONTINUATION on stream 0": (CUT, frame(CONTINUATION, 4, 0, b"\x82"), {PROTOCOL}),
    "6.10 DATA before CONTINUATION": (CUT, body_of(1), {PROTOCOL}),
    "RFC 9218 7.1 PRIORITY_UPDATE on a stream": (b"", frame(PRIORITY_UPDATE, 0, 1, b"\0\0\0\1u=1"), {PROTOCOL}),
    "RFC 9218 7.1 PRIORITY_UPDATE of stream 0": (b"", frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\0u=1"), {PROTOCOL}),
    "RFC 9218 7.1 PRIORITY_UPDATE of 3 bytes": (b"", frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0"), {FRAME_SIZE}),
}


@pytest.mark.parametrize("name", CONNECTION_ERRORS)
def test_connection_errors(edge, name):
    before, wrong, codes = CONNECTION_ERRORS[name]
    peer = Peer(edge, b"" if before == "raw" else settings())
    peer.send(b"" if before == "raw" else before, wrong)
    assert peer.connection_error() in codes, peer.frames


def with_fields(*fields, drop=()):
    return [f for f in REQUEST if f[0] not in drop] + list(fields)


STREAM_ERRORS = {
    "6.9.1 a window past 2^31-1": (HELD + update(1, 0x7FFFFFFF), {FLOW_CONTROL}),
    "6.9.2 INITIAL_WINDOW_SIZE that overflows a window": (HELD + update(1, 0x7FFF0000) + settings((4, 0x7FFFFFFF)),
                                                         {FLOW_CONTROL}),
    "8.1 a second HEADERS that does not end the stream": (OPEN + headers(1, [("x", "y")], END_HEADERS), {PROTOCOL}),
    "8.1 a pseudo-field in a trailer": (OPEN + headers(1, [(":path", "/")]), {PROTOCOL}),
    "8.1.1 content-length and no body": (headers(1, [*UPLOAD, ("content-length", "1")]), {PROTOCOL}),
    "8.1.1 less than content-length": (headers(1, [*UPLOAD, ("content-length", "3")], END_HEADERS) + body_of(1, b"xx"),
                                       {PROTOCOL}),
    "8.1.1 more than content-length": (headers(1, [*UPLOAD, ("content-length", "1")], END_HEADERS) + body_of(1, b"xx"),
                                       {PROTOCOL}),
    "8.1.1 more, in two frames": (headers(1, [*UPLOAD, ("content-length", "3")], END_HEADERS) +
                                  body_of(1, b"xx", 0) + body_of(1, b"xx"), {PROTOCOL}),
    "8.2.1 a capital": (headers(1, with_fields(("X-Test", "a"))), {PROTOCOL}),
    "8.2.1 a space in a name": (headers(1, with_fields(("x y", "a"))), {PROTOCOL}),
    "8.2.1 a colon in a name": (headers(1, with_fields(("x:y", "a"))), {PROTOCOL}),
    "8.2.1 CR in a value": (headers(1, with_fields(("x", "a\rb"))), {PROTOCOL}),
    "8.2.1 LF in a value": (headers(1, with_fields(("x", "a\nb"))), {PROTOCOL}),
    "8.2.1 NUL in a value": (headers(1, with_fields(("x", "a\0b"))), {PROTOCOL}),
    "8.2.1 a space before a value": (headers(1, with_fields(("x", " a"))), {PROTOCOL}),
    "8.2.1 a tab behind a value": (headers(1, with_fields(("x", "a\t"))), {PROTOCOL}),
    "8.2.2 connection": (headers(1, with_fields(("connection", "keep-alive"))), {PROTOCOL}),
    "8.2.2 proxy-connection": (headers(1, with_fields(("proxy-connection", "keep-alive"))), {PROTOCOL}),
    "8.2.2 keep-alive": (headers(1, with_fields(("keep-alive", "timeout=5"))), {PROTOCOL}),
    "8.2.2 transfer-encoding": (headers(1, [*UPLOAD, ("transfer-encoding", "chunked")]), {PROTOCOL}),
    "8.2.2 upgrade": (headers(1, with_fields(("upgrade", "websocket"))), {PROTOCOL}),
    "8.2.2 te that is not trailers": (headers(1, with_fields(("te", "trailers, deflate"))), {PROTOCOL}),
    "8.3 an unknown pseudo-field": (headers(1, [*REQUEST, (":test", "a")]), {PROTOCOL}),
    "8.3 a pseudo-field of answers": (headers(1, [*REQUEST, (":status", "200")]), {PROTOCOL}),
    "8.3 a pseudo-field behind a field": (headers(1, [*REQUEST[:3], ("x", "y"), REQUEST[3]]), {PROTOCOL}),
    "8.3.1 two :method": (headers(1, [REQUEST[0], *REQUEST]), {PROTOCOL}),
    "8.3.1 two :path": (headers(1, [*REQUEST, REQUEST[3]]), {PROTOCOL}),
    "8.3.1 two :scheme": (headers(1, [*REQUEST, REQUEST[1]]), {PROTOCOL}),
    "8.3.1 two :authority": (headers(1, [*REQUEST, REQUEST[2]]), {PROTOCOL}),
    "8.3.1 no :method": (headers(1, with_fields(drop=[":method"])), {PROTOCOL}),
    "8.3.1 no :scheme": (headers(1, with_fields(drop=[":scheme"])), {PROTOCOL}),
    "8.3.1 no :path": (headers(1, with_fields(drop=[":path"])), {PROTOCOL}),
    "8.3.1 neither :authority nor host": (headers(1, with_fields(drop=[":authority"])), {PROTOCOL}),
    "8.3.1 a :path that is none": (headers(1, [*REQUEST[:3], (":path", "small")]), {PROTOCOL}),
    "8.3.1 * with GET": (headers(1, [*REQUEST[:3], (":path", "*")]), {PROTOCOL}),
    "8.3.1 an empty :path": (headers(1, [*REQUEST[:3], (":path", "")]), {PROTOCOL}),
    "8.5 CONNECT with a :path": (headers(1, [(":method", "CONNECT"), *REQUEST[1:]]), {PROTOCOL}),
    "8.5 CONNECT without :authority": (headers(1, [(":method", "CONNECT")]), {PROTOCOL}),
    "RFC 8441 extended CONNECT, which we do not announce": (
        headers(1, [(":method", "CONNECT"), (":protocol", "websocket"), *REQUEST[1:]], END_HEADERS), {PROTOCOL}),
}


@pytest.mark.parametrize("name", STREAM_ERRORS)
def test_stream_errors(edge, name):
    wrong, codes = STREAM_ERRORS[name]
    before = edge.finishes()["done"]
    peer = Peer(edge)
    peer.send(wrong)
    assert peer.stream_error(1) in codes, peer.frames
    assert not peer.of(HEADERS, 1)
    peer.send(headers(3))
    assert peer.status(3) == 200 and peer.ended(3)
    assert edge.finishes()["done"] == before + 2  # the look before, and stream 3: nothing of stream 1


ANSWERED = {
    "8.3.1 host and :authority differ": ([*REQUEST, ("host", "other")], 400),
    "8.3.1 :authority with a user": ([*REQUEST[:2], (":authority", "user@localhost"), REQUEST[3]], 400),
    "dot segments": ([*REQUEST[:3], (":path", "/a/../small")], 400),
    "8.5 CONNECT": ([(":method", "CONNECT"), (":authority", "localhost:443")], 501),
    "an expectation that nobody meets": ([*REQUEST, ("expect", "magic")], 417),
    "host alone": (with_fields(("host", "localhost"), drop=[":authority"]), 200),
    "host that is :authority": ([*REQUEST, ("host", "localhost")], 200),
    "te: trailers": ([*REQUEST, ("te", "trailers")], 200),
    "an empty value": ([*REQUEST, ("x", "")], 200),
}


@pytest.mark.parametrize("name", ANSWERED)
def test_answers(edge, name):
    fields, status = ANSWERED[name]
    peer = Peer(edge)
    peer.send(headers(1, fields))
    assert peer.status(1) == status


ALLOWED = {
    "4.1 a frame of an unknown type": frame(0xF0, 0xFF, 0, b"x" * 100),
    "4.1 unknown flags": frame(PING, 0xFE, 0, b"abcdefgh"),
    "4.1 the reserved bit": frame(PING, 0, 0x80000000, b"abcdefgh"),
    "5.1 PRIORITY on an idle stream": frame(PRIORITY, 0, 5, b"\0\0\0\0\x10"),
    "5.3 PRIORITY that depends on itself": frame(PRIORITY, 0, 5, b"\0\0\0\5\x10"),
    "6.5 an unknown setting": settings((0xFF, 1), (0xFFFF, 0xFFFFFFFF)),
    "6.7 an ACK of no PING": frame(PING, ACK, 0, b"abcdefgh"),
    "RFC 9218 PRIORITY_UPDATE of an idle stream": frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\1u=1, i"),
    "RFC 9218 PRIORITY_UPDATE that is malformed": frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\1u=="),
    "a priority field that is malformed": b"",
}


@pytest.mark.parametrize("name", ALLOWED)
def test_what_is_allowed_changes_nothing(edge, name):
    peer = Peer(edge)
    peer.send(ALLOWED[name], headers(1, [*REQUEST, ("priority", "u=9, x=\0".replace("\0", "?1"))]))
    assert peer.status(1) == 200 and peer.ended(1)
    assert len(peer.of(PING)) == (1 if "flags" in name or "reserved" in name else 0)
    assert not peer.of(GOAWAY) and not peer.of(RST_STREAM)


def test_frames_of_a_stream_that_was_reset_are_ignored(edge):
    """5.1: they may have been on their way."""
    peer = Peer(edge)
    peer.send(OPEN, rst(1), body_of(1), update(1, 5), frame(PRIORITY, 0, 1, b"\0\0\0\0\x10"), rst(1), headers(3))
    assert peer.status(3) == 200 and not peer.of(GOAWAY)


@pytest.mark.parametrize("late", [body_of(1, b""), frame(DATA, 0, 1, b""), headers(1), frame(0xF0, 0, 0, b"")],
                         ids=["DATA", "empty DATA", "HEADERS", "unknown frames"])
def test_but_not_without_end(edge, late):
    peer = Peer(edge)
    peer.send(OPEN, rst(1))
    for _ in range(50):
        peer.send(late * 20)
    assert peer.connection_error() == 11  # ENHANCE_YOUR_CALM


def test_settings_are_acknowledged_and_what_we_announce(edge):
    peer = Peer(edge)
    assert peer.read(lambda fs: [f for f in fs if f[0] == SETTINGS and f[1] & ACK])
    ours = next(f[3] for f in peer.of(SETTINGS) if not f[1] & ACK)
    values = dict(struct.unpack("!HI", ours[i:i + 6]) for i in range(0, len(ours), 6))
    assert values[3] == 100 and values[6] == 32768 and values[9] == 1
    assert 8 not in values  # ENABLE_CONNECT_PROTOCOL


def test_ping_comes_back_as_it_was(edge):
    peer = Peer(edge)
    assert peer.pong(b"\0\1\2\3\xff\xfe\xfd\xfc")


def test_a_header_block_in_continuations_and_padding_of_all_kinds(edge):
    peer = Peer(edge)
    whole = headers(1, [*REQUEST, ("x", "y" * 100)])[9:]
    peer.send(frame(HEADERS, END_STREAM, 1, whole[:10]), frame(CONTINUATION, 0, 1, whole[10:20]),
              frame(CONTINUATION, 0, 1, b""), frame(CONTINUATION, END_HEADERS, 1, whole[20:]))
    assert peer.status(1) == 200
    peer.send(frame(HEADERS, END_HEADERS | PADDED | WITH_PRIORITY, 3,
                    b"\x05" + b"\0\0\0\0\x10" + headers(3, UPLOAD)[9:] + b"\0" * 5),
              frame(DATA, PADDED, 3, b"\x03ab" + b"\0" * 3), frame(DATA, PADDED | END_STREAM, 3, b"\x00c"))
    assert peer.status(3) == 200 and peer.ended(3)
    assert b"".join(f[3] for f in peer.of(DATA, 3)) == b"abc"


def test_padding_is_given_back_to_the_windows(edge):
    """6.9.1: it counts, and nobody consumes it but us. More than both windows hold."""
    peer = Peer(edge)
    peer.send(OPEN)
    left = 65535
    for _ in range(600):
        if left < 1001:
            seen = len(peer.of(WINDOW_UPDATE, 1))
            assert peer.read(lambda fs: len([f for f in fs if f[0] == WINDOW_UPDATE and f[2] == 1]) > seen)
            left += sum(int.from_bytes(f[3], "big") for f in peer.of(WINDOW_UPDATE, 1)[seen:])
        peer.send(frame(DATA, PADDED, 1, b"\xff" + b"z" * 745 + b"\0" * 255))
        left -= 1001
    peer.send(body_of(1, b""))
    assert peer.status(1) == 200


def test_a_trailer_is_dropped(edge):
    peer = Peer(edge)
    peer.send(OPEN, body_of(1, b"abc", 0), headers(1, [("x-trailer", "1"), ("host", "other")]))
    assert peer.status(1) == 200 and peer.ended(1) and peer.of(DATA, 1)[0][3] == b"abc"


def test_a_body_that_is_expected_is_asked_for(edge):
    peer = Peer(edge)
    peer.send(headers(1, [*UPLOAD, ("expect", "100-continue")], END_HEADERS))
    assert peer.read(lambda fs: [f for f in fs if f[0] == HEADERS])
    assert dict(hpack.Decoder().decode(peer.of(HEADERS, 1)[0][3]))[":status"] == "100"
    assert not peer.of(HEADERS, 1)[0][1] & END_STREAM
    peer.send(body_of(1, b"now"))
    assert peer.status(1) == 200 and peer.ended(1) and peer.of(DATA, 1)[0][3] == b"now"


def test_initial_window_size_moves_open_streams(edge):
    """6.9.2, also below zero."""
    peer = Peer(edge, settings((4, 10)))
    peer.send(headers(1))
    assert peer.read(lambda fs: [f for f in fs if f[0] == DATA]) and len(peer.of(DATA, 1)[0][3]) == 10
    peer.send(settings((4, 5)))  # the window is -5 now
    assert peer.pong(b"below---")
    peer.send(update(1, 5))      # and 0
    assert peer.pong(b"at zero-") and len(peer.of(DATA, 1)) == 1
    peer.send(settings((4, 15)))
    assert peer.read(lambda fs: len([f for f in fs if f[0] == DATA]) == 2) and len(peer.of(DATA, 1)[1][3]) == 10
    peer.send(settings((4, 1), (4, 1000)))  # the last one counts
    assert peer.ended(1) and sum(len(f[3]) for f in peer.of(DATA, 1)) == 200


def test_no_frame_is_longer_than_the_client_wants(edge):
    peer = Peer(edge, settings((5, 16384), (4, 1 << 20)))
    peer.send(update(0, 1 << 20), headers(1, [*REQUEST[:3], (":path", "/bytes?n=200000")]))
    assert peer.ended(1) and max(len(f[3]) for f in peer.of(DATA, 1)) <= 16384


def test_no_answer_after_goaway_of_the_client_is_lost(edge):
    peer = Peer(edge)
    peer.send(headers(1), headers(3), frame(GOAWAY, 0, 0, struct.pack("!II", 0, 0)))
    assert peer.ended(1) and peer.ended(3)


# --- RFC 9218: whose bytes go first ------------------------------------------------------------------------------------------

BIG = [*REQUEST[:3], (":path", "/bytes?n=300000")]
WIDE = settings((4, 1 << 24))


def order(peer, streams=(1, 3)):
    """The streams of the DATA frames as they came, once all have ended."""
    for s in streams:
        assert peer.ended(s), peer.frames[-3:]
    return [f[2] for f in peer.of(DATA) if f[3]]


def first_end(came, stream):
    """How many bytes' worth of frames of others came before this stream was whole."""
    last = len(came) - 1 - came[::-1].index(stream)
    return sum(s != stream for s in came[:last])


@pytest.mark.parametrize("first, second", [("u=5", "u=1"), ("u=1", "u=5"), ("u=7, i", "u=0, i")])
def test_urgency_decides(edge, first, second):
    peer = Peer(edge, WIDE)
    peer.send(update(0, 1 << 24), headers(1, [*BIG, ("priority", first)]) + headers(3, [*BIG, ("priority", second)]))
    urgent = 1 if first < second else 3
    assert first_end(order(peer), urgent) <= 1


def test_equals_go_one_after_another_or_in_turn(edge):
    peer = Peer(edge, WIDE)
    peer.send(update(0, 1 << 24), headers(1, BIG) + headers(3, BIG))
    assert first_end(order(peer), 1) <= 1
    peer = Peer(edge, WIDE)
    both = [*BIG, ("priority", "u=3, i")]
    peer.send(update(0, 1 << 24), headers(1, both) + headers(3, both))
    came = order(peer)
    runs = max(len(r) for r in "".join("a" if s == 1 else "b" for s in came).replace("ab", "a b").replace("ba", "b a").split())
    assert runs <= 3 and first_end(came, 1) > 10


def test_priority_update_moves_a_running_answer(edge):
    peer = Peer(edge, settings((4, 0)))
    peer.send(update(0, 1 << 24), headers(1, BIG) + headers(3, BIG))
    assert peer.status(1) == 200 and peer.status(3) == 200
    peer.send(frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\3u=0"), WIDE)
    assert first_end(order(peer), 3) <= 1


def test_priority_update_before_its_request(edge):
    peer = Peer(edge, WIDE)
    peer.send(update(0, 1 << 24), frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\3u=0") + headers(1, BIG) + headers(3, BIG))
    assert first_end(order(peer), 3) <= 1


def test_events_go_before_files(edge):
    """The client says nothing: a file that fills the connection's window does not hold up tokens."""
    peer = Peer(edge, WIDE)
    peer.send(headers(1, [*REQUEST[:3], (":path", "/bytes?n=3000000")]))
    assert peer.read(lambda fs: sum(len(f[3]) for f in fs if f[0] == DATA) == 65535)
    peer.send(headers(3, [*REQUEST[:3], (":path", "/stream?n=3&ms=1")]))
    assert peer.status(3) == 200
    time.sleep(0.2)  # all its events wait for the window now
    seen = len(peer.of(DATA))
    peer.send(update(0, 1000))
    assert peer.ended(3)
    assert [f[2] for f in peer.of(DATA)[seen:]][0] == 3
    peer.sock.close()


# --- connections that end, and those that sleep ------------------------------------------------------------------------------

def goaways(peer):
    return [struct.unpack("!II", f[3][:8]) for f in peer.of(GOAWAY)]


def test_an_old_connection_says_so_and_ends_what_runs(limited):
    """6.8: first a notice with the highest stream, so that no request is lost; then the last that was taken."""
    e = limited(max_age_ms=600)
    peer = Peer(e)
    peer.send(headers(1, [*REQUEST[:3], (":path", "/stream?n=30&ms=100")]))
    assert peer.read(lambda fs: [f for f in fs if f[0] == GOAWAY])
    peer.send(headers(3))  # it was on its way
    assert peer.status(3) == 200 and peer.ended(3)
    assert peer.ended(1) and peer.connection_error() == NO_ERROR
    assert goaways(peer) == [(0x7FFFFFFF, 0), (3, 0)]
    assert b"".join(f[3] for f in peer.of(DATA, 1)).count(b"data: ") == 30


def test_silence_is_asked_and_an_answer_keeps_the_connection(limited):
    e = limited(h2_ping_ms=200, h2_ping_ack_ms=300)
    for path in ("/hang", None):
        peer = Peer(e)
        if path:
            peer.send(headers(1, FOREVER))
        for n in range(1, 5):
            assert peer.read(lambda fs: len([f for f in fs if f[0] == PING]) >= n)
            peer.send(frame(PING, ACK, 0, peer.of(PING)[-1][3]))
        assert not peer.closed
        assert not e.metric('tidegate_http_limit_closes_total{reason="h2_ping"}')
        peer.sock.close()
    assert e.metric("tidegate_http2_pings_total") >= 8


def test_who_does_not_answer_is_gone(limited):
    e = limited(h2_ping_ms=200, h2_ping_ack_ms=300)
    peer = Peer(e)
    peer.send(headers(1, FOREVER))
    began = time.monotonic()
    assert not peer.read(lambda fs: False) and peer.closed
    assert 0.3 < time.monotonic() - began < 3
    assert len(peer.of(PING)) == 1
    assert e.finishes()["client_gone"] == 1 and e.finishes()["live"] == 0
    assert e.metric('tidegate_http_limit_closes_total{reason="h2_ping"}') == 1


def test_a_client_that_talks_is_not_asked(limited):
    e = limited(h2_ping_ms=400, h2_ping_ack_ms=300)
    peer = Peer(e)
    for i in range(8):
        peer.send(headers(2 * i + 1))
        assert peer.ended(2 * i + 1)
        time.sleep(0.1)
    assert not peer.of(PING)
    peer.sock.close()
