/* What operators are shown of limits: rules with their counters, who is refused most, what a subject has left. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "gateway/config.h"
#include "gateway/control.h"
#include "gateway/limits.h"
#include "gateway/limits_explain.h"
#include "gateway/limits_inner.h"
#include "gateway/limits_override.h"
#include "ratelimit/limiter_peek.h"
#include "ratelimit/offenders.h"

static void write_by(struct json_writer *w, const struct limit_rule *rule)
{
    char by[128] = "";
    for (int d = 0; d < LIMIT_DIMENSIONS; d++) {
        if (rule->dimensions & (1u << d)) {
            size_t n = strlen(by);
            snprintf(by + n, sizeof(by) - n, "%s%s", n > 0 ? "+" : "",
                     limit_dimension_name((enum limit_dimension)d));
        }
    }
    json_str_at(w, "by", str_from(by));
}

/* --- rules ------------------------------------------------------------------------------------------ */

static const char *const units[LIMIT_UNITS] = {"requests", "tokens", "concurrent", "money"};

static void write_rule(struct json_writer *w, const struct limit_rule *rule)
{
    static const char *const on_errors[] = {"local", "open", "closed"};
    json_open(w, '{');
    json_str_at(w, "name", str_from(rule->name));
    write_by(w, rule);
    json_i64_at(w, "limit", (int64_t)rule->gcra.limit);
    json_i64_at(w, "period_ms", (int64_t)(rule->gcra.period_us / 1000));
    json_i64_at(w, "burst", (int64_t)rule->gcra.burst);
    json_str_at(w, "unit", str_from(units[rule->unit]));
    json_str_at(w, "role", rule->role == LIMIT_ROLE_LEDGER ? STR("ledger") : STR("limits"));
    json_str_at(w, "on_error", str_from(on_errors[rule->on_error]));
    json_bool_at(w, "shadow", rule->shadow);
    json_bool_at(w, "lease", rule->leases);
    json_bool_at(w, "newcomers", rule->newcomers);
    for (int i = 0; i < LIMIT_OUTCOMES; i++) {
        json_i64_at(w, limit_outcome_name((enum limit_outcome)i),
                    (int64_t)metric_child_value(rule->outcomes[i]));
    }
    json_close(w, '}');
}

void limits_write_json(struct gateway *g, struct buf *out)
{
    struct json_writer w = {.out = out};
    const struct limit_rules *rules = g->conf->limits;
    json_open(&w, '{');
    json_i64_at(&w, "gateways", limiter_gateways(g->limits->shared));
    json_open_at(&w, "rules", '[');
    for (unsigned i = 0; i < limit_rules_count(rules); i++) {
        write_rule(&w, limit_rules_get(rules, i));
    }
    json_close(&w, ']');
    json_open_at(&w, "overrides", '[');
    limits_override_write(g, &w);
    json_close(&w, ']');
    json_close(&w, '}');
}

bool limits_has_rule(const struct gateway *g, const char *name)
{
    const struct limit_rules *rules = g->conf->limits;
    for (unsigned i = 0; i < limit_rules_count(rules); i++) {
        if (strcmp(limit_rules_get(rules, i)->name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* --- who is refused most ---------------------------------------------------------------------------- */

void limits_write_top(struct gateway *g, const char *rule, unsigned most, struct buf *out)
{
    struct json_writer w = {.out = out};
    struct offender *top = calloc(OFFENDERS_TOP, sizeof *top);
    BUG_ON(top == NULL);
    unsigned n = offenders_top(limiter_offenders(g->limits->shared), rule, top, (int64_t)clock_mono_us());
    json_open(&w, '{');
    json_open_at(&w, "items", '[');
    for (unsigned i = 0; i < n && i < most; i++) {
        char text[ADDR_TEXT + 4];
        if (top[i].source.bits > 0) {
            addr_prefix_format(&top[i].source, text);
        } else { /* of a phone or an account only its hash is told: as in Redis */
            str_hex_encode((const uint8_t *)&top[i].key, sizeof top[i].key, text);
        }
        json_open(&w, '{');
        json_str_at(&w, "rule", str_from(top[i].rule));
        json_str_at(&w, "source", str_from(text));
        json_i64_at(&w, "refused", top[i].refused);
        json_close(&w, '}');
    }
    json_close(&w, ']');
    json_close(&w, '}');
    free(top);
}

/* --- what a subject has left ------------------------------------------------------------------------- */

static int64_t seconds_up(int64_t us)
{
    return us > 0 ? (us + 999999) / 1000000 : 0;
}

void limits_write_peek(struct json_writer *w, const struct limit_peek_key *k,
                       const struct limit_terms *signup)
{
    const struct limit_rule *rule = k->k.rule;
    const struct gcra *g = &rule->gcra;
    bool running = rule->unit == LIMIT_UNIT_CONCURRENT;
    uint64_t left = running ? (k->used < (int64_t)g->limit ? g->limit - (uint64_t)k->used : 0)
                            : gcra_remaining(g, k->used);
    int64_t retry_us = running ? 0 : gcra_retry_us(g, k->used + k->k.inc_us, k->k.inc_us);
    bool refused = k->refused_here_us > 0 || (k->is_known && (running ? left == 0 : retry_us > 0));
    retry_us = k->refused_here_us > retry_us ? k->refused_here_us : retry_us;
    json_open(w, '{');
    json_str_at(w, "rule", str_from(rule->name));
    write_by(w, rule);
    json_i64_at(w, "limit", (int64_t)g->limit);
    json_i64_at(w, "period_ms", (int64_t)(g->period_us / 1000));
    json_i64_at(w, "burst", (int64_t)g->burst);
    json_str_at(w, "unit", str_from(units[rule->unit]));
    json_bool_at(w, "known", k->is_known);
    json_i64_at(w, "remaining", (int64_t)left);
    if (signup && rule->is_shared) {
        json_i64_at(w, "signup_remaining", (int64_t)limit_peek_left(k, signup));
    }
    json_i64_at(w, "reset_s", running ? 0 : seconds_up(k->used));
    json_str_at(w, "next", !refused ? STR("passes") : rule->shadow ? STR("passes (shadow)") : STR("refused"));
    json_i64_at(w, "retry_s", seconds_up(retry_us));
    json_close(w, '}');
}
