/* How many failed token checks an address has left: a leaky bucket for each IPv4 /32 or IPv6 /64, in a table of
 * fixed size. Two addresses that share a row push each other out: then the newer one starts afresh. Behind one address
 * there may be many people, so those that have none left share a few spare checks a second.
 *
 * Thread rule: used only on the loop thread that created it. */
#ifndef TIDE_GATEWAY_FAILURE_BUCKET_H
#define TIDE_GATEWAY_FAILURE_BUCKET_H

#include "base/addr.h"

enum { FAILURE_BUCKET_ROWS = 4096 };

struct failure_row {
    uint64_t tag;     /* keyed hash of the prefix; 0: free */
    uint64_t full_ms; /* monotonic: when the bucket is full again */
};

struct failure_bucket {
    struct failure_row rows[FAILURE_BUCKET_ROWS];
    uint64_t spare_s;     /* the second in which the spare checks were taken */
    uint32_t spare_taken; /* in it */
};

/* burst failures at once, then one every period_ms. */
bool failure_bucket_has(const struct failure_bucket *b, const struct addr *client, uint32_t burst,
                        uint64_t period_ms, uint64_t now_ms);
void failure_bucket_charge(struct failure_bucket *b, const struct addr *client, uint64_t period_ms,
                           uint64_t now_ms);
/* For an address that has none: one of per_s checks a second, whatever comes of it; not charged. */
bool failure_bucket_take_spare(struct failure_bucket *b, uint32_t per_s, uint64_t now_ms);

#endif
