/* What the functions of the migrations promise, whoever calls them and however calls overlap, and what a poll reads: tests/with-postgres
 * build/dev/tests/migrations_test. Without TIDE_TEST_PG all of it is skipped, visibly. */
#include "tests/unit/pg_database.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "auth/sync.h"
#include "base/clock.h"

enum { TICK_MS = 5 };

/* One transaction of the application, on a thread of its own. */
struct call {
    pthread_t thread;
    const char *sql;
    atomic_bool is_over;
    int rc;
};

static void *call_run(void *arg)
{
    struct call *c = arg;
    c->rc = sql_as(app_uri, c->sql);
    atomic_store(&c->is_over, true);
    return NULL;
}

/* Until it waits for a lock as the n-th, or is over. */
static void call_start(struct call *c, int64_t n)
{
    uint64_t began_ms = clock_mono_ms();
    assert_int_equal(pthread_create(&c->thread, NULL, call_run, c), 0);
    while (!atomic_load(&c->is_over) &&
           number_of("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                     " AND usename = 'tidegate_app' AND datname = current_database()") < n) {
        assert_true(clock_mono_ms() - began_ms < PATIENCE_MS);
        nanosleep(&(struct timespec){.tv_nsec = TICK_MS * 1000000}, NULL);
    }
}

static int call_end(struct call *c)
{
    assert_int_equal(pthread_join(c->thread, NULL), 0);
    return c->rc;
}

#define SIGN_UP(number)                                                                                      \
    "SELECT auth_create_user((SELECT version FROM policy_current), 'default', 'phone', 'CN', "               \
    "gen_random_uuid(), gen_random_uuid(), sha256('" number "'), '1', '');"
#define HOLD "SELECT pg_advisory_xact_lock(4711);" /* until the holder gives it back */
#define CLOSE_SIGN_UP                                                                                        \
    "SELECT policy_change('t', 'open', '{}', '{}', 'test', 'test', '', 0, 'policy.set', NULL);"

/* --- who may call ------------------------------------------------------------------------------------ */

static void functions_are_for_whom_they_are_granted_to(void **state)
{
    need_server();
#define OPEN_TO(role)                                                                                        \
    "SELECT count(*) FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace"                           \
    " AND has_function_privilege('" role "', p.oid, 'EXECUTE')"
    assert_int_equal(number_of(OPEN_TO("tidegate_status")), 0);
    assert_int_equal(number_of(OPEN_TO("tidegate_app") " AND p.proname = 'bans_move'"), 0);
    assert_true(number_of(OPEN_TO("tidegate_app") " AND p.proname LIKE 'policy_%'") > 8);
    assert_true(sql_as(status_uri, "SELECT versions_bump('policy')") < 0);
    assert_int_equal(sql_as(app_uri, "SELECT versions_bump('policy')"), 0);
    /* a function that the next migration forgets */
    assert_int_equal(
        sql_as(owner_uri, "CREATE FUNCTION forgotten() RETURNS integer LANGUAGE sql AS 'SELECT 1'"), 0);
    assert_true(sql_as(app_uri, "SELECT forgotten()") < 0);
    assert_int_equal(number_of(OPEN_TO("tidegate_status")), 0);
    assert_int_equal(sql_as(owner_uri, "DROP FUNCTION forgotten()"), 0);
#undef OPEN_TO
}

/* --- the policy -------------------------------------------------------------------------------------- */

static void a_change_of_the_policy_has_its_turn_among_sign_ups(void **state)
{
    need_server();
    struct call before = {.sql = SIGN_UP("before") HOLD}, change = {.sql = CLOSE_SIGN_UP},
                after = {.sql = SIGN_UP("after")};
    int64_t version = number_of("SELECT version FROM policy_current");
    struct pg *holder = pg_open(owner_uri, PATIENCE_MS, NULL);
    assert_non_null(holder);
    assert_int_equal(pg_exec(holder, "SELECT pg_advisory_lock(4711)"), 0);
    call_start(&before, 1);
    call_start(&change, 2); /* waits for the account that is being made */
    call_start(&after, 3);  /* and this one for the change */
    pg_close(holder);
    assert_int_equal(call_end(&after), ERR_CONFLICT); /* policy_stale */
    assert_int_equal(call_end(&before), 0);
    assert_int_equal(call_end(&change), 0);
    assert_int_equal(number_of("SELECT version FROM policy_current"), version + 1);
    assert_int_equal(number_of("SELECT count(*) FROM users u JOIN identities i ON i.user_id = u.id"
                               " WHERE i.subject_hash IN (sha256('before'), sha256('after'))"),
                     1);
    assert_int_equal(sql_as(app_uri, SIGN_UP("after")), 0); /* decided again */
}

/* --- ended sessions -------------------------------------------------------------------------------------- */

struct reading {
    struct auth_sync sync;
    int64_t rows; /* that the server looked at */
};

static int run_reading(struct pg *pg, void *arg)
{
    struct reading *r = arg;
    int rc = pg_exec(pg, "SET LOCAL enable_seqscan = off"); /* the table is small here */
    rc = rc < 0 ? rc : auth_sync_revocations(pg, &r->sync);
    rc = rc < 0 ? rc
                : pg_query(pg, "SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) FROM"
                               " pg_stat_xact_user_tables WHERE relname = 'revocations'");
    r->rows = rc > 0 ? pg_i64(pg, 0, 0) : -1;
    return rc < 0 ? rc : 0;
}

static void a_poll_reads_only_what_is_new(void **state)
{
    need_server();
    struct reading r = {0};
    assert_int_equal(
        sql_as(
            owner_uri,
            "INSERT INTO revocations (session_id, user_id, created_at) SELECT"
            " gen_random_uuid(), gen_random_uuid(), now() - interval '2 h'"
            " FROM generate_series(1, 2000);"
            " INSERT INTO revocations (session_id, user_id) VALUES (gen_random_uuid(), gen_random_uuid())"),
        0);
    r.sync.since.at_ms = number_of("SELECT (extract(epoch FROM now()) * 1000)::bigint");
    r.sync.since.version = number_of("SELECT revocations FROM versions");
    assert_int_equal(pg_run_as(app_uri, run_reading, &r), 0);
    assert_true(r.sync.ended_count >= 1 && r.rows >= 1);
    assert_true(r.rows < 100);
    auth_sync_clear(&r.sync);
}

/* --- the program ------------------------------------------------------------------------------------- */

static int set_up(void **state)
{
    return pg_database_make("tide_migrations_test");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(functions_are_for_whom_they_are_granted_to),
        cmocka_unit_test(a_change_of_the_policy_has_its_turn_among_sign_ups),
        cmocka_unit_test(a_poll_reads_only_what_is_new),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
