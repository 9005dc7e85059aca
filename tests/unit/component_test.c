#include "tests/unit/unit.h"

#include "status/component.h"

enum { STALE_MS = 30000 };

static struct component c;
static uint64_t mono;

static int setup(void **state)
{
    (void)state;
    mono = 1000;
    component_init(&c, COMPONENT_LOGIN, STR(""), 5000);
    return 0;
}

static void observe(const char *outcomes) /* o = ok, s = slow, f = fail; two seconds apart */
{
    for (const char *p = outcomes; *p; p++) {
        mono += 2000;
        component_observe(&c,
                          *p == 'o'   ? PROBE_OK
                          : *p == 's' ? PROBE_SLOW
                                      : PROBE_FAIL,
                          (int64_t)mono, mono);
        component_refresh(&c, STALE_MS, (int64_t)mono, mono);
    }
}

static void is_never_green_before_the_first_result(void **state)
{
    (void)state;
    assert_true(c.is_stale);
    assert_int_not_equal(c.shown, COMPONENT_OPERATIONAL);
    component_refresh(&c, STALE_MS, 1, 1);
    assert_int_not_equal(c.shown, COMPONENT_OPERATIONAL);
    observe("f"); /* one bad result proves no outage, and certainly no health */
    assert_int_not_equal(c.shown, COMPONENT_OPERATIONAL);
    assert_true(c.is_stale);
    setup(NULL);
    observe("o");
    assert_int_equal(c.shown, COMPONENT_OPERATIONAL);
    assert_false(c.is_stale);
}

static void three_of_five_change_it_and_two_do_not(void **state)
{
    (void)state;
    observe("ooooo"
            "ffo");
    assert_int_equal(c.shown, COMPONENT_OPERATIONAL);
    assert_false(component_is_in_doubt(&c));
    observe("f");
    assert_int_equal(c.shown, COMPONENT_MAJOR_OUTAGE);
    setup(NULL);
    observe("ooooo"
            "ffooofoof");
    assert_int_equal(c.shown, COMPONENT_OPERATIONAL);
}

static void recovery_needs_three_good_ones_in_a_row(void **state)
{
    (void)state;
    observe("fff");
    assert_int_equal(c.shown, COMPONENT_MAJOR_OUTAGE);
    observe("oofoo");
    assert_int_equal(c.shown, COMPONENT_MAJOR_OUTAGE);
    assert_true(component_is_in_doubt(&c));
    observe("o");
    assert_int_equal(c.shown, COMPONENT_OPERATIONAL);
}

static void slow_answers_are_degraded_and_an_outage_may_ease_to_it(void **state)
{
    (void)state;
    observe("oooossss");
    assert_int_equal(c.shown, COMPONENT_DEGRADED);
    observe("fff");
    assert_int_equal(c.shown, COMPONENT_MAJOR_OUTAGE);
    observe("sss");
    assert_int_equal(c.shown, COMPONENT_DEGRADED);
}

static void old_results_are_not_trusted(void **state)
{
    (void)state;
    observe("ooooo");
    assert_false(component_refresh(&c, STALE_MS, 1, mono + STALE_MS));
    assert_true(component_refresh(&c, STALE_MS, 1, mono + STALE_MS + 1));
    assert_true(c.is_stale);
    assert_int_equal(c.shown, COMPONENT_DEGRADED);
    observe("o");
    assert_int_equal(c.shown, COMPONENT_OPERATIONAL);
    observe("fff");
    component_refresh(&c, STALE_MS, 1, mono + STALE_MS + 1);
    assert_int_equal(c.shown, COMPONENT_MAJOR_OUTAGE); /* stale never looks better than the last known */
}

static void the_worse_of_probes_and_policy_is_shown(void **state)
{
    (void)state;
    observe("ooo");
    c.policy = COMPONENT_PARTIAL_OUTAGE;
    component_refresh(&c, STALE_MS, 1, mono);
    assert_int_equal(c.shown, COMPONENT_PARTIAL_OUTAGE);
    assert_int_equal(component_fault(&c), COMPONENT_OPERATIONAL); /* no incident, no downtime */
    observe("fff");
    assert_int_equal(c.shown, COMPONENT_MAJOR_OUTAGE);
}

static void codes_are_stable_and_well_formed(void **state)
{
    (void)state;
    struct component again, model;
    component_init(&again, COMPONENT_LOGIN, STR(""), 99);
    component_init(&model, COMPONENT_MODEL, STR("a-model"), 99);
    assert_string_equal(again.code, c.code);
    assert_string_not_equal(model.code, c.code);
    assert_true(short_code_is_valid(str_from(model.code)));
    assert_string_equal(model.key, "model:a-model");
    assert_string_equal(component_name(&model, PROBLEM_LANG_ZH_HANS), "a-model");
    assert_false(short_code_is_valid(STR("ABCDEFGHIJKL")));
    assert_false(short_code_is_valid(STR("abc")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(is_never_green_before_the_first_result, setup),
        cmocka_unit_test_setup(three_of_five_change_it_and_two_do_not, setup),
        cmocka_unit_test_setup(recovery_needs_three_good_ones_in_a_row, setup),
        cmocka_unit_test_setup(slow_answers_are_degraded_and_an_outage_may_ease_to_it, setup),
        cmocka_unit_test_setup(old_results_are_not_trusted, setup),
        cmocka_unit_test_setup(the_worse_of_probes_and_policy_is_shown, setup),
        cmocka_unit_test_setup(codes_are_stable_and_well_formed, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
