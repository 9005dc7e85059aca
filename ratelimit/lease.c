#include "ratelimit/lease.h"

#include <stdlib.h>

#include "base/err.h"
#include "ratelimit/striped.h"

enum { WAYS = 4, WINDOW_US = 1000000, ASK_US = 100000, SIZE_US = 100000 };

struct lease {
    uint64_t tag;        /* the key's hi, never 0 while in use */
    int64_t window_us;   /* began */
    uint32_t count;      /* requests in this window */
    uint32_t count_last; /* in the one before */
    uint64_t units;      /* left */
    int64_t until_us;    /* end of the units; 0: none were ever granted */
    int64_t granted_us;  /* when Redis debited them, at the earliest */
    int64_t distance_us; /* of the key then, with them */
    int64_t asked_us;    /* end of waiting for an answer; 0: not waiting */
};
_Static_assert(sizeof(struct lease) == 64, "one cache line");

struct lease_table {
    struct lease *leases;
    uint64_t mask; /* buckets - 1 */
    struct striped locks;
};

static size_t table_bytes(const struct lease_table *t)
{
    return (t->mask + 1) * WAYS * sizeof(struct lease);
}

struct lease_table *lease_table_new(uint32_t entries)
{
    struct lease_table *t = aligned_alloc(64, sizeof(*t));
    BUG_ON(!t);
    t->mask = striped_buckets(entries, WAYS) - 1;
    t->leases = striped_pages_new(table_bytes(t));
    striped_init(&t->locks);
    return t;
}

void lease_table_free(struct lease_table *t)
{
    if (t) {
        striped_clear(&t->locks);
        striped_pages_free(t->leases, table_bytes(t));
        free(t);
    }
}

uint64_t lease_size(const struct gcra *g, unsigned gateways)
{
    uint64_t n = gateways > 0 ? gateways : 1;
    if ((unsigned __int128)g->limit * 1000000 < (unsigned __int128)LEASE_BUSY_PER_S * g->period_us) {
        return 0;
    }
    uint64_t most = g->burst / (4 * n);
    uint64_t k = (uint64_t)((unsigned __int128)g->limit * SIZE_US / g->period_us) / n;
    k = k > 1 ? k : 1;
    return k < most ? k : most;
}

/* --- entries -------------------------------------------------------------------------------------- */

static struct lease *bucket_lock(struct lease_table *t, struct limit_key key, pthread_mutex_t **lock)
{
    uint64_t i = key.lo & t->mask;
    *lock = striped_lock(&t->locks, i);
    return &t->leases[i * WAYS];
}

static uint64_t tag_of(struct limit_key key)
{
    return key.hi != 0 ? key.hi : 1;
}

static struct lease *lease_find(struct lease *bucket, struct limit_key key)
{
    for (int i = 0; i < WAYS; i++) {
        if (bucket[i].tag == tag_of(key)) {
            return &bucket[i];
        }
    }
    return NULL;
}

/* Who is thrown out first: without units before with, then the one whose window is oldest. */
static bool is_worth_less(const struct lease *a, const struct lease *b, int64_t now_us)
{
    bool a_lives = a->until_us > now_us;
    bool b_lives = b->until_us > now_us;
    return a_lives != b_lives ? b_lives : a->window_us < b->window_us;
}

static struct lease *lease_make(struct lease *bucket, struct limit_key key, int64_t now_us)
{
    struct lease *found = lease_find(bucket, key);
    if (found) {
        return found;
    }
    struct lease *least = &bucket[0];
    for (int i = 1; i < WAYS; i++) {
        least = is_worth_less(&bucket[i], least, now_us) ? &bucket[i] : least;
    }
    *least = (struct lease){.tag = tag_of(key), .window_us = now_us};
    return least;
}

static bool count_request(struct lease *l, int64_t now_us)
{
    int64_t age_us = now_us - l->window_us;
    if (age_us >= WINDOW_US) {
        l->count_last = age_us < 2 * WINDOW_US ? l->count : 0;
        l->count = 0;
        l->window_us = now_us;
    }
    l->count++;
    return l->count > LEASE_BUSY_PER_S || l->count_last > LEASE_BUSY_PER_S;
}

/* --- verbs ---------------------------------------------------------------------------------------- */

struct lease_answer lease_take(struct lease_table *t, struct limit_key key, const struct gcra *g,
                               unsigned gateways, int64_t now_us)
{
    struct lease_answer answer = {0};
    pthread_mutex_t *lock = NULL;
    struct lease *l = lease_make(bucket_lock(t, key, &lock), key, now_us);
    bool is_busy = count_request(l, now_us);
    if (l->units > 0 && now_us < l->until_us) {
        l->units--;
        int64_t distance = l->distance_us - (now_us - l->granted_us) - gcra_inc_us(g, l->units);
        answer = (struct lease_answer){.taken = true, .distance_us = distance > 0 ? distance : 0};
    } else if (is_busy && now_us >= l->asked_us) {
        answer.want = lease_size(g, gateways);
        l->asked_us = answer.want > 0 ? now_us + ASK_US : 0; /* one asks; the others go without */
    }
    pthread_mutex_unlock(lock);
    return answer;
}

void lease_return(struct lease_table *t, struct limit_key key, int64_t now_us)
{
    pthread_mutex_t *lock = NULL;
    struct lease *l = lease_find(bucket_lock(t, key, &lock), key);
    if (l && now_us < l->until_us) {
        l->units++;
    }
    pthread_mutex_unlock(lock);
}

void lease_grant(struct lease_table *t, struct limit_key key, uint64_t units, int64_t distance_us,
                 int64_t sent_us)
{
    pthread_mutex_t *lock = NULL;
    struct lease *l = lease_make(bucket_lock(t, key, &lock), key, sent_us);
    l->asked_us = 0;
    if (units > 0) {
        l->units = units;
        l->distance_us = distance_us;
        l->granted_us = sent_us;
        l->until_us = sent_us + LEASE_TTL_US;
    }
    pthread_mutex_unlock(lock);
}
