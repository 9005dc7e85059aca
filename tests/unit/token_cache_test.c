#include "tests/unit/unit.h"

#include <stdio.h>

#include "base/token_cache.h"

static struct jws_claims claims_of(unsigned user, unsigned session, int64_t exp)
{
    struct jws_claims c = {.exp = exp};
    c.user.b[0] = (uint8_t)user;
    c.session.b[0] = (uint8_t)session;
    return c;
}

static void add(struct token_cache *c, const char *token, unsigned user, unsigned session, int64_t exp)
{
    struct jws_claims claims = claims_of(user, session, exp);
    token_cache_add(c, str_from(token), &claims);
}

static void finds_only_these_very_bytes(void **state)
{
    struct token_cache *c = token_cache_new(8);
    add(c, "abc", 1, 1, 100);
    assert_int_equal(token_cache_find(c, STR("abc"), 50, 0)->exp, 100);
    assert_null(token_cache_find(c, STR("abd"), 50, 0));
    assert_null(token_cache_find(c, STR("ab"), 50, 0));
    assert_null(token_cache_find(c, STR("abcd"), 50, 0));
    add(c, "abc", 1, 1, 200); /* replaced, not doubled */
    assert_int_equal(token_cache_count(c), 1);
    assert_int_equal(token_cache_find(c, STR("abc"), 150, 0)->exp, 200);
    token_cache_free(c);
}

static void expiry_is_checked_on_each_hit(void **state)
{
    struct token_cache *c = token_cache_new(8);
    add(c, "t", 1, 1, 100);
    assert_non_null(token_cache_find(c, STR("t"), 99, 0));
    assert_null(token_cache_find(c, STR("t"), 100, 0));
    assert_non_null(token_cache_find(c, STR("t"), 100, 10)); /* kept, in case there is grace */
    assert_null(token_cache_find(c, STR("t"), 100 + 3600, 0));
    assert_int_equal(token_cache_count(c), 0);
    token_cache_free(c);
}

static void revocation_drops(void **state)
{
    struct token_cache *c = token_cache_new(8);
    struct jws_claims one = claims_of(1, 1, 0), two = claims_of(2, 3, 0);
    add(c, "a", 1, 1, 100);
    add(c, "b", 1, 1, 100);
    add(c, "c", 1, 2, 100);
    add(c, "d", 2, 3, 100);
    assert_int_equal(token_cache_drop_session(c, &one.session), 2);
    assert_null(token_cache_find(c, STR("a"), 1, 0));
    assert_non_null(token_cache_find(c, STR("c"), 1, 0));
    assert_int_equal(token_cache_drop_user(c, &two.user), 1);
    assert_int_equal(token_cache_count(c), 1);
    token_cache_drop_all(c);
    assert_int_equal(token_cache_count(c), 0);
    token_cache_free(c);
}

static void what_is_used_stays(void **state)
{
    char token[32];
    struct token_cache *c = token_cache_new(64);
    add(c, "hot", 1, 1, 1000);
    for (unsigned i = 0; i < 10000; i++) {
        snprintf(token, sizeof(token), "cold%u", i);
        add(c, token, 2, 2, 1000);
        assert_true(token_cache_count(c) <= 64);
        assert_non_null(token_cache_find(c, STR("hot"), 1, 0));
    }
    assert_null(token_cache_find(c, STR("cold1"), 1, 0));
    token_cache_free(c);
}

static void one_entry_is_enough(void **state)
{
    struct token_cache *c = token_cache_new(1);
    add(c, "a", 1, 1, 100);
    assert_non_null(token_cache_find(c, STR("a"), 1, 0));
    add(c, "b", 1, 1, 100);
    assert_null(token_cache_find(c, STR("a"), 1, 0));
    assert_non_null(token_cache_find(c, STR("b"), 1, 0));
    token_cache_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_only_these_very_bytes),
        cmocka_unit_test(expiry_is_checked_on_each_hit),
        cmocka_unit_test(revocation_drops),
        cmocka_unit_test(what_is_used_stays),
        cmocka_unit_test(one_entry_is_enough),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
