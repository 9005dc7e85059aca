#include "ratelimit/offenders.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROWS = 4, COLUMNS = 65536 };

struct offenders {
    pthread_mutex_t lock;
    int64_t halved_us;
    unsigned count; /* of top */
    uint32_t least; /* the lowest count in a full top table */
    struct offender top[OFFENDERS_TOP];
    uint32_t counters[ROWS][COLUMNS];
};

struct offenders *offenders_new(void)
{
    struct offenders *o = calloc(1, sizeof(*o));
    BUG_ON(!o);
    pthread_mutex_init(&o->lock, NULL);
    return o;
}

void offenders_free(struct offenders *o)
{
    if (o) {
        pthread_mutex_destroy(&o->lock);
        free(o);
    }
}

static void halve(struct offenders *o, int64_t now_us)
{
    if (now_us - o->halved_us < OFFENDERS_HALVE_US) {
        return;
    }
    int64_t periods = (now_us - o->halved_us) / OFFENDERS_HALVE_US;
    unsigned shift = periods < 31 ? (unsigned)periods : 31;
    for (int r = 0; r < ROWS; r++) {
        for (int c = 0; c < COLUMNS; c++) {
            o->counters[r][c] >>= shift;
        }
    }
    unsigned kept = 0;
    for (unsigned i = 0; i < o->count; i++) {
        o->top[i].refused >>= shift;
        if (o->top[i].refused > 0) {
            o->top[kept++] = o->top[i];
        }
    }
    o->count = kept;
    o->least = 0;
    o->halved_us = now_us;
}

/* The keys are keyed hashes already: their own bits choose the columns. */
static uint32_t sketch_add(struct offenders *o, struct limit_key key)
{
    uint32_t least = UINT32_MAX;
    const uint64_t bits[2] = {key.lo, key.hi};
    for (int r = 0; r < ROWS; r++) {
        uint32_t *c = &o->counters[r][(bits[r / 2] >> (16 + 16 * (r % 2))) % COLUMNS];
        *c += *c < UINT32_MAX;
        least = *c < least ? *c : least;
    }
    return least;
}

static struct offender *row_for(struct offenders *o, struct limit_key key, uint32_t count)
{
    struct offender *lowest = &o->top[0];
    for (unsigned i = 0; i < o->count; i++) {
        if (o->top[i].key.lo == key.lo && o->top[i].key.hi == key.hi) {
            return &o->top[i];
        }
        lowest = o->top[i].refused < lowest->refused ? &o->top[i] : lowest;
    }
    if (o->count < OFFENDERS_TOP) {
        lowest = &o->top[o->count++];
    } else if (count <= lowest->refused) {
        o->least = lowest->refused;
        return NULL;
    }
    *lowest = (struct offender){.key = key};
    return lowest;
}

void offenders_add(struct offenders *o, const struct limit_rule *rule, struct limit_key key,
                   const struct addr *address, int64_t now_us)
{
    if (pthread_mutex_trylock(&o->lock) != 0) {
        return;
    }
    halve(o, now_us);
    uint32_t count = sketch_add(o, key);
    struct offender *row = count > o->least || o->count < OFFENDERS_TOP ? row_for(o, key, count) : NULL;
    if (row && row->rule[0] == '\0') {
        snprintf(row->rule, sizeof(row->rule), "%s", rule->name);
        if (rule->dimensions & (1u << LIMIT_BY_ADDRESS)) {
            row->source = addr_mask(address, rule->bits4, rule->bits6);
        }
    }
    if (row) {
        row->refused = count;
    }
    pthread_mutex_unlock(&o->lock);
}

static int by_refused(const void *a, const void *b)
{
    const struct offender *x = a, *y = b;
    return x->refused < y->refused ? 1 : x->refused > y->refused ? -1 : 0;
}

unsigned offenders_top(struct offenders *o, const char *rule, struct offender out[OFFENDERS_TOP],
                       int64_t now_us)
{
    unsigned n = 0;
    pthread_mutex_lock(&o->lock);
    halve(o, now_us);
    for (unsigned i = 0; i < o->count; i++) {
        if (!rule || strcmp(o->top[i].rule, rule) == 0) {
            out[n++] = o->top[i];
        }
    }
    pthread_mutex_unlock(&o->lock);
    qsort(out, n, sizeof(*out), by_refused);
    return n;
}
