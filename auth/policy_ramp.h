/* A ramp: from one policy to another in stages. What a stage is, and what comes next; not who carries it out
 * (policy_ramp_run.h).
 *
 *     before -> 1 % -> 5 % -> 25 % -> 100 %: the candidate itself, watched for as long as each stage -> done
 *                 \- a bad signal: stands there (held), or back to before (reverted)
 *
 * At a stage the candidate decides for that part of the people, and the policy of before for the rest. Who belongs to
 * the part is what ramp_percent of the language says: whoever is in at 1 % is in at 5 %. A stage is a document in the
 * language, so that history, simulate, replay and rollback need not know of ramps:
 *
 *     the rules with which both begin
 *     further rules of the candidate, each for that percent at most, and its default as a rule for that percent
 *     further rules of before, and its default
 *
 * Units: stages in hundredths of a percent, 1 to POLICY_RAMP_WHOLE.
 * Errors: ERR_INVALID (a plan: names the member; too many rules).
 * Thread rule: pure. */
#ifndef TIDE_AUTH_POLICY_RAMP_H
#define TIDE_AUTH_POLICY_RAMP_H

#include "auth/policy.h"

enum { POLICY_RAMP_STAGES_MAX = 20, POLICY_RAMP_TEXT_MAX = 160 };
enum { POLICY_RAMP_EVERY_MIN_S = 1, POLICY_RAMP_EVERY_MAX_S = 7 * 86400 };

struct policy_ramp_plan {
    uint32_t stages[POLICY_RAMP_STAGES_MAX];
    unsigned count;
    int64_t every_s; /* between two stages, and after the last */
    bool reverts;    /* on a bad signal; else it stands */
};
extern const struct policy_ramp_plan
    policy_ramp_plan_default; /* 1, 5, 25, 100 % every 10 minutes, and stands */
int policy_ramp_plan_check(const struct policy_ramp_plan *plan, struct err *err) TIDE_CHECK;

/* The document of a stage; both others have been read by policy_parse before. */
int policy_ramp_document(struct str before, struct str candidate, uint32_t share, struct buf *out,
                         struct err *err) TIDE_CHECK;

/* What is known of a ramp that has not ended. */
struct policy_ramp_view {
    bool is_running; /* else it was paused, or is held */
    bool is_ours;    /* its stage is in force */
    bool is_covered; /* it will be again: what is in force is so for a time */
    bool is_bad;     /* a signal says stop */
    bool is_known;   /* all signals could be read */
    bool is_due;     /* the time of the stage is over */
    unsigned stage;  /* from 1 */
    unsigned count;
};
enum policy_ramp_turn {
    POLICY_RAMP_STAY = 0,
    POLICY_RAMP_STEP = 1,
    POLICY_RAMP_DONE = 2,
    POLICY_RAMP_STOP = 3,     /* hold, or go back */
    POLICY_RAMP_REPLACED = 4, /* somebody else has changed the policy */
};
enum policy_ramp_turn policy_ramp_decide(const struct policy_ramp_view *v);

#endif
