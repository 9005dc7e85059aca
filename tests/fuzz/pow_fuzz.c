/* Payloads of proof of work (ratelimit/pow.h): whatever comes, it has a verdict, and nobody gets in without our key. */
#include "base/base64.h"
#include "ratelimit/pow.h"
#include "tests/fuzz/fuzz.h"

static enum pow_verdict check(struct str payload)
{
    static const struct pow_keys keys = {.keys = {{.use = SECRET_TOKEN, .n = SECRET_HMAC_BYTES}}, .n = 1};
    static const struct pow_terms terms = {
        .purpose = "otp", .level = POW_LEVEL_EASY, .ipv4_bits = 24, .ipv6_bits = 48};
    struct pow_solved solved;
    struct arena arena;
    arena_init(&arena);
    enum pow_verdict v = pow_check(&keys, &terms, payload, 1, &arena, &solved);
    arena_clear(&arena);
    MUST(v < POW_VERDICTS && pow_verdict_name(v)[0]);
    return v;
}

/* As text, and as the JSON inside of it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char *exact = fuzz_copy(data, n);
    MUST(check(str_of(exact, n)) != POW_OK);
    if (n > 0 && n < POW_PAYLOAD_MAX) {
        char *text = malloc(BASE64_TEXT(n));
        MUST(text);
        enum pow_verdict v = check(str_of(text, base64_encode(exact, n, text)));
        MUST(v == POW_MALFORMED || v == POW_WRONG_ALGORITHM || v == POW_BAD_SIGNATURE);
        free(text);
    }
    free(exact);
    return 0;
}
