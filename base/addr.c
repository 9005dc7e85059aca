#include "base/addr.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/un.h>

static const uint8_t v4_mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static void set_v4(struct addr *a, const void *four)
{
    memcpy(a->b, v4_mapped, 12);
    memcpy(a->b + 12, four, 4);
}

/* inet_pton is strict enough: no leading zeros, no short forms, no zones. */
bool addr_parse(struct str s, struct addr *out)
{
    char text[ADDR_TEXT];
    uint8_t raw[16];
    if (s.n == 0 || s.n >= sizeof(text) || memchr(s.p, '\0', s.n)) {
        return false;
    }
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    if (inet_pton(AF_INET, text, raw) == 1) {
        set_v4(out, raw);
        return true;
    }
    if (inet_pton(AF_INET6, text, raw) == 1) {
        memcpy(out->b, raw, 16);
        return true;
    }
    return false;
}

static char *put_octet(char *at, uint8_t v)
{
    if (v >= 100) {
        *at++ = (char)('0' + v / 100);
    }
    if (v >= 10) {
        *at++ = (char)('0' + v / 10 % 10);
    }
    *at++ = (char)('0' + v % 10);
    return at;
}

/* By hand for IPv4: every proxied request writes one, and inet_ntop goes through sprintf. */
void addr_format(const struct addr *a, char out[ADDR_TEXT])
{
    if (addr_is_v4(a)) {
        for (unsigned i = 12; i < 16; i++) {
            out = put_octet(out, a->b[i]);
            *out++ = i < 15 ? '.' : '\0';
        }
    } else {
        inet_ntop(AF_INET6, a->b, out, ADDR_TEXT);
    }
}

void addr_from_sockaddr(const struct sockaddr *sa, struct addr *out)
{
    *out = (struct addr){{0}};
    if (sa->sa_family == AF_INET) {
        set_v4(out, &((const struct sockaddr_in *)(const void *)sa)->sin_addr);
    } else if (sa->sa_family == AF_INET6) {
        memcpy(out->b, &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr, 16);
    }
}

bool addr_is_v4(const struct addr *a)
{
    return memcmp(a->b, v4_mapped, 12) == 0;
}

bool addr_is_loopback(const struct addr *a)
{
    static const uint8_t one[16] = {[15] = 1};
    return addr_is_v4(a) ? a->b[12] == 127 : memcmp(a->b, one, 16) == 0;
}

bool addr_eq(const struct addr *a, const struct addr *b)
{
    return memcmp(a->b, b->b, 16) == 0;
}

static struct addr_prefix mask_to(const struct addr *a, unsigned bits)
{
    struct addr_prefix p = {.bits = (uint8_t)bits};
    unsigned whole = bits / 8;
    memcpy(p.addr.b, a->b, whole);
    if (whole < sizeof(p.addr.b)) {
        p.addr.b[whole] = (uint8_t)(a->b[whole] & (0xff00U >> bits % 8));
    }
    return p;
}

struct addr_prefix addr_mask(const struct addr *a, unsigned v4_bits, unsigned v6_bits)
{
    bool v4 = addr_is_v4(a);
    unsigned bits = v4 ? 96 + v4_bits : v6_bits;
    return mask_to(a, bits < 128 ? bits : 128);
}

bool addr_prefix_parse(struct str s, struct addr_prefix *out)
{
    struct str text;
    struct addr a;
    uint64_t bits;
    bool has_length = memchr(s.p, '/', s.n) != NULL;
    if (!str_cut(&s, '/', &text) || !addr_parse(text, &a)) {
        return false;
    }
    unsigned base = memchr(text.p, ':', text.n) ? 0 : 96;
    if (!has_length) {
        bits = 128 - base;
    } else if (s.n > 3 || (s.n > 1 && s.p[0] == '0') || !str_u64(s, &bits) || bits > 128 - base) {
        return false;
    }
    *out = mask_to(&a, base + (unsigned)bits);
    return true;
}

bool addr_prefix_has(const struct addr_prefix *p, const struct addr *a)
{
    struct addr_prefix masked = mask_to(a, p->bits);
    return addr_eq(&masked.addr, &p->addr);
}

void addr_prefix_format(const struct addr_prefix *p, char out[ADDR_TEXT + 4])
{
    bool v4 = p->bits >= 96 && addr_is_v4(&p->addr);
    addr_format(&p->addr, out);
    size_t n = strlen(out);
    snprintf(out + n, ADDR_TEXT + 4 - n, "/%u", (p->bits - (v4 ? 96U : 0U)) & 0xffU);
}

/* --- endpoints -------------------------------------------------------------------------------- */

static int parse_unix(struct str path, struct endpoint *out, struct err *err)
{
    struct sockaddr_un *sun = (struct sockaddr_un *)(void *)&out->sa;
    if (path.n == 0 || path.p[0] != '/') {
        return err_set(err, ERR_INVALID, "unix: needs an absolute path");
    }
    if (path.n >= sizeof(sun->sun_path)) {
        return err_set(err, ERR_LIMIT, "the path of a unix socket has at most %zu bytes",
                       sizeof(sun->sun_path) - 1);
    }
    sun->sun_family = AF_UNIX;
    memcpy(sun->sun_path, path.p, path.n);
    out->sa_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.n + 1);
    return 0;
}

static void set_inet(struct endpoint *out, const struct addr *a, uint16_t port, bool v6_text)
{
    if (addr_is_v4(a) && !v6_text) {
        struct sockaddr_in *sin = (struct sockaddr_in *)(void *)&out->sa;
        sin->sin_family = AF_INET;
        sin->sin_port = htons(port);
        memcpy(&sin->sin_addr, a->b + 12, 4);
        out->sa_len = sizeof(*sin);
        return;
    }
    struct sockaddr_in6 *sin6 = (struct sockaddr_in6 *)(void *)&out->sa;
    sin6->sin6_family = AF_INET6;
    sin6->sin6_port = htons(port);
    memcpy(&sin6->sin6_addr, a->b, 16);
    out->sa_len = sizeof(*sin6);
}

/* Splits "a.b.c.d:port" or "[v6]:port" at the colon that ends the host. */
static bool split_port(struct str s, struct str *host, struct str *port)
{
    const char *colon = memrchr(s.p, ':', s.n);
    if (!colon) {
        return false;
    }
    *host = str_of(s.p, (size_t)(colon - s.p));
    *port = str_skip(s, host->n + 1);
    bool bracketed = host->n >= 2 && host->p[0] == '[' && host->p[host->n - 1] == ']';
    bool colons = memchr(host->p, ':', host->n) != NULL;
    if (bracketed != colons) {
        return false;
    }
    if (bracketed) {
        *host = str_of(host->p + 1, host->n - 2);
    }
    return true;
}

static int parse_inet(struct str s, struct endpoint *out, struct err *err)
{
    struct str host, port_text;
    struct addr a;
    uint64_t port;
    if (!split_port(s, &host, &port_text)) {
        return err_set(err, ERR_INVALID, "expected ADDRESS:PORT, [ADDRESS]:PORT or unix:/PATH");
    }
    if (!addr_parse(host, &a)) {
        return err_set(err, ERR_INVALID, "'" STR_FMT "' is not an IPv4 or IPv6 address", STR_ARG(host));
    }
    if (port_text.n > 5 || !str_u64(port_text, &port) || port > 65535) {
        return err_set(err, ERR_INVALID, "'" STR_FMT "' is not a port (0 to 65535)", STR_ARG(port_text));
    }
    set_inet(out, &a, (uint16_t)port, memchr(host.p, ':', host.n) != NULL);
    return 0;
}

int endpoint_parse(struct str s, struct endpoint *out, struct err *err)
{
    struct endpoint e = {0};
    if (s.n >= sizeof(e.text) || memchr(s.p, '\0', s.n)) {
        return err_set(err, ERR_INVALID, "an endpoint has at most %zu bytes", sizeof(e.text) - 1);
    }
    int rc = str_starts(s, STR("unix:")) ? parse_unix(str_skip(s, 5), &e, err) : parse_inet(s, &e, err);
    if (rc != 0) {
        return rc;
    }
    memcpy(e.text, s.p, s.n);
    *out = e;
    return 0;
}

bool endpoint_is_local(const struct endpoint *e)
{
    struct addr a;
    if (e->sa.ss_family == AF_UNIX) {
        return true;
    }
    addr_from_sockaddr((const struct sockaddr *)(const void *)&e->sa, &a);
    return addr_is_loopback(&a);
}
