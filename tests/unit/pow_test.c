/* Proof of work: what is written can be solved and is taken; every cheat is named. */
#include "tests/unit/unit.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/id.h"
#include "base/json.h"
#include "ratelimit/pow.h"
#include "ratelimit/pow_spent.h"

enum { WORK = 500, NOW_S = 1700000000, LIFE_S = 180 };

struct fixture {
    struct secret_ring *ring;
    struct pow_keys keys;
    struct pow_terms terms;
    struct arena arena;
};

static void ring_make(struct secret_ring **out)
{
    char path[] = "/tmp/tide-pow-XXXXXX";
    struct err err = {0};
    assert_non_null(mkdtemp(path));
    char file[64];
    snprintf(file, sizeof file, "%s/ring.json", path);
    assert_int_equal(secret_ring_generate(file, &err), 0);
    assert_int_equal(secret_ring_load(file, out, &err), 0);
    unlink(file);
    rmdir(path);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    ring_make(&f->ring);
    pow_keys_derive(f->ring, &f->keys);
    assert_true(f->keys.n >= 1);
    f->terms =
        (struct pow_terms){.purpose = "otp", .level = POW_LEVEL_EASY, .ipv4_bits = 24, .ipv6_bits = 48};
    assert_true(addr_parse(STR("203.0.113.7"), &f->terms.client));
    arena_init(&f->arena);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    arena_clear(&f->arena);
    secret_ring_unref(f->ring);
    free(f);
    return 0;
}

static const cJSON *parameters_of(const cJSON *challenge)
{
    return cJSON_GetObjectItemCaseSensitive(challenge, "parameters");
}

static const char *text_of(const cJSON *object, const char *key)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, key));
}

/* As an ALTCHA client does it. Returns the counter, or -1 within `most` tries. */
static long solve(const cJSON *challenge, unsigned most, char key_hex[65])
{
    const cJSON *p = parameters_of(challenge);
    uint8_t text[36], key[32];
    char prefix[33];
    assert_int_equal(str_hex_decode(str_from(text_of(p, "salt")), text, 16), 16);
    assert_int_equal(str_hex_decode(str_from(text_of(p, "nonce")), text + 16, 16), 16);
    for (unsigned counter = 0; counter < most; counter++) {
        for (int i = 0; i < 4; i++) {
            text[32 + i] = (uint8_t)(counter >> (24 - 8 * i));
        }
        crypto_hash_sha256(key, text, sizeof text);
        str_hex_encode(key, 16, prefix);
        if (strcmp(prefix, text_of(p, "keyPrefix")) == 0) {
            str_hex_encode(key, 32, key_hex);
            return counter;
        }
    }
    return -1;
}

static cJSON *challenge_new(struct fixture *f, int64_t expires_s)
{
    struct buf out;
    buf_init(&out, 4096);
    pow_write(&f->keys, &f->terms, WORK, expires_s, &out);
    cJSON *challenge = cJSON_ParseWithLength(out.p, out.n);
    buf_clear(&out);
    assert_non_null(challenge);
    return challenge;
}

static enum pow_verdict check_text(struct fixture *f, const char *json, int64_t now_s)
{
    char base64[2 * POW_PAYLOAD_MAX];
    struct pow_solved solved;
    size_t n = base64_encode(json, strlen(json), base64);
    return pow_check(&f->keys, &f->terms, str_of(base64, n), now_s, &f->arena, &solved);
}

/* A payload with its challenge solved; edit may change it before it is sent. */
static enum pow_verdict answer(struct fixture *f, cJSON *challenge, void (*edit)(cJSON *payload),
                               int64_t now_s)
{
    char key_hex[65];
    long counter = solve(challenge, WORK, key_hex);
    assert_true(counter >= 0);
    cJSON *payload = cJSON_CreateObject();
    cJSON_AddItemToObject(payload, "challenge", challenge);
    cJSON *solution = cJSON_AddObjectToObject(payload, "solution");
    cJSON_AddNumberToObject(solution, "counter", (double)counter);
    cJSON_AddStringToObject(solution, "derivedKey", key_hex);
    cJSON_AddNumberToObject(solution, "time", 12.5);
    if (edit) {
        edit(payload);
    }
    char *text = cJSON_PrintUnformatted(payload);
    enum pow_verdict verdict = check_text(f, text, now_s);
    cJSON_free(text);
    cJSON_Delete(payload);
    return verdict;
}

static void solved_is_taken(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 20; i++) {
        cJSON *challenge = challenge_new(f, NOW_S + LIFE_S);
        const cJSON *p = parameters_of(challenge);
        assert_string_equal(text_of(p, "algorithm"), "SHA-256");
        assert_int_equal(cJSON_GetObjectItem(p, "cost")->valueint, 1);
        assert_int_equal(cJSON_GetObjectItem(p, "expiresAt")->valueint, NOW_S + LIFE_S);
        assert_int_equal(answer(f, challenge, NULL, NOW_S), POW_OK);
    }
}

/* Counters are spread over the whole work: its half is the average, and none is beyond. */
static void work_is_what_was_asked(void **state)
{
    struct fixture *f = *state;
    long sum = 0, most = 0;
    char key_hex[65];
    for (int i = 0; i < 400; i++) {
        cJSON *challenge = challenge_new(f, NOW_S + LIFE_S);
        long counter = solve(challenge, WORK, key_hex);
        assert_true(counter >= 0);
        sum += counter;
        most = counter > most ? counter : most;
        cJSON_Delete(challenge);
    }
    assert_in_range(sum / 400, WORK * 2 / 5, WORK * 3 / 5); /* 6 standard deviations */
    assert_true(most > WORK * 9 / 10);
}

static void expires_to_the_second(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(answer(f, challenge_new(f, NOW_S + 1), NULL, NOW_S), POW_OK);
    assert_int_equal(answer(f, challenge_new(f, NOW_S), NULL, NOW_S), POW_EXPIRED);
    assert_int_equal(answer(f, challenge_new(f, NOW_S - 1), NULL, NOW_S), POW_EXPIRED);
}

static void bound_to_network_purpose_and_level(void **state)
{
    static const struct {
        const char *from, *to;
        enum pow_verdict verdict;
    } rows[] = {
        {"203.0.113.7", "203.0.113.250", POW_OK},
        {"203.0.113.7", "203.0.114.7", POW_WRONG_ADDRESS},
        {"2001:db8:1::1", "2001:db8:1:ffff::9", POW_OK},
        {"2001:db8:1::1", "2001:db8:2::1", POW_WRONG_ADDRESS},
        {"2001:db8:1::1", "203.0.113.7", POW_WRONG_ADDRESS},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_true(addr_parse(str_from(rows[i].from), &f->terms.client));
        cJSON *challenge = challenge_new(f, NOW_S + LIFE_S);
        assert_true(addr_parse(str_from(rows[i].to), &f->terms.client));
        assert_int_equal(answer(f, challenge, NULL, NOW_S), rows[i].verdict);
    }
    cJSON *challenge = challenge_new(f, NOW_S + LIFE_S);
    f->terms.purpose = "login";
    assert_int_equal(answer(f, challenge, NULL, NOW_S), POW_WRONG_PURPOSE);
    challenge = challenge_new(f, NOW_S + LIFE_S);
    f->terms.level = POW_LEVEL_HARD;
    assert_int_equal(answer(f, challenge, NULL, NOW_S), POW_TOO_EASY);
    challenge = challenge_new(f, NOW_S + LIFE_S);
    f->terms.level = POW_LEVEL_EASY;
    assert_int_equal(answer(f, challenge, NULL, NOW_S), POW_OK);
}

static void keys_of_a_ring_before_rotation_verify(void **state)
{
    struct fixture *f = *state;
    cJSON *old = challenge_new(f, NOW_S + LIFE_S);
    struct secret_ring *ring;
    struct pow_keys keys;
    ring_make(&ring);
    pow_keys_derive(ring, &keys);
    keys.keys[keys.n++] = f->keys.keys[0]; /* as a retired key stands in the ring */
    f->keys = keys;
    assert_int_equal(answer(f, old, NULL, NOW_S), POW_OK);
    old = challenge_new(f, NOW_S + LIFE_S);
    f->keys.keys[0] = f->keys.keys[--f->keys.n];
    f->keys.n = 1;
    assert_int_equal(answer(f, old, NULL, NOW_S), POW_BAD_SIGNATURE); /* a ring that never had the key */
    secret_ring_unref(ring);
}

/* --- cheats ------------------------------------------------------------------------------------------ */

static cJSON *params(cJSON *payload)
{
    return cJSON_GetObjectItem(cJSON_GetObjectItem(payload, "challenge"), "parameters");
}

static cJSON *solution(cJSON *payload)
{
    return cJSON_GetObjectItem(payload, "solution");
}

static void set_number(cJSON *object, const char *key, double v)
{
    cJSON_ReplaceItemInObjectCaseSensitive(object, key, cJSON_CreateNumber(v));
}

static void set_text(cJSON *object, const char *key, const char *v)
{
    cJSON_ReplaceItemInObjectCaseSensitive(object, key, cJSON_CreateString(v));
}

static void later_expiry(cJSON *p)
{
    set_number(params(p), "expiresAt", NOW_S + 99999);
}
static void no_expiry(cJSON *p)
{
    cJSON_DeleteItemFromObjectCaseSensitive(params(p), "expiresAt");
}
static void expiry_as_text(cJSON *p)
{
    set_text(params(p), "expiresAt", "1700000180");
}
static void easier_prefix(cJSON *p)
{
    set_text(params(p), "keyPrefix", "00");
}
static void empty_prefix(cJSON *p)
{
    set_text(params(p), "keyPrefix", "");
}
static void other_prefix(cJSON *p)
{
    set_text(params(p), "keyPrefix", "00000000000000000000000000000000");
}
static void huge_cost(cJSON *p)
{
    set_number(params(p), "cost", 2000000000);
}
static void other_algorithm(cJSON *p)
{
    set_text(params(p), "algorithm", "PBKDF2/SHA-256");
}
static void no_algorithm(cJSON *p)
{
    set_text(params(p), "algorithm", "none");
}
static void own_nonce(cJSON *p)
{
    set_text(params(p), "nonce", "000102030405060708090a0b0c0d0e0f");
}
static void forged_signature(cJSON *p)
{
    set_text(cJSON_GetObjectItem(p, "challenge"), "signature",
             "0000000000000000000000000000000000000000000000000000000000000000");
}
static void no_signature(cJSON *p)
{
    cJSON_DeleteItemFromObjectCaseSensitive(cJSON_GetObjectItem(p, "challenge"), "signature");
}
static void other_purpose(cJSON *p)
{
    set_text(cJSON_GetObjectItem(params(p), "data"), "for", "login");
}
static void higher_level(cJSON *p)
{
    set_number(cJSON_GetObjectItem(params(p), "data"), "level", 2);
}
static void more_data(cJSON *p)
{
    cJSON_AddStringToObject(cJSON_GetObjectItem(params(p), "data"), "admin", "true");
}
static void key_signature(cJSON *p)
{
    cJSON_AddStringToObject(params(p), "keySignature", "00");
}
/* Counter 0 with the key that it does give: the library that is fooled by this does not look at the prefix. */
static void counter_zero(cJSON *p)
{
    uint8_t text[36] = {0}, key[32];
    char hex[65];
    str_hex_decode(str_from(text_of(params(p), "salt")), text, 16);
    str_hex_decode(str_from(text_of(params(p), "nonce")), text + 16, 16);
    crypto_hash_sha256(key, text, sizeof text);
    str_hex_encode(key, 32, hex);
    if (strcmp(hex, text_of(solution(p), "derivedKey")) == 0) {
        hex[0] = hex[0] == '0' ? '1' : '0'; /* it was zero: still a cheat */
    }
    set_number(solution(p), "counter", 0);
    set_text(solution(p), "derivedKey", hex);
}
static void truncated_counter(cJSON *p)
{
    double counter = cJSON_GetNumberValue(cJSON_GetObjectItem(solution(p), "counter"));
    set_number(solution(p), "counter", counter + 4294967296.0); /* the same low 32 bits */
}
static void next_counter(cJSON *p)
{
    set_number(solution(p), "counter", cJSON_GetNumberValue(cJSON_GetObjectItem(solution(p), "counter")) + 1);
}
static void negative_counter(cJSON *p)
{
    set_number(solution(p), "counter", -1);
}
static void fractional_counter(cJSON *p)
{
    set_number(solution(p), "counter", 1.5);
}
static void short_key(cJSON *p)
{
    char hex[33];
    snprintf(hex, sizeof hex, "%.32s", text_of(solution(p), "derivedKey"));
    set_text(solution(p), "derivedKey", hex);
}
static void more_members(cJSON *p)
{
    cJSON_AddTrueToObject(p, "verified");
}
static void array_of_parameters(cJSON *p)
{
    cJSON_ReplaceItemInObjectCaseSensitive(cJSON_GetObjectItem(p, "challenge"), "parameters",
                                           cJSON_CreateArray());
}
static void nulls_of_typed_clients(cJSON *p)
{
    cJSON_AddNullToObject(params(p), "memoryCost");
    cJSON_AddNullToObject(params(p), "keySignature");
    cJSON_AddNullToObject(params(p), "parallelism");
    set_number(solution(p), "time", 0);
}

static void cheats_are_named(void **state)
{
    static const struct {
        void (*edit)(cJSON *payload);
        enum pow_verdict verdict;
    } rows[] = {
        {later_expiry, POW_BAD_SIGNATURE},
        {no_expiry, POW_MALFORMED},
        {expiry_as_text, POW_MALFORMED},
        {easier_prefix, POW_MALFORMED},
        {empty_prefix, POW_MALFORMED},
        {other_prefix, POW_BAD_SIGNATURE},
        {huge_cost, POW_BAD_SIGNATURE},
        {other_algorithm, POW_WRONG_ALGORITHM},
        {no_algorithm, POW_WRONG_ALGORITHM},
        {own_nonce, POW_BAD_SIGNATURE},
        {forged_signature, POW_BAD_SIGNATURE},
        {no_signature, POW_MALFORMED},
        {other_purpose, POW_BAD_SIGNATURE},
        {higher_level, POW_BAD_SIGNATURE},
        {more_data, POW_MALFORMED},
        {key_signature, POW_MALFORMED},
        {counter_zero, POW_WRONG_SOLUTION},
        {truncated_counter, POW_MALFORMED},
        {next_counter, POW_WRONG_SOLUTION},
        {negative_counter, POW_MALFORMED},
        {fractional_counter, POW_MALFORMED},
        {short_key, POW_MALFORMED},
        {more_members, POW_MALFORMED},
        {array_of_parameters, POW_MALFORMED},
        {nulls_of_typed_clients, POW_OK},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        print_message("cheat %zu\n", i);
        assert_int_equal(answer(f, challenge_new(f, NOW_S + LIFE_S), rows[i].edit, NOW_S), rows[i].verdict);
    }
}

/* A double member decides nothing: whichever of the two a reader takes. */
static void double_members_are_refused(void **state)
{
    struct fixture *f = *state;
    char key_hex[65], text[2048];
    cJSON *challenge = challenge_new(f, NOW_S + LIFE_S);
    long counter = solve(challenge, WORK, key_hex);
    char *plain = cJSON_PrintUnformatted(challenge);
    static const char *const doubled[] = {
        "\"solution\":{\"counter\":0,\"counter\":%ld,\"derivedKey\":\"%s\"}}",
        "\"solution\":{\"counter\":%ld,\"derivedKey\":\"%s\"},\"solution\":{}}",
        "\"solution\":{\"counter\":%ld,\"derivedKey\":\"%s\"}}"};
    for (size_t i = 0; i < 3; i++) {
        int n = snprintf(text, sizeof text, "{\"challenge\":%s,", plain);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(text + n, sizeof text - (size_t)n, doubled[i], counter, key_hex);
#pragma GCC diagnostic pop
        assert_int_equal(check_text(f, text, NOW_S), i == 2 ? POW_OK : POW_MALFORMED);
    }
    cJSON_free(plain);
    cJSON_Delete(challenge);
}

static void garbage_is_malformed(void **state)
{
    static const char *const texts[] = {
        "",
        "null",
        "[]",
        "{}",
        "{\"challenge\":{}}",
        "{\"challenge\":null,\"solution\":null}",
        "\xff\xfe",
        "{\"challenge\":{\"parameters\":{},\"signature\":\"\"},\"solution\":{}}"};
    struct fixture *f = *state;
    struct pow_solved solved;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_int_equal(check_text(f, texts[i], NOW_S), texts[i][0] ? POW_MALFORMED : POW_MISSING);
    }
    assert_int_equal(pow_check(&f->keys, &f->terms, STR("not base64!"), NOW_S, &f->arena, &solved),
                     POW_MALFORMED);
    char *large = calloc(1, POW_PAYLOAD_MAX + 5);
    memset(large, 'A', POW_PAYLOAD_MAX + 4);
    assert_int_equal(pow_check(&f->keys, &f->terms, str_from(large), NOW_S, &f->arena, &solved),
                     POW_MALFORMED);
    free(large);
}

/* --- once --------------------------------------------------------------------------------------------- */

static void note(void *arg, bool is_good)
{
    *(int *)arg = is_good;
}

static void counts_once_without_redis(void **state)
{
    struct pow_spent *spent = pow_spent_new(1024);
    struct pow_spend spend;
    struct pow_solved first = {.expires_s = NOW_S + LIFE_S};
    struct pow_solved second = {.expires_s = NOW_S + LIFE_S};
    int is_good = -1;
    id_random(first.id, sizeof first.id);
    id_random(second.id, sizeof second.id);
    pow_spend(spent, NULL, &spend, &first, NOW_S, note, &is_good);
    assert_int_equal(is_good, 1);
    pow_spend(spent, NULL, &spend, &first, NOW_S, note, &is_good);
    assert_int_equal(is_good, 0);
    pow_spend(spent, NULL, &spend, &second, NOW_S, note, &is_good);
    assert_int_equal(is_good, 1);
    pow_spend_forget(&spend);
    pow_spent_free(spent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(solved_is_taken, set_up, tear_down),
        cmocka_unit_test_setup_teardown(work_is_what_was_asked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(expires_to_the_second, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bound_to_network_purpose_and_level, set_up, tear_down),
        cmocka_unit_test_setup_teardown(keys_of_a_ring_before_rotation_verify, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cheats_are_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(double_members_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(garbage_is_malformed, set_up, tear_down),
        cmocka_unit_test(counts_once_without_redis),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
