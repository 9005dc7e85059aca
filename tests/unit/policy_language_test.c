/* The conditions of a policy on made-up attempts, what lint says of it, and the hints of errors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "auth/policy_lint.h"
#include "auth/policy_simulate.h"
#include "base/secret.h"

#define HEAD "{\"name\":\"t\",\"existing_users\":\"unaffected\",\"rules\":[{\"id\":\"r\","
#define TAIL "}],\"default\":{\"effect\":\"deny\",\"reason\":\"signup_closed\"}}"
#define ALLOW(when) HEAD "\"effect\":\"allow\",\"when\":" when TAIL
#define DENY(when) HEAD "\"effect\":\"deny\",\"reason\":\"signup_disabled\",\"when\":" when TAIL
#define LIST(when) HEAD "\"effect\":\"waitlist\",\"when\":" when TAIL

static struct secret_ring *ring;

static struct policy *parse(const char *text)
{
    struct policy *p = NULL;
    struct err err = {0};
    if (policy_parse(str_from(text), 1, &p, &err) < 0) {
        fail_msg("%s: %s", text, err.msg);
    }
    return p;
}

/* The id of the rule that decides about one attempt. */
static bool rule_takes(const char *document, const char *attempt)
{
    struct policy *p = parse(document);
    struct buf list, out;
    struct err err = {0};
    buf_init(&list, 4096);
    buf_init(&out, 1 << 20);
    buf_addf(&list, "[%s]", attempt);
    struct policy_simulation s = {
        .policy = p, .secrets = ring, .has_trace = true, .attempts = buf_str(&list)};
    if (policy_simulate(&s, &out, &err) < 0) {
        fail_msg("%s: %s", attempt, err.msg);
    }
    bool takes = strstr(out.p, "\"rule\":\"r\",\"reason\"") != NULL;
    buf_clear(&list);
    buf_clear(&out);
    policy_unref(p);
    return takes;
}

struct held {
    const char *allow, *deny, *list; /* documents with one condition */
    const char *yes, *no; /* attempts that fulfil it, and that do not; what is in neither is unknown */
};
#define EACH(when) ALLOW(when), DENY(when), LIST(when)

static const struct held helds[] = {
    {EACH("{\"email_domain\":[\"trash.example\",\"x.org\"]}"), "{\"email\":\"a@b.TRASH.example\"}",
     "{\"email\":\"a@nottrash.example\"}"},
    {EACH("{\"email_disposable\":true}"), "{\"email_disposable\":true}", "{\"email_disposable\":false}"},
    {EACH("{\"ip_country\":[\"CN\",\"SG\"]}"), "{\"ip_country\":\"SG\"}", "{\"ip_country\":\"US\"}"},
    {EACH("{\"asn\":[4134,4294967295]}"), "{\"asn\":4294967295}", "{\"asn\":4135}"},
    {EACH("{\"phone_country_is_ip_country\":true}"), "{\"phone\":\"13800138000\",\"ip_country\":\"CN\"}",
     "{\"phone\":\"+85251234567\",\"ip_country\":\"CN\"}"},
    {EACH("{\"phone_country_is_ip_country\":false}"), "{\"phone\":\"13800138000\",\"ip_country\":\"HK\"}",
     "{\"phone\":\"13800138000\",\"ip_country\":\"CN\"}"},
    {EACH("{\"device\":[\"basic\",\"strong\"]}"), "{\"device\":\"strong\"}", "{\"device\":\"none\"}"},
    {EACH("{\"platform\":[\"ios\"]}"), "{\"platform\":\"ios\"}", "{\"platform\":\"web\"}"},
    {EACH("{\"app_version\":{\"at_least\":\"2.9\",\"below\":\"3\"}}"), "{\"app_version\":\"2.10\"}",
     "{\"app_version\":\"3.0.0\"}"},
    {EACH("{\"app_version\":{\"at_least\":\"2.9\"}}"), "{\"app_version\":\"2.9.0.0\"}",
     "{\"app_version\":\"2.8.99\"}"},
    {EACH("{\"invite\":true}"), "{\"invite\":true}", "{\"invite\":false}"},
    {EACH("{\"campaign\":[\"spring\"]}"), "{\"campaign\":\"spring\"}", "{\"campaign\":\"spring2\"}"},
    {EACH("{\"phone_prefix\":[\"+86138\"],\"phone_virtual\":false}"), "{\"phone\":\"13800138000\"}",
     "{\"phone\":\"13900138000\"}"},
};

static void conditions_hold_fail_or_are_unknown(void **state)
{
    for (size_t i = 0; i < sizeof helds / sizeof *helds; i++) {
        const struct held *h = &helds[i];
        bool hold =
            rule_takes(h->allow, h->yes) && rule_takes(h->deny, h->yes) && rule_takes(h->list, h->yes);
        bool fail =
            !rule_takes(h->allow, h->no) && !rule_takes(h->deny, h->no) && !rule_takes(h->list, h->no);
        if (!hold || !fail || rule_takes(h->allow, "{}") || !rule_takes(h->deny, "{}") ||
            !rule_takes(h->list, "{}")) {
            fail_msg("case %zu: %s", i, h->allow);
        }
    }
}

#define SEASON                                                                                               \
    "{\"time\":{\"zone\":\"Asia/Shanghai\",\"from\":\"2026-12-01T09:00\",\"until\":\"2026-12-02T00:00\"}}"
#define NIGHTS                                                                                               \
    "{\"time\":{\"zone\":\"+08:00\",\"weekly\":[{\"days\":[\"fri\"],\"from\":\"22:00\",\"until\":\"06:00\"}" \
    "]}}"

static void windows_of_time(void **state)
{
    assert_true(rule_takes(ALLOW(SEASON), "{\"at\":\"2026-12-01T01:00:00Z\"}"));
    assert_false(rule_takes(ALLOW(SEASON), "{\"at\":\"2026-12-01T00:59:59Z\"}"));
    assert_false(rule_takes(ALLOW(SEASON), "{\"at\":\"2026-12-01T16:00:00Z\"}"));
    assert_true(rule_takes(ALLOW(NIGHTS), "{\"at\":\"2026-11-27T23:00:00+08:00\"}")); /* a Friday */
    assert_true(rule_takes(ALLOW(NIGHTS), "{\"at\":\"2026-11-28T05:59:00+08:00\"}"));
    assert_false(rule_takes(ALLOW(NIGHTS), "{\"at\":\"2026-11-28T06:00:00+08:00\"}"));
    assert_false(rule_takes(ALLOW(NIGHTS), "{\"at\":\"2026-11-27T05:00:00+08:00\"}"));
    assert_false(rule_takes(ALLOW(NIGHTS), "{\"at\":\"2026-11-28T23:00:00+08:00\"}"));
}

/* A ramp lets in about its part, the same people each time, and more of them as it grows. */
static void ramps_grow(void **state)
{
    struct policy *small = parse(HEAD "\"effect\":\"allow\",\"ramp_percent\":10,\"when\":{}" TAIL);
    struct policy *large = parse(HEAD "\"effect\":\"allow\",\"ramp_percent\":30.5,\"when\":{}" TAIL);
    unsigned in_small = 0, in_large = 0;
    for (unsigned i = 0; i < 5000; i++) {
        char number[16];
        struct phone phone;
        struct policy_facts facts;
        struct policy_decision a, b;
        snprintf(number, sizeof number, "+861380013%04u", i);
        assert_int_equal(phone_read(str_from(number), PHONE_MODE_STRICT, &phone, NULL), 0);
        policy_facts_of_phone(small, ring, &phone, &(struct policy_caller){.asn = 0}, &facts);
        policy_decide(small, &facts, &a);
        policy_decide(large, &facts, &b);
        in_small += a.effect == POLICY_EFFECT_ALLOW;
        in_large += b.effect == POLICY_EFFECT_ALLOW;
        assert_true(a.effect == POLICY_EFFECT_DENY || b.effect == POLICY_EFFECT_ALLOW);
    }
    assert_in_range(in_small, 400, 600); /* 500 wanted, sigma 21 */
    assert_in_range(in_large, 1375, 1675);
    policy_unref(small);
    policy_unref(large);
}

struct said {
    const char *text;
    const char *words;
};

static const struct said refused[] = {
    {ALLOW("{\"country\":[\"CN\"]}"), "$.rules[0].when.country: unknown member (did you mean ip_country?)"},
    {ALLOW("{\"phone_contry\":[\"CN\"]}"),
     "$.rules[0].when.phone_contry: unknown member (did you mean phone_country?)"},
    {ALLOW("{\"device\":[\"stron\"]}"),
     "$.rules[0].when.device[0]: is not one of none, basic, strong (did you mean strong?)"},
    {ALLOW("{\"email_domain\":[\"x.org\",\"X.org\"]}"), "$.rules[0].when.email_domain[1]: is not a domain"},
    {ALLOW("{\"email_domain\":[\"org\"]}"), "$.rules[0].when.email_domain[0]: is not a domain"},
    {ALLOW("{\"asn\":[\"AS4134\"]}"), "$.rules[0].when.asn[0]: is not the number"},
    {ALLOW("{\"app_version\":{}}"), "$.rules[0].when.app_version: wants at_least"},
    {ALLOW("{\"app_version\":{\"at_least\":\"2.\"}}"),
     "$.rules[0].when.app_version.at_least: is not a version"},
    {ALLOW("{\"time\":{\"zone\":\"UTC\"}}"), "$.rules[0].when.time: wants from"},
    {ALLOW("{\"time\":{\"zone\":\"Europe/Berlin\",\"from\":\"2026-12-01T09:00\"}}"),
     "$.rules[0].when.time.zone: is not UTC"},
    {ALLOW("{\"time\":{\"zone\":\"UTC\",\"from\":\"2026-02-30T09:00\"}}"),
     "$.rules[0].when.time.from: is not a local time"},
    {ALLOW("{\"time\":{\"zone\":\"UTC\",\"weekly\":[{\"from\":\"09:00\",\"until\":\"24:01\"}]}}"),
     "$.rules[0].when.time.weekly[0].until: is not an hour"},
    {ALLOW("{\"ramp_percent\":5}"), "$.rules[0].when.ramp_percent: stands beside when"},
    {HEAD "\"effect\":\"allow\",\"ramp_percent\":0,\"when\":{}" TAIL, "$.rules[0].ramp_percent: must be"},
    {HEAD "\"effect\":\"allow\",\"ramp_percent\":1.234,\"when\":{}" TAIL, "$.rules[0].ramp_percent: must be"},
    {HEAD "\"effect\":\"queue\",\"when\":{}" TAIL, "$.rules[0].effect: is not one of allow, deny, waitlist"},
    {HEAD "\"effect\":\"waitlist\",\"reason\":\"signup_busy\",\"when\":{}" TAIL,
     "$.rules[0]: waitlist has no reason"},
    {HEAD "\"effect\":\"allow\",\"challenge\":\"pow_hart\",\"when\":{}" TAIL,
     "$.rules[0].challenge: is not one of none, pow, pow_hard (did you mean pow_hard?)"},
    {HEAD "\"effect\":\"allow\",\"cap\":{},\"when\":{}" TAIL,
     "$.rules[0].cap: unknown member (did you mean caps?)"},
    {HEAD "\"effect\":\"allow\",\"caps\":{},\"when\":{}" TAIL, "$.rules[0].caps: wants per_minute"},
    {HEAD "\"effect\":\"allow\",\"caps\":{\"per_min\":1},\"when\":{}" TAIL,
     "$.rules[0].caps.per_min: unknown member (did you mean per_minute?)"},
    {HEAD "\"effect\":\"allow\",\"caps\":{\"per_day\":1.5},\"when\":{}" TAIL,
     "$.rules[0].caps.per_day: must be a whole"},
    {HEAD "\"effect\":\"waitlist\",\"caps\":{\"per_day\":1},\"when\":{}" TAIL,
     "$.rules[0]: caps are of rules that allow"},
    {HEAD "\"effect\":\"allow\",\"shadow\":1,\"when\":{}" TAIL, "$.rules[0].shadow: must be true or false"},
};

/* Every effect and challenge, the default's too, comes out of a decision as it was written. */
static void decisions_carry_effect_and_challenge(void **state)
{
    struct policy *p = parse("{\"name\":\"t\",\"existing_users\":\"unaffected\",\"rules\":["
                             "{\"id\":\"web\",\"when\":{\"platform\":[\"web\"]},\"effect\":\"allow\","
                             "\"challenge\":\"pow_hard\"},"
                             "{\"id\":\"ios\",\"when\":{\"platform\":[\"ios\"]},\"effect\":\"deny\","
                             "\"reason\":\"signup_busy\"}],"
                             "\"default\":{\"effect\":\"waitlist\",\"challenge\":\"pow\"}}");
    struct policy_facts facts = {.platform = POLICY_PLATFORM_WEB};
    struct policy_decision d;
    policy_decide(p, &facts, &d);
    assert_true(d.effect == POLICY_EFFECT_ALLOW && d.challenge == POLICY_CHALLENGE_POW_HARD && !d.reason);
    facts.platform = POLICY_PLATFORM_IOS;
    policy_decide(p, &facts, &d);
    assert_true(d.effect == POLICY_EFFECT_DENY && d.challenge == POLICY_CHALLENGE_NONE);
    assert_string_equal(d.reason, "signup_busy");
    facts.platform = POLICY_PLATFORM_ANDROID;
    policy_decide(p, &facts, &d);
    assert_true(d.effect == POLICY_EFFECT_WAITLIST && d.challenge == POLICY_CHALLENGE_POW);
    assert_string_equal(d.reason, "signup_waitlisted");
    assert_int_equal(policy_state(p), POLICY_STATE_RESTRICTED);
    policy_unref(p);
}

#define RULE(id, effect, when) "{\"id\":\"" id "\"," effect ",\"when\":" when "}"
#define IN "\"effect\":\"allow\""
#define OUT "\"effect\":\"deny\",\"reason\":\"signup_closed\""
#define RULES(list)                                                                                          \
    "{\"name\":\"t\",\"existing_users\":\"unaffected\",\"default\":{" OUT "},\"rules\":[" list "]}"

/* A capped rule names its caps, and what stands behind it is found when they are full. Shadows are told, not followed. */
static void caps_and_shadows(void **state)
{
    struct policy *p = parse(RULES(
        RULE("dark", OUT ",\"shadow\":true", "{}") "," RULE("dark2", IN ",\"shadow\":true", "{}") "," RULE(
            "capped", IN ",\"caps\":{\"per_day\":7}", "{}") "," RULE("rest", "\"effect\":\"waitlist\"",
                                                                     "{}")));
    struct policy_facts facts = {.now_s = 1};
    struct policy_decision d;
    policy_decide(p, &facts, &d);
    assert_string_equal(d.rule, "capped");
    assert_true(d.has_caps && d.caps[POLICY_CAP_DAY] == 7 && d.caps[POLICY_CAP_HOUR] == POLICY_CAP_NONE);
    assert_string_equal(d.shadow, "dark");
    assert_int_equal(d.shadow_effect, POLICY_EFFECT_DENY);
    policy_decide_from(p, &facts, d.index + 1, &d);
    assert_string_equal(d.rule, "rest");
    assert_true(!d.has_caps && !d.shadow);
    policy_decide_from(p, &facts, d.index + 1, &d);
    assert_string_equal(d.rule, "default");
    policy_unref(p);
}

static void refusals_help(void **state)
{
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct policy *p = NULL;
        struct err err = {0};
        if (policy_parse(str_from(refused[i].text), 1, &p, &err) != ERR_INVALID ||
            strncmp(err.msg, refused[i].words, strlen(refused[i].words)) != 0) {
            fail_msg("'%s' is not '%s'", err.msg, refused[i].words);
        }
    }
}

static const struct said linted[] = {
    {RULES(
         RULE("a", IN, "{\"phone_prefix\":[\"+861\"]}") "," RULE("b", IN, "{\"phone_prefix\":[\"+86138\"]}")),
     "[{\"path\":\"$.rules[1]\",\"code\":\"unreachable_rule\""},
    /* those without a number pass the first and meet the second */
    {RULES(RULE("a", IN, "{\"phone_prefix\":[\"+861\"]}") "," RULE("b", OUT,
                                                                   "{\"phone_prefix\":[\"+86138\"]}")),
     "\"findings\":[]"},
    {RULES(RULE("a", OUT, "{\"phone_country\":[\"HK\"]}") "," RULE("b", IN,
                                                                   "{\"phone_country\":[\"CN\",\"HK\"]}")),
     "[{\"path\":\"$.rules[1]\",\"code\":\"country_emptied\",\"severity\":\"error\",\"message\":\"rule b "
     "lets nobody of HK in"},
    {RULES(RULE("a", IN ",\"caps\":{\"per_hour\":0}", "{}")),
     "\"code\":\"cap_zero\",\"severity\":\"error\",\"message\":\"rule a lets nobody in: its cap per hour is "
     "0"},
    {RULES(RULE("a", IN ",\"caps\":{\"per_minute\":10,\"per_day\":14400}", "{}")),
     "\"code\":\"cap_without_effect\",\"severity\":\"warning\",\"message\":\"the cap per day of rule a"},
    /* a rule whose caps may be full, or that is only a shadow, hides nobody */
    {RULES(RULE("a", IN ",\"caps\":{\"per_day\":9}", "{}") "," RULE("b", IN, "{}")), "\"findings\":[]"},
    {RULES(RULE("a", OUT ",\"shadow\":true", "{}") "," RULE("b", IN, "{}")), "\"findings\":[]"},
    {RULES(RULE("a", IN ",\"shadow\":true", "{}")), "\"code\":\"everybody_denied\""},
    {RULES(RULE("a", IN, "{\"time\":{\"zone\":\"UTC\",\"until\":\"2020-01-01T00:00\"}}")),
     "\"code\":\"window_past\""},
    {RULES(RULE("a", OUT, "{\"email_disposable\":true}")), "\"code\":\"everybody_denied\""},
    {RULES(RULE("a", OUT, "{\"email_disposable\":true}") "," RULE("b", IN, "{}")),
     "sign-ups do not tell email_disposable yet: rule a takes it as held"},
    {RULES(RULE("a", OUT, "{\"method\":[\"email\"],\"email_disposable\":true}") "," RULE("b", IN, "{}")),
     "\"findings\":[]"},
};

static void lint_finds(void **state)
{
    for (size_t i = 0; i < sizeof linted / sizeof *linted; i++) {
        struct policy *p = parse(linted[i].text);
        struct buf out;
        buf_init(&out, 1 << 16);
        policy_lint(p, 1764000000, &out);
        if (!strstr(out.p, linted[i].words)) {
            fail_msg("case %zu: %s", i, out.p);
        }
        buf_clear(&out);
        policy_unref(p);
    }
}

int main(void)
{
    char path[64];
    snprintf(path, sizeof path, "/tmp/policy_language_test.%d", (int)getpid());
    phone_start();
    if (secret_ring_generate(path, NULL) < 0 || secret_ring_load(path, &ring, NULL) < 0) {
        return 1;
    }
    unlink(path);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conditions_hold_fail_or_are_unknown),
        cmocka_unit_test(windows_of_time),
        cmocka_unit_test(ramps_grow),
        cmocka_unit_test(decisions_carry_effect_and_challenge),
        cmocka_unit_test(caps_and_shadows),
        cmocka_unit_test(refusals_help),
        cmocka_unit_test(lint_finds),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    secret_ring_unref(ring);
    return failed;
}
