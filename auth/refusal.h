/* Refused sign-ups, as a bounded sample: what the decision was made from, kept in the table signup_attempts so that
 * another policy can be tried over it. Not the count of refusals, nor what the refused are told. Private to auth/.
 *
 *     refusal_sample -> room in this minute? no: the next row stands for this one too
 *                                            yes: a job of its own, which nobody waits for
 *
 * A loop keeps at most auth.refusal_samples a minute, evenly once they are used up; the table is a ring of 1,000,000
 * rows, which sign-ups that were let in share. A row that cannot be stored is counted as lost (tidegate_auth_refusals_total) and hurts nobody.
 * Thread rule: the loop. */
#ifndef TIDE_AUTH_REFUSAL_H
#define TIDE_AUTH_REFUSAL_H

#include "auth/attempt.h"
#include "auth/auth.h"

void refusal_sample(struct auth_loop *al, const struct auth_config *conf, const struct attempt_of *r);

/* True when one more may be kept now; then *stands_for says for how many refusals it stands. */
bool refusal_sampler_take(struct refusal_sampler *s, uint64_t per_minute, uint64_t now_ms,
                          int64_t *stands_for);

#endif
