#include "status/store_jobs.h"

#include <stdlib.h>

#include "status/incident_json.h"

enum { LOCK_SPACE = 0x54494445, LOCK_WRITER = 1, TEXT_MAX = 64 * 1024 };

/* --- reading ----------------------------------------------------------------------------------- */

/* The lock belongs to the session and survives transactions; asking twice would count twice. */
static int take_writer_lock(struct pg *pg, bool *is_writer)
{
    int rows = pg_query(
        pg,
        "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid = $1 "
        "AND objid = $2 AND objsubid = 2 AND pid = pg_backend_pid())",
        PG_I64(LOCK_SPACE), PG_I64(LOCK_WRITER));
    if (rows < 0) {
        return rows;
    }
    *is_writer = pg_bool(pg, 0, 0);
    if (*is_writer) {
        return 0;
    }
    rows = pg_query(pg, "SELECT pg_try_advisory_lock($1::int, $2::int)", PG_I64(LOCK_SPACE),
                    PG_I64(LOCK_WRITER));
    if (rows < 0) {
        return rows;
    }
    *is_writer = pg_bool(pg, 0, 0);
    return 0;
}

static int read_notice(struct pg *pg, struct store_poll *p, int kind)
{
    static const char *const kinds[STORE_NOTICES] = {"signup_policy", "attack_level"};
    int rows =
        pg_query(pg,
                 "SELECT id, (extract(epoch FROM created_at) * 1000)::bigint, body::text FROM status_notices "
                 "WHERE kind = $1 ORDER BY id DESC LIMIT 1",
                 PG_CSTR(kinds[kind]));
    if (rows <= 0 || pg_i64(pg, 0, 0) == p->known_notice[kind]) {
        return rows < 0 ? rows : 0;
    }
    struct str body = pg_value(pg, 0, 2);
    p->notices[kind] = (struct store_notice){pg_i64(pg, 0, 0), pg_i64(pg, 0, 1), strndup(body.p, body.n)};
    return 0;
}

static bool read_json(struct str text, cJSON **out)
{
    return json_parse(text, &json_limits_default, out, NULL) == 0;
}

static struct incident *read_incident(struct pg *pg, int row)
{
    cJSON *name = NULL, *components = NULL;
    struct incident_text text = {{0}};
    struct incident *i = NULL;
    enum incident_origin origin;
    struct str code = pg_value(pg, row, 0);
    if (short_code_is_valid(code) && incident_origin_parse(pg_value(pg, row, 1), &origin) &&
        read_json(pg_value(pg, row, 4), &name) && incident_json_read_text(name, &text) &&
        read_json(pg_value(pg, row, 5), &components)) {
        char c[SHORT_CODE_LEN + 1] = {0};
        memcpy(c, code.p, SHORT_CODE_LEN);
        i = incident_new(c, origin, &text, pg_i64(pg, row, 6));
        incident_status_parse(pg_value(pg, row, 2), &i->status);
        incident_impact_parse(pg_value(pg, row, 3), &i->impact);
        incident_json_read_components(components, i);
    }
    incident_text_clear(&text);
    cJSON_Delete(name);
    cJSON_Delete(components);
    return i;
}

static void read_update(struct pg *pg, int row, const struct incident_book *book)
{
    struct incident_change changes[STATUS_COMPONENTS_MAX];
    struct incident_text body = {{0}};
    cJSON *body_json = NULL, *changes_json = NULL;
    enum incident_status status;
    int n = -1;
    struct incident *i = incident_book_find(book, pg_value(pg, row, 1));
    struct str id = pg_value(pg, row, 0);
    if (i && short_code_is_valid(id) && incident_status_parse(pg_value(pg, row, 2), &status) &&
        read_json(pg_value(pg, row, 3), &body_json) && incident_json_read_text(body_json, &body) &&
        read_json(pg_value(pg, row, 4), &changes_json)) {
        n = incident_json_read_changes(changes_json, changes);
    }
    if (n >= 0) {
        char c[SHORT_CODE_LEN + 1] = {0};
        memcpy(c, id.p, SHORT_CODE_LEN);
        incident_post(i, c, status, &body, changes, (unsigned)n, pg_i64(pg, row, 5));
    }
    incident_text_clear(&body);
    cJSON_Delete(body_json);
    cJSON_Delete(changes_json);
}

static const char select_incidents[] =
    "SELECT code, origin, status, impact, name::text, components::text, (extract(epoch FROM started_at) * "
    "1000)::bigint, "
    "(extract(epoch FROM updated_at) * 1000)::bigint, (extract(epoch FROM monitoring_at) * 1000)::bigint, "
    "(extract(epoch FROM resolved_at) * 1000)::bigint "
    "FROM status_incidents ORDER BY started_at DESC LIMIT 60";

/* Posting the updates moved status and times along: what the row says stands. */
static void restore_times(struct pg *pg, int rows, struct incident_book *book)
{
    for (int row = 0; row < rows; row++) {
        struct incident *i = incident_book_find(book, pg_value(pg, row, 0));
        if (i) {
            incident_status_parse(pg_value(pg, row, 2), &i->status);
            i->updated_ms = pg_i64(pg, row, 7);
            i->monitoring_ms = pg_i64(pg, row, 8);
            i->resolved_ms = pg_i64(pg, row, 9);
            i->saved_version = i->version;
        }
    }
}

static int read_incidents(struct pg *pg, struct store_poll *p)
{
    int rows = pg_query(pg, select_incidents);
    for (int row = 0; row < rows; row++) {
        struct incident *i = read_incident(pg, row);
        if (i) {
            incident_book_put(&p->book, i);
        }
    }
    if (rows <= 0) {
        return rows;
    }
    rows = pg_query(
        pg,
        "SELECT u.id, u.incident, u.status, u.body::text, u.changes::text, "
        "(extract(epoch FROM u.at) * 1000)::bigint FROM status_incident_updates u "
        "JOIN (SELECT code FROM status_incidents ORDER BY started_at DESC LIMIT 60) i ON i.code = u.incident "
        "ORDER BY u.at, u.id");
    for (int row = 0; row < rows; row++) {
        read_update(pg, row, &p->book);
    }
    if (rows < 0) {
        return rows;
    }
    rows = pg_query(pg, select_incidents);
    if (rows > 0) {
        restore_times(pg, rows, &p->book);
    }
    return rows < 0 ? rows : 0;
}

static int read_uptime(struct pg *pg, struct store_poll *p)
{
    int rows = pg_query(pg,
                        "SELECT component, day, watched, degraded, partial, major FROM status_uptime_days "
                        "WHERE day > extract(epoch FROM now())::bigint / 86400 - $1",
                        PG_I64(UPTIME_DAYS));
    if (rows <= 0) {
        return rows;
    }
    p->uptime = calloc((size_t)rows, sizeof *p->uptime);
    for (int row = 0; p->uptime && row < rows; row++) {
        struct str code = pg_value(pg, row, 0);
        struct store_uptime *u = &p->uptime[p->uptime_count];
        if (short_code_is_valid(code)) {
            memcpy(u->component, code.p, SHORT_CODE_LEN);
            u->day = (struct uptime_day){.day = (int32_t)pg_i64(pg, row, 1),
                                         .watched = pg_f64(pg, row, 2),
                                         .degraded = pg_f64(pg, row, 3),
                                         .partial = pg_f64(pg, row, 4),
                                         .major = pg_f64(pg, row, 5)};
            p->uptime_count++;
        }
    }
    return 0;
}

void store_poll_clear(struct store_poll *p)
{
    for (int kind = 0; kind < STORE_NOTICES; kind++) {
        free(p->notices[kind].body);
        p->notices[kind] = (struct store_notice){0};
    }
    free(p->uptime);
    incident_book_clear(&p->book);
    p->uptime = NULL;
    p->uptime_count = 0;
}

int store_poll_run(struct pg *pg, void *arg)
{
    struct store_poll *p = arg;
    store_poll_clear(p);
    int rc = pg_schema_check(pg);
    if (rc == 0) {
        rc = take_writer_lock(pg, &p->is_writer);
    }
    for (int kind = 0; rc == 0 && kind < STORE_NOTICES; kind++) {
        rc = read_notice(pg, p, kind);
    }
    if (rc == 0) {
        rc = pg_query(
            pg, "SELECT coalesce((extract(epoch FROM max(updated_at)) * 1000000)::bigint, 0) + count(*) "
                "FROM status_incidents");
    }
    if (rc < 0) {
        return rc;
    }
    p->stamp = pg_i64(pg, 0, 0);
    rc = 0;
    if (p->stamp != p->known_stamp) {
        rc = read_incidents(pg, p);
    }
    return rc == 0 && p->wants_uptime ? read_uptime(pg, p) : rc;
}

/* --- writing ----------------------------------------------------------------------------------- */

static int write_component(struct pg *pg, const struct store_component *c)
{
    int rc = pg_query(
        pg,
        "INSERT INTO status_components (code, key, status, updated_at) "
        "VALUES ($1, $2, $3, to_timestamp($4::double precision / 1000)) "
        "ON CONFLICT (code) DO UPDATE SET status = EXCLUDED.status, updated_at = EXCLUDED.updated_at",
        PG_CSTR(c->code), PG_CSTR(c->key), PG_CSTR(component_status_word(c->status)),
        PG_F64((double)c->updated_ms));
    for (unsigned k = 0; rc >= 0 && k < c->day_count; k++) {
        const struct uptime_day *d = &c->days[k];
        rc = pg_query(
            pg,
            "INSERT INTO status_uptime_days AS u (component, day, watched, degraded, partial, major) "
            "VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (component, day) DO UPDATE SET "
            "watched = EXCLUDED.watched, degraded = EXCLUDED.degraded, partial = EXCLUDED.partial, "
            "major = EXCLUDED.major WHERE u.watched < EXCLUDED.watched",
            PG_CSTR(c->code), PG_I64(d->day), PG_F64(d->watched), PG_F64(d->degraded), PG_F64(d->partial),
            PG_F64(d->major));
    }
    return rc < 0 ? rc : 0;
}

static struct pg_param time_param(int64_t ms)
{
    return ms ? PG_F64((double)ms) : PG_NULL;
}

static int write_row(struct pg *pg, const struct incident *i)
{
    struct buf name, components;
    buf_init(&name, TEXT_MAX);
    buf_init(&components, TEXT_MAX);
    incident_json_write_text(&(struct json_writer){.out = &name}, &i->name);
    incident_json_write_components(&(struct json_writer){.out = &components}, i);
    int rc =
        pg_query(pg,
                 "INSERT INTO status_incidents (code, origin, status, impact, name, components, started_at, "
                 "updated_at, monitoring_at, resolved_at) VALUES ($1, $2, $3, $4, $5::text::jsonb, "
                 "$6::text::jsonb, to_timestamp($7::double precision / 1000), "
                 "to_timestamp($8::double precision / 1000), to_timestamp($9::double precision / 1000), "
                 "to_timestamp($10::double precision / 1000)) ON CONFLICT (code) DO UPDATE SET "
                 "status = EXCLUDED.status, impact = EXCLUDED.impact, name = EXCLUDED.name, "
                 "components = EXCLUDED.components, updated_at = EXCLUDED.updated_at, "
                 "monitoring_at = EXCLUDED.monitoring_at, resolved_at = EXCLUDED.resolved_at",
                 PG_CSTR(i->code), PG_CSTR(incident_origin_word(i->origin)),
                 PG_CSTR(incident_status_word(i->status)), PG_CSTR(incident_impact_word(i->impact)),
                 PG_STR(buf_str(&name)), PG_STR(buf_str(&components)), time_param(i->started_ms),
                 time_param(i->updated_ms), time_param(i->monitoring_ms), time_param(i->resolved_ms));
    buf_clear(&name);
    buf_clear(&components);
    return rc < 0 ? rc : 0;
}

static int write_update(struct pg *pg, const struct incident *i, const struct incident_update *u)
{
    struct buf body, changes;
    buf_init(&body, TEXT_MAX);
    buf_init(&changes, TEXT_MAX);
    incident_json_write_text(&(struct json_writer){.out = &body}, &u->body);
    incident_json_write_changes(&(struct json_writer){.out = &changes}, u);
    int rc = pg_query(
        pg,
        "INSERT INTO status_incident_updates (id, incident, status, body, changes, at) VALUES ($1, $2, "
        "$3, $4::text::jsonb, $5::text::jsonb, to_timestamp($6::double precision / 1000)) "
        "ON CONFLICT (id) DO NOTHING",
        PG_CSTR(u->id), PG_CSTR(i->code), PG_CSTR(incident_status_word(u->status)), PG_STR(buf_str(&body)),
        PG_STR(buf_str(&changes)), time_param(u->at_ms));
    buf_clear(&body);
    buf_clear(&changes);
    return rc < 0 ? rc : 0;
}

int store_write_run(struct pg *pg, void *arg)
{
    struct store_write *w = arg;
    bool is_writer = false;
    int rc = take_writer_lock(pg, &is_writer);
    if (rc == 0 && !is_writer) {
        return err_set(pg_err(pg), ERR_CONFLICT, "another tide-status writes now");
    }
    for (unsigned k = 0; rc == 0 && k < w->component_count; k++) {
        rc = write_component(pg, &w->components[k]);
    }
    for (unsigned k = 0; rc == 0 && k < w->incident_count; k++) {
        const struct incident *i = w->incidents[k];
        rc = write_row(pg, i);
        for (unsigned u = 0; rc == 0 && u < i->update_count; u++) {
            rc = write_update(pg, i, &i->updates[u]);
        }
    }
    return rc;
}

void store_write_clear(struct store_write *w)
{
    for (unsigned k = 0; k < w->incident_count; k++) {
        incident_free(w->incidents[k]);
    }
    w->incident_count = 0;
}
