/* gateway/trace: where the time of a request went, also of one that ran for hours. */
#include "gateway/trace.h"

#include "base/http/exchange_impl.h"
#include "tests/unit/unit.h"

static const uint64_t HOUR = 3600000000u;

static void phases_follow_the_states(void **state)
{
    struct http_exchange ex = {.began_us = 1000, .first_byte_us = 1900};
    struct request r = {.ex = &ex, .queue_us = 7};
    uint64_t us[REQUEST_PHASES];
    r.entered_us[REQUEST_BEGUN] = 10;
    r.entered_us[REQUEST_IDENTIFYING] = 20;
    r.entered_us[REQUEST_LIMITING] = 50;
    trace_phases(&r, 2000, us);
    assert_int_equal(us[REQUEST_PHASE_PARSE], 10);
    assert_int_equal(us[REQUEST_PHASE_AUTH], 30);
    assert_int_equal(us[REQUEST_PHASE_BODY], 0);
    assert_int_equal(us[REQUEST_PHASE_LIMIT], 950);
    assert_int_equal(us[REQUEST_PHASE_QUEUE], 7);
    assert_int_equal(us[REQUEST_PHASE_FIRST_BYTE], 900);
    assert_int_equal(us[REQUEST_PHASE_LAST_BYTE], 1000);
}

static void hours_do_not_wrap(void **state)
{
    struct http_exchange ex = {.began_us = 1000, .first_byte_us = 1000 + 2 * HOUR};
    struct request r = {.ex = &ex, .queue_us = 2 * HOUR};
    uint64_t us[REQUEST_PHASES];
    r.entered_us[REQUEST_LIMITING] = 50;
    r.entered_us[REQUEST_HANDLING] = 50 + 3 * HOUR;
    trace_phases(&r, 1000 + 25 * HOUR, us);
    assert_int_equal(us[REQUEST_PHASE_LIMIT], 3 * HOUR);
    assert_int_equal(us[REQUEST_PHASE_QUEUE], 2 * HOUR);
    assert_int_equal(us[REQUEST_PHASE_FIRST_BYTE], 2 * HOUR);
    assert_int_equal(us[REQUEST_PHASE_LAST_BYTE], 25 * HOUR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(phases_follow_the_states),
        cmocka_unit_test(hours_do_not_wrap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
