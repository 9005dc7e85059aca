/* What operators and gateways do with the waiting list, as database jobs. Not what people see of it (waitlist.h).
 *
 * waitlist_admin: for the admin API. new -> fill the inputs -> pg job waitlist_admin_job(pg, admin) -> rc, admin->out ->
 * free. A release writes its audit row in its transaction; no number is shown but masked.
 * waitlist_tend_job: what every gateway does once a second; the database lets one at a time, and paces.
 * Ownership: the struct owns its texts; out is JSON, one object.
 * Errors (rc and admin->err): ERR_INVALID (names the member), ERR_UNAVAILABLE; nothing was changed then.
 * Thread rule: a struct belongs to its job until that is done. */
#ifndef TIDE_AUTH_WAITLIST_ADMIN_H
#define TIDE_AUTH_WAITLIST_ADMIN_H

#include "auth/auth.h"
#include "base/buf.h"

struct pg;

enum { WAITLIST_RELEASE_MAX = 20000, WAITLIST_NOTICES_MAX = 32 };

enum waitlist_verb {
    WAITLIST_STATUS = 0,  /* out: {waiting,released,to_be_told,first_joined_at} */
    WAITLIST_LIST = 1,    /* out: {items:[...]}: the head of the line */
    WAITLIST_RELEASE = 2, /* out: {released: n} */
};

struct waitlist_admin {
    enum waitlist_verb verb;
    struct secret_ring *secrets; /* a reference */
    char *actor;                 /* who asks; RELEASE */
    char *reason;                /* RELEASE: required */
    char *request_id;            /* or NULL */
    char *country;               /* RELEASE: only numbers of this one, "CN"; or NULL */
    char *joined_before;         /* RELEASE: only who joined before, ISO 8601; or NULL */
    int64_t count;               /* RELEASE: how many, at most WAITLIST_RELEASE_MAX */
    int64_t ttl_s;               /* RELEASE: how long they may come in */
    int64_t limit;               /* LIST: rows; 0 = 50, at most 1000 */

    struct buf out; /* JSON object when rc is 0 */
    struct err err; /* why not */
};
struct waitlist_admin *waitlist_admin_new(enum waitlist_verb verb, struct secret_ring *secrets);
void waitlist_admin_free(struct waitlist_admin *a); /* frees the texts too; NULL allowed */
int waitlist_admin_job(struct pg *pg, void *admin);

struct waitlist_notice {
    struct uuid message_id;
    char to[PHONE_E164_MAX + 1];
    char lang[12];
    int64_t expires_s; /* Unix time: of the release */
};
struct waitlist_tend {
    struct secret_ring *secrets; /* borrowed */
    uint64_t count_ms;           /* auth.waitlist_count */
    uint64_t notices_per_min;    /* auth.waitlist_notices */
    uint64_t lease_ms;           /* a claimed message is another's after this */
    unsigned room;               /* messages that may be claimed: 0 to WAITLIST_NOTICES_MAX */
    int64_t waiting, released, expired;
    struct waitlist_notice notices[WAITLIST_NOTICES_MAX];
    unsigned notice_count;
};
int waitlist_tend_job(struct pg *pg, void *tend);

struct waitlist_settle {
    struct uuid message_id;
    bool is_sent;
    bool is_refused; /* by the provider: no further try */
};
int waitlist_settle_job(struct pg *pg, void *settle);

#endif
