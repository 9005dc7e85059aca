#include "tests/unit/unit.h"

#include <stdlib.h>

#include "status/notice.h"

static struct board *b;

static int setup(void **state)
{
    b = malloc(sizeof *b);
    board_init(b, "T", "https://status.test", 30000, 1000);
    return 0;
}

static int teardown(void **state)
{
    board_clear(b);
    free(b);
    return 0;
}

static bool apply(int64_t id, const char *body)
{
    struct notice n;
    struct err err;
    assert_int_equal(notice_parse(id, 1000 * id, str_from(body), &n, &err), 0);
    bool changed = notice_apply(b, &n, 1000 * id);
    notice_clear(&n);
    return changed;
}

static const char mainland[] = "{\"policy\":\"mainland-phone-only\",\"state\":\"restricted\",\"messages\":"
                               "{\"en\":\"Only mainland.\"},\"policy_version\":2}";
static const char open_again[] = "{\"state\":\"open\",\"methods\":[\"phone\"],\"countries\":[]}";

static void says_what_is_limited_and_that_users_are_unaffected(void **state)
{
    assert_true(apply(2, mainland));
    assert_int_equal(b->book.count, 1);
    const struct incident *i = b->book.items[0];
    assert_int_equal(i->origin, INCIDENT_FROM_POLICY);
    assert_int_equal(i->status, INCIDENT_IDENTIFIED);
    assert_string_equal(i->name.of[PROBLEM_LANG_EN], "Sign-up: limited to mainland China phone numbers");
    assert_non_null(strstr(i->updates[0].body.of[PROBLEM_LANG_EN], "Existing users are unaffected"));
    assert_string_equal(i->name.of[PROBLEM_LANG_ZH_HANS], "注册：仅限中国大陆手机号");
    assert_int_equal(b->components[0].policy, COMPONENT_DEGRADED);
    assert_int_equal(i->started_ms, 2000);
    assert_string_equal(i->components[0], b->components[0].code);
}

static void the_same_row_is_told_once(void **state)
{
    assert_true(apply(2, mainland));
    assert_false(apply(2, mainland));
    assert_int_equal(b->book.items[0]->update_count, 1);
}

static void a_change_updates_and_opening_resolves(void **state)
{
    apply(2, mainland);
    assert_true(apply(
        3, "{\"state\":\"closed\",\"messages\":{\"en\":\"Back tomorrow.\",\"zh-Hans\":\"明天恢复。\"}}"));
    const struct incident *i = b->book.items[0];
    assert_int_equal(b->book.count, 1);
    assert_string_equal(i->name.of[PROBLEM_LANG_EN], "Sign-up: paused");
    assert_non_null(strstr(i->updates[1].body.of[PROBLEM_LANG_EN], "Back tomorrow."));
    assert_non_null(strstr(i->updates[1].body.of[PROBLEM_LANG_ZH_HANS], "明天恢复。"));
    assert_int_equal(b->components[0].policy, COMPONENT_PARTIAL_OUTAGE);
    assert_true(apply(4, open_again));
    assert_int_equal(i->status, INCIDENT_RESOLVED);
    assert_int_equal(i->resolved_ms, 4000);
    assert_int_equal(b->components[0].policy, COMPONENT_OPERATIONAL);
    assert_false(apply(4, open_again));
    apply(5, mainland);
    assert_int_equal(b->book.count, 2);
}

static void open_from_the_start_says_nothing(void **state)
{
    assert_false(apply(1, open_again));
    assert_int_equal(b->book.count, 0);
}

static void one_country_is_as_good_as_the_preset(void **state)
{
    apply(2, "{\"policy\":\"mine\",\"state\":\"restricted\",\"countries\":[\"CN\"]}");
    assert_string_equal(b->book.items[0]->name.of[PROBLEM_LANG_EN],
                        "Sign-up: limited to mainland China phone numbers");
    apply(3, "{\"policy\":\"mine\",\"state\":\"restricted\",\"countries\":[\"CN\",\"SG\"]}");
    assert_string_equal(b->book.items[0]->name.of[PROBLEM_LANG_EN], "Sign-up: limited for now");
}

static void other_bodies_are_refused(void **state)
{
    struct notice n;
    struct err err;
    const char *bad[] = {"", "[]", "{}", "{\"state\":\"ajar\"}", "{\"state\":1}", "{\"state\":\"open\""};
    for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++) {
        assert_int_not_equal(notice_parse(1, 1, str_from(bad[k]), &n, &err), 0);
        notice_clear(&n);
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(says_what_is_limited_and_that_users_are_unaffected),
        TEST(the_same_row_is_told_once),
        TEST(a_change_updates_and_opening_resolves),
        TEST(open_from_the_start_says_nothing),
        TEST(one_country_is_as_good_as_the_preset),
        TEST(other_bodies_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
