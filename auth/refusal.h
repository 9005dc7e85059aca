/* Refused sign-ups, as a bounded sample: what the decision was made from, kept in the table signup_refusals so that
 * another policy can be tried over it. Not the count of refusals, nor what the refused are told. Private to auth/.
 *
 *     refusal_sample -> room in this minute? no: the next row stands for this one too
 *                                            yes: a job of its own, which nobody waits for
 *
 * A loop keeps at most auth.refusal_samples a minute, evenly once they are used up; the table is a ring of 100,000
 * rows. A row that cannot be stored is counted as lost (tidegate_auth_refusals_total) and hurts nobody.
 * Thread rule: the loop. */
#ifndef TIDE_AUTH_REFUSAL_H
#define TIDE_AUTH_REFUSAL_H

#include "auth/auth.h"
#include "auth/subject.h"

struct refusal {
    const char *stage; /* "otp": no code was sent; "verify": the code was right, but too late */
    const struct phone *phone;
    const struct subject *subject;
    const struct policy_decision *decision;
};
void refusal_sample(struct auth_loop *al, const struct auth_config *conf, const struct refusal *r);

/* True when one more may be kept now; then *stands_for says for how many refusals it stands. */
bool refusal_sampler_take(struct refusal_sampler *s, uint64_t per_minute, uint64_t now_ms,
                          int64_t *stands_for);

#endif
