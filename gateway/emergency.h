/* Sign-up closed here at once by an operator at this gateway's socket, whether the database is there or not.
 *
 *     emergency_begin -> on disk, closed on every loop -> written to the database as soon as it is there (an ordinary
 *         change for the fleet then) -> this gateway knows that version: the file goes, the database's word counts
 *     emergency_end   -> before it was written: the policy from before is back here, and the audit log is told later
 *
 * A gateway by itself may only tighten: what the fleet has closed is opened in the database, never here. A restart
 * begins closed again from the file. One emergency at a time: a second one, while the first is not written, is the first;
 * after one that was opened before it was written, it takes the place of that record.
 * Thread rule: the control thread, but emergency_open before it runs and emergency_free after it ended. */
#ifndef TIDE_GATEWAY_EMERGENCY_H
#define TIDE_GATEWAY_EMERGENCY_H

#include "auth/policy_emergency.h"
#include "base/json.h"

struct accounts;
struct emergency;
struct gateway_loop;

struct emergency *emergency_open(struct accounts *a);
void emergency_free(struct emergency *e); /* NULL allowed */
void emergency_loop_open(struct emergency *e, struct gateway_loop *gl);

/* e->id all zero: a new one. *out: what is in force now, e itself or the one that was there already. ERR_IO: it is closed
 * all the same, but a restart would forget it. */
int emergency_begin(struct accounts *a, const struct policy_emergency *e, struct policy_emergency *out,
                    struct err *err) TIDE_CHECK;
/* Is there something that has not been written yet? ERR_NOT_FOUND: nothing of that kind. */
int emergency_may_end(const struct accounts *a, struct err *err) TIDE_CHECK;
/* Opens it; errors as above. */
int emergency_end(struct accounts *a, const char *actor, const char *reason, struct err *err) TIDE_CHECK;
/* The database has it, closed or opened as it is here, as part of this version or one before. */
void emergency_is_written(struct accounts *a, const struct policy_emergency *written, int64_t version);
/* The policy in force on the loops moved to this version. */
void emergency_on_policy(struct accounts *a, int64_t version);

/* Closed here by an emergency: its record, borrowed, and the policy that stands; else NULL. */
const struct policy_emergency *emergency_now(const struct accounts *a);
const struct policy *emergency_policy(const struct accounts *a);

#endif
