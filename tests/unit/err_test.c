#include "tests/unit/unit.h"

#include <string.h>

#include "base/err.h"

static void set_fills_and_returns(void **state)
{
    struct err err;
    assert_int_equal(err_set(&err, ERR_LIMIT, "%s is %d", "depth", 33), ERR_LIMIT);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_string_equal(err.msg, "depth is 33");
    assert_non_null(strstr(err.where, "err_test.c:"));
    assert_int_equal(err_set(NULL, ERR_IO, "no one listens"), ERR_IO);
    char big[1000];
    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    err_set(&err, ERR_IO, "%s", big);
    assert_int_equal(strlen(err.msg), sizeof(err.msg) - 1);
}

static void names(void **state)
{
    assert_string_equal(err_name(0), "ok");
    assert_string_equal(err_name(ERR_NOT_FOUND), "not_found");
    assert_string_equal(err_name(ERR_INTERNAL), "internal");
    assert_string_equal(err_name(1), "unknown");
    assert_string_equal(err_name(-99), "unknown");
}

static void warn_on_counts(void **state)
{
    uint64_t before = err_warn_count();
    assert_true(WARN_ON(before + 1 > before));
    assert_false(WARN_ON(before + 1 == before));
    assert_int_equal(err_warn_count(), before + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(set_fills_and_returns),
        cmocka_unit_test(names),
        cmocka_unit_test(warn_on_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
