/* Verbs of the admin API that auth/admin.h does: policy, users, sessions, the audit log. */
#include <stdlib.h>

#include "auth/admin.h"
#include "gateway/admin_inner.h"
#include "gateway/config.h"

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
    if (rc != 0) {
        admin_refuse(c, rc, a->err.code != ERR_OK ? &a->err : err);
        return;
    }
    if (a->verb == AUTH_ADMIN_POLICY_SET || a->verb == AUTH_ADMIN_POLICY_ROLLBACK ||
        a->verb == AUTH_ADMIN_SESSIONS_REVOKE) {
        control_poll_soon(c->control);
    }
    admin_reply(c, &a->out);
}

static void drop(void *arg)
{
    auth_admin_free(arg);
}

/* NULL: it has answered. */
static struct auth_admin *verb_new(struct admin_call *c, enum auth_admin_verb verb)
{
    struct gateway *g = c->control->gateway;
    if (g->conf->secrets == NULL) {
        http_reply_error(c->ex, "feature_disabled", "this gateway has no accounts (section auth)");
        return NULL;
    }
    struct auth_admin *a = auth_admin_new(verb, g->conf->secrets);
    a->actor = strdup(c->actor);
    a->request_id = strdup(c->ex->id);
    return a;
}

static void submit(struct admin_call *c, struct auth_admin *a)
{
    admin_submit(c, &(struct admin_work){.run = run, .done = done, .drop = drop, .arg = a});
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

static void list(struct admin_call *c, enum auth_admin_verb verb)
{
    int64_t limit = 0;
    int64_t version = 0;
    struct str phone = STR("");
    struct str user = STR("");
    if (!query_number(c, "limit", &limit) || !query_number(c, "version", &version)) {
        return;
    }
    (void)http_query_get(c->ex, "phone", &phone);
    (void)http_query_get(c->ex, "user", &user);
    struct auth_admin *a = verb_new(c, verb);
    if (a == NULL) {
        return;
    }
    a->limit = limit > 1000 ? 1000 : (unsigned)limit;
    a->version = version;
    a->phone = text_dup(phone);
    a->user = text_dup(user);
    submit(c, a);
}

void admin_policy_get(struct admin_call *c)
{
    list(c, AUTH_ADMIN_POLICY_GET);
}

void admin_policy_history(struct admin_call *c)
{
    list(c, AUTH_ADMIN_POLICY_HISTORY);
}

void admin_users(struct admin_call *c)
{
    list(c, AUTH_ADMIN_USERS_LIST);
}

void admin_audit(struct admin_call *c)
{
    list(c, AUTH_ADMIN_AUDIT_LIST);
}

/* --- changing ------------------------------------------------------------------------------------ */

/* Every change says why. False: it has answered. */
static bool get_reason(struct admin_call *c, struct str *reason)
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

void admin_policy_set(struct admin_call *c)
{
    static const char *const members[] = {"preset", "document", "reason", "if_version"};
    struct str reason = STR("");
    struct str preset = STR("");
    int64_t if_version = 0;
    if (!admin_knows_members(c, members, 4) || !get_reason(c, &reason) ||
        !admin_get_text(c, "preset", &preset) || !admin_get_number(c, "if_version", &if_version)) {
        return;
    }
    const struct json_slice *document = json_member(&c->body, "document");
    if ((preset.n > 0) == (document != NULL)) {
        http_reply_error(c->ex, "validation_failed", "either preset or document is wanted");
        return;
    }
    struct auth_admin *a = verb_new(c, AUTH_ADMIN_POLICY_SET);
    if (a == NULL) {
        return;
    }
    a->preset = text_dup(preset);
    a->document = document != NULL ? text_dup(document->raw) : NULL;
    a->reason = text_dup(reason);
    a->if_version = if_version;
    submit(c, a);
}

void admin_policy_rollback(struct admin_call *c)
{
    static const char *const members[] = {"version", "reason", "if_version"};
    struct str reason = STR("");
    int64_t version = 0;
    int64_t if_version = 0;
    if (!admin_knows_members(c, members, 3) || !get_reason(c, &reason) ||
        !admin_get_number(c, "version", &version) || !admin_get_number(c, "if_version", &if_version)) {
        return;
    }
    if (version <= 0) {
        http_reply_error(c->ex, "validation_failed", "version: which one to go back to");
        return;
    }
    struct auth_admin *a = verb_new(c, AUTH_ADMIN_POLICY_ROLLBACK);
    if (a == NULL) {
        return;
    }
    a->version = version;
    a->if_version = if_version;
    a->reason = text_dup(reason);
    submit(c, a);
}

void admin_sessions_revoke(struct admin_call *c)
{
    static const char *const members[] = {"reason"};
    struct str reason = STR("");
    if (!admin_knows_members(c, members, 1) || !get_reason(c, &reason)) {
        return;
    }
    struct auth_admin *a = verb_new(c, AUTH_ADMIN_SESSIONS_REVOKE);
    if (a == NULL) {
        return;
    }
    a->user = text_dup(c->name);
    a->reason = text_dup(reason);
    submit(c, a);
}
