#include "tests/unit/unit.h"

#include "gateway/pressure.h"

static void steps_up(void **state)
{
    const uint64_t limit = 1000000;
    assert_int_equal(pressure_next(PRESSURE_NONE, 799000, limit), PRESSURE_NONE);
    assert_int_equal(pressure_next(PRESSURE_NONE, 801000, limit), PRESSURE_IDLE);
    assert_int_equal(pressure_next(PRESSURE_NONE, 901000, limit), PRESSURE_CONNECTIONS);
    assert_int_equal(pressure_next(PRESSURE_IDLE, 951000, limit), PRESSURE_REQUESTS);
    assert_int_equal(pressure_next(PRESSURE_NONE, 5 * limit, limit), PRESSURE_REQUESTS);
}

/* A step is left 5 % lower, and only to the step below it that still holds. */
static void steps_down(void **state)
{
    const uint64_t limit = 1000000;
    assert_int_equal(pressure_next(PRESSURE_REQUESTS, 911000, limit), PRESSURE_REQUESTS);
    assert_int_equal(pressure_next(PRESSURE_REQUESTS, 889000, limit), PRESSURE_CONNECTIONS);
    assert_int_equal(pressure_next(PRESSURE_CONNECTIONS, 861000, limit), PRESSURE_CONNECTIONS);
    assert_int_equal(pressure_next(PRESSURE_CONNECTIONS, 840000, limit), PRESSURE_IDLE);
    assert_int_equal(pressure_next(PRESSURE_IDLE, 761000, limit), PRESSURE_IDLE);
    assert_int_equal(pressure_next(PRESSURE_IDLE, 740000, limit), PRESSURE_NONE);
}

static void without_a_limit_there_is_none(void **state)
{
    assert_int_equal(pressure_next(PRESSURE_REQUESTS, UINT64_MAX, 0), PRESSURE_NONE);
    assert_int_equal(pressure_next(PRESSURE_NONE, 1, 50), PRESSURE_NONE);
}

/* Nobody could look, for want of a descriptor: what was decided stands. */
static void without_a_number_it_stays(void **state)
{
    assert_int_equal(pressure_next(PRESSURE_REQUESTS, 0, 1000000), PRESSURE_REQUESTS);
    assert_int_equal(pressure_next(PRESSURE_IDLE, 0, 1000000), PRESSURE_IDLE);
    assert_int_equal(pressure_next(PRESSURE_NONE, 0, 1000000), PRESSURE_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_up),
        cmocka_unit_test(steps_down),
        cmocka_unit_test(without_a_limit_there_is_none),
        cmocka_unit_test(without_a_number_it_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
