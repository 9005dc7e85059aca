/* Stages of a ramp: what each decides, for whom, and what comes next. */
#include "tests/unit/unit.h"

#include <stdio.h>

#include "auth/policy_ramp.h"

#define TAIL "\"existing_users\":\"unaffected\"}"

static const char mainland[] = "{\"name\":\"old\",\"rules\":[{\"id\":\"cn\",\"when\":{\"phone_country\":["
                               "\"CN\"]},\"effect\":\"allow\"}],"
                               "\"default\":{\"effect\":\"deny\",\"reason\":\"signup_region_not_allowed\"},"
                               "\"messages\":{\"signup_region_not_allowed\":{\"en\":\"old words\"}}," TAIL;
static const char wider[] =
    "{\"name\":\"new\",\"rules\":[{\"id\":\"cn\",\"when\":{\"phone_country\":[\"CN\"]},\"effect\":\"allow\"},"
    "{\"id\":\"virtual\",\"when\":{\"phone_virtual\":true},\"effect\":\"deny\",\"reason\":\"signup_"
    "disabled\"},"
    "{\"id\":\"hk\",\"when\":{\"phone_country\":[\"HK\"]},\"effect\":\"allow\",\"ramp_percent\":50},"
    "{\"id\":\"gb\",\"when\":{\"phone_country\":[\"GB\"]},\"effect\":\"allow\"}],"
    "\"default\":{\"effect\":\"waitlist\"},\"messages\":{\"signup_disabled\":{\"en\":\"no\"}}," TAIL;

static struct policy *read_policy(struct str document)
{
    struct policy *p = NULL;
    struct err err = {0};
    if (policy_parse(document, 1, &p, &err) < 0) {
        fail_msg("%s in " STR_FMT, err.msg, STR_ARG(document));
    }
    return p;
}

static struct policy *stage(const char *before, const char *candidate, uint32_t share)
{
    struct buf out;
    struct err err = {0};
    buf_init(&out, POLICY_DOCUMENT_MAX);
    if (policy_ramp_document(str_from(before), str_from(candidate), share, &out, &err) < 0) {
        fail_msg("%s", err.msg);
    }
    struct policy *p = read_policy(buf_str(&out));
    buf_clear(&out);
    return p;
}

static struct policy_decision decide(const struct policy *p, const char *number, uint32_t ramp)
{
    struct phone phone;
    struct policy_decision d;
    struct policy_facts facts = {.method = POLICY_METHOD_PHONE, .has_ramp = true, .ramp = ramp};
    assert_int_equal(phone_read(str_from(number), PHONE_MODE_STRICT, &phone, NULL), 0);
    facts.phone = &phone;
    policy_decide(p, &facts, &d);
    return d;
}

static void check_one(const struct policy *is, const struct policy *want, const char *number, uint32_t ramp)
{
    struct policy_decision a = decide(is, number, ramp), b = decide(want, number, ramp);
    assert_int_equal(a.effect, b.effect);
    assert_string_equal(a.reason ? a.reason : "", b.reason ? b.reason : "");
}

/* Whoever is within the share is decided as by the candidate, everybody else as before; for every pair of documents. */
static void check_pair(const char *before, const char *candidate)
{
    static const char *const numbers[] = {"+8613800138000", "+8617012345678", "+85251234567", "+447400123456",
                                          "+12025550123"};
    static const uint32_t shares[] = {1, 100, 2500, 9999, 10000};
    struct policy *old = read_policy(str_from(before)), *new = read_policy(str_from(candidate));
    for (unsigned s = 0; s < sizeof shares / sizeof *shares; s++) {
        struct policy *p = stage(before, candidate, shares[s]);
        for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++) {
            check_one(p, new, numbers[i], 0);
            check_one(p, new, numbers[i], shares[s] - 1);
            for (uint32_t ramp = 1; ramp < POLICY_RAMP_WHOLE; ramp += 499) {
                check_one(p, ramp < shares[s] ? new : old, numbers[i], ramp);
            }
            if (shares[s] < POLICY_RAMP_WHOLE) {
                check_one(p, old, numbers[i], shares[s]);
                check_one(p, old, numbers[i], POLICY_RAMP_WHOLE - 1);
            }
        }
        policy_unref(p);
    }
    policy_unref(old);
    policy_unref(new);
}

static void a_share_is_decided_by_the_candidate(void **state)
{
    check_pair(mainland, wider);
    check_pair(wider, mainland);
    check_pair(policy_preset(STR("mainland-phone-only")), policy_preset(STR("open")));
    check_pair(policy_preset(STR("closed")), policy_preset(STR("waitlist")));
}

static void ids_and_names(void **state)
{
    struct policy *p = stage(mainland, wider, 1250);
    assert_string_equal(policy_name(p), "new.ramp-12.5");
    assert_int_equal(policy_state(p), POLICY_STATE_RESTRICTED);
    assert_string_equal(decide(p, "+8613800138000", 9000).rule, "cn"); /* of both: once, for everybody */
    assert_string_equal(decide(p, "+447400123456", 1).rule, "gb");
    assert_string_equal(decide(p, "+12025550123", 1).rule, "default-ramp");
    assert_string_equal(decide(p, "+12025550123", 9000).rule, "default");
    policy_unref(p);
    p = stage(wider, mainland, 100); /* the candidate has less */
    assert_string_equal(decide(p, "+447400123456", 99).rule, "default-ramp");
    assert_string_equal(decide(p, "+447400123456", 100).rule, "gb");
    policy_unref(p);
}

/* Rules of one id that differ: the one of before keeps it, and its count of caps. */
static void an_id_of_both(void **state)
{
    static const char capped[] = "{\"name\":\"n\",\"rules\":[{\"id\":\"cn\",\"when\":{\"phone_country\":["
                                 "\"CN\"]},\"effect\":\"allow\","
                                 "\"caps\":{\"per_day\":5}},{\"id\":\"cn-ramp\",\"when\":{\"phone_country\":["
                                 "\"MO\"]},\"effect\":\"allow\"}],"
                                 "\"default\":{\"effect\":\"deny\",\"reason\":\"signup_busy\"}," TAIL;
    struct policy *p = stage(mainland, capped, 100);
    struct policy_decision d = decide(p, "+8613800138000", 0);
    assert_string_equal(d.rule, "cn-ramp");
    assert_true(d.has_caps);
    assert_string_equal(decide(p, "+85366123456", 0).rule, "cn-ramp-ramp");
    assert_string_equal(decide(p, "+8613800138000", 100).rule, "cn");
    policy_unref(p);
}

static void words_of_both(void **state)
{
    static const char other[] =
        "{\"name\":\"n\",\"rules\":[{\"id\":\"gb\",\"when\":{\"phone_country\":[\"GB\"]},\"effect\":\"deny\","
        "\"reason\":\"signup_disabled\"}],\"default\":{\"effect\":\"deny\",\"reason\":"
        "\"signup_region_not_allowed\"},\"messages\":{\"signup_disabled\":{\"en\":\"no\"},"
        "\"signup_region_not_allowed\":{\"en\":\"new words\"}}," TAIL;
    struct policy *p = stage(mainland, other, 100);
    assert_true(str_is(policy_message(p, "signup_region_not_allowed", 0), "old words"));
    assert_true(str_is(policy_message(p, "signup_disabled", 0), "no"));
    policy_unref(p);
}

static void too_many_rules(void **state)
{
    struct buf many, out;
    struct err err = {0};
    buf_init(&many, 1 << 20);
    buf_init(&out, POLICY_DOCUMENT_MAX);
    buf_add_cstr(&many, "{\"name\":\"m\",\"rules\":[");
    for (int i = 0; i < 999; i++) {
        buf_addf(&many, "%s{\"id\":\"r%d\",\"when\":{},\"effect\":\"allow\"}", i ? "," : "", i);
    }
    buf_add_cstr(&many, "],\"default\":{\"effect\":\"allow\"}," TAIL);
    assert_int_equal(policy_ramp_document(buf_str(&many), str_from(mainland), 100, &out, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "1001"));
    buf_clear(&out);
    buf_clear(&many);
}

static void plans(void **state)
{
    struct err err = {0};
    struct policy_ramp_plan p = policy_ramp_plan_default;
    assert_int_equal(policy_ramp_plan_check(&p, &err), 0);
    p.count = 3;
    assert_int_equal(policy_ramp_plan_check(&p, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "the last one is 100"));
    p = (struct policy_ramp_plan){.stages = {500, 500, 10000}, .count = 3, .every_s = 1};
    assert_int_equal(policy_ramp_plan_check(&p, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "larger"));
    p.stages[0] = 0;
    assert_int_equal(policy_ramp_plan_check(&p, &err), ERR_INVALID);
    p.stages[0] = 1;
    assert_int_equal(policy_ramp_plan_check(&p, &err), 0);
    p.every_s = 0;
    assert_int_equal(policy_ramp_plan_check(&p, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "every_s"));
    p.count = 0;
    assert_int_equal(policy_ramp_plan_check(&p, &err), ERR_INVALID);
    p.count = POLICY_RAMP_STAGES_MAX + 1;
    assert_int_equal(policy_ramp_plan_check(&p, &err), ERR_INVALID);
}

static void what_comes_next(void **state)
{
    const struct policy_ramp_view quiet = {
        .is_running = true, .is_ours = true, .is_known = true, .stage = 1, .count = 4};
    struct policy_ramp_view v = quiet;
    assert_int_equal(policy_ramp_decide(&v), POLICY_RAMP_STAY);
    v.is_due = true;
    assert_int_equal(policy_ramp_decide(&v), POLICY_RAMP_STEP);
    v.is_known = false; /* blind: no further */
    assert_int_equal(policy_ramp_decide(&v), POLICY_RAMP_STAY);
    v.is_bad = true;
    assert_int_equal(policy_ramp_decide(&v), POLICY_RAMP_STOP);
    v = quiet;
    v.is_due = true;
    v.stage = 4;
    assert_int_equal(policy_ramp_decide(&v), POLICY_RAMP_DONE);
    v.is_bad = true; /* the last stage is watched too */
    assert_int_equal(policy_ramp_decide(&v), POLICY_RAMP_STOP);
    v.is_running = false;
    assert_int_equal(policy_ramp_decide(&v), POLICY_RAMP_STAY);
    v.is_ours = false;
    assert_int_equal(policy_ramp_decide(&v), POLICY_RAMP_REPLACED);
    v.is_covered = true; /* it will be in force again */
    assert_int_equal(policy_ramp_decide(&v), POLICY_RAMP_STAY);
    v.is_running = true;
    v.is_bad = false;
    assert_int_equal(policy_ramp_decide(&v), POLICY_RAMP_STOP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_share_is_decided_by_the_candidate),
        cmocka_unit_test(ids_and_names),
        cmocka_unit_test(an_id_of_both),
        cmocka_unit_test(words_of_both),
        cmocka_unit_test(too_many_rules),
        cmocka_unit_test(plans),
        cmocka_unit_test(what_comes_next),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
