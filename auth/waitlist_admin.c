/* See waitlist_admin.h. */
#include "auth/waitlist_admin.h"

#include <stdio.h>
#include <stdlib.h>

#include "auth/subject.h"
#include "auth/waitlist.h"
#include "base/json.h"

enum { OUT_MAX = 1 << 20, LIMIT = 50, LIMIT_MAX = 1000, TEND_ROWS = 5000, NOTICE_TRIES = 5 };

struct waitlist_admin *waitlist_admin_new(enum waitlist_verb verb, struct secret_ring *secrets)
{
    struct waitlist_admin *a = calloc(1, sizeof *a);
    BUG_ON(!a);
    a->verb = verb;
    a->secrets = secret_ring_ref(secrets);
    buf_init(&a->out, OUT_MAX);
    return a;
}

void waitlist_admin_free(struct waitlist_admin *a)
{
    if (a) {
        secret_ring_unref(a->secrets);
        free(a->actor);
        free(a->reason);
        free(a->request_id);
        free(a->country);
        free(a->joined_before);
        buf_clear(&a->out);
        free(a);
    }
}

#define ISO(column) "to_char(" column " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"

static void write_text_at(struct json_writer *w, const char *key, const struct pg *pg, int row, int column)
{
    if (pg_is_null(pg, row, column)) {
        json_null_at(w, key);
    } else {
        json_str_at(w, key, pg_value(pg, row, column));
    }
}

static int status(struct pg *pg, struct waitlist_admin *a)
{
    int rows = pg_query(
        pg, "SELECT (SELECT count(*) FROM waitlist WHERE state = 'waiting'),"
            " (SELECT count(*) FROM waitlist WHERE state = 'released' AND expires_at > now()),"
            " (SELECT count(*) FROM waitlist WHERE notify_at IS NOT NULL),"
            " (SELECT " ISO("joined_at") " FROM waitlist WHERE state = 'waiting' ORDER BY seq LIMIT 1)");
    if (rows < 0) {
        return rows;
    }
    struct json_writer w = {.out = &a->out};
    json_open(&w, '{');
    json_i64_at(&w, "waiting", pg_i64(pg, 0, 0));
    json_i64_at(&w, "released", pg_i64(pg, 0, 1));
    json_i64_at(&w, "to_be_told", pg_i64(pg, 0, 2));
    write_text_at(&w, "first_joined_at", pg, 0, 3);
    json_close(&w, '}');
    return 0;
}

static void write_entry(struct json_writer *w, struct pg *pg, const struct waitlist_admin *a, int row)
{
    struct uuid id = pg_uuid(pg, row, 0);
    char e164[PHONE_E164_MAX + 1], masked[PHONE_E164_MAX + 1];
    json_open(w, '{');
    json_i64_at(w, "position", row + 1);
    json_str_at(w, "id", pg_value(pg, row, 0));
    if (subject_open(a->secrets, "waitlist.subject", &id, pg_bytea(pg, row, 1), e164, NULL) == 0) {
        phone_mask(e164, masked);
        json_str_at(w, "phone", str_from(masked));
    } else {
        json_null_at(w, "phone");
    }
    write_text_at(w, "country", pg, row, 2);
    write_text_at(w, "joined_at", pg, row, 3);
    write_text_at(w, "expires_at", pg, row, 4);
    json_close(w, '}');
}

static int list(struct pg *pg, struct waitlist_admin *a)
{
    int64_t limit = a->limit == 0 ? LIMIT : a->limit < LIMIT_MAX ? a->limit : LIMIT_MAX;
    int rows = pg_query(pg,
                        "SELECT id, subject_enc, country, " ISO("joined_at") ", " ISO(
                            "expires_at") " FROM waitlist WHERE state = 'waiting' ORDER BY seq LIMIT $1",
                        PG_I64(limit));
    struct json_writer w = {.out = &a->out};
    json_open(&w, '{');
    json_open_at(&w, "items", '[');
    for (int i = 0; i < rows; i++) {
        write_entry(&w, pg, a, i);
    }
    json_close(&w, ']');
    json_close(&w, '}');
    return rows < 0 ? rows : 0;
}

static int release(struct pg *pg, struct waitlist_admin *a)
{
    if (a->count < 1 || a->count > WAITLIST_RELEASE_MAX) {
        return err_set(pg_err(pg), ERR_INVALID, "count: wants 1 to %d", WAITLIST_RELEASE_MAX);
    }
    if (a->ttl_s < 60 || a->ttl_s > (int64_t)90 * 86400) {
        return err_set(pg_err(pg), ERR_INVALID, "ttl_s: wants a minute to 90 days");
    }
    if (a->country && (strlen(a->country) != 2 || strspn(a->country, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != 2)) {
        return err_set(pg_err(pg), ERR_INVALID, "phone_country: wants a country like CN");
    }
    if (!a->reason || !a->reason[0]) {
        return err_set(pg_err(pg), ERR_INVALID, "reason: is missing");
    }
    int rows = pg_query(
        pg, "SELECT waitlist_release($1, $2, $3::text::timestamptz, $4 * interval '1 s', $5, $6, $7)",
        PG_I64(a->count), a->country ? PG_CSTR(a->country) : PG_NULL,
        a->joined_before ? PG_CSTR(a->joined_before) : PG_NULL, PG_I64(a->ttl_s), PG_CSTR(a->actor),
        PG_CSTR(a->reason), PG_CSTR(a->request_id ? a->request_id : ""));
    if (rows < 0) {
        bool is_time = strncmp(pg_sqlstate(pg), "2200", 4) == 0;
        return is_time
                   ? err_set(pg_err(pg), ERR_INVALID, "joined_before: wants a time like 2026-12-01T08:00:00Z")
                   : rows;
    }
    int64_t released = pg_i64(pg, 0, 0);
    struct json_writer w = {.out = &a->out};
    json_open(&w, '{');
    json_i64_at(&w, "released", released);
    json_close(&w, '}');
    return 0;
}

int waitlist_admin_job(struct pg *pg, void *admin)
{
    static int (*const verbs[])(struct pg *, struct waitlist_admin *) = {
        [WAITLIST_STATUS] = status, [WAITLIST_LIST] = list, [WAITLIST_RELEASE] = release};
    struct waitlist_admin *a = admin;
    buf_truncate(&a->out); /* a job may run again */
    int rc = verbs[a->verb](pg, a);
    if (rc < 0) {
        a->err = *pg_err(pg);
    }
    return rc;
}

/* --- gateways ---------------------------------------------------------------------------------------- */

static int claim(struct pg *pg, struct waitlist_tend *t)
{
    int rows = pg_query(pg,
                        "SELECT id, message_id, subject_enc, lang, expires_s FROM"
                        " waitlist_claim_notices($1, $2, $3 * interval '1 ms')",
                        PG_I64(t->room), PG_I64((int64_t)t->notices_per_min), PG_I64((int64_t)t->lease_ms));
    for (int i = 0; i < rows && t->notice_count < WAITLIST_NOTICES_MAX; i++) {
        struct waitlist_notice *n = &t->notices[t->notice_count];
        struct uuid id = pg_uuid(pg, i, 0);
        struct str lang = pg_value(pg, i, 3);
        n->message_id = pg_uuid(pg, i, 1);
        n->expires_s = pg_i64(pg, i, 4);
        snprintf(n->lang, sizeof n->lang, STR_FMT, STR_ARG(lang));
        /* what no key opens any more stays claimed until its tries are used up */
        t->notice_count +=
            subject_open(t->secrets, "waitlist.subject", &id, pg_bytea(pg, i, 2), n->to, NULL) == 0;
    }
    return rows < 0 ? rows : 0;
}

int waitlist_tend_job(struct pg *pg, void *tend)
{
    struct waitlist_tend *t = tend;
    t->notice_count = 0;
    int rows = pg_query(pg, "SELECT waiting, released, expired FROM waitlist_tend($1 * interval '1 ms', $2)",
                        PG_I64((int64_t)t->count_ms), PG_I64(TEND_ROWS));
    if (rows <= 0) {
        return rows;
    }
    t->waiting = pg_i64(pg, 0, 0);
    t->released = pg_i64(pg, 0, 1);
    t->expired = pg_i64(pg, 0, 2);
    return t->room > 0 ? claim(pg, t) : 0;
}

int waitlist_settle_job(struct pg *pg, void *settle)
{
    struct waitlist_settle *s = settle;
    int rows = pg_query(pg, "SELECT waitlist_settle_notice($1, $2, $3)", PG_UUID(s->message_id),
                        PG_BOOL(s->is_sent), PG_I64(s->is_refused ? 0 : NOTICE_TRIES));
    return rows < 0 ? rows : 0;
}
