#include "gateway/sms_budget.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/metrics.h"
#include "gateway/attack.h"
#include "gateway/limits.h"
#include "gateway/sms.h"

static struct metric past_share = METRIC_COUNTER_L("tidegate_sms_reserve_requests_total",
                                                   "Code requests when only what budgets keep for accounts "
                                                   "was left, by what the number had and what came of it.",
                                                   "number,result");

/* On the request's arena. */
struct sms_budget {
    struct auth_call *call;
    enum auth_code_for whom;
    bool is_second;
    struct str prefix;
    void (*done)(struct auth_call *call, enum auth_code_verdict v);
};

struct limit_terms sms_budget_terms(const struct gateway_settings *set, const struct auth_code_ask *ask,
                                    int attack_level)
{
    if (ask->whom != AUTH_CODE_FOR_ANYONE) {
        return (struct limit_terms){.only_asks = ask->whom == AUTH_CODE_FOR_NOBODY};
    }
    struct limit_terms t = {.reserved_percent = set->sms.login_reserve};
    if (ask->may_create) {
        t.surcharge_percent = 100 * 100 / attack_sms_percent(&set->attack, attack_level) - 100;
    }
    return t;
}

static void conclude(struct sms_budget *b, enum auth_code_verdict v)
{
    static const char *const labels[][2] = {
        [AUTH_CODE_FOR_ACCOUNT] = {"account,admitted", "account,refused"},
        [AUTH_CODE_FOR_NOBODY] = {"none,admitted", "none,refused"},
    };
    if (b->is_second) {
        metric_child_add(metric_child(&past_share, labels[b->whom][v != AUTH_CODE_ADMITTED]), 1);
    }
    b->done(b->call, v);
}

static void on_guarded(void *arg, bool is_admitted)
{
    struct sms_budget *b = arg;
    struct request *r = b->call->request;
    if (!is_admitted) {
        limits_give_back(r);
    } else if (b->whom == AUTH_CODE_FOR_NOBODY) {
        sms_give_back(r);
    }
    conclude(b, is_admitted ? AUTH_CODE_ADMITTED : AUTH_CODE_REFUSED);
}

static void on_limit(struct request *r, void *arg, enum limits_verdict v)
{
    struct sms_budget *b = arg;
    if (v == LIMITS_PASS) {
        sms_guard(r, b->prefix, on_guarded, b);
    } else if (v == LIMITS_RESERVED) {
        conclude(b, AUTH_CODE_RESERVED);
    } else {
        limits_refuse(r);
        conclude(b, AUTH_CODE_REFUSED);
    }
}

void sms_budget_check(struct auth_call *call, const struct auth_code_ask *ask,
                      void (*done)(struct auth_call *call, enum auth_code_verdict v))
{
    struct request *r = call->request;
    const struct gateway_settings *set = r->conf->set;
    const struct auth_number *number = ask->number;
    struct sms_budget *b = ARENA_NEW(&r->ex->arena, struct sms_budget);
    *b = (struct sms_budget){call, ask->whom, ask->is_second, arena_dup(&r->ex->arena, number->prefix), done};
    struct limits_keys keys = {.phone = number->key,
                               .phone_prefix = number->prefix,
                               .phone_country = number->country,
                               .money = sms_price(&set->sms, number->prefix),
                               .account = STR(""),
                               .terms = sms_budget_terms(set, ask, attack_level(r->gl->gateway))};
    limits_more(r, "sms", &keys, on_limit, b);
}

/* --- for a flow that may outlive its request --------------------------------------------------------- */

struct taken {
    struct auth_taken taken; /* first */
    struct gateway_loop *gl;
    struct limits_taken *limits;
    char prefix[PHONE_E164_MAX + 1]; /* that the guard counted; or empty */
};

static void end(struct auth_taken *kept, enum auth_taken_end how)
{
    struct taken *t = (struct taken *)kept;
    if (how != AUTH_TAKEN_STAYS && t->limits) {
        limits_taken_give_back(t->limits, how == AUTH_TAKEN_BUDGETS_BACK);
    }
    if (how != AUTH_TAKEN_STAYS) {
        sms_unsend(t->gl, str_from(t->prefix));
    }
    limits_taken_free(t->limits);
    free(t);
}

struct auth_taken *sms_budget_keep(struct auth_call *call)
{
    struct request *r = call->request;
    struct taken *t = calloc(1, sizeof *t);
    BUG_ON(!t);
    *t = (struct taken){.taken = {end}, .gl = r->gl, .limits = limits_take_over(r)};
    sms_take_over(r, t->prefix);
    return &t->taken;
}
