#include "tests/unit/unit.h"

#include <stdlib.h>

#include "ratelimit/prefix_table.h"

enum { MOST = 400, ROUNDS = 300, ASKED = 200 };

static struct addr_prefix prefix_of(const char *text)
{
    struct addr_prefix p;
    assert_true(addr_prefix_parse(str_from(text), &p));
    return p;
}

static uint32_t find(const struct prefix_table *t, const char *text)
{
    struct addr a;
    assert_true(addr_parse(str_from(text), &a));
    return prefix_table_find(t, &a);
}

static void longest_wins_and_names_what_is_around_it(void **state)
{
    const struct addr_prefix p[] = {
        prefix_of("10.0.0.0/8"),    prefix_of("10.1.0.0/16"), prefix_of("10.1.2.3/32"),
        prefix_of("2001:db8::/32"), prefix_of("10.1.0.0/16"), prefix_of("255.255.255.255/32"),
    };
    struct prefix_table *t = prefix_table_new(p, 6);
    assert_int_equal(find(t, "10.0.0.0"), 0);
    assert_int_equal(find(t, "10.255.255.255"), 0);
    assert_int_equal(find(t, "10.1.2.3"), 2);
    assert_int_equal(find(t, "10.1.2.4"), 4); /* given twice: the second is the inner one */
    assert_int_equal(prefix_table_outer(t, 2), 4);
    assert_int_equal(prefix_table_outer(t, 4), 1);
    assert_int_equal(prefix_table_outer(t, 1), 0);
    assert_int_equal(prefix_table_outer(t, 0), PREFIX_NONE);
    assert_int_equal(find(t, "9.255.255.255"), PREFIX_NONE);
    assert_int_equal(find(t, "11.0.0.0"), PREFIX_NONE);
    assert_int_equal(find(t, "255.255.255.255"), 5);
    assert_int_equal(find(t, "2001:db8:ffff::1"), 3);
    assert_int_equal(find(t, "2001:db9::"), PREFIX_NONE);
    prefix_table_free(t);
}

static void nothing_and_everything(void **state)
{
    const struct addr_prefix all = {.bits = 0};
    struct prefix_table *t = prefix_table_new(NULL, 0);
    assert_int_equal(find(t, "::"), PREFIX_NONE);
    assert_int_equal(find(t, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), PREFIX_NONE);
    prefix_table_free(t);
    t = prefix_table_new(&all, 1);
    assert_int_equal(find(t, "::"), 0);
    assert_int_equal(find(t, "192.0.2.1"), 0);
    assert_int_equal(find(t, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), 0);
    prefix_table_free(t);
}

/* Few different bytes, so that prefixes nest and touch. */
static struct addr random_addr(void)
{
    struct addr a;
    for (int i = 0; i < 16; i++) {
        static const uint8_t bytes[] = {0, 1, 0x7f, 0x80, 0xff};
        a.b[i] = bytes[rand() % 5];
    }
    return a;
}

static uint32_t find_by_looking(const struct addr_prefix *p, uint32_t n, const struct addr *a)
{
    uint32_t best = PREFIX_NONE;
    for (uint32_t i = 0; i < n; i++) {
        if (addr_prefix_has(&p[i], a) && (best == PREFIX_NONE || p[i].bits >= p[best].bits)) {
            best = i;
        }
    }
    return best;
}

static void agrees_with_looking_at_all(void **state)
{
    struct addr_prefix p[MOST];
    srand(7);
    for (int round = 0; round < ROUNDS; round++) {
        uint32_t n = (uint32_t)rand() % MOST;
        for (uint32_t i = 0; i < n; i++) {
            struct addr a = random_addr();
            unsigned bits = (unsigned)rand() % 129;
            p[i] = addr_is_v4(&a) ? addr_mask(&a, bits % 33, 0) : addr_mask(&a, 0, bits);
        }
        struct prefix_table *t = prefix_table_new(p, n);
        for (int k = 0; k < ASKED; k++) {
            struct addr a = n > 0 && k % 2 ? p[(uint32_t)rand() % n].addr : random_addr();
            assert_int_equal(prefix_table_find(t, &a), find_by_looking(p, n, &a));
        }
        prefix_table_free(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(longest_wins_and_names_what_is_around_it),
        cmocka_unit_test(nothing_and_everything),
        cmocka_unit_test(agrees_with_looking_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
