/* Verbs of the admin API that auth/invite_admin.h does. A code is a secret: it comes in bodies and queries, which no log
 * shows, never in a path. */
#include <stdlib.h>

#include "auth/invite_admin.h"
#include "gateway/admin_inner.h"
#include "gateway/config.h"

static char *text_dup(struct str s)
{
    return s.n > 0 ? strndup(s.p, s.n) : NULL;
}

static int run(struct pg *pg, void *arg)
{
    return invite_admin_job(pg, arg);
}

/* Codes that were drawn and will never be good are not shown. */
static void reply_trial(struct admin_call *c, const struct invite_admin *a)
{
    struct buf text;
    struct json_writer w = {.out = &text};
    buf_init(&text, 256);
    json_open(&w, '{');
    json_bool_at(&w, "dry_run", true);
    json_i64_at(&w, "count", a->count > 0 ? a->count : 1);
    json_i64_at(&w, "uses", a->uses > 0 ? a->uses : 1);
    json_close(&w, '}');
    admin_reply(c, &text);
    buf_clear(&text);
}

static void done(struct admin_call *c, void *arg, int rc, const struct err *err)
{
    struct invite_admin *a = arg;
    if (rc != 0) {
        admin_refuse(c, rc, a->err.code != ERR_OK ? &a->err : err);
    } else if (c->dry_run && a->verb == INVITE_CREATE) {
        reply_trial(c, a);
    } else {
        admin_reply(c, &a->out);
    }
}

static void drop(void *arg)
{
    invite_admin_free(arg);
}

/* NULL: it has answered. */
static struct invite_admin *verb_new(struct admin_call *c, enum invite_verb verb)
{
    struct gateway *g = c->control->gateway;
    if (g->conf->secrets == NULL) {
        http_reply_error(c->ex, "feature_disabled", "this gateway has no accounts (section auth)");
        return NULL;
    }
    struct invite_admin *a = invite_admin_new(verb, g->conf->secrets);
    a->actor = strdup(c->actor);
    a->request_id = strdup(c->ex->id);
    a->default_quota = (int64_t)g->conf->set->auth->invite_quota;
    return a;
}

static void submit(struct admin_call *c, struct invite_admin *a)
{
    admin_submit(c, &(struct admin_work){.run = run, .done = done, .drop = drop, .arg = a});
}

void admin_invites(struct admin_call *c)
{
    struct str id = STR(""), code = STR(""), campaign = STR(""), limit = STR("");
    int64_t rows = 0;
    (void)http_query_get(c->ex, "id", &id);
    (void)http_query_get(c->ex, "code", &code);
    (void)http_query_get(c->ex, "campaign", &campaign);
    if (http_query_get(c->ex, "limit", &limit) && (!str_i64(limit, &rows) || rows < 0)) {
        http_reply_error(c->ex, "validation_failed", "limit: wants a whole number");
        return;
    }
    struct invite_admin *a = verb_new(c, INVITE_LIST);
    if (a != NULL) {
        a->id = text_dup(id);
        a->code = text_dup(code);
        a->campaign = text_dup(campaign);
        a->limit = rows;
        submit(c, a);
    }
}

void admin_invites_create(struct admin_call *c)
{
    static const char *const members[] = {"count", "uses", "campaign", "ttl_s", "inviter", "quota", "reason"};
    struct str campaign = STR(""), inviter = STR(""), reason = STR("");
    int64_t count = 1, uses = 1, ttl_s = 0, quota = -1;
    if (!admin_knows_members(c, members, 7) || !admin_get_text(c, "campaign", &campaign) ||
        !admin_get_text(c, "inviter", &inviter) || !admin_get_text(c, "reason", &reason) ||
        !admin_get_number(c, "count", &count) || !admin_get_number(c, "uses", &uses) ||
        !admin_get_number(c, "ttl_s", &ttl_s) || !admin_get_number(c, "quota", &quota)) {
        return;
    }
    struct invite_admin *a = verb_new(c, INVITE_CREATE);
    if (a != NULL) {
        a->campaign = text_dup(campaign);
        a->inviter = text_dup(inviter);
        a->reason = text_dup(reason);
        a->count = count > 0 ? count : -1; /* 0 is no order: refused by name */
        a->uses = uses > 0 ? uses : -1;
        a->ttl_s = ttl_s;
        a->quota = quota;
        submit(c, a);
    }
}

void admin_invites_revoke(struct admin_call *c)
{
    static const char *const members[] = {"id", "code", "campaign", "reason"};
    struct str id = STR(""), code = STR(""), campaign = STR(""), reason = STR("");
    if (!admin_knows_members(c, members, 4) || !admin_get_text(c, "id", &id) ||
        !admin_get_text(c, "code", &code) || !admin_get_text(c, "campaign", &campaign) ||
        !admin_get_text(c, "reason", &reason)) {
        return;
    }
    struct invite_admin *a = verb_new(c, INVITE_REVOKE);
    if (a != NULL) {
        a->id = text_dup(id);
        a->code = text_dup(code);
        a->campaign = text_dup(campaign);
        a->reason = text_dup(reason);
        submit(c, a);
    }
}
