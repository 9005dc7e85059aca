/* JA4: what kind of TLS client this is, by its ClientHello. Not proof of anything: a client can imitate another.
 * A weight and a key for limits; never alone a reason to refuse, and never a metric label (clients choose it).
 *
 *     t13d1516h2_8daaf6152771_e5627efa2ab1
 *     |  | | | |  |            SHA-256 of the sorted extensions (without SNI and ALPN) and the signature algorithms
 *     |  | | | |  SHA-256 of the sorted cipher suites
 *     |  | | | first and last character of the first ALPN name; 00: none
 *     |  | | extensions          GREASE values (RFC 8701) are nowhere counted
 *     |  | cipher suites
 *     |  d: with a server name, i: without
 *     t: TLS over TCP; then the highest version offered
 *
 * Only JA4 itself, the open one of its family.
 * Errors: ERR_INVALID: not a well-formed ClientHello; ERR_LIMIT: more cipher suites, extensions or signature
 * algorithms than JA4_LIST_MAX. *out is then untouched.
 * Thread rule: pure function, any thread. */
#ifndef TIDE_BASE_HTTP_JA4_H
#define TIDE_BASE_HTTP_JA4_H

#include "base/err.h"
#include "base/str.h"

enum { JA4_LEN = 36, JA4_LIST_MAX = 512 };

struct ja4 {
    char text[JA4_LEN + 1]; /* empty: not known */
    uint16_t extensions;    /* as they came, GREASE among them */
};

/* message: the whole handshake message, its four bytes of type and length among it, however many records it took. */
int ja4_of_hello(struct str message, struct ja4 *out) TIDE_CHECK;

#endif
