/* What this gateway sees that stops a ramp of the policy: how many code requests fail, and what is left of the budgets of
 * codes. Not the signals that the database has (attack level, blocked prefixes: auth/policy_ramp_run.h).
 *
 *     ramp_signals_look, twice a second while a ramp is there: counts; once a second a question to the ledger, by way
 *     of loop 0
 *     ramp_signals_read -> the worst, in words
 *
 * A ledger that does not answer is not known, and a ramp goes no further then.
 * Thread rule: the control thread; new and free also the main one, while it does not run. */
#ifndef TIDE_GATEWAY_RAMP_SIGNALS_H
#define TIDE_GATEWAY_RAMP_SIGNALS_H

#include "auth/policy_ramp_run.h"

struct gateway;
struct ramp_signals;

struct ramp_signals *ramp_signals_new(struct gateway *g);
void ramp_signals_free(struct ramp_signals *s); /* NULL allowed */
void ramp_signals_look(struct ramp_signals *s);
void ramp_signals_read(const struct ramp_signals *s, struct policy_ramp_signals *out);
void ramp_signals_forget(struct ramp_signals *s); /* no ramp is there any more: the next begins anew */

#endif
