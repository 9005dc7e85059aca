/* From a subject to the keys of its rules. Part of ratelimit/limiter.
 * Thread rule: pure functions. */
#ifndef TIDE_RATELIMIT_LIMITER_KEY_H
#define TIDE_RATELIMIT_LIMITER_KEY_H

#include "ratelimit/limiter.h"

/* false: the rule does not apply to this subject (a dimension without a value, the other address family). */
bool limiter_key_of(const uint8_t hash_key[16], const struct limit_rule *rule,
                    const struct limit_subject *subject, struct limit_key *out);

#endif
