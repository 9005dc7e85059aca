/* Policy documents (auth/policy.h): what is accepted can be asked, and is accepted again as it is kept. */
#include "auth/policy.h"
#include "base/json.h"
#include "tests/fuzz/fuzz.h"

static void decide_for(const struct policy *p, const struct phone *phone)
{
    for (int m = 0; m < POLICY_METHODS; m++) {
        struct policy_facts facts = {.method = (enum policy_method)m, .phone = phone};
        struct policy_decision d = {0};
        policy_decide(p, &facts, &d);
        MUST(d.version == 7 && d.rule && d.rule[0]);
        MUST((d.effect == POLICY_EFFECT_DENY) == (d.reason != NULL));
        MUST(d.effect == POLICY_EFFECT_DENY || policy_state(p) != POLICY_STATE_CLOSED);
        for (unsigned lang = 0; d.reason && lang < POLICY_LANGS; lang++) {
            MUST(str_is_utf8(policy_message(p, d.reason, lang)));
        }
    }
}

static void check_public(const struct policy *p)
{
    struct buf out;
    struct arena a;
    struct json_doc doc;
    buf_init(&out, 1 << 20);
    arena_init(&a);
    for (unsigned lang = 0; lang < POLICY_LANGS; lang++) {
        buf_truncate(&out);
        policy_write_public(p, lang, &out);
        MUST(json_scan(&a, buf_str(&out), &json_limits_default, &doc, NULL) == 0);
    }
    arena_clear(&a);
    buf_clear(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const struct phone mainland = {
        .e164 = "+8613800138000", .country = "CN", .country_code = 86, .type = PHONE_TYPE_MOBILE};
    static const struct phone abroad = {.e164 = "+12025550123", .country = "US", .country_code = 1};
    struct policy *p = NULL, *again = NULL;
    struct err err = {0};
    char *exact = fuzz_copy(data, n);
    int rc = policy_parse(str_of(exact, n), 7, &p, &err);
    free(exact);
    if (rc != 0) {
        MUST(!p && err.msg[0]);
        return 0;
    }
    decide_for(p, &mainland);
    decide_for(p, &abroad);
    decide_for(p, NULL);
    check_public(p);
    MUST(policy_parse(policy_document(p), 7, &again, &err) == 0);
    MUST(policy_state(again) == policy_state(p) && strcmp(policy_name(again), policy_name(p)) == 0);
    policy_unref(again);
    policy_unref(p);
    return 0;
}
