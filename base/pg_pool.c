#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/pg_conn.h"

enum { DOWN_MS = 250 };

/* What is known of the database. Only a failed connect leads to DOWN; any answer leads to UP. */
enum reach {
    REACH_UNKNOWN = 0,
    REACH_UP = 1,
    REACH_DOWN = 2,    /* until down_until_ms nobody connects */
    REACH_PROBING = 3, /* one thread connects */
};

/* Jobs that wait, oldest first. */
struct lane {
    struct pg_job *first, **last;
    unsigned n;
};

struct pool_thread {
    pthread_t id;
    struct pg_pool *pool;
    enum pg_lane least; /* it takes jobs of this lane and of those before it */
    bool is_open;       /* counted in pool->open */
};

struct pg_pool {
    struct pg_conf conf;             /* uri is owned */
    struct pool_thread *threads;     /* conf.connections of them, and behind them the one of urgent jobs */
    pthread_mutex_t lock;            /* all below */
    pthread_cond_t wanted[PG_LANES]; /* threads wait at `least` */
    struct lane lanes[PG_LANES];
    pthread_cond_t moved;          /* open, connecting or reach: for threads that rest */
    unsigned open[PG_LANES];       /* threads with a connection when they last looked, by their `least` */
    unsigned connecting[PG_LANES]; /* likewise, that try */
    enum reach reach;
    uint64_t down_until_ms; /* monotonic */
    bool stopped;
};

static struct metric jobs_total =
    METRIC_COUNTER_L("tidegate_pg_jobs_total", "Database jobs by result.", "result");
static struct metric job_seconds =
    METRIC_HISTOGRAM("tidegate_pg_job_seconds", "Database jobs, from submit to done, queue included.");
static struct metric waiting_jobs =
    METRIC_GAUGE("tidegate_pg_queue_jobs", "Database jobs waiting for a thread.");
static struct metric returned_total =
    METRIC_COUNTER("tidegate_pg_returned_jobs_total",
                   "Database jobs that went back to the queue, because their thread found no connection.");
static struct metric connects_total =
    METRIC_COUNTER_L("tidegate_pg_connects_total", "Connections tried to the database.", "result");
static struct metric up = METRIC_GAUGE("tidegate_pg_up", "1 when the database answered last.");

/* --- ending a job ----------------------------------------------------------------------------- */

static void on_done(struct loop_msg *m, bool canceled)
{
    struct pg_job *job = (struct pg_job *)(void *)((char *)m - offsetof(struct pg_job, msg));
    if (canceled) {
        job->is_unknown = job->is_unknown || job->rc == 0;
        job->rc = err_set(&job->err, ERR_CANCELED, "the loop is going away");
    }
    job->done(job->arg, job->rc, &job->err);
}

static void finish(struct pg_job *job, int rc, const struct err *err)
{
    job->rc = rc;
    job->err = rc == 0 ? (struct err){.code = ERR_OK, .where = ""} : *err;
    metric_child_add(metric_child(&jobs_total, err_name(rc)), 1);
    metric_observe_us(&job_seconds, clock_mono_us() - job->submitted_us);
    if (!job->loop) {
        job->done(job->arg, rc, &job->err);
        return;
    }
    job->msg.fn = on_done;
    loop_post(job->loop, &job->msg);
}

static void fail(struct pg_job *job, enum err_code code, const char *why)
{
    struct err err;
    err_set(&err, code, "PostgreSQL: %s", why);
    finish(job, code, &err);
}

/* --- reaching the database -------------------------------------------------------------------- */

/* Under the lock. Threads that take jobs of the lane and have a connection. */
static unsigned open_for(const struct pg_pool *p, enum pg_lane lane)
{
    unsigned n = 0;
    for (unsigned i = 0; i <= (unsigned)lane; i++) {
        n += p->open[i];
    }
    return n;
}

/* Under the lock. Some thread takes jobs of the lane, and has a connection or may get one now. */
static bool is_served(const struct pg_pool *p, enum pg_lane lane)
{
    bool is_tried = false;
    for (unsigned i = 0; i <= (unsigned)lane; i++) {
        is_tried = is_tried || p->connecting[i] > 0;
    }
    return is_tried || open_for(p, lane) > 0;
}

static bool is_down(const struct pg_pool *p)
{
    return p->reach == REACH_PROBING || (p->reach == REACH_DOWN && clock_mono_ms() < p->down_until_ms);
}

static bool take_turn_to_connect(struct pool_thread *me)
{
    struct pg_pool *p = me->pool;
    pthread_mutex_lock(&p->lock);
    bool mine = p->reach == REACH_UNKNOWN || p->reach == REACH_UP;
    if (p->reach == REACH_DOWN && clock_mono_ms() >= p->down_until_ms) {
        p->reach = REACH_PROBING;
        mine = true;
    }
    p->connecting[me->least] += mine;
    pthread_mutex_unlock(&p->lock);
    return mine;
}

static void note_connected(struct pool_thread *me, bool is_open)
{
    struct pg_pool *p = me->pool;
    enum reach reach = is_open ? REACH_UP : REACH_DOWN;
    pthread_mutex_lock(&p->lock);
    if (p->reach == REACH_UNKNOWN || (p->reach == REACH_UP) != (reach == REACH_UP)) {
        log_info("pg state=%s", reach == REACH_UP ? "up" : "down");
        metric_set(&up, reach == REACH_UP);
    }
    p->reach = reach;
    p->down_until_ms = clock_mono_ms() + DOWN_MS;
    p->connecting[me->least]--;
    p->open[me->least] += is_open;
    me->is_open = is_open;
    pthread_cond_broadcast(&p->moved);
    pthread_mutex_unlock(&p->lock);
}

static void note_lost(struct pool_thread *me, const struct pg *pg)
{
    struct pg_pool *p = me->pool;
    if (me->is_open && !pg_conn_is_open(pg)) {
        pthread_mutex_lock(&p->lock);
        p->open[me->least]--;
        me->is_open = false;
        pthread_cond_broadcast(&p->moved);
        pthread_mutex_unlock(&p->lock);
    }
}

/* job: for which; NULL: for those to come. */
static int connect_for(struct pool_thread *me, struct pg *pg, const struct pg_job *job)
{
    uint64_t deadline = clock_mono_ms() + me->pool->conf.connect_ms;
    deadline = job && job->deadline_ms < deadline ? job->deadline_ms : deadline;
    if (!take_turn_to_connect(me)) {
        return err_set(&pg->err, ERR_UNAVAILABLE, "PostgreSQL: out of reach a moment ago");
    }
    int rc = pg_conn_open(pg, deadline, &pg->err);
    metric_child_add(metric_child(&connects_total, rc == 0 ? "ok" : "failed"), 1);
    if (rc != 0) {
        log_warn("pg connect=failed text=\"%s\"", pg->err.msg);
    }
    note_connected(me, rc == 0);
    return rc;
}

/* --- the threads ------------------------------------------------------------------------------ */

/* A connection that turns out dead before BEGIN was answered is replaced, once. *is_begun: by the job; else there is no
 * connection. */
static int run_job(struct pool_thread *me, struct pg *pg, struct pg_job *job, bool *is_begun)
{
    int rc = ERR_CLOSED;
    pg->is_unknown = false;
    for (int i = 0; i < 2; i++) {
        note_lost(me, pg);
        rc = pg_conn_is_open(pg) ? 0 : connect_for(me, pg, job);
        *is_begun = rc == 0;
        if (rc != 0) {
            return rc;
        }
        pg->deadline_ms = job->deadline_ms;
        rc = pg_conn_transaction(pg, job->run, job->arg);
        if (rc != ERR_CLOSED || pg->begun) {
            break;
        }
    }
    return rc;
}

static struct pg_job *lane_take(struct lane *l)
{
    struct pg_job *job = l->first;
    l->first = job->next;
    l->last = l->first ? l->last : &l->first;
    l->n--;
    return job;
}

/* Under the lock. A thread that could not connect a moment ago would fail jobs faster than others do them, or put them back
 * over and over; one that may try again would hold its job while it does. Both leave a lane to those that serve it. */
static bool is_left(const struct pool_thread *me, enum pg_lane lane)
{
    const struct pg_pool *p = me->pool;
    if (me->is_open || p->reach == REACH_UNKNOWN || p->reach == REACH_UP) {
        return false;
    }
    return is_down(p) ? is_served(p, lane) : open_for(p, lane) > 0;
}

/* Under the lock. NULL: none for this thread. */
static struct pg_job *next_job(const struct pool_thread *me)
{
    struct pg_pool *p = me->pool;
    for (unsigned i = PG_LANES; i-- > (unsigned)me->least;) {
        if (p->lanes[i].first && !is_left(me, (enum pg_lane)i)) {
            return lane_take(&p->lanes[i]);
        }
    }
    return NULL;
}

/* Under the lock. */
static void wake(struct pg_pool *p, enum pg_lane lane)
{
    for (unsigned i = 0; i <= (unsigned)lane; i++) {
        pthread_cond_signal(&p->wanted[i]);
    }
}

/* Under the lock. Whoever woke a thread that leaves those jobs meant another one. True: there are such. */
static bool pass_on(const struct pool_thread *me)
{
    struct pg_pool *p = me->pool;
    bool is_any = false;
    for (unsigned i = (unsigned)me->least; i < PG_LANES; i++) {
        if (p->lanes[i].first) {
            wake(p, (enum pg_lane)i);
            is_any = true;
        }
    }
    return is_any;
}

/* Under the lock. Until something moved, or the thread may connect. */
static void rest(struct pg_pool *p)
{
    struct timespec until;
    uint64_t now_ms = clock_mono_ms(), ms = DOWN_MS;
    if (p->reach == REACH_DOWN) {
        ms = p->down_until_ms > now_ms ? p->down_until_ms - now_ms : 0;
    }
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long)ms * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    (void)pthread_cond_clockwait(&p->moved, &p->lock, CLOCK_MONOTONIC, &until);
}

/* Under the lock, which it gives up meanwhile. There is no job for this thread, yet. */
static void await_job(struct pool_thread *me, struct pg *pg)
{
    struct pg_pool *p = me->pool;
    bool is_without = !me->is_open && (p->reach == REACH_DOWN || p->reach == REACH_PROBING);
    bool is_any = is_without && pass_on(me);
    if (is_without && is_down(p)) {
        rest(p);
    } else if (
        is_any) { /* others have a connection, yet jobs wait: one more may help, and holds none of them while it is tried for */
        pthread_mutex_unlock(&p->lock);
        (void)connect_for(me, pg, NULL);
        pthread_mutex_lock(&p->lock);
    } else {
        pthread_cond_wait(&p->wanted[me->least], &p->lock);
    }
}

static struct pg_job *take_job(struct pool_thread *me, struct pg *pg)
{
    struct pg_pool *p = me->pool;
    struct pg_job *job = NULL;
    pthread_mutex_lock(&p->lock);
    while (!p->stopped && !(job = next_job(me))) {
        await_job(me, pg);
    }
    pthread_mutex_unlock(&p->lock);
    return job;
}

/* A job for which its thread found no connection goes to the front again, for one that has. False: there is none. */
static bool put_back(struct pg_pool *p, struct pg_job *job)
{
    struct lane *l = &p->lanes[job->lane];
    pthread_mutex_lock(&p->lock);
    bool is_put = !p->stopped && is_served(p, job->lane);
    if (is_put) {
        job->next = l->first;
        l->last = l->first ? l->last : &job->next;
        l->first = job;
        l->n++;
        wake(p, job->lane);
    }
    pthread_mutex_unlock(&p->lock);
    metric_add(&waiting_jobs, is_put);
    metric_add(&returned_total, is_put);
    return is_put;
}

static void *thread_main(void *arg)
{
    struct pool_thread *me = arg;
    struct pg_pool *p = me->pool;
    struct pg pg;
    struct pg_job *job;
    pthread_setname_np(pthread_self(), "pg");
    pg_conn_init(&pg, p->conf.uri);
    while ((job = take_job(me, &pg))) {
        bool is_begun;
        metric_add(&waiting_jobs, -1);
        if (clock_mono_ms() >= job->deadline_ms) {
            fail(job, ERR_TIMEOUT, "the deadline passed in the queue");
            continue;
        }
        int rc = run_job(me, &pg, job, &is_begun);
        note_lost(me, &pg);
        if (!is_begun && put_back(p, job)) {
            continue;
        }
        job->is_unknown = pg.is_unknown;
        finish(job, rc, &pg.err);
    }
    pg_conn_clear(&pg);
    return NULL;
}

/* --- the pool --------------------------------------------------------------------------------- */

static void stop_threads(struct pg_pool *p, unsigned n)
{
    pthread_mutex_lock(&p->lock);
    p->stopped = true;
    for (unsigned i = 0; i < PG_LANES; i++) {
        pthread_cond_broadcast(&p->wanted[i]);
    }
    pthread_cond_broadcast(&p->moved);
    pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < n; i++) {
        pthread_join(p->threads[i].id, NULL);
    }
}

static void pool_free(struct pg_pool *p)
{
    pthread_mutex_destroy(&p->lock);
    for (unsigned i = 0; i < PG_LANES; i++) {
        pthread_cond_destroy(&p->wanted[i]);
    }
    pthread_cond_destroy(&p->moved);
    free(p->threads);
    free((char *)(uintptr_t)p->conf.uri);
    free(p);
}

/* All threads, that of urgent jobs included. */
static unsigned thread_count(const struct pg_pool *p)
{
    return p->conf.connections + 1;
}

static struct pg_pool *pool_alloc(const struct pg_conf *conf)
{
    struct pg_pool *p = calloc(1, sizeof(*p));
    BUG_ON(!p);
    p->conf = *conf;
    p->conf.uri = strdup(conf->uri);
    p->threads = calloc(thread_count(p), sizeof(*p->threads));
    BUG_ON(!p->conf.uri || !p->threads);
    pthread_mutex_init(&p->lock, NULL);
    for (unsigned i = 0; i < PG_LANES; i++) {
        p->lanes[i].last = &p->lanes[i].first;
        pthread_cond_init(&p->wanted[i], NULL);
    }
    pthread_cond_init(&p->moved, NULL);
    return p;
}

struct pg_pool *pg_pool_new(const struct pg_conf *conf, struct err *err)
{
    struct pg_pool *p = pool_alloc(conf);
    sigset_t every, old;
    int failed = 0;
    unsigned n = 0;
    metric_register(&job_seconds);
    metric_register(&waiting_jobs);
    metric_register(&up);
    metric_register(&returned_total);
    sigfillset(&every);
    pthread_sigmask(SIG_BLOCK, &every, &old);
    while (n < thread_count(p) && failed == 0) {
        struct pool_thread *t = &p->threads[n];
        *t =
            (struct pool_thread){.pool = p, .least = n < conf->connections ? PG_LANE_COMMON : PG_LANE_URGENT};
        failed = pthread_create(&t->id, NULL, thread_main, t);
        n += failed == 0;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (failed != 0) {
        stop_threads(p, n);
        pool_free(p);
        err_set(err, ERR_IO, "PostgreSQL: cannot start thread %u: %s", n, strerror(failed));
        return NULL;
    }
    return p;
}

void pg_pool_free(struct pg_pool *p)
{
    if (!p) {
        return;
    }
    stop_threads(p, thread_count(p));
    for (unsigned i = PG_LANES; i-- > 0;) {
        while (p->lanes[i].first) {
            metric_add(&waiting_jobs, -1);
            fail(lane_take(&p->lanes[i]), ERR_CANCELED, "the pool is closing");
        }
    }
    pool_free(p);
}

/* Under the lock. */
static int admit(const struct pg_pool *p, enum pg_lane lane)
{
    if (p->stopped || (is_down(p) && open_for(p, lane) == 0)) {
        return ERR_UNAVAILABLE;
    }
    uint32_t most = lane == PG_LANE_URGENT ? p->conf.urgent_queue : p->conf.queue;
    return p->lanes[lane].n >= most ? ERR_AGAIN : 0;
}

/* Under the lock. For whichever is first of the threads that take such a job. */
static void enqueue(struct pg_pool *p, struct pg_job *job, enum pg_lane lane)
{
    struct lane *l = &p->lanes[lane];
    *l->last = job;
    l->last = &job->next;
    l->n++;
    wake(p, lane);
}

int pg_submit(struct pg_pool *p, struct pg_job *job)
{
    if (!p) {
        return ERR_UNAVAILABLE;
    }
    job->loop = loop_current();
    job->is_unknown = false;
    job->submitted_us = clock_mono_us();
    job->deadline_ms = clock_mono_ms() + (job->timeout_ms ? job->timeout_ms : p->conf.job_ms);
    job->next = NULL;
    pthread_mutex_lock(&p->lock);
    int rc = admit(p, job->lane);
    if (rc == 0) {
        enqueue(p, job, job->lane);
    }
    pthread_mutex_unlock(&p->lock);
    if (rc == 0) {
        metric_add(&waiting_jobs, 1);
    } else {
        metric_child_add(metric_child(&jobs_total, rc == ERR_AGAIN ? "refused" : "unavailable"), 1);
    }
    return rc;
}

bool pg_pool_is_up(const struct pg_pool *p)
{
    struct pg_pool *mutable = (struct pg_pool *)(uintptr_t)p;
    pthread_mutex_lock(&mutable->lock);
    bool is_up = p->reach == REACH_UP;
    pthread_mutex_unlock(&mutable->lock);
    return is_up;
}
