/* What the filter of known numbers learns from a real database, whatever transactions overlap: tests/with-postgres
 * build/dev/tests/known_feed_test. Without TIDE_TEST_PG all of it is skipped, visibly. */
#include "tests/unit/pg_database.h"

#include "auth/known_feed.h"
#include "auth/known_filter.h"

static struct pg *app; /* as the gateway */

/* --- small steps ------------------------------------------------------------------------------------- */

static struct pg *open_owner(void)
{
    struct pg *pg = pg_open(owner_uri, PATIENCE_MS, NULL);
    assert_non_null(pg);
    assert_int_equal(pg_exec(pg, "SET idle_in_transaction_session_timeout = 0"),
                     0); /* some tests wait on purpose */
    return pg;
}

static void exec(struct pg *pg, const char *sql)
{
    assert_int_equal(pg_exec(pg, sql), 0);
}

static void sql(const char *text)
{
    struct pg *pg = open_owner();
    exec(pg, text);
    pg_close(pg);
}

/* people(a, b): accounts with these numbers. */
static const char *const make_people =
    "CREATE FUNCTION hash_of(n bigint) RETURNS bytea LANGUAGE sql IMMUTABLE AS"
    " $$ SELECT sha256(int8send(n)) $$;"
    "CREATE FUNCTION people(a bigint, b bigint) RETURNS void LANGUAGE sql AS $$"
    " INSERT INTO users (id, policy_version, policy_rule, signup_method)"
    "  SELECT ('00000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid, 1, 'default', 'phone'"
    "  FROM generate_series(a, b) n;"
    " INSERT INTO identities (id, user_id, provider, subject_hash, subject_key, subject_enc)"
    "  SELECT id, id, 'phone', hash_of(right(id::text, 12)::bigint), '1', '' FROM users"
    "  WHERE right(id::text, 12)::bigint BETWEEN a AND b $$;";

/* From a up to, not including, b; some at a time: a statement has its time, on a slow machine too. */
static void many_people(int a, int b)
{
    for (int n = a; n < b; n += 4000) {
        char text[64];
        snprintf(text, sizeof text, "SELECT people(%d, %d)", n, n + 3999 < b ? n + 3999 : b - 1);
        sql(text);
    }
}

struct hash {
    int64_t n;
    uint8_t bytes[SECRET_HMAC_BYTES];
};

static int run_hash(struct pg *pg, void *arg)
{
    struct hash *h = arg;
    int rows = pg_query(pg, "SELECT sha256(int8send($1))", PG_I64(h->n));
    if (rows > 0) {
        memcpy(h->bytes, pg_bytea(pg, 0, 0).p, sizeof h->bytes);
    }
    return rows < 0 ? rows : 0;
}

static bool knows(const struct known_feed *f, int64_t n)
{
    struct hash h = {.n = n};
    assert_int_equal(pg_transaction(app, run_hash, &h, 5000, NULL), 0);
    return known_filter_may_have(f->filter, h.bytes);
}

static void job(int (*run)(struct pg *, void *), struct known_feed *f)
{
    struct err err = {0};
    assert_int_equal(pg_transaction(app, run, f, 20000, &err), 0);
}

static void begin(struct known_feed *f)
{
    known_feed_init(f);
    f->bytes = 1 << 20;
    job(known_feed_begin, f);
}

static void load(struct known_feed *f)
{
    while (!f->is_loaded) {
        job(known_feed_page, f);
    }
}

static void start(struct known_feed *f)
{
    sql("DELETE FROM users");
    begin(f);
    load(f);
    job(known_feed_catch_up, f);
    assert_false(f->is_lost);
}

static void assert_is_lost(struct known_feed *f)
{
    job(known_feed_catch_up, f);
    assert_true(f->is_lost);
    known_feed_clear(f);
}

/* --- nothing is missed ------------------------------------------------------------------------------- */

static void who_comes_is_known_after_a_catch_up(void **state)
{
    need_server();
    struct known_feed f;
    start(&f);
    assert_false(knows(&f, 1));
    sql("SELECT people(1, 1)");
    assert_false(knows(&f, 1));
    job(known_feed_catch_up, &f);
    assert_true(knows(&f, 1) && !f.is_lost);
    assert_int_equal(known_filter_entries(f.filter), 1);
    sql("UPDATE identities SET subject_hash = hash_of(2)"); /* a change of number */
    job(known_feed_catch_up, &f);
    assert_true(knows(&f, 2));
    known_feed_clear(&f);
}

static void a_transaction_counts_when_it_commits(void **state)
{
    need_server();
    struct known_feed f;
    struct pg *slow = open_owner(), *gone = open_owner();
    sql("DELETE FROM users");
    exec(slow, "BEGIN; SELECT people(10, 12)"); /* before there is a snapshot, and seen by no page */
    exec(gone, "BEGIN; SELECT people(13, 13)");
    begin(&f);
    load(&f);
    sql("SELECT people(14, 14)"); /* younger, and commits first */
    job(known_feed_catch_up, &f);
    assert_true(knows(&f, 14) && !knows(&f, 10) && !knows(&f, 13));
    for (unsigned i = 0; i < 3; i++) {
        job(known_feed_catch_up, &f);
    }
    exec(gone, "ROLLBACK");
    exec(slow, "COMMIT");
    job(known_feed_catch_up, &f);
    assert_true(knows(&f, 10) && knows(&f, 11) && knows(&f, 12) && !knows(&f, 13));
    pg_close(slow);
    pg_close(gone);
    known_feed_clear(&f);
}

/* Three pages; some change their number meanwhile, to one behind the cursor or before it. */
static void all_are_there_whatever_happens_while_it_loads(void **state)
{
    need_server();
    struct known_feed f;
    struct pg *slow = open_owner();
    sql("DELETE FROM users");
    many_people(100, 12100);
    begin(&f);
    exec(slow, "BEGIN; SELECT people(20000, 20099)");
    job(known_feed_page, &f);
    assert_false(f.is_loaded);
    sql("UPDATE identities SET subject_hash = hash_of(30000 + right(id::text, 12)::bigint)"
        " WHERE right(id::text, 12)::bigint BETWEEN 100 AND 299");
    job(known_feed_page, &f);
    exec(slow, "COMMIT");
    sql("SELECT people(20100, 20199)");
    load(&f);
    job(known_feed_catch_up, &f);
    assert_false(f.is_lost);
    for (int64_t n = 300; n < 12100; n += 7) {
        assert_true(knows(&f, n));
    }
    for (int64_t n = 0; n < 200; n++) {
        assert_true(knows(&f, 30100 + n) && knows(&f, 20000 + n));
    }
    pg_close(slow);
    known_feed_clear(&f);
}

/* --- the chain breaks -------------------------------------------------------------------------------- */

static void another_epoch_or_none_loses_track(void **state)
{
    need_server();
    struct known_feed f;
    start(&f);
    sql("UPDATE account_feed_state SET epoch = gen_random_uuid()");
    assert_is_lost(&f);
    start(&f);
    sql("TRUNCATE account_feed, account_feed_state"); /* what a crash leaves of unlogged tables */
    assert_is_lost(&f);
    start(&f); /* begins a new one */
    job(known_feed_catch_up, &f);
    assert_false(f.is_lost);
    known_feed_clear(&f);
}

/* A page that another server answers (a standby, a primary that is none any more) may lack what began before it. */
static void pages_of_another_server_are_not_taken(void **state)
{
    need_server();
    static const char *const causes[] = {"UPDATE account_feed_state SET epoch = gen_random_uuid()",
                                         "TRUNCATE account_feed, account_feed_state"};
    for (unsigned i = 0; i < sizeof causes / sizeof *causes; i++) {
        struct known_feed f;
        start(&f);
        known_feed_clear(&f);
        begin(&f);
        sql(causes[i]);
        job(known_feed_page, &f);
        assert_true(f.is_lost);
        assert_false(f.is_loaded);
        known_feed_clear(&f);
    }
}

static void rows_are_purged_after_everybody_had_time(void **state)
{
    static const char *const old =
        "UPDATE account_feed_state SET turned_at = turned_at - interval '11 minutes'";
    static const char *const tend = "SELECT account_feed_tend(100000)";
    need_server();
    struct known_feed f, behind;
    start(&behind);
    start(&f);
    sql("SELECT people(1, 50)");
    sql(old);
    sql(tend); /* chooses what goes at the next turn */
    job(known_feed_catch_up, &f);
    assert_true(knows(&f, 50) && !f.is_lost);
    sql("SELECT people(51, 51)");
    sql(old);
    sql(tend);
    job(known_feed_catch_up, &f);
    assert_true(knows(&f, 51) && !f.is_lost);
    struct pg *pg = open_owner();
    exec(pg, "DO $$ BEGIN ASSERT (SELECT count(*) FROM account_feed) = 1; END $$");
    pg_close(pg);
    known_feed_clear(&f);
    assert_is_lost(&behind);
}

static void too_many_at_once_lose_track(void **state)
{
    need_server();
    struct known_feed f;
    start(&f);
    many_people(40000, 65000);
    assert_is_lost(&f);
}

/* --- the program ------------------------------------------------------------------------------------- */

static int set_up(void **state)
{
    if (pg_database_make("tide_known_feed_test") < 0) {
        return -1;
    }
    if (server_uri) {
        sql(make_people);
        app = pg_open(app_uri, PATIENCE_MS, NULL);
    }
    return server_uri && !app ? -1 : 0;
}

static int tear_down(void **state)
{
    pg_close(app);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_comes_is_known_after_a_catch_up),
        cmocka_unit_test(a_transaction_counts_when_it_commits),
        cmocka_unit_test(all_are_there_whatever_happens_while_it_loads),
        cmocka_unit_test(another_epoch_or_none_loses_track),
        cmocka_unit_test(pages_of_another_server_are_not_taken),
        cmocka_unit_test(rows_are_purged_after_everybody_had_time),
        cmocka_unit_test(too_many_at_once_lose_track),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
