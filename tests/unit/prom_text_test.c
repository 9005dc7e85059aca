#include "tests/unit/unit.h"

#include "status/prom_text.h"

static const char text[] = "# HELP a_total Things.\n"
                           "# TYPE a_total counter\n"
                           "a_total{result=\"ok\",hook=\"x}y\"} 3\n"
                           "a_total{hook=\"z\",result=\"ok\"} 4.5 1700000000000\n"
                           "a_total{result=\"okay\"} 100\n"
                           "a_total{result=\"failed\"} NaN\n"
                           "a_total_more 7\n"
                           "plain 12\n"
                           "broken{x=\"1\" 5\n"
                           "empty \n"
                           "last 1e3";

static void sums_what_matches_exactly(void **state)
{
    double v = -1;
    struct str s = str_from(text);
    assert_true(prom_text_sum(s, "a_total", "result=\"ok\"", &v));
    assert_true(v == 7.5);
    assert_true(prom_text_sum(s, "a_total", NULL, &v));
    assert_true(v == 107.5);
    assert_true(prom_text_sum(s, "plain", NULL, &v));
    assert_true(v == 12);
    assert_true(prom_text_sum(s, "last", NULL, &v));
    assert_true(v == 1000);
}

static void leaves_out_alone_when_nothing_matches(void **state)
{
    double v = -1;
    struct str s = str_from(text);
    assert_false(prom_text_sum(s, "a_total", "result=\"failed\"", &v)); /* not a number */
    assert_false(prom_text_sum(s, "a_total", "result=\"o\"", &v));
    assert_false(prom_text_sum(s, "broken", NULL, &v));
    assert_false(prom_text_sum(s, "empty", NULL, &v));
    assert_false(prom_text_sum(s, "a", NULL, &v));
    assert_false(prom_text_sum(STR(""), "a", NULL, &v));
    assert_true(v == -1);
}

static void walks_over_samples_and_nothing_else(void **state)
{
    struct str rest = str_from(text);
    struct prom_sample s;
    unsigned n = 0;
    while (prom_text_next(&rest, &s)) {
        n++;
    }
    assert_int_equal(n, 6);
    assert_true(str_is(s.name, "last") && s.labels.n == 0 && s.value == 1000);
}

static void a_label_ends_at_its_own_quote(void **state)
{
    struct str v = STR("untouched");
    struct str labels = STR("worker=\"a\\\",b=\\\"c\",kind=\"x=y\"");
    assert_true(prom_label(labels, "kind", &v) && str_is(v, "x=y"));
    assert_true(prom_label(labels, "worker", &v) && str_is(v, "a\\\",b=\\\"c"));
    assert_false(prom_label(labels, "b", &v));
    assert_false(prom_label(STR("kind=\"open"), "kind", &v));
    assert_false(prom_label(STR("kind=\"open\\"), "kind", &v));
    assert_false(prom_label(STR("kind"), "kind", &v));
    assert_false(prom_label(STR(""), "kind", &v));
    assert_true(str_is(v, "a\\\",b=\\\"c"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_what_matches_exactly),
        cmocka_unit_test(leaves_out_alone_when_nothing_matches),
        cmocka_unit_test(walks_over_samples_and_nothing_else),
        cmocka_unit_test(a_label_ends_at_its_own_quote),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
