/* See invite_admin.h: one function a verb. */
#include "auth/invite_admin.h"

#include <stdio.h>
#include <stdlib.h>

#include "auth/invite.h"
#include "base/json.h"

enum { OUT_MAX = 2 << 20, LIST_MAX = INVITE_COUNT_MAX * 80, LIMIT = 50, LIMIT_MAX = 1000 };

struct invite_admin *invite_admin_new(enum invite_verb verb, struct secret_ring *secrets)
{
    struct invite_admin *a = calloc(1, sizeof *a);
    BUG_ON(!a);
    a->verb = verb;
    a->secrets = secret_ring_ref(secrets);
    a->quota = -1;
    buf_init(&a->out, OUT_MAX);
    return a;
}

void invite_admin_free(struct invite_admin *a)
{
    if (!a) {
        return;
    }
    secret_ring_unref(a->secrets);
    free(a->actor);
    free(a->reason);
    free(a->request_id);
    free(a->id);
    if (a->code) {
        secret_cleanse(a->code, strlen(a->code));
    }
    free(a->code);
    free(a->campaign);
    free(a->inviter);
    secret_cleanse(a->out.p, a->out.n);
    buf_clear(&a->out);
    free(a);
}

static int wants_reason(struct pg *pg, const struct invite_admin *a)
{
    if (!a->actor || !a->actor[0]) {
        return err_set(pg_err(pg), ERR_INVALID, "actor: is missing");
    }
    return a->reason && a->reason[0] ? 0 : err_set(pg_err(pg), ERR_INVALID, "reason: is missing");
}

/* --- create ------------------------------------------------------------------------------------------ */

/* Printable ASCII without blanks at the ends: it stands in tables, policies and logs. */
static bool is_name(const char *text, size_t max)
{
    size_t n = strlen(text);
    bool is_good = n <= max && (n == 0 || (text[0] != ' ' && text[n - 1] != ' '));
    for (size_t i = 0; is_good && i < n; i++) {
        is_good = text[i] >= ' ' && text[i] <= '~';
    }
    return is_good;
}

static int check_order(struct pg *pg, const struct invite_admin *a)
{
    if (a->count < 0 || a->count > INVITE_COUNT_MAX) {
        return err_set(pg_err(pg), ERR_INVALID, "count: wants 1 to %d", INVITE_COUNT_MAX);
    }
    if (a->uses < 0 || a->uses > INVITE_USES_MAX) {
        return err_set(pg_err(pg), ERR_INVALID, "uses: wants 1 to %d", INVITE_USES_MAX);
    }
    if (a->ttl_s < 0 || a->ttl_s > (int64_t)10 * 366 * 86400) {
        return err_set(pg_err(pg), ERR_INVALID, "ttl_s: wants at most ten years");
    }
    if (a->campaign && !is_name(a->campaign, POLICY_CAMPAIGN_MAX)) {
        return err_set(pg_err(pg), ERR_INVALID, "campaign: wants at most %d printable ASCII characters",
                       POLICY_CAMPAIGN_MAX);
    }
    if (a->inviter && !is_name(a->inviter, INVITE_INVITER_MAX)) {
        return err_set(pg_err(pg), ERR_INVALID, "inviter: wants at most %d printable ASCII characters",
                       INVITE_INVITER_MAX);
    }
    if (a->quota >= 0 && !a->inviter) {
        return err_set(pg_err(pg), ERR_INVALID, "quota: is an inviter's, and no inviter is named");
    }
    return wants_reason(pg, a);
}

/* What invite_create takes, as lists with commas. */
struct invite_lists {
    struct buf ids, hashes, hints;
};

static void draw_one(struct invite_admin *a, struct invite_lists *l, struct json_writer *w)
{
    struct uuid id = uuid_v7();
    struct invite_code code;
    uint8_t hash[SECRET_HMAC_BYTES];
    char id_text[ID_UUID_TEXT + 1], hash_text[2 * SECRET_HMAC_BYTES + 1], printed[INVITE_CODE_TEXT];
    const char *comma = l->ids.n > 0 ? "," : "";
    invite_code_draw(&code);
    (void)invite_code_hash(a->secrets, &code, 0, hash);
    uuid_format(&id, id_text);
    str_hex_encode(hash, sizeof hash, hash_text);
    invite_code_print(&code, printed);
    buf_addf(&l->ids, "%s%s", comma, id_text);
    buf_addf(&l->hashes, "%s%s", comma, hash_text);
    buf_addf(&l->hints, "%s%s", comma, code.symbols + INVITE_SYMBOLS - INVITE_HINT);
    json_open(w, '{');
    json_str_at(w, "id", str_from(id_text));
    json_str_at(w, "code", str_from(printed));
    json_close(w, '}');
    secret_cleanse(&code, sizeof code);
    secret_cleanse(printed, sizeof printed);
}

static int store(struct pg *pg, struct invite_admin *a, const struct invite_lists *l)
{
    int64_t uses = a->uses ? a->uses : 1;
    int rows = pg_query(
        pg, "SELECT invite_create($1, $2, $3, $4, $5, $6, $7, $8, $9, $10 * interval '1 s', $11, $12, $13)",
        PG_STR(buf_str(&l->ids)), PG_STR(buf_str(&l->hashes)), PG_STR(buf_str(&l->hints)),
        PG_CSTR(secret_active(a->secrets, SECRET_LOOKUP)->id), PG_CSTR(a->campaign ? a->campaign : ""),
        PG_CSTR(a->inviter ? a->inviter : ""), a->quota >= 0 ? PG_I64(a->quota) : PG_NULL,
        PG_I64(a->default_quota), PG_I64(uses), a->ttl_s ? PG_I64(a->ttl_s) : PG_NULL, PG_CSTR(a->actor),
        PG_CSTR(a->reason), PG_CSTR(a->request_id ? a->request_id : ""));
    bool is_quota = rows == ERR_CONFLICT && strcmp(pg_sqlstate(pg), "TG003") == 0;
    return is_quota ? err_set(pg_err(pg), ERR_CONFLICT, "%s", pg_sqltext(pg)) : rows < 0 ? rows : 0;
}

static int invite_create(struct pg *pg, struct invite_admin *a)
{
    struct invite_lists lists;
    struct json_writer w = {.out = &a->out};
    int rc = check_order(pg, a);
    if (rc < 0) {
        return rc;
    }
    buf_init(&lists.ids, LIST_MAX);
    buf_init(&lists.hashes, LIST_MAX);
    buf_init(&lists.hints, LIST_MAX);
    json_open(&w, '{');
    json_open_at(&w, "items", '[');
    for (int64_t i = 0; i < (a->count ? a->count : 1); i++) {
        draw_one(a, &lists, &w);
    }
    json_close(&w, ']');
    json_close(&w, '}');
    rc = store(pg, a, &lists);
    buf_clear(&lists.ids);
    buf_clear(&lists.hashes);
    buf_clear(&lists.hints);
    return rc;
}

/* --- list, revoke ------------------------------------------------------------------------------------ */

/* 1: *id is the invite that is meant; 0: none is named. */
static int name_one(struct pg *pg, const struct invite_admin *a, struct uuid *id)
{
    struct invite_code code;
    struct invite found;
    if (a->id && !uuid_parse(str_from(a->id), id)) {
        return err_set(pg_err(pg), ERR_INVALID, "id: is not a UUID");
    }
    if (a->id || !a->code) {
        return a->id != NULL;
    }
    if (!invite_code_read(str_from(a->code), &code)) {
        return err_set(pg_err(pg), ERR_INVALID, "code: is not an invite's code");
    }
    int rc = invite_find(pg, a->secrets, &code, &found);
    *id = found.id; /* all zero when there is none: found by nobody */
    return rc < 0 ? rc : 1;
}

#define ISO(column) "to_char(" column " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"

static void write_row(struct json_writer *w, const struct pg *pg, int row)
{
    static const char *const texts[] = {"id",         "state",      "hint",       "campaign",  "inviter",
                                        "created_by", "created_at", "expires_at", "revoked_at"};
    enum { TEXTS = sizeof texts / sizeof *texts };
    json_open(w, '{');
    for (int i = 0; i < TEXTS; i++) {
        if (pg_is_null(pg, row, i)) {
            json_null_at(w, texts[i]);
        } else {
            json_str_at(w, texts[i], pg_value(pg, row, i));
        }
    }
    json_i64_at(w, "uses", pg_i64(pg, row, TEXTS));
    json_i64_at(w, "max_uses", pg_i64(pg, row, TEXTS + 1));
    json_close(w, '}');
}

static int invite_list(struct pg *pg, struct invite_admin *a)
{
    struct uuid id = {{0}};
    int one = name_one(pg, a, &id);
    if (one < 0) {
        return one;
    }
    int64_t limit = a->limit == 0 ? LIMIT : a->limit < LIMIT_MAX ? a->limit : LIMIT_MAX;
    int rows = pg_query(
        pg,
        "SELECT id, CASE WHEN revoked_at IS NOT NULL THEN 'revoked' WHEN expires_at <= clock_timestamp()"
        " THEN 'expired' WHEN uses >= max_uses THEN 'used up' ELSE 'good' END, hint, campaign, inviter,"
        " created_by, " ISO("created_at") ", " ISO("expires_at") ", " ISO(
            "revoked_at") ", uses, max_uses FROM invites"
                          " WHERE (NOT $1 OR id = $2) AND ($3::text IS NULL OR campaign = $3)"
                          " ORDER BY created_at DESC, id DESC LIMIT $4",
        PG_BOOL(one > 0), PG_UUID(id), a->campaign ? PG_CSTR(a->campaign) : PG_NULL, PG_I64(limit));
    if (rows == 0 && one > 0) {
        return err_set(pg_err(pg), ERR_NOT_FOUND, "there is no such invite");
    }
    struct json_writer w = {.out = &a->out};
    json_open(&w, '{');
    json_open_at(&w, "items", '[');
    for (int i = 0; i < rows; i++) {
        write_row(&w, pg, i);
    }
    json_close(&w, ']');
    json_close(&w, '}');
    return rows < 0 ? rows : 0;
}

static int invite_revoke(struct pg *pg, struct invite_admin *a)
{
    struct uuid id = {{0}};
    int rc = wants_reason(pg, a);
    if (rc < 0) {
        return rc;
    }
    if ((a->id != NULL) + (a->code != NULL) + (a->campaign != NULL) != 1) {
        return err_set(pg_err(pg), ERR_INVALID, "one of id, code and campaign is wanted");
    }
    int one = name_one(pg, a, &id);
    if (one < 0) {
        return one;
    }
    int rows = one ? pg_query(pg, "SELECT 1 FROM invites WHERE id = $1", PG_UUID(id)) : 1;
    if (rows == 0) {
        return err_set(pg_err(pg), ERR_NOT_FOUND, "there is no such invite");
    }
    rows = rows < 0 ? rows
                    : pg_query(pg, "SELECT invite_revoke($1, $2, $3, $4, $5)", one ? PG_UUID(id) : PG_NULL,
                               a->campaign ? PG_CSTR(a->campaign) : PG_NULL, PG_CSTR(a->actor),
                               PG_CSTR(a->reason), PG_CSTR(a->request_id ? a->request_id : ""));
    if (rows < 0) {
        return rows;
    }
    struct json_writer w = {.out = &a->out};
    json_open(&w, '{');
    json_i64_at(&w, "revoked", pg_i64(pg, 0, 0));
    json_close(&w, '}');
    return 0;
}

int invite_admin_job(struct pg *pg, void *admin)
{
    static int (*const verbs[])(struct pg *, struct invite_admin *) = {
        [INVITE_CREATE] = invite_create, [INVITE_LIST] = invite_list, [INVITE_REVOKE] = invite_revoke};
    struct invite_admin *a = admin;
    secret_cleanse(a->out.p, a->out.n);
    buf_truncate(&a->out); /* a job may run again */
    int rc = verbs[a->verb](pg, a);
    if (rc < 0) {
        a->err = *pg_err(pg);
    }
    return rc;
}
