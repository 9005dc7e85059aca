/* Sign-up closed in an emergency by a gateway that may not reach the database: what is kept of it on disk until the
 * database has it. Not how a gateway behaves meanwhile (gateway/emergency.h).
 *
 *     closed:        saved -> (restarts) -> policy_emergency_write -> a policy version, once -> removed
 *     opened before: saved again -> policy_emergency_write -> two rows of the audit log, once -> removed;
 *                    closed in the database all the same, its answer lost: opened there -> removed
 *
 * Its id makes the writing repeatable: the same one again changes nothing. An emergency beside another that is in force
 * already only adds its audit row. One that was closed after another of its id had been opened again is a new one: closed
 * under a new id.
 * Errors: ERR_IO, ERR_INVALID (path); ERR_NOT_FOUND when there is no file.
 * Thread rule: the file, one thread at a time; policy_emergency_write inside a database job. */
#ifndef TIDE_AUTH_POLICY_EMERGENCY_H
#define TIDE_AUTH_POLICY_EMERGENCY_H

#include "base/err.h"
#include "base/id.h"

struct pg;
struct policy_changed;

enum { POLICY_EMERGENCY_TEXT_MAX = 200 };

struct policy_emergency {
    struct uuid id;
    int64_t closed_ms; /* Unix milliseconds, by this machine's clock */
    char actor[POLICY_EMERGENCY_TEXT_MAX + 1];
    char reason[POLICY_EMERGENCY_TEXT_MAX + 1];
    int64_t opened_ms; /* 0: it is closed */
    char opened_by[POLICY_EMERGENCY_TEXT_MAX + 1];
    char opened_reason[POLICY_EMERGENCY_TEXT_MAX + 1];
};

int policy_emergency_save(const struct policy_emergency *e, const char *path, struct err *err) TIDE_CHECK;
int policy_emergency_load(const char *path, struct policy_emergency *out, struct err *err) TIDE_CHECK;
/* *version: in force now. */
int policy_emergency_write(struct pg *pg, const struct policy_emergency *e, int64_t *version) TIDE_CHECK;
/* As ordered right now: after it sign-up is closed, whatever became of an emergency of that id. *id: the one written. */
int policy_emergency_close(struct pg *pg, const struct policy_emergency *e, struct uuid *id,
                           int64_t *version) TIDE_CHECK;
/* Puts back what was there before the emergency in force. ERR_CONFLICT: there is none. */
int policy_emergency_lift(struct pg *pg, const char *actor, const char *reason, const char *request_id,
                          struct policy_changed *out) TIDE_CHECK;

#endif
