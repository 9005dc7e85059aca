/* Signing and verifying. The checks come in the order of their cost: length, header, issuer, key, signature,
 * claims. Nothing of the payload but `iss` is believed before the signature is. */
#include "base/jws.h"

#include <math.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>

#include "base/base64.h"
#include "base/json.h"

enum { HALF = 32, ES256_BYTES = 2 * HALF, ES256_DER_MAX = 72, RS256_MAX = 1024 };

static const struct json_limits token_limits = {
    .max_depth = 8, .max_members = 64, .max_items = 64, .max_string = JWS_TOKEN_MAX};

/* n of P-256 (SEC 2, 2.4.2): r and s lie between 0 and it, exclusive. */
static const uint8_t order[HALF] = {0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff,
                                    0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17,
                                    0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51};

struct parts {
    struct str header, payload, signature; /* base64url */
    struct str input;                      /* header.payload: what is signed */
};

struct header {
    struct str alg, kid, typ;
};

/* --- parsing ---------------------------------------------------------------------------------- */

static bool split(struct str token, struct parts *out)
{
    const char *first = memchr(token.p, '.', token.n);
    const char *last = memrchr(token.p, '.', token.n);
    if (!first || first == last) {
        return false;
    }
    const char *end = token.p + token.n;
    out->header = str_of(token.p, (size_t)(first - token.p));
    out->payload = str_of(first + 1, (size_t)(last - first - 1));
    out->signature = str_of(last + 1, (size_t)(end - last - 1));
    out->input = str_of(token.p, (size_t)(last - token.p));
    return true; /* further dots fail as base64url */
}

static int decode_json(struct arena *a, struct str base64, const char *what, struct json_doc *out,
                       struct err *err)
{
    uint8_t *p = arena_alloc(a, base64.n + 1);
    ptrdiff_t n = base64url_decode(base64, p, base64.n);
    if (n < 0) {
        return err_set(err, ERR_INVALID, "token: its %s is not base64url", what);
    }
    int rc = json_scan(a, str_of((char *)p, (size_t)n), &token_limits, out, NULL);
    if (rc != 0 || out->type != JSON_OBJECT) {
        return err_set(err, ERR_INVALID, "token: its %s is not an acceptable JSON object", what);
    }
    return 0;
}

/* "" when the member is absent; false when it is there but not a string. */
static bool member_text(struct arena *a, const struct json_doc *doc, const char *name, struct str *out)
{
    const struct json_slice *m = json_member(doc, name);
    *out = STR("");
    return !m || json_get_str(a, m, out);
}

static int read_header(struct arena *a, struct str base64, struct header *out, struct err *err)
{
    static const char *const refused[] = {"crit", "jku", "x5u", "x5c", "jwk", "zip", "b64"};
    struct json_doc doc;
    int rc = decode_json(a, base64, "header", &doc, err);
    if (rc != 0) {
        return rc;
    }
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        if (json_member(&doc, refused[i])) {
            return err_set(err, ERR_INVALID, "token: header member %s is not allowed", refused[i]);
        }
    }
    if (!member_text(a, &doc, "alg", &out->alg) || !member_text(a, &doc, "kid", &out->kid) ||
        !member_text(a, &doc, "typ", &out->typ)) {
        return err_set(err, ERR_INVALID, "token: alg, kid and typ must be texts");
    }
    return 0;
}

/* --- issuer and key --------------------------------------------------------------------------- */

static const struct jws_issuer *find_issuer(const struct jws_verifier *v, struct str iss)
{
    for (unsigned i = 0; i < v->n; i++) {
        if (str_is(iss, v->issuers[i].iss)) {
            return &v->issuers[i];
        }
    }
    return NULL;
}

/* Without a kid only where there is no choice. */
static const struct jws_key *find_key(const struct jws_issuer *issuer, struct str kid)
{
    if (kid.n == 0) {
        return issuer->keys.n == 1 ? &issuer->keys.items[0] : NULL;
    }
    return jws_keys_find(&issuer->keys, kid);
}

static bool alg_fits(const struct jws_key *key, struct str alg)
{
    return str_is(alg, key->alg == JWS_ES256 ? "ES256" : "RS256");
}

static bool typ_fits(const struct jws_issuer *issuer, struct str typ)
{
    if (issuer->typ) {
        return str_eq_nocase(typ, str_from(issuer->typ));
    }
    return typ.n == 0 || str_eq_nocase(typ, STR("JWT")) || str_eq_nocase(typ, STR("at+jwt"));
}

/* --- signatures ------------------------------------------------------------------------------- */

static bool half_in_range(const uint8_t *half)
{
    static const uint8_t zero[HALF];
    return memcmp(half, zero, HALF) != 0 && memcmp(half, order, HALF) < 0;
}

/* R||S into the DER form that OpenSSL verifies; its length, or -1. */
static int der_of(const uint8_t *rs, size_t n, uint8_t der[ES256_DER_MAX])
{
    if (n != ES256_BYTES || !half_in_range(rs) || !half_in_range(rs + HALF)) {
        return -1;
    }
    ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(rs, HALF, NULL), *s = BN_bin2bn(rs + HALF, HALF, NULL);
    BUG_ON(!sig || !r || !s || ECDSA_SIG_set0(sig, r, s) != 1);
    int length = i2d_ECDSA_SIG(sig, &der);
    ECDSA_SIG_free(sig);
    return length;
}

static bool verify_bytes(EVP_PKEY *pkey, struct str input, const uint8_t *sig, size_t n)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx && EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, pkey) == 1 &&
              EVP_DigestVerify(ctx, sig, n, (const uint8_t *)input.p, input.n) == 1;
    EVP_MD_CTX_free(ctx);
    if (!ok) {
        ERR_clear_error();
    }
    return ok;
}

static bool signature_ok(const struct jws_key *key, const struct parts *p)
{
    uint8_t bytes[RS256_MAX], der[ES256_DER_MAX];
    ptrdiff_t n = base64url_decode(p->signature, bytes, sizeof(bytes));
    if (n <= 0) {
        return false;
    }
    if (key->alg == JWS_RS256) {
        return n == EVP_PKEY_get_size(key->pkey) && verify_bytes(key->pkey, p->input, bytes, (size_t)n);
    }
    int der_n = der_of(bytes, (size_t)n, der);
    return der_n > 0 && verify_bytes(key->pkey, p->input, der, (size_t)der_n);
}

/* --- claims ----------------------------------------------------------------------------------- */

/* NumericDate may have a fraction (RFC 7519 2): cut. false when it is no number, or absent and needed. */
static bool read_date(const struct json_doc *doc, const char *name, bool needed, int64_t *out)
{
    const struct json_slice *m = json_member(doc, name);
    double d;
    *out = 0;
    if (!m) {
        return !needed;
    }
    if (!json_get_f64(m, &d) || d < 0 || d > 253402300799.0) {
        return false;
    }
    *out = (int64_t)d;
    return true;
}

static bool audience_fits(struct arena *a, const struct json_doc *doc, const char *want)
{
    const struct json_slice *m = json_member(doc, "aud");
    struct json_slice item;
    struct str text;
    if (!m || m->type != JSON_ARRAY) {
        return json_get_str(a, m, &text) && str_is(text, want);
    }
    struct str in = m->raw;
    bool found = false;
    while (json_next(&in, &item)) {
        if (!json_get_str(a, &item, &text)) {
            return false;
        }
        found = found || str_is(text, want);
    }
    return found;
}

static bool copy_text(char *to, size_t room, struct str from)
{
    if (from.n >= room || memchr(from.p, '\0', from.n)) {
        return false;
    }
    memcpy(to, from.p, from.n);
    to[from.n] = '\0';
    return true;
}

static int read_session(struct arena *a, const struct json_doc *doc, bool needed, struct jws_claims *out,
                        struct err *err)
{
    struct str text;
    const char *name = json_member(doc, "session_id") ? "session_id" : "sid";
    if (!member_text(a, doc, name, &text)) {
        return err_set(err, ERR_INVALID, "token: %s is not a text", name);
    }
    if (text.n > 0 && !uuid_parse(text, &out->session)) {
        return err_set(err, ERR_INVALID, "token: %s is not a UUID", name);
    }
    return text.n == 0 && needed ? err_set(err, ERR_DENIED, "token: it has no session") : 0;
}

static int read_claims(struct arena *a, const struct json_doc *doc, const struct jws_issuer *issuer,
                       struct jws_claims *out, struct err *err)
{
    struct str sub, plan;
    if (!audience_fits(a, doc, issuer->aud)) {
        return err_set(err, ERR_DENIED, "token: it is for another audience");
    }
    if (!member_text(a, doc, "sub", &sub) || sub.n == 0 || !copy_text(out->sub, sizeof(out->sub), sub)) {
        return err_set(err, ERR_INVALID, "token: sub must be a text of 1 to %d bytes", JWS_SUB_MAX);
    }
    uuid_parse(sub, &out->user);
    if (!member_text(a, doc, "plan", &plan) || !copy_text(out->plan, sizeof(out->plan), plan)) {
        return err_set(err, ERR_INVALID, "token: plan must be a text of %d bytes at most", JWS_PLAN_MAX);
    }
    if (!json_get_i64(json_member(doc, "era"), &out->era)) {
        out->era = 0;
    }
    return read_session(a, doc, issuer->needs_session, out, err);
}

static int check_time(const struct jws_verifier *v, const struct json_doc *doc, int64_t now_s,
                      int64_t grace_s, struct jws_claims *out, struct err *err)
{
    int64_t nbf;
    if (!read_date(doc, "exp", true, &out->exp) || !read_date(doc, "nbf", false, &nbf) ||
        !read_date(doc, "iat", false, &out->iat)) {
        return err_set(err, ERR_INVALID, "token: exp, nbf and iat must be dates in seconds");
    }
    if (nbf > now_s + v->leeway_s || out->iat > now_s + v->leeway_s) {
        return err_set(err, ERR_AGAIN, "token: it is not valid yet");
    }
    if (now_s >= out->exp + v->leeway_s + grace_s) {
        return err_set(err, ERR_TIMEOUT, "token: it has expired");
    }
    return 0;
}

/* --- verifying -------------------------------------------------------------------------------- */

static int check_signed(const struct jws_verifier *v, const struct parts *p, struct arena *a,
                        struct json_doc *payload, const struct jws_issuer **issuer, struct err *err)
{
    struct header h;
    struct str iss;
    int rc = read_header(a, p->header, &h, err);
    rc = rc == 0 ? decode_json(a, p->payload, "payload", payload, err) : rc;
    if (rc != 0) {
        return rc;
    }
    if (!member_text(a, payload, "iss", &iss) || !(*issuer = find_issuer(v, iss))) {
        return err_set(err, ERR_NOT_FOUND, "token: its issuer is not known here");
    }
    const struct jws_key *key = find_key(*issuer, h.kid);
    if (!key) {
        return err_set(err, ERR_NOT_FOUND, "token: its key is not known here");
    }
    if (!alg_fits(key, h.alg) || !typ_fits(*issuer, h.typ)) {
        return err_set(err, ERR_DENIED, "token: wrong algorithm or type");
    }
    return signature_ok(key, p) ? 0 : err_set(err, ERR_DENIED, "token: wrong signature");
}

int jws_verify(const struct jws_verifier *v, struct str token, int64_t now_s, int64_t grace_s,
               struct arena *a, struct jws_claims *out, struct str *payload, struct err *err)
{
    struct parts p;
    struct json_doc doc;
    const struct jws_issuer *issuer = NULL;
    BUG_ON(v->leeway_s < 0 || v->leeway_s > JWS_LEEWAY_MAX_S);
    *out = (struct jws_claims){.sub = ""};
    if (token.n > JWS_TOKEN_MAX) {
        return err_set(err, ERR_LIMIT, "token: more than %d bytes", JWS_TOKEN_MAX);
    }
    if (!split(token, &p)) {
        return err_set(err, ERR_INVALID, "token: not three parts with dots between");
    }
    int rc = check_signed(v, &p, a, &doc, &issuer, err);
    rc = rc == 0 ? read_claims(a, &doc, issuer, out, err) : rc;
    rc = rc == 0 ? check_time(v, &doc, now_s, grace_s, out, err) : rc;
    if (rc != 0) {
        return rc;
    }
    out->issuer = (unsigned)(issuer - v->issuers);
    if (payload) {
        *payload = doc.raw;
    }
    return 0;
}

/* --- signing ---------------------------------------------------------------------------------- */

static bool sign_bytes(EVP_PKEY *pkey, struct str input, uint8_t rs[ES256_BYTES])
{
    uint8_t der[ES256_DER_MAX];
    size_t n = sizeof(der);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx && EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, pkey) == 1 &&
              EVP_DigestSign(ctx, der, &n, (const uint8_t *)input.p, input.n) == 1;
    EVP_MD_CTX_free(ctx);
    const uint8_t *from = der;
    ECDSA_SIG *sig = ok ? d2i_ECDSA_SIG(NULL, &from, (long)n) : NULL;
    ok = sig && BN_bn2binpad(ECDSA_SIG_get0_r(sig), rs, HALF) == HALF &&
         BN_bn2binpad(ECDSA_SIG_get0_s(sig), rs + HALF, HALF) == HALF;
    ECDSA_SIG_free(sig);
    return ok;
}

static void add_base64(struct buf *out, const void *p, size_t n)
{
    char *to = buf_reserve(out, BASE64_TEXT(n));
    if (to) {
        buf_commit(out, base64url_encode(p, n, to));
    }
}

int jws_sign(const struct jws_key *key, const char *typ, struct str payload, struct buf *out, struct err *err)
{
    struct buf header;
    uint8_t rs[ES256_BYTES];
    size_t start = out->n;
    if (key->alg != JWS_ES256 || !key->is_private) {
        return err_set(err, ERR_INVALID, "token: this key does not sign");
    }
    buf_init(&header, 512);
    struct json_writer w = {.out = &header};
    json_open(&w, '{');
    json_str_at(&w, "alg", STR("ES256"));
    json_str_at(&w, "kid", str_from(key->kid));
    json_str_at(&w, "typ", str_from(typ));
    json_close(&w, '}');
    add_base64(out, header.p, header.n);
    buf_clear(&header);
    buf_add_char(out, '.');
    add_base64(out, payload.p, payload.n);
    if (!out->overflowed && !sign_bytes(key->pkey, str_skip(buf_str(out), start), rs)) {
        ERR_clear_error();
        return err_set(err, ERR_INTERNAL, "token: signing failed");
    }
    buf_add_char(out, '.');
    add_base64(out, rs, sizeof(rs));
    return out->overflowed || out->n - start > JWS_TOKEN_MAX
               ? err_set(err, ERR_LIMIT, "token: more than %d bytes", JWS_TOKEN_MAX)
               : 0;
}
