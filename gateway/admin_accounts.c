/* Verbs of the admin API that auth/admin.h does: users, sessions, numbers, the audit log. Those of the policy are in
 * admin_policy_change.c. */
#include <stdlib.h>

#include "auth/admin.h"
#include "base/clock.h"
#include "gateway/admin_inner.h"
#include "gateway/config.h"

#define BAN_MAX_S (INT64_C(100) * 365 * 86400)

static char *text_dup(struct str s)
{
    return s.n > 0 ? strndup(s.p, s.n) : NULL;
}

static int run(struct pg *pg, void *arg)
{
    return auth_admin_job(pg, arg);
}

static void done(struct admin_call *c, void *arg, int rc, const struct err *err)
{
    struct auth_admin *a = arg;
    if (rc != 0 && a->verb == AUTH_ADMIN_POLICY_GET && a->version == 0 && admin_policy_known(c)) {
        return; /* the database is away: what is in force here */
    }
    if (rc != 0) {
        admin_refuse(c, rc, a->err.code != ERR_OK ? &a->err : err);
        return;
    }
    if (a->actor != NULL && a->reason != NULL) {
        control_poll_soon(c->control); /* it was a change */
    }
    admin_reply(c, &a->out);
}

static void not_submitted(struct admin_call *c, void *arg)
{
    done(c, arg, ERR_UNAVAILABLE, &(struct err){.msg = "the database is away or too busy"});
}

static void drop(void *arg)
{
    auth_admin_free(arg);
}

struct auth_admin *admin_auth_verb(struct admin_call *c, enum auth_admin_verb verb)
{
    struct gateway *g = c->control->gateway;
    if (g->conf->secrets == NULL) {
        http_reply_error(c->ex, "feature_disabled", "this gateway has no accounts (section auth)");
        return NULL;
    }
    struct auth_admin *a = auth_admin_new(verb, g->conf->secrets);
    a->is_dry_run = c->dry_run;
    a->actor = strdup(c->actor);
    a->request_id = strdup(c->ex->id);
    return a;
}

void admin_auth_submit(struct admin_call *c, struct auth_admin *a)
{
    admin_submit(c, &(struct admin_work){
                        .run = run, .done = done, .not_submitted = not_submitted, .drop = drop, .arg = a});
}

/* --- reading ------------------------------------------------------------------------------------- */

/* A whole number of the query; false when it has answered. */
static bool query_number(struct admin_call *c, const char *name, int64_t *out)
{
    struct str text;
    if (http_query_get(c->ex, name, &text) && (!str_i64(text, out) || *out < 0)) {
        http_reply_error(c->ex, "validation_failed", "%s: wants a whole number", name);
        return false;
    }
    return true;
}

void admin_auth_list(struct admin_call *c, enum auth_admin_verb verb)
{
    int64_t limit = 0;
    int64_t version = 0;
    struct str phone = STR("");
    struct str user = STR("");
    struct str banned = STR("");
    if (!query_number(c, "limit", &limit) || !query_number(c, "version", &version)) {
        return;
    }
    (void)http_query_get(c->ex, "phone", &phone);
    (void)http_query_get(c->ex, "user", &user);
    (void)http_query_get(c->ex, "banned", &banned);
    struct auth_admin *a = admin_auth_verb(c, verb);
    if (a == NULL) {
        return;
    }
    a->limit = limit > 1000 ? 1000 : (unsigned)limit;
    a->version = version;
    a->phone = text_dup(phone);
    a->user = text_dup(user);
    a->is_banned = str_is(banned, "1");
    admin_auth_submit(c, a);
}

void admin_users(struct admin_call *c)
{
    admin_auth_list(c, AUTH_ADMIN_USERS_LIST);
}

void admin_audit(struct admin_call *c)
{
    admin_auth_list(c, AUTH_ADMIN_AUDIT_LIST);
}

/* --- changing ------------------------------------------------------------------------------------ */

bool admin_get_reason(struct admin_call *c, struct str *reason)
{
    if (!admin_get_text(c, "reason", reason)) {
        return false;
    }
    if (reason->n == 0) {
        http_reply_error(c->ex, "validation_failed", "reason: say why; it goes into the audit log");
        return false;
    }
    return true;
}

void admin_number_unlock(struct admin_call *c)
{
    static const char *const members[] = {"phone", "reason"};
    struct str phone = STR(""), reason = STR("");
    if (!admin_knows_members(c, members, 2) || !admin_get_text(c, "phone", &phone) ||
        !admin_get_reason(c, &reason)) {
        return;
    }
    struct auth_admin *a = admin_auth_verb(c, AUTH_ADMIN_NUMBER_UNLOCK);
    if (a == NULL) {
        return;
    }
    a->phone = text_dup(phone);
    a->reason = text_dup(reason);
    admin_auth_submit(c, a);
}

/* Until when, or for how long; neither: for good. False: it has answered. */
static bool get_until(struct admin_call *c, int64_t *at_ms, int64_t *ttl_s)
{
    struct str until = STR("");
    if (!admin_get_text(c, "until", &until) || !admin_get_number(c, "ttl_s", ttl_s)) {
        return false;
    }
    const char *wrong = until.n > 0 && *ttl_s != 0 ? "until: either this or ttl_s"
                        : json_member(&c->body, "until") != NULL &&
                                (clock_parse_iso(until.p, until.n, at_ms) < 0 || *at_ms <= 0)
                            ? "until: wants a time to come, as 2026-12-01T09:00:00+08:00"
                        : json_member(&c->body, "ttl_s") != NULL && (*ttl_s < 1 || *ttl_s > BAN_MAX_S)
                            ? "ttl_s: 1 to 3153600000; left out, it is for good"
                            : NULL;
    if (wrong != NULL) {
        http_reply_error(c->ex, "validation_failed", "%s", wrong);
    }
    return wrong == NULL;
}

void admin_user_ban(struct admin_call *c)
{
    static const char *const members[] = {"until", "ttl_s", "reason"};
    struct str reason = STR("");
    int64_t at_ms = 0, ttl_s = 0;
    if (!admin_knows_members(c, members, 3) || !get_until(c, &at_ms, &ttl_s) ||
        !admin_get_reason(c, &reason)) {
        return;
    }
    struct auth_admin *a = admin_auth_verb(c, AUTH_ADMIN_USER_BAN);
    if (a == NULL) {
        return;
    }
    a->user = text_dup(c->name);
    a->reason = text_dup(reason);
    a->at_ms = at_ms;
    a->for_ms = ttl_s * 1000;
    admin_auth_submit(c, a);
}

/* A change that wants nothing but a reason, and whom it is about in the path, or nobody. */
static void change_by_reason(struct admin_call *c, enum auth_admin_verb verb)
{
    static const char *const members[] = {"reason"};
    struct str reason = STR("");
    if (!admin_knows_members(c, members, 1) || !admin_get_reason(c, &reason)) {
        return;
    }
    struct auth_admin *a = admin_auth_verb(c, verb);
    if (a == NULL) {
        return;
    }
    a->user = text_dup(c->name);
    a->reason = text_dup(reason);
    admin_auth_submit(c, a);
}

void admin_sessions_revoke(struct admin_call *c)
{
    change_by_reason(c, AUTH_ADMIN_SESSIONS_REVOKE);
}

void admin_user_unban(struct admin_call *c)
{
    change_by_reason(c, AUTH_ADMIN_USER_UNBAN);
}

void admin_everybody_out(struct admin_call *c)
{
    change_by_reason(c, AUTH_ADMIN_EVERYBODY_OUT);
}
