/* The verb `get incidents`: read from the status page's tables, whose owner is tide-status. */
#include <stdlib.h>

#include "gateway/admin_inner.h"

struct incidents {
    struct buf out;
    bool open_only;
};

static void write_row(struct json_writer *w, const struct pg *pg, int row)
{
    json_open(w, '{');
    json_str_at(w, "id", pg_value(pg, row, 0));
    json_str_at(w, "status", pg_value(pg, row, 1));
    json_str_at(w, "impact", pg_value(pg, row, 2));
    json_str_at(w, "origin", pg_value(pg, row, 3));
    json_str_at(w, "name", pg_value(pg, row, 4));
    json_str_at(w, "started_at", pg_value(pg, row, 5));
    if (pg_is_null(pg, row, 6)) {
        json_null_at(w, "resolved_at");
    } else {
        json_str_at(w, "resolved_at", pg_value(pg, row, 6));
    }
    json_close(w, '}');
}

static int run(struct pg *pg, void *arg)
{
    struct incidents *in = arg;
    struct json_writer w = {.out = &in->out};
    int rows = pg_query(pg,
                        "SELECT code, status, impact, origin, name->>'en', "
                        "to_char(started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), "
                        "to_char(resolved_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') "
                        "FROM status_incidents WHERE NOT $1 OR resolved_at IS NULL "
                        "ORDER BY started_at DESC LIMIT 50",
                        PG_BOOL(in->open_only));
    if (rows < 0) {
        return rows;
    }
    buf_truncate(&in->out); /* a job may run twice */
    json_open(&w, '{');
    json_open_at(&w, "items", '[');
    for (int i = 0; i < rows; i++) {
        write_row(&w, pg, i);
    }
    json_close(&w, ']');
    json_close(&w, '}');
    return 0;
}

static void done(struct admin_call *c, void *arg, int rc, const struct err *err)
{
    struct incidents *in = arg;
    if (rc != 0) {
        admin_refuse(c, rc, err);
    } else {
        admin_reply(c, &in->out);
    }
}

static void drop(void *arg)
{
    struct incidents *in = arg;
    buf_clear(&in->out);
    free(in);
}

void admin_incidents(struct admin_call *c)
{
    struct str open = STR("");
    struct incidents *in = calloc(1, sizeof *in);
    BUG_ON(in == NULL);
    buf_init(&in->out, ADMIN_ANSWER_MAX);
    in->open_only = http_query_get(c->ex, "open", &open);
    admin_submit(c, &(struct admin_work){.run = run, .done = done, .drop = drop, .arg = in});
}
