#include "gateway/policy_due.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "auth/policy_change.h"
#include "auth/policy_ramp_run.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/pg.h"
#include "gateway/config.h"
#include "gateway/control.h"
#include "gateway/gateway.h"
#include "gateway/ramp_signals.h"

enum { PERIOD_MS = 500, JOB_MS = 3000 };

static struct metric ramp_percent =
    METRIC_GAUGE("tidegate_policy_ramp_percent",
                 "For how many of the people the policy that comes by stages decides; 0: none.");
static struct metric ramp_stands = METRIC_GAUGE(
    "tidegate_policy_ramp_stands", "1: a ramp of the policy was paused, or stopped by a signal.");

struct policy_due {
    struct gateway *gateway;
    struct ramp_signals *signals;
    bool has_ramp; /* the last job found one */
    struct pg_job job;
    bool is_running; /* job belongs to the pool, and so do these: */
    int carried_out;
    struct policy_ramp_signals seen;
    struct policy_ramp_ran ramp;
};

static int run_due(struct pg *pg, void *arg)
{
    struct policy_due *d = arg;
    d->ramp = (struct policy_ramp_ran){0};
    d->carried_out = policy_change_run_due(pg);
    if (d->carried_out != 0) { /* it holds the policy's row, which a ramp takes after its own */
        d->ramp.is_there = d->has_ramp;
        return d->carried_out < 0 ? d->carried_out : 0;
    }
    return policy_ramp_run(pg, &d->seen, &d->ramp);
}

static void tell_ramp(struct policy_due *d)
{
    const struct policy_ramp_ran *r = &d->ramp;
    if (d->has_ramp && !r->is_there) {
        ramp_signals_forget(d->signals);
    }
    d->has_ramp = r->is_there;
    if (r->share > 0 || !r->is_there) {
        metric_set(&ramp_percent, r->share / 100.0);
        metric_set(&ramp_stands, r->is_standing);
    }
    if (r->did) {
        log_info("policy ramp state=\"%s\"", r->note);
    }
}

static void on_due(void *arg, int rc, const struct err *err)
{
    struct policy_due *d = arg;
    d->is_running = false;
    if (rc == 0) {
        tell_ramp(d);
        if (d->carried_out > 0) {
            log_info("policy changes carried out count=%d", d->carried_out);
        }
        if (d->carried_out > 0 || d->ramp.did) {
            control_poll_soon(d->gateway->control);
        }
    } else if (rc < 0 && rc != ERR_CANCELED && rc != ERR_UNAVAILABLE) {
        log_warn("policy changes that are due error=\"%s\"", err->msg);
    }
}

static void on_tick(void *arg)
{
    struct policy_due *d = arg;
    if (d->has_ramp) {
        ramp_signals_look(d->signals);
    }
    if (d->is_running || !d->gateway->pg || !atomic_load(&d->gateway->pg_is_up)) {
        return;
    }
    ramp_signals_read(d->signals, &d->seen);
    d->job = (struct pg_job){
        .run = run_due, .done = on_due, .arg = d, .timeout_ms = JOB_MS, .lane = PG_LANE_URGENT};
    d->is_running = pg_submit(d->gateway->pg, &d->job) == 0;
}

void policy_due_open(struct gateway *g)
{
    if (!g->conf->set->auth || !g->pg) {
        return;
    }
    struct policy_due *d = calloc(1, sizeof *d);
    BUG_ON(!d);
    d->gateway = g;
    d->signals = ramp_signals_new(g);
    g->policy_due = d;
    metric_register(&ramp_percent);
    metric_register(&ramp_stands);
    control_tick(g->control, PERIOD_MS, on_tick, d);
}

void policy_due_close(struct gateway *g)
{
    if (g->policy_due) {
        ramp_signals_free(g->policy_due->signals);
    }
    free(g->policy_due);
    g->policy_due = NULL;
}
