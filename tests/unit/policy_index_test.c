/* The index of a policy's rules: what is found by it is what asking every rule finds, for random rules and attempts. */
#include "tests/unit/unit.h"

#include <stdio.h>

#include "auth/policy_inner.h"
#include "base/buf.h"

enum { POLICIES = 60, RULES = 300, ATTEMPTS = 200 };

static uint64_t dice_state;

static unsigned dice(unsigned sides)
{
    dice_state = dice_state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(dice_state >> 33) % sides;
}

/* Values of which attempts and rules draw, so that they often meet; by enum policy_condition. */
static const char *const values[POLICY_CONDITIONS][5] = {
    [POLICY_IF_METHOD] = {"[\"phone\"]", "[\"email\",\"apple\"]", "[\"google\",\"phone\"]", "[\"email\"]",
                          "[\"phone\",\"email\"]"},
    [POLICY_IF_PHONE_TYPE] = {"[\"mobile\"]", "[\"voip\"]", "[\"mobile\",\"voip\"]", "[\"fixed_or_mobile\"]",
                              "[\"fixed_or_mobile\",\"mobile\"]"},
    [POLICY_IF_PHONE_VIRTUAL] = {"true", "false", "false", "false", "true"},
    [POLICY_IF_EMAIL_DISPOSABLE] = {"true", "false", "true", "false", "true"},
    [POLICY_IF_SAME_COUNTRY] = {"true", "false", "true", "false", "true"},
    [POLICY_IF_DEVICE] = {"[\"none\"]", "[\"basic\"]", "[\"strong\",\"basic\"]", "[\"strong\"]",
                          "[\"none\",\"strong\"]"},
    [POLICY_IF_PLATFORM] = {"[\"ios\"]", "[\"web\"]", "[\"android\",\"web\"]", "[\"ios\",\"web\"]",
                            "[\"android\"]"},
    [POLICY_IF_INVITE] = {"true", "false", "true", "false", "true"},
    [POLICY_IF_PHONE_COUNTRY] = {"[\"CN\"]", "[\"US\",\"HK\"]", "[\"HK\"]", "[\"GB\",\"CN\",\"US\"]",
                                 "[\"AA\"]"},
    [POLICY_IF_IP_COUNTRY] = {"[\"CN\"]", "[\"US\",\"HK\"]", "[\"ZZ\"]", "[\"SG\"]", "[\"US\"]"},
    [POLICY_IF_APP_VERSION] = {"{\"below\":\"2\"}", "{\"at_least\":\"2.5\"}",
                               "{\"at_least\":\"1\",\"below\":\"3\"}", "{\"below\":\"9\"}",
                               "{\"at_least\":\"9\"}"},
    [POLICY_IF_TIME] =
        {"{\"zone\":\"UTC\",\"from\":\"2026-01-01T00:00\"}",
         "{\"zone\":\"UTC\",\"until\":\"2026-01-01T00:00\"}",
         "{\"zone\":\"+08:00\",\"weekly\":[{\"from\":\"09:00\",\"until\":\"02:00\"}]}",
         "{\"zone\":\"UTC\",\"from\":\"2025-01-01T00:00\",\"until\":\"2027-01-01T00:00\"}",
         "{\"zone\":\"UTC\",\"weekly\":[{\"days\":[\"mon\"],\"from\":\"00:00\",\"until\":\"24:00\"}]}"},
    [POLICY_IF_ASN] = {"[1]", "[4294967295]", "[1,4134]", "[4134]", "[7]"},
    [POLICY_IF_PHONE_PREFIX] = {"[\"+86\"]", "[\"+86138\",\"+8613800138000\"]", "[\"+852\",\"+1\"]",
                                "[\"+8613800138\"]", "[\"+861\"]"},
    [POLICY_IF_CAMPAIGN] = {"[\"spring\"]", "[\"autumn\",\"spring\"]", "[\"autumn\"]", "[\"x\"]",
                            "[\"winter\"]"},
    [POLICY_IF_EMAIL_DOMAIN] = {"[\"trash.example\"]", "[\"a.trash.example\",\"ox.org\"]",
                                "[\"good.example\"]", "[\"b.a.trash.example\"]", "[\"ox.org\"]"},
};

static void write_rule(struct buf *out, unsigned i)
{
    static const char *const effects[] = {"\"allow\"", "\"deny\",\"reason\":\"signup_closed\"",
                                          "\"waitlist\""};
    uint32_t chosen = 0;
    for (unsigned n = 2 + dice(3); n > 0; n--) {
        unsigned c = dice(POLICY_CONDITIONS);
        chosen |= c == POLICY_IF_RAMP ? 0 : POLICY_BIT(c);
    }
    buf_addf(out, "%s{\"id\":\"r%u\",\"effect\":%s,\"shadow\":%s,", i ? "," : "", i, effects[dice(3)],
             dice(4) == 0 ? "true" : "false");
    if (dice(4) == 0) {
        buf_addf(out, "\"ramp_percent\":%u,", 1 + dice(100));
    }
    buf_add_cstr(out, "\"when\":{");
    for (uint32_t left = chosen; left; left &= left - 1) {
        enum policy_condition c = (enum policy_condition)__builtin_ctz(left);
        buf_addf(out, "%s\"%s\":%s", left == chosen ? "" : ",", policy_condition_name(c), values[c][dice(5)]);
    }
    buf_add_cstr(out, "}}");
}

static struct policy *random_policy(unsigned rules)
{
    struct buf text;
    struct policy *p = NULL;
    struct err err = {0};
    buf_init(&text, 1 << 20);
    buf_add_cstr(
        &text,
        "{\"name\":\"t\",\"existing_users\":\"unaffected\",\"default\":{\"effect\":\"allow\"},\"rules\":[");
    for (unsigned i = 0; i < rules; i++) {
        write_rule(&text, i);
    }
    buf_add_cstr(&text, "]}");
    if (policy_parse(buf_str(&text), 1, &p, &err) < 0) {
        fail_msg("%s: %s", err.msg, text.p);
    }
    buf_clear(&text);
    return p;
}

/* Every other fact is not known. phone: for the number, when it is known. */
static struct policy_facts random_facts(struct phone *phone)
{
    static const char *const numbers[] = {"+8613800138000", "+8617012345678", "+85251234567", "+12025550123"};
    static const char *const countries[] = {"CN", "US", "SG", "HK"};
    static const char *const domains[] = {"trash.example", "C.B.A.Trash.Example", "nottrash.example",
                                          "ox.org"};
    static const char *const campaigns[] = {"spring", "autumn", "summer", "x"};
    static const uint32_t asns[] = {1, 7, 4134, UINT32_MAX};
    struct policy_facts f = {.method = dice(POLICY_METHODS),
                             .now_s = 1764000000 + dice(60) * 86400 + dice(86400)};
    if (dice(3) > 0) {
        assert_int_equal(phone_read(str_from(numbers[dice(4)]), PHONE_MODE_STRICT, phone, NULL), 0);
        f.phone = phone;
        if (dice(3) == 0) {
            f.phone_is_prefix = true;
            phone->e164[4 + dice(6)] = 0;
        }
    }
    if (dice(2)) {
        f.ip_country[0] = countries[dice(4)][0];
        f.ip_country[1] = f.ip_country[0] == 'C'   ? 'N'
                          : f.ip_country[0] == 'U' ? 'S'
                          : f.ip_country[0] == 'S' ? 'G'
                                                   : 'K';
    }
    f.email_domain = dice(2) ? str_from(domains[dice(4)]) : STR("");
    f.campaign = dice(2) ? str_from(campaigns[dice(4)]) : STR("");
    f.asn = dice(2) ? asns[dice(4)] : 0;
    f.email_disposable = dice(3);
    f.invite = dice(3);
    f.device = dice(4);
    f.platform = dice(4);
    f.has_ramp = dice(2);
    f.ramp = f.has_ramp ? dice(POLICY_RAMP_WHOLE) : 0;
    f.app_version = (struct policy_app_version){dice(2), {dice(10), dice(10), 0, 0}};
    return f;
}

/* By asking every rule. */
static unsigned find_slowly(const struct policy *p, const struct policy_attempt *a, unsigned first,
                            unsigned *shadow)
{
    *shadow = p->rule_count;
    for (unsigned i = first; i < p->rule_count; i++) {
        if (policy_rule_matches(&p->rules[i], a)) {
            if (!p->rules[i].is_shadow) {
                return i;
            }
            *shadow = *shadow == p->rule_count ? i : *shadow;
        }
    }
    return p->rule_count;
}

static void finds_what_asking_every_rule_finds(void **state)
{
    unsigned matched = 0, shadowed = 0, beyond_a_word = 0;
    dice_state = 7;
    for (unsigned n = 0; n < POLICIES; n++) {
        struct policy *p = random_policy(n < 3 ? 63 + n : 1 + dice(RULES));
        for (unsigned k = 0; k < ATTEMPTS; k++) {
            struct phone phone;
            struct policy_attempt a;
            struct policy_facts f = random_facts(&phone);
            unsigned first = dice(2) ? 0 : dice(p->rule_count + 1), shadow, wanted_shadow;
            policy_attempt_init(&a, &f);
            unsigned wanted = find_slowly(p, &a, first, &wanted_shadow);
            unsigned found = policy_find_rule(p, &a, first, &shadow);
            if (found != wanted || shadow != wanted_shadow) {
                fail_msg("policy %u attempt %u from %u: rule %u and shadow %u, not %u and %u\n%s", n, k,
                         first, found, shadow, wanted, wanted_shadow, p->document);
            }
            matched += found < p->rule_count;
            shadowed += shadow < p->rule_count;
            beyond_a_word += found < p->rule_count && found / 64 > first / 64;
        }
        policy_unref(p);
    }
    assert_true(matched > POLICIES * ATTEMPTS / 2);
    assert_true(shadowed > POLICIES * ATTEMPTS / 10);
    assert_true(beyond_a_word > 100);
}

static void the_next_of_a_set(void **state)
{
    struct policy_set set = {.words = {[0] = 1ull << 63 | 2, [1] = 0, [2] = 1}};
    assert_int_equal(policy_set_next(&set, 0, 1000), 1);
    assert_int_equal(policy_set_next(&set, 1, 1000), 1);
    assert_int_equal(policy_set_next(&set, 2, 1000), 63);
    assert_int_equal(policy_set_next(&set, 64, 1000), 128);
    assert_int_equal(policy_set_next(&set, 64, 128), 128); /* all of them: none */
    assert_int_equal(policy_set_next(&set, 129, 1000), 1000);
    assert_int_equal(policy_set_next(&set, 5, 5), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_next_of_a_set),
        cmocka_unit_test(finds_what_asking_every_rule_finds),
    };
    phone_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
