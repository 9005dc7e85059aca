/* Inside of the gateway's limits: shared by limits*.c only.
 *
 * Thread rule: struct limits the control thread, but for what is shared; struct limits_loop its loop. */
#ifndef TIDE_GATEWAY_LIMITS_INNER_H
#define TIDE_GATEWAY_LIMITS_INNER_H

#include "gateway/gateway.h"
#include "ratelimit/limiter.h"

struct limit_event; /* limits.c */
struct limit_overrides;

struct limits {
    struct limiter_shared *shared;
    struct limit_overrides *overrides; /* limits_override.h */
};

struct limits_loop {
    struct redis *redis;  /* owned; NULL: none configured */
    struct redis *ledger; /* owned unless it is the same as redis */
    struct limiter *limiter;
    struct limit_event *left; /* owned: their requests are gone, their answers not here yet */
};

#endif
