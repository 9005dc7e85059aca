/* Open hashing over SipHash (session ids come from tokens that we signed, but cheap is cheap), and a queue in
 * order of arrival that says what to forget. */
#include "auth/revoked.h"

#include <stdlib.h>

#include "base/err.h"

struct revoked_entry {
    struct uuid session;
    int64_t at_s;
    struct revoked_entry *next_same; /* in the bucket */
    struct revoked_entry *newer;     /* in the queue */
};

struct revoked {
    struct revoked_entry **buckets;
    size_t bucket_count; /* a power of two */
    struct revoked_entry *oldest, *newest;
    unsigned count;
    int64_t keep_s;
};

enum { REVOKED_BUCKETS_MIN = 256 };

static struct revoked_entry **bucket_of(const struct revoked *r, const struct uuid *session)
{
    return &r->buckets[id_siphash(session->b, ID_UUID_BYTES) & (r->bucket_count - 1)];
}

static void buckets_resize(struct revoked *r, size_t count)
{
    free(r->buckets);
    r->buckets = calloc(count, sizeof *r->buckets);
    BUG_ON(!r->buckets);
    r->bucket_count = count;
    for (struct revoked_entry *e = r->oldest; e; e = e->newer) {
        struct revoked_entry **b = bucket_of(r, &e->session);
        e->next_same = *b;
        *b = e;
    }
}

struct revoked *revoked_new(int64_t keep_s)
{
    struct revoked *r = calloc(1, sizeof *r);
    BUG_ON(!r);
    r->keep_s = keep_s;
    buckets_resize(r, REVOKED_BUCKETS_MIN);
    return r;
}

static void forget_oldest(struct revoked *r)
{
    struct revoked_entry *e = r->oldest;
    struct revoked_entry **at = bucket_of(r, &e->session);
    while (*at != e) {
        at = &(*at)->next_same;
    }
    *at = e->next_same;
    r->oldest = e->newer;
    r->newest = r->oldest ? r->newest : NULL;
    r->count--;
    free(e);
}

void revoked_free(struct revoked *r)
{
    if (!r) {
        return;
    }
    while (r->oldest) {
        forget_oldest(r);
    }
    free(r->buckets);
    free(r);
}

bool revoked_has(const struct revoked *r, const struct uuid *session)
{
    for (const struct revoked_entry *e = *bucket_of(r, session); e; e = e->next_same) {
        if (uuid_eq(&e->session, session)) {
            return true;
        }
    }
    return false;
}

bool revoked_add(struct revoked *r, const struct uuid *session, int64_t at_s, int64_t now_s)
{
    while (r->oldest && (r->oldest->at_s < now_s - r->keep_s || r->count >= REVOKED_MAX)) {
        forget_oldest(r);
    }
    if (at_s < now_s - r->keep_s || revoked_has(r, session)) {
        return false;
    }
    struct revoked_entry *e = calloc(1, sizeof *e);
    BUG_ON(!e);
    *e = (struct revoked_entry){.session = *session, .at_s = at_s};
    if (r->newest) {
        r->newest->newer = e;
    } else {
        r->oldest = e;
    }
    r->newest = e;
    if (++r->count > r->bucket_count) {
        buckets_resize(r, r->bucket_count * 2); /* e is in the queue: it gets its bucket here */
    } else {
        struct revoked_entry **b = bucket_of(r, session);
        e->next_same = *b;
        *b = e;
    }
    return true;
}

unsigned revoked_count(const struct revoked *r)
{
    return r->count;
}
