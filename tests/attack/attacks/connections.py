"""Sockets: taken, held, spread over addresses, pretended to come from elsewhere."""
import socket
import struct
import time

from attacker import attack, closing

REFUSED = "tidegate_http_connections_refused_total"
CLOSED = "tidegate_http_limit_closes_total"
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@attack("SYN and accept flood", limit="http.new_connections_per_second", counter=REFUSED + '{reason="handshakes_per_s"}',
        needs_addresses=True)
def accept_flood(a):
    """Connects and resets at once, thousands of times a second from one address."""
    while a.goes_on():
        conn = a.tcp()
        if conn:
            conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            a.drop(conn)


@attack("connection exhaustion", limit="http.connections_per_address", counter=REFUSED + '{reason="handshakes_per_s"}',
        closes=True, needs_addresses=True, slow=True)
def connection_hoard(a):
    """Opens as many connections as it can from one address and says nothing."""
    a.hold([a.tcp() for _ in a.count(1500)], 0.1, lambda turn: b"")


@attack("connection exhaustion by a botnet", limit="http.handshakes_in_flight",
        counter='tidegate_http_tls_handshakes_total{outcome="evicted"}', closes=True, needs_addresses=True, slow=True, grows_mb=24)
def connection_hoard_of_many(a):
    """The same from 200 addresses, a few each."""
    a.hold([a.tcp(source=a.address(i)) for i in a.count(1500)], 0.1, lambda turn: b"")


@attack("IPv6 rotation", limit="http.new_connections_per_second", counter=REFUSED + '{reason="handshakes_per_s"}',
        needs_addresses=True)
def ipv6_rotation(a):
    """A new address of one /64 for every connection."""
    for n in a.numbers:
        if not a.goes_on():
            return
        conn = a.tcp(source=f"2001:db8:bad:1::{n:x}")
        if conn:
            a.drop(conn)


@attack("spoofed PROXY protocol", limit="no PROXY header on ordinary listeners", counter='tidegate_http_tls_handshakes_total{outcome="failed"}')
def proxy_header_spoof(a):
    """Says by PROXY protocol that it comes from a trusted place."""
    while a.goes_on():
        for spoof in (b"PROXY TCP4 127.0.0.1 127.0.0.1 1 443\r\n",
                      b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\x7f\0\0\1\x7f\0\0\1\0\1\x01\xbb"):
            conn = a.tcp()
            if conn:
                conn.send(spoof + b"GET /x/small HTTP/1.1\r\nhost: localhost\r\n\r\n")
                a.cases[repr(spoof[:5])] = b" 200 " not in conn.read(0.5)
                conn.sock.close()
        time.sleep(0.05)


@attack("half-open and reset", limit="http.first_byte")
def half_close_and_reset(a):
    """Closes its own half, or resets, before, in the middle of, and after a request."""
    request = b"GET /x/hang HTTP/1.1\r\nhost: localhost\r\n\r\n"
    while a.goes_on():
        with closing([a.tls() for _ in range(4)]) as conns:
            for n, conn in enumerate(conns):
                conn.send(request[:(0, 20, len(request), len(request))[n % 4]])
                if n % 2:
                    conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                else:
                    conn.sock.shutdown(socket.SHUT_WR)
        for conn in conns:
            a.drop(conn)
        time.sleep(0.01)
