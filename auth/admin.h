/* What operators do to accounts and policy, as database jobs for the admin API. Not its HTTP form.
 *
 *     auth_admin_new -> fill the inputs -> pg job auth_admin_job(pg, admin) -> rc, admin->out -> auth_admin_free
 *
 * Every verb that changes something writes the audit row (actor, reason, request id) in its transaction; a new
 * policy also posts the public notice there. After a job that changed something, poll versions at once.
 * Ownership: the struct owns its texts; out is JSON, one object.
 * Errors (rc and admin->err): ERR_INVALID (document, number, id: names the path), ERR_CONFLICT (if_version is not
 * the current one), ERR_NOT_FOUND, ERR_UNAVAILABLE; nothing was changed then.
 * Thread rule: made and freed on any one thread; the job runs on a database thread meanwhile. */
#ifndef TIDE_AUTH_ADMIN_H
#define TIDE_AUTH_ADMIN_H

#include "auth/auth.h"
#include "auth/policy_ramp.h"
#include "base/buf.h"

struct pg;

enum auth_admin_verb {
    AUTH_ADMIN_POLICY_GET = 0,      /* version 0: the current one. out: {version,name,state,document,...} */
    AUTH_ADMIN_POLICY_SET = 1,      /* document or preset; reason. out: {version,name,previous,for_s} */
    AUTH_ADMIN_POLICY_HISTORY = 2,  /* limit. out: {items:[{version,name,actor,reason,created_at}]} */
    AUTH_ADMIN_POLICY_ROLLBACK = 3, /* version: its document becomes a new version; reason wanted */
    AUTH_ADMIN_USERS_LIST = 4,      /* phone (any spelling) or user, else the newest; limit. Numbers masked */
    AUTH_ADMIN_SESSIONS_REVOKE = 5, /* user; reason wanted. out: {revoked: n} */
    AUTH_ADMIN_AUDIT_LIST = 6,      /* limit. out: {items:[...]} */
    AUTH_ADMIN_POLICY_DIFF = 7,     /* from base_* to document, preset or version. out: policy_diff.h */
    AUTH_ADMIN_POLICY_SCHEDULE = 8, /* as SET, at at_ms. out: {id,name} */
    AUTH_ADMIN_POLICY_SCHEDULED = 9, /* out: {items:[{id,at,name,until,actor,reason}]} */
    AUTH_ADMIN_POLICY_CANCEL = 10,   /* id of a scheduled change; reason */
    AUTH_ADMIN_RAMP_START = 11,  /* document or preset, plan; reason. out: policy_ramp_run.h, and findings */
    AUTH_ADMIN_RAMP_GET = 12,    /* out: policy_ramp_run.h */
    AUTH_ADMIN_RAMP_PAUSE = 13,  /* reason; likewise */
    AUTH_ADMIN_RAMP_RESUME = 14, /* reason; likewise */
    AUTH_ADMIN_RAMP_ABORT = 15,  /* reason; likewise */
    AUTH_ADMIN_NUMBER_UNLOCK = 16, /* phone (any spelling); reason. out: {failures: n}, which count no more */
    AUTH_ADMIN_USER_BAN =
        17, /* user; at_ms or for_ms, else for good; reason. out: {user,banned_until,revoked} */
    AUTH_ADMIN_USER_UNBAN = 18,    /* user; reason. out: {user,banned_until} */
    AUTH_ADMIN_EVERYBODY_OUT = 19, /* reason. out: {era} */
};

struct auth_admin {
    enum auth_admin_verb verb;
    struct secret_ring *secrets; /* borrowed: look-up and decryption of numbers */
    char *actor;                 /* who asks: "unix:0(root)"; required for changes */
    char *reason;                /* required for changes */
    char *request_id;            /* or NULL */
    char *preset;                /* SET, SCHEDULE, DIFF: a name, or */
    char *document;              /* JSON text */
    int64_t version;             /* GET, ROLLBACK, DIFF */
    int64_t if_version;          /* SET, ROLLBACK: refuse unless current; 0 = any */
    int64_t for_ms;              /* SET, SCHEDULE: then it goes back; 0: it stays. USER_BAN */
    bool is_forced;              /* SET, SCHEDULE: also a document in which lint finds errors */
    bool
        is_dry_run; /* changes: do nothing. SET, ROLLBACK, SCHEDULE, RAMP_START: {dry_run,version,state,lint,diff} */
    char *base_document;          /* DIFF: JSON text, or */
    int64_t base_version;         /* DIFF; 0: the current one */
    int64_t at_ms;                /* SCHEDULE, USER_BAN: Unix milliseconds */
    int64_t id;                   /* CANCEL */
    struct policy_ramp_plan plan; /* RAMP_START */
    char *phone;                  /* USERS_LIST, NUMBER_UNLOCK */
    char *user;                   /* USERS_LIST, SESSIONS_REVOKE, USER_*: UUID */
    bool is_banned;               /* USERS_LIST: only who is banned now */
    unsigned limit;               /* rows; 0 = 50, at most 1000 */

    struct buf out; /* JSON object when rc is 0 */
    struct err err; /* why not */
};

struct auth_admin *auth_admin_new(enum auth_admin_verb verb, struct secret_ring *secrets);
void auth_admin_free(struct auth_admin *a); /* frees the texts too; NULL allowed */
int auth_admin_job(struct pg *pg, void *admin);

#endif
