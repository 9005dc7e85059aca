#!/usr/bin/env python3
"""Requests, changed at random, read by Tidegate's strict reader, by h11 and by llhttp in its strict mode.

    differential.py [--inputs N] [--seed N]        build/venv/bin/python; needs build/dev (TIDE_BUILD: another)

What must not be:
  - accepted by us and refused by both of the others
  - accepted by us, and not by another, or with another body or another end (llhttp knows a list of methods: of others it
    has no opinion)
  - waited for by us when another one sees a whole request
What may be: that we refuse what another accepts, for one of the reasons in STRICTER, each with the sentence of the RFC
that allows or demands it. Any other reason is reported as well. Exit status 1 when something was reported."""
import argparse
import collections
import os
import random
import re
import struct
import subprocess
import sys

import h11
import llhttp

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
ROOT = os.path.dirname(os.path.dirname(HERE))

REFUSED, MORE = "refused", "more"


def tidegate(inputs):
    program = os.path.join(os.environ.get("TIDE_BUILD", ROOT + "/build/dev"), "tests", "h1_verdict")
    sent = b"".join(struct.pack(">I", len(i)) + i for i in inputs)
    done = subprocess.run([program], input=sent, capture_output=True, check=True)
    for line in done.stdout.decode("latin-1").splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "whole":
            used, body = rest.split(" ")
            yield (int(used), b"" if body == "-" else bytes.fromhex(body)), None
        else:
            yield kind, rest


def by_h11(data):
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    body = b""
    try:
        connection.receive_data(data)
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                return MORE
            if isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return len(data) - len(connection.trailing_data[0]), body
    except h11.RemoteProtocolError:
        return REFUSED


class Reader(llhttp.Request):
    body = b""
    whole = False

    def on_body(self, data):
        self.body += bytes(data)

    def on_message_complete(self):
        self.whole = True
        self.pause()


def by_llhttp(data):
    reader = Reader()
    reader.body = b""
    used = 0
    try:
        while used < len(data) and not reader.whole:
            used += reader.execute(data[used:])
            if reader.is_upgrading:
                break
    except llhttp.InvalidMethodError:
        return None
    except llhttp.Error:
        return REFUSED
    return (used, reader.body) if reader.whole else MORE


# --- inputs ------------------------------------------------------------------------------------------

FIELDS = [b"Content-Length: 3", b"Content-Length: 0", b"Content-Length: 03", b"Content-Length: +3", b"Content-Length: 3, 3",
          b"Content-Length:", b"Content-Length : 3", b"Content-Length: 3 ", b"Transfer-Encoding: chunked",
          b"Transfer-Encoding: Chunked", b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: chunked, gzip",
          b"Transfer-Encoding: identity", b"Transfer-Encoding:\tchunked", b"Transfer-Encoding: chunked,",
          b"Transfer-Encoding: \x0bchunked", b"Transfer_Encoding: chunked", b" Transfer-Encoding: chunked", b"Host: b",
          b"Connection: close", b"Connection: Upgrade", b"Upgrade: websocket", b"Expect: 100-continue", b"X: \xff", b"X:",
          b"X: a\r\n b", b"Connection: transfer-encoding"]
BODIES = [b"", b"abc", b"3\r\nabc\r\n0\r\n\r\n", b"0\r\n\r\n", b"03\r\nabc\r\n0\r\nX: y\r\n\r\n", b"3;a=b\r\nabc\r\n0\r\n\r\n",
          b"3 \r\nabc\r\n0\r\n\r\n", b"3\nabc\n0\n\n", b"3\r\nabcd\r\n0\r\n\r\n", b"FFFFFFFFFFFFFFFF\r\nabc", b"0x3\r\nabc\r\n0\r\n\r\n",
          b"-3\r\nabc\r\n0\r\n\r\n", b"3\r\nabc0\r\n\r\n", b"3;\"\r\n\r\nabc\r\n0\r\n\r\n", b"3\r\nabc\r\n0\r\nX: y\n\r\n"]
BYTES = [b"\r", b"\n", b"\r\n", b"\0", b" ", b"\t", b":", b",", b";", b"\x0b", b"\x7f", b"\xff", b"0", b"3", b"x", b"/", b"\""]
STARTS = [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
          b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
          b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n10;x=y\r\n0123456789abcdef\r\n0\r\nT: u\r\n\r\n",
          b"POST /a?b HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc"]


def changed(r, data):
    """One change: a byte put in, taken out or replaced; a line doubled, dropped or added; another body."""
    kind = r.randrange(8)
    if kind < 3:
        at = r.randrange(len(data) + 1)
        return data[:at] + (b"" if kind == 1 else r.choice(BYTES)) + data[at + (kind > 0):]
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    if kind == 3:
        body = r.choice(BODIES)
    elif kind == 4:
        lines.insert(r.randrange(1, len(lines) + 1), r.choice(lines))
    elif kind == 5 and len(lines) > 1:
        lines.pop(r.randrange(1, len(lines)))
    else:
        lines.insert(r.randrange(1, len(lines) + 1), r.choice(FIELDS))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def inputs_of(seed, count):
    r = random.Random(seed)
    for _ in range(count):
        data = r.choice(STARTS)
        for _ in range(r.choice((1, 1, 2, 2, 3))):
            data = changed(r, data)
        yield data + r.choice((b"", b"", b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"))


# --- verdicts ----------------------------------------------------------------------------------------

# Why we refuse what another reader accepts: the reason as clients are told it, and what allows or demands it.
STRICTER = {
    "malformed request line": "RFC 9112 3: recipients of an invalid request-line SHOULD respond with a 400",
    "malformed method": "RFC 9110 9.1: method = token",
    "malformed request target": "RFC 9112 3.2: one of four forms, of the characters of RFC 3986; no whitespace is allowed in it",
    "the path has dot segments, control characters or broken escapes": "RFC 3986 6.2.2.3: dot segments are to be removed first; "
                                                                       "two readers may do that at different times",
    "only HTTP/1.0, HTTP/1.1 and HTTP/2 are spoken": "RFC 9110 15.6.6: the major version is not supported",
    "more than one content-length": "RFC 9112 6.3 (5): invalid values MUST be treated as an unrecoverable error; a list of "
                                    "equal ones MAY be taken or refused",
    "malformed content-length": "RFC 9110 8.6: 1*DIGIT; past 2^53 and leading zeros: not every reader agrees on what they are",
    "content-length beside transfer-encoding": "RFC 9112 6.1: a server MAY reject a request that contains both",
    "transfer-encoding must be exactly: chunked": "RFC 9112 6.1: a coding that is not understood SHOULD be answered 501; 6.3 (4): "
                                                  "chunked that is not final MUST be answered 400",
    "transfer-encoding in HTTP/1.0": "RFC 9112 6.1: MUST be treated as if the framing is faulty",
    "host is missing": "RFC 9112 3.2: MUST be answered 400",
    "more than one host": "RFC 9112 3.2: MUST be answered 400",
    "malformed host": "RFC 9112 3.2: an invalid Host MUST be answered 400",
    "the request target names another host": "RFC 9112 3.2.2: the target's host counts; a client MUST send that one as Host",
    "only OPTIONS has the target *": "RFC 9112 3.2.4: asterisk-form is for OPTIONS",
    "CONNECT is not offered": "RFC 9110 9.3.6: an origin server MAY accept it",
    "only 100-continue can be expected": "RFC 9110 10.1.1: MAY be answered 417",
    "malformed field name": "RFC 9112 5.1: whitespace before the colon MUST be answered 400; field-name = token",
    "malformed field value": "RFC 9110 5.5: CR, LF and NUL are dangerous, and MUST be refused or replaced; 9112 5.2: obs-fold MUST be "
                             "refused or replaced",
    "a line ends with LF alone": "RFC 9112 2.2: a recipient MAY recognize it as a line terminator, so it need not",
    "the chunked coding is malformed": "RFC 9112 7.1: its grammar; 7.1 again: large sizes MUST be anticipated, lengths past 2^53 have "
                                       "no honest use",
}
# What llhttp refuses although the grammar has it: a tab behind a value (RFC 9110 5.6.3: OWS), and white space around the
# semicolon and the equals sign of a chunk extension (RFC 9112 7.1.1: BWS). Then h11 has to agree.
LLHTTP_REFUSES = re.compile(rb"\t\r\n|[ \t][;=]|[;=][ \t]")


def fault(data, ours, why, others):
    """What must not be, in words; None when all is well."""
    if others[1] == REFUSED and LLHTTP_REFUSES.search(data):
        others = others[:1]
    others = [o for o in others if o is not None]
    if ours == REFUSED:
        listed = why in STRICTER or all(o == REFUSED for o in others)
        return None if listed else "refused for a reason that is not listed: " + why
    if ours == MORE:
        return None if all(o in (REFUSED, MORE) for o in others) else "waited for"
    return None if others and all(o == ours for o in others) else "accepted or framed differently"


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--inputs", type=int, default=20000)
    p.add_argument("--seed", type=int, default=1)
    args = p.parse_args()
    inputs = list(inputs_of(args.seed, args.inputs))
    counts, faults = collections.Counter(), 0
    for data, (ours, why) in zip(inputs, tidegate(inputs)):
        others = by_h11(data), by_llhttp(data)
        wrong = fault(data, ours, why, others)
        if wrong:
            faults += 1
            if faults <= 20:
                print(f"{wrong}: {data!r}\n  tidegate {ours} {why or ''}, h11 {others[0]}, llhttp {others[1]}")
        elif ours == REFUSED and any(o != REFUSED for o in others):
            counts["refused by us alone: " + why] += 1
        else:
            counts["all agree" if others[0] == others[1] == ours else "llhttp does not know the method, or refuses sooner"] += 1
    for what, n in counts.most_common():
        print(f"{n:8} {what}")
    print(f"{faults} faults in {len(inputs)} inputs")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
