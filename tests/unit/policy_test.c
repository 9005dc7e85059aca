/* The policy language: what it decides, and that it refuses whatever it does not know. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "auth/policy.h"

static struct policy *preset(const char *name, int64_t version)
{
    struct policy *p = NULL;
    struct err err = {0};
    const char *document = policy_preset(str_from(name));
    assert_non_null(document);
    if (policy_parse(str_from(document), version, &p, &err) < 0) {
        fail_msg("%s: %s", name, err.msg);
    }
    return p;
}

static struct policy_decision decide(const struct policy *p, enum policy_method method, const char *number)
{
    struct phone phone;
    struct policy_decision d;
    struct policy_facts facts = {.method = method};
    if (number) {
        assert_int_equal(phone_read(str_from(number), PHONE_MODE_STRICT, &phone, NULL), 0);
        facts.phone = &phone;
    }
    policy_decide(p, &facts, &d);
    return d;
}

static void mainland_only(void **state)
{
    static const char *const abroad[] = {"+85251234567", "+85366123456", "+886912345678", "+12025550123",
                                         "+447400123456"};
    struct policy *p = preset("mainland-phone-only", 7);
    struct policy_decision d = decide(p, POLICY_METHOD_PHONE, "13800138000");
    assert_int_equal(d.effect, POLICY_EFFECT_ALLOW);
    assert_int_equal(d.version, 7);
    assert_string_equal(d.rule, "mainland");
    assert_null(d.reason);
    for (size_t i = 0; i < sizeof abroad / sizeof *abroad; i++) {
        d = decide(p, POLICY_METHOD_PHONE, abroad[i]);
        assert_int_equal(d.effect, POLICY_EFFECT_DENY);
        assert_string_equal(d.reason, "signup_region_not_allowed");
    }
    for (enum policy_method m = POLICY_METHOD_EMAIL; m < POLICY_METHODS; m++) {
        assert_int_equal(decide(p, m, NULL).effect, POLICY_EFFECT_DENY);
        assert_int_equal(decide(p, m, "13800138000").effect, POLICY_EFFECT_DENY);
        assert_false(policy_allows_method(p, m));
    }
    assert_int_equal(decide(p, POLICY_METHOD_PHONE, NULL).effect, POLICY_EFFECT_DENY);
    assert_int_equal(policy_state(p), POLICY_STATE_RESTRICTED);
    policy_unref(p);
}

static void open_and_closed(void **state)
{
    struct policy *open = preset("open", 1), *closed = preset("closed", 2);
    assert_int_equal(decide(open, POLICY_METHOD_PHONE, "+85251234567").effect, POLICY_EFFECT_ALLOW);
    assert_int_equal(decide(open, POLICY_METHOD_GOOGLE, NULL).effect, POLICY_EFFECT_ALLOW);
    assert_int_equal(policy_state(open), POLICY_STATE_OPEN);
    assert_int_equal(decide(closed, POLICY_METHOD_PHONE, "13800138000").effect, POLICY_EFFECT_DENY);
    assert_string_equal(decide(closed, POLICY_METHOD_PHONE, "13800138000").reason, "signup_closed");
    assert_int_equal(policy_state(closed), POLICY_STATE_CLOSED);
    assert_null(policy_preset(STR("half-open")));
    policy_unref(open);
    policy_unref(closed);
}

#define HEAD "{\"name\":\"t\",\"existing_users\":\"unaffected\","
#define DENY "\"default\":{\"effect\":\"deny\",\"reason\":\"signup_closed\"}"

static void first_match_and_missing_facts(void **state)
{
    static const char text[] =
        HEAD "\"rules\":["
             "{\"id\":\"virtual\",\"when\":{\"phone_virtual\":true},\"effect\":\"deny\",\"reason\":\"signup_"
             "disabled\"},"
             "{\"id\":\"prefix\",\"when\":{\"phone_prefix\":[\"+86138\",\"+852\"]},\"effect\":\"allow\"},"
             "{\"id\":\"types\",\"when\":{\"phone_type\":[\"fixed_or_mobile\"],\"phone_country\":[\"US\"]},"
             "\"effect\":\"allow\"}]," DENY "}";
    struct policy *p = NULL;
    assert_int_equal(policy_parse(str_from(text), 3, &p, NULL), 0);
    assert_string_equal(decide(p, POLICY_METHOD_PHONE, "+8617012345678").rule, "virtual");
    assert_string_equal(decide(p, POLICY_METHOD_PHONE, "+8613800138000").rule, "prefix");
    assert_string_equal(decide(p, POLICY_METHOD_PHONE, "+85251234567").rule, "prefix");
    assert_string_equal(decide(p, POLICY_METHOD_PHONE, "+8613900138000").rule, "default");
    assert_string_equal(decide(p, POLICY_METHOD_PHONE, "+12025550123").rule, "types");
    /* nothing known of a number: true for deny, false for allow */
    assert_string_equal(decide(p, POLICY_METHOD_GOOGLE, NULL).rule, "virtual");
    policy_unref(p);
}

struct bad {
    const char *text;
    const char *path; /* what the error must begin with */
};

static const struct bad bads[] = {
    {"[]", "$: must be an object"},
    {"{}", "$: member name"},
    {HEAD "\"rules\":[]," DENY ",\"ruels\":1}", "$.ruels: unknown"},
    {HEAD "\"rules\":[]}", "$: member default"},
    {HEAD "\"rules\":{}," DENY "}", "$.rules: must be a list"},
    {HEAD "\"rules\":[],\"default\":{\"effect\":\"deny\"}}", "$.default: deny wants"},
    {HEAD "\"rules\":[],\"default\":{\"effect\":\"deny\",\"reason\":\"because\"}}",
     "$.default.reason: is not one of"},
    {HEAD "\"rules\":[],\"default\":{\"effect\":\"allow\",\"reason\":\"signup_closed\"}}",
     "$.default: allow has no"},
    {HEAD "\"rules\":[],\"default\":{\"effect\":\"maybe\"}}", "$.default.effect: is not one of allow, deny"},
    {HEAD "\"rules\":[{\"id\":\"a\",\"when\":{},\"effect\":\"allow\"},"
          "{\"id\":\"a\",\"when\":{},\"effect\":\"allow\"}]," DENY "}",
     "$.rules[1]: id a is there twice"},
    {HEAD "\"rules\":[{\"id\":\"a\",\"when\":{\"country\":[\"CN\"]},\"effect\":\"allow\"}]," DENY "}",
     "$.rules[0].when.country: unknown"},
    {HEAD "\"rules\":[{\"id\":\"a\",\"when\":{\"phone_country\":[\"CN\",\"cn\"]},\"effect\":\"allow\"}]," DENY
          "}",
     "$.rules[0].when.phone_country[1]: is not"},
    {HEAD "\"rules\":[{\"id\":\"a\",\"when\":{\"phone_country\":[]},\"effect\":\"allow\"}]," DENY "}",
     "$.rules[0].when.phone_country: must be a list"},
    {HEAD "\"rules\":[{\"id\":\"a\",\"when\":{\"phone_country\":\"CN\"},\"effect\":\"allow\"}]," DENY "}",
     "$.rules[0].when.phone_country: must be a list"},
    {HEAD "\"rules\":[{\"id\":\"a\",\"when\":{\"phone_prefix\":[\"86\"]},\"effect\":\"allow\"}]," DENY "}",
     "$.rules[0].when.phone_prefix[0]: is not"},
    {HEAD "\"rules\":[{\"id\":\"a\",\"when\":{\"method\":[\"fax\"]},\"effect\":\"allow\"}]," DENY "}",
     "$.rules[0].when.method[0]: is not"},
    {HEAD "\"rules\":[{\"id\":\"a\",\"when\":{\"phone_virtual\":1},\"effect\":\"allow\"}]," DENY "}",
     "$.rules[0].when.phone_virtual: must be"},
    {HEAD "\"rules\":[{\"id\":\"a b\",\"when\":{},\"effect\":\"allow\"}]," DENY "}",
     "$.rules[0].id: may hold"},
    {HEAD "\"rules\":[]," DENY ",\"messages\":{\"signup_closed\":{\"zh-Hans\":\"x\"}}}",
     "$.messages.signup_closed: member en"},
    {HEAD "\"rules\":[]," DENY ",\"messages\":{\"signup_closed\":{\"en\":\"x\",\"fr\":\"y\"}}}",
     "$.messages.signup_closed.fr: unknown"},
    {HEAD "\"rules\":[]," DENY ",\"messages\":{\"signup_disabled\":{\"en\":\"x\"}}}",
     "$.messages.signup_disabled: no rule"},
    {"{\"name\":\"t\",\"existing_users\":\"gone\",\"rules\":[]," DENY "}", "$.existing_users: must be"},
    {HEAD "\"version\":1.5,\"rules\":[]," DENY "}", "$.version: must be"},
};

static void refuses_with_the_path(void **state)
{
    for (size_t i = 0; i < sizeof bads / sizeof *bads; i++) {
        struct policy *p = NULL;
        struct err err = {0};
        int rc = policy_parse(str_from(bads[i].text), 1, &p, &err);
        if (rc != ERR_INVALID || strncmp(err.msg, bads[i].path, strlen(bads[i].path)) != 0) {
            fail_msg("case %zu: rc %d, '%s', wanted '%s'", i, rc, err.msg, bads[i].path);
        }
        assert_null(p);
    }
    struct policy *p = NULL;
    assert_true(policy_parse(STR("{\"name\":\"a\",\"name\":\"b\"}"), 1, &p, NULL) < 0);
    assert_true(policy_parse(STR("{"), 1, &p, NULL) < 0);
}

static void words_and_public_form(void **state)
{
    struct policy *p = preset("mainland-phone-only", 42);
    struct buf out;
    buf_init(&out, 4096);
    assert_true(policy_message(p, "signup_region_not_allowed", 1).n > 10);
    assert_int_equal(policy_message(p, "signup_closed", 0).n, 0);
    policy_write_public(p, 0, &out);
    assert_non_null(strstr(out.p, "\"state\":\"restricted\",\"methods\":[\"phone\"],\"countries\":[\"CN\"]"));
    assert_non_null(strstr(out.p, "\"policy_version\":42"));
    policy_unref(p);
    p = preset("open", 43);
    buf_truncate(&out);
    policy_write_public(p, 0, &out); /* what it allows and accounts do not offer is not promised */
    assert_non_null(strstr(out.p, "\"state\":\"open\",\"methods\":[\"phone\"],"));
    buf_clear(&out);
    policy_unref(p);
}

static void survives_on_disk(void **state)
{
    char path[] = "/tmp/policy_test.XXXXXX";
    struct policy *p = preset("closed", 9), *back = NULL;
    close(mkstemp(path));
    assert_int_equal(policy_save(p, path, NULL), 0);
    assert_int_equal(policy_load(path, &back, NULL), 0);
    assert_int_equal(policy_version(back), 9);
    assert_true(str_eq(policy_document(p), policy_document(back)));
    policy_unref(back);
    unlink(path);
    assert_int_equal(policy_load(path, &back, NULL), ERR_NOT_FOUND);
    FILE *f = fopen(path, "w");
    fputs("garbage", f);
    fclose(f);
    assert_int_equal(policy_load(path, &back, NULL), ERR_INVALID);
    unlink(path);
    policy_unref(p);
}

int main(void)
{
    phone_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mainland_only),
        cmocka_unit_test(open_and_closed),
        cmocka_unit_test(first_match_and_missing_facts),
        cmocka_unit_test(refuses_with_the_path),
        cmocka_unit_test(words_and_public_form),
        cmocka_unit_test(survives_on_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
