#include "tests/unit/unit.h"

#include <string.h>

#include "base/clock.h"

static void formats(void **state)
{
    char iso[CLOCK_ISO_LEN + 1], http[CLOCK_HTTP_LEN + 1];
    clock_format_iso(1795318826123, iso);
    assert_string_equal(iso, "2026-11-22T03:40:26.123Z");
    clock_format_iso(-1, iso);
    assert_string_equal(iso, "1969-12-31T23:59:59.999Z");
    clock_format_iso(INT64_MAX, iso);
    assert_int_equal(strlen(iso), CLOCK_ISO_LEN);
    clock_format_http(784111777, http);
    assert_string_equal(http, "Sun, 06 Nov 1994 08:49:37 GMT");
}

static int64_t parse(const char *s)
{
    int64_t ms = -7;
    return clock_parse_iso(s, strlen(s), &ms) == 0 ? ms : -7;
}

static void parses(void **state)
{
    assert_int_equal(parse("2026-11-22T03:40:26.123Z"), 1795318826123);
    assert_int_equal(parse("2026-11-22T03:40:26Z"), 1795318826000);
    assert_int_equal(parse("2026-11-22T11:40:26.1+08:00"), 1795318826100);
    assert_int_equal(parse("2026-11-21T22:10:26.123456-05:30"), 1795318826123);
    assert_int_equal(parse("2024-02-29T00:00:00Z"), 1709164800000);
    assert_int_equal(parse("2023-02-29T00:00:00Z"), -7);
    assert_int_equal(parse("2026-13-01T00:00:00Z"), -7);
    assert_int_equal(parse("2026-11-22T24:00:00Z"), -7);
    assert_int_equal(parse("2026-11-22T03:40:26"), -7);
    assert_int_equal(parse("2026-11-22T03:40:26.Z"), -7);
    assert_int_equal(parse("2026-11-22T03:40:26Zx"), -7);
    assert_int_equal(parse("2026-11-22 03:40:26Z"), -7);
    assert_int_equal(parse(""), -7);
}

static void tests_move_both_clocks(void **state)
{
    uint64_t mono = clock_mono_ms();
    int64_t wall = clock_wall_s();
    clock_test_advance_ms(3600000);
    assert_in_range(clock_mono_ms() - mono, 3600000, 3660000);
    assert_in_range(clock_wall_s() - wall, 3600, 3660);
    assert_true(clock_mono_us() / 1000 >= mono + 3600000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats),
        cmocka_unit_test(parses),
        cmocka_unit_test(tests_move_both_clocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
