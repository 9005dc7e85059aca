#include "tests/unit/unit.h"

#include <stdio.h>

#include "base/str.h"

static void cut_walks_pieces(void **state)
{
    struct str in = STR("a,,b,"), head;
    assert_true(str_cut(&in, ',', &head) && str_is(head, "a"));
    assert_true(str_cut(&in, ',', &head) && str_is(head, ""));
    assert_true(str_cut(&in, ',', &head) && str_is(head, "b"));
    assert_false(str_cut(&in, ',', &head));
}

static void compare_and_trim(void **state)
{
    assert_true(str_eq_nocase(STR("Content-LENGTH"), STR("content-length")));
    assert_false(str_eq_nocase(STR("a@"), STR("a`")));
    assert_true(str_starts(STR("Bearer x"), STR("Bearer ")));
    assert_false(str_starts(STR("Bear"), STR("Bearer")));
    assert_true(str_ends(STR("a.pem"), STR(".pem")));
    assert_true(str_is(str_trim(STR(" \t x y\t ")), "x y"));
    assert_true(str_is(str_trim(STR(" \t ")), ""));
    assert_true(str_eq(str_of(NULL, 0), STR("")));
}

static void numbers_are_strict(void **state)
{
    uint64_t u = 7;
    int64_t i = 7;
    assert_true(str_u64(STR("18446744073709551615"), &u) && u == UINT64_MAX);
    char text[20];
    assert_true(str_eq(str_of(text, (size_t)(str_put_u64(text, u) - text)), STR("18446744073709551615")));
    assert_true(str_eq(str_of(text, (size_t)(str_put_u64(text, 0) - text)), STR("0")));
    for (uint64_t v = 1; v < UINT64_MAX / 10; v *= 10) {
        char wanted[24];
        for (uint64_t near = v - 1; near <= v + 1; near++) {
            snprintf(wanted, sizeof(wanted), "%llu", (unsigned long long)near);
            assert_true(str_is(str_of(text, (size_t)(str_put_u64(text, near) - text)), wanted));
        }
    }
    assert_false(str_u64(STR("18446744073709551616"), &u));
    assert_false(str_u64(STR("99999999999999999999"), &u));
    assert_false(str_u64(STR(""), &u));
    assert_false(str_u64(STR("+1"), &u));
    assert_false(str_u64(STR("1 "), &u));
    assert_true(u == UINT64_MAX);
    assert_true(str_i64(STR("-9223372036854775808"), &i) && i == INT64_MIN);
    assert_false(str_i64(STR("9223372036854775808"), &i));
    assert_false(str_i64(STR("-"), &i));
    assert_true(i == INT64_MIN);
}

static void units(void **state)
{
    uint64_t v = 0;
    assert_true(str_duration_ms(STR("250ms"), &v) && v == 250);
    assert_true(str_duration_ms(STR("2h"), &v) && v == 7200000);
    assert_true(str_duration_ms(STR("0"), &v) && v == 0);
    assert_false(str_duration_ms(STR("5"), &v));
    assert_false(str_duration_ms(STR("5 s"), &v));
    assert_false(str_duration_ms(STR("18446744073709551615d"), &v));
    assert_true(str_size_bytes(STR("64KiB"), &v) && v == 65536);
    assert_true(str_size_bytes(STR("512"), &v) && v == 512);
    assert_false(str_size_bytes(STR("64K"), &v));
}

static void utf8(void **state)
{
    assert_true(str_is_utf8(STR("plain ascii of more than eight bytes")));
    assert_true(str_is_utf8(STR("\xe4\xbd\xa0\xe5\xa5\xbd \xf0\x9f\x8c\x8a \xc3\xa9")));
    static const struct str bad[] = {
        STR_INIT("\xc0\xaf"),         STR_INIT("\xe0\x80\xaf"), STR_INIT("\xed\xa0\x80"),
        STR_INIT("\xf4\x90\x80\x80"), STR_INIT("\xf5\x80\x80"), STR_INIT("\x80"),
        STR_INIT("12345678\xff"),     STR_INIT("\xe4\xbd"),     STR_INIT("\xe4\xbd\x28"),
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(str_is_utf8(bad[i]));
    }
    assert_int_equal(str_utf8_safe_len(STR("ab\xe4\xbd")), 2);
    assert_int_equal(str_utf8_safe_len(STR("ab\xf0\x9f\x8c")), 2);
    assert_int_equal(str_utf8_safe_len(STR("ab\xe4\xbd\xa0")), 5);
    assert_int_equal(str_utf8_safe_len(STR("")), 0);
}

static void hex(void **state)
{
    uint8_t bytes[4];
    char text[9];
    assert_int_equal(str_hex_decode(STR("00fFA1"), bytes, sizeof(bytes)), 3);
    assert_memory_equal(bytes, "\x00\xff\xa1", 3);
    str_hex_encode(bytes, 3, text);
    assert_string_equal(text, "00ffa1");
    assert_int_equal(str_hex_decode(STR("0"), bytes, sizeof(bytes)), -1);
    assert_int_equal(str_hex_decode(STR("0g"), bytes, sizeof(bytes)), -1);
    assert_int_equal(str_hex_decode(STR("0011223344"), bytes, sizeof(bytes)), -1);
}

/* Each byte at each place of texts up to three words long, beside the definition; with a tab in front too. */
static void text_ends_at_control_bytes(void **state)
{
    char text[25];
    for (size_t n = 0; n <= sizeof(text); n++) {
        memset(text, 'a', n);
        assert_int_equal(str_text_len(str_of(text, n)), n);
        for (size_t at = 0; at < n; at++) {
            for (int c = 0; c < 256; c++) {
                bool ends = (c < 0x20 && c != '\t') || c == 0x7f;
                memset(text, 'a', n);
                text[0] = '\t';
                text[at] = (char)c;
                assert_int_equal(str_text_len(str_of(text, n)), ends ? at : n);
                assert_int_equal(str_is_text(str_of(text, n)), !ends);
                memset(text + at, c, n - at);
                assert_int_equal(str_text_len(str_of(text, n)), ends ? at : n);
            }
        }
    }
}

static void digits_are_padded(void **state)
{
    char text[8] = "";
    assert_ptr_equal(str_put_digits(text, 42, 6), text + 6);
    assert_string_equal(text, "000042");
    str_put_digits(text, 1234567, 5);
    assert_string_equal(text, "345672");
    str_put_digits(text, 7, 1);
    assert_string_equal(text, "745672");
    assert_ptr_equal(str_put_digits(text, 9, 0), text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cut_walks_pieces),
        cmocka_unit_test(compare_and_trim),
        cmocka_unit_test(numbers_are_strict),
        cmocka_unit_test(units),
        cmocka_unit_test(utf8),
        cmocka_unit_test(hex),
        cmocka_unit_test(text_ends_at_control_bytes),
        cmocka_unit_test(digits_are_padded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
