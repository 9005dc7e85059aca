/* See risk.h. */
#include "gateway/risk.h"

#include <stdlib.h>

#include "auth/auth.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/metrics.h"
#include "gateway/accounts.h"
#include "gateway/config.h"
#include "gateway/hooks.h"
#include "gateway/request.h"

enum { BODY_MAX = 2048 };

static struct metric answers = METRIC_COUNTER_L("tidegate_risk_answers_total",
                                                "Questions to the risk hook: answered, late, failed, invalid "
                                                "(not understood or out of range), skipped (it fails "
                                                "often, or too many are under way).",
                                                "result");

/* On its way; the question may be over before it comes back. */
struct risk_call {
    struct risk_question *question; /* NULL: over */
};

static void question_end(struct risk_question *q, const char *result, uint32_t points)
{
    metric_child_add(metric_child(&answers, result), 1);
    q->points = points;
    q->done(q->arg);
}

void risk_forget(struct risk_question *q)
{
    if (q->call) {
        q->call->question = NULL;
        q->call = NULL;
        loop_timer_disarm(&q->late);
    }
}

static void on_late(void *arg)
{
    struct risk_question *q = arg;
    q->call->question = NULL;
    q->call = NULL;
    question_end(q, "late", q->silent);
}

static bool points_read(struct str answer, uint32_t most, uint32_t *out)
{
    struct arena scratch;
    struct json_doc doc;
    int64_t points = -1;
    arena_init(&scratch);
    bool is_read =
        json_scan(&scratch, answer, &json_limits_default, &doc, NULL) == 0 && doc.type == JSON_OBJECT;
    const struct json_slice *v = is_read ? json_member(&doc, "points") : NULL;
    bool is_good = v && json_get_i64(v, &points) && points >= 0 && points <= most;
    *out = is_good ? (uint32_t)points : 0;
    arena_clear(&scratch);
    return is_good;
}

static void on_heard(void *arg, const struct hook_end *end)
{
    struct risk_call *call = arg;
    struct risk_question *q = call->question;
    free(call);
    if (!q) {
        return;
    }
    q->call = NULL;
    loop_timer_disarm(&q->late);
    if (end->rc == ERR_CANCELED) {
        return; /* the process ends */
    }
    if (end->rc != 0) {
        question_end(q, end->rc == ERR_AGAIN ? "skipped" : "failed", q->silent);
    } else if (!points_read(end->answer, q->most, &q->said)) {
        question_end(q, "invalid", q->silent);
    } else {
        question_end(q, "answered", q->said);
    }
}

static void write_text(struct json_writer *w, const char *name, struct str text)
{
    if (text.n > 0) {
        json_str_at(w, name, text);
    }
}

static void write_caller(struct json_writer *w, const struct policy_caller *c)
{
    write_text(w, "ip_country", str_from(c->ip_country));
    if (c->asn) {
        json_i64_at(w, "asn", c->asn);
    }
    if (c->device != POLICY_DEVICE_UNKNOWN) {
        json_str_at(w, "device", str_from(policy_device_name(c->device)));
    }
    if (c->platform != POLICY_PLATFORM_UNKNOWN) {
        json_str_at(w, "platform", str_from(policy_platform_name(c->platform)));
    }
    if (c->invite != POLICY_UNKNOWN) {
        json_bool_at(w, "invite", c->invite == POLICY_YES);
    }
}

static void body_write(const struct request *r, const struct auth_attempt *a, struct buf *out)
{
    char at[CLOCK_ISO_LEN + 1], address[ADDR_TEXT];
    struct json_writer w = {.out = out};
    clock_format_iso(clock_wall_ms(), at);
    addr_format(&r->client, address);
    json_open(&w, '{');
    json_str_at(&w, "type", STR("risk.code_request"));
    json_str_at(&w, "timestamp", str_from(at));
    json_open_at(&w, "data", '{');
    json_str_at(&w, "request_id", str_from(r->ex->id));
    json_str_at(&w, "address", str_from(address));
    write_text(&w, "ja4", r->ex->ja4);
    json_str_at(&w, "number", str_from(a->number));
    json_str_at(&w, "phone_prefix", str_from(a->prefix));
    write_caller(&w, a->caller);
    json_bool_at(&w, "may_create", a->may_create);
    json_str_at(&w, "policy_effect", str_from(policy_effect_name(a->decision.effect)));
    json_str_at(&w, "policy_rule", str_from(a->decision.rule));
    json_close(&w, '}');
    json_close(&w, '}');
}

void risk_ask(struct risk_question *q, struct request *r, const struct auth_attempt *a,
              void (*done)(void *arg), void *arg)
{
    const struct risk_conf *conf = &r->conf->set->hooks.risk;
    struct hooks *hooks = accounts_hooks(r->gl->gateway);
    *q = (struct risk_question){.most = conf->points, .silent = conf->silent, .done = done, .arg = arg};
    if (!conf->hook.url) {
        done(arg);
        return;
    }
    if (!hooks_may_ask_risk(hooks)) {
        question_end(q, "skipped", q->silent);
        return;
    }
    struct buf body;
    q->call = calloc(1, sizeof *q->call);
    BUG_ON(!q->call);
    q->call->question = q;
    loop_timer_init(r->gl->loop, &q->late, on_late, q);
    loop_timer_arm(&q->late, conf->hook.timeout_ms);
    buf_init(&body, BODY_MAX);
    body_write(r, a, &body);
    hooks_ask_risk(hooks, str_from(r->ex->id), buf_str(&body), on_heard, q->call);
    buf_clear(&body);
}
