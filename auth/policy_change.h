/* Changes of the policy in force, each inside one database transaction: the new version, its audit row and the public
 * notice together, or nothing. Not the admin API, nor who may change what.
 *
 *     policy_change_make(pg, {document, for a time}) -> version 42 in force -> goes back by itself, once, on time
 *                                                           \- policy_change_end(pg, 42): goes back now
 *                                                           \- any other change: 42 is over, nothing goes back
 *
 * A change for a time goes back to what was in force before changes for a time: one over another does not pile up.
 * An emergency over it lays it aside: when that is lifted it is in force again, under another version and until its own end.
 * For a part that changes the policy by itself (an actor of its own): POLICY_CHANGE_UNTIL_ENDED, keep out->version,
 * and policy_change_end with it later; ERR_CONFLICT then says that somebody else has changed the policy meanwhile,
 * and that there is nothing to put back. After a change of our own poll versions at once.
 * Errors: ERR_INVALID (document: names its path), ERR_CONFLICT (if_version; nothing to end), ERR_NOT_FOUND; the
 * transaction has changed nothing then.
 * Thread rule: inside a database job. */
#ifndef TIDE_AUTH_POLICY_CHANGE_H
#define TIDE_AUTH_POLICY_CHANGE_H

#include "auth/policy.h"
#include "base/id.h"

struct pg;

enum { POLICY_CHANGE_STAYS = 0, POLICY_CHANGE_UNTIL_ENDED = -1 };

struct policy_change {
    struct str document;    /* JSON text of a policy */
    const char *actor;      /* who: "unix:0(root)" */
    const char *reason;     /* why; both go into history and audit log */
    const char *request_id; /* NULL: none */
    const char *action;     /* of the audit row: "policy.set" */
    int64_t if_version;     /* refuse unless this one is in force; 0: any */
    int64_t for_ms;         /* then it goes back; or one of the two above */
    int64_t at_ms;          /* policy_change_schedule: Unix milliseconds */
};

struct policy_changed {
    int64_t version, previous;
};

/* Appends what the public is told while p is in force: what /auth/v1/settings says, in all languages. */
void policy_write_notice(const struct policy *p, struct buf *out);

int policy_change_make(struct pg *pg, const struct policy_change *c, struct policy_changed *out) TIDE_CHECK;
/* Ends a change for a time now. Of c: actor, reason, request_id, action, if_version (of that change; 0: whichever). */
int policy_change_end(struct pg *pg, const struct policy_change *c, struct policy_changed *out) TIDE_CHECK;
/* Ends a change for a time that an emergency has laid aside, known by the version it began as. ERR_CONFLICT: there is none. */
int policy_change_end_held(struct pg *pg, int64_t began) TIDE_CHECK;
/* In force from c->at_ms on; policy_change_cancel takes it back while it waits. */
int policy_change_schedule(struct pg *pg, const struct policy_change *c, int64_t *id) TIDE_CHECK;
int policy_change_cancel(struct pg *pg, const struct policy_change *c, int64_t id) TIDE_CHECK;
/* What lies over the stage of a ramp for a time goes back to what was before the ramp. ERR_CONFLICT: nothing does. */
int policy_change_uncover(struct pg *pg, int64_t ramp) TIDE_CHECK;
/* Carries out what is due; returns how many, or an error. Cheap when nothing is. */
int policy_change_run_due(struct pg *pg) TIDE_CHECK;

#endif
