/* Proof of work in the gateway: hands out challenges, checks what was solved, tells browsers how. Not the puzzle
 * (ratelimit/pow.h).
 *
 *     GET /auth/v1/challenge?for=otp[&level=pow_hard]    a challenge, as an ALTCHA client wants it
 *     POST /auth/v1/otp -> challenge_verify: signature, time, purpose, network, one hash -> pow_spend: once in the fleet
 *                       -> challenge_level -> challenge_conclude: is it enough?
 *     GET /auth/v1/challenge/page, .css, .js             for browsers and web views
 *
 * A payload is what the client sent as gotrue_meta_security.captcha_token, or in the field x-altcha. A refusal is
 * answered here: captcha_failed with `reason` (pow_verdict_name), the `level` that is wanted, and a new `challenge`.
 * Thread rule: the request's loop; challenge_open and challenge_close the main thread. */
#ifndef TIDE_GATEWAY_CHALLENGE_H
#define TIDE_GATEWAY_CHALLENGE_H

#include "gateway/request.h"
#include "ratelimit/pow.h"

struct gateway;

void challenge_open(struct gateway *g);
void challenge_close(struct gateway *g);

/* The level for an attempt: the highest of the configuration's, the policy's for this attempt, that of its suspicion
 * and the attack ladder's. may_create: the request allows a new account; others are asked by the last two only. */
enum pow_level challenge_level(const struct request *r, bool may_create, enum pow_level of_policy,
                               enum pow_level of_suspicion);

/* Looks at what was sent, and takes it as used when it is good: done(arg), perhaps before this returns, never after
 * challenge_forget. Counts the attempt for the load. */
void challenge_verify(struct request *r, const char *purpose, struct str payload, void (*done)(void *arg),
                      void *arg);
/* After that. True: it shows work of this level, or none is wanted. False: refused and answered. */
bool challenge_conclude(struct request *r, enum pow_level level);
void challenge_forget(struct request *r); /* request_finish only */

extern const struct route challenge_routes[];
extern const unsigned challenge_route_count;

#endif
