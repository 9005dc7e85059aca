/* What the fleet counts for suspicion.h, in Redis (role limits), in one round trip: one script for the client's
 * network, one counter for the number's prefix, both in one write.
 *
 *     suspicion_count  adds this attempt and says what was counted    suspicion_peek  only looks
 *     suspicion_note_verified, suspicion_note_trap                    sent and forgotten
 *
 *     key                          what                                                ends after
 *     su:{<network>}a<address>     requests of an address (IPv4 /32, IPv6 /64)         velocity_window
 *     su:{<network>}n, v           requests of a network (/24, /48), codes used        window
 *     su:{<network>}j<ja4>         HyperLogLog of numbers, at most 12 KiB              window
 *     su:{<network>}t<address>     stepped into a trap                                 trap_life
 *     su:{<prefix>}p               requests for a prefix of numbers                    prefix_window
 *
 * Names are keyed hashes. Every key has an end; under pressure Redis drops those that end first (volatile-ttl).
 * Redis away or late: is_whole is false, what is not known is 0.
 * Ownership: struct suspicion_query lives, with its arena, until its callback or suspicion_forget.
 * Thread rule: the loop of the connection. */
#ifndef TIDE_RATELIMIT_SUSPICION_COUNTS_H
#define TIDE_RATELIMIT_SUSPICION_COUNTS_H

#include "base/addr.h"
#include "base/arena.h"
#include "base/redis.h"
#include "ratelimit/suspicion.h"

enum { SUSPICION_KEY_BYTES = 16 };

/* Of whom. Empty texts: not known. */
struct suspicion_who {
    struct addr client;
    struct str ja4;
    struct str number; /* a keyed hash */
    struct str prefix;
};

/* The connection, the key that hashes names, and how long things are remembered. Borrowed. */
struct suspicion_store {
    struct redis *redis; /* NULL: none */
    const uint8_t *key;  /* SUSPICION_KEY_BYTES, the same on all gateways */
    const struct suspicion_conf *conf;
};

struct suspicion_query {
    struct redis_op network, prefix;
    unsigned waiting;
    bool is_failed;
    struct suspicion_counts counts;
    void (*done)(void *arg);
    void *arg;
};

extern struct redis_script suspicion_script_network, suspicion_script_count;
void suspicion_scripts_init(void);

/* done may be called before this returns. */
void suspicion_count(const struct suspicion_store *s, const struct suspicion_who *who, struct arena *arena,
                     struct suspicion_query *q, void (*done)(void *arg), void *arg);
void suspicion_peek(const struct suspicion_store *s, const struct suspicion_who *who, struct arena *arena,
                    struct suspicion_query *q, void (*done)(void *arg), void *arg);
void suspicion_forget(struct suspicion_query *q); /* done is not called any more; callable twice */

void suspicion_note_verified(const struct suspicion_store *s, const struct addr *client);
void suspicion_note_trap(const struct suspicion_store *s, const struct addr *client);

#endif
