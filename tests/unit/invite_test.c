/* Invite codes: many spellings are one code, everything else is none; what a refusal says. */
#include "tests/unit/temp.h"

#include "auth/invite.h"

static void spellings_of_one_code(void **state)
{
    static const char *const spellings[] = {"K3QF-7M2P-XW90-4T11", "k3qf7m2pxw904t11", "K3QF 7M2P XW9O 4TIL",
                                            "--k3qf-7m2p-xw9o-4tli--"};
    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) {
        struct invite_code c;
        char printed[INVITE_CODE_TEXT];
        assert_true(invite_code_read(str_from(spellings[i]), &c));
        assert_string_equal(c.symbols, "K3QF7M2PXW904T11");
        invite_code_print(&c, printed);
        assert_string_equal(printed, spellings[0]);
    }
}

static void what_is_no_code(void **state)
{
    static const char *const texts[] = {"",
                                        "-",
                                        "K3QF-7M2P-XW90-4T1",
                                        "K3QF-7M2P-XW90-4T111",
                                        "K3QF-7M2P-XW90-4T1U",
                                        "K3QF_7M2P_XW90_4T11",
                                        "K3QF-7M2P-XW90-4T1é",
                                        "' OR code_hash IS NOT NULL --"};
    struct invite_code c;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_false(invite_code_read(str_from(texts[i]), &c));
    }
    assert_false(invite_code_read(STR("K3QF-7M2P-XW90-4T1\0"), &c));
}

static void drawn_ones_read_back_and_differ(void **state)
{
    struct invite_code a, b, back;
    char printed[INVITE_CODE_TEXT];
    for (unsigned i = 0; i < 1000; i++) {
        invite_code_draw(&a);
        invite_code_draw(&b);
        assert_string_not_equal(a.symbols, b.symbols);
        invite_code_print(&a, printed);
        assert_true(invite_code_read(str_from(printed), &back));
        assert_string_equal(back.symbols, a.symbols);
    }
}

static void hashes_are_keyed(void **state)
{
    struct secret_ring *rings[2];
    uint8_t hash[2][SECRET_HMAC_BYTES], other[SECRET_HMAC_BYTES];
    struct invite_code a = {"K3QF7M2PXW904T11"}, b = {"K3QF7M2PXW904T12"};
    for (unsigned i = 0; i < 2; i++) {
        const char *path = temp_path(i ? "b" : "a");
        assert_int_equal(secret_ring_generate(path, NULL), 0);
        assert_int_equal(secret_ring_load(path, &rings[i], NULL), 0);
        assert_true(invite_code_hash(rings[i], &a, 0, hash[i]));
        assert_false(invite_code_hash(rings[i], &a, 1, other)); /* one key */
        assert_false(invite_code_hash(rings[i], &a, INVITE_KEYS_MAX, other));
    }
    assert_memory_not_equal(hash[0], hash[1], SECRET_HMAC_BYTES);
    assert_true(invite_code_hash(rings[0], &b, 0, other));
    assert_memory_not_equal(hash[0], other, SECRET_HMAC_BYTES);
    secret_ring_unref(rings[0]);
    secret_ring_unref(rings[1]);
}

static const char *told(const char *reason, enum invite_state state)
{
    struct policy_decision d = {.effect = POLICY_EFFECT_DENY, .reason = reason};
    invite_explain(&d, state);
    return d.reason;
}

static void only_a_policy_that_wants_an_invite_speaks_of_it(void **state)
{
    assert_string_equal(told("invite_required", INVITE_NONE), "invite_required");
    assert_string_equal(told("invite_required", INVITE_GOOD), "invite_required"); /* not for this campaign */
    assert_string_equal(told("invite_required", INVITE_UNKNOWN), "invite_invalid");
    assert_string_equal(told("invite_required", INVITE_EXPIRED), "invite_expired");
    assert_string_equal(told("invite_required", INVITE_USED_UP), "invite_used_up");
    assert_string_equal(told("signup_closed", INVITE_UNKNOWN), "signup_closed");
}

static void facts_of_an_attempt(void **state)
{
    struct policy_caller c = {0};
    struct invite i = {.state = INVITE_GOOD, .campaign = "spring"};
    invite_tell(&i, &c);
    assert_int_equal(c.invite, POLICY_YES);
    assert_string_equal(c.campaign, "spring");
    i.state = INVITE_USED_UP;
    invite_tell(&i, &c);
    assert_int_equal(c.invite, POLICY_NO);
    assert_string_equal(c.campaign, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spellings_of_one_code),
        cmocka_unit_test(what_is_no_code),
        cmocka_unit_test(drawn_ones_read_back_and_differ),
        cmocka_unit_test(hashes_are_keyed),
        cmocka_unit_test(only_a_policy_that_wants_an_invite_speaks_of_it),
        cmocka_unit_test(facts_of_an_attempt),
    };
    return cmocka_run_group_tests(tests, temp_make, temp_remove);
}
