/* Internet addresses and prefixes of them: 16 bytes, IPv4 as v4-mapped, so that one text form means one key.
 *
 * Text: RFC 4291 and dotted quads; zone ids, ports and brackets are refused by addr_parse.
 * Thread rule: pure functions. */
#ifndef TIDE_BASE_ADDR_H
#define TIDE_BASE_ADDR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/err.h"
#include "base/str.h"

enum { ADDR_TEXT = 46 };

struct addr {
    uint8_t b[16]; /* network order; ::ffff:a.b.c.d for IPv4; all zero = none or a unix socket */
};

struct addr_prefix {
    struct addr addr; /* masked */
    uint8_t bits;     /* 0..128; an IPv4 /n is 96+n */
};

bool addr_parse(struct str s, struct addr *out);
void addr_format(const struct addr *a, char out[ADDR_TEXT]);
void addr_from_sockaddr(const struct sockaddr *sa, struct addr *out); /* other families give all zero */
bool addr_is_v4(const struct addr *a);
bool addr_is_loopback(const struct addr *a);
bool addr_is_public(const struct addr *a); /* not private, local, shared or special: addr_public.c */
bool addr_eq(const struct addr *a, const struct addr *b);
/* The prefix a limit is kept for: v4_bits of an IPv4 address, v6_bits of an IPv6 one. */
struct addr_prefix addr_mask(const struct addr *a, unsigned v4_bits, unsigned v6_bits);
bool addr_prefix_parse(struct str s,
                       struct addr_prefix *out); /* "10.0.0.0/8"; a bare address is /32 or /128 */
bool addr_prefix_has(const struct addr_prefix *p, const struct addr *a);
void addr_prefix_format(const struct addr_prefix *p, char out[ADDR_TEXT + 4]);

/* Where something listens or connects to. */
struct endpoint {
    struct sockaddr_storage sa; /* AF_INET, AF_INET6 or AF_UNIX */
    socklen_t sa_len;           /* bytes of sa in use */
    char text[128];             /* as written: "127.0.0.1:8443", "[::1]:80", "unix:/run/x.sock", "host:80" */
};
/* Literal addresses and unix paths only: names are the resolver's job (base/http/client). */
int endpoint_parse(struct str s, struct endpoint *out, struct err *err) TIDE_CHECK;
bool endpoint_is_local(const struct endpoint *e); /* loopback or unix */

#endif
