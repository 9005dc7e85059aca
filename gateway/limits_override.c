#include "gateway/limits_override.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/pg.h"
#include "gateway/control.h"
#include "gateway/limits_inner.h"

enum { TICK_MS = 250, JOB_MS = 3000 };

static struct metric in_force =
    METRIC_GAUGE("tidegate_limits_overrides", "Limits that an operator changed for a while, in force here.");

struct limit_overrides {
    struct gateway *gateway;
    struct limit_override items[LIMIT_RULES_MAX];
    unsigned count;
    struct limit_override fetched[LIMIT_RULES_MAX]; /* written by the job */
    unsigned fetched_count;
    struct pg_job job;
    bool is_running; /* job belongs to the pool */
    bool is_due;     /* moved meanwhile, or failed */
};

/* --- the rules ------------------------------------------------------------------------------------- */

static struct limit_rules *rules_with(const struct gateway_config *conf, const struct limit_override *items,
                                      unsigned n, struct err *err)
{
    struct limit_change changes[LIMIT_RULES_MAX];
    for (unsigned i = 0; i < n; i++) {
        changes[i] = (struct limit_change){.rule = items[i].rule,
                                           .limit = items[i].amount,
                                           .burst = items[i].burst[0] ? items[i].burst : NULL};
    }
    return limits_rules_build(&conf->set->limits, conf->routes, changes, n, err);
}

const struct gateway_config *limits_override_apply(struct gateway *g, const struct gateway_config *conf)
{
    const struct limit_overrides *o = g->limits->overrides;
    struct err err = {0};
    if (o->count == 0) {
        return config_without_changes(conf);
    }
    struct limit_rules *rules = rules_with(conf, o->items, o->count, &err);
    if (rules == NULL) { /* a row that is gone is left out; numbers were checked against other rows */
        log_error("limits overrides do not fit the configuration: %s", err.msg);
        return config_without_changes(conf);
    }
    return config_with_limits(conf, rules);
}

static void overrides_use(struct limit_overrides *o)
{
    metric_set(&in_force, o->count);
    gateway_set_config(o->gateway, limits_override_apply(o->gateway, config_ref(o->gateway->conf)));
}

int limits_override_check(struct gateway *g, const struct limit_override *o, struct err *err)
{
    if (!limits_conf_has_row(&g->conf->set->limits, o->rule)) {
        return err_set(err, ERR_NOT_FOUND, "there is no rule %s", o->rule);
    }
    struct limit_rules *rules =
        o->until_ms > 0 ? rules_with(g->conf, o, 1, err) : limit_rules_ref(g->conf->limits);
    limit_rules_unref(rules);
    return rules != NULL ? 0 : ERR_INVALID;
}

/* --- the list -------------------------------------------------------------------------------------- */

static void drop_at(struct limit_overrides *o, unsigned i)
{
    log_info("limits rule=%s override ended", o->items[i].rule);
    o->count--;
    memmove(&o->items[i], &o->items[i + 1], (o->count - i) * sizeof o->items[0]);
}

void limits_override_put(struct gateway *g, const struct limit_override *new)
{
    struct limit_overrides *o = g->limits->overrides;
    for (unsigned i = 0; i < o->count; i++) {
        if (strcmp(o->items[i].rule, new->rule) == 0) {
            drop_at(o, i);
            break;
        }
    }
    if (new->until_ms > 0 && o->count < LIMIT_RULES_MAX) {
        o->items[o->count++] = *new;
        log_info("limits rule=%s limit=%s override reason=\"%s\"", new->rule, new->amount, new->reason);
    }
    overrides_use(o);
}

static void on_tick(void *arg)
{
    struct limit_overrides *o = arg;
    unsigned before = o->count;
    for (unsigned i = o->count; i-- > 0;) {
        if (o->items[i].until_ms <= clock_mono_ms()) {
            drop_at(o, i);
        }
    }
    if (o->count != before) {
        overrides_use(o);
    }
}

void limits_override_write(struct gateway *g, struct json_writer *w)
{
    const struct limit_overrides *o = g->limits->overrides;
    uint64_t now = clock_mono_ms();
    for (unsigned i = 0; i < o->count; i++) {
        const struct limit_override *item = &o->items[i];
        json_open(w, '{');
        json_str_at(w, "rule", str_from(item->rule));
        json_str_at(w, "limit", str_from(item->amount));
        json_str_at(w, "burst", str_from(item->burst));
        json_i64_at(w, "seconds_left", item->until_ms > now ? (int64_t)(item->until_ms - now) / 1000 : 0);
        json_str_at(w, "reason", str_from(item->reason));
        json_str_at(w, "actor", str_from(item->actor));
        json_close(w, '}');
    }
}

/* --- fetching -------------------------------------------------------------------------------------- */

static void copy_text(const struct pg *pg, int row, int column, char *out, size_t room)
{
    struct str s = pg_value(pg, row, column);
    snprintf(out, room, STR_FMT, STR_ARG(s));
}

static int run_fetch(struct pg *pg, void *arg)
{
    struct limit_overrides *o = arg;
    int rows = pg_query_n(pg,
                          "SELECT rule, amount, burst, reason, actor,"
                          " (extract(epoch FROM until - clock_timestamp()) * 1000)::bigint"
                          " FROM limit_overrides WHERE until > clock_timestamp() ORDER BY rule",
                          0, NULL);
    if (rows < 0) {
        return rows;
    }
    o->fetched_count = rows < LIMIT_RULES_MAX ? (unsigned)rows : LIMIT_RULES_MAX;
    for (unsigned i = 0; i < o->fetched_count; i++) {
        struct limit_override *item = &o->fetched[i];
        copy_text(pg, (int)i, 0, item->rule, sizeof item->rule);
        copy_text(pg, (int)i, 1, item->amount, sizeof item->amount);
        copy_text(pg, (int)i, 2, item->burst, sizeof item->burst);
        copy_text(pg, (int)i, 3, item->reason, sizeof item->reason);
        copy_text(pg, (int)i, 4, item->actor, sizeof item->actor);
        int64_t left_ms = pg_i64(pg, (int)i, 5);
        item->until_ms = clock_mono_ms() + (uint64_t)(left_ms > 0 ? left_ms : 1);
    }
    return 0;
}

static void fetch(struct limit_overrides *o);

static void on_fetched(void *arg, int rc, const struct err *err)
{
    struct limit_overrides *o = arg;
    o->is_running = false;
    if (rc == ERR_CANCELED) {
        return;
    }
    if (rc != 0) {
        log_warn("limits overrides were not fetched error=\"%s\"", err->msg);
        o->is_due = true; /* the tick tries again */
        return;
    }
    bool changed = o->count > 0 || o->fetched_count > 0;
    memcpy(o->items, o->fetched, sizeof o->items);
    o->count = o->fetched_count;
    if (changed) {
        overrides_use(o);
    }
}

static void fetch(struct limit_overrides *o)
{
    o->is_due = o->is_running;
    if (o->is_running ||
        o->gateway->pg == NULL) { /* the process ends: told of what moved by a poll of before */
        return;
    }
    o->job = (struct pg_job){
        .run = run_fetch, .done = on_fetched, .arg = o, .timeout_ms = JOB_MS, .lane = PG_LANE_URGENT};
    o->is_running = true;
    if (pg_submit(o->gateway->pg, &o->job) != 0) {
        o->is_running = false;
        o->is_due = true;
    }
}

static void on_moved(void *arg, int64_t version)
{
    fetch(arg);
}

static void on_retry(void *arg)
{
    struct limit_overrides *o = arg;
    if (o->is_due && !o->is_running) {
        fetch(o);
    }
}

/* --- life ------------------------------------------------------------------------------------------ */

void limits_override_open(struct gateway *g)
{
    struct limit_overrides *o = calloc(1, sizeof *o);
    BUG_ON(o == NULL);
    o->gateway = g;
    g->limits->overrides = o;
    metric_register(&in_force);
    control_tick(g->control, TICK_MS, on_tick, o);
    if (g->pg != NULL) {
        control_watch(g->control, CONTROL_LIMITS, on_moved, o);
        control_tick(g->control, TICK_MS, on_retry, o);
    }
}

void limits_override_close(struct gateway *g)
{
    free(g->limits->overrides);
}
