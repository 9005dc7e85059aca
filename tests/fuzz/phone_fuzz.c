/* Phone numbers (auth/phone.h): one spelling, which is its own canonical form; refusals never repeat the number. */
#include "auth/phone.h"
#include "tests/fuzz/fuzz.h"

static void check_canonical(const char *e164)
{
    char again[PHONE_E164_MAX + 1];
    size_t n = strlen(e164);
    MUST(n >= 2 && n <= PHONE_E164_MAX && e164[0] == '+' && strspn(e164 + 1, "0123456789") == n - 1);
    MUST(e164[1] != '0');
    MUST(phone_canonical(str_from(e164), again, NULL) == 0 && strcmp(again, e164) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static bool started;
    if (!started) {
        phone_start();
        started = true;
    }
    char e164[PHONE_E164_MAX + 1];
    char *exact = fuzz_copy(data, n);
    struct str text = str_of(exact, n);
    struct err err = {0};
    struct phone strict, shape;
    int rc = phone_canonical(text, e164, &err);
    if (rc == 0) {
        check_canonical(e164);
    } else {
        MUST(rc == ERR_INVALID && err.msg[0]);
    }
    bool is_strict = phone_read(text, PHONE_MODE_STRICT, &strict, &err) == 0;
    bool is_shape = phone_read(text, PHONE_MODE_SHAPE, &shape, &err) == 0;
    MUST(!is_strict || (rc == 0 && strcmp(strict.e164, e164) == 0));
    MUST(!is_strict || is_shape); /* the ranges are within the shape */
    if (is_shape) {
        phone_prefix(&shape, e164);
        MUST(strncmp(e164, shape.e164, strlen(e164)) == 0 && phone_type_name(shape.type)[0]);
    }
    free(exact);
    return 0;
}
