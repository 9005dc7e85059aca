#include "tests/unit/unit.h"

#include <string.h>

#include "status/uptime.h"

static struct uptime u;

static int setup(void **state)
{
    (void)state;
    memset(&u, 0, sizeof u);
    return 0;
}

static void time_is_split_at_midnight(void **state)
{
    (void)state;
    int64_t midnight = 20000LL * UPTIME_DAY_MS;
    uptime_add(&u, COMPONENT_MAJOR_OUTAGE, midnight - 60000, midnight + 120000);
    assert_int_equal(u.count, 2);
    assert_true(uptime_find_day(&u, 19999)->major == 60);
    assert_true(uptime_find_day(&u, 20000)->major == 120);
    uptime_add(&u, COMPONENT_MAJOR_OUTAGE, midnight + 5, midnight); /* the clock went back */
    assert_true(uptime_find_day(&u, 20000)->watched == 120);
}

static void percent_weighs_and_rounds_down(void **state)
{
    (void)state;
    assert_int_equal(uptime_centipercent(&u, 10), -1);
    uptime_add(&u, COMPONENT_OPERATIONAL, 0, UPTIME_DAY_MS);
    assert_int_equal(uptime_centipercent(&u, 0), 10000);
    uptime_add(&u, COMPONENT_MAJOR_OUTAGE, UPTIME_DAY_MS, UPTIME_DAY_MS + 1000);
    assert_int_equal(uptime_centipercent(&u, 1), 9999); /* 99.9988 never shows as 100 */
    setup(NULL);
    uptime_add(&u, COMPONENT_OPERATIONAL, 0, 50000);
    uptime_add(&u, COMPONENT_PARTIAL_OUTAGE, 50000, 100000);
    assert_int_equal(uptime_centipercent(&u, 0), 8500);
    uptime_add(&u, COMPONENT_DEGRADED, 100000, 200000);
    assert_int_equal(uptime_centipercent(&u, 0), 9250);
}

static void keeps_ninety_days_in_order(void **state)
{
    (void)state;
    for (int32_t day = 0; day < 100; day++) {
        uptime_add(&u, COMPONENT_OPERATIONAL, (int64_t)day * UPTIME_DAY_MS,
                   (int64_t)day * UPTIME_DAY_MS + 1000);
    }
    assert_int_equal(u.count, UPTIME_DAYS);
    assert_int_equal(u.days[0].day, 10);
    assert_int_equal(u.days[UPTIME_DAYS - 1].day, 99);
    uptime_merge_day(&u, &(struct uptime_day){.day = 3, .watched = 5}); /* too old */
    assert_null(uptime_find_day(&u, 3));
    assert_int_equal(u.count, UPTIME_DAYS);
}

static void a_merged_row_wins_when_it_watched_longer(void **state)
{
    (void)state;
    uptime_merge_day(&u, &(struct uptime_day){.day = 7, .watched = 100, .major = 70});
    uptime_merge_day(&u, &(struct uptime_day){.day = 5, .watched = 10});
    uptime_merge_day(&u, &(struct uptime_day){.day = 7, .watched = 50});
    assert_int_equal(u.count, 2);
    assert_int_equal(u.days[0].day, 5);
    assert_true(u.days[1].watched == 100);
    assert_int_equal(uptime_day_status(&u.days[1]), COMPONENT_MAJOR_OUTAGE);
    assert_int_equal(uptime_day_status(&u.days[0]), COMPONENT_OPERATIONAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(time_is_split_at_midnight, setup),
        cmocka_unit_test_setup(percent_weighs_and_rounds_down, setup),
        cmocka_unit_test_setup(keeps_ninety_days_in_order, setup),
        cmocka_unit_test_setup(a_merged_row_wins_when_it_watched_longer, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
