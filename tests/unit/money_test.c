#include "tests/unit/unit.h"

#include "base/money.h"
#include "ratelimit/rules.h"

static void sums_are_read_and_written(void **state)
{
    static const struct {
        const char *text;
        uint64_t millionths;
        const char *shown;
    } rows[] = {{"0", 0, "0"},
                {"50", 50000000, "50"},
                {"0.0045", 4500, "0.0045"},
                {"1.000001", 1000001, "1.000001"},
                {"1.10", 1100000, "1.1"},
                {"1000000", 1000000000000, "1000000"}};
    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t got = 0;
        char shown[MONEY_TEXT_MAX];
        assert_true(money_parse(str_from(rows[i].text), &got));
        assert_int_equal(got, rows[i].millionths);
        money_format(got, shown);
        assert_string_equal(shown, rows[i].shown);
    }
}

static void what_is_no_sum_is_refused(void **state)
{
    static const char *const rows[] = {"",          ".",       "1.",  ".5",    "-1", "1,5",
                                       "1.0000001", "1000001", "1e3", "1.2.3", " 1"};
    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t got = 7;
        if (money_parse(str_from(rows[i]), &got) || got != 7) {
            fail_msg("%s was read", rows[i]);
        }
    }
}

static void rules_count_millionths(void **state)
{
    struct err err = {0};
    struct limit_row row = {.name = "m", .by = "all", .at = "sms", .limit = "0.5/1h", .unit = "money"};
    struct limit_rules *rules = limit_rules_new(&row, 1, &err);
    assert_non_null(rules);
    const struct limit_rule *rule = limit_rules_get(rules, 0);
    assert_int_equal(rule->unit, LIMIT_UNIT_MONEY);
    assert_int_equal(rule->gcra.limit, 500000);
    assert_true(rule->is_private);
    limit_rules_unref(rules);
    row.unit = "requests";
    assert_null(limit_rules_new(&row, 1, &err));
    row = (struct limit_row){
        .name = "m", .by = "all", .at = "sms", .limit = "1/1h", .unit = "money", .burst = "x"};
    assert_null(limit_rules_new(&row, 1, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sums_are_read_and_written),
                                       cmocka_unit_test(what_is_no_sum_is_refused),
                                       cmocka_unit_test(rules_count_millionths)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
