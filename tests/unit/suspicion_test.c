/* The score is the sum of what is listed, and each signal adds exactly its weight. */
#include "tests/unit/unit.h"

#include <stdlib.h>

#include "base/id.h"
#include "ratelimit/suspicion.h"

struct root {
    struct suspicion_conf suspicion;
};
static const struct conf_entry root_entries[] = {{.name = "suspicion",
                                                  .type = CONF_SECTION,
                                                  CONF_FIELD(struct root, suspicion),
                                                  .section = &suspicion_conf_section}};
static const struct conf_section root_section = {
    .entries = root_entries, .count = 1, .size = sizeof(struct root)};

/* The configuration as shipped, with a weight for the one signal that ships without; set up once. */
static struct conf *shipped_file;

static int set_up(void **state)
{
    struct err err = {0};
    return conf_parse(STR("suspicion: {weights: {attestation: 20}}"), "t", &root_section, &shipped_file,
                      &err);
}

static int tear_down(void **state)
{
    conf_unref(shipped_file);
    return 0;
}

static const struct suspicion_conf *shipped(void)
{
    return &((const struct root *)conf_root(shipped_file))->suspicion;
}

static struct suspicion_facts quiet(void)
{
    return (struct suspicion_facts){
        .counts = {.is_whole = true, .of_address = 1, .of_network = 1, .of_prefix = 1}};
}

/* Facts that make one signal speak and no other. */
static struct suspicion_facts speaking(enum suspicion_signal s)
{
    const struct suspicion_conf *c = shipped();
    struct suspicion_facts f = quiet();
    switch (s) {
    case SUSPICION_JA4_ACCOUNTS:
        f.counts.ja4_numbers = c->ja4_numbers + 1;
        break;
    case SUSPICION_PREFIX_HEAT:
        f.counts.of_prefix = c->prefix_requests + 1;
        break;
    case SUSPICION_FAILURE_RATIO:
        f.counts.of_network = 101;
        f.counts.verified = c->failure_percent - 1;
        break;
    case SUSPICION_ATTESTATION:
        f.is_unattested = true;
        break;
    case SUSPICION_VELOCITY:
        f.counts.of_address = c->velocity_requests + 1;
        break;
    case SUSPICION_DISPOSABLE_EMAIL:
        f.is_disposable = true;
        break;
    case SUSPICION_HOSTING_ASN:
        f.asn = 16509;
        break;
    case SUSPICION_HONEYPOT:
        f.counts.is_trapped = true;
        break;
    case SUSPICION_RISK_HOOK:
    case SUSPICION_SIGNALS:
        break;
    }
    return f;
}

static void nothing_speaks_about_a_person(void **state)
{
    struct suspicion_score s;
    struct suspicion_facts f = quiet();
    suspicion_judge(shipped(), &f, &s);
    assert_int_equal(s.total, 0);
    assert_int_equal(s.count, 0);
    assert_int_equal(s.verdict, SUSPICION_ALLOW);
    assert_false(s.is_blind);
}

static void each_signal_adds_exactly_its_weight(void **state)
{
    for (int i = 0; i < SUSPICION_RISK_HOOK; i++) {
        struct suspicion_score s;
        struct suspicion_facts f = speaking((enum suspicion_signal)i);
        suspicion_judge(shipped(), &f, &s);
        assert_int_equal(s.count, 1);
        assert_int_equal(s.items[0].signal, i);
        assert_int_equal(s.items[0].points, shipped()->weights.of[i]);
        assert_int_equal(s.total, shipped()->weights.of[i]);
    }
}

/* Its points are its own: what it said, or what its silence counts. */
static void the_risk_hook_adds_what_it_said(void **state)
{
    struct suspicion_score s;
    struct suspicion_facts f = quiet();
    f.risk_points = f.risk_said = 35;
    f.risk_most = 50;
    suspicion_judge(shipped(), &f, &s);
    assert_int_equal(s.count, 1);
    assert_int_equal(s.items[0].signal, SUSPICION_RISK_HOOK);
    assert_int_equal(s.items[0].points, 35);
    assert_int_equal(s.items[0].seen, 35);
    assert_int_equal(s.items[0].limit, 50);
    assert_int_equal(s.verdict, SUSPICION_CHALLENGE);
    f.risk_points = f.risk_said = 0;
    suspicion_judge(shipped(), &f, &s);
    assert_int_equal(s.count, 0);
    f.risk_points = 7; /* it was silent */
    suspicion_judge(shipped(), &f, &s);
    assert_int_equal(s.total, 7);
    assert_int_equal(s.items[0].seen, 0);
}

/* At the number it is measured by a signal is silent, one past it speaks. */
static void limits_are_the_last_good_number(void **state)
{
    const struct suspicion_conf *c = shipped();
    struct suspicion_score s;
    struct suspicion_facts f = quiet();
    f.counts.ja4_numbers = c->ja4_numbers;
    f.counts.of_prefix = c->prefix_requests;
    f.counts.of_address = c->velocity_requests;
    f.counts.of_network = c->failure_requests;
    f.asn = 4134;
    suspicion_judge(c, &f, &s);
    assert_int_equal(s.total, 0);
    f.counts.of_network = 101;
    f.counts.verified = c->failure_percent;
    suspicion_judge(c, &f, &s);
    assert_int_equal(s.total, 0);
    f.counts.verified = UINT32_MAX; /* codes of before the window */
    suspicion_judge(c, &f, &s);
    assert_int_equal(s.total, 0);
}

static uint32_t drawn(uint32_t below)
{
    return id_random_below(below);
}

static void total_is_the_sum_of_what_is_listed(void **state)
{
    for (int round = 0; round < 20000; round++) {
        struct suspicion_conf c = *shipped();
        for (int i = 0; i < SUSPICION_SIGNALS; i++) {
            c.weights.of[i] = drawn(3) ? drawn(1001) : 0;
        }
        uint32_t risk = c.weights.of[SUSPICION_RISK_HOOK];
        struct suspicion_facts f = {.counts = {.is_whole = drawn(2),
                                               .of_address = drawn(20),
                                               .of_network = drawn(40),
                                               .verified = drawn(40),
                                               .ja4_numbers = drawn(80),
                                               .of_prefix = drawn(50),
                                               .is_trapped = drawn(2)},
                                    .asn = drawn(2) ? 16509 : 4134,
                                    .is_unattested = drawn(2),
                                    .is_disposable = drawn(2),
                                    .has_trap_field = drawn(2),
                                    .risk_points = risk,
                                    .risk_said = risk,
                                    .risk_most = 1000};
        struct suspicion_score s;
        suspicion_judge(&c, &f, &s);
        uint32_t sum = 0;
        bool is_seen[SUSPICION_SIGNALS] = {false};
        for (unsigned i = 0; i < s.count; i++) {
            assert_false(is_seen[s.items[i].signal]);
            is_seen[s.items[i].signal] = true;
            assert_true(s.items[i].points > 0 && s.items[i].points == c.weights.of[s.items[i].signal]);
            sum += s.items[i].points;
        }
        assert_int_equal(s.total, sum);
        bool denies = s.total >= c.deny_at && f.counts.is_whole;
        assert_int_equal(s.verdict, denies                      ? SUSPICION_DENY
                                    : s.total >= c.hard_at      ? SUSPICION_CHALLENGE_HARD
                                    : s.total >= c.challenge_at ? SUSPICION_CHALLENGE
                                                                : SUSPICION_ALLOW);
    }
}

static void nobody_is_denied_without_redis(void **state)
{
    struct suspicion_score s;
    struct suspicion_facts f = {
        .asn = 16509, .is_unattested = true, .is_disposable = true, .has_trap_field = true};
    suspicion_judge(shipped(), &f, &s);
    assert_true(s.total >= shipped()->deny_at && s.is_blind);
    assert_int_equal(s.verdict, SUSPICION_CHALLENGE_HARD);
    f.counts.is_whole = true;
    suspicion_judge(shipped(), &f, &s);
    assert_int_equal(s.verdict, SUSPICION_DENY);
    struct suspicion_conf c = *shipped();
    c.deny_at = 0;
    suspicion_judge(&c, &f, &s);
    assert_int_equal(s.verdict, SUSPICION_CHALLENGE_HARD);
}

static void listed_as_json(void **state)
{
    struct suspicion_score s;
    struct suspicion_facts f = speaking(SUSPICION_VELOCITY);
    f.asn = 16509;
    suspicion_judge(shipped(), &f, &s);
    struct buf out;
    buf_init(&out, 1024);
    struct json_writer w = {.out = &out};
    suspicion_write_items(&s, &w);
    assert_string_equal(out.p, "[{\"signal\":\"velocity\",\"points\":20,\"seen\":6,\"limit\":5},"
                               "{\"signal\":\"hosting_asn\",\"points\":20,\"seen\":16509}]");
    buf_clear(&out);
}

static void configuration_is_checked(void **state)
{
    static const struct {
        const char *text, *error;
    } rows[] = {
        {"suspicion: {hard_at: 10}", "suspicion.hard_at: must not be below suspicion.challenge_at (30)"},
        {"suspicion: {deny_at: 50}", "suspicion.deny_at: must not be below suspicion.hard_at (60)"},
        {"suspicion: {hosting_asns: [AS1]}", "\"AS1\" is no number of an autonomous system"},
        {"suspicion: {hosting_asns: [0]}", "\"0\" is no number of an autonomous system"},
        {"suspicion: {trap_paths: [wp-login.php]}", "\"wp-login.php\" is no path"},
        {"suspicion: {trap_paths: [/]}", "\"/\" is no path"},
        {"suspicion: {weights: {velocity: 1001}}", "suspicion.weights.velocity"},
        {"suspicion: {weights: {speed: 1}}", "speed"},
        {"suspicion: {mode: on}", "mode"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct conf *c = NULL;
        struct err err = {0};
        assert_int_equal(conf_parse(str_from(rows[i].text), "t", &root_section, &c, &err), ERR_INVALID);
        if (!strstr(err.msg, rows[i].error)) {
            fail_msg("%s: %s", rows[i].text, err.msg);
        }
    }
    struct conf *c = NULL;
    struct err err = {0};
    assert_int_equal(
        conf_parse(STR("suspicion: {deny_at: 0, weights: {velocity: 0}}"), "t", &root_section, &c, &err), 0);
    assert_int_equal(((const struct root *)conf_root(c))->suspicion.weights.of[SUSPICION_VELOCITY], 0);
    conf_unref(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_speaks_about_a_person),
        cmocka_unit_test(each_signal_adds_exactly_its_weight),
        cmocka_unit_test(the_risk_hook_adds_what_it_said),
        cmocka_unit_test(limits_are_the_last_good_number),
        cmocka_unit_test(total_is_the_sum_of_what_is_listed),
        cmocka_unit_test(nobody_is_denied_without_redis),
        cmocka_unit_test(listed_as_json),
        cmocka_unit_test(configuration_is_checked),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
