#include "auth/policy_change.h"

#include "base/pg.h"

/* What the database says of its own conflicts, without the words that are for programs. */
static int conflict_told(struct pg *pg, int rc)
{
    static const char mark[] = "policy_conflict: ";
    const char *text = rc == ERR_CONFLICT ? strstr(pg_sqltext(pg), mark) : NULL;
    return text ? err_set(pg_err(pg), ERR_CONFLICT, "%s", text + sizeof mark - 1) : rc;
}

void policy_write_notice(const struct policy *p, struct buf *out)
{
    static const char *const tags[POLICY_LANGS] = {"en", "zh-Hans", "zh-Hant"};
    struct json_writer w = {.out = out};
    json_open(&w, '{');
    json_str_at(&w, "policy", str_from(policy_name(p)));
    json_str_at(&w, "state", str_from(policy_state_name(policy_state(p))));
    json_open_at(&w, "messages", '{');
    for (unsigned lang = 0; lang < POLICY_LANGS; lang++) {
        struct str words = policy_main_message(p, lang);
        if (words.n > 0) {
            json_str_at(&w, tags[lang], words);
        }
    }
    json_close(&w, '}');
    json_close(&w, '}');
}

/* The document read, and its notice. Free both in any case. */
static int change_read(struct pg *pg, const struct policy_change *c, struct policy **p, struct buf *notice)
{
    *p = NULL;
    buf_init(notice, POLICY_DOCUMENT_MAX);
    int rc = policy_parse(c->document, 0, p, pg_err(pg));
    if (rc == 0) {
        policy_write_notice(*p, notice);
    }
    return rc;
}

int policy_change_make(struct pg *pg, const struct policy_change *c, struct policy_changed *out)
{
    struct policy *p;
    struct buf notice;
    int rc = change_read(pg, c, &p, &notice);
    if (rc == 0) {
        rc = pg_query(pg,
                      "SELECT version, previous FROM policy_change($1, $2, $3, $4, $5, $6, $7, $8, $9,"
                      " CASE WHEN $10::bigint < 0 THEN 'infinity'::timestamptz WHEN $10::bigint > 0"
                      " THEN now() + $10::bigint * interval '1 millisecond' END)",
                      PG_CSTR(policy_name(p)), PG_CSTR(policy_state_name(policy_state(p))),
                      PG_STR(c->document), PG_STR(buf_str(&notice)), PG_CSTR(c->reason), PG_CSTR(c->actor),
                      PG_CSTR(c->request_id), PG_I64(c->if_version), PG_CSTR(c->action), PG_I64(c->for_ms));
    }
    if (rc > 0) {
        *out = (struct policy_changed){pg_i64(pg, 0, 0), pg_i64(pg, 0, 1)};
    }
    buf_clear(&notice);
    policy_unref(p);
    return rc < 0 ? conflict_told(pg, rc) : 0;
}

int policy_change_end(struct pg *pg, const struct policy_change *c, struct policy_changed *out)
{
    int rows =
        pg_query(pg, "SELECT version, previous FROM policy_end($1, $2, $3, $4, $5)", PG_I64(c->if_version),
                 PG_CSTR(c->reason), PG_CSTR(c->actor), PG_CSTR(c->request_id), PG_CSTR(c->action));
    if (rows > 0) {
        *out = (struct policy_changed){pg_i64(pg, 0, 0), pg_i64(pg, 0, 1)};
    }
    return rows < 0 ? conflict_told(pg, rows) : 0;
}

int policy_change_end_held(struct pg *pg, int64_t began)
{
    int rows = pg_query(pg, "SELECT policy_end_held($1)", PG_I64(began));
    return rows < 0 ? conflict_told(pg, rows) : 0;
}

int policy_change_schedule(struct pg *pg, const struct policy_change *c, int64_t *id)
{
    struct policy *p;
    struct buf notice;
    int rc = change_read(pg, c, &p, &notice);
    if (rc == 0) {
        rc = pg_query(pg,
                      "SELECT policy_schedule($1, $2, $3, $4, $5, $6, $7, to_timestamp($8::float8 / 1000),"
                      " CASE WHEN $9::bigint > 0 THEN to_timestamp($8::float8 / 1000)"
                      " + $9::bigint * interval '1 millisecond' END)",
                      PG_CSTR(policy_name(p)), PG_CSTR(policy_state_name(policy_state(p))),
                      PG_STR(c->document), PG_STR(buf_str(&notice)), PG_CSTR(c->reason), PG_CSTR(c->actor),
                      PG_CSTR(c->request_id), PG_F64((double)c->at_ms), PG_I64(c->for_ms));
    }
    if (rc > 0) {
        *id = pg_i64(pg, 0, 0);
    }
    buf_clear(&notice);
    policy_unref(p);
    if (rc == ERR_INVALID && strncmp(pg_sqltext(pg), "at: ", 4) == 0) {
        return err_set(pg_err(pg), ERR_INVALID, "%s", pg_sqltext(pg));
    }
    return rc < 0 ? conflict_told(pg, rc) : 0;
}

int policy_change_cancel(struct pg *pg, const struct policy_change *c, int64_t id)
{
    int rows = pg_query(pg, "SELECT policy_unschedule($1, $2, $3, $4)", PG_I64(id), PG_CSTR(c->reason),
                        PG_CSTR(c->actor), PG_CSTR(c->request_id));
    bool is_gone = rows > 0 && pg_bool(pg, 0, 0);
    return rows < 0 ? rows
           : is_gone
               ? 0
               : err_set(pg_err(pg), ERR_NOT_FOUND, "no scheduled change has the id %lld", (long long)id);
}

int policy_change_uncover(struct pg *pg, int64_t ramp)
{
    int rows = pg_query(pg, "SELECT policy_ramp_uncover($1)", PG_I64(ramp));
    return rows < 0 ? conflict_told(pg, rows) : 0;
}

int policy_change_run_due(struct pg *pg)
{
    int rows = pg_query_n(pg, "SELECT policy_run_due()", 0, NULL);
    return rows < 0 ? rows : (int)pg_i64(pg, 0, 0);
}
