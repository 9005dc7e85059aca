/* GET /admin/v1/explain?key=: why a code request was let on, asked for work or refused (by its request id), or how
 * suspicious an address is now. */
#include <stdlib.h>

#include "base/pg.h"
#include "gateway/admin_inner.h"
#include "gateway/suspicion_explain.h"

struct look_up {
    char id[ID_REQUEST_TEXT + 1];
    bool is_found;
    char *text; /* JSON */
};

static int run_look_up(struct pg *pg, void *arg)
{
    struct look_up *l = arg;
    int rows =
        pg_query(pg,
                 "SELECT json_build_object('kind', 'attempt', 'request_id', request_id, 'at', "
                 "to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), 'outcome', "
                 "outcome, 'verdict', verdict, 'score', score, 'blind', blind, 'may_create', may_create, "
                 "'policy_version', policy_version, 'policy_rule', policy_rule, 'ip_country', ip_country, "
                 "'known', EXISTS (SELECT 1 FROM identities i WHERE i.subject_hash = s.subject_hash), "
                 "'signals', signals) FROM signup_scores s WHERE request_id = $1 ORDER BY at DESC LIMIT 1",
                 PG_CSTR(l->id));
    if (rows > 0) {
        struct str text = pg_value(pg, 0, 0);
        l->is_found = true;
        l->text = strndup(text.p, text.n);
        BUG_ON(l->text == NULL);
    }
    return rows < 0 ? rows : 0;
}

static void on_looked_up(struct admin_call *c, void *arg, int rc, const struct err *err)
{
    const struct look_up *l = arg;
    struct buf text;
    if (rc != 0) {
        admin_refuse(c, rc, err);
        return;
    }
    if (!l->is_found) {
        http_reply_error(
            c->ex, "not_found",
            "no code request %s is kept: suspicion.records a minute and loop are, for 30 days at most",
            l->id);
        return;
    }
    buf_init(&text, ADMIN_ANSWER_MAX);
    buf_add_cstr(&text, l->text);
    admin_reply(c, &text);
    buf_clear(&text);
}

static void drop(void *arg)
{
    struct look_up *l = arg;
    free(l->text);
    free(l);
}

static void on_explained(void *arg, const struct buf *text)
{
    struct admin_call *c = arg;
    c->weighing = NULL;
    admin_reply(c, text);
}

static bool is_request_id(struct str key)
{
    uint8_t bytes[ID_REQUEST_TEXT / 2];
    return key.n == ID_REQUEST_TEXT && str_hex_decode(key, bytes, sizeof bytes) == (int)sizeof bytes;
}

void admin_explain(struct admin_call *c)
{
    struct str key;
    struct addr address;
    if (!http_query_get(c->ex, "key", &key) || key.n == 0) {
        http_reply_error(c->ex, "validation_failed", "key: a request id or an address is wanted");
        return;
    }
    if (is_request_id(key)) {
        struct look_up *l = calloc(1, sizeof *l);
        BUG_ON(l == NULL);
        memcpy(l->id, key.p, ID_REQUEST_TEXT);
        admin_submit(c,
                     &(struct admin_work){.run = run_look_up, .done = on_looked_up, .drop = drop, .arg = l});
        return;
    }
    if (!addr_parse(key, &address)) {
        http_reply_error(c->ex, "validation_failed",
                         "key: must be a request id (32 hex digits, the field x-request-id) or an address");
        return;
    }
    c->weighing = suspicion_explain(c->control->gateway, &address, on_explained, c);
}
