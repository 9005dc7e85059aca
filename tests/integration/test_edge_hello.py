"""What a TLS client shows and does beside HTTP: its JA4, hellos past all measure, records that are only work."""
import socket
import ssl
import subprocess

import pytest

from tide.edge import Edge, read_all, split_answer
from tide.tls_wire import (ALERT, CHANGE_CIPHER, DATA, HANDSHAKE, RawTls13, Relay, extension, first_message, hello, ja4,
                      record)


@pytest.fixture(scope="module")
def edge(tmp_path_factory):
    e = Edge(tmp_path_factory.mktemp("edge"), tls=True)
    yield e
    e.stop()


def closed(edge, reason):
    return edge.metric(f'tidegate_http_limit_closes_total{{reason="{reason}"}}')


def ask_python(port, path="/ja4", **options):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for name, value in options.items():
        if callable(getattr(context, name)):
            getattr(context, name)(value)
        else:
            setattr(context, name, value)
    with context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="localhost") as s:
        s.settimeout(10)
        s.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        return split_answer(read_all(s))[2].decode()


def ask_curl(*args):
    return lambda port: subprocess.run(["curl", "-sk", *args, f"https://localhost:{port}/ja4"], capture_output=True,
                                       text=True, timeout=20, check=True).stdout


def ask_s_client(*args):
    def ask(port):
        out = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-quiet", "-no_ign_eof", *args],
                             input=b"GET /ja4 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", capture_output=True,
                             timeout=20).stdout
        return split_answer(out)[2].decode()
    return ask


CLIENTS = {
    "curl": (ask_curl(), "t13d"),
    "curl over HTTP/1.1": (ask_curl("--http1.1"), "t13d"),
    "curl with TLS 1.2": (ask_curl("--tls-max", "1.2"), "t12d"),
    "curl without ALPN": (ask_curl("--no-alpn"), "t13d"),
    "s_client, no name": (ask_s_client("-noservername", "-ign_eof"), "t13i"),
    "s_client, TLS 1.2": (ask_s_client("-tls1_2", "-servername", "localhost", "-ign_eof"), "t12d"),
    "s_client, one suite": (ask_s_client("-ciphersuites", "TLS_AES_256_GCM_SHA384", "-tls1_3", "-ign_eof"), "t13i"),
    "s_client, odd ALPN": (ask_s_client("-alpn", "-x-,http/1.1", "-ign_eof"), "t13i"),
    "python": (ask_python, "t13d"),
}


@pytest.mark.parametrize("client", CLIENTS)
def test_ja4_of_real_clients(edge, client):
    ask, beginning = CLIENTS[client]
    relay = Relay(edge.port)
    told = ask(relay.port)
    assert told == relay.ja4 and told.startswith(beginning) and len(told) == 36


def test_ja4_tells_clients_apart(edge):
    one = ask_python(edge.port)
    other = ask_python(edge.port, set_ciphers="ECDHE+AESGCM")
    assert one != other and one.split("_")[2] == other.split("_")[2]


def test_ja4_of_a_hello_in_pieces(edge):
    whole = ask_python(edge.port)
    relay = Relay(edge.port, piece=40)
    assert ask_python(relay.port) == whole == relay.ja4
    assert len(first_message(relay.first)) > 40 * 4


def test_ja4_is_of_the_first_hello(edge):
    """P-384 first: the server asks for another share, the second hello has other extensions."""
    relay = Relay(edge.port)
    told = ask_s_client("-groups", "P-384:X25519", "-ign_eof")(relay.port)
    assert told == relay.ja4 != ""


def test_no_ja4_without_tls(tmp_path):
    e = Edge(tmp_path)
    assert e.get("/ja4")[2] == b""
    e.stop()


# --- hellos past all measure -----------------------------------------------------------------------------


def refused(edge, data):
    with socket.create_connection(("127.0.0.1", edge.port)) as s:
        s.settimeout(5)
        try:
            for piece in data if isinstance(data, list) else [data]:
                s.sendall(piece)
        except ConnectionError:
            return b""
        return read_all(s)


def padded(n):
    """A hello whose message has n bytes."""
    return hello(extension(21, bytes(n - len(hello(extension(21, b""))))))


PIECES = [record(HANDSHAKE, hello()[at:at + 3]) for at in range(0, len(hello()), 3)]
SSL2 = bytes.fromhex("802e0103030015000000200000c02f00c02b001301" "0000ff") + bytes(32)


@pytest.mark.parametrize("reason, data", [
    ("tls_hello_bytes", [record(HANDSHAKE, padded(16385)[:16000]), record(HANDSHAKE, padded(16385)[16000:])]),
    ("tls_hello_bytes", [record(HANDSHAKE, (hello()[:1] + b"\x01\xff\x00" + bytes(60000))[at:at + 8000])
                         for at in range(0, 60000, 8000)]),
    ("tls_hello_records", PIECES),
    ("tls_hello_lists", record(HANDSHAKE, hello(b"".join(extension(0x5000 + i, b"") for i in range(65))))),
    ("tls_hello_lists", record(HANDSHAKE, hello(ciphers=range(0x4000, 0x4000 + 513)))),
    ("tls_hello_ssl2", SSL2),
], ids=["bytes", "bytes-announced", "records", "extensions", "ciphers", "ssl2"])
def test_hello_limits(edge, reason, data):
    before = closed(edge, reason)
    answer = refused(edge, data)
    assert answer == b"" or answer[0] == ALERT
    assert closed(edge, reason) == before + 1


def test_hellos_within_measure_are_read(edge):
    """The same, one less: whatever these hellos lack, no limit of ours says no."""
    before = edge.metric("tidegate_http_limit_closes_total")
    exact = padded(16384)
    for data in ([record(HANDSHAKE, exact[:16000]), record(HANDSHAKE, exact[16000:])],
                 record(HANDSHAKE, hello(b"".join(extension(0x5000 + i, b"") for i in range(64)))),
                 record(HANDSHAKE, hello(ciphers=range(0x4000, 0x4000 + 512))),
                 [record(HANDSHAKE, hello()[at:at + 4]) for at in range(0, len(hello()), 4)]):
        assert refused(edge, data)[:1] == bytes([ALERT])
    assert edge.metric("tidegate_http_limit_closes_total") == before


@pytest.mark.parametrize("data", [record(HANDSHAKE, b"") * 40, record(CHANGE_CIPHER, b"\x01") * 40,
                                  record(ALERT, b"\x01\x00") * 40, record(ALERT, b"\x01\x5a") * 40],
                         ids=["empty", "change-cipher", "close-notify", "user-canceled"])
def test_records_before_the_hello(edge, data):
    answer = refused(edge, data)
    assert answer == b"" or answer[0] == ALERT


# --- after the handshake ---------------------------------------------------------------------------------


def works(raw):
    raw.sock.sendall(raw.seal(DATA, b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n"))
    return len(raw.sock.recv(65536)) > 200


def test_raw_client_is_understood(edge, tmp_path):
    raw = RawTls13(edge.port, tmp_path)
    assert works(raw)
    raw.sock.sendall(raw.key_update())
    assert works(raw)
    raw.sock.close()


@pytest.mark.parametrize("wants_answer", [False, True])
def test_key_updates_in_a_minute(edge, tmp_path, wants_answer):
    before = closed(edge, "tls_key_updates")
    raw = RawTls13(edge.port, tmp_path)
    raw.sock.sendall(b"".join(raw.key_update(wants_answer) for _ in range(8)))
    assert works(raw)
    assert raw.closes(raw.key_update(wants_answer))
    assert closed(edge, "tls_key_updates") == before + 1


def test_key_updates_of_a_connection(tmp_path):
    e = Edge(tmp_path, tls=True, key_updates_per_min=1000)
    raw = RawTls13(e.port, tmp_path)
    raw.sock.sendall(b"".join(raw.key_update() for _ in range(32)))
    assert works(raw)
    assert raw.closes(raw.key_update()) and closed(e, "tls_key_updates") == 1
    e.stop()


@pytest.mark.parametrize("kind, body, count", [(DATA, b"", 40), (ALERT, b"\x01\x5a", 10), (HANDSHAKE, b"", 1),
                                               (HANDSHAKE, b"\x01\x00\x00\x02ab", 1), (ALERT, b"\x01", 1), (99, b"x", 1)],
                         ids=["empty-data", "warnings", "empty-handshake", "second-hello", "half-alert", "unknown"])
def test_records_that_are_only_work(edge, tmp_path, kind, body, count):
    raw = RawTls13(edge.port, tmp_path)
    assert works(raw)
    assert raw.closes(b"".join(raw.seal(kind, body) for _ in range(count)))


def test_a_record_that_was_changed(edge, tmp_path):
    raw = RawTls13(edge.port, tmp_path)
    data = bytearray(raw.seal(DATA, b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n"))
    data[-1] ^= 1
    assert raw.closes(bytes(data))


def test_ja4_of_these_tests(edge):
    """The independent JA4 against the published example, so that a common mistake of both would show."""
    message = hello(b"".join(extension(k, {43: b"\x04\x03\x04\x03\x03", 16: b"\0\x03\x02h2", 13: b"\0\x10" + bytes.fromhex(
        "04030804040105030805050108060601")}.get(k, b"")) for k in (
        0x1b, 0, 0x33, 16, 0x4469, 0x17, 0x2d, 13, 5, 0x23, 0x12, 43, 0xff01, 11, 10, 21)), (
        0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x9c, 0x9d, 0x2f, 0x35))
    assert ja4(message) == "t13d1516h2_8daaf6152771_e5627efa2ab1"
