/* The half of the limiter that all loops share. Part of ratelimit/limiter; nothing else includes this.
 * Thread rule: any thread. */
#ifndef TIDE_RATELIMIT_LIMITER_SHARED_H
#define TIDE_RATELIMIT_LIMITER_SHARED_H

#include "ratelimit/limiter.h"

struct limiter_shared {
    struct limiter_conf conf;
    struct local_table *fallback; /* GCRA states while Redis is away */
    struct local_table *denied;   /* keys that Redis denied a moment ago */
    atomic_uint gateways;         /* as the last heartbeat said */
    char instance[33];
};

#endif
