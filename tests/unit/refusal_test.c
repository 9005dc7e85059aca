/* Which refusals are kept: a minute's worth at once, then evenly, and none is forgotten. */
#include "tests/unit/unit.h"

#include "auth/refusal.h"

static void keeps_a_minutes_worth_then_evenly(void **state)
{
    struct refusal_sampler s = {0};
    int64_t stands_for = 0, sum = 0;
    unsigned kept = 0;
    for (unsigned i = 0; i < 1000; i++) { /* a thousand within the same millisecond */
        if (refusal_sampler_take(&s, 60, 5000, &stands_for)) {
            assert_int_equal(stands_for, 1);
            kept++;
        }
    }
    assert_int_equal(kept, 60);
    assert_false(refusal_sampler_take(&s, 60, 5999, &stands_for));
    assert_true(refusal_sampler_take(&s, 60, 6000, &stands_for));
    assert_int_equal(stands_for, 942);
    for (uint64_t now = 6001; now <= 66000; now++) { /* one a millisecond for a minute */
        if (refusal_sampler_take(&s, 60, now, &stands_for)) {
            assert_int_equal(stands_for, 1000);
            sum += stands_for;
        }
    }
    assert_int_equal(sum, 60000);
}

static void none_is_none_and_a_pause_fills_the_bucket(void **state)
{
    struct refusal_sampler s = {0};
    int64_t stands_for;
    assert_false(refusal_sampler_take(&s, 0, 1, &stands_for));
    unsigned kept = 0;
    for (uint64_t minute = 1; minute <= 3; minute++) {
        for (unsigned i = 0; i < 10; i++) {
            kept += refusal_sampler_take(&s, 7, minute * 600000, &stands_for);
        }
    }
    assert_int_equal(kept, 21);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_a_minutes_worth_then_evenly),
        cmocka_unit_test(none_is_none_and_a_pause_fills_the_bucket),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
