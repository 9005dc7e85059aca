#include "tests/unit/unit.h"

#include <string.h>

#include "base/base64.h"

static void rfc_4648_vectors(void **state)
{
    static const char *const vectors[][3] = {
        {"", "", ""},
        {"f", "Zg==", "Zg"},
        {"fo", "Zm8=", "Zm8"},
        {"foo", "Zm9v", "Zm9v"},
        {"foob", "Zm9vYg==", "Zm9vYg"},
        {"fooba", "Zm9vYmE=", "Zm9vYmE"},
        {"\xfb\xff\xfe", "+//+", "-__-"},
    };
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        char text[32];
        uint8_t back[32];
        struct str plain = str_from(vectors[i][0]);
        assert_int_equal(base64_encode(plain.p, plain.n, text), strlen(vectors[i][1]));
        assert_string_equal(text, vectors[i][1]);
        assert_int_equal(base64_decode(str_from(text), back, sizeof(back)), plain.n);
        assert_memory_equal(back, plain.p, plain.n);
        base64url_encode(plain.p, plain.n, text);
        assert_string_equal(text, vectors[i][2]);
        assert_int_equal(base64url_decode(str_from(text), back, plain.n), plain.n);
        assert_memory_equal(back, plain.p, plain.n);
    }
}

static void refuses_other_spellings(void **state)
{
    uint8_t out[32];
    static const char *const bad[] = {
        "Zg", "Zg=", "Zh==", "Zm9=", "Zg===", "====", "Zm9v\n", "Zm 9v", "-__-", "Zg==Zg==", "=Zg=", "Z"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(base64_decode(str_from(bad[i]), out, sizeof(out)), -1);
    }
    static const char *const bad_url[] = {"Zg==", "Zh", "Zm9", "+//+", "Z", "Zm9vY", "Zm9v "};
    for (size_t i = 0; i < sizeof(bad_url) / sizeof(bad_url[0]); i++) {
        assert_int_equal(base64url_decode(str_from(bad_url[i]), out, sizeof(out)), -1);
    }
    assert_int_equal(base64url_decode(STR("Zm9vYg"), out, 3), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rfc_4648_vectors),
        cmocka_unit_test(refuses_other_spellings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
