/* The set of ended sessions: knows them, forgets in time, survives growth. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "auth/revoked.h"

static void knows_and_forgets(void **state)
{
    struct revoked *r = revoked_new(100);
    struct uuid a = uuid_v7(), b = uuid_v7(), c = uuid_v7();
    assert_true(revoked_add(r, &a, 1000, 1000));
    assert_false(revoked_add(r, &a, 1000, 1001)); /* the overlap of polls brings it again */
    assert_true(revoked_add(r, &b, 1050, 1050));
    assert_true(revoked_has(r, &a));
    assert_false(revoked_has(r, &c));
    assert_true(revoked_add(r, &c, 1120, 1120));
    assert_false(revoked_has(r, &a));
    assert_true(revoked_has(r, &b));
    assert_false(revoked_add(r, &a, 1000, 1120)); /* too old to matter */
    assert_int_equal(revoked_count(r), 2);
    revoked_free(r);
}

static void grows(void **state)
{
    enum { MANY = 5000 };
    struct revoked *r = revoked_new(100);
    struct uuid *all = malloc(MANY * sizeof *all);
    for (unsigned i = 0; i < MANY; i++) {
        all[i] = uuid_v7();
        assert_true(revoked_add(r, &all[i], 10, 10));
    }
    for (unsigned i = 0; i < MANY; i++) {
        assert_true(revoked_has(r, &all[i]));
    }
    struct uuid other = uuid_v7();
    assert_true(revoked_add(r, &other, 500, 500)); /* drops all the rest at once */
    assert_int_equal(revoked_count(r), 1);
    free(all);
    revoked_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(knows_and_forgets), cmocka_unit_test(grows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
