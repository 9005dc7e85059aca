#include "tests/unit/unit.h"

#include "status/ladder.h"

/* One letter a component: o operational, m maintenance, d degraded, p partial, x major. */
static enum ladder_state of(const char *letters)
{
    unsigned counts[COMPONENT_STATUS_COUNT] = {0};
    for (; *letters; letters++) {
        counts[strcspn("omdpx", (char[]){*letters, 0})]++;
    }
    return ladder_of_components(counts);
}

static void follows_the_statuspage_ladder(void **state)
{
    (void)state;
    static const struct {
        const char *components, *indicator, *description;
    } rows[] = {
        {"", "none", "All Systems Operational"},
        {"oooo", "none", "All Systems Operational"},
        {"ooom", "maintenance", "Service Under Maintenance"},
        {"ooodm", "minor", "Partially Degraded Service"},
        {"ddd", "minor", "Degraded System Service"},
        {"oop", "minor", "Minor Service Outage"},
        {"pp", "major", "Partial System Outage"},
        {"ooox", "major", "Partial System Outage"},
        {"px", "major", "Partial System Outage"},
        {"xxx", "critical", "Major System Outage"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_string_equal(ladder_indicator(of(rows[i].components)), rows[i].indicator);
        assert_string_equal(ladder_description(of(rows[i].components), PROBLEM_LANG_EN), rows[i].description);
    }
}

static void is_never_below_an_open_incident(void **state)
{
    (void)state;
    assert_string_equal(ladder_indicator(ladder_raise(of("oo"), IMPACT_MINOR, false)), "minor");
    assert_string_equal(ladder_indicator(ladder_raise(of("oo"), IMPACT_CRITICAL, false)), "critical");
    assert_string_equal(ladder_indicator(ladder_raise(of("xo"), IMPACT_MINOR, false)), "major");
    assert_string_equal(ladder_indicator(ladder_raise(of("oo"), IMPACT_NONE, false)), "none");
}

static void is_never_none_while_blind(void **state)
{
    (void)state;
    assert_string_equal(ladder_indicator(ladder_raise(of("oo"), IMPACT_NONE, true)), "minor");
    assert_string_equal(ladder_indicator(ladder_raise(of("om"), IMPACT_NONE, true)), "minor");
    assert_string_equal(ladder_indicator(ladder_raise(of("xx"), IMPACT_NONE, true)), "critical");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_the_statuspage_ladder),
        cmocka_unit_test(is_never_below_an_open_incident),
        cmocka_unit_test(is_never_none_while_blind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
