#include "gateway/ramp_signals.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "auth/auth.h"
#include "base/clock.h"
#include "gateway/config.h"
#include "gateway/control.h"
#include "gateway/limits.h"
#include "gateway/limits_inner.h"
#include "ratelimit/limiter_peek.h"

enum { ASK_MS = 1000, FRESH_MS = 5000 };

/* A question to the ledger about what all share. */
struct budget_ask {
    struct loop_msg msg;
    struct gateway *gateway;
    struct ramp_signals *signals;      /* NULL: forgotten */
    const struct gateway_config *conf; /* a reference */
    struct arena arena;
    struct limit_subject subject;
    struct limit_peek peek;
};

struct ramp_signals {
    struct gateway *gateway;
    struct auth_attempts counted;      /* at the last look */
    uint64_t looked_us;                /* 0: never */
    double served, failed;             /* within the window, fading */
    struct budget_ask *ask;            /* on its way, or NULL */
    uint64_t asked_ms, known_ms;       /* 0: never */
    char short_of[LIMIT_NAME_MAX + 1]; /* the budget with the least left, when that is too little */
    unsigned left_percent;             /* of it */
};

/* --- budgets ----------------------------------------------------------------------------------------- */

static void ask_free(struct budget_ask *a)
{
    arena_clear(&a->arena);
    config_unref(a->conf);
    free(a);
}

static bool is_budget(const struct gateway_config *conf, const struct limit_rule *rule)
{
    const struct limit_set *sms = limit_rules_at(conf->limits, STR("sms"));
    for (unsigned i = 0; i < sms->count; i++) {
        if (sms->rules[i] == rule) {
            return rule->dimensions == 1u << LIMIT_BY_ALL && rule->unit != LIMIT_UNIT_CONCURRENT &&
                   !rule->shadow;
        }
    }
    return false;
}

/* False: the ledger did not tell of one. */
static bool find_short(struct ramp_signals *s, const struct gateway_config *conf,
                       const struct limit_peek *peek)
{
    unsigned least = conf->set->ramp.budget_percent;
    s->short_of[0] = '\0';
    for (unsigned i = 0; i < peek->count; i++) {
        const struct limit_peek_key *k = &peek->keys[i];
        if (!is_budget(conf, k->k.rule)) {
            continue;
        }
        if (!k->is_known) {
            return false;
        }
        const struct gcra *g = &k->k.rule->gcra;
        double left = 100.0 * (double)gcra_remaining(g, k->used) / (double)(g->burst ? g->burst : g->limit);
        if (left < least) {
            least = (unsigned)left;
            s->left_percent = least;
            snprintf(s->short_of, sizeof s->short_of, "%s", k->k.rule->name);
        }
    }
    return true;
}

static void on_answer(struct loop_msg *m, bool canceled)
{
    struct budget_ask *a = (struct budget_ask *)(void *)m;
    struct ramp_signals *s = a->signals;
    if (s != NULL) {
        s->ask = NULL;
        if (!canceled && find_short(s, a->conf, &a->peek)) {
            s->known_ms = clock_mono_ms();
        }
    }
    ask_free(a);
}

static void on_peeked(void *arg)
{
    struct budget_ask *a = arg;
    a->msg = (struct loop_msg){.fn = on_answer};
    loop_post(control_loop(a->gateway->control), &a->msg);
}

static void peek(struct loop_msg *m, bool canceled)
{
    struct budget_ask *a = (struct budget_ask *)(void *)m;
    struct gateway_loop *gl = &a->gateway->loops[0];
    if (canceled || gl->limits == NULL) {
        on_peeked(a);
        return;
    }
    limiter_peek(gl->limits->limiter, &a->peek, a->conf->limits, &a->subject, &a->arena, on_peeked, a);
}

static void ask(struct ramp_signals *s)
{
    struct budget_ask *a = calloc(1, sizeof *a);
    BUG_ON(!a);
    a->gateway = s->gateway;
    a->signals = s;
    a->conf = config_ref(s->gateway->conf);
    arena_init(&a->arena);
    for (int d = 0; d < LIMIT_DIMENSIONS; d++) {
        a->subject.by[d] = STR("");
    }
    a->subject.by[LIMIT_BY_ALL] = STR("all");
    a->msg = (struct loop_msg){.fn = peek};
    s->ask = a;
    s->asked_ms = clock_mono_ms();
    loop_post(s->gateway->loops[0].loop, &a->msg);
}

/* --- code requests ----------------------------------------------------------------------------------- */

/* Limits count: they are what gives way first. */
static double failed(const struct auth_attempts *a)
{
    return a->failed + a->limited;
}

static void count(struct ramp_signals *s)
{
    struct auth_attempts now;
    uint64_t now_us = clock_mono_us();
    auth_attempts_read(&now);
    if (s->looked_us != 0) {
        double window_us = (double)s->gateway->conf->set->ramp.window_ms * 1000;
        double kept = exp(-(double)(now_us - s->looked_us) / window_us);
        s->served = s->served * kept + now.served - s->counted.served;
        s->failed = s->failed * kept + failed(&now) - failed(&s->counted);
    }
    s->counted = now;
    s->looked_us = now_us;
}

/* --- the door ---------------------------------------------------------------------------------------- */

struct ramp_signals *ramp_signals_new(struct gateway *g)
{
    struct ramp_signals *s = calloc(1, sizeof *s);
    BUG_ON(!s);
    s->gateway = g;
    return s;
}

void ramp_signals_free(struct ramp_signals *s)
{
    if (s && s->ask) {
        s->ask->signals = NULL;
    }
    free(s);
}

void ramp_signals_look(struct ramp_signals *s)
{
    count(s);
    if (!s->ask && clock_mono_ms() >= s->asked_ms + ASK_MS) {
        ask(s);
    }
}

void ramp_signals_read(const struct ramp_signals *s, struct policy_ramp_signals *out)
{
    const struct ramp_conf *conf = &s->gateway->conf->set->ramp;
    double all = s->served + s->failed;
    bool has_ledger = limits_has_redis(&s->gateway->loops[0]) && conf->budget_percent > 0;
    bool is_fresh = s->known_ms != 0 && clock_mono_ms() < s->known_ms + FRESH_MS;
    *out = (struct policy_ramp_signals){.is_known = !has_ledger || is_fresh};
    if (all >= conf->attempts && 100 * s->failed > all * conf->failed_percent) {
        snprintf(out->bad, sizeof out->bad, "%.0f %% of the code requests fail", 100 * s->failed / all);
    } else if (has_ledger && is_fresh && s->short_of[0] != '\0') {
        snprintf(out->bad, sizeof out->bad, "%u %% is left of the SMS budget %s", s->left_percent,
                 s->short_of);
    }
}

void ramp_signals_forget(struct ramp_signals *s)
{
    s->looked_us = s->known_ms = s->asked_ms = 0;
    s->served = s->failed = 0;
    s->short_of[0] = '\0';
}
