/* Attempts of before against another policy: who would have been decided otherwise. Not made-up ones
 * (policy_simulate.h).
 *
 *     policy_replay_new(candidate, n) -> policy_replay_step in jobs, one after the other, until is_done
 *                                     -> policy_replay_write -> policy_replay_free
 *
 * The newest n rows of signup_attempts, newest first, a batch a job: what is read is forgotten with the job. Counts are
 * rows, and the attempts that they stand for. An attempt whose kept first digits do not tell whether a rule's longer
 * prefix holds is counted as uncertain and not compared.
 * Ownership: takes a reference to the candidate.
 * Thread rule: one at a time: the job while it runs, else the submitter. */
#ifndef TIDE_AUTH_POLICY_REPLAY_H
#define TIDE_AUTH_POLICY_REPLAY_H

#include "auth/policy.h"

struct pg;
struct policy_replay;

enum { POLICY_REPLAY_MAX = 1000000, POLICY_REPLAY_GROUPS = 200, POLICY_REPLAY_SAMPLES = 5 };

struct policy_replay *policy_replay_new(struct policy *candidate, int64_t n); /* 1 to POLICY_REPLAY_MAX */
void policy_replay_free(struct policy_replay *r);
int policy_replay_step(struct pg *pg, struct policy_replay *r) TIDE_CHECK;
bool policy_replay_is_done(const struct policy_replay *r);
/* One attempt, as it was decided then. False: its facts cannot be read (counted). */
bool policy_replay_add(struct policy_replay *r, int64_t stands_for, int64_t at_s, struct str effect,
                       struct str rule, struct str facts);
/* {"policy", "attempts": rows, "stands_for", "same": rows, "uncertain": rows, "unreadable": rows, "others": rows,
 *  "changes": [{"was", "was_rule", "now", "now_rule", "attempts", "stands_for", "samples": [{"at", "facts"}]}]}: the most
 * first. others: of changes beyond POLICY_REPLAY_GROUPS kinds. */
void policy_replay_write(const struct policy_replay *r, struct buf *out);

#endif
