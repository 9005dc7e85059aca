/* The PROXY protocol, versions 1 and 2: the header in which a balancer tells whose connection it passes on. Not
 * who may send one: accept.c looks at the listener's list first.
 *
 * Version 1 is a line of at most 107 bytes, version 2 is binary and, with what it carries besides the addresses
 * (skipped here), at most 536 bytes. Strict: one space between words, the addresses of the family that is named,
 * ports of 1*5DIGIT; datagram transports and unknown commands are refused.
 * A header that names nobody (LOCAL, UNKNOWN, unspecified and unix addresses) is whole and has has_peer false: the
 * socket's own peer counts.
 * Thread rule: pure functions. */
#ifndef TIDE_BASE_HTTP_PROXY_PROTOCOL_H
#define TIDE_BASE_HTTP_PROXY_PROTOCOL_H

#include "base/addr.h"

enum { PROXY_HEADER_V1_MAX = 107, PROXY_HEADER_V2_MAX = 536 };

struct proxy_header {
    struct addr peer; /* the source address, when has_peer */
    bool has_peer;
};

/* Bytes of the header, which is then whole; 0 when more are needed; ERR_PROTOCOL when this is none. */
int proxy_header_parse(struct str in, struct proxy_header *out) TIDE_CHECK;

#endif
