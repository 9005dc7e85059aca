/* From a subject to the keys of its rules. Part of ratelimit/limiter.
 * Thread rule: pure functions. */
#ifndef TIDE_RATELIMIT_LIMITER_KEY_H
#define TIDE_RATELIMIT_LIMITER_KEY_H

#include "ratelimit/limiter.h"

/* false: the rule does not apply to this subject (a dimension without a value, the other address family). */
bool limiter_key_of(const uint8_t hash_key[16], const struct limit_rule *rule,
                    const struct limit_subject *subject, struct limit_key *out);

/* In a Redis Cluster, keys of one script share a slot: they share a hash tag, 1 to 65535. It is that of one
 * dimension: the account, else the phone, the device, the address (its /24 or /48: the prefixes that contain an
 * address are counted beside it), and so on. So a request's rules need few scripts, and rules with one dimension
 * keep one counter whoever asks. */
uint16_t limiter_key_tag(const uint8_t hash_key[16], const struct limit_rule *rule,
                         const struct limit_subject *subject);

/* "rl:<rule>:<32 hex digits>", in a Cluster "rl:<rule>:{<tag>}<32 hex digits>". */
enum { LIMIT_KEY_TEXT = LIMIT_NAME_MAX + 48 };
size_t limiter_key_text(const struct limit_key_state *k, char out[LIMIT_KEY_TEXT]); /* bytes of it; no NUL */

#endif
