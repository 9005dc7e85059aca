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

/* Its exp, 0 when it is not there, -1 when it is over. */
static int64_t find(struct token_cache *c, const char *token, int64_t now_s, int64_t slack_s)
{
    const struct jws_claims *claims = NULL;
    switch (token_cache_find(c, str_from(token), now_s, slack_s, &claims)) {
    case TOKEN_CACHE_MISS:
        return 0;
    case TOKEN_CACHE_OVER:
        return -1;
    case TOKEN_CACHE_HIT:
        return claims->exp;
    }
    return 0;
}

static void finds_only_these_very_bytes(void **state)
{
    struct token_cache *c = token_cache_new(8);
    add(c, "abc", 1, 1, 100);
    assert_int_equal(find(c, "abc", 50, 0), 100);
    assert_int_equal(find(c, "abd", 50, 0), 0);
    assert_int_equal(find(c, "ab", 50, 0), 0);
    assert_int_equal(find(c, "abcd", 50, 0), 0);
    add(c, "abc", 1, 1, 200); /* replaced, not doubled */
    assert_int_equal(token_cache_count(c), 1);
    assert_int_equal(find(c, "abc", 150, 0), 200);
    token_cache_free(c);
}

static void expiry_is_checked_on_each_hit(void **state)
{
    struct token_cache *c = token_cache_new(8);
    add(c, "t", 1, 1, 100);
    assert_int_equal(find(c, "t", 99, 0), 100);
    assert_int_equal(find(c, "t", 100, 0), -1);
    assert_int_equal(find(c, "t", 100, 10), 100); /* kept, in case there is grace */
    assert_int_equal(find(c, "t", 100 + 3600, 0), -1);
    assert_int_equal(token_cache_count(c), 0);
    assert_int_equal(find(c, "t", 100 + 3601, 0), -1); /* not there, yet known to be over, */
    assert_int_equal(find(c, "t", 100 + 3601, 7200),
                     0); /* unless there is more grace: it is verified again */
    token_cache_free(c);
}

static void what_is_over_is_known(void **state)
{
    struct token_cache *c = token_cache_new(8);
    token_cache_add_over(c, STR("old"), 100);
    assert_int_equal(token_cache_count(c), 0);
    assert_int_equal(find(c, "old", 105, 5), -1);
    assert_int_equal(find(c, "old", 104, 5), 0); /* a clock that went back: it is verified again */
    assert_int_equal(find(c, "ol", 105, 5), 0);
    assert_int_equal(find(c, "xold", 105, 5), 0);
    add(c, "old", 1, 1, 100); /* taken by grace */
    assert_int_equal(find(c, "old", 105, 10), 100);
    token_cache_drop_all(c); /* with other keys nothing is known of it */
    assert_int_equal(find(c, "old", 105, 5), 0);
    token_cache_free(c);
}

/* Whoever keeps old tokens can make others that are over be verified again, and nothing else. */
static void what_is_over_pushes_out_nothing_good(void **state)
{
    enum { GOOD = 64, OLD = 20000 };
    char token[32];
    struct token_cache *c = token_cache_new(GOOD);
    for (unsigned i = 0; i < GOOD; i++) {
        snprintf(token, sizeof(token), "good%u", i);
        add(c, token, 1, i, 1000);
    }
    for (unsigned i = 0; i < OLD; i++) {
        snprintf(token, sizeof(token), "old%u", i);
        token_cache_add_over(c, str_from(token), 10);
        assert_int_equal(find(c, token, 20, 0), -1);
    }
    for (unsigned i = 0; i < GOOD; i++) {
        snprintf(token, sizeof(token), "good%u", i);
        assert_int_equal(find(c, token, 20, 0), 1000);
    }
    token_cache_free(c);
}

static void all_are_dropped(void **state)
{
    struct token_cache *c = token_cache_new(8);
    add(c, "a", 1, 1, 100);
    add(c, "b", 2, 2, 100);
    token_cache_drop_all(c);
    assert_int_equal(token_cache_count(c), 0);
    assert_int_equal(find(c, "a", 1, 0), 0);
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
        assert_true(find(c, "hot", 1, 0) > 0);
    }
    assert_int_equal(find(c, "cold1", 1, 0), 0);
    token_cache_free(c);
}

static void one_entry_is_enough(void **state)
{
    struct token_cache *c = token_cache_new(1);
    add(c, "a", 1, 1, 100);
    assert_true(find(c, "a", 1, 0) > 0);
    add(c, "b", 1, 1, 100);
    assert_int_equal(find(c, "a", 1, 0), 0);
    assert_true(find(c, "b", 1, 0) > 0);
    token_cache_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_only_these_very_bytes),
        cmocka_unit_test(expiry_is_checked_on_each_hit),
        cmocka_unit_test(what_is_over_is_known),
        cmocka_unit_test(what_is_over_pushes_out_nothing_good),
        cmocka_unit_test(all_are_dropped),
        cmocka_unit_test(what_is_used_stays),
        cmocka_unit_test(one_entry_is_enough),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
