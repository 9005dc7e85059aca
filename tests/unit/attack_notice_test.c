#include "tests/unit/unit.h"

#include <stdlib.h>

#include "status/attack_notice.h"
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

static bool apply(int64_t id, int level)
{
    char body[40];
    struct attack_notice n;
    struct err err;
    snprintf(body, sizeof body, "{\"level\":\"A%d\",\"before\":\"A0\"}", level);
    assert_int_equal(attack_notice_parse(id, 1000 * id, str_from(body), &n, &err), 0);
    return attack_notice_apply(b, &n, 1000 * id);
}

static void each_step_is_told_in_three_languages_until_it_is_over(void **state)
{
    assert_true(apply(2, 1));
    const struct incident *i = b->book.items[0];
    assert_int_equal(i->origin, INCIDENT_FROM_ATTACK);
    assert_string_equal(i->name.of[PROBLEM_LANG_EN], "Protection against automated sign-ups: level 1 of 4");
    assert_non_null(strstr(i->updates[0].body.of[PROBLEM_LANG_EN], "Existing users are unaffected"));
    assert_int_equal(i->component_count, 1);
    for (int level = 2; level <= 4; level++) {
        assert_true(apply(level + 1, level));
        for (int lang = 0; lang < STATUS_LANGS; lang++) { /* none says what another did */
            assert_string_not_equal(i->updates[level - 1].body.of[lang], i->updates[level - 2].body.of[lang]);
        }
    }
    assert_string_equal(i->name.of[PROBLEM_LANG_ZH_HANS], "针对自动注册的防护：第 4 级（共 4 级）");
    assert_string_equal(i->name.of[PROBLEM_LANG_ZH_HANT], "針對自動註冊的防護：第 4 級（共 4 級）");
    assert_int_equal(i->component_count, 2); /* A4 is about log-in too */
    assert_true(apply(6, 0));
    assert_int_equal(i->status, INCIDENT_RESOLVED);
    assert_int_equal(b->book.count, 1);
    assert_true(apply(7, 1)); /* another attack, another incident */
    assert_int_equal(b->book.count, 2);
}

static void the_same_row_is_told_once(void **state)
{
    assert_true(apply(2, 2));
    assert_false(apply(2, 2));
    assert_int_equal(b->book.items[0]->update_count, 1);
}

static void quiet_from_the_start_says_nothing(void **state)
{
    assert_false(apply(1, 0));
    assert_int_equal(b->book.count, 0);
}

static void the_policys_notice_stands_beside_it(void **state)
{
    struct notice n;
    struct err err;
    apply(2, 2);
    assert_int_equal(notice_parse(3, 3000, STR("{\"state\":\"restricted\"}"), &n, &err), 0);
    assert_true(notice_apply(b, &n, 3000));
    notice_clear(&n);
    assert_int_equal(b->book.count, 2);
    apply(4, 0);
    assert_int_equal(incident_book_open_count(&b->book), 1);
}

static void other_bodies_are_refused(void **state)
{
    struct attack_notice n;
    struct err err;
    const char *bad[] = {
        "", "[]", "{}", "{\"level\":2}", "{\"level\":\"A5\"}", "{\"level\":\"A22\"}", "{\"level\":\"A2\""};
    for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++) {
        assert_int_not_equal(attack_notice_parse(1, 1, str_from(bad[k]), &n, &err), 0);
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(each_step_is_told_in_three_languages_until_it_is_over),
        TEST(the_same_row_is_told_once),
        TEST(quiet_from_the_start_says_nothing),
        TEST(the_policys_notice_stands_beside_it),
        TEST(other_bodies_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
