#include "status/ops/ops_verdict.h"

#include <stdarg.h>
#include <stdio.h>

#include "status/ops/ops_text.h"

/* Shares are of the last minute, and only of at least that many. */
enum {
    LEAST_REQUESTS = 20,
    LEAST_CODES = 5,
    LEAST_LOGINS = 20,
    BUDGET_LOW_PERCENT = 10,
    PATIENCE_MS = 10000
};
static const double errors_look = 0.01, errors_burn = 0.05, codes_burn = 0.2, logins_look = 0.001,
                    logins_burn = 0.05;

__attribute__((format(printf, 4, 5))) static void find(struct ops_verdict *r, enum ops_level level,
                                                       enum ops_panel panel, const char *fmt, ...)
{
    r->of[panel] = level > r->of[panel] ? level : r->of[panel];
    r->worst = level > r->worst ? level : r->worst;
    if (r->count == OPS_FINDINGS) {
        return;
    }
    unsigned k = r->count++;
    while (k > 0 && r->findings[k - 1].level < level) {
        r->findings[k] = r->findings[k - 1];
        k--;
    }
    struct ops_finding *f = &r->findings[k];
    va_list ap;
    f->level = level;
    f->panel = panel;
    va_start(ap, fmt);
    vsnprintf(f->text, sizeof f->text, fmt, ap);
    va_end(ap);
    f->text[str_utf8_safe_len(str_from(f->text))] = 0;
}

static double number(const struct ops_view *v, enum ops_count c, double otherwise)
{
    double n;
    return ops_view_number(v, c, &n) ? n : otherwise;
}

/* --- by panel ---------------------------------------------------------------------------------- */

static void judge_pulse(const struct ops_view *v, struct ops_verdict *r)
{
    double requests = ops_history_sum(v->history, OPS_REQUESTS, OPS_MINUTE);
    double share = ops_history_sum(v->history, OPS_ERRORS, OPS_MINUTE) / requests;
    if (requests >= LEAST_REQUESTS && share >= errors_look) {
        find(r, share >= errors_burn ? OPS_BURNS : OPS_LOOK, OPS_PANEL_PULSE,
             "%.1f %% of requests fail (5xx)", 100 * share);
    }
    double pressure = number(v, OPS_PRESSURE, 0);
    if (pressure > 0) {
        find(r, pressure >= 3 ? OPS_BURNS : OPS_LOOK, OPS_PANEL_PULSE, "Short of memory: %s",
             pressure >= 3 ? "chats are refused" : "connections are given up");
    }
    if (number(v, OPS_STUCK, 0) > 0) {
        find(r, OPS_BURNS, OPS_PANEL_PULSE, "%.0f of the gateway's loops do not move",
             number(v, OPS_STUCK, 0));
    }
}

static void judge_signup(const struct ops_view *v, struct ops_verdict *r)
{
    double codes = ops_history_sum(v->history, OPS_CODES, OPS_MINUTE);
    double share = ops_history_sum(v->history, OPS_CODES_FAILED, OPS_MINUTE) / codes;
    if (codes >= LEAST_CODES && share >= codes_burn) {
        find(r, OPS_BURNS, OPS_PANEL_SIGNUP, "%.0f %% of requests for codes fail", 100 * share);
    }
}

static void judge_logins(const struct ops_view *v, struct ops_verdict *r)
{
    double bad = ops_history_sum(v->history, OPS_LOGINS_BAD, OPS_MINUTE);
    double all = bad + ops_history_sum(v->history, OPS_LOGINS_OK, OPS_MINUTE);
    if (all >= LEAST_LOGINS && bad / all > logins_look) {
        find(r, bad / all > logins_burn ? OPS_BURNS : OPS_LOOK, OPS_PANEL_SIGNUP,
             "%.1f %% of log-ins of who has an account fail", 100 * bad / all);
    }
}

static void judge_sms(const struct ops_view *v, struct ops_verdict *r)
{
    const cJSON *sms = v->answers[OPS_SMS].json, *item;
    cJSON_ArrayForEach(item, ops_json_list(sms, "budgets"))
    {
        double most = ops_json_budget(item), left = ops_json_number(item, "remaining");
        if (most > 0 && left * 100 < most * BUDGET_LOW_PERCENT) {
            find(r, left <= 0 ? OPS_BURNS : OPS_LOOK, OPS_PANEL_SMS,
                 left <= 0 ? "SMS budget %s is used up" : "SMS budget %s: %.0f %% left",
                 ops_json_text(item, "rule"), 100 * left / most);
        } else if (ops_json_number(item, "signup_remaining") <= 0) {
            find(r, OPS_LOOK, OPS_PANEL_SMS, "SMS budget %s has only what is kept for accounts",
                 ops_json_text(item, "rule"));
        }
    }
    cJSON_ArrayForEach(item, ops_json_list(sms, "health"))
    {
        if (strcmp(ops_json_text(item, "breaker"), "closed") != 0) {
            find(r, OPS_LOOK, OPS_PANEL_SMS, "SMS provider %s fails", ops_json_text(item, "name"));
        }
    }
    int blocked = cJSON_GetArraySize(ops_json_list(sms, "blocked"));
    if (blocked > 0) {
        find(r, OPS_LOOK, OPS_PANEL_SMS, "%d phone prefix%s blocked as pumped", blocked,
             blocked == 1 ? "" : "es");
    }
}

static void judge_policy(const struct ops_view *v, struct ops_verdict *r)
{
    if (number(v, OPS_EMERGENCY, 0) > 0) {
        find(r, OPS_BURNS, OPS_PANEL_POLICY,
             "Sign-up is closed by emergency, and the database does not know");
    }
    if (number(v, OPS_RAMP_STANDS, 0) > 0) {
        find(r, OPS_LOOK, OPS_PANEL_POLICY, "The ramp stands at %.0f %%", number(v, OPS_RAMP_PERCENT, 0));
    } else if (number(v, OPS_RAMP_PERCENT, 0) > 0) {
        find(r, OPS_NOTE, OPS_PANEL_POLICY, "A policy comes by stages: %.0f %%",
             number(v, OPS_RAMP_PERCENT, 0));
    }
    const cJSON *item;
    cJSON_ArrayForEach(item, ops_json_list(v->answers[OPS_POLICY].json, "items"))
    {
        const char *state = ops_json_text(item, "state");
        if (ops_json_is_true(item, "in_force") && strcmp(state, "open") != 0) {
            find(r, OPS_NOTE, OPS_PANEL_POLICY, "Sign-up is %s (%s)", state, ops_json_text(item, "name"));
        }
    }
}

static void judge_attack(const struct ops_view *v, struct ops_verdict *r)
{
    double level = number(v, OPS_ATTACK_LEVEL, 0);
    if (level > 0) {
        find(r, OPS_LOOK, OPS_PANEL_ATTACK, "Attack ladder at A%.0f", level);
    }
    if (number(v, OPS_ATTACK_FROZEN, 0) > 0) {
        find(r, OPS_LOOK, OPS_PANEL_ATTACK, "The attack ladder has used its moves and stays up");
    }
}

static void judge_workers(const struct ops_view *v, struct ops_verdict *r)
{
    const cJSON *items = ops_json_list(v->answers[OPS_WORKERS].json, "items"), *item;
    unsigned ready = 0, bad = 0;
    const char *name = "";
    cJSON_ArrayForEach(item, items)
    {
        const char *state = ops_json_text(item, "state");
        bool is_ready = strcmp(state, "ready") == 0;
        ready += is_ready;
        if (!is_ready && strcmp(state, "draining") != 0) {
            bad++;
            name = ops_json_text(item, "name");
        }
    }
    if (ready == 0 && cJSON_GetArraySize(items) > 0) {
        find(r, OPS_BURNS, OPS_PANEL_WORKERS, "No worker is ready");
    } else if (bad == 1) {
        find(r, OPS_LOOK, OPS_PANEL_WORKERS, "Worker %s is not ready", name);
    } else if (bad > 1) {
        find(r, OPS_LOOK, OPS_PANEL_WORKERS, "%u of %d workers are not ready", bad,
             cJSON_GetArraySize(items));
    }
    double full = ops_history_sum(v->history, OPS_CHAT_FULL, OPS_MINUTE);
    if (full > 0) {
        find(r, OPS_BURNS, OPS_PANEL_WORKERS,
             "%.0f chats refused in the last minute: the queue is full or slow", full);
    }
    if (number(v, OPS_QUEUE, 0) > 0) {
        find(r, OPS_LOOK, OPS_PANEL_WORKERS, "%.0f chats wait for a worker", number(v, OPS_QUEUE, 0));
    }
}

static void judge_stores(const struct ops_view *v, struct ops_verdict *r)
{
    if (number(v, OPS_PG_UP, 1) == 0) {
        find(r, OPS_BURNS, OPS_PANEL_STORES, "PostgreSQL is away: no sign-up, no log-in");
    }
    if (number(v, OPS_REDIS_LEDGER, 1) == 0) {
        find(r, OPS_BURNS, OPS_PANEL_STORES, "Redis (ledger) is away: no codes are sent");
    }
    double ledger;
    if (number(v, OPS_REDIS_LIMITS, 1) == 0 && !ops_view_number(v, OPS_REDIS_LEDGER, &ledger)) {
        find(r, OPS_BURNS, OPS_PANEL_STORES, "Redis is away: no codes are sent, each gateway limits alone");
    } else if (number(v, OPS_REDIS_LIMITS, 1) == 0) {
        find(r, OPS_LOOK, OPS_PANEL_STORES, "Redis (limits) is away: each gateway limits alone");
    }
}

static void judge_public(const struct ops_view *v, struct ops_verdict *r)
{
    const struct board *b = v->board;
    if (b->state >= LADDER_PARTIALLY_DEGRADED) {
        find(r, b->state >= LADDER_PARTIAL_OUTAGE ? OPS_BURNS : OPS_LOOK, OPS_PANEL_PUBLIC,
             "The public is told: %s", ladder_description(b->state, PROBLEM_LANG_EN));
    }
    if (b->is_stale) {
        find(r, OPS_LOOK, OPS_PANEL_PUBLIC, "Probes have no fresh results");
    }
    if (b->is_store_stale) {
        find(r, OPS_LOOK, OPS_PANEL_PUBLIC, "tide-status does not reach PostgreSQL");
    }
}

void ops_judge(const struct ops_view *v, struct ops_verdict *out)
{
    static void (*const of_gateway[])(const struct ops_view *, struct ops_verdict *) = {
        judge_pulse,  judge_stores, judge_workers, judge_signup,
        judge_logins, judge_attack, judge_sms,     judge_policy,
    };
    memset(out, 0, sizeof *out);
    if (v->is_silent && v->answers[OPS_METRICS].at_ms == 0) {
        find(out, v->silent_ms > PATIENCE_MS ? OPS_BURNS : OPS_LOOK, OPS_PANEL_PULSE,
             "The gateway has not been heard yet");
    } else if (v->is_silent) {
        find(out, OPS_BURNS, OPS_PANEL_PULSE, "The gateway is silent for %llu s",
             (unsigned long long)v->silent_ms / 1000);
    }
    for (size_t k = 0; !v->is_silent && k < sizeof of_gateway / sizeof *of_gateway; k++) {
        of_gateway[k](v, out);
    }
    judge_public(v, out);
}
