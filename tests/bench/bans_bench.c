/* What a look-up among many bans costs, and a new snapshot of them.
 *
 *     build/release/tests/bans_bench [ENTRIES]        100000 by default */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "ratelimit/bans.h"

enum { ASKED = 1 << 20, ROUNDS = 5 };

static uint64_t drawn = 88172645463325252;

static uint64_t draw(void)
{
    drawn ^= drawn << 13;
    drawn ^= drawn >> 7;
    drawn ^= drawn << 17;
    return drawn;
}

static struct addr random_v4(void)
{
    struct addr a = {.b = {[10] = 0xff, [11] = 0xff}};
    uint32_t n = (uint32_t)(draw() >> 16);
    memcpy(a.b + 12, &n, 4);
    return a;
}

static struct addr random_v6(void)
{
    struct addr a;
    uint64_t hi = draw(), lo = draw();
    memcpy(a.b, &hi, 8);
    memcpy(a.b + 8, &lo, 8);
    a.b[0] = 0x20 | (a.b[0] & 0x0f);
    return a;
}

/* Half of them known ones, so that hits and misses take turns. */
static struct addr *questions(const struct ban *rows, uint32_t n, struct addr (*draw_one)(void))
{
    struct addr *out = malloc(ASKED * sizeof *out);
    BUG_ON(!out);
    for (int i = 0; i < ASKED; i++) {
        out[i] = draw() % 2 ? rows[draw() % n].prefix.addr : draw_one();
    }
    return out;
}

static void measure(const char *name, uint32_t n, struct addr (*draw_one)(void), unsigned low, unsigned high)
{
    struct ban *rows = calloc(n, sizeof *rows);
    BUG_ON(!rows);
    for (uint32_t i = 0; i < n; i++) {
        struct addr a = draw_one();
        unsigned bits = low + (unsigned)(draw() % (high - low + 1));
        rows[i] = (struct ban){.id = i + 1, .prefix = addr_mask(&a, bits, bits)};
    }
    uint64_t began = clock_mono_ns();
    struct bans *b = bans_with(NULL, rows, n, 0);
    uint64_t built_ns = clock_mono_ns() - began;
    struct addr *asked = questions(rows, n, draw_one);
    double best = 1e9;
    unsigned banned = 0;
    for (int round = 0; round < ROUNDS; round++) {
        banned = 0;
        began = clock_mono_ns();
        for (int i = 0; i < ASKED; i++) {
            struct ban_subject who = {
                .address = &asked[i], .ja4 = STR(""), .device = STR(""), .phone = STR("")};
            banned += bans_find(b, &who, 0) != NULL;
        }
        double ns = (double)(clock_mono_ns() - began) / ASKED;
        best = ns < best ? ns : best;
    }
    printf("%-22s %7u entries  %6.1f ns a look-up (%u of %u banned)  built in %.1f ms\n", name, n, best,
           banned, (unsigned)ASKED, (double)built_ns / 1e6);
    free(asked);
    free(rows);
    bans_unref(b);
}

int main(int argc, char **argv)
{
    uint32_t n = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 100000;
    measure("IPv4 /8 to /32", n, random_v4, 8, 32);
    measure("IPv4 /32", n, random_v4, 32, 32);
    measure("IPv6 /19 to /128", n, random_v6, 19, 128);
    measure("IPv6 /64", n, random_v6, 64, 64);
    return 0;
}
