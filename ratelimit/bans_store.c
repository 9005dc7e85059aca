/* See bans_store.h: the jobs. The file is in bans_file.c. */
#include "ratelimit/bans_store.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/pg.h"

enum { PURGE_ROWS = 5000 };

/* A row that this program cannot read was written by a newer one: it is left out, and told. */
static bool read_row(struct pg *pg, int row, uint64_t now_ms, struct ban *out)
{
    struct ban_target target;
    struct err err;
    *out = (struct ban){.id = pg_i64(pg, row, 0)};
    if (ban_target_parse(pg_value(pg, row, 2), &target, &err) != 0) {
        log_warn("ban id=%lld is left out error=\"%s\"", (long long)out->id, err.msg);
        return false;
    }
    out->is_allow = str_is(pg_value(pg, row, 1), "allow");
    out->kind = target.kind;
    out->prefix = target.prefix;
    out->text = target.kind == BAN_ADDRESS ? NULL : arena_cstr(pg_arena(pg), str_from(target.text));
    int64_t left_ms = pg_i64(pg, row, 3);
    bool is_over = !pg_is_null(pg, row, 3) && left_ms <= 0;
    out->until_ms = pg_is_null(pg, row, 3) || is_over ? BANS_FOREVER : now_ms + (uint64_t)left_ms;
    out->is_gone = is_over || pg_bool(pg, row, 4);
    return true;
}

static int fetch_moved(struct pg *pg, struct bans_fetch *f)
{
    int rows = pg_query(pg, "SELECT bans FROM versions");
    if (rows < 0) {
        return rows;
    }
    f->moved = pg_i64(pg, 0, 0);
    return 0;
}

/* All that are in force, or what changed since `known`, ended and removed ones too; at most one row past `most`. */
static int fetch_rows(struct pg *pg, const struct bans_fetch *f, bool is_all)
{
    return pg_query(
        pg,
        "SELECT id, effect, target, (extract(epoch FROM until - clock_timestamp()) * 1000)::bigint,"
        " removed_at IS NOT NULL FROM bans WHERE moved > $1 AND (NOT $2 OR (removed_at IS NULL AND (until IS"
        " NULL OR until > clock_timestamp()))) ORDER BY id LIMIT $3",
        PG_I64(is_all ? 0 : f->known), PG_BOOL(is_all), PG_I64((int64_t)f->most + 1));
}

int bans_fetch_job(struct pg *pg, void *arg)
{
    struct bans_fetch *f = arg;
    bans_unref(f->bans);
    f->bans = NULL;
    int rc = fetch_moved(pg, f); /* first: what moves after it is fetched next time, perhaps again */
    if (rc < 0) {
        return rc;
    }
    bool is_all = f->old == NULL;
    int rows = fetch_rows(pg, f, is_all);
    if (!is_all && rows > 0 && (uint32_t)rows > f->most) { /* more has changed than there may be */
        is_all = true;
        rows = fetch_rows(pg, f, is_all);
    }
    if (rows < 0) {
        return rows;
    }
    f->is_cut = (uint32_t)rows > f->most;
    struct ban *changes = malloc(((size_t)rows + 1) * sizeof *changes);
    BUG_ON(!changes);
    uint32_t n = 0;
    uint64_t now_ms = clock_mono_ms();
    for (int i = 0; i < rows && n < f->most; i++) {
        n += read_row(pg, i, now_ms, &changes[n]);
    }
    f->bans = bans_with(is_all ? NULL : f->old, changes, n, now_ms);
    free(changes);
    return 0;
}

int bans_change_job(struct pg *pg, void *arg)
{
    struct bans_change *c = arg;
    const char *effect = c->is_allow ? "allow" : "ban";
    int rows =
        c->is_removal
            ? pg_query(pg, "SELECT bans_remove($1, $2, $3, $4, $5, $6)", PG_CSTR(effect), PG_CSTR(c->items),
                       PG_CSTR(c->list), PG_CSTR(c->reason), PG_CSTR(c->actor), PG_CSTR(c->request_id))
            : pg_query(pg, "SELECT added, renewed FROM bans_put($1, $2, $3, $4, $5, $6, $7)", PG_CSTR(effect),
                       PG_CSTR(c->items), PG_CSTR(c->list), PG_CSTR(c->reason), PG_CSTR(c->actor),
                       PG_CSTR(c->request_id), PG_I64(c->most));
    if (rows < 0) {
        return rows;
    }
    c->removed = c->is_removal ? pg_i64(pg, 0, 0) : 0;
    c->added = c->is_removal ? 0 : pg_i64(pg, 0, 0);
    c->renewed = c->is_removal ? 0 : pg_i64(pg, 0, 1);
    return 0;
}

#define ISO(column) "to_char(" column " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"

static void write_text(struct json_writer *w, const struct pg *pg, int row, int column, const char *name)
{
    if (pg_is_null(pg, row, column)) {
        json_null_at(w, name);
    } else {
        json_str_at(w, name, pg_value(pg, row, column));
    }
}

int bans_list_job(struct pg *pg, void *arg)
{
    static const char *const names[] = {"effect", "target", "until",      "reason",
                                        "actor",  "list",   "created_at", "last_hit_at"};
    struct bans_query *q = arg;
    int rows =
        pg_query(pg,
                 "SELECT effect, target, " ISO("until") ", reason, actor, list, " ISO("created_at") ", " ISO(
                     "last_hit_at") ", id, hits FROM bans WHERE removed_at IS NULL AND (until IS NULL OR "
                                    "until > now())"
                                    " AND ($1 = '' OR effect = $1) AND ($2 = '' OR list = $2) AND id > $3"
                                    " ORDER BY id LIMIT $4",
                 PG_CSTR(q->effect), PG_CSTR(q->list), PG_I64(q->after), PG_I64(q->limit));
    struct json_writer w = {.out = &q->out};
    buf_truncate(&q->out);
    json_open(&w, '{');
    json_open_at(&w, "items", '[');
    for (int i = 0; i < rows; i++) {
        json_open(&w, '{');
        json_i64_at(&w, "id", pg_i64(pg, i, 8));
        for (int k = 0; k < 8; k++) {
            write_text(&w, pg, i, k, names[k]);
        }
        json_i64_at(&w, "hits", pg_i64(pg, i, 9));
        json_close(&w, '}');
    }
    json_close(&w, ']');
    json_close(&w, '}');
    return rows < 0 ? rows : 0;
}

int bans_hits_job(struct pg *pg, void *arg)
{
    const struct buf *json = arg;
    int rows = pg_query(pg, "SELECT bans_add_hits($1)", PG_STR(buf_str(json)));
    return rows < 0 ? rows : 0;
}

int bans_purge_job(struct pg *pg, void *unused)
{
    int rows = pg_query(pg, "SELECT bans_purge($1)", PG_I64(PURGE_ROWS));
    return rows < 0 ? rows : 0;
}
