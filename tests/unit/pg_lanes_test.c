/* Lanes, and threads of a pool that have a connection beside others that have none. Needs a PostgreSQL:
 * tests/with-postgres build/dev/tests/pg_lanes_test. */
#include "tests/unit/pg_calls.h"

#include <stdatomic.h>
#include <string.h>

#include "base/metrics.h"

#define FAILED_CONNECTS "tidegate_pg_connects_total{result=\"failed\"}"

/* Common jobs that hold their threads until the gate opens. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    unsigned held;
    bool is_open;
} gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER};

static void gate_hold(void)
{
    pthread_mutex_lock(&gate.lock);
    gate.held++;
    pthread_cond_broadcast(&gate.moved);
    pthread_mutex_unlock(&gate.lock);
}

static int select_one(struct pg *pg, struct call *c)
{
    int rc = pg_query(pg, "SELECT 1");
    return rc < 0 ? rc : 0;
}

static int wait_at_gate(struct pg *pg, struct call *c)
{
    gate_hold();
    pthread_mutex_lock(&gate.lock);
    while (!gate.is_open) {
        pthread_cond_wait(&gate.moved, &gate.lock);
    }
    pthread_mutex_unlock(&gate.lock);
    return select_one(pg, c);
}

static void gate_wait(unsigned held)
{
    pthread_mutex_lock(&gate.lock);
    while (gate.held < held) {
        pthread_cond_wait(&gate.moved, &gate.lock);
    }
    pthread_mutex_unlock(&gate.lock);
}

static void gate_close(void)
{
    gate.held = 0;
    gate.is_open = false;
}

static void gate_open(void)
{
    pthread_mutex_lock(&gate.lock);
    gate.is_open = true;
    pthread_cond_broadcast(&gate.moved);
    pthread_mutex_unlock(&gate.lock);
}

static void urgent_jobs_wait_for_no_common_one(void **state)
{
    need_server();
    struct call common[4], urgent[3], refused;
    struct pg_conf conf = conf_of(uri);
    conf.connections = 2;
    conf.queue = 2;
    struct pg_pool *p = pg_pool_new(&conf, NULL);
    gate_close();
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(call_start(p, &common[i], wait_at_gate, 0), 0);
        gate_wait(i < 2 ? i + 1 : 2);
    }
    assert_int_equal(call_start(p, &refused, select_one, 0), ERR_AGAIN);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(call_start_in(p, PG_LANE_URGENT, &urgent[i], select_one), 0);
    }
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(call_wait(&urgent[i]), 0);
    }
    gate_open();
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(call_wait(&common[i]), 0);
    }
    pg_pool_free(p);
}

/* The order in which calls ran. */
static atomic_uint ran;

static int note_turn(struct pg *pg, struct call *c)
{
    c->number = atomic_fetch_add(&ran, 1);
    return 0;
}

static void lanes_are_taken_from_in_order(void **state)
{
    need_server();
    static const enum pg_lane lanes[] = {PG_LANE_COMMON, PG_LANE_SESSION, PG_LANE_COMMON, PG_LANE_SESSION};
    static const int64_t turns[] = {2, 0, 3, 1};
    struct call holder, refused, calls[4];
    struct pg_conf conf = conf_of(uri);
    conf.connections = 1;
    conf.queue = 2;
    struct pg_pool *p = pg_pool_new(&conf, NULL);
    gate_close();
    assert_int_equal(call_start(p, &holder, wait_at_gate, 0), 0);
    gate_wait(1);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(call_start_in(p, lanes[i], &calls[i], note_turn), 0);
    }
    assert_int_equal(call_start_in(p, PG_LANE_COMMON, &refused, note_turn), ERR_AGAIN);
    assert_int_equal(call_start_in(p, PG_LANE_SESSION, &refused, note_turn), ERR_AGAIN);
    gate_open();
    assert_int_equal(call_wait(&holder), 0);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(call_wait(&calls[i]), 0);
        assert_int_equal(calls[i].number, turns[i]);
    }
    pg_pool_free(p);
}

static int sleep_short(struct pg *pg, struct call *c)
{
    int rc = pg_query(pg, "SELECT pg_sleep(0.02)");
    return rc < 0 ? rc : 0;
}

/* A user who may have two connections at a time; its URI. */
static const char *make_few(struct pg *owner)
{
    static char few[512];
    const char *user = strstr(uri, "&user=");
    assert_non_null(user);
    snprintf(few, sizeof(few), "%.*s&user=tide_few", (int)(user - uri), uri);
    assert_int_equal(pg_exec(owner, "DROP ROLE IF EXISTS tide_few"), 0);
    assert_int_equal(pg_exec(owner, "CREATE ROLE tide_few LOGIN CONNECTION LIMIT 2"), 0);
    return few;
}

/* A server that has no connection left for some of the threads: these have nothing to do, rather than to fail jobs that
 * the others would do. */
static void threads_without_a_connection_fail_no_jobs(void **state)
{
    need_server();
    static struct call calls[40];
    struct pg *owner = pg_open(uri, 60000, NULL);
    assert_non_null(owner);
    struct pg_conf conf = conf_of(make_few(owner));
    conf.queue = 40;
    struct pg_pool *p = pg_pool_new(&conf, NULL);
    assert_int_equal(call(p, &calls[0], sleep_short),
                     0); /* before one is open, a refused one leads to others */
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < 40; i++) {
            assert_int_equal(call_start(p, &calls[i], sleep_short, 0), 0);
        }
        for (unsigned i = 0; i < 40; i++) {
            assert_int_equal(call_wait(&calls[i]), 0);
            assert_int_equal(calls[i].runs, 1);
        }
    }
    pg_pool_free(p);
    pg_close(owner);
}

static int64_t metric_now(const char *name)
{
    struct buf text;
    char line[96];
    buf_init(&text, 1 << 20);
    metrics_write(&text);
    snprintf(line, sizeof(line), "\n%s ", name);
    const char *at = strstr(text.p, line);
    int64_t n = at ? strtoll(at + strlen(line), NULL, 10) : 0;
    buf_clear(&text);
    return n;
}

/* A common job, until an urgent one holds its thread as well. */
static int wait_for_urgent(struct pg *pg, struct call *c)
{
    gate_hold();
    gate_wait(2);
    int rows = pg_query(pg, "SELECT pg_backend_pid()");
    c->number = rows == 1 ? pg_i64(pg, 0, 0) : 0;
    return rows < 0 ? rows : 0;
}

/* The thread of urgent jobs holds the one connection that there is: the other one neither takes urgent jobs, which it would
 * put back at once and take again, nor do they go with it when it tries to connect. When it can, it does them. */
static void a_thread_without_a_connection_leaves_urgent_jobs(void **state)
{
    need_server();
    struct call common, holder, urgent;
    char sql[80];
    struct pg *owner = pg_open(uri, 60000, NULL);
    assert_non_null(owner);
    struct pg_conf conf = conf_of(make_few(owner));
    conf.connections = 1;
    struct pg_pool *p = pg_pool_new(&conf, NULL);
    gate_close();
    assert_int_equal(call_start(p, &common, wait_for_urgent, 0), 0);
    gate_wait(1);
    assert_int_equal(call_start_in(p, PG_LANE_URGENT, &holder, wait_at_gate), 0);
    assert_int_equal(call_wait(&common), 0);
    snprintf(sql, sizeof(sql), "SELECT pg_terminate_backend(%d, 20000)", (int)common.number);
    assert_int_equal(pg_exec(owner, "ALTER ROLE tide_few CONNECTION LIMIT 1"), 0);
    assert_int_equal(pg_exec(owner, sql), 0);
    assert_int_equal(call(p, &common, select_one), ERR_UNAVAILABLE);

    int64_t returned = metric_now("tidegate_pg_returned_jobs_total");
    int64_t failed = metric_now(FAILED_CONNECTS);
    assert_int_equal(call_start_in(p, PG_LANE_URGENT, &urgent, select_one), 0);
    while (metric_now(FAILED_CONNECTS) < failed + 2) {
        assert_int_equal(pg_exec(owner, "SELECT pg_sleep(0.01)"), 0);
    }
    assert_int_equal(metric_now("tidegate_pg_returned_jobs_total"), returned);
    assert_int_equal(pg_exec(owner, "ALTER ROLE tide_few CONNECTION LIMIT 2"), 0);
    assert_int_equal(call_wait(&urgent), 0);
    assert_int_equal(urgent.runs, 1);
    gate_open();
    assert_int_equal(call_wait(&holder), 0);
    pg_pool_free(p);
    pg_close(owner);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urgent_jobs_wait_for_no_common_one),
        cmocka_unit_test(lanes_are_taken_from_in_order),
        cmocka_unit_test(threads_without_a_connection_fail_no_jobs),
        cmocka_unit_test(a_thread_without_a_connection_leaves_urgent_jobs),
    };
    uri_find("pg_lanes_test");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
