#include "ratelimit/newcomers.h"

#include <stdlib.h>

#include "base/err.h"
#include "ratelimit/striped.h"

enum { WAYS = 4, ASK_MS = 1000, WINDOW_FACTOR = 10 };

struct newcomer {
    uint64_t until_ms; /* forgotten then; monotonic */
    uint32_t tag;      /* of the key's hi, never 0 while in use; keys that share one are counted together */
    uint8_t held;      /* units not charged in Redis */
    bool known;        /* Redis has the key */
};
_Static_assert(sizeof(struct newcomer) == 16, "four in a cache line");

struct newcomers {
    struct newcomer *all;
    uint64_t mask; /* buckets - 1 */
    struct striped locks;
};

static size_t table_bytes(const struct newcomers *t)
{
    return (t->mask + 1) * WAYS * sizeof(struct newcomer);
}

struct newcomers *newcomers_new(uint32_t entries)
{
    struct newcomers *t = aligned_alloc(64, sizeof(*t));
    BUG_ON(!t);
    t->mask = striped_buckets(entries, WAYS) - 1;
    t->all = striped_pages_new(table_bytes(t));
    striped_init(&t->locks);
    return t;
}

void newcomers_free(struct newcomers *t)
{
    if (t) {
        striped_clear(&t->locks);
        striped_pages_free(t->all, table_bytes(t));
        free(t);
    }
}

static struct newcomer *bucket_lock(struct newcomers *t, struct limit_key key, pthread_mutex_t **lock)
{
    uint64_t i = key.lo & t->mask;
    *lock = striped_lock(&t->locks, i);
    return &t->all[i * WAYS];
}

static uint32_t tag_of(struct limit_key key)
{
    return (uint32_t)key.hi | 1;
}

static struct newcomer *newcomer_find(struct newcomer *bucket, struct limit_key key)
{
    for (int i = 0; i < WAYS; i++) {
        if (bucket[i].tag == tag_of(key)) {
            return &bucket[i];
        }
    }
    return NULL;
}

static struct newcomer *newcomer_make(struct newcomer *bucket, struct limit_key key)
{
    struct newcomer *found = newcomer_find(bucket, key);
    if (found) {
        return found;
    }
    struct newcomer *first = &bucket[0];
    for (int i = 1; i < WAYS; i++) {
        first = bucket[i].until_ms < first->until_ms ? &bucket[i] : first;
    }
    *first = (struct newcomer){.tag = tag_of(key)};
    return first;
}

static uint64_t window_ms(const struct gcra *g, unsigned gateways)
{
    int64_t slow_us = gcra_inc_us(g, (uint64_t)NEWCOMER_FREE * WINDOW_FACTOR * (gateways > 0 ? gateways : 1));
    return (uint64_t)(slow_us > NEWCOMER_WINDOW_US ? slow_us : NEWCOMER_WINDOW_US) / 1000;
}

bool newcomers_pass(struct newcomers *t, struct limit_key key, const struct gcra *g, unsigned gateways,
                    int64_t now_us, unsigned *held)
{
    uint64_t now_ms = (uint64_t)now_us / 1000;
    pthread_mutex_t *lock = NULL;
    struct newcomer *n = newcomer_make(bucket_lock(t, key, &lock), key);
    if (n->until_ms <= now_ms) {
        *n = (struct newcomer){.tag = n->tag, .until_ms = now_ms + window_ms(g, gateways)};
    }
    bool passes = !n->known && n->held < NEWCOMER_FREE;
    if (passes) {
        n->held++;
        *held = n->held;
    } else {
        *held = n->held;
        n->held = 0;
        if (!n->known) {
            n->known = true;
            n->until_ms = now_ms + ASK_MS; /* the answer says for how long */
        }
    }
    pthread_mutex_unlock(lock);
    return passes;
}

void newcomers_known(struct newcomers *t, struct limit_key key, int64_t for_us, int64_t now_us)
{
    pthread_mutex_t *lock = NULL;
    struct newcomer *n = newcomer_make(bucket_lock(t, key, &lock), key);
    uint64_t until_ms = (uint64_t)(now_us + for_us) / 1000;
    n->known = true;
    n->until_ms = until_ms > n->until_ms ? until_ms : n->until_ms;
    pthread_mutex_unlock(lock);
}

void newcomers_put_back(struct newcomers *t, struct limit_key key, unsigned held)
{
    pthread_mutex_t *lock = NULL;
    struct newcomer *n = newcomer_find(bucket_lock(t, key, &lock), key);
    if (n) {
        unsigned sum = n->held + held;
        n->held = (uint8_t)(sum < NEWCOMER_FREE ? sum : NEWCOMER_FREE);
    }
    pthread_mutex_unlock(lock);
}

void newcomers_return(struct newcomers *t, struct limit_key key)
{
    pthread_mutex_t *lock = NULL;
    struct newcomer *n = newcomer_find(bucket_lock(t, key, &lock), key);
    if (n && !n->known && n->held > 0) {
        n->held--;
    }
    pthread_mutex_unlock(lock);
}
