#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

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
};

struct pg_pool {
    struct pg_conf conf;             /* uri is owned */
    struct pool_thread *threads;     /* conf.connections of them, and behind them the one of urgent jobs */
    pthread_mutex_t lock;            /* all below */
    pthread_cond_t wanted[PG_LANES]; /* threads wait at `least` */
    struct lane lanes[PG_LANES];
    unsigned open; /* threads whose connection was open when they last looked */
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

static bool take_turn_to_connect(struct pg_pool *p)
{
    pthread_mutex_lock(&p->lock);
    bool mine = p->reach == REACH_UNKNOWN || p->reach == REACH_UP;
    if (p->reach == REACH_DOWN && clock_mono_ms() >= p->down_until_ms) {
        p->reach = REACH_PROBING;
        mine = true;
    }
    pthread_mutex_unlock(&p->lock);
    return mine;
}

static void set_reach(struct pg_pool *p, enum reach reach)
{
    pthread_mutex_lock(&p->lock);
    if (p->reach == REACH_UNKNOWN || (p->reach == REACH_UP) != (reach == REACH_UP)) {
        log_info("pg state=%s", reach == REACH_UP ? "up" : "down");
        metric_set(&up, reach == REACH_UP);
    }
    p->reach = reach;
    p->down_until_ms = clock_mono_ms() + DOWN_MS;
    pthread_mutex_unlock(&p->lock);
}

static int connect_for(struct pg_pool *p, struct pg *pg, const struct pg_job *job)
{
    uint64_t deadline = clock_mono_ms() + p->conf.connect_ms;
    if (!take_turn_to_connect(p)) {
        return err_set(&pg->err, ERR_UNAVAILABLE, "PostgreSQL: out of reach a moment ago");
    }
    int rc = pg_conn_open(pg, deadline < job->deadline_ms ? deadline : job->deadline_ms, &pg->err);
    metric_child_add(metric_child(&connects_total, rc == 0 ? "ok" : "failed"), 1);
    if (rc != 0) {
        log_warn("pg connect=failed text=\"%s\"", pg->err.msg);
    }
    set_reach(p, rc == 0 ? REACH_UP : REACH_DOWN);
    return rc;
}

/* --- the threads ------------------------------------------------------------------------------ */

/* A connection that turns out dead before BEGIN was answered is replaced, once. */
static int run_job(struct pg_pool *p, struct pg *pg, struct pg_job *job)
{
    int rc = ERR_CLOSED;
    pg->is_unknown = false;
    for (int i = 0; i < 2; i++) {
        if (!pg_conn_is_open(pg)) {
            rc = connect_for(p, pg, job);
            if (rc != 0) {
                return rc;
            }
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

/* Under the lock. NULL: none. */
static struct pg_job *next_job(struct pg_pool *p, enum pg_lane least)
{
    for (unsigned i = PG_LANES; i-- > (unsigned)least;) {
        if (p->lanes[i].first) {
            return lane_take(&p->lanes[i]);
        }
    }
    return NULL;
}

static struct pg_job *take_job(struct pg_pool *p, enum pg_lane least)
{
    struct pg_job *job = NULL;
    pthread_mutex_lock(&p->lock);
    while (!p->stopped && !(job = next_job(p, least))) {
        pthread_cond_wait(&p->wanted[least], &p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return job;
}

static void note_open(struct pg_pool *p, bool before, bool after)
{
    if (before != after) {
        pthread_mutex_lock(&p->lock);
        p->open = after ? p->open + 1 : p->open - 1;
        pthread_mutex_unlock(&p->lock);
    }
}

static void *thread_main(void *arg)
{
    const struct pool_thread *me = arg;
    struct pg_pool *p = me->pool;
    struct pg pg;
    struct pg_job *job;
    bool open = false;
    pthread_setname_np(pthread_self(), "pg");
    pg_conn_init(&pg, p->conf.uri);
    while ((job = take_job(p, me->least))) {
        metric_add(&waiting_jobs, -1);
        if (clock_mono_ms() >= job->deadline_ms) {
            fail(job, ERR_TIMEOUT, "the deadline passed in the queue");
            continue;
        }
        int rc = run_job(p, &pg, job);
        note_open(p, open, pg_conn_is_open(&pg));
        open = pg_conn_is_open(&pg);
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
    struct pg_job *job;
    stop_threads(p, thread_count(p));
    while ((job = next_job(p, PG_LANE_COMMON))) {
        metric_add(&waiting_jobs, -1);
        fail(job, ERR_CANCELED, "the pool is closing");
    }
    pool_free(p);
}

/* Under the lock. */
static int admit(const struct pg_pool *p, enum pg_lane lane)
{
    bool down = p->reach == REACH_PROBING || (p->reach == REACH_DOWN && clock_mono_ms() < p->down_until_ms);
    if (p->stopped || (down && p->open == 0)) {
        return ERR_UNAVAILABLE;
    }
    return p->lanes[lane].n >= (lane == PG_LANE_URGENT ? PG_URGENT_MAX : p->conf.queue) ? ERR_AGAIN : 0;
}

/* Under the lock. For whichever is first of the threads that take such a job. */
static void enqueue(struct pg_pool *p, struct pg_job *job, enum pg_lane lane)
{
    struct lane *l = &p->lanes[lane];
    *l->last = job;
    l->last = &job->next;
    l->n++;
    for (unsigned i = 0; i <= (unsigned)lane; i++) {
        pthread_cond_signal(&p->wanted[i]);
    }
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
