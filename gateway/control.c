/* The control thread's loop, its ticks, and the poll of versions. Signals are in control_signals.c, the listeners
 * in control_http.c. */
#include "gateway/control_inner.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/pg.h"
#include "gateway/config.h"
#include "gateway/upgrade.h"
#include "base/sd_notify.h"

static struct metric polls =
    METRIC_COUNTER_L("tidegate_version_polls_total", "Polls of the row of versions.", "result");
static struct metric database_up =
    METRIC_GAUGE("tidegate_database_up", "Whether the last poll reached PostgreSQL.");
static struct metric slow_loops = METRIC_GAUGE("tidegate_loops_stuck", "Loops silent past process.watchdog.");

struct loop *control_loop(struct control *c)
{
    return c->loop;
}

/* --- ticks --------------------------------------------------------------------------------------- */

static void on_tick(void *arg)
{
    struct control_tick *t = arg;
    loop_timer_arm(&t->timer, t->period_ms);
    t->fn(t->arg);
}

void control_tick(struct control *c, uint64_t period_ms, void (*fn)(void *arg), void *arg)
{
    struct control_tick *t = calloc(1, sizeof *t);
    BUG_ON(t == NULL);
    *t = (struct control_tick){.next = c->ticks, .period_ms = period_ms, .fn = fn, .arg = arg};
    c->ticks = t;
    loop_timer_init(c->loop, &t->timer, on_tick, t);
}

/* --- watchdog ------------------------------------------------------------------------------------ */

enum { WATCH_PERIOD_MS = 1000 };

static unsigned stuck_loops(struct gateway *g)
{
    uint64_t now = clock_mono_ms();
    unsigned stuck = 0;
    for (unsigned i = 0; i < g->loop_count; i++) {
        uint64_t silent = heartbeat_ask(&g->loops[i].heartbeat, g->loops[i].loop, now);
        if (silent > g->conf->set->process.watchdog_ms) {
            log_error("loop=%u is stuck silent_ms=%llu", i, (unsigned long long)silent);
            stuck++;
        }
    }
    return stuck;
}

/* Every loop answers a message a second; the service manager hears of us only while all do. */
static void watch_loops(void *arg)
{
    struct control *c = arg;
    unsigned stuck = stuck_loops(c->gateway);
    metric_set(&slow_loops, stuck);
    if (stuck == 0 && sd_watchdog_ms() > 0 && !atomic_load(&c->gateway->retired)) {
        sd_notify_state("WATCHDOG=1");
    }
}

/* --- the poll of versions ------------------------------------------------------------------------ */

enum { POLL_MS = 400, POLL_DEADLINE_MS = 3000 };

static int run_poll(struct pg *pg, void *arg)
{
    struct control_poll *p = arg;
    int rc = p->is_schema_good ? 0 : pg_schema_check(pg);
    if (rc < 0) {
        return rc;
    }
    int rows = pg_query_n(pg,
                          "SELECT policy, bans, revocations, keys, ladder, workers, limits, everybody"
                          " FROM versions",
                          0, NULL);
    if (rows < 0) {
        return rows;
    }
    if (rows != 1) {
        return err_set(pg_err(pg), ERR_NOT_FOUND, "table versions has %d rows", rows);
    }
    for (int i = 0; i < CONTROL_SUBJECTS; i++) {
        p->found[i] = pg_i64(pg, 0, i);
    }
    return 0;
}

static void tell_watchers(struct control *c)
{
    for (unsigned i = 0; i < CONTROL_SUBJECTS; i++) {
        int64_t found = c->poll.found[i];
        if (found == c->poll.known[i]) {
            continue;
        }
        c->poll.known[i] = found;
        for (struct control_watcher *w = c->watchers; w != NULL; w = w->next) {
            if (w->subject == i) {
                w->on_moved(w->arg, found);
            }
        }
    }
}

static void note_database(struct control *c, int rc, const struct err *err)
{
    if (rc != c->poll.last_rc) {
        if (rc == 0) {
            log_info("database state=up");
        } else {
            log_warn("database state=down error=\"%s\"", err->msg);
        }
    }
    c->poll.last_rc = rc;
    atomic_store(&c->gateway->pg_is_up, rc == 0);
    metric_set(&database_up, rc == 0);
    metric_child_add(metric_child(&polls, rc == 0 ? "ok" : "failed"), 1);
}

static void poll_now(struct control *c);

static void on_polled(void *arg, int rc, const struct err *err)
{
    struct control_poll *p = arg;
    struct control *c = p->control;
    p->is_running = false;
    if (rc == ERR_CANCELED) {
        return;
    }
    note_database(c, rc, err);
    if (rc == 0) {
        p->is_schema_good = true;
        tell_watchers(c);
    }
    if (p->again) {
        p->again = false;
        poll_now(c);
        return;
    }
    loop_timer_arm(&p->timer, POLL_MS);
}

static void poll_now(struct control *c)
{
    struct control_poll *p = &c->poll;
    p->job = (struct pg_job){
        .run = run_poll, .done = on_polled, .arg = p, .timeout_ms = POLL_DEADLINE_MS, .lane = PG_LANE_URGENT};
    p->is_running = true;
    int rc = pg_submit(c->gateway->pg, &p->job);
    if (rc != 0) {
        p->is_running = false;
        note_database(c, rc, &(struct err){.msg = "the queue of jobs is full, or the database is away"});
        loop_timer_arm(&p->timer, POLL_MS);
    }
}

static void on_poll_timer(void *arg)
{
    struct control *c = arg;
    if (!c->poll.is_running) {
        poll_now(c);
    }
}

static void poll_soon(void *arg)
{
    struct control *c = arg;
    if (c->poll.is_running) {
        c->poll.again = true;
        return;
    }
    loop_timer_disarm(&c->poll.timer);
    poll_now(c);
}

void control_poll_soon(struct control *c)
{
    if (c->gateway->pg != NULL) {
        loop_call(c->loop, poll_soon, c);
    }
}

void control_watch(struct control *c, enum control_subject subject,
                   void (*on_moved)(void *arg, int64_t version), void *arg)
{
    struct control_watcher *w = calloc(1, sizeof *w);
    BUG_ON(w == NULL);
    *w = (struct control_watcher){.next = c->watchers, .subject = subject, .on_moved = on_moved, .arg = arg};
    c->watchers = w;
}

/* --- life ---------------------------------------------------------------------------------------- */

struct control *control_new(struct gateway *g)
{
    struct control *c = calloc(1, sizeof *c);
    BUG_ON(c == NULL);
    c->gateway = g;
    c->loop = loop_new("control", g->loop_count);
    c->poll.control = c;
    c->poll.last_rc = 1;
    for (unsigned i = 0; i < CONTROL_SUBJECTS; i++) {
        c->poll.known[i] = -1; /* none is: a subject may begin at 0 */
    }
    loop_timer_init(c->loop, &c->poll.timer, on_poll_timer, c);
    control_tick(c, WATCH_PERIOD_MS, watch_loops, c);
    c->upgrade = upgrade_new(c);
    return c;
}

void control_begin(struct control *c)
{
    control_signals_open(c);
    for (struct control_tick *t = c->ticks; t != NULL; t = t->next) {
        loop_timer_arm(&t->timer, t->period_ms);
    }
    if (c->gateway->pg != NULL) {
        loop_timer_arm(&c->poll.timer, 0);
    }
    upgrade_begin(c->upgrade);
}

void control_end(struct control *c)
{
    control_signals_close(c);
    upgrade_free(c->upgrade);
    c->upgrade = NULL;
    control_http_close(c);
    loop_timer_disarm(&c->poll.timer);
    for (struct control_tick *t = c->ticks; t != NULL; t = t->next) {
        loop_timer_disarm(&t->timer);
    }
}

void control_free(struct control *c)
{
    while (c->ticks != NULL) {
        struct control_tick *t = c->ticks;
        c->ticks = t->next;
        loop_timer_disarm(&t->timer);
        free(t);
    }
    while (c->watchers != NULL) {
        struct control_watcher *w = c->watchers;
        c->watchers = w->next;
        free(w);
    }
    loop_timer_disarm(&c->poll.timer);
    loop_free(c->loop);
    free(c);
}
