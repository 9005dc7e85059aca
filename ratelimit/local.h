/* Limits kept in this process: a table of fixed size, key -> one time. Used twice: as the fallback
 * while Redis is away (GCRA states) and as the deny cache (until when a key is refused anyway).
 *
 *     bucket (one cache line): [tag, time][tag, time][tag, time][tag, time]
 *
 * A full bucket loses its entry that ends first. The keys are keyed hashes, so nobody outside can
 * aim at a bucket.
 * Memory: entries * 16 bytes, allocated once, touched as used; never more.
 * Time: the caller's, monotonic microseconds.
 * Thread rule: any thread. */
#ifndef TIDE_RATELIMIT_LOCAL_H
#define TIDE_RATELIMIT_LOCAL_H

#include "ratelimit/gcra.h"

struct limit_key {
    uint64_t lo, hi; /* keyed SipHash-128 */
};

struct local_table;
/* entries is rounded up to a power of two, at least 1024. */
struct local_table *local_table_new(uint32_t entries);
void local_table_free(struct local_table *t);

/* One GCRA step with a share of 1/shares of the rate and burst (never less than one unit of burst).
 * Returns the retry time in us, 0 when allowed (then charged), GCRA_NEVER when the cost exceeds the
 * burst. */
int64_t local_take(struct local_table *t, struct limit_key key, const struct gcra *g,
                   int64_t inc_us, unsigned shares, int64_t now_us);
void local_give_back(struct local_table *t, struct limit_key key, int64_t inc_us, unsigned shares,
                     int64_t now_us);

void local_block(struct local_table *t, struct limit_key key, int64_t until_us, int64_t now_us);
int64_t local_blocked_us(struct local_table *t, struct limit_key key,
                         int64_t now_us); /* left; 0: not blocked */

#endif
