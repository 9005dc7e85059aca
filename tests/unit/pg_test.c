/* Needs a PostgreSQL: tests/with-postgres build/dev/tests/pg_test. Without TIDE_TEST_PG the parts that need
 * one are skipped, visibly. */
#include "tests/unit/pg_calls.h"
#include "tests/unit/temp.h"

#include <sys/socket.h>
#include <sys/un.h>

#include "base/clock.h"

static struct pg_pool *pool;

static int pool_up(void **state)
{
    if (uri) {
        struct pg_conf conf = conf_of(uri);
        pool = pg_pool_new(&conf, NULL);
    }
    return 0;
}

static int pool_down(void **state)
{
    pg_pool_free(pool);
    pool = NULL;
    return 0;
}

/* --- values and errors ---------------------------------------------------------------------------- */

static int all_types(struct pg *pg, struct call *c)
{
    struct uuid u = uuid_v7();
    int rows =
        pg_query(pg, "SELECT $1::text, $2::bigint, $3::bytea, $4::uuid, $5::boolean, $6::text, $7::float8",
                 PG_CSTR("\xe4\xbd\xa0 '; --"), PG_I64(INT64_MIN), PG_BYTES("\0\xff\\", 3), PG_UUID(u),
                 PG_BOOL(true), PG_NULL, PG_F64(0.1));
    assert_int_equal(rows, 1);
    assert_true(str_is(pg_value(pg, 0, 0), "\xe4\xbd\xa0 '; --"));
    assert_true(pg_i64(pg, 0, 1) == INT64_MIN);
    struct str bytes = pg_bytea(pg, 0, 2);
    assert_int_equal(bytes.n, 3);
    assert_memory_equal(bytes.p, "\0\xff\\", 3);
    struct uuid back = pg_uuid(pg, 0, 3);
    assert_true(uuid_eq(&u, &back));
    assert_true(pg_bool(pg, 0, 4));
    assert_true(pg_is_null(pg, 0, 5) && !pg_is_null(pg, 0, 0));
    assert_true(pg_f64(pg, 0, 6) == 0.1);
    struct str kept = pg_value(pg, 0, 0);
    assert_int_equal(pg_query(pg, "SELECT 1 WHERE false"), 0);
    assert_true(str_is(kept, "\xe4\xbd\xa0 '; --")); /* lives as long as the job */
    return 0;
}

static void values_go_there_and_back(void **state)
{
    struct call c;
    need_server();
    for (int i = 0; i < 3; i++) { /* prepared, then known */
        assert_int_equal(call(pool, &c, all_types), 0);
    }
    assert_true(pg_pool_is_up(pool));
    assert_string_equal(c.err.msg, "");
}

static int make_table(struct pg *pg, struct call *c)
{
    return pg_exec(
        pg, "DROP TABLE IF EXISTS t; CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL CHECK (n > 0));"
            "INSERT INTO t VALUES (1, 1), (2, 1)");
}

static int insert_then_fail(struct pg *pg, struct call *c)
{
    assert_int_equal(pg_query(pg, "INSERT INTO t VALUES (9, 1)"), 0);
    assert_int_equal(pg_affected(pg), 1);
    return err_set(pg_err(pg), ERR_DENIED, "not today");
}

static int count_rows(struct pg *pg, struct call *c)
{
    int rows = pg_query(pg, "SELECT count(*) FROM t");
    c->number = rows == 1 ? pg_i64(pg, 0, 0) : -1;
    return rows < 0 ? rows : 0;
}

static int insert_double(struct pg *pg, struct call *c)
{
    int rc = pg_query(pg, "INSERT INTO t VALUES ($1, 1)", PG_I64(1));
    return rc < 0 ? rc : 0;
}

static int insert_bad(struct pg *pg, struct call *c)
{
    int rc = pg_query(pg, "INSERT INTO t VALUES (3, 0)");
    return rc < 0 ? rc : 0;
}

static int raise_own(struct pg *pg, struct call *c)
{
    int rc = pg_exec(pg, "DO $$ BEGIN RAISE EXCEPTION 'policy_stale' USING ERRCODE = 'TG001'; END $$");
    snprintf(c->text, sizeof(c->text), "%s", pg_sqltext(pg));
    return rc;
}

static int swallow(struct pg *pg, struct call *c)
{
    assert_true(pg_query(pg, "SELECT 1/0") < 0);
    return 0;
}

static int nul_in_text(struct pg *pg, struct call *c)
{
    return pg_query(pg, "SELECT $1::text", PG_STR(STR("a\0b")));
}

static void errors_roll_back_and_have_names(void **state)
{
    struct call c;
    need_server();
    assert_int_equal(call(pool, &c, make_table), 0);
    assert_int_equal(call(pool, &c, insert_then_fail), ERR_DENIED);
    assert_string_equal(c.err.msg, "not today");
    assert_int_equal(call(pool, &c, insert_double), ERR_CONFLICT);
    assert_string_equal(c.state, "23505");
    assert_int_equal(call(pool, &c, insert_bad), ERR_INVALID);
    assert_int_equal(call(pool, &c, raise_own), ERR_CONFLICT);
    assert_string_equal(c.state, "TG001");
    assert_string_equal(c.text, "policy_stale");
    assert_int_equal(call(pool, &c, swallow), ERR_INTERNAL);
    assert_int_equal(call(pool, &c, nul_in_text), ERR_INVALID);
    assert_int_equal(call(pool, &c, count_rows), 0);
    assert_int_equal(c.number, 2);
}

/* --- again after deadlock -------------------------------------------------------------------------- */

static pthread_barrier_t both_hold_one;

static int add_one(struct pg *pg, int64_t id)
{
    int rc = pg_query(pg, "UPDATE t SET n = n + 1 WHERE id = $1", PG_I64(id));
    return rc < 0 ? rc : 0;
}

/* Two jobs update both rows in opposite order. Only the first looks for deadlocks, and it asks for the other's row when
 * the other is seen to wait: so the first is the victim, on any machine. */
static int cross_and_fall(struct pg *pg, struct call *c)
{
    int rc = pg_exec(pg, "SET LOCAL deadlock_timeout = '10ms'");
    rc = rc < 0 ? rc : add_one(pg, 1);
    if (rc >= 0 && c->runs == 1) {
        pthread_barrier_wait(&both_hold_one);
        do {
            rc = pg_query(
                pg, "SELECT 1 FROM pg_stat_activity WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid))");
        } while (rc == 0);
    }
    return rc < 0 ? rc : add_one(pg, 2);
}

static int cross_and_win(struct pg *pg, struct call *c)
{
    int rc = pg_exec(pg, "SET LOCAL deadlock_timeout = '1h'");
    rc = rc < 0 ? rc : add_one(pg, 2);
    pthread_barrier_wait(&both_hold_one);
    return rc < 0 ? rc : add_one(pg, 1);
}

static int sum_n(struct pg *pg, struct call *c)
{
    int rows = pg_query(pg, "SELECT sum(n) FROM t");
    c->number = rows == 1 ? pg_i64(pg, 0, 0) : -1;
    return rows < 0 ? rows : 0;
}

static void deadlocks_run_again(void **state)
{
    struct call a = {0}, b = {0}, c;
    need_server();
    assert_int_equal(call(pool, &c, make_table), 0);
    pthread_barrier_init(&both_hold_one, NULL, 2);
    assert_int_equal(call_start(pool, &a, cross_and_fall, 60000), 0);
    assert_int_equal(call_start(pool, &b, cross_and_win, 60000), 0);
    assert_int_equal(call_wait(&a), 0);
    assert_int_equal(call_wait(&b), 0);
    assert_in_range(a.runs, 2,
                    4); /* it may take the first row once more before the other, which waits for it, wakes */
    assert_int_equal(b.runs, 1);
    assert_int_equal(call(pool, &c, sum_n), 0);
    assert_int_equal(c.number, 6);
    pthread_barrier_destroy(&both_hold_one);
}

static int widen_table(struct pg *pg, struct call *c)
{
    return pg_exec(pg, "ALTER TABLE t ALTER COLUMN n TYPE bigint; ALTER TABLE t ADD COLUMN extra text");
}

static int select_star(struct pg *pg, struct call *c)
{
    int rows = pg_query(pg, "SELECT * FROM t ORDER BY id");
    return rows < 0 ? rows : 0;
}

static void a_changed_schema_is_noticed(void **state)
{
    struct call c;
    need_server();
    struct pg_conf conf = conf_of(uri);
    conf.connections = 1;
    struct pg_pool *one = pg_pool_new(&conf, NULL);
    assert_int_equal(call(one, &c, make_table), 0);
    assert_int_equal(call(one, &c, select_star), 0);
    assert_int_equal(call(one, &c, widen_table), 0);
    assert_int_equal(call(one, &c, select_star), 0);
    assert_int_equal(c.runs, 2);
    pg_pool_free(one);
}

/* --- deadlines and a database that is away ---------------------------------------------------------- */

static int sleep_long(struct pg *pg, struct call *c)
{
    int rc = pg_query(pg, "SELECT pg_sleep(30)");
    return rc < 0 ? rc : 0;
}

/* Those of this program only, since other tests share the server, and until they are gone: a backend that is about to
 * end may answer one more BEGIN. */
static int kill_others(struct pg *pg, struct call *c)
{
    int rc = pg_query(
        pg, "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND application_name = current_setting('application_name')");
    return rc < 0 ? rc : 0;
}

static int count_sleepers(struct pg *pg, struct call *c)
{
    int rows = pg_query(
        pg, "SELECT 1 FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(30)' AND state = 'active' "
            "AND application_name = current_setting('application_name')");
    c->number = rows;
    return rows < 0 ? rows : 0;
}

static void a_late_job_ends_at_its_deadline(void **state)
{
    struct call c;
    need_server();
    uint64_t start = clock_mono_ms();
    assert_int_equal(call_start(pool, &c, sleep_long, 200), 0);
    assert_int_equal(call_wait(&c), ERR_TIMEOUT);
    assert_in_range(clock_mono_ms() - start, 190, 20000); /* not the 30 s of the query */
    assert_int_equal(call(pool, &c, all_types), 0);
}

static void dead_connections_are_replaced(void **state)
{
    struct call c, warm[4];
    need_server();
    for (int i = 0; i < 4; i++) {
        assert_int_equal(call_start(pool, &warm[i], all_types, 0), 0);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(call_wait(&warm[i]), 0);
    }
    struct pg *killer = pg_open(uri, 20000, NULL);
    assert_non_null(killer);
    c.run = kill_others;
    assert_int_equal(pg_transaction(killer, call_run, &c, 60000, NULL), 0);
    pg_close(killer);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(call(pool, &c, all_types), 0);
    }
}

static void a_connection_lost_inside_is_told(void **state)
{
    struct call c, k;
    need_server();
    assert_int_equal(call_start(pool, &c, sleep_long, 60000), 0);
    do {
        assert_int_equal(call(pool, &k, count_sleepers), 0);
    } while (k.number == 0);
    assert_int_equal(call(pool, &k, kill_others), 0);
    assert_int_equal(call_wait(&c), ERR_CLOSED);
    assert_int_equal(c.runs, 1);
}

static void out_of_reach_fails_fast(void **state)
{
    char nowhere[128];
    struct call c;
    snprintf(nowhere, sizeof(nowhere), "postgresql:///x?host=%s", temp_folder);
    struct pg_conf conf = hasty_conf_of(nowhere);
    struct pg_pool *p = pg_pool_new(&conf, NULL);
    assert_int_equal(call(p, &c, all_types), ERR_UNAVAILABLE);
    assert_false(pg_pool_is_up(p));
    assert_int_equal(call_start(p, &c, all_types, 0), ERR_UNAVAILABLE); /* at once, not queued */
    clock_test_advance_ms(300);
    assert_int_equal(call_start(p, &c, all_types, 0), 0); /* the probe */
    assert_int_equal(call_wait(&c), ERR_UNAVAILABLE);
    assert_int_equal(c.runs, 0);
    pg_pool_free(p);
}

/* A server that accepts and never says a word: connects hang, the queue fills. */
static int open_mute_server(void)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", temp_path(".s.PGSQL.5432"));
    unlink(sun.sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
    assert_int_equal(listen(fd, 16), 0);
    return fd;
}

static void a_hanging_server_holds_nobody(void **state)
{
    char mute[128];
    struct call calls[4];
    int fd = open_mute_server();
    snprintf(mute, sizeof(mute), "postgresql:///x?host=%s", temp_folder);
    struct pg_conf conf = hasty_conf_of(mute);
    conf.connections = 1;
    conf.queue = 2;
    struct pg_pool *p = pg_pool_new(&conf, NULL);
    uint64_t start = clock_mono_ms();
    assert_int_equal(call_start(p, &calls[0], all_types, 0), 0);
    int peer = accept(fd, NULL, NULL); /* it is being connected now */
    assert_true(peer >= 0);
    assert_int_equal(call_start(p, &calls[1], all_types, 100), 0);
    assert_int_equal(call_start(p, &calls[2], all_types, 0), 0);
    assert_int_equal(call_start(p, &calls[3], all_types, 0), ERR_AGAIN);
    assert_int_equal(call_wait(&calls[0]), ERR_UNAVAILABLE);
    assert_int_equal(call_wait(&calls[1]), ERR_TIMEOUT);
    assert_int_equal(call_wait(&calls[2]), ERR_UNAVAILABLE);
    assert_in_range(clock_mono_ms() - start, 450, 20000);
    pg_pool_free(p);
    close(peer);
    close(fd);
}

static void urgent_jobs_have_a_ceiling(void **state)
{
    char mute[128];
    enum { QUEUE = 5 };
    static struct call calls[QUEUE + 2];
    struct call refused;
    int peers[2];
    int fd = open_mute_server();
    snprintf(mute, sizeof(mute), "postgresql:///x?host=%s", temp_folder);
    struct pg_conf conf = hasty_conf_of(mute);
    conf.connections = 1;
    conf.urgent_queue = QUEUE;
    conf.connect_ms = 20000;
    struct pg_pool *p = pg_pool_new(&conf, NULL);
    for (unsigned i = 0; i < 2; i++) { /* the thread of urgent jobs and the other one connect for them */
        assert_int_equal(call_start_in(p, PG_LANE_URGENT, &calls[i], all_types), 0);
        peers[i] = accept(fd, NULL, NULL);
        assert_true(peers[i] >= 0);
    }
    for (unsigned i = 2; i < QUEUE + 2; i++) {
        assert_int_equal(call_start_in(p, PG_LANE_URGENT, &calls[i], all_types), 0);
    }
    assert_int_equal(call_start_in(p, PG_LANE_URGENT, &refused, all_types), ERR_AGAIN);
    close(fd);
    close(peers[0]);
    close(peers[1]);
    pg_pool_free(p);
}

static void a_closing_pool_cancels_what_waits(void **state)
{
    char mute[128];
    struct call first, second;
    int fd = open_mute_server();
    snprintf(mute, sizeof(mute), "postgresql:///x?host=%s", temp_folder);
    struct pg_conf conf = hasty_conf_of(mute);
    conf.connections = 1;
    struct pg_pool *p = pg_pool_new(&conf, NULL);
    assert_int_equal(call_start(p, &first, all_types, 0), 0);
    int peer = accept(fd, NULL, NULL); /* the first is being connected */
    assert_true(peer >= 0);
    assert_int_equal(call_start(p, &second, all_types, 0), 0);
    pg_pool_free(p);
    assert_int_equal(first.rc, ERR_UNAVAILABLE);
    assert_int_equal(second.rc, ERR_CANCELED);
    close(peer);
    close(fd);
}

/* --- from a loop ------------------------------------------------------------------------------------ */

struct looped {
    struct loop *loop;
    struct call call;
    struct loop *done_on;
};

static void looped_done(void *arg, int rc, const struct err *err)
{
    struct looped *l = arg;
    l->call.rc = rc;
    l->done_on = loop_current();
    loop_stop(l->loop);
}

static int looped_run(struct pg *pg, void *arg)
{
    return all_types(pg, NULL);
}

static void looped_start(void *arg)
{
    struct looped *l = arg;
    l->call.job = (struct pg_job){.run = looped_run, .done = looped_done, .arg = l};
    assert_int_equal(pg_submit(pool, &l->call.job), 0);
}

static void done_comes_on_the_loop_that_asked(void **state)
{
    need_server();
    struct looped l = {.loop = loop_new("test", 0), .call.rc = 1};
    loop_call(l.loop, looped_start, &l);
    loop_run(l.loop);
    assert_int_equal(l.call.rc, 0);
    assert_ptr_equal(l.done_on, l.loop);
    loop_free(l.loop);
}

/* --- migrations ------------------------------------------------------------------------------------- */

static int fresh_schema(struct pg *pg, void *arg)
{
    return pg_exec(pg, "DROP SCHEMA public CASCADE; CREATE SCHEMA public");
}

static int read_version(struct pg *pg, void *arg)
{
    return pg_schema_version(pg, arg);
}

static unsigned version_of(struct pg *pg)
{
    unsigned version = 99;
    assert_int_equal(pg_transaction(pg, read_version, &version, 5000, NULL), 0);
    return version;
}

static void note_applied(void *arg, unsigned version, const char *name)
{
    size_t n = strlen(arg);
    snprintf((char *)arg + n, 100 - n, "%u:%s ", version, name);
}

static void a_pool_that_is_gone_takes_nothing(void **state)
{
    struct pg_job job = {0};
    assert_int_equal(pg_submit(NULL, &job), ERR_UNAVAILABLE);
}

static void migrations_go_forward_only(void **state)
{
    char applied[100] = "";
    struct err err;
    need_server();
    struct pg *pg = pg_open(uri, 1000, &err);
    assert_non_null(pg);
    assert_int_equal(pg_transaction(pg, fresh_schema, NULL, 5000, NULL), 0);
    assert_int_equal(version_of(pg), 0);
    temp_write("0001_first.sql", "CREATE TABLE a (id int); CREATE TABLE b (id int);", 0644);
    temp_write("0002_second.sql", "INSERT INTO a VALUES (1);\n-- end\n", 0644);
    assert_int_equal(pg_migrate(pg, temp_folder, note_applied, applied, &err), 0);
    assert_string_equal(applied, "1:first 2:second ");
    assert_int_equal(pg_migrate(pg, temp_folder, note_applied, applied, &err), 0);
    assert_string_equal(applied, "1:first 2:second ");
    assert_int_equal(version_of(pg), 2);

    temp_write("0003_bad.sql", "CREATE TABLE c (id int); SELECT nonsense;", 0644);
    assert_true(pg_migrate(pg, temp_folder, NULL, NULL, &err) < 0);
    assert_non_null(strstr(err.msg, "0003_bad.sql"));
    assert_int_equal(version_of(pg), 2);
    temp_write("0003_bad.sql", "CREATE TABLE c (id int);", 0644); /* the first try left no c behind */
    assert_int_equal(pg_migrate(pg, temp_folder, NULL, NULL, &err), 0);

    temp_write("0001_first.sql", "CREATE TABLE a (id bigint);", 0644);
    assert_int_equal(pg_migrate(pg, temp_folder, NULL, NULL, &err), ERR_CONFLICT);
    assert_non_null(strstr(err.msg, "0001_first.sql has changed"));
    unlink(temp_path("0001_first.sql"));
    assert_int_equal(pg_migrate(pg, temp_folder, NULL, NULL, &err), ERR_INVALID);
    temp_write("1_x.sql", "", 0644);
    assert_int_equal(pg_migrate(pg, temp_folder, NULL, NULL, &err), ERR_INVALID);
    assert_int_equal(pg_migrate(pg, "/nonexistent", NULL, NULL, &err), ERR_IO);
    pg_close(pg);
}

#define POOLED(test) cmocka_unit_test_setup_teardown(test, pool_up, pool_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        POOLED(values_go_there_and_back),
        POOLED(errors_roll_back_and_have_names),
        POOLED(deadlocks_run_again),
        POOLED(a_changed_schema_is_noticed),
        POOLED(a_late_job_ends_at_its_deadline),
        POOLED(dead_connections_are_replaced),
        POOLED(a_connection_lost_inside_is_told),
        POOLED(done_comes_on_the_loop_that_asked),
        cmocka_unit_test(out_of_reach_fails_fast),
        cmocka_unit_test(a_hanging_server_holds_nobody),
        cmocka_unit_test(urgent_jobs_have_a_ceiling),
        cmocka_unit_test(a_closing_pool_cancels_what_waits),
        cmocka_unit_test(a_pool_that_is_gone_takes_nothing),
        cmocka_unit_test(migrations_go_forward_only),
    };
    uri_find("pg_test");
    return cmocka_run_group_tests(tests, temp_make, temp_remove);
}
