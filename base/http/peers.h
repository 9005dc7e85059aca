/* How many connections each client address has, and how fast it opens new ones: one table for the process.
 * An address is an IPv4 /32 or an IPv6 /64. Not the rate limits of requests: those are ratelimit/.
 *
 * Fixed size (64 Ki slots of 40 bytes, touched as needed), hashed with a key drawn at start; a slot is free
 * again when it has no connection and its bucket is full. When all slots of a neighbourhood are busy, a new
 * address is let in uncounted (metric peer_table_full): the ceiling on all connections still holds.
 * Thread rule: any thread; 64 locks. */
#ifndef TIDE_BASE_HTTP_PEERS_H
#define TIDE_BASE_HTTP_PEERS_H

#include "base/addr.h"

struct peer_slot;

enum peer_verdict {
    PEER_OK = 0,
    PEER_TOO_MANY = 1, /* connections */
    PEER_TOO_FAST = 2, /* new connections a second; burst twice that */
};

/* PEER_OK counts one more; *slot (may be NULL: uncounted) goes to peer_release when the connection ends. */
enum peer_verdict peer_admit(const struct addr *peer, uint32_t max_connections, uint32_t per_s,
                             uint64_t now_ms, struct peer_slot **slot);
void peer_release(struct peer_slot *slot); /* NULL allowed */

#endif
