#include "tests/unit/unit.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/err.h"

static void grows_and_stays_terminated(void **state)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    assert_string_equal(b.p, "");
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(buf_addf(&b, "%d,", i), 0);
    }
    assert_int_equal(strlen(b.p), b.n);
    buf_consume(&b, 2);
    assert_memory_equal(b.p, "1,2,", 4);
    buf_truncate(&b);
    assert_string_equal(b.p, "");
    buf_add_u64(&b, 0);
    buf_add_char(&b, ' ');
    buf_add_u64(&b, UINT64_MAX);
    buf_add_str(&b, STR("!"));
    buf_add_cstr(&b, "?");
    assert_string_equal(b.p, "0 18446744073709551615!?");
    buf_clear(&b);
    assert_int_equal(b.max, 1 << 20);
}

static void the_ceiling_is_exact_and_sticks(void **state)
{
    struct buf b;
    buf_init(&b, 5);
    assert_int_equal(buf_add(&b, "12345", 5), 0);
    assert_int_equal(buf_add_char(&b, '6'), ERR_LIMIT);
    assert_string_equal(b.p, "12345");
    buf_consume(&b, 5);
    assert_int_equal(buf_add_char(&b, '6'), ERR_LIMIT);
    assert_int_equal(buf_addf(&b, "%s", ""), ERR_LIMIT);
    assert_null(buf_reserve(&b, 0));
    assert_true(b.overflowed);
    buf_truncate(&b);
    assert_int_equal(buf_addf(&b, "%05d", 7), 0);
    assert_string_equal(b.p, "00007");
    buf_clear(&b);
    buf_init(&b, 0);
    assert_int_equal(buf_add(&b, "", 0), 0);
    assert_int_equal(buf_addf(&b, "%s", ""), 0);
    assert_int_equal(buf_add_char(&b, 'x'), ERR_LIMIT);
    buf_clear(&b);
}

static void take_moves(void **state)
{
    struct buf b;
    size_t n;
    buf_init(&b, SIZE_MAX);
    char *p = buf_take(&b, &n);
    assert_int_equal(n, 0);
    assert_string_equal(p, "");
    free(p);
    memcpy(buf_reserve(&b, 3), "abc", 3);
    buf_commit(&b, 3);
    p = buf_take(&b, NULL);
    assert_string_equal(p, "abc");
    assert_int_equal(b.n, 0);
    free(p);
    buf_clear(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_and_stays_terminated),
        cmocka_unit_test(the_ceiling_is_exact_and_sticks),
        cmocka_unit_test(take_moves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
