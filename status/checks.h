/* The schedule of probes and what becomes of their results: which component hears what, and when to ask again.
 *
 *     log-in check:  GET /auth/v1/settings, then POST /auth/v1/token with garbage  -> Log-in, Sign-up
 *     list check:    GET /v1/models                                                -> Chat API, a check per model
 *     model check:   POST /v1/chat/completions, one token                          -> that model
 *     SMS check:     the gateway's /metrics, then the hook's health                -> SMS verification
 *
 * A check runs every interval, one request at a time; while its component is in doubt it runs every `confirm`.
 * A model that the gateway stops listing stays (and its probes fail) for CHECKS_FORGET_MS: vanishing is how an
 * outage looks.
 * checks_new also drops the components of the board (from a snapshot) that the configuration no longer probes.
 * Ownership: borrows loop, prober and board; the settings until the next checks_set_conf.
 * Thread rule: used only on the control thread. */
#ifndef TIDE_STATUS_CHECKS_H
#define TIDE_STATUS_CHECKS_H

#include "status/board.h"
#include "status/notice.h"
#include "status/prober.h"
#include "status/settings.h"

enum { CHECKS_FORGET_MS = 24 * 3600 * 1000 };

struct checks;

struct checks *checks_new(struct loop *loop, struct prober *prober, struct board *board,
                          const struct status_probe_conf *conf, struct err *err);
void checks_free(struct checks *c); /* after prober_free: no result may come any more */
void checks_start(struct checks *c);
void checks_set_conf(struct checks *c, const struct status_probe_conf *conf); /* intervals and deadlines */
/* What /auth/v1/settings last said of sign-up; false when it said nothing. */
bool checks_signup_state(const struct checks *c, enum signup_state *out);

#endif
