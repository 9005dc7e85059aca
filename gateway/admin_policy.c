/* Verbs of the admin API that ask a policy and change nothing: simulate, lint, schema. They need no database. */
#include "auth/policy_lint.h"
#include "auth/policy_simulate.h"
#include "base/clock.h"
#include "gateway/accounts.h"
#include "gateway/admin_inner.h"
#include "gateway/config.h"

/* The policy that a body names: `document`, `preset`, or the one in force. A reference; NULL: it has answered. */
static struct policy *policy_of(struct admin_call *c)
{
    struct gateway *g = c->control->gateway;
    struct str preset = STR("");
    struct policy *p = NULL;
    struct err err = {0};
    if (g->conf->set->auth == NULL || g->conf->secrets == NULL) {
        http_reply_error(c->ex, "feature_disabled", "this gateway has no accounts (section auth)");
        return NULL;
    }
    if (!admin_get_text(c, "preset", &preset)) {
        return NULL;
    }
    const struct json_slice *document = json_member(&c->body, "document");
    const char *known = preset.n > 0 ? policy_preset(preset) : NULL;
    if (preset.n > 0 && (document != NULL || known == NULL)) {
        http_reply_error(c->ex, "validation_failed",
                         document != NULL ? "preset: stands beside document" : "preset: is not known");
        return NULL;
    }
    if (document == NULL && known == NULL) {
        const struct policy *now = accounts_policy(g);
        if (now == NULL) {
            http_reply_error(c->ex, "database_unavailable", "no policy is known here yet");
        }
        return now != NULL ? policy_ref((struct policy *)now) : NULL;
    }
    int rc = policy_parse(document != NULL ? document->raw : str_from(known), 0, &p, &err);
    if (rc < 0) {
        admin_refuse(c, rc, &err);
    }
    return rc < 0 ? NULL : p;
}

void admin_policy_simulate(struct admin_call *c)
{
    static const char *const members[] = {"document", "preset", "attempts", "trace"};
    struct err err = {0};
    struct buf out;
    bool has_trace = false;
    if (!admin_knows_members(c, members, 4)) {
        return;
    }
    const struct json_slice *attempts = json_member(&c->body, "attempts");
    const struct json_slice *trace = json_member(&c->body, "trace");
    if (attempts == NULL || (trace != NULL && !json_get_bool(trace, &has_trace))) {
        http_reply_error(c->ex, "validation_failed",
                         attempts == NULL ? "attempts: is missing" : "trace: wants true or false");
        return;
    }
    struct policy *p = policy_of(c);
    if (p == NULL) {
        return;
    }
    const struct gateway *g = c->control->gateway;
    buf_init(&out, ADMIN_ANSWER_MAX);
    struct policy_simulation s = {p, g->conf->secrets, g->conf->set->auth->phone_mode, has_trace,
                                  attempts->raw};
    int rc = policy_simulate(&s, &out, &err);
    if (rc < 0) {
        admin_refuse(c, rc, &err);
    } else {
        admin_reply(c, &out);
    }
    buf_clear(&out);
    policy_unref(p);
}

void admin_policy_lint(struct admin_call *c)
{
    static const char *const members[] = {"document", "preset"};
    struct buf out;
    struct policy *p = admin_knows_members(c, members, 2) ? policy_of(c) : NULL;
    if (p == NULL) {
        return;
    }
    buf_init(&out, ADMIN_ANSWER_MAX);
    policy_lint(p, clock_wall_s(), &out);
    admin_reply(c, &out);
    buf_clear(&out);
    policy_unref(p);
}

void admin_policy_schema(struct admin_call *c)
{
    struct buf out;
    buf_init(&out, ADMIN_ANSWER_MAX);
    policy_write_schema(&out);
    admin_reply(c, &out);
    buf_clear(&out);
}
