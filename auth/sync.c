/* See sync.h. */
#include "auth/sync.h"

#include <stdlib.h>

#include "auth/account.h"
#include "auth/revoked.h"
#include "base/pg.h"

enum { SYNC_OVERLAP_MS = 30000, PURGE_ROWS = 1000, PURGE_FEED_ROWS = 100000 };

void auth_sync_clear(struct auth_sync *s)
{
    policy_unref(s->known);
    policy_unref(s->policy);
    free(s->ended);
    *s = (struct auth_sync){0};
}

int auth_sync_policy(struct pg *pg, void *sync)
{
    struct auth_sync *s = sync;
    policy_unref(s->policy);
    s->policy = NULL;
    return account_policy(pg, s->known, &s->policy);
}

/* Of which times to read, Unix milliseconds. */
static int64_t from_ms(const struct auth_sync *s)
{
    bool is_first = s->since.at_ms == 0 || s->until.version < s->since.version;
    return is_first ? s->until.at_ms - (int64_t)AUTH_ENDED_KEEP_S * 1000 : s->since.at_ms - SYNC_OVERLAP_MS;
}

int auth_sync_revocations(struct pg *pg, void *sync)
{
    struct auth_sync *s = sync;
    int rows = pg_query(
        pg, "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint, revocations FROM versions");
    if (rows < 1) {
        return rows < 0 ? rows : err_set(pg_err(pg), ERR_NOT_FOUND, "table versions is empty");
    }
    s->until = (struct auth_sync_mark){pg_i64(pg, 0, 0), pg_i64(pg, 0, 1)};
    int64_t version = s->since.at_ms == 0 ? s->until.version : s->since.version;
    rows = pg_query(pg,
                    "SELECT session_id, extract(epoch FROM created_at)::bigint FROM revocations"
                    " WHERE created_at >= to_timestamp($1 / 1000.0) OR version > $2"
                    " ORDER BY created_at DESC LIMIT $3",
                    PG_F64((double)from_ms(s)), PG_I64(version), PG_I64(REVOKED_MAX));
    if (rows < 0) {
        return rows;
    }
    free(s->ended);
    s->ended = calloc((size_t)rows + 1, sizeof *s->ended);
    BUG_ON(!s->ended);
    s->ended_count = (unsigned)rows;
    for (int i = 0; i < rows; i++) {
        s->ended[rows - 1 - i] = (struct auth_ended){pg_uuid(pg, i, 0), pg_i64(pg, i, 1)};
    }
    return 0;
}

int auth_sync_purge(struct pg *pg, void *unused)
{
    int rows = pg_query(pg,
                        "SELECT auth_purge($1), signup_purge_refusals($1), signup_purge_scores($1),"
                        " account_feed_tend($2)",
                        PG_I64(PURGE_ROWS), PG_I64(PURGE_FEED_ROWS));
    return rows < 0 ? rows : 0;
}
