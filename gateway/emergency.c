#include "gateway/emergency.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "gateway/accounts_inner.h"
#include "gateway/config.h"
#include "gateway/control.h"
#include "gateway/gateway.h"

enum { RETRY_MS = 400, JOB_MS = 3000 };

static struct metric closed_here =
    METRIC_GAUGE("tidegate_policy_emergency",
                 "1 while sign-up is closed here by an emergency that the database does not have yet.");

struct emergency {
    struct accounts *accounts;
    char path[512];
    bool has_record;
    struct policy_emergency record; /* also in the file */
    struct policy *closed;          /* a reference: stands on the loops; NULL: none does */
    int64_t written_version;        /* the database has it since this version; 0: not yet */
    struct pg_job job;
    bool is_running;                 /* job belongs to the pool */
    struct policy_emergency writing; /* what the job writes */
    int64_t version;                 /* what it found */
};

/* --- on the loops ------------------------------------------------------------------------------------ */

static void give_closed(struct gateway_loop *gl, void *policy)
{
    auth_loop_set_emergency(&gl->accounts->auth, policy);
    policy_unref(policy);
}

/* Closed, or as the database has it (NULL). */
static void emergency_use(struct emergency *e, struct policy *closed)
{
    struct gateway *g = e->accounts->gateway;
    policy_unref(e->closed);
    e->closed = closed;
    metric_set(&closed_here, closed != NULL);
    for (unsigned i = 0; closed && i < g->loop_count; i++) {
        policy_ref(closed); /* one a loop: give_closed drops it */
    }
    gateway_each_loop(g, give_closed, closed);
    atomic_store(&e->accounts->has_policy, closed != NULL || e->accounts->policy != NULL);
}

/* The preset, under the version that it stands over. */
static struct policy *closed_policy(const struct accounts *a)
{
    struct policy *p = NULL;
    struct err err = {0};
    int rc = policy_parse(str_from(policy_preset(STR("closed"))), a->policy ? policy_version(a->policy) : 0,
                          &p, &err);
    BUG_ON(rc < 0);
    return p;
}

/* --- the record -------------------------------------------------------------------------------------- */

/* Also when the disk refuses: then it is known until the process ends. */
static int emergency_keep(struct emergency *e, const struct policy_emergency *record, struct err *err)
{
    e->record = *record;
    e->has_record = true;
    e->written_version = 0;
    return policy_emergency_save(record, e->path, err);
}

static void emergency_forget(struct emergency *e)
{
    if (unlink(e->path) < 0 && errno != ENOENT) {
        log_warn("emergency written, but its file stays path=%s",
                 e->path); /* written again at a start: no change */
    }
    e->has_record = false;
    e->written_version = 0;
    log_info("emergency over here state=%s", e->closed ? "written" : "opened");
    if (e->closed) {
        emergency_use(e, NULL);
    }
}

void emergency_on_policy(struct accounts *a, int64_t version)
{
    struct emergency *e = a->emergency;
    if (e->has_record && e->written_version != 0 && version >= e->written_version) {
        emergency_forget(e);
    }
}

void emergency_is_written(struct accounts *a, const struct policy_emergency *written, int64_t version)
{
    struct emergency *e = a->emergency;
    bool is_all = uuid_eq(&written->id, &e->record.id) && written->opened_ms == e->record.opened_ms;
    if (!e->has_record || !is_all) { /* opened meanwhile: that is still to be written */
        return;
    }
    e->written_version = version;
    control_poll_soon(a->gateway->control);
    emergency_on_policy(a, a->policy ? policy_version(a->policy) : 0);
}

/* --- verbs ------------------------------------------------------------------------------------------- */

int emergency_begin(struct accounts *a, const struct policy_emergency *wanted, struct policy_emergency *out,
                    struct err *err)
{
    static const struct uuid none = {{0}};
    struct emergency *e = a->emergency;
    struct policy_emergency record = *wanted;
    if (e->closed && e->written_version == 0) { /* a written one the fleet may have opened meanwhile */
        *out = e->record;
        return 0;
    }
    if (uuid_eq(&record.id, &none)) {
        record.id = uuid_v7();
    }
    record.closed_ms = clock_wall_ms();
    int rc = emergency_keep(e, &record, err);
    emergency_use(
        e, closed_policy(a)); /* also when the disk refuses: closing matters more than remembering it */
    log_warn("emergency sign-up closed actor=%s reason=\"%s\" kept=%s", record.actor, record.reason,
             rc == 0 ? "yes" : "no");
    *out = record;
    return rc;
}

int emergency_may_end(const struct accounts *a, struct err *err)
{
    const struct emergency *e = a->emergency;
    if (!e->closed ||
        e->written_version != 0) { /* written: the fleet's, whether this gateway follows it yet or not */
        return err_set(err, ERR_NOT_FOUND, "sign-up is not closed here by an emergency of this gateway");
    }
    return 0;
}

int emergency_end(struct accounts *a, const char *actor, const char *reason, struct err *err)
{
    struct emergency *e = a->emergency;
    int rc = emergency_may_end(a, err);
    if (rc < 0) {
        return rc;
    }
    struct policy_emergency record = e->record;
    record.opened_ms = clock_wall_ms();
    snprintf(record.opened_by, sizeof record.opened_by, "%s", actor);
    snprintf(record.opened_reason, sizeof record.opened_reason, "%s", reason);
    rc = policy_emergency_save(&record, e->path, err);
    if (rc == 0) { /* else a restart would close again */
        e->record = record;
        log_warn("emergency sign-up opened actor=%s reason=\"%s\"", actor, reason);
        emergency_use(e, NULL);
    }
    return rc;
}

const struct policy_emergency *emergency_now(const struct accounts *a)
{
    return a->emergency->closed ? &a->emergency->record : NULL;
}

const struct policy *emergency_policy(const struct accounts *a)
{
    return a->emergency->closed;
}

/* --- writing ----------------------------------------------------------------------------------------- */

static int run_write(struct pg *pg, void *arg)
{
    struct emergency *e = arg;
    return policy_emergency_write(pg, &e->writing, &e->version);
}

static void on_written(void *arg, int rc, const struct err *err)
{
    struct emergency *e = arg;
    e->is_running = false;
    if (rc == 0) {
        emergency_is_written(e->accounts, &e->writing, e->version);
    } else if (rc < 0 && rc != ERR_CANCELED && rc != ERR_UNAVAILABLE) {
        log_warn("emergency not written yet error=\"%s\"", err->msg);
    }
}

static void on_tick(void *arg)
{
    struct emergency *e = arg;
    struct gateway *g = e->accounts->gateway;
    if (!e->has_record || e->written_version != 0 || e->is_running || !g->pg || !atomic_load(&g->pg_is_up)) {
        return;
    }
    e->writing = e->record;
    e->job = (struct pg_job){
        .run = run_write, .done = on_written, .arg = e, .timeout_ms = JOB_MS, .lane = PG_LANE_URGENT};
    e->is_running = pg_submit(g->pg, &e->job) == 0;
}

/* --- life -------------------------------------------------------------------------------------------- */

struct emergency *emergency_open(struct accounts *a)
{
    struct err err = {0};
    struct emergency *e = calloc(1, sizeof *e);
    BUG_ON(!e);
    e->accounts = a;
    metric_register(&closed_here);
    snprintf(e->path, sizeof e->path, "%s/emergency", a->gateway->conf->set->process.state_dir);
    int rc = policy_emergency_load(e->path, &e->record, &err);
    e->has_record = rc == 0;
    if (rc < 0 && rc != ERR_NOT_FOUND) {
        log_error("the record of an emergency cannot be read error=\"%s\"", err.msg);
    }
    if (e->has_record && e->record.opened_ms == 0) {
        e->closed = closed_policy(a); /* the loops get it when they open */
        metric_set(&closed_here, 1);
        atomic_store(&a->has_policy, true);
        log_warn("emergency sign-up is closed since before the start actor=%s reason=\"%s\"", e->record.actor,
                 e->record.reason);
    }
    control_tick(a->gateway->control, RETRY_MS, on_tick, e);
    return e;
}

void emergency_loop_open(struct emergency *e, struct gateway_loop *gl)
{
    if (e->closed) {
        auth_loop_set_emergency(&gl->accounts->auth, e->closed);
    }
}

void emergency_free(struct emergency *e)
{
    if (e) {
        policy_unref(e->closed);
        free(e);
    }
}
