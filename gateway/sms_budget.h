/* May a code go to this number? Limits and budgets (the rules at the event sms), what of the budgets is kept for accounts,
 * what the attack ladder makes of them, and the guard of the prefix (sms.h). Not the counting (ratelimit/limiter.h).
 *
 *     whom          of a budget                               charged
 *     ANYONE        all but sms.login_reserve                 the cost; from A1 on, when it may make an account, more
 *     ACCOUNT       all of it                                 the cost
 *     NOBODY        all of it                                 nothing: no message goes
 *
 * Limits by number, device and address are the same for all three. ACCOUNT and NOBODY are told the same.
 * Thread rule: the request's loop. */
#ifndef TIDE_GATEWAY_SMS_BUDGET_H
#define TIDE_GATEWAY_SMS_BUDGET_H

#include "auth/auth.h"
#include "gateway/config.h"

/* A port of auth/ (struct auth_ports: check_code). */
void sms_budget_check(struct auth_call *call, const struct auth_code_ask *ask,
                      void (*done)(struct auth_call *call, enum auth_code_verdict v));

struct auth_taken *sms_budget_keep(struct auth_call *call); /* likewise: keep_taken */

/* On which terms the number of such a request is charged, while the ladder is at this level. */
struct limit_terms sms_budget_terms(const struct gateway_settings *set, const struct auth_code_ask *ask,
                                    int attack_level);

#endif
