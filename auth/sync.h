/* Learning what moved in the database, as jobs for the control thread: the policy in force, sessions that ended.
 * Not the polling (gateway/control).
 *
 * Revocations are read by the version that tells of them: all of those up to a version that was seen have been seen, however
 * long their transactions took. Beside that what is of the last 30 s before the last read is read again: after a failover a
 * database may have lost versions, and use them again. The first read takes what is of the last AUTH_ENDED_KEEP_S, and so
 * does one that finds an older version than was seen. At most REVOKED_MAX, the newest.
 * Ownership: the caller owns the structs; auth_sync_clear frees what a job put there.
 * Thread rule: a struct belongs to its job until that is done. */
#ifndef TIDE_AUTH_SYNC_H
#define TIDE_AUTH_SYNC_H

#include "auth/auth.h"

struct pg;

struct auth_sync_mark {
    int64_t at_ms;   /* Unix milliseconds by the database's clock */
    int64_t version; /* versions.revocations */
};

struct auth_sync {
    /* in */
    struct policy *known;        /* a reference or NULL */
    struct auth_sync_mark since; /* `until` of the read before; zero: none */
    /* out */
    struct policy *policy;    /* a reference: in force now */
    struct auth_ended *ended; /* in order of their times */
    unsigned ended_count;
    struct auth_sync_mark until;
};

int auth_sync_policy(struct pg *pg, void *sync);
int auth_sync_revocations(struct pg *pg, void *sync);
int auth_sync_purge(struct pg *pg, void *unused); /* deletes what has expired, a bounded step */
void auth_sync_clear(struct auth_sync *s);

#endif
