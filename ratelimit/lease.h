/* Leases: units of a busy key that this process took from Redis in advance, so that its requests need no round trip.
 * Not the taking itself (limiter.c sends it with the next request of the key).
 *
 *     a key is asked for 20 times a second -> the next request to Redis asks for k more units
 *          -> lease_grant: k units for TTL -> lease_take ... lease_take -> none left, or TTL over: ask again
 *
 *     k = clamp(rate * 100 ms / N, 1, burst / (4 N))     N gateways
 *     never leased: a burst below 4 N, a rate below 20/s (such a key is never busy for long)
 *
 * The units are debited in Redis before they are used, so nothing is admitted that Redis did not count. They may be
 * used up to TTL (1 s) after their debit: in a window W a key lets pass at most burst + rate * (W + TTL). What a
 * gateway does not use is not given back (a refund after the bucket has drained would let too much pass): at most k
 * units a gateway and TTL are lost, also when it is killed.
 * Time: the caller's, monotonic microseconds; the TTL runs from before the command was sent.
 * Memory: entries * 64 bytes, touched as used. A full set of four loses the entry that has no units and is oldest.
 * Thread rule: any thread. */
#ifndef TIDE_RATELIMIT_LEASE_H
#define TIDE_RATELIMIT_LEASE_H

#include "ratelimit/local.h"

struct lease_table;

enum { LEASE_TTL_US = 1000000, LEASE_BUSY_PER_S = 20 };

struct lease_table *lease_table_new(uint32_t entries);
void lease_table_free(struct lease_table *t);

uint64_t lease_size(const struct gcra *g, unsigned gateways); /* k; 0: this rule is not leased */

struct lease_answer {
    bool taken;          /* one unit of a lease */
    uint64_t want;       /* not taken: units to ask Redis for besides the request's own; mostly 0 */
    int64_t distance_us; /* taken: the key's distance, estimated for what clients are told */
};
/* Counts a request of the key; takes a unit when there is one. */
struct lease_answer lease_take(struct lease_table *t, struct limit_key key, const struct gcra *g,
                               unsigned gateways, int64_t now_us);
/* Another rule refused the request: the unit may serve the next one. */
void lease_return(struct lease_table *t, struct limit_key key, int64_t now_us);
/* Redis debited units on a command sent at sent_us; the key's distance then, those units included. units 0: it did
 * not, the key may ask again. */
void lease_grant(struct lease_table *t, struct limit_key key, uint64_t units, int64_t distance_us,
                 int64_t sent_us);

#endif
