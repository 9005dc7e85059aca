"""Which certificate a client is given: by server name and by the signatures that it can verify."""
import random
import socket
import ssl
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from tide import authority as certificates
from tide.authority import Authority
from tide.edge import BUILD, Edge, read_all, split_answer

MANY = 1000


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def edge(tmp_path_factory, authority):
    pairs = [authority.issue("first.test", ["first.test", "second.test"]),
             authority.issue("first.test", ["first.test"], kind="rsa"),
             authority.issue("wide.test", ["*.wide.test"]),
             authority.issue("wide-rsa.test", ["*.wide.test"], kind="rsa"),
             authority.issue("exact.wide.test", ["Exact.Wide.test"]),
             authority.issue("only-rsa.test", ["only-rsa.test"], kind="rsa"),
             authority.issue("no-alternative.test")]
    e = Edge(tmp_path_factory.mktemp("edge"), certificates=pairs)
    yield e
    e.stop()


def given(edge, server_name=None, *args):
    """Common name and kind of key of the certificate that s_client is shown; None: the handshake failed."""
    words = ["openssl", "s_client", "-connect", f"127.0.0.1:{edge.port}", "-showcerts", *args]
    words += ["-servername", server_name] if server_name else ["-noservername"]
    out = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=20).stdout
    begin = out.find(b"-----BEGIN CERTIFICATE-----")
    if begin < 0:
        return None
    cert = x509.load_pem_x509_certificate(out[begin:])
    kind = "rsa" if isinstance(cert.public_key(), rsa.RSAPublicKey) else "ec"
    return cert.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value, kind


@pytest.mark.parametrize("server_name, wanted", [
    (None, "first.test"), ("nobody.test", "first.test"), ("first.test", "first.test"), ("second.test", "first.test"),
    ("a.wide.test", "wide.test"), ("A.WIDE.TEST", "wide.test"), ("wide.test", "first.test"), ("a.b.wide.test", "first.test"),
    ("exact.wide.test", "exact.wide.test"), ("no-alternative.test", "no-alternative.test")])
def test_names(edge, server_name, wanted):
    assert given(edge, server_name) == (wanted, "ec")


RSA_ONLY = [["-sigalgs", "rsa_pss_rsae_sha256"], ["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"]]


@pytest.mark.parametrize("args", RSA_ONLY, ids=["1.3", "1.2"])
@pytest.mark.parametrize("server_name, wanted", [
    (None, "first.test"), ("first.test", "first.test"), ("a.wide.test", "wide-rsa.test"),
    ("exact.wide.test", "wide-rsa.test"), ("only-rsa.test", "only-rsa.test")])
def test_clients_without_ecdsa(edge, args, server_name, wanted):
    assert given(edge, server_name, *args) == (wanted, "rsa")


def test_a_name_without_a_key_for_the_client(edge):
    """second.test is in the ECDSA certificate alone; only-rsa.test in none with ECDSA."""
    assert given(edge, "no-alternative.test", "-sigalgs", "rsa_pss_rsae_sha256") is None
    assert given(edge, "only-rsa.test") == ("only-rsa.test", "rsa")
    assert given(edge, "only-rsa.test", "-sigalgs", "ecdsa_secp256r1_sha256") is None


def test_a_ticket_of_one_name_serves_it_again(edge, tmp_path):
    ask = b"GET /small HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    for version in ("-tls1_2", "-tls1_3"):
        ticket = tmp_path / f"ticket{version}"
        for option in ("-sess_out", "-sess_in"):
            out = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{edge.port}", "-servername", "a.wide.test",
                                  version, option, ticket, "-ign_eof"], input=ask, capture_output=True, timeout=20).stdout
            assert b"200 OK" in out
        assert b"Reused, TLSv1" in out


def test_a_thousand_names(tmp_path, authority):
    pairs = [authority.issue(f"n{i}.test", [f"n{i}.test", f"*.w{i}.test"]) for i in range(MANY)]
    e = Edge(tmp_path, certificates=pairs)
    context = ssl.create_default_context(cafile=str(authority.file))
    for i in random.Random(4).sample(range(MANY), 40):
        for server_name in (f"n{i}.test", f"any.w{i}.test"):
            with context.wrap_socket(socket.create_connection(("127.0.0.1", e.port)), server_hostname=server_name) as s:
                s.sendall(b"GET /small HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                assert split_answer(read_all(s))[0] == 200
    e.stop()


def broken(tmp_path, authority, change):
    cert, key = authority.issue("broken.test", ["broken.test"])
    change(cert, key)
    done = subprocess.run([BUILD / "tests" / "edge_server", "--cert", cert, "--key", key], capture_output=True, text=True,
                          timeout=20)
    assert done.returncode == 1
    return done.stderr


def test_broken_files_are_named(tmp_path, authority, monkeypatch):
    other = authority.issue("other.test", ["other.test"])
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    assert "broken.test-ec.key: does not belong to the certificate" in broken(
        tmp_path, authority, lambda cert, key: key.write_bytes(other[1].read_bytes()))
    assert "broken.test-ec.pem: no certificate" in broken(tmp_path, authority, lambda cert, key: cert.write_text("x"))
    cut = other[0].read_text().replace("\n", "\n!", 2)
    assert "broken.test-ec.pem: a certificate of the chain cannot be read" in broken(
        tmp_path, authority, lambda cert, key: cert.write_text(cert.read_text() + cut))
    assert "broken.test-ec.key: others can read this key" in broken(tmp_path, authority,
                                                                   lambda cert, key: key.chmod(0o644))
    monkeypatch.setattr(certificates, "RSA_KEY", weak)
    cert, key = authority.issue("weak.test", ["weak.test"], kind="rsa")
    done = subprocess.run([BUILD / "tests" / "edge_server", "--cert", cert, "--key", key], capture_output=True, text=True,
                          timeout=20)
    assert done.returncode == 1 and "weak.test-rsa.pem: refused by the TLS library" in done.stderr
    assert "key too small" in done.stderr
