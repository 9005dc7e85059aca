#include "tests/unit/unit.h"

#include <stdlib.h>

#include "ratelimit/gcra.h"

static const uint64_t SECOND = 1000000;

static void one_rounding_a_request(void **state)
{
    struct gcra g;
    assert_true(gcra_init(&g, 7000000, 60 * SECOND, 7000000, 0));
    assert_int_equal(gcra_inc_us(&g, 1), 9); /* 8.57 */
    assert_int_equal(gcra_inc_us(&g, 7), 60);
    assert_int_equal(gcra_inc_us(&g, 7000000), 60 * (int64_t)SECOND); /* once a unit: 63 s */
    assert_int_equal(g.tau_us, 60 * (int64_t)SECOND);
}

static void burst_then_rate(void **state)
{
    struct gcra g;
    assert_true(gcra_init(&g, 50, SECOND, 100, 0));
    int64_t t = 0;
    int64_t inc = gcra_inc_us(&g, 1);
    int64_t now = 1795000000000123;
    for (int i = 0; i < 100; i++) {
        assert_true(gcra_allows(&g, gcra_step(&g, &t, now, inc)));
    }
    int64_t d = gcra_step(&g, &t, now, inc);
    assert_false(gcra_allows(&g, d));
    assert_int_equal(gcra_retry_us(&g, d, inc), 20000);
    assert_true(gcra_allows(&g, gcra_step(&g, &t, now + 20000, inc)));  /* at retry exactly */
    assert_false(gcra_allows(&g, gcra_step(&g, &t, now + 39999, inc))); /* 1 us early */
    assert_int_equal(gcra_remaining(&g, 0), 100);
    assert_int_equal(gcra_remaining(&g, 20000), 99);
    assert_int_equal(gcra_remaining(&g, g.tau_us), 0);
}

static void cost_past_the_burst_never_passes(void **state)
{
    struct gcra g;
    assert_true(gcra_init(&g, 10, SECOND, 5, 0));
    int64_t t = 0;
    int64_t inc = gcra_inc_us(&g, 6);
    int64_t d = gcra_step(&g, &t, 1000, inc);
    assert_false(gcra_allows(&g, d));
    assert_int_equal(gcra_retry_us(&g, d, inc), GCRA_NEVER);
    assert_int_equal(gcra_retry_us(&g, gcra_inc_us(&g, 5), gcra_inc_us(&g, 5)), 0); /* exactly full passes */
}

static void tau_holds_at_least_one_unit(void **state)
{
    struct gcra g;
    assert_true(gcra_init(&g, 3, SECOND, 1, 0)); /* 333333.3 us: floor would be below ceil */
    assert_int_equal(g.tau_us, gcra_inc_us(&g, 1));
}

static void a_time_far_ahead_heals(void **state)
{
    struct gcra g;
    assert_true(gcra_init(&g, 1, SECOND, 1, 0));
    int64_t t = 999 * (int64_t)SECOND; /* the clock stepped back */
    assert_int_equal(gcra_step(&g, &t, 0, gcra_inc_us(&g, 1)), 2 * (int64_t)SECOND);
}

static void ranges_are_checked(void **state)
{
    struct gcra g;
    assert_false(gcra_init(&g, 0, SECOND, 1, 0));
    assert_false(gcra_init(&g, 1, 0, 1, 0));
    assert_false(gcra_init(&g, 1, SECOND, 0, 0));
    assert_false(gcra_init(&g, 1, 401ull * 86400 * SECOND, 1, 0));
    assert_false(gcra_init(&g, 1, 400ull * 86400 * SECOND, 2, 0)); /* tau would be 800 days */
    assert_true(gcra_init(&g, 1, 400ull * 86400 * SECOND, 1, 0));
    assert_true(gcra_init(&g, 1000000000000, 1, 1, 0));
    assert_true(gcra_inc_us(&g, UINT64_MAX) >= 1);
}

/* In any window W at most burst + W * rate units pass (plus the one unit that integer rounding may give). */
static void never_more_than_burst_and_rate(void **state)
{
    srand(7);
    for (int round = 0; round < 300; round++) {
        struct gcra g;
        uint64_t limit = 1 + (uint64_t)rand() % 5000;
        uint64_t period = 1 + (uint64_t)rand() % (10 * SECOND);
        uint64_t burst = 1 + (uint64_t)rand() % 300;
        assert_true(gcra_init(&g, limit, period, burst, 0));
        int64_t t = 0;
        int64_t now = 1000;
        unsigned __int128 passed = 0;
        for (int i = 0; i < 1000; i++) {
            uint64_t cost = 1 + (uint64_t)rand() % 3;
            now += rand() % (int)(period * 2 / limit + 2);
            int64_t d = gcra_step(&g, &t, now, gcra_inc_us(&g, cost));
            passed += gcra_allows(&g, d) ? cost : 0;
            unsigned __int128 ceiling = burst + ((unsigned __int128)(now - 1000) * limit) / period + 1;
            assert_true(passed <= ceiling);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_rounding_a_request),           cmocka_unit_test(burst_then_rate),
        cmocka_unit_test(cost_past_the_burst_never_passes), cmocka_unit_test(tau_holds_at_least_one_unit),
        cmocka_unit_test(a_time_far_ahead_heals),           cmocka_unit_test(ranges_are_checked),
        cmocka_unit_test(never_more_than_burst_and_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
