#include "gateway/policy_due.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "auth/policy_change.h"
#include "base/log.h"
#include "base/pg.h"
#include "gateway/config.h"
#include "gateway/control.h"
#include "gateway/gateway.h"

enum { PERIOD_MS = 500, JOB_MS = 3000 };

struct policy_due {
    struct gateway *gateway;
    struct pg_job job;
    bool is_running; /* job belongs to the pool */
    int carried_out; /* by the last job */
};

static int run_due(struct pg *pg, void *arg)
{
    struct policy_due *d = arg;
    d->carried_out = policy_change_run_due(pg);
    return d->carried_out < 0 ? d->carried_out : 0;
}

static void on_due(void *arg, int rc, const struct err *err)
{
    struct policy_due *d = arg;
    d->is_running = false;
    if (rc == 0 && d->carried_out > 0) {
        log_info("policy changes carried out count=%d", d->carried_out);
        control_poll_soon(d->gateway->control);
    } else if (rc < 0 && rc != ERR_CANCELED && rc != ERR_UNAVAILABLE) {
        log_warn("policy changes that are due error=\"%s\"", err->msg);
    }
}

static void on_tick(void *arg)
{
    struct policy_due *d = arg;
    if (d->is_running || !d->gateway->pg || !atomic_load(&d->gateway->pg_is_up)) {
        return;
    }
    d->job = (struct pg_job){.run = run_due, .done = on_due, .arg = d, .timeout_ms = JOB_MS};
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
    g->policy_due = d;
    control_tick(g->control, PERIOD_MS, on_tick, d);
}

void policy_due_close(struct gateway *g)
{
    free(g->policy_due);
    g->policy_due = NULL;
}
