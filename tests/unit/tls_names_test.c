#include "tests/unit/unit.h"

#include <stdio.h>

#include "base/http/tls_names.h"

static void add(struct tls_names *t, const char *name, enum tls_key_kind kind, uint16_t cert)
{
    tls_names_add(t, str_from(name), kind, cert);
}

/* Number of the certificate, or -1. */
static int found(const struct tls_names *t, const char *name, enum tls_key_kind kind)
{
    struct tls_choice choice;
    return tls_names_find(t, str_from(name), &choice) ? choice.cert[kind] - 1 : -1;
}

static void names_are_found_whole_and_in_any_case(void **state)
{
    struct tls_names *t = tls_names_new();
    add(t, "Api.Example.com", TLS_KEY_EC, 7);
    assert_int_equal(found(t, "api.example.com", TLS_KEY_EC), 7);
    assert_int_equal(found(t, "API.EXAMPLE.COM", TLS_KEY_EC), 7);
    assert_int_equal(found(t, "api.example.com", TLS_KEY_RSA), -1);
    assert_int_equal(found(t, "api.example.co", TLS_KEY_EC), -1);
    assert_int_equal(found(t, "xapi.example.com", TLS_KEY_EC), -1);
    assert_int_equal(found(t, "", TLS_KEY_EC), -1);
    tls_names_free(t);
}

static void a_star_stands_for_one_label(void **state)
{
    struct tls_names *t = tls_names_new();
    add(t, "*.example.com", TLS_KEY_EC, 1);
    assert_int_equal(found(t, "a.example.com", TLS_KEY_EC), 1);
    assert_int_equal(found(t, "a.EXAMPLE.com", TLS_KEY_EC), 1);
    assert_int_equal(found(t, "example.com", TLS_KEY_EC), -1);
    assert_int_equal(found(t, "a.b.example.com", TLS_KEY_EC), -1);
    assert_int_equal(found(t, ".example.com", TLS_KEY_EC), -1);
    assert_int_equal(found(t, "example", TLS_KEY_EC), -1);
    tls_names_free(t);
}

static void the_exact_name_wins_kind_by_kind(void **state)
{
    struct tls_names *t = tls_names_new();
    add(t, "*.example.com", TLS_KEY_EC, 1);
    add(t, "*.example.com", TLS_KEY_RSA, 2);
    add(t, "api.example.com", TLS_KEY_EC, 3);
    assert_int_equal(found(t, "api.example.com", TLS_KEY_EC), 3);
    assert_int_equal(found(t, "api.example.com", TLS_KEY_RSA), 2);
    assert_int_equal(found(t, "www.example.com", TLS_KEY_EC), 1);
    tls_names_free(t);
}

static void the_first_of_a_kind_stays(void **state)
{
    struct tls_names *t = tls_names_new();
    add(t, "a.b", TLS_KEY_EC, 0);
    add(t, "a.b", TLS_KEY_EC, 5);
    add(t, "a.b", TLS_KEY_RSA, 5);
    assert_int_equal(found(t, "a.b", TLS_KEY_EC), 0);
    assert_int_equal(found(t, "a.b", TLS_KEY_RSA), 5);
    assert_int_equal(tls_names_count(t), 1);
    tls_names_free(t);
}

static void what_is_no_name_is_left_out(void **state)
{
    char longest[TLS_NAME_MAX + 2];
    struct tls_names *t = tls_names_new();
    memset(longest, 'a', sizeof(longest));
    longest[1] = '.';
    tls_names_add(t, str_of(longest, TLS_NAME_MAX + 1), TLS_KEY_EC, 1);
    tls_names_add(t, STR("a.b\0c.d"), TLS_KEY_EC, 1);
    tls_names_add(t, STR(""), TLS_KEY_EC, 1);
    assert_int_equal(tls_names_count(t), 0);
    tls_names_add(t, str_of(longest, TLS_NAME_MAX), TLS_KEY_EC, 1);
    struct tls_choice choice;
    assert_true(tls_names_find(t, str_of(longest, TLS_NAME_MAX), &choice));
    assert_false(tls_names_find(t, str_of(longest, TLS_NAME_MAX + 1), &choice));
    tls_names_free(t);
}

static void ten_thousand_names(void **state)
{
    enum { NAMES = 10000 };
    struct tls_names *t = tls_names_new();
    char name[64];
    for (int i = 0; i < NAMES; i++) {
        snprintf(name, sizeof(name), "%shost%d.example.com", i % 3 ? "" : "*.", i);
        add(t, name, TLS_KEY_EC, (uint16_t)i);
    }
    assert_int_equal(tls_names_count(t), NAMES);
    for (int i = 0; i < NAMES; i++) {
        snprintf(name, sizeof(name), "%shost%d.example.com", i % 3 ? "" : "any.", i);
        assert_int_equal(found(t, name, TLS_KEY_EC), i);
    }
    assert_int_equal(found(t, "host10000.example.com", TLS_KEY_EC), -1);
    tls_names_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_found_whole_and_in_any_case),
        cmocka_unit_test(a_star_stands_for_one_label),
        cmocka_unit_test(the_exact_name_wins_kind_by_kind),
        cmocka_unit_test(the_first_of_a_kind_stays),
        cmocka_unit_test(what_is_no_name_is_left_out),
        cmocka_unit_test(ten_thousand_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
