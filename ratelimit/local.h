/* Limits kept in this process: a table of fixed size, key -> one time. Used twice: as the fallback
 * while Redis is away (GCRA states) and as the deny cache (until when a key is refused anyway).
 *
 *     bucket (two cache lines): five of [tag, time, retry time]
 *
 * A full bucket loses its entry that ends first. The keys are keyed hashes, so nobody outside can
 * aim at a bucket.
 * Memory: entries * 25.6 bytes, allocated once, touched as used; never more.
 * Time: the caller's, monotonic microseconds.
 * Thread rule: any thread. */
#ifndef TIDE_RATELIMIT_LOCAL_H
#define TIDE_RATELIMIT_LOCAL_H

#include "ratelimit/gcra.h"

struct limit_key {
    uint64_t lo, hi; /* keyed SipHash-128 */
};

struct local_table;
/* Rounded up to buckets times a power of two. */
struct local_table *local_table_new(uint32_t entries);
void local_table_free(struct local_table *t);

/* One GCRA step with a share of 1/shares of the rate and burst (never less than one unit of burst).
 * Returns the retry time in us, 0 when allowed (then charged), GCRA_NEVER when the cost exceeds the
 * burst. */
int64_t local_take(struct local_table *t, struct limit_key key, const struct gcra *g, int64_t inc_us,
                   unsigned shares, int64_t now_us);
/* Corrects what local_take charged: negative gives back. */
void local_settle(struct local_table *t, struct limit_key key, const struct gcra *g, int64_t inc_us,
                  unsigned shares, int64_t now_us);

/* Refused for valid_us from now without asking again; retry_us is what the client is told (>= valid_us). */
void local_block(struct local_table *t, struct limit_key key, int64_t retry_us, int64_t valid_us,
                 int64_t now_us);
bool local_has_blocks(const struct local_table *t, int64_t now_us); /* false: surely nobody is blocked */
int64_t local_blocked_us(struct local_table *t, struct limit_key key,
                         int64_t now_us); /* retry; 0: not blocked */

#endif
