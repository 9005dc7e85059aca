#include "ratelimit/prefix_table.h"

#include <stdlib.h>

typedef unsigned __int128 u128; /* an address as a number */

struct prefix_table {
    uint32_t pieces; /* at least one: it begins at the lowest address */
    u128 *starts;    /* of the pieces, rising */
    uint32_t *tops;  /* the longest prefix over each */
    uint32_t *outer; /* of each prefix */
};

struct span {
    u128 first, last;
    uint32_t prefix;
};

static u128 number_of(const struct addr *a)
{
    uint64_t half[2];
    memcpy(half, a->b, sizeof half);
    return (u128)__builtin_bswap64(half[0]) << 64 | __builtin_bswap64(half[1]);
}

static struct span span_of(const struct addr_prefix *p, uint32_t i)
{
    u128 rest = p->bits == 0 ? ~(u128)0 : p->bits == 128 ? 0 : ~(u128)0 >> p->bits;
    u128 first = number_of(&p->addr) & ~rest;
    return (struct span){first, first | rest, i};
}

/* Outer before inner; of equal ones the first given is the outer one. */
static int by_place(const void *a, const void *b)
{
    const struct span *x = a, *y = b;
    if (x->first != y->first) {
        return x->first < y->first ? -1 : 1;
    }
    if (x->last != y->last) {
        return x->last > y->last ? -1 : 1;
    }
    return x->prefix < y->prefix ? -1 : x->prefix > y->prefix;
}

static void begin_piece(struct prefix_table *t, u128 start, uint32_t top)
{
    if (t->starts[t->pieces - 1] != start) {
        t->pieces++;
    }
    t->starts[t->pieces - 1] = start;
    t->tops[t->pieces - 1] = top;
}

/* Where the innermost open span ends, the one around it goes on. */
static void close_span(struct prefix_table *t, const struct span *open, uint32_t depth)
{
    u128 last = open[depth].last;
    if (last != ~(u128)0) {
        begin_piece(t, last + 1, depth > 0 ? open[depth - 1].prefix : PREFIX_NONE);
    }
}

static void cut(struct prefix_table *t, const struct span *spans, uint32_t n)
{
    struct span *open = malloc((n + 1) * sizeof *open); /* those around the present place, innermost last */
    uint32_t depth = 0;
    BUG_ON(!open);
    t->pieces = 1;
    t->starts[0] = 0;
    t->tops[0] = PREFIX_NONE;
    for (uint32_t i = 0; i < n; i++) {
        while (depth > 0 && open[depth - 1].last < spans[i].first) {
            close_span(t, open, --depth);
        }
        t->outer[spans[i].prefix] = depth > 0 ? open[depth - 1].prefix : PREFIX_NONE;
        begin_piece(t, spans[i].first, spans[i].prefix);
        open[depth++] = spans[i];
    }
    while (depth > 0) {
        close_span(t, open, --depth);
    }
    free(open);
}

struct prefix_table *prefix_table_new(const struct addr_prefix *prefixes, uint32_t n)
{
    struct prefix_table *t = calloc(1, sizeof *t);
    struct span *spans = malloc((n + 1) * sizeof *spans);
    size_t room = 2 * (size_t)n + 1;
    BUG_ON(!t || !spans);
    t->starts = malloc(room * sizeof *t->starts);
    t->tops = malloc(room * sizeof *t->tops);
    t->outer = malloc((n + 1) * sizeof *t->outer);
    BUG_ON(!t->starts || !t->tops || !t->outer);
    for (uint32_t i = 0; i < n; i++) {
        spans[i] = span_of(&prefixes[i], i);
    }
    qsort(spans, n, sizeof *spans, by_place);
    cut(t, spans, n);
    free(spans);
    return t;
}

void prefix_table_free(struct prefix_table *t)
{
    if (t) {
        free(t->starts);
        free(t->tops);
        free(t->outer);
        free(t);
    }
}

/* The last piece that begins at or before the address. The halving has no branch to guess: both ways are a move. */
uint32_t prefix_table_find(const struct prefix_table *t, const struct addr *a)
{
    u128 at = number_of(a);
    const u128 *base = t->starts;
    for (uint32_t n = t->pieces; n > 1;) {
        uint32_t half = n / 2;
        base = base[half] <= at ? base + half : base;
        n -= half;
    }
    return t->tops[base - t->starts];
}

uint32_t prefix_table_outer(const struct prefix_table *t, uint32_t prefix)
{
    return t->outer[prefix];
}
