#include "base/http/proxy_protocol.h"

#include <string.h>

enum {
    V2_HEAD = 16, /* signature, command, family, length */
    V2_TCP4 = 12, /* two addresses, two ports */
    V2_TCP6 = 36,
    V2_UNIX = 216,
    PORT_DIGITS = 5,
};

static const char v2_signature[12] = {'\r', '\n', '\r', '\n', 0, '\r', '\n', 'Q', 'U', 'I', 'T', '\n'};
static const char v1_start[6] = {'P', 'R', 'O', 'X', 'Y', ' '};

/* As far as `in` goes, it begins with p. */
static bool may_start(struct str in, const char *p, size_t n)
{
    return memcmp(in.p, p, in.n < n ? in.n : n) == 0;
}

/* --- version 1 ------------------------------------------------------------------------------------ */

static bool is_port(struct str s)
{
    uint64_t port;
    return s.n <= PORT_DIGITS && str_u64(s, &port) && port <= 65535;
}

/* "SOURCE DESTINATION SOURCEPORT DESTINATIONPORT" of one family. */
static int parse_v1_addresses(struct str words, bool v4, struct proxy_header *out)
{
    struct str source, destination, source_port;
    struct addr other;
    if (!str_cut(&words, ' ', &source) || !str_cut(&words, ' ', &destination) ||
        !str_cut(&words, ' ', &source_port) || !addr_parse(source, &out->peer) ||
        !addr_parse(destination, &other) || !is_port(source_port) || !is_port(words)) {
        return ERR_PROTOCOL;
    }
    bool dotted = !memchr(source.p, ':', source.n) && !memchr(destination.p, ':', destination.n);
    if (dotted != v4) {
        return ERR_PROTOCOL;
    }
    out->has_peer = true;
    return 0;
}

static int parse_v1_line(struct str line, struct proxy_header *out)
{
    struct str words = str_skip(line, sizeof(v1_start));
    if (str_is(words, "UNKNOWN") || str_starts(words, STR("UNKNOWN "))) {
        return 0;
    }
    if (str_starts(words, STR("TCP4 "))) {
        return parse_v1_addresses(str_skip(words, 5), true, out);
    }
    if (str_starts(words, STR("TCP6 "))) {
        return parse_v1_addresses(str_skip(words, 5), false, out);
    }
    return ERR_PROTOCOL;
}

static int parse_v1(struct str in, struct proxy_header *out)
{
    size_t look = in.n < PROXY_HEADER_V1_MAX ? in.n : PROXY_HEADER_V1_MAX;
    const char *lf = memchr(in.p, '\n', look);
    if (!lf) {
        return look == PROXY_HEADER_V1_MAX ? ERR_PROTOCOL : 0;
    }
    size_t n = (size_t)(lf - in.p) + 1;
    if (n < sizeof(v1_start) + 2 || in.p[n - 2] != '\r' || memchr(in.p, '\r', n - 2) ||
        parse_v1_line(str_of(in.p, n - 2), out) != 0) {
        return ERR_PROTOCOL;
    }
    return (int)n;
}

/* --- version 2 ------------------------------------------------------------------------------------ */

/* Family and transport in one byte, as the header has it. */
static int parse_v2_addresses(uint8_t family, struct str body, struct proxy_header *out)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    switch (family) {
    case 0x00: /* unspecified */
        return 0;
    case 0x11: /* TCP over IPv4 */
        if (body.n < V2_TCP4) {
            return ERR_PROTOCOL;
        }
        memcpy(out->peer.b, mapped, sizeof(mapped));
        memcpy(out->peer.b + 12, body.p, 4);
        break;
    case 0x21: /* TCP over IPv6 */
        if (body.n < V2_TCP6) {
            return ERR_PROTOCOL;
        }
        memcpy(out->peer.b, body.p, 16);
        break;
    case 0x31: /* unix stream */
        return body.n < V2_UNIX ? ERR_PROTOCOL : 0;
    default:
        return ERR_PROTOCOL;
    }
    out->has_peer = true;
    return 0;
}

static int parse_v2(struct str in, struct proxy_header *out)
{
    if (in.n < V2_HEAD) {
        return 0;
    }
    const uint8_t *head = (const uint8_t *)in.p;
    size_t body = (size_t)head[14] << 8 | head[15];
    bool is_local = head[12] == 0x20;
    if ((!is_local && head[12] != 0x21) || V2_HEAD + body > PROXY_HEADER_V2_MAX) {
        return ERR_PROTOCOL;
    }
    if (in.n < V2_HEAD + body) {
        return 0;
    }
    if (!is_local && parse_v2_addresses(head[13], str_of(in.p + V2_HEAD, body), out) != 0) {
        return ERR_PROTOCOL;
    }
    return (int)(V2_HEAD + body);
}

int proxy_header_parse(struct str in, struct proxy_header *out)
{
    *out = (struct proxy_header){0};
    if (in.n == 0) {
        return 0;
    }
    if (may_start(in, v2_signature, sizeof(v2_signature))) {
        return parse_v2(in, out);
    }
    return may_start(in, v1_start, sizeof(v1_start)) ? parse_v1(in, out) : ERR_PROTOCOL;
}
