/* See sync.h. */
#include "auth/sync.h"

#include <stdlib.h>

#include "auth/account.h"
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

int auth_sync_revocations(struct pg *pg, void *sync)
{
    struct auth_sync *s = sync;
    int64_t from_ms = s->since_ms > SYNC_OVERLAP_MS ? s->since_ms - SYNC_OVERLAP_MS : 0;
    int rows = pg_query(pg, "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint");
    if (rows < 0) {
        return rows;
    }
    s->until_ms = pg_i64(pg, 0, 0);
    int64_t oldest_ms = s->until_ms - (int64_t)s->keep_ms;
    from_ms = from_ms > oldest_ms
                  ? from_ms
                  : oldest_ms; /* not in SQL, where a volatile clock would keep the index out */
    rows = pg_query(pg,
                    "SELECT session_id, extract(epoch FROM created_at)::bigint FROM revocations"
                    " WHERE created_at >= to_timestamp($1 / 1000.0) ORDER BY created_at",
                    PG_F64((double)from_ms));
    if (rows < 0) {
        return rows;
    }
    free(s->ended);
    s->ended = calloc((size_t)rows + 1, sizeof *s->ended);
    BUG_ON(!s->ended);
    s->ended_count = (unsigned)rows;
    for (int i = 0; i < rows; i++) {
        s->ended[i] = (struct auth_ended){pg_uuid(pg, i, 0), pg_i64(pg, i, 1)};
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
