#include "tests/unit/temp.h"

#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "base/base64.h"
#include "base/jws.h"

#define NOW 1795318826
#define USER "0192f3a4-0000-7000-8000-00000000000f"
#define SESSION "0192f3a4-1111-7000-8000-00000000000f"
#define CLAIMS "\"iss\":\"https://a\",\"aud\":\"app\",\"sub\":\"" USER "\",\"session_id\":\"" SESSION "\""
#define GOOD "{" CLAIMS ",\"exp\":1795318926,\"iat\":1795318726,\"plan\":\"free\"}"

static struct jws_issuer issuers[2];
static struct jws_verifier verifier = {.issuers = issuers, .n = 2, .leeway_s = 30};
static const struct jws_key *ours, *theirs; /* EC with private half; RSA */
static EVP_PKEY *rsa;
static struct arena arena;

static void write_pem(const char *name, EVP_PKEY *pkey, bool private, mode_t mode)
{
    FILE *f = fopen(temp_path(name), "w");
    assert_non_null(f);
    assert_int_equal(
        private ? PEM_write_PrivateKey(f, pkey, NULL, NULL, 0, NULL, NULL) : PEM_write_PUBKEY(f, pkey), 1);
    fclose(f);
    chmod(temp_path(name), mode);
}

static int set_up(void **state)
{
    char kid[JWS_KID_MAX + 1];
    struct err err;
    if (temp_make(state) != 0 || jws_key_generate(temp_folder, kid, &err) != 0 ||
        jws_keys_load(temp_folder, &issuers[0].keys, &err) != 0) {
        return -1;
    }
    rsa = EVP_RSA_gen(2048);
    write_pem("other.pub", rsa, false, 0644);
    if (jws_keys_load(temp_path("other.pub"), &issuers[1].keys, &err) != 0) {
        return -1;
    }
    issuers[0].iss = "https://a";
    issuers[0].aud = "app";
    issuers[0].needs_session = true;
    issuers[1].iss = "https://b";
    issuers[1].aud = "probe";
    ours = jws_keys_signer(&issuers[0].keys, NULL, NULL);
    theirs = &issuers[1].keys.items[0];
    return ours && strcmp(ours->kid, kid) == 0 ? 0 : -1;
}

static int tear_down(void **state)
{
    jws_keys_clear(&issuers[0].keys);
    jws_keys_clear(&issuers[1].keys);
    EVP_PKEY_free(rsa);
    arena_clear(&arena);
    return temp_remove(state);
}

static int verify_at(struct str token, int64_t now, int64_t grace, struct jws_claims *claims)
{
    arena_clear(&arena);
    return jws_verify(&verifier, token, now, grace, &arena, claims, NULL, NULL);
}

static int verify(const char *token)
{
    struct jws_claims claims;
    return verify_at(str_from(token), NOW, 0, &claims);
}

/* Borrowed until the next call. */
static const char *sign(const char *payload)
{
    static char token[JWS_TOKEN_MAX + 1];
    struct buf b;
    buf_init(&b, JWS_TOKEN_MAX);
    assert_int_equal(jws_sign(ours, "JWT", str_from(payload), &b, NULL), 0);
    memcpy(token, b.p, b.n + 1);
    buf_clear(&b);
    return token;
}

static void sign_into(char token[JWS_TOKEN_MAX + 1])
{
    const char *signed_text = sign(GOOD);
    memcpy(token, signed_text, strlen(signed_text) + 1);
}

static void add_part(struct buf *b, const void *p, size_t n)
{
    char *text = malloc(BASE64_TEXT(n));
    base64url_encode(p, n, text);
    buf_addf(b, "%s%s", b->n ? "." : "", text);
    free(text);
}

/* header.payload with any header; the signature follows by add_part. */
static struct buf unsigned_token(const char *header, const char *payload)
{
    struct buf b;
    buf_init(&b, 1 << 22);
    add_part(&b, header, strlen(header));
    add_part(&b, payload, strlen(payload));
    return b;
}

/* Signed by our key whatever the header says. */
static int verify_header(const char *header, const char *payload)
{
    struct buf b = unsigned_token(header, payload);
    uint8_t der[80], rs[64];
    size_t n = sizeof(der);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, ours->pkey);
    EVP_DigestSign(ctx, der, &n, (uint8_t *)b.p, b.n);
    EVP_MD_CTX_free(ctx);
    const uint8_t *from = der;
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &from, (long)n);
    BN_bn2binpad(ECDSA_SIG_get0_r(sig), rs, 32);
    BN_bn2binpad(ECDSA_SIG_get0_s(sig), rs + 32, 32);
    ECDSA_SIG_free(sig);
    add_part(&b, rs, sizeof(rs));
    int rc = verify(b.p);
    buf_clear(&b);
    return rc;
}

static const char *header_of(const char *alg, const char *rest)
{
    static char header[512];
    snprintf(header, sizeof(header), "{\"alg\":\"%s\",\"kid\":\"%s\"%s}", alg, ours->kid, rest);
    return header;
}

static void what_we_sign_we_accept(void **state)
{
    struct jws_claims c;
    struct str payload;
    char token[JWS_TOKEN_MAX + 1];
    sign_into(token);
    arena_clear(&arena);
    assert_int_equal(jws_verify(&verifier, str_from(token), NOW, 0, &arena, &c, &payload, NULL), 0);
    assert_string_equal(c.sub, USER);
    assert_string_equal(c.plan, "free");
    assert_int_equal(c.era, 0);
    assert_int_equal(c.exp, 1795318926);
    assert_int_equal(c.iat, 1795318726);
    assert_int_equal(c.issuer, 0);
    char text[ID_UUID_TEXT + 1];
    uuid_format(&c.session, text);
    assert_string_equal(text, SESSION);
    assert_true(str_is(payload, GOOD));
    assert_int_equal(verify_header(header_of("ES256", ""), GOOD), 0);
    assert_int_equal(verify_header(header_of("ES256", ",\"typ\":\"AT+jwt\""), GOOD), 0);
}

static void every_changed_byte_is_refused(void **state)
{
    char token[JWS_TOKEN_MAX + 1];
    struct jws_claims c;
    sign_into(token);
    size_t n = strlen(token);
    for (size_t i = 0; i < n; i++) {
        char was = token[i];
        token[i] = was == 'A' ? 'B' : 'A';
        assert_true(verify(token) < 0);
        token[i] = was;
        assert_true(verify_at(str_of(token, i), NOW, 0, &c) < 0);
    }
    assert_int_equal(verify(token), 0);
}

static void algorithms_belong_to_keys(void **state)
{
    static const char *const none[] = {"none", "None", "NONE", "", "HS256", "RS256", "ES384", "es256"};
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        assert_int_equal(verify_header(header_of(none[i], ""), GOOD), ERR_DENIED);
        struct buf b = unsigned_token(header_of(none[i], ""), GOOD);
        buf_add_char(&b, '.');
        assert_int_equal(verify(b.p), ERR_DENIED);
        buf_clear(&b);
    }
    /* HS256 with the public PEM as its secret, and with an empty one */
    char *pem;
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_PUBKEY(bio, ours->pkey);
    long pem_n = BIO_get_mem_data(bio, &pem);
    for (int empty = 0; empty < 2; empty++) {
        struct buf b = unsigned_token(header_of("HS256", ""), GOOD);
        uint8_t mac[32];
        HMAC(EVP_sha256(), pem, empty ? 0 : (int)pem_n, (uint8_t *)b.p, b.n, mac, NULL);
        add_part(&b, mac, sizeof(mac));
        assert_int_equal(verify(b.p), ERR_DENIED);
        buf_clear(&b);
    }
    BIO_free(bio);
}

static void signatures_have_one_form(void **state)
{
    uint8_t sig[80];
    struct buf b = unsigned_token(header_of("ES256", ""), GOOD);
    size_t n = b.n;
    static const uint8_t order[32] = {0xff, 0xff, 0xff, 0xff, 0,    0,    0,    0,    0xff, 0xff, 0xff,
                                      0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17,
                                      0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51};
    memset(sig, 0, sizeof(sig)); /* r = s = 0 */
    add_part(&b, sig, 64);
    assert_int_equal(verify(b.p), ERR_DENIED);
    memcpy(sig, order, 32); /* r = n, s = 1 */
    sig[63] = 1;
    b.n = n;
    add_part(&b, sig, 64);
    assert_int_equal(verify(b.p), ERR_DENIED);
    b.n = n; /* DER, correct otherwise */
    b.p[n] = '\0';
    size_t der_n = sizeof(sig);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, ours->pkey);
    EVP_DigestSign(ctx, sig, &der_n, (uint8_t *)b.p, b.n);
    EVP_MD_CTX_free(ctx);
    add_part(&b, sig, der_n);
    assert_int_equal(verify(b.p), ERR_DENIED);
    for (size_t length = 63; length <= 65; length += 2) {
        b.n = n;
        memset(sig, 1, sizeof(sig));
        add_part(&b, sig, length);
        assert_int_equal(verify(b.p), ERR_DENIED);
    }
    char token[JWS_TOKEN_MAX + 1]; /* a good one with a byte more: 64 bytes are 86 letters */
    uint8_t longer[65] = {0};
    sign_into(token);
    char *last = strrchr(token, '.') + 1;
    assert_int_equal(base64url_decode(str_from(last), longer, 64), 64);
    base64url_encode(longer, sizeof(longer), last);
    assert_int_equal(verify(token), ERR_DENIED);
    b.n = n;
    buf_add_cstr(&b, "."); /* none at all */
    assert_int_equal(verify(b.p), ERR_DENIED);
    buf_clear(&b);
}

static void headers_are_strict(void **state)
{
    static const char *const extra[] = {
        ",\"crit\":[\"exp\"]",
        ",\"jku\":\"https://x\"",
        ",\"x5u\":\"https://x\"",
        ",\"x5c\":[]",
        ",\"jwk\":{}",
        ",\"zip\":\"DEF\"",
        ",\"b64\":false",
        ",\"alg\":\"none\"",
        ",\"\\u0061lg\":\"none\"",
        ",\"typ\":7",
        ",\"x\":[[[[[[[[[[]]]]]]]]]]",
    };
    for (size_t i = 0; i < sizeof(extra) / sizeof(extra[0]); i++) {
        assert_int_equal(verify_header(header_of("ES256", extra[i]), GOOD), ERR_INVALID);
    }
    assert_int_equal(verify_header(header_of("ES256", ",\"typ\":\"dpop+jwt\""), GOOD), ERR_DENIED);
    assert_int_equal(verify_header("{\"alg\":\"ES256\",\"kid\":\"../../dev/null\"}", GOOD), ERR_NOT_FOUND);
    assert_int_equal(verify_header("{\"alg\":\"ES256\"}", GOOD), 0); /* one key: no choice */
    assert_int_equal(verify_header("{\"alg\":\"ES256\",\"kid\":7}", GOOD), ERR_INVALID);
    assert_int_equal(verify_header("[]", GOOD), ERR_INVALID);
    assert_int_equal(verify("a"), ERR_INVALID);
    assert_int_equal(verify("a.b"), ERR_INVALID);
    assert_int_equal(verify("..."), ERR_INVALID);
    assert_int_equal(verify(""), ERR_INVALID);
}

static void spelling_is_strict(void **state)
{
    char token[JWS_TOKEN_MAX + 1], padded[JWS_TOKEN_MAX + 8];
    sign_into(token);
    snprintf(padded, sizeof(padded), "%s==", token);
    assert_int_equal(verify(padded), ERR_DENIED);
    snprintf(padded, sizeof(padded), " %s", token);
    assert_int_equal(verify(padded), ERR_INVALID);
    snprintf(padded, sizeof(padded), "%s.x", token);
    assert_int_equal(verify(padded), ERR_INVALID);
    char *header = malloc(1 << 20);
    memset(header, 'A', 1 << 20);
    struct jws_claims c;
    assert_int_equal(verify_at(str_of(header, 1 << 20), NOW, 0, &c), ERR_LIMIT);
    assert_int_equal(verify_at(str_of(header, JWS_TOKEN_MAX + 1), NOW, 0, &c), ERR_LIMIT);
    free(header);
}

static void claims_are_checked(void **state)
{
    static const struct {
        const char *payload;
        int rc;
    } cases[] = {
        {"{" CLAIMS "}", ERR_INVALID},
        {"{" CLAIMS ",\"exp\":\"1795318926\"}", ERR_INVALID},
        {"{" CLAIMS ",\"exp\":1e999}", ERR_INVALID},
        {"{" CLAIMS ",\"exp\":-1}", ERR_INVALID},
        {"{" CLAIMS ",\"exp\":null}", ERR_INVALID},
        {"{" CLAIMS ",\"exp\":1795318926.75}", 0},
        {"{" CLAIMS ",\"exp\":1795318797}", 0}, /* 29 s ago: inside the leeway */
        {"{" CLAIMS ",\"exp\":1795318796}", ERR_TIMEOUT},
        {"{" CLAIMS ",\"exp\":1795318926,\"exp\":9999999999}", ERR_INVALID},
        {"{" CLAIMS ",\"exp\":1795318926,\"nbf\":1795318857}", ERR_AGAIN},
        {"{" CLAIMS ",\"exp\":1795318926,\"iat\":1795318857}", ERR_AGAIN},
        {"{" CLAIMS ",\"exp\":1795318726,\"nbf\":1795318926}", ERR_AGAIN}, /* never valid: not kept as over */
        {"{" CLAIMS ",\"exp\":1795318926,\"nbf\":\"x\"}", ERR_INVALID},
        {"{\"iss\":\"https://c\",\"aud\":\"app\",\"sub\":\"x\",\"exp\":1795318926}", ERR_NOT_FOUND},
        {"{\"aud\":\"app\",\"sub\":\"x\",\"exp\":1795318926}", ERR_NOT_FOUND},
        {"{\"iss\":[\"https://a\"],\"aud\":\"app\",\"sub\":\"x\",\"exp\":1795318926}", ERR_NOT_FOUND},
        {"{\"iss\":\"https://a\",\"aud\":\"apps\",\"sub\":\"x\",\"exp\":1795318926}", ERR_DENIED},
        {"{\"iss\":\"https://a\",\"sub\":\"x\",\"exp\":1795318926}", ERR_DENIED},
        {"{\"iss\":\"https://a\",\"aud\":[\"x\",\"y\"],\"sub\":\"x\",\"exp\":1795318926}", ERR_DENIED},
        {"{\"iss\":\"https://a\",\"aud\":[\"x\",\"app\"],\"sub\":\"" USER "\",\"sid\":\"" SESSION
         "\",\"exp\":1795318926}",
         0},
        {"{\"iss\":\"https://a\",\"aud\":[7,\"app\"],\"sub\":\"x\",\"exp\":1795318926}", ERR_DENIED},
        {"{\"iss\":\"https://a\",\"aud\":\"app\",\"sub\":\"x\",\"exp\":1795318926}",
         ERR_DENIED}, /* no session */
        {"{\"iss\":\"https://a\",\"aud\":\"app\",\"exp\":1795318926}", ERR_INVALID},
        {"{\"iss\":\"https://a\",\"aud\":\"app\",\"sub\":7,\"exp\":1795318926}", ERR_INVALID},
        {"{\"iss\":\"https://a\",\"aud\":\"app\",\"sub\":\"x\",\"session_id\":\"y\",\"exp\":1795318926}",
         ERR_INVALID},
        {"{\"iss\":\"https://b\",\"aud\":\"probe\",\"sub\":\"x\",\"exp\":1795318926}",
         ERR_NOT_FOUND}, /* our kid */
        {"[]", ERR_INVALID},
        {"{\"a\":\"\\u0000\"}", ERR_INVALID},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(verify(sign(cases[i].payload)), cases[i].rc);
    }
}

static void grace_lengthens_only_the_end(void **state)
{
    struct jws_claims c;
    const char *token = sign(GOOD); /* until 1795318926 */
    assert_int_equal(verify_at(str_from(token), 1795318926 + 1800, 0, &c), ERR_TIMEOUT);
    assert_int_equal(c.exp, 1795318926); /* so that the verdict may be kept */
    assert_int_equal(verify_at(str_from(token), 1795318926 + 1800, 3600, &c), 0);
    assert_int_equal(verify_at(str_from(token), 1795318926 + 3630, 3600, &c), ERR_TIMEOUT);
    assert_int_equal(verify_at(str_from(token), 1795318726 - 60, 3600, &c), ERR_AGAIN);
}

static void rs256_verifies(void **state)
{
    char header[256];
    struct jws_claims c;
    uint8_t sig[256];
    size_t n = sizeof(sig);
    snprintf(header, sizeof(header), "{\"alg\":\"RS256\",\"kid\":\"%s\"}", theirs->kid);
    struct buf b =
        unsigned_token(header, "{\"iss\":\"https://b\",\"aud\":\"probe\",\"sub\":\"p1\",\"exp\":1795318926}");
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, rsa);
    assert_int_equal(EVP_DigestSign(ctx, sig, &n, (uint8_t *)b.p, b.n), 1);
    EVP_MD_CTX_free(ctx);
    add_part(&b, sig, n);
    assert_int_equal(verify_at(buf_str(&b), NOW, 0, &c), 0);
    assert_int_equal(c.issuer, 1);
    assert_string_equal(c.sub, "p1");
    buf_clear(&b);
    buf_init(&b, 100);
    assert_int_equal(jws_sign(theirs, "JWT", STR("{}"), &b, NULL), ERR_INVALID);
    assert_int_equal(jws_sign(ours, "JWT", STR("{}"), &b, NULL), ERR_LIMIT);
    buf_clear(&b);
}

static void keys_come_from_pem(void **state)
{
    struct jws_keys k;
    struct err err;
    EVP_PKEY *p384 = EVP_EC_gen("P-384"), *small = EVP_RSA_gen(1024), *ec = EVP_EC_gen("P-256");
    write_pem("a", ec, true, 0644);
    assert_int_equal(jws_keys_load(temp_path("a"), &k, &err), ERR_DENIED); /* others can read it */
    write_pem("a", p384, true, 0600);
    assert_int_equal(jws_keys_load(temp_path("a"), &k, &err), ERR_INVALID);
    write_pem("a", small, true, 0600);
    assert_int_equal(jws_keys_load(temp_path("a"), &k, &err), ERR_INVALID);
    temp_write("a", "not a key", 0600);
    assert_int_equal(jws_keys_load(temp_path("a"), &k, &err), ERR_INVALID);
    assert_int_equal(jws_keys_load(temp_path("absent"), &k, &err), ERR_IO);
    assert_int_equal(k.n, 0);
    write_pem("zz-next.pem", ec, true, 0600);
    assert_int_equal(jws_keys_load(temp_folder, &k, &err), 0);
    assert_int_equal(k.n, 2);
    assert_null(jws_keys_signer(&k, NULL, &err)); /* two: one must be named */
    assert_string_equal(jws_keys_signer(&k, "zz-next", &err)->kid, "zz-next");
    assert_null(jws_keys_signer(&k, "zz", &err));
    assert_non_null(jws_keys_find(&k, STR("zz-next")));
    jws_keys_clear(&k);
    write_pem("zz-next.pem", ec, false, 0644); /* retired: only the public half is left */
    assert_int_equal(jws_keys_load(temp_folder, &k, &err), 0);
    assert_string_equal(jws_keys_signer(&k, NULL, &err)->kid, ours->kid);
    jws_keys_clear(&k);
    EVP_PKEY_free(p384);
    EVP_PKEY_free(small);
    EVP_PKEY_free(ec);
}

/* The RSA key of RFC 7638 3.1 and its thumbprint. */
static void thumbprints_are_rfc_7638(void **state)
{
    static const char pem[] = "-----BEGIN PUBLIC KEY-----\n"
                              "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA0vx7agoebGcQSuuPiLJX\n"
                              "ZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tS\n"
                              "oc/BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ/2W+5JsGY4Hc5n9yBXArwl93lqt\n"
                              "7/RN5w6Cf0h4QyQ5v+65YGjQR0/FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0\n"
                              "zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt+bFTWhAI4vMQFh6WeZu0f\n"
                              "M4lFd2NcRwr3XPksINHaQ+G/xBniIqbw0Ls1jF44+csFCur+kEgU8awapJzKnqDK\n"
                              "gwIDAQAB\n-----END PUBLIC KEY-----\n";
    struct jws_keys k;
    struct buf out;
    buf_init(&out, 4096);
    assert_int_equal(jws_keys_load(temp_write("rfc", pem, 0644), &k, NULL), 0);
    assert_string_equal(k.items[0].kid, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    jws_write_jwks(&k, &out);
    assert_non_null(
        strstr(out.p, "{\"keys\":[{\"e\":\"AQAB\",\"kty\":\"RSA\",\"n\":\"0vx7agoebGcQSuuPiLJXZptN9nndrQm"));
    assert_non_null(
        strstr(out.p, "\",\"alg\":\"RS256\",\"use\":\"sig\",\"key_ops\":[\"verify\"],\"kid\":\"NzbLs"));
    assert_string_equal(out.p + out.n - 3, "}]}");
    jws_keys_clear(&k);
    buf_truncate(&out);
    jws_write_jwks(&issuers[0].keys, &out);
    assert_non_null(strstr(out.p, "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\""));
    assert_null(strstr(out.p, "\"d\":"));
    buf_clear(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_we_sign_we_accept),
        cmocka_unit_test(every_changed_byte_is_refused),
        cmocka_unit_test(algorithms_belong_to_keys),
        cmocka_unit_test(signatures_have_one_form),
        cmocka_unit_test(headers_are_strict),
        cmocka_unit_test(spelling_is_strict),
        cmocka_unit_test(claims_are_checked),
        cmocka_unit_test(grace_lengthens_only_the_end),
        cmocka_unit_test(rs256_verifies),
        cmocka_unit_test(keys_come_from_pem),
        cmocka_unit_test(thumbprints_are_rfc_7638),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
