/* The canonicaliser against the spellings people and evaders write, and the ranges of mainland China. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "auth/phone.h"

#define CN "+8613800138000"

struct spelling {
    const char *text;
    const char *e164; /* NULL: refused */
};

static const struct spelling spellings[] = {
    /* folded */
    {"13800138000", CN},
    {"+8613800138000", CN},
    {"8613800138000", CN},
    {"008613800138000", CN},
    {"0086 138 0013 8000", CN},
    {"86 138-0013-8000", CN},
    {"(+86)13800138000", CN},
    {" +86 138 0013 8000 ", CN},
    /* exactly one trunk 0 after 86 */
    {"+86013800138000", CN},
    {"+86 0 138 0013 8000", CN},
    {"+86(0)13800138000", CN},
    {"0086 0 138 0013 8000", CN},
    {"+860013800138000", NULL},
    {"+860", NULL},
    /* full width */
    {"＋８６１３８００１３８０００", CN},
    {"＋８６　１３８－００１３－８０００", CN},
    {"１３８００１３８０００", CN},
    /* other scripts, invisible characters, junk around */
    {"+٨٦١٣٨٠٠١٣٨٠٠٠", NULL},
    {"+86138\xE2\x80\x8B"
     "00138000",
     NULL},
    {"+86\xE2\x81\xA0"
     "13800138000",
     NULL},
    {"\xE2\x80\xAE+8613800138000", NULL},
    {"+8613800138000\n", NULL},
    {"+86\t13800138000", NULL},
    {"#+8613800138000", NULL},
    {"tel:+8613800138000", NULL},
    {"+8613800138000;phone-context=+86", NULL},
    {"+8613800138000 ext 5", NULL},
    {"+8613800138000;ext=5", NULL},
    {"+86 1380013FLOW", NULL},
    {"+86.138.0013.8000", NULL},
    {"\xC0\xAB"
     "8613800138000",
     NULL}, /* overlong plus */
    {"+8613800138000\xEF", NULL},
    /* carrier prefixes */
    {"17951 13800138000", NULL},
    {"12593 13800138000", NULL},
    {"+86 17951 13800138000", NULL},
    /* signs in wrong places */
    {"+868613800138000", NULL},
    {"+86+8613800138000", NULL},
    {"++8613800138000", NULL},
    {"86+13800138000", NULL},
    {"+0086 13800138000", NULL},
    {"+()8613800138000", NULL},
    {"+86)13800138000(", NULL},
    {"(+86)(138)00138000", NULL},
    {"(+8613800138000", NULL},
    {"-8613800138000", NULL},
    {"+", NULL},
    {"", NULL},
    {"013800138000", NULL},
    {"00013800138000", NULL},
    /* not assigned, data and IoT ranges, fixed lines */
    {"+8615412345678", NULL},
    {"+8614101234567", NULL},
    {"+8619412345678", NULL},
    {"+8616112345678", NULL},
    {"+8617406123456", NULL},
    {"+8617912345678", NULL},
    {"+8612012345678", NULL},
    {"+861064812345678", NULL},
    {"+861012345678", NULL},
    {"+86138001380001", NULL},
    {"+861380013800", NULL},
    {"15412345678", NULL},
    {"+8616101234567", "+8616101234567"},
    {"+8617405123456", "+8617405123456"},
    {"+8619212345678", "+8619212345678"},
    /* elsewhere */
    {"+85251234567", "+85251234567"},
    {"+852 5123 4567", "+85251234567"},
    {"0085251234567", "+85251234567"},
    {"+85366123456", "+85366123456"},
    {"+886912345678", "+886912345678"},
    {"+8860912345678", NULL}, /* a trunk 0 is folded for 86 alone: one spelling a person */
    {"+447400123456", "+447400123456"},
    {"+4407400123456", NULL},
    {"85251234567", NULL},
    {"+15551234567", NULL},
    {"+12025550123", "+12025550123"},
    {"+18005551234", NULL}, /* toll free: no codes go there */
    {"+8520512345", NULL},
    {"+9991234567", NULL},
    {"+1234567890123456", NULL},
};

static void every_spelling(void **state)
{
    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) {
        const struct spelling *s = &spellings[i];
        struct phone phone;
        struct err err = {0};
        int rc = phone_read(str_from(s->text), PHONE_MODE_STRICT, &phone, &err);
        if (rc != (s->e164 ? 0 : ERR_INVALID) || (s->e164 && strcmp(phone.e164, s->e164) != 0)) {
            fail_msg("'%s': rc %d, %s", s->text, rc, rc == 0 ? phone.e164 : err.msg);
        }
        if (rc < 0) {
            assert_true(err.msg[0] != 0);
            assert_null(strstr(err.msg, "138"));
        }
    }
}

/* What is canonical is its own canonical form. */
static void one_trunk_zero_is_folded_and_no_more(void **state)
{
    char e164[PHONE_E164_MAX + 1];
    assert_int_equal(phone_canonical(STR("+86013800138000"), e164, NULL), 0);
    assert_string_equal(e164, CN);
    assert_int_equal(phone_canonical(STR("+860013800138000"), e164, NULL), ERR_INVALID);
    assert_int_equal(phone_canonical(STR("+8600138001380"), e164, NULL), ERR_INVALID);
}

static void nul_and_length(void **state)
{
    struct phone phone;
    char longest[252];
    memset(longest, '1', sizeof longest);
    assert_int_equal(phone_read(str_of("+8613800138000\0", 15), PHONE_MODE_STRICT, &phone, NULL),
                     ERR_INVALID);
    assert_int_equal(phone_read(str_of(longest, 251), PHONE_MODE_STRICT, &phone, NULL), ERR_INVALID);
    for (size_t n = 0; n <= 14; n++) { /* every truncation of a good number ends well */
        int rc = phone_read(str_of("+8613800138000", n), PHONE_MODE_STRICT, &phone, NULL);
        assert_int_equal(rc, n == 14 ? 0 : ERR_INVALID);
    }
}

static void facts_of_a_number(void **state)
{
    struct phone p;
    char prefix[PHONE_E164_MAX + 1];
    assert_int_equal(phone_read(STR("+8613800138000"), PHONE_MODE_STRICT, &p, NULL), 0);
    assert_string_equal(p.country, "CN");
    assert_int_equal(p.country_code, 86);
    assert_false(p.is_virtual);
    phone_prefix(&p, prefix);
    assert_string_equal(prefix, "+861380013");
    assert_int_equal(phone_read(STR("+85251234567"), PHONE_MODE_STRICT, &p, NULL), 0);
    assert_string_equal(p.country, "HK");
    assert_int_equal(p.type, PHONE_TYPE_MOBILE);
    phone_prefix(&p, prefix);
    assert_string_equal(prefix, "+85251234");
    assert_int_equal(phone_read(STR("+12025550123"), PHONE_MODE_STRICT, &p, NULL), 0);
    assert_string_equal(p.country, "US");
    assert_int_equal(p.type, PHONE_TYPE_FIXED_OR_MOBILE);
}

static void virtual_operators(void **state)
{
    static const char *const numbers[] = {"+8617012345678", "+8617112345678", "+8616212345678",
                                          "+8616512345678", "+8616712345678"};
    struct phone p;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        assert_int_equal(phone_read(str_from(numbers[i]), PHONE_MODE_STRICT, &p, NULL), 0);
        assert_true(p.is_virtual);
    }
    assert_int_equal(phone_read(STR("+8619212345678"), PHONE_MODE_STRICT, &p, NULL), 0);
    assert_false(p.is_virtual);
}

static void shape_mode_takes_new_ranges(void **state)
{
    struct phone p;
    assert_int_equal(phone_read(STR("+8615412345678"), PHONE_MODE_SHAPE, &p, NULL), 0);
    assert_int_equal(phone_read(STR("+8612012345678"), PHONE_MODE_SHAPE, &p, NULL), ERR_INVALID);
    assert_int_equal(phone_read(STR("+861380013800"), PHONE_MODE_SHAPE, &p, NULL), ERR_INVALID);
}

int main(void)
{
    phone_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_spelling),    cmocka_unit_test(one_trunk_zero_is_folded_and_no_more),
        cmocka_unit_test(nul_and_length),    cmocka_unit_test(facts_of_a_number),
        cmocka_unit_test(virtual_operators), cmocka_unit_test(shape_mode_takes_new_ranges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
