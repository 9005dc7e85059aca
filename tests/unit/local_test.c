#include "tests/unit/unit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "ratelimit/local.h"

static const int64_t SECOND = 1000000;

static struct gcra rule(uint64_t limit, uint64_t burst)
{
    struct gcra g;
    assert_true(gcra_init(&g, limit, (uint64_t)SECOND, burst, 0));
    return g;
}

static int passed_of(struct local_table *t, struct limit_key key, const struct gcra *g, unsigned shares,
                     int64_t now, int tries)
{
    int passed = 0;
    for (int i = 0; i < tries; i++) {
        passed += local_take(t, key, g, gcra_inc_us(g, 1), shares, now) == 0;
    }
    return passed;
}

static void share_of_rate_and_burst(void **state)
{
    struct local_table *t = local_table_new(1024);
    struct gcra g = rule(100, 90);
    assert_int_equal(passed_of(t, (struct limit_key){1, 1}, &g, 1, SECOND, 200), 90);
    assert_int_equal(passed_of(t, (struct limit_key){1, 2}, &g, 3, SECOND, 200), 30);
    assert_int_equal(passed_of(t, (struct limit_key){1, 2}, &g, 3, 2 * SECOND, 200),
                     30); /* capped by the burst */
    assert_int_equal(passed_of(t, (struct limit_key){1, 2}, &g, 3, 2 * SECOND + SECOND / 10, 200), 3);
    assert_int_equal(passed_of(t, (struct limit_key){1, 3}, &g, 1000, SECOND, 200),
                     1); /* never less than one */
    assert_int_equal(local_take(t, (struct limit_key){1, 4}, &g, gcra_inc_us(&g, 91), 1, SECOND), GCRA_NEVER);
    local_table_free(t);
}

static void retry_is_exact(void **state)
{
    struct local_table *t = local_table_new(1024);
    struct gcra g = rule(10, 1);
    struct limit_key key = {5, 5};
    int64_t inc = gcra_inc_us(&g, 1);
    assert_int_equal(local_take(t, key, &g, inc, 2, SECOND), 0);
    int64_t retry = local_take(t, key, &g, inc, 2, SECOND);
    assert_int_equal(retry, 200000);
    assert_true(local_take(t, key, &g, inc, 2, SECOND + retry - 1) > 0);
    assert_int_equal(local_take(t, key, &g, inc, 2, SECOND + retry), 0);
    local_settle(t, key, &g, -inc, 2, SECOND + retry);
    assert_int_equal(local_take(t, key, &g, inc, 2, SECOND + retry), 0);
    local_table_free(t);
}

static void blocks_end_and_tell_the_retry(void **state)
{
    struct local_table *t = local_table_new(1024);
    struct limit_key key = {9, 9};
    assert_int_equal(local_blocked_us(t, key, SECOND), 0);
    local_block(t, key, 60 * SECOND, SECOND, SECOND);
    assert_int_equal(local_blocked_us(t, key, SECOND + SECOND / 2), 60 * SECOND - SECOND / 2);
    assert_int_equal(local_blocked_us(t, key, 2 * SECOND), 0); /* to be asked again */
    assert_int_equal(local_blocked_us(t, (struct limit_key){9, 13}, SECOND), 0);
    local_table_free(t);
}

/* A flood of new keys throws out those that end first, and the table does not grow. */
static void full_bucket_loses_what_ends_first(void **state)
{
    struct local_table *t = local_table_new(1024);
    struct limit_key precious = {3, 1001};
    local_block(t, precious, 100 * SECOND, 100 * SECOND, SECOND);
    for (uint64_t i = 0; i < 1000; i++) {
        local_block(t, (struct limit_key){3, 2 * i + 5001}, SECOND, SECOND, SECOND);
    }
    assert_int_equal(local_blocked_us(t, precious, SECOND), 100 * SECOND);
    local_table_free(t);
}

enum { THREADS = 4, TAKES = 20000 };
struct crowd {
    struct local_table *table;
    struct gcra gcra;
    atomic_int passed;
};

static void *take_many(void *arg)
{
    struct crowd *c = arg;
    for (int i = 0; i < TAKES; i++) {
        c->passed += local_take(c->table, (struct limit_key){8, 8}, &c->gcra, gcra_inc_us(&c->gcra, 1), 1,
                                SECOND) == 0;
        local_block(c->table, (struct limit_key){(uint64_t)i, 77}, SECOND, SECOND, SECOND);
        (void)local_blocked_us(c->table, (struct limit_key){(uint64_t)i, 77}, SECOND);
    }
    return NULL;
}

static void threads_share_one_bucket(void **state)
{
    struct crowd c = {.table = local_table_new(4096), .gcra = rule(1000, 500)};
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        pthread_create(&threads[i], NULL, take_many, &c);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(c.passed, 500);
    local_table_free(c.table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(share_of_rate_and_burst),       cmocka_unit_test(retry_is_exact),
        cmocka_unit_test(blocks_end_and_tell_the_retry), cmocka_unit_test(full_bucket_loses_what_ends_first),
        cmocka_unit_test(threads_share_one_bucket),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
