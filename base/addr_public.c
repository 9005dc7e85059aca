/* Which addresses are of the public Internet, by the registries of special-purpose addresses (RFC 6890 and its
 * successors). Of IPv6 only global unicast, 2000::/3, can be: loopback, link-local, unique local, multicast and the
 * forms that carry an IPv4 address (NAT64, IPv4-compatible, translated) lie outside. v4-mapped ones are IPv4 here. */
#include "base/addr.h"

struct range {
    uint8_t b[4]; /* the first 32 bits */
    uint8_t bits;
};

static const struct range special_v4[] = {
    {{0, 0, 0, 0}, 8},       /* this network */
    {{10, 0, 0, 0}, 8},      /* private */
    {{100, 64, 0, 0}, 10},   /* behind carriers' NAT */
    {{127, 0, 0, 0}, 8},     /* loopback */
    {{169, 254, 0, 0}, 16},  /* link-local: metadata services live there */
    {{172, 16, 0, 0}, 12},   /* private */
    {{192, 0, 0, 0}, 24},    /* protocol assignments */
    {{192, 0, 2, 0}, 24},    /* documentation */
    {{192, 88, 99, 0}, 24},  /* relays of 6to4 */
    {{192, 168, 0, 0}, 16},  /* private */
    {{198, 18, 0, 0}, 15},   /* benchmarks */
    {{198, 51, 100, 0}, 24}, /* documentation */
    {{203, 0, 113, 0}, 24},  /* documentation */
    {{224, 0, 0, 0}, 3},     /* multicast, reserved, broadcast */
};

static const struct range global_v6 = {{0x20, 0, 0, 0}, 3};
static const struct range special_v6[] = {
    {{0x20, 0x01, 0, 0}, 23},       /* protocol assignments, Teredo */
    {{0x20, 0x01, 0x0d, 0xb8}, 32}, /* documentation */
    {{0x20, 0x02, 0, 0}, 16},       /* 6to4: an IPv4 address inside */
    {{0x3f, 0xff, 0, 0}, 20},       /* documentation */
};

static bool is_in(const uint8_t b[4], const struct range *ranges, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned same = 0;
        while (same < ranges[i].bits && !(((b[same / 8] ^ ranges[i].b[same / 8]) << same % 8) & 0x80)) {
            same++;
        }
        if (same == ranges[i].bits) {
            return true;
        }
    }
    return false;
}

bool addr_is_public(const struct addr *a)
{
    if (addr_is_v4(a)) {
        return !is_in(a->b + 12, special_v4, sizeof special_v4 / sizeof special_v4[0]);
    }
    return is_in(a->b, &global_v6, 1) && !is_in(a->b, special_v6, sizeof special_v6 / sizeof special_v6[0]);
}
