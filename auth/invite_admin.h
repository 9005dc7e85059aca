/* What operators do with invites, as database jobs for the admin API. Not what a request shows (invite.h).
 *
 *     invite_admin_new -> fill the inputs -> pg job invite_admin_job(pg, admin) -> rc, admin->out -> invite_admin_free
 *
 * Codes are in the answer of CREATE and nowhere else. Every change writes its audit row in its transaction.
 * Ownership: the struct owns its texts; out is JSON, one object.
 * Errors (rc and admin->err): ERR_INVALID (names the member), ERR_NOT_FOUND, ERR_CONFLICT (more than the inviter's
 * quota), ERR_UNAVAILABLE; nothing was changed then.
 * Thread rule: made and freed on any one thread; the job runs on a database thread meanwhile. */
#ifndef TIDE_AUTH_INVITE_ADMIN_H
#define TIDE_AUTH_INVITE_ADMIN_H

#include "auth/auth.h"
#include "base/buf.h"

struct pg;

enum { INVITE_COUNT_MAX = 10000, INVITE_USES_MAX = 100000000, INVITE_INVITER_MAX = 63 };

enum invite_verb {
    INVITE_CREATE = 0, /* out: {items:[{id,code}],uses,campaign,...} */
    INVITE_LIST = 1, /* id or code: that one, ERR_NOT_FOUND; campaign; else the newest. out: {items:[...]} */
    INVITE_REVOKE = 2, /* id, code or campaign: one of them. out: {revoked: n} */
};

struct invite_admin {
    enum invite_verb verb;
    struct secret_ring *secrets; /* a reference */
    char *actor;                 /* who asks; required for changes */
    char *reason;                /* required for changes */
    char *request_id;            /* or NULL */
    char *id, *code;             /* LIST, REVOKE; or NULL */
    char *campaign;              /* or NULL */
    char *inviter;               /* CREATE: whom they are charged to; NULL: the operators */
    int64_t count;               /* CREATE: how many; 0 = 1, at most INVITE_COUNT_MAX */
    int64_t uses;                /* CREATE: of each; 0 = 1, at most INVITE_USES_MAX */
    int64_t ttl_s;               /* CREATE: seconds; 0 = they never expire */
    int64_t quota;               /* CREATE: the inviter's from now on, in accounts; -1 = as it is */
    int64_t default_quota;       /* of an inviter who has none yet: auth.invite_quota */
    int64_t limit;               /* LIST: rows; 0 = 50, at most 1000 */

    struct buf out; /* JSON object when rc is 0 */
    struct err err; /* why not */
};

struct invite_admin *invite_admin_new(enum invite_verb verb, struct secret_ring *secrets);
void invite_admin_free(struct invite_admin *a); /* frees the texts too; NULL allowed */
int invite_admin_job(struct pg *pg, void *admin);

#endif
