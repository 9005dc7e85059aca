/* Learning what moved in the database, as jobs for the control thread: the policy in force, sessions that ended.
 * Not the polling (gateway/control).
 *
 * Revocations are read again with 30 s of overlap, since rows may become visible out of the order of their times;
 * the first read (since_ms 0) takes those of the last keep_ms: no token is alive of an older one.
 * Ownership: the caller owns the structs; auth_sync_clear frees what a job put there.
 * Thread rule: a struct belongs to its job until that is done. */
#ifndef TIDE_AUTH_SYNC_H
#define TIDE_AUTH_SYNC_H

#include "auth/auth.h"

struct pg;

struct auth_sync {
    /* in */
    struct policy *known; /* a reference or NULL */
    int64_t since_ms;     /* Unix milliseconds by the database's clock: `until_ms` of the read before, or 0 */
    uint64_t keep_ms;     /* sessions that ended longer ago matter to nobody */
    /* out */
    struct policy *policy;    /* a reference: in force now */
    struct auth_ended *ended; /* in order of their times */
    unsigned ended_count;
    int64_t until_ms;
};

int auth_sync_policy(struct pg *pg, void *sync);
int auth_sync_revocations(struct pg *pg, void *sync);
int auth_sync_purge(struct pg *pg, void *unused); /* deletes what has expired, a bounded step */
void auth_sync_clear(struct auth_sync *s);

#endif
