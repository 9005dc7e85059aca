/* Commands of what is leased or runs at once. Part of ratelimit/limiter.
 * Thread rule: the limiter's loop. */
#ifndef TIDE_RATELIMIT_LIMITER_RESERVE_H
#define TIDE_RATELIMIT_LIMITER_RESERVE_H

#include "ratelimit/limiter_shared.h"

/* EVALSHA of limit_script_reserve for the call's keys; on the arena. */
struct str limiter_command_reserve(const struct limit_call *call, struct arena *arena);

enum { LIMIT_RUNNING_LESS = -1 }; /* one less than Redis has */
/* Tells Redis how many of the key (limiter_key_text) run on this loop. Nobody waits for the answer; away: the renewal says it again, or
 * the field ends by itself. */
void limiter_send_running(struct limiter *l, enum limit_role role, struct str key, int64_t count);

#endif
