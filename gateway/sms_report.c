/* tidectl sms top: a question that goes to loop 0, whose Redis answers, and back to the control thread. */
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "gateway/accounts.h"
#include "gateway/attack.h"
#include "gateway/config.h"
#include "gateway/control.h"
#include "gateway/hooks.h"
#include "gateway/limits.h"
#include "gateway/limits_explain.h"
#include "gateway/limits_inner.h"
#include "gateway/sms.h"
#include "gateway/sms_budget.h"
#include "ratelimit/limiter_peek.h"
#include "base/money.h"
#include "ratelimit/sms_ledger.h"

enum { ANSWER_MAX = 1 << 20 };

struct sms_report {
    struct loop_msg msg;
    struct gateway *gateway;
    const struct gateway_config *conf; /* a reference */
    struct arena arena;
    unsigned most;
    struct limit_subject subject; /* what all share: the budgets */
    struct limit_peek peek;
    struct sms_top top;
    struct buf text; /* of countries, prefixes, providers, blocked: members of an object */
    bool is_known;
    void (*done)(void *arg, const struct buf *text); /* NULL: forgotten */
    void *arg;
};

static void report_free(struct sms_report *p)
{
    arena_clear(&p->arena);
    buf_clear(&p->text);
    config_unref(p->conf);
    free(p);
}

/* --- back on the control thread -------------------------------------------------------------------------- */

static void write_budgets(struct json_writer *w, const struct sms_report *p)
{
    const struct limit_peek *peek = &p->peek;
    const struct auth_code_ask signup = {.whom = AUTH_CODE_FOR_ANYONE, .may_create = true};
    struct limit_terms terms = sms_budget_terms(p->conf->set, &signup, attack_level(p->gateway));
    json_open_at(w, "budgets", '[');
    for (unsigned i = 0; i < peek->count; i++) {
        limits_write_peek(w, &peek->keys[i], &terms);
    }
    json_close(w, ']');
}

static void write_states(struct json_writer *w, const struct hooks *hooks)
{
    json_open_at(w, "health", '[');
    if (hooks != NULL) {
        hooks_write_providers(hooks, w);
    }
    json_close(w, ']');
}

static void answer(struct loop_msg *m, bool canceled)
{
    struct sms_report *p = (struct sms_report *)(void *)m;
    if (!canceled && p->done != NULL) {
        struct buf text;
        struct json_writer w = {.out = &text};
        buf_init(&text, ANSWER_MAX);
        json_open(&w, '{');
        json_str_at(&w, "currency", str_from(p->conf->set->sms.currency));
        write_budgets(&w, p);
        write_states(&w, accounts_hooks(p->gateway));
        buf_add_str(&text, buf_str(&p->text));
        json_close(&w, '}');
        p->done(p->arg, p->is_known ? &text : NULL);
        buf_clear(&text);
    }
    report_free(p);
}

static void go_back(struct sms_report *p)
{
    p->msg = (struct loop_msg){.fn = answer};
    loop_post(control_loop(p->gateway->control), &p->msg);
}

/* --- on the loop ----------------------------------------------------------------------------------------- */

static struct str text_of(const struct redis_reply *item)
{
    return item != NULL && item->type == REDIS_TYPE_TEXT ? item->text : STR("");
}

/* "4500" or "4.5e+06": scores of a sorted set. */
static uint64_t count_of(const struct redis_reply *item)
{
    struct str text = text_of(item);
    char copy[32];
    snprintf(copy, sizeof copy, STR_FMT, STR_ARG(text));
    double v = strtod(copy, NULL);
    return v > 0 && v < 9e15 ? (uint64_t)v : 0;
}

static void write_rows(struct json_writer *w, const char *name, const struct redis_reply *rows)
{
    json_open_at(w, name, '[');
    const struct redis_reply *item = rows->items;
    while (item != NULL && item->next != NULL && item->next->next != NULL) {
        char money[MONEY_TEXT_MAX];
        money_format(count_of(item->next), money);
        json_open(w, '{');
        json_str_at(w, "name", text_of(item));
        json_i64_at(w, "sent", (int64_t)count_of(item->next->next));
        json_str_at(w, "cost", str_from(money));
        json_close(w, '}');
        item = item->next->next->next;
    }
    json_close(w, ']');
}

static void write_blocked(struct json_writer *w, int64_t now_ms, const struct redis_reply *rows)
{
    json_open_at(w, "blocked", '[');
    const struct redis_reply *item = rows->items;
    while (item != NULL && item->next != NULL) {
        int64_t ends_ms = (int64_t)count_of(item->next);
        json_open(w, '{');
        json_str_at(w, "prefix", text_of(item));
        json_i64_at(w, "seconds_left", ends_ms > now_ms ? (ends_ms - now_ms + 999) / 1000 : 0);
        json_close(w, '}');
        item = item->next->next;
    }
    json_close(w, ']');
}

static void on_top(void *arg, int rc, const struct redis_reply *reply)
{
    static const char *const names[] = {"countries", "prefixes", "providers"};
    struct sms_report *p = arg;
    struct json_writer w = {.out = &p->text, .need_comma = true};
    if (rc == 0 && reply->type == REDIS_TYPE_ARRAY && reply->count == 5) {
        const struct redis_reply *item = reply->items;
        write_blocked(&w, item->integer, item->next);
        item = item->next;
        for (unsigned i = 0; i < 3; i++) {
            item = item->next;
            write_rows(&w, names[i], item);
        }
        p->is_known = true;
    }
    go_back(p);
}

static void on_peeked(void *arg)
{
    struct sms_report *p = arg;
    struct redis *ledger = limits_ledger(&p->gateway->loops[0]);
    if (sms_ledger_top(ledger, &p->top, p->most, &p->arena, on_top, p) != 0) {
        go_back(p);
    }
}

static void ask(struct loop_msg *m, bool canceled)
{
    struct sms_report *p = (struct sms_report *)(void *)m;
    struct gateway_loop *gl = &p->gateway->loops[0];
    if (canceled || gl->limits == NULL) {
        go_back(p);
        return;
    }
    limiter_peek(gl->limits->limiter, &p->peek, p->conf->limits, &p->subject, &p->arena, on_peeked, p);
}

struct sms_report *sms_report(struct gateway *g, unsigned most,
                              void (*done)(void *arg, const struct buf *text), void *arg)
{
    struct sms_report *p = calloc(1, sizeof *p);
    BUG_ON(!p);
    p->gateway = g;
    p->conf = config_ref(g->conf);
    p->most = most;
    p->done = done;
    p->arg = arg;
    arena_init(&p->arena);
    buf_init(&p->text, ANSWER_MAX);
    for (int d = 0; d < LIMIT_DIMENSIONS; d++) {
        p->subject.by[d] = STR("");
    }
    p->subject.by[LIMIT_BY_ALL] = STR("all");
    p->msg = (struct loop_msg){.fn = ask};
    loop_post(g->loops[0].loop, &p->msg);
    return p;
}

void sms_report_forget(struct sms_report *p)
{
    p->done = NULL;
}
