/* The attack ladder in the gateway: gathers signals, moves, and what a level means here. Not the decision
 * (ratelimit/attack_ladder.h).
 *
 *     every second, each gateway: its rates into attack_signals; the one that gets the advisory lock adds them up,
 *     decides, and moves: row, policy with its public notice, audit record and versions in one transaction
 *         -> every gateway reads the level within 400 ms
 *
 *     A1 and up  code requests that may make an account have to show proof of work; sign-ups have a part of the SMS budgets
 *                (sms_budget.h)
 *     A2         another policy where everybody may sign up, until the ladder steps down or an operator changes it
 *     A3         closed, likewise
 *     A4         as A3; log-in has to show proof of work too; an address may have fewer connections (bans.c)
 *
 * While the database is away the level stands, also across a restart (`attack` in process.state_dir), and this gateway
 * may only tighten itself: its own signals raise the proof of work that it asks for.
 * Thread rule: attack_level from any thread; the rest the control thread, attack_open and attack_close the main one. */
#ifndef TIDE_GATEWAY_ATTACK_H
#define TIDE_GATEWAY_ATTACK_H

#include "base/buf.h"
#include "gateway/gateway.h"

struct attack_conf;
struct pg;

void attack_open(struct gateway *g);
void attack_close(struct gateway *g);
int attack_level(const struct gateway *g); /* 0 to 4, in force here */

/* A move, inside a database job. */
struct attack_move {
    int level;
    bool is_manual;
    int64_t ttl_ms;  /* of a manual one; 0: until somebody says otherwise */
    double attempts; /* a minute, now */
    const char *reason, *actor, *request_id;
    const char *action; /* of the audit row: attack.set, attack.auto, attack.move */
    const char *preset; /* of A2 */
};
int attack_move_make(struct pg *pg, const struct attack_move *m) TIDE_CHECK;
/* Around the end of an emergency, which lets no move change the policy, inside its job. Before: the ladder is kept still; did
 * it move since sign-up was closed? After, when it did: what its level wants is in force. m: level is not read. *version: in
 * force, changed when that is by this; then also *is_closed, whether sign-up is. */
int attack_hold(struct pg *pg, bool *has_moved) TIDE_CHECK;
int attack_resume(struct pg *pg, const struct attack_move *m, int64_t *version, bool *is_closed) TIDE_CHECK;
int attack_write(struct pg *pg, const struct attack_conf *conf,
                 struct buf *out) TIDE_CHECK; /* where it stands, as JSON; of conf only numbers are read */
int attack_history(struct pg *pg, int64_t limit,
                   struct buf *out) TIDE_CHECK; /* its moves, the newest first */

#endif
