/* The limiter's commands in RESP, assembled from what the rules precomputed. Part of ratelimit/limiter.
 * Thread rule: the limiter's loop. */
#ifndef TIDE_RATELIMIT_LIMITER_COMMAND_H
#define TIDE_RATELIMIT_LIMITER_COMMAND_H

#include "ratelimit/limiter.h"

/* EVALSHA of limit_script_take for the call's keys; on the arena. */
struct str limiter_command_take(const struct limit_call *call, struct arena *arena);
/* limit_script_settle for one key, fire and forget. */
void limiter_command_settle(struct redis *redis, const struct limit_key_state *k, int64_t inc_us);

#endif
