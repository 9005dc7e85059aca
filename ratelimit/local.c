#include "ratelimit/local.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/err.h"

enum { WAYS = 4, STRIPES = 256, LEAST_ENTRIES = 1024 };

struct entry {
    uint64_t tag;  /* the key's hi, never 0 while in use */
    int64_t t_us;  /* TAT, or the end of a block; 0: free */
};

struct bucket {
    struct entry ways[WAYS];
} __attribute__((aligned(64)));

struct stripe {
    pthread_mutex_t lock;
} __attribute__((aligned(64)));

struct local_table {
    struct bucket *buckets;
    uint64_t mask; /* buckets - 1 */
    struct stripe stripes[STRIPES];
};

struct local_table *local_table_new(uint32_t entries)
{
    uint64_t n = LEAST_ENTRIES;
    while (n < entries) {
        n *= 2;
    }
    struct local_table *t = aligned_alloc(64, sizeof(*t));
    BUG_ON(!t);
    /* calloc, so that pages nobody uses cost nothing; buckets start on a line of their own by chance only,
     * which costs speed, not correctness. */
    t->buckets = calloc(n / WAYS, sizeof(struct bucket));
    BUG_ON(!t->buckets);
    t->mask = n / WAYS - 1;
    for (int i = 0; i < STRIPES; i++) {
        pthread_mutex_init(&t->stripes[i].lock, NULL);
    }
    return t;
}

void local_table_free(struct local_table *t)
{
    if (!t) {
        return;
    }
    for (int i = 0; i < STRIPES; i++) {
        pthread_mutex_destroy(&t->stripes[i].lock);
    }
    free(t->buckets);
    free(t);
}

static struct bucket *bucket_lock(struct local_table *t, struct limit_key key, pthread_mutex_t **lock)
{
    uint64_t i = key.lo & t->mask;
    *lock = &t->stripes[i % STRIPES].lock;
    pthread_mutex_lock(*lock);
    return &t->buckets[i];
}

static uint64_t tag_of(struct limit_key key)
{
    return key.hi | 1;
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

void local_give_back(struct local_table *t, struct limit_key key, int64_t inc_us, unsigned shares,
                     int64_t now_us)
{
    pthread_mutex_t *lock = NULL;
    struct entry *e = entry_find(bucket_lock(t, key, &lock), key);
    if (e && e->t_us > now_us) {
        e->t_us -= inc_us * (shares > 0 ? (int64_t)shares : 1);
    }
    pthread_mutex_unlock(lock);
}

void local_block(struct local_table *t, struct limit_key key, int64_t until_us, int64_t now_us)
{
    if (until_us <= now_us) {
        return;
    }
    pthread_mutex_t *lock = NULL;
    struct entry *e = entry_make(bucket_lock(t, key, &lock), key);
    e->t_us = until_us;
    pthread_mutex_unlock(lock);
}

int64_t local_blocked_us(struct local_table *t, struct limit_key key, int64_t now_us)
{
    pthread_mutex_t *lock = NULL;
    const struct entry *e = entry_find(bucket_lock(t, key, &lock), key);
    int64_t left = e ? e->t_us - now_us : 0;
    pthread_mutex_unlock(lock);
    return left > 0 ? left : 0;
}
