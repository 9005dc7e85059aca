/* One request for a code, before anything is done for it: its suspicion and its proof of work are looked at together,
 * in one round trip to Redis, and then it is let on, asked for work, or refused.
 *
 *     attempt_check -> suspicion_weigh  \
 *                   -> challenge_verify  } both -> deny: abnormal_usage
 *                                                  level = the highest of configuration, policy, suspicion, ladder
 *                                                  challenge_conclude: captcha_failed, or on
 *                                               -> suspicion_keep, done
 *
 * Thread rule: the request's loop. */
#ifndef TIDE_GATEWAY_ATTEMPT_H
#define TIDE_GATEWAY_ATTEMPT_H

#include <stdbool.h>

struct auth_attempt;
struct auth_call;

/* A port of auth/ (struct auth_ports: check_attempt). */
void attempt_check(struct auth_call *call, const struct auth_attempt *a,
                   void (*done)(struct auth_call *call, bool is_admitted));

#endif
