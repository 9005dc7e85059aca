/* See known_feed.h. */
#include "auth/known_feed.h"

#include <stdio.h>
#include <string.h>

#include "auth/known_filter.h"
#include "auth/subject.h"
#include "base/pg.h"

enum { PAGE_ROWS = 5000, CATCH_UP_ROWS = 20000, SNAPSHOT_MAX = 65536 };

void known_feed_init(struct known_feed *f)
{
    *f = (struct known_feed){0};
    buf_init(&f->snapshot, SNAPSHOT_MAX);
}

void known_feed_clear(struct known_feed *f)
{
    known_filter_unref(f->filter);
    buf_clear(&f->snapshot);
    known_feed_init(f);
}

static void add_all(struct pg *pg, struct known_filter *filter, int rows, int column)
{
    for (int i = 0; i < rows; i++) {
        struct str hash = pg_is_null(pg, i, column) ? STR("") : pg_bytea(pg, i, column);
        if (hash.n >= KNOWN_HASH_BYTES) {
            known_filter_add(filter, (const uint8_t *)hash.p);
        }
    }
}

/* Of account_feed_state s: the server's run, the database and the table too, since a dump carries the row along. */
#define EPOCH                                                                                                \
    "s.epoch || ' ' || s.tableoid || ' ' || extract(epoch FROM pg_postmaster_start_time())::text || ' ' ||"  \
    " (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())"

/* One statement, so one snapshot: what the one before could not see, and what the next shall start from. */
static int look(struct pg *pg, struct pg_param since)
{
    return pg_query(pg,
                    "SELECT " EPOCH
                    ", pg_current_snapshot()::text, coalesce(s.purged <= pg_snapshot_xmin($1::pg_snapshot), "
                    "false), f.subject_hash"
                    " FROM account_feed_state s LEFT JOIN account_feed f"
                    " ON f.xid >= pg_snapshot_xmin($1::pg_snapshot) AND NOT pg_visible_in_snapshot(f.xid, "
                    "$1::pg_snapshot)"
                    " LIMIT $2",
                    since, PG_I64(CATCH_UP_ROWS));
}

static int keep_snapshot(struct pg *pg, struct known_feed *f)
{
    struct str text = pg_value(pg, 0, 1);
    if (text.n > SNAPSHOT_MAX) { /* thousands of transactions at once; the one before goes on to count */
        return err_set(pg_err(pg), ERR_LIMIT, "a snapshot of %zu bytes", text.n);
    }
    buf_truncate(&f->snapshot);
    return buf_add_str(&f->snapshot, text);
}

int known_feed_begin(struct pg *pg, void *feed)
{
    struct known_feed *f = feed;
    known_filter_unref(f->filter);
    f->filter = known_filter_new(f->bytes);
    f->is_loaded = f->is_lost = false;
    f->after_n = 0;
    if (!f->filter) {
        return err_set(pg_err(pg), ERR_NOMEM, "no memory for a filter of %zu bytes", f->bytes);
    }
    int rows = pg_query(pg, "SELECT account_feed_tend(0)");
    rows = rows < 0 ? rows : look(pg, PG_NULL);
    if (rows <= 0) {
        return rows < 0 ? rows : err_set(pg_err(pg), ERR_INTERNAL, "account_feed_state is empty");
    }
    snprintf(f->epoch, sizeof f->epoch, STR_FMT, STR_ARG(pg_value(pg, 0, 0)));
    return keep_snapshot(pg, f);
}

int known_feed_page(struct pg *pg, void *feed)
{
    struct known_feed *f = feed;
    int rows = pg_query(pg,
                        "SELECT " EPOCH ", i.subject_hash FROM account_feed_state s LEFT JOIN"
                        " (SELECT subject_hash FROM identities WHERE provider = 'phone' AND subject_hash > $1"
                        " ORDER BY subject_hash LIMIT $2) i ON true ORDER BY i.subject_hash",
                        PG_BYTES(f->after, f->after_n), PG_I64(PAGE_ROWS));
    if (rows < 0) {
        return rows;
    }
    f->is_lost = rows == 0 || !str_is(pg_value(pg, 0, 0), f->epoch);
    if (f->is_lost) { /* another server answered */
        return 0;
    }
    add_all(pg, f->filter, rows, 1);
    if (!pg_is_null(pg, rows - 1, 1)) {
        struct str last = pg_bytea(pg, rows - 1, 1);
        f->after_n = last.n < sizeof f->after ? last.n : sizeof f->after;
        memcpy(f->after, last.p, f->after_n);
    }
    f->is_loaded = rows < PAGE_ROWS;
    return 0;
}

int known_feed_catch_up(struct pg *pg, void *feed)
{
    struct known_feed *f = feed;
    int rows = look(pg, PG_STR(buf_str(&f->snapshot)));
    if (rows < 0) {
        return rows;
    }
    f->is_lost =
        rows == 0 || rows == CATCH_UP_ROWS || !str_is(pg_value(pg, 0, 0), f->epoch) || !pg_bool(pg, 0, 2);
    if (f->is_lost) {
        return 0;
    }
    add_all(pg, f->filter, rows, 3);
    return keep_snapshot(pg, f);
}

bool known_filter_may_have_subject(const struct known_filter *f, const struct subject *s)
{
    for (unsigned i = 0; i < s->hashes; i++) {
        if (known_filter_may_have(f, s->hash[i])) {
            return true;
        }
    }
    return false;
}
