#include "ratelimit/local.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/err.h"
#include "ratelimit/striped.h"

enum { WAYS = 5 };

struct entry {
    uint64_t tag;     /* the key's hi, never 0 while in use */
    int64_t t_us;     /* TAT, or when the block must be asked again; 0: free */
    int64_t retry_us; /* of a block: when the key may pass */
};

struct bucket {
    struct entry ways[WAYS];
    uint64_t pad;
};
_Static_assert(sizeof(struct bucket) == 128, "two cache lines");

struct local_table {
    struct bucket *buckets;
    uint64_t mask;                 /* buckets - 1 */
    _Atomic int64_t last_block_us; /* end of the latest block: past it there is nothing to look up */
    struct striped locks;
};

static size_t table_bytes(const struct local_table *t)
{
    return (t->mask + 1) * sizeof(struct bucket);
}

struct local_table *local_table_new(uint32_t entries)
{
    struct local_table *t = aligned_alloc(64, sizeof(*t));
    BUG_ON(!t);
    t->mask = striped_buckets(entries, WAYS) - 1;
    atomic_init(&t->last_block_us, 0);
    t->buckets = striped_pages_new(table_bytes(t));
    striped_init(&t->locks);
    return t;
}

void local_table_free(struct local_table *t)
{
    if (t) {
        striped_clear(&t->locks);
        striped_pages_free(t->buckets, table_bytes(t));
        free(t);
    }
}

static struct bucket *bucket_lock(struct local_table *t, struct limit_key key, pthread_mutex_t **lock)
{
    uint64_t i = key.lo & t->mask;
    *lock = striped_lock(&t->locks, i);
    return &t->buckets[i];
}

static uint64_t tag_of(struct limit_key key)
{
    return key.hi != 0 ? key.hi : 1;
}

static struct entry *entry_find(struct bucket *b, struct limit_key key)
{
    for (int i = 0; i < WAYS; i++) {
        if (b->ways[i].tag == tag_of(key)) {
            return &b->ways[i];
        }
    }
    return NULL;
}

/* The key's entry, or that of the bucket which ends first, made the key's. Ended ones come first by themselves. */
static struct entry *entry_make(struct bucket *b, struct limit_key key)
{
    struct entry *e = entry_find(b, key);
    if (e) {
        return e;
    }
    e = &b->ways[0];
    for (int i = 1; i < WAYS; i++) {
        if (b->ways[i].t_us < e->t_us) {
            e = &b->ways[i];
        }
    }
    *e = (struct entry){.tag = tag_of(key)};
    return e;
}

/* This process's share of a rule: the rate and the burst divided, but never less than one request's worth. */
static struct gcra share_of(const struct gcra *g, int64_t inc_us)
{
    struct gcra share = *g;
    if (share.tau_us < inc_us) {
        share.tau_us = inc_us;
    }
    if (share.cap_us < share.tau_us) {
        share.cap_us = share.tau_us;
    }
    return share;
}

int64_t local_take(struct local_table *t, struct limit_key key, const struct gcra *g, int64_t inc_us,
                   unsigned shares, int64_t now_us)
{
    if (inc_us > g->tau_us) {
        return GCRA_NEVER;
    }
    int64_t inc = inc_us * (shares > 0 ? (int64_t)shares : 1);
    struct gcra share = share_of(g, inc);
    pthread_mutex_t *lock = NULL;
    struct bucket *b = bucket_lock(t, key, &lock);
    struct entry *e = entry_make(b, key);
    int64_t d = gcra_step(&share, &e->t_us, now_us, inc);
    pthread_mutex_unlock(lock);
    return gcra_retry_us(&share, d, inc);
}

void local_settle(struct local_table *t, struct limit_key key, const struct gcra *g, int64_t inc_us,
                  unsigned shares, int64_t now_us)
{
    pthread_mutex_t *lock = NULL;
    struct entry *e = entry_find(bucket_lock(t, key, &lock), key);
    if (e) {
        int64_t at = (e->t_us > now_us ? e->t_us : now_us) + inc_us * (shares > 0 ? (int64_t)shares : 1);
        e->t_us = at < now_us + g->cap_us ? at : now_us + g->cap_us;
    }
    pthread_mutex_unlock(lock);
}

void local_block(struct local_table *t, struct limit_key key, int64_t retry_us, int64_t valid_us,
                 int64_t now_us)
{
    if (valid_us <= 0) {
        return;
    }
    int64_t last = atomic_load_explicit(&t->last_block_us, memory_order_relaxed);
    while (last < now_us + valid_us &&
           !atomic_compare_exchange_weak_explicit(&t->last_block_us, &last, now_us + valid_us,
                                                  memory_order_relaxed, memory_order_relaxed)) {
    }
    pthread_mutex_t *lock = NULL;
    struct entry *e = entry_make(bucket_lock(t, key, &lock), key);
    e->t_us = now_us + valid_us;
    e->retry_us = now_us + retry_us;
    pthread_mutex_unlock(lock);
}

bool local_has_blocks(const struct local_table *t, int64_t now_us)
{
    return atomic_load_explicit(&t->last_block_us, memory_order_relaxed) > now_us;
}

int64_t local_blocked_us(struct local_table *t, struct limit_key key, int64_t now_us)
{
    pthread_mutex_t *lock = NULL;
    const struct entry *e = entry_find(bucket_lock(t, key, &lock), key);
    int64_t left = e && e->t_us > now_us ? e->retry_us - now_us : 0;
    pthread_mutex_unlock(lock);
    return left;
}
