/* The key ring and what is done with its keys. Files are in secret_file.c. */
#include "base/secret.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/base64.h"
#include "base/id.h"
#include "base/json.h"

enum {
    RING_MAX_BYTES = 64 * 1024,
    RING_KEYS = 64,
    SEAL_VERSION = 1,
    NONCE_BYTES = 12,
    TAG_BYTES = 16,
    HEAD_MAX = 2 + SECRET_ID_MAX + NONCE_BYTES,
};

struct secret_ring {
    atomic_uint refs;
    unsigned n;
    struct secret_key keys[RING_KEYS];
};

static const struct {
    const char *name;
    size_t generated; /* bytes of a new key */
} uses[SECRET_USES] = {
    [SECRET_CODE_PEPPER] = {"code_pepper", 32},
    [SECRET_LOOKUP] = {"lookup", 32},
    [SECRET_RAMP] = {"ramp", 32},
    [SECRET_ENCRYPT] = {"encrypt", 32},
    [SECRET_TICKET] = {"ticket", 80},
    [SECRET_TOKEN] = {"token", 32},
};

const char *secret_use_name(enum secret_use use)
{
    return uses[use].name;
}

/* --- the ring --------------------------------------------------------------------------------- */

static bool id_is_ok(struct str id)
{
    for (size_t i = 0; i < id.n; i++) {
        char c = id.p[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                  c == '_';
        if (!ok) {
            return false;
        }
    }
    return id.n > 0 && id.n <= SECRET_ID_MAX;
}

static bool read_use(struct str name, enum secret_use *out)
{
    for (unsigned i = 0; i < SECRET_USES; i++) {
        if (str_is(name, uses[i].name)) {
            *out = (enum secret_use)i;
            return true;
        }
    }
    return false;
}

static bool length_fits(enum secret_use use, ptrdiff_t n)
{
    if (use == SECRET_ENCRYPT) {
        return n == 32;
    }
    return use == SECRET_TICKET ? n == 80 : n >= 32;
}

/* One member of a key's object; returns the reason it is refused, or NULL. */
static const char *read_member(struct arena *a, const struct json_slice *m, struct secret_key *k)
{
    struct str text;
    if (!json_get_str(a, m, &text)) {
        return "is not a string";
    }
    if (str_is(m->key, "id")) {
        if (!id_is_ok(text)) {
            return "is not 1 to 15 letters, digits, - or _";
        }
        memcpy(k->id, text.p, text.n);
        return NULL;
    }
    if (str_is(m->key, "use")) {
        return read_use(text, &k->use) ? NULL : "is not a known use";
    }
    if (str_is(m->key, "state")) {
        k->is_active = str_is(text, "active");
        k->is_next = str_is(text, "next");
        return k->is_active || k->is_next || str_is(text, "retired") ? NULL
                                                                     : "is none of active, next, retired";
    }
    if (str_is(m->key, "secret")) {
        ptrdiff_t n = base64_decode(text, k->bytes, sizeof(k->bytes));
        secret_cleanse((char *)(uintptr_t)text.p, text.n);
        k->n = n > 0 ? (size_t)n : 0;
        return n >= 32 ? NULL : "is not base64 of 32 to 96 bytes";
    }
    return "is not a known member";
}

static int read_key(struct arena *a, unsigned at, struct str raw, struct secret_key *k, struct err *err)
{
    struct json_slice m;
    unsigned members = 0;
    while (json_next(&raw, &m)) {
        const char *why = m.key_escaped ? "is not a known member" : read_member(a, &m, k);
        if (why) {
            return err_set(err, ERR_INVALID, "keys[%u]." STR_FMT " %s", at, STR_ARG(m.key), why);
        }
        members++;
    }
    if (members != 4) { /* the scan has refused doubles */
        return err_set(err, ERR_INVALID, "keys[%u] needs id, use, state and secret", at);
    }
    if (!length_fits(k->use, (ptrdiff_t)k->n)) {
        return err_set(err, ERR_INVALID, "keys[%u].secret has %zu bytes, wrong for %s", at, k->n,
                       uses[k->use].name);
    }
    return 0;
}

static int ring_add(struct secret_ring *r, const struct secret_key *k, struct err *err)
{
    if (r->n == RING_KEYS) {
        return err_set(err, ERR_LIMIT, "more than %d keys", RING_KEYS);
    }
    if (secret_find(r, k->use, str_from(k->id))) {
        return err_set(err, ERR_INVALID, "two keys of use %s have the id %s", uses[k->use].name, k->id);
    }
    r->keys[r->n++] = *k;
    return 0;
}

static int ring_check(const struct secret_ring *r, struct err *err)
{
    for (unsigned use = 0; use < SECRET_USES; use++) {
        unsigned active = 0;
        for (unsigned i = 0; i < r->n; i++) {
            active += r->keys[i].use == use && r->keys[i].is_active;
        }
        if (active != 1) {
            return err_set(err, ERR_INVALID, "%u active keys of use %s, there must be one", active,
                           uses[use].name);
        }
    }
    return 0;
}

static int ring_read(struct secret_ring *r, struct arena *a, struct str text, struct err *err)
{
    struct json_doc doc;
    struct json_slice item;
    int rc = json_scan(a, text, NULL, &doc, err);
    if (rc != 0) {
        return rc;
    }
    const struct json_slice *keys = json_member(&doc, "keys");
    if (!keys || keys->type != JSON_ARRAY || doc.member_count != 1) {
        return err_set(err, ERR_INVALID, "not an object with the one member \"keys\", an array");
    }
    struct str in = keys->raw;
    for (unsigned i = 0; rc == 0 && json_next(&in, &item); i++) {
        struct secret_key k = {.id = ""};
        rc = item.type == JSON_OBJECT ? read_key(a, i, item.raw, &k, err)
                                      : err_set(err, ERR_INVALID, "keys[%u] is not an object", i);
        rc = rc == 0 ? ring_add(r, &k, err) : rc;
        secret_cleanse(&k, sizeof(k));
    }
    return rc == 0 ? ring_check(r, err) : rc;
}

int secret_ring_load(const char *path, struct secret_ring **out, struct err *err)
{
    struct arena a;
    struct buf text;
    struct err why = {.msg = ""};
    *out = NULL;
    buf_init(&text, RING_MAX_BYTES);
    int rc = secret_file_read(path, &text, err);
    if (rc != 0) {
        buf_clear(&text);
        return rc;
    }
    struct secret_ring *r = calloc(1, sizeof(*r));
    BUG_ON(!r);
    atomic_init(&r->refs, 1);
    arena_init(&a);
    rc = ring_read(r, &a, buf_str(&text), &why);
    arena_clear(&a);
    secret_cleanse(text.p, text.n);
    buf_clear(&text);
    if (rc != 0) {
        secret_ring_unref(r);
        return err_set(err, (enum err_code)rc, "%s: %s", path, why.msg);
    }
    *out = r;
    return 0;
}

struct secret_ring *secret_ring_ref(struct secret_ring *r)
{
    atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
    return r;
}

void secret_ring_unref(struct secret_ring *r)
{
    if (r && atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) == 1) {
        secret_cleanse(r->keys, sizeof(r->keys));
        free(r);
    }
}

int secret_ring_generate(const char *path, struct err *err)
{
    struct buf text;
    uint8_t key[SECRET_KEY_MAX];
    char base64[BASE64_TEXT(SECRET_KEY_MAX)];
    buf_init(&text, RING_MAX_BYTES);
    buf_reserve(&text, RING_MAX_BYTES); /* never moved, so that nothing is left behind */
    for (unsigned i = 0; i < SECRET_USES; i++) {
        id_random(key, uses[i].generated);
        base64_encode(key, uses[i].generated, base64);
        buf_addf(&text, "%s\n  {\"id\": \"1\", \"use\": \"%s\", \"state\": \"active\", \"secret\": \"%s\"}",
                 i == 0 ? "{\"keys\": [" : ",", uses[i].name, base64);
    }
    buf_add_cstr(&text, "\n]}\n");
    int rc = secret_file_write(path, buf_str(&text), err);
    secret_cleanse(key, sizeof(key));
    secret_cleanse(base64, sizeof(base64));
    secret_cleanse(text.p, text.n);
    buf_clear(&text);
    return rc;
}

const struct secret_key *secret_at(const struct secret_ring *r, enum secret_use use, unsigned i)
{
    for (int active = 1; active >= 0; active--) {
        for (unsigned k = 0; k < r->n; k++) {
            if (r->keys[k].use == use && r->keys[k].is_active == active && i-- == 0) {
                return &r->keys[k];
            }
        }
    }
    return NULL;
}

const struct secret_key *secret_active(const struct secret_ring *r, enum secret_use use)
{
    return secret_at(r, use, 0);
}

const struct secret_key *secret_find(const struct secret_ring *r, enum secret_use use, struct str id)
{
    for (unsigned i = 0; i < r->n; i++) {
        if (r->keys[i].use == use && str_is(id, r->keys[i].id)) {
            return &r->keys[i];
        }
    }
    return NULL;
}

/* --- keyed hashes ----------------------------------------------------------------------------- */

/* RFC 2104 over EVP_MD: OpenSSL's HMAC looks its algorithm up by name at each call, which costs four times as much as
 * the hashing. */
enum { SHA256_BLOCK = 64, INNER_PAD = 0x36, OUTER_PAD = 0x5c };

static EVP_MD *sha256;
static pthread_once_t sha256_once = PTHREAD_ONCE_INIT;

static void fetch_sha256(void)
{
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    BUG_ON(!sha256);
}

/* Of a and b as one text. */
static void digest(EVP_MD_CTX *ctx, struct str a, struct str b, uint8_t out[SECRET_HMAC_BYTES])
{
    BUG_ON(EVP_DigestInit_ex2(ctx, sha256, NULL) != 1 || EVP_DigestUpdate(ctx, a.p, a.n) != 1 ||
           EVP_DigestUpdate(ctx, b.p, b.n) != 1 || EVP_DigestFinal_ex(ctx, out, NULL) != 1);
}

static void block_turn(uint8_t block[SHA256_BLOCK], uint8_t pad)
{
    for (unsigned i = 0; i < SHA256_BLOCK; i++) {
        block[i] ^= pad;
    }
}

void secret_hmac(const struct secret_key *k, struct str data, uint8_t out[SECRET_HMAC_BYTES])
{
    uint8_t block[SHA256_BLOCK] = {0}, inner[SECRET_HMAC_BYTES];
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    pthread_once(&sha256_once, fetch_sha256);
    BUG_ON(!ctx);
    if (k->n <= sizeof block) {
        memcpy(block, k->bytes, k->n);
    } else {
        digest(ctx, str_of((const char *)k->bytes, k->n), (struct str){"", 0}, block);
    }
    block_turn(block, INNER_PAD);
    digest(ctx, str_of((const char *)block, sizeof block), data, inner);
    block_turn(block, INNER_PAD ^ OUTER_PAD);
    digest(ctx, str_of((const char *)block, sizeof block), str_of((const char *)inner, sizeof inner), out);
    secret_cleanse(block, sizeof block);
    EVP_MD_CTX_free(ctx); /* cleanses what it held */
}

void secret_hmac_of(const struct secret_key *k, const struct str *texts, unsigned n,
                    uint8_t out[SECRET_HMAC_BYTES])
{
    struct buf b;
    buf_init(&b, SIZE_MAX);
    for (unsigned i = 0; i < n; i++) {
        uint64_t length = texts[i].n;
        uint8_t head[8];
        for (int byte = 7; byte >= 0; byte--, length >>= 8) {
            head[byte] = (uint8_t)length;
        }
        buf_add(&b, head, sizeof(head));
        buf_add_str(&b, texts[i]);
    }
    secret_hmac(k, buf_str(&b), out);
    secret_cleanse(b.p, b.n);
    buf_clear(&b);
}

/* --- sealing ---------------------------------------------------------------------------------- */

static bool gcm_start(EVP_CIPHER_CTX *ctx, const struct secret_key *k, const uint8_t *nonce, struct str head,
                      struct str context, int encrypt)
{
    int n;
    return EVP_CipherInit_ex(ctx, EVP_aes_256_gcm(), NULL, k->bytes, nonce, encrypt) == 1 &&
           EVP_CipherUpdate(ctx, NULL, &n, (const uint8_t *)head.p, (int)head.n) == 1 &&
           EVP_CipherUpdate(ctx, NULL, &n, (const uint8_t *)context.p, (int)context.n) == 1;
}

/* text and tag follow the head in out. */
static void gcm_seal(const struct secret_key *k, struct str head, struct str context, struct str plain,
                     uint8_t *out)
{
    int n;
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    const uint8_t *nonce = (const uint8_t *)head.p + head.n - NONCE_BYTES;
    bool ok = ctx && gcm_start(ctx, k, nonce, head, context, 1) &&
              EVP_CipherUpdate(ctx, out, &n, (const uint8_t *)plain.p, (int)plain.n) == 1 &&
              EVP_CipherFinal_ex(ctx, out + plain.n, &n) == 1 &&
              EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, TAG_BYTES, out + plain.n) == 1;
    BUG_ON(!ok);
    EVP_CIPHER_CTX_free(ctx);
}

int secret_seal(const struct secret_ring *r, struct str context, struct str plain, struct buf *out,
                struct err *err)
{
    const struct secret_key *k = secret_active(r, SECRET_ENCRYPT);
    uint8_t head[HEAD_MAX];
    size_t id_n = strlen(k->id), head_n = 2 + id_n + NONCE_BYTES;
    if (plain.n > INT32_MAX || context.n > INT32_MAX) {
        return err_set(err, ERR_LIMIT, "seal: too long");
    }
    head[0] = SEAL_VERSION;
    head[1] = (uint8_t)id_n;
    memcpy(head + 2, k->id, id_n);
    id_random(head + 2 + id_n, NONCE_BYTES);
    uint8_t *to = buf_reserve(out, head_n + plain.n + TAG_BYTES);
    if (!to) {
        return err_set(err, ERR_LIMIT, "seal: no room for %zu bytes", head_n + plain.n + TAG_BYTES);
    }
    memcpy(to, head, head_n);
    gcm_seal(k, str_of((char *)head, head_n), context, plain, to + head_n);
    buf_commit(out, head_n + plain.n + TAG_BYTES);
    return 0;
}

static bool gcm_open(const struct secret_key *k, struct str head, struct str context, struct str text,
                     const char *tag, uint8_t *out)
{
    int n;
    uint8_t tag_copy[TAG_BYTES];
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    BUG_ON(!ctx);
    memcpy(tag_copy, tag, TAG_BYTES);
    const uint8_t *nonce = (const uint8_t *)head.p + head.n - NONCE_BYTES;
    bool ok = gcm_start(ctx, k, nonce, head, context, 0) &&
              EVP_CipherUpdate(ctx, out, &n, (const uint8_t *)text.p, (int)text.n) == 1 &&
              EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, TAG_BYTES, tag_copy) == 1 &&
              EVP_CipherFinal_ex(ctx, out + text.n, &n) == 1;
    EVP_CIPHER_CTX_free(ctx);
    return ok;
}

int secret_open(const struct secret_ring *r, struct str context, struct str sealed, struct buf *out,
                struct err *err)
{
    size_t id_n = sealed.n >= 2 ? (uint8_t)sealed.p[1] : 0;
    size_t head_n = 2 + id_n + NONCE_BYTES;
    if (sealed.n < head_n + TAG_BYTES || sealed.p[0] != SEAL_VERSION || sealed.n > INT32_MAX ||
        context.n > INT32_MAX) {
        return err_set(err, ERR_INVALID, "seal: not sealed bytes");
    }
    const struct secret_key *k = secret_find(r, SECRET_ENCRYPT, str_of(sealed.p + 2, id_n));
    if (!k) {
        return err_set(err, ERR_NOT_FOUND, "seal: its key is not in the key ring");
    }
    struct str text = str_of(sealed.p + head_n, sealed.n - head_n - TAG_BYTES);
    uint8_t *to = buf_reserve(out, text.n);
    if (!to) {
        return err_set(err, ERR_LIMIT, "seal: no room for %zu bytes", text.n);
    }
    if (!gcm_open(k, str_of(sealed.p, head_n), context, text, text.p + text.n, to)) {
        secret_cleanse(to, text.n);
        return err_set(err, ERR_DENIED, "seal: changed, or made for something else");
    }
    buf_commit(out, text.n);
    return 0;
}

/* --- comparing -------------------------------------------------------------------------------- */

bool secret_eq(const void *a, const void *b, size_t n)
{
    return CRYPTO_memcmp(a, b, n) == 0;
}

bool secret_str_eq(struct str a, struct str b)
{
    return a.n == b.n && CRYPTO_memcmp(a.p, b.p, a.n) == 0;
}

void secret_cleanse(void *p, size_t n)
{
    OPENSSL_cleanse(p, n);
}
