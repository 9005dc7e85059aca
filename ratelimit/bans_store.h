/* Bans in PostgreSQL, as database jobs (base/pg.h), and the copy on disk for a start without it.
 *
 *     bans_fetch: the rows that moved since `known`, or all; a new snapshot beside the old one
 *     bans_put, bans_remove: one change with its audit row; every gateway fetches within 400 ms
 *
 * Errors: those of pg_query; ERR_CONFLICT when bans.most would be passed.
 * Thread rule: jobs run on database threads and own what they are given meanwhile; bans_save and bans_load on any. */
#ifndef TIDE_RATELIMIT_BANS_STORE_H
#define TIDE_RATELIMIT_BANS_STORE_H

#include "base/buf.h"
#include "ratelimit/bans.h"

struct pg;

struct bans_fetch {
    struct bans *old;  /* in: a reference; NULL: fetch all */
    int64_t known;     /* in: `moved` of the fetch before */
    uint32_t most;     /* in: rows past this are left out, and told */
    struct bans *bans; /* out: a reference */
    int64_t moved;     /* out */
    bool is_cut;       /* out: there were more than `most` */
};
int bans_fetch_job(struct pg *pg, void *fetch);

struct bans_change {
    bool is_allow, is_removal;
    char *items; /* JSON: of bans_put() or bans_remove(), migrations/ */
    char *list;  /* or "" */
    char *reason, *actor, *request_id;
    uint32_t most;
    int64_t added, renewed, removed; /* out */
};
int bans_change_job(struct pg *pg, void *change);

struct bans_query {
    const char *effect; /* "ban", "allow" or "" */
    char *list;         /* or "" */
    int64_t after;      /* ids above this */
    uint32_t limit;
    struct buf out; /* {"items": [...]} */
};
int bans_list_job(struct pg *pg, void *query);

int bans_hits_job(struct pg *pg, void *json); /* a struct buf with the array of bans_add_hits() */
int bans_purge_job(struct pg *pg, void *unused);

/* Times go to disk by the wall clock. */
int bans_save(const struct bans *b, const char *path, struct err *err) TIDE_CHECK;
int bans_load(const char *path, struct bans **out, struct err *err) TIDE_CHECK; /* ERR_NOT_FOUND: no file */

#endif
