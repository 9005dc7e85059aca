/* gateway/failure_bucket: so many failures at once, then one a period; addresses apart, /64 together. */
#include "gateway/failure_bucket.h"

#include "tests/unit/unit.h"

enum { BURST = 3, PERIOD_MS = 1000 };
static struct failure_bucket bucket;

static struct addr at(const char *text)
{
    struct addr a;
    assert_true(addr_parse(str_from(text), &a));
    return a;
}

static unsigned failures_left(const char *text, uint64_t now_ms)
{
    struct addr a = at(text);
    unsigned n = 0;
    while (n < 100 && failure_bucket_has(&bucket, &a, BURST, PERIOD_MS, now_ms)) {
        failure_bucket_charge(&bucket, &a, PERIOD_MS, now_ms);
        n++;
    }
    return n;
}

static void test_burst_then_one_a_period(void **state)
{
    memset(&bucket, 0, sizeof bucket);
    assert_int_equal(failures_left("192.0.2.1", 5000), BURST);
    assert_int_equal(failures_left("192.0.2.1", 5999), 0);
    assert_int_equal(failures_left("192.0.2.1", 6000), 1);
    assert_int_equal(failures_left("192.0.2.1", 60000), BURST);
}

static void test_addresses_are_apart_and_a_64_is_one(void **state)
{
    memset(&bucket, 0, sizeof bucket);
    assert_int_equal(failures_left("2001:db8::1", 5000), BURST);
    assert_int_equal(failures_left("2001:db8::ffff", 5000), 0);
    assert_int_equal(failures_left("192.0.2.2", 5000), BURST);
}

static void test_spare_checks_are_so_many_a_second(void **state)
{
    memset(&bucket, 0, sizeof bucket);
    for (uint64_t now_ms = 5000; now_ms < 7000; now_ms += 1000) {
        assert_true(failure_bucket_take_spare(&bucket, 2, now_ms));
        assert_true(failure_bucket_take_spare(&bucket, 2, now_ms + 500));
        assert_false(failure_bucket_take_spare(&bucket, 2, now_ms + 999));
    }
    assert_false(failure_bucket_take_spare(&bucket, 0, 9000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_burst_then_one_a_period),
        cmocka_unit_test(test_addresses_are_apart_and_a_64_is_one),
        cmocka_unit_test(test_spare_checks_are_so_many_a_second),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
