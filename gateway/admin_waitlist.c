/* Verbs of the admin API that auth/waitlist_admin.h does. */
#include <stdlib.h>

#include "auth/waitlist.h"
#include "auth/waitlist_admin.h"
#include "gateway/admin_inner.h"
#include "gateway/config.h"

static char *text_dup(struct str s)
{
    return s.n > 0 ? strndup(s.p, s.n) : NULL;
}

static int run(struct pg *pg, void *arg)
{
    return waitlist_admin_job(pg, arg);
}

static void done(struct admin_call *c, void *arg, int rc, const struct err *err)
{
    struct waitlist_admin *a = arg;
    if (rc != 0) {
        admin_refuse(c, rc, a->err.code != ERR_OK ? &a->err : err);
        return;
    }
    admin_reply(c, &a->out);
}

static void drop(void *arg)
{
    waitlist_admin_free(arg);
}

/* NULL: it has answered. */
static struct waitlist_admin *verb_new(struct admin_call *c, enum waitlist_verb verb)
{
    struct gateway *g = c->control->gateway;
    if (g->conf->secrets == NULL) {
        http_reply_error(c->ex, "feature_disabled", "this gateway has no accounts (section auth)");
        return NULL;
    }
    struct waitlist_admin *a = waitlist_admin_new(verb, g->conf->secrets);
    a->actor = strdup(c->actor);
    a->request_id = strdup(c->ex->id);
    return a;
}

static void submit(struct admin_call *c, struct waitlist_admin *a)
{
    admin_submit(c, &(struct admin_work){.run = run, .done = done, .drop = drop, .arg = a});
}

void admin_waitlist(struct admin_call *c)
{
    struct str limit = STR("");
    int64_t rows = 0;
    if (http_query_get(c->ex, "limit", &limit) && (!str_i64(limit, &rows) || rows < 0)) {
        http_reply_error(c->ex, "validation_failed", "limit: wants a whole number");
        return;
    }
    struct waitlist_admin *a = verb_new(c, WAITLIST_LIST);
    if (a != NULL) {
        a->limit = rows;
        submit(c, a);
    }
}

void admin_waitlist_status(struct admin_call *c)
{
    struct waitlist_admin *a = verb_new(c, WAITLIST_STATUS);
    if (a != NULL) {
        submit(c, a);
    }
}

void admin_waitlist_release(struct admin_call *c)
{
    static const char *const members[] = {"count", "phone_country", "joined_before", "ttl_s", "reason"};
    struct str country = STR(""), before = STR(""), reason = STR("");
    int64_t count = 0, ttl_s = 0;
    if (!admin_knows_members(c, members, 5) || !admin_get_text(c, "phone_country", &country) ||
        !admin_get_text(c, "joined_before", &before) || !admin_get_text(c, "reason", &reason) ||
        !admin_get_number(c, "count", &count) || !admin_get_number(c, "ttl_s", &ttl_s)) {
        return;
    }
    struct waitlist_admin *a = verb_new(c, WAITLIST_RELEASE);
    if (a != NULL) {
        const struct auth_config *conf = c->control->gateway->conf->set->auth;
        a->country = text_dup(country);
        a->joined_before = text_dup(before);
        a->reason = text_dup(reason);
        a->count = count;
        a->ttl_s = json_member(&c->body, "ttl_s") ? ttl_s : (int64_t)(conf->waitlist_release_ttl_ms / 1000);
        submit(c, a);
    }
}
