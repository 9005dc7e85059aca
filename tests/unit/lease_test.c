/* Leases and newcomers by themselves: sizes, ends, who asks. The exactness with Redis is in limiter_traces_test. */
#include "tests/unit/unit.h"

#include "ratelimit/lease.h"
#include "ratelimit/newcomers.h"

static const struct limit_key key = {.lo = 0x1234567, .hi = 0x89abcdef};
enum { SECOND = 1000000 };

static struct gcra rule(uint64_t limit, uint64_t burst)
{
    struct gcra g;
    assert_true(gcra_init(&g, limit, SECOND, burst, 0));
    return g;
}

static void size_follows_rate_burst_and_gateways(void **state)
{
    struct gcra g = rule(1000, 1000);
    assert_int_equal(lease_size(&g, 1), 100);
    assert_int_equal(lease_size(&g, 4), 25);
    g = rule(1000, 100);
    assert_int_equal(lease_size(&g, 1), 25); /* a quarter of the burst */
    assert_int_equal(lease_size(&g, 3), 8);
    assert_int_equal(lease_size(&g, 26), 0); /* less than one each: not leased */
    g = rule(20, 100);
    assert_int_equal(lease_size(&g, 1), 2);
    assert_int_equal(lease_size(&g, 3), 1);
    g = rule(19, 100);
    assert_int_equal(lease_size(&g, 1), 0); /* cannot be busy for long */
}

static void a_busy_key_asks_once_and_is_served(void **state)
{
    struct lease_table *t = lease_table_new(1024);
    struct gcra g = rule(1000, 1000);
    int64_t now = 50 * SECOND;
    struct lease_answer a = {0};
    for (int i = 0; i < LEASE_BUSY_PER_S; i++) {
        a = lease_take(t, key, &g, 1, now += 1000);
        assert_false(a.taken);
        assert_int_equal(a.want, 0);
    }
    a = lease_take(t, key, &g, 1, now += 1000);
    assert_int_equal(a.want, 100);
    assert_int_equal(lease_take(t, key, &g, 1, now).want, 0); /* one asks */
    lease_grant(t, key, 3, 200000, now);
    a = lease_take(t, key, &g, 1, now + 1000);
    assert_true(a.taken);
    assert_int_equal(a.distance_us, 200000 - 1000 - 2 * 1000); /* 1 ms passed, two units are not used yet */
    lease_return(t, key, now + 1000);
    for (int i = 0; i < 3; i++) {
        assert_true(lease_take(t, key, &g, 1, now + 2000).taken);
    }
    a = lease_take(t, key, &g, 1, now + 2000);
    assert_false(a.taken);
    assert_int_equal(a.want, 100); /* used up: the next lease */
    lease_grant(t, key, 5, 200000, now);
    assert_true(lease_take(t, key, &g, 1, now + LEASE_TTL_US - 1).taken);
    assert_false(lease_take(t, key, &g, 1, now + LEASE_TTL_US).taken); /* over, whatever is left */
    lease_table_free(t);
}

static void a_quiet_key_never_asks(void **state)
{
    struct lease_table *t = lease_table_new(1024);
    struct gcra g = rule(1000, 1000);
    int64_t now = 50 * SECOND;
    for (int i = 0; i < 300; i++) {
        assert_int_equal(lease_take(t, key, &g, 1, now += SECOND / 19).want, 0);
    }
    lease_table_free(t);
}

static void the_third_request_pays_for_all(void **state)
{
    struct newcomers *t = newcomers_new(1024);
    struct gcra g = rule(50, 100);
    unsigned held = 0;
    int64_t now = 50 * SECOND;
    assert_true(newcomers_pass(t, key, &g, 1, now, &held));
    assert_int_equal(held, 1);
    newcomers_return(t, key);
    assert_true(newcomers_pass(t, key, &g, 1, now, &held));
    assert_true(newcomers_pass(t, key, &g, 1, now, &held));
    assert_int_equal(held, 2);
    assert_false(newcomers_pass(t, key, &g, 1, now, &held));
    assert_int_equal(held, 2);
    assert_false(newcomers_pass(t, key, &g, 1, now, &held));
    assert_int_equal(held, 0); /* whoever asks first takes them along */
    newcomers_put_back(t, key, 2);
    assert_false(newcomers_pass(t, key, &g, 1, now, &held));
    assert_int_equal(held, 2);
    newcomers_known(t, key, 3 * SECOND, now);
    assert_false(newcomers_pass(t, key, &g, 1, now + 2 * SECOND, &held));
    assert_true(
        newcomers_pass(t, key, &g, 1, now + 4 * SECOND, &held)); /* Redis has forgotten it: new again */
    newcomers_free(t);
}

static void slow_rules_remember_longer(void **state)
{
    struct newcomers *t = newcomers_new(1024);
    struct gcra g;
    unsigned held = 0;
    int64_t now = 50 * SECOND;
    assert_true(gcra_init(&g, 60, 3600ull * SECOND, 30, 0)); /* one a minute: 20 minutes a gateway */
    assert_true(newcomers_pass(t, key, &g, 3, now, &held));
    assert_true(newcomers_pass(t, key, &g, 3, now + 600ll * SECOND, &held));
    assert_false(newcomers_pass(t, key, &g, 3, now + 3599ll * SECOND, &held));
    assert_int_equal(held, 2);
    newcomers_free(t);
}

static void a_flood_of_sources_is_bounded_and_passes_by(void **state)
{
    struct newcomers *t = newcomers_new(1024);
    struct gcra g = rule(50, 100);
    unsigned held = 0;
    for (uint64_t i = 0; i < 100000; i++) {
        struct limit_key k = {.lo = i * 0x9e3779b97f4a7c15u, .hi = i * 0xc2b2ae3d27d4eb4fu};
        assert_true(newcomers_pass(t, k, &g, 1, 50 * SECOND, &held));
    }
    newcomers_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(size_follows_rate_burst_and_gateways),
        cmocka_unit_test(a_busy_key_asks_once_and_is_served),
        cmocka_unit_test(a_quiet_key_never_asks),
        cmocka_unit_test(the_third_request_pays_for_all),
        cmocka_unit_test(slow_rules_remember_longer),
        cmocka_unit_test(a_flood_of_sources_is_bounded_and_passes_by),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
