/* Jobs on a pool, as calls that a test waits for. Included by tests of base/pg.h; everything is static. */
#ifndef TIDE_TESTS_PG_CALLS_H
#define TIDE_TESTS_PG_CALLS_H

#include "tests/unit/unit.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/pg.h"

static const char *uri; /* NULL: no server */

static inline void uri_find(const char *program)
{
    static char own[512];
    if (getenv("TIDE_TEST_PG")) {
        snprintf(own, sizeof(own), "%s&application_name=%s_%d", getenv("TIDE_TEST_PG"), program,
                 (int)getpid());
        uri = own;
    }
}

static inline void need_server(void)
{
    if (!uri) {
        print_message("skipped: TIDE_TEST_PG is not set (see tests/with-postgres)\n");
        skip();
    }
}

static inline struct pg_conf conf_of(const char *to)
{
    return (struct pg_conf){
        .uri = to, .connections = 4, .queue = 16, .urgent_queue = 64, .connect_ms = 20000, .job_ms = 60000};
}

/* Of a server that is not there or says nothing. */
static inline struct pg_conf hasty_conf_of(const char *to)
{
    struct pg_conf conf = conf_of(to);
    conf.connect_ms = 500;
    return conf;
}

/* --- jobs on a pool, waited for ------------------------------------------------------------------ */

struct call {
    struct pg_job job;
    int (*run)(struct pg *pg, struct call *c);
    pthread_mutex_t lock;
    pthread_cond_t ended;
    int rc; /* 1 until done */
    struct err err;
    int runs;
    int64_t number;
    char text[64];
    char state[6];
    enum pg_lane lane;
};

static inline int call_run(struct pg *pg, void *arg)
{
    struct call *c = arg;
    c->runs++;
    int rc = c->run(pg, c);
    snprintf(c->state, sizeof(c->state), "%s", pg_sqlstate(pg));
    return rc;
}

static inline void call_done(void *arg, int rc, const struct err *err)
{
    struct call *c = arg;
    pthread_mutex_lock(&c->lock);
    c->rc = rc;
    c->err = *err;
    pthread_cond_signal(&c->ended);
    pthread_mutex_unlock(&c->lock);
}

static inline int call_begin(struct pg_pool *p, struct call *c, int (*run)(struct pg *, struct call *),
                             uint64_t timeout_ms)
{
    c->job = (struct pg_job){
        .run = call_run, .done = call_done, .arg = c, .timeout_ms = timeout_ms, .lane = c->lane};
    c->run = run;
    c->rc = 1;
    c->runs = 0;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->ended, NULL);
    int rc = pg_submit(p, &c->job);
    if (rc != 0) {
        c->rc = rc;
    }
    return rc;
}

static inline int call_start(struct pg_pool *p, struct call *c, int (*run)(struct pg *, struct call *),
                             uint64_t timeout_ms)
{
    c->lane = PG_LANE_COMMON;
    return call_begin(p, c, run, timeout_ms);
}

static inline int call_wait(struct call *c)
{
    pthread_mutex_lock(&c->lock);
    while (c->rc == 1) {
        pthread_cond_wait(&c->ended, &c->lock);
    }
    pthread_mutex_unlock(&c->lock);
    return c->rc;
}

static inline int call_start_in(struct pg_pool *p, enum pg_lane lane, struct call *c,
                                int (*run)(struct pg *, struct call *))
{
    c->lane = lane;
    return call_begin(p, c, run, 0);
}

static inline int call(struct pg_pool *p, struct call *c, int (*run)(struct pg *, struct call *))
{
    return call_start(p, c, run, 0) == 0 ? call_wait(c) : c->rc;
}

#endif
