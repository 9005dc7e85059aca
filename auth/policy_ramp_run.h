/* The ramp in the database (migrations: policy_ramps): begun and told by operators, carried on by whichever gateway asks
 * first. Not what a stage is, nor what comes next (policy_ramp.h), nor where signals come from (gateway/ramp_signals.h).
 *
 *     policy_ramp_start -> version of the first stage -> policy_ramp_run, twice a second, every gateway
 *         \- pause, resume, abort: operators           \- one of them steps, stops, or ends it; the others skip the row
 *
 * Each stage, and each way back, is a policy version with its audit row and public notice (policy_change.h); what stops
 * or ends a ramp without changing the policy writes an audit row of its own. One ramp at a time. Any other change of the
 * policy ends it (replaced); one that goes back by itself, as the attack ladder's or an emergency's, counts as a bad
 * signal: a ramp that is told to go back then goes back once that is over.
 * Errors: as policy_change.h; ERR_CONFLICT also: one runs already, or not in the state for it, or what is in force at
 * its beginning is so for a time; ERR_NOT_FOUND: none runs.
 * Thread rule: inside a database job. */
#ifndef TIDE_AUTH_POLICY_RAMP_RUN_H
#define TIDE_AUTH_POLICY_RAMP_RUN_H

#include "auth/policy_change.h"
#include "auth/policy_ramp.h"

struct policy_ramp_started {
    int64_t id;
    struct policy_changed changed;
};
/* c: document is the candidate's; for_ms and at_ms are not looked at. */
int policy_ramp_start(struct pg *pg, const struct policy_change *c, const struct policy_ramp_plan *plan,
                      struct policy_ramp_started *out) TIDE_CHECK;

enum policy_ramp_verb { POLICY_RAMP_PAUSE = 0, POLICY_RAMP_RESUME = 1, POLICY_RAMP_ABORT = 2 };
/* Of c: actor, reason, request_id. Abort: back to what was before, unless somebody else has changed the policy. */
int policy_ramp_tell(struct pg *pg, enum policy_ramp_verb verb, const struct policy_change *c) TIDE_CHECK;

/* The ramp that runs, else the last one, as members of an object; only "state": "none" when there never was one. */
struct json_writer;
int policy_ramp_write(struct pg *pg, struct json_writer *w) TIDE_CHECK;

/* What a gateway sees. */
struct policy_ramp_signals {
    bool is_known;                      /* all could be read */
    char bad[POLICY_RAMP_TEXT_MAX + 1]; /* why to stop; "": nothing */
};
struct policy_ramp_ran {
    bool is_there;                       /* one runs, or stands */
    bool is_standing;                    /* paused or held */
    bool did;                            /* it was stepped, stopped or ended now: poll versions */
    uint32_t share;                      /* of its stage */
    char note[POLICY_RAMP_TEXT_MAX + 1]; /* what was done, for the log */
};
int policy_ramp_run(struct pg *pg, const struct policy_ramp_signals *s,
                    struct policy_ramp_ran *out) TIDE_CHECK;

#endif
