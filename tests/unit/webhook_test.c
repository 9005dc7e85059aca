/* The signature against the vector that Standard Webhooks libraries test themselves with. */
#include "tests/unit/unit.h"

#include "gateway/webhook.h"

static void signs_the_known_vector(void **state)
{
    struct webhook_key key;
    char signature[WEBHOOK_SIGNATURE_TEXT];
    assert_int_equal(webhook_key_parse(STR("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), &key, NULL), 0);
    webhook_sign(&key, STR("msg_p5jXN8AQM9LWM0D4loKWxJek"), 1614265330, STR("{\"test\": 2432232314}"),
                 signature);
    assert_string_equal(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    assert_int_equal(webhook_key_parse(STR("v1,whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), &key, NULL), 0);
    webhook_sign(&key, STR("msg_p5jXN8AQM9LWM0D4loKWxJek"), 1614265331, STR("{\"test\": 2432232314}"),
                 signature);
    assert_string_not_equal(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

static void refuses_weak_secrets(void **state)
{
    static const char *const bad[] = {"", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
                                      "whsec_c2hvcnQ=", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa**"};
    struct webhook_key key;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(webhook_key_parse(str_from(bad[i]), &key, NULL), ERR_INVALID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signs_the_known_vector),
        cmocka_unit_test(refuses_weak_secrets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
