/* Keys of tokens: PEM in, JWKS out, thumbprints, generation. */
#include <dirent.h>
#include <errno.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/json.h"
#include "base/jws.h"
#include "base/secret.h"

enum { PEM_MAX_BYTES = 16384, RSA_MIN_BITS = 2048, RSA_MAX_BITS = 8192, P256_BYTES = 32 };

/* --- JWK members ------------------------------------------------------------------------------ */

/* A big number of the key as base64url; width 0: its shortest form. */
static bool write_number(const EVP_PKEY *pkey, const char *name, int width, struct buf *out)
{
    BIGNUM *bn = NULL;
    uint8_t bytes[RSA_MAX_BITS / 8];
    char text[BASE64_TEXT(sizeof(bytes))];
    if (EVP_PKEY_get_bn_param(pkey, name, &bn) != 1) {
        return false;
    }
    int n = width ? width : BN_num_bytes(bn);
    bool ok = n <= (int)sizeof(bytes) && BN_bn2binpad(bn, bytes, n) == n;
    BN_free(bn);
    if (ok) {
        base64url_encode(bytes, (size_t)n, text);
        buf_addf(out, "\"%s\"", text);
    }
    return ok;
}

/* The required members in the order and form of RFC 7638 3: what the thumbprint is made of. */
static bool write_canonical(const EVP_PKEY *pkey, enum jws_alg alg, struct buf *out)
{
    bool ok;
    if (alg == JWS_ES256) {
        buf_add_cstr(out, "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":");
        ok = write_number(pkey, OSSL_PKEY_PARAM_EC_PUB_X, P256_BYTES, out);
        buf_add_cstr(out, ",\"y\":");
        ok = ok && write_number(pkey, OSSL_PKEY_PARAM_EC_PUB_Y, P256_BYTES, out);
    } else {
        buf_add_cstr(out, "{\"e\":");
        ok = write_number(pkey, OSSL_PKEY_PARAM_RSA_E, 0, out);
        buf_add_cstr(out, ",\"kty\":\"RSA\",\"n\":");
        ok = ok && write_number(pkey, OSSL_PKEY_PARAM_RSA_N, 0, out);
    }
    buf_add_char(out, '}');
    return ok;
}

static bool thumbprint(const EVP_PKEY *pkey, enum jws_alg alg, char kid[JWS_KID_MAX + 1])
{
    struct buf text;
    uint8_t hash[32];
    buf_init(&text, 4096);
    bool ok =
        write_canonical(pkey, alg, &text) && EVP_Digest(text.p, text.n, hash, NULL, EVP_sha256(), NULL) == 1;
    buf_clear(&text);
    if (ok) {
        base64url_encode(hash, sizeof(hash), kid);
    }
    return ok;
}

void jws_write_jwks(const struct jws_keys *k, struct buf *out)
{
    static const char *const algs[] = {[JWS_ES256] = "ES256", [JWS_RS256] = "RS256"};
    buf_add_cstr(out, "{\"keys\":[");
    for (unsigned i = 0; i < k->n; i++) {
        const struct jws_key *key = &k->items[i];
        buf_add_cstr(out, i ? "," : "");
        WARN_ON(!write_canonical(key->pkey, key->alg, out));
        out->n--; /* the closing brace: more members follow */
        buf_addf(out, ",\"alg\":\"%s\",\"use\":\"sig\",\"key_ops\":[\"verify\"],\"kid\":\"", algs[key->alg]);
        json_escape(out, str_from(key->kid));
        buf_add_cstr(out, "\"}");
    }
    buf_add_cstr(out, "]}");
}

/* --- PEM -------------------------------------------------------------------------------------- */

static int no_password(char *out, int n, int writing, void *arg)
{
    return -1;
}

/* Which algorithm this key is for; -1 with the reason in *why when for none. */
static int alg_of(const EVP_PKEY *pkey, const char **why)
{
    char group[64] = "";
    if (EVP_PKEY_is_a(pkey, "EC")) {
        EVP_PKEY_get_group_name(pkey, group, sizeof(group), NULL);
        *why = "is an EC key of another curve than P-256";
        return strcmp(group, "prime256v1") == 0 ? JWS_ES256 : -1;
    }
    if (EVP_PKEY_is_a(pkey, "RSA")) {
        int bits = EVP_PKEY_get_bits(pkey);
        *why = "is an RSA key of less than 2048 or more than 8192 bits";
        return bits >= RSA_MIN_BITS && bits <= RSA_MAX_BITS ? JWS_RS256 : -1;
    }
    *why = "is neither an EC nor an RSA key";
    return -1;
}

static EVP_PKEY *read_pem(struct str text, bool *is_private)
{
    BIO *bio = BIO_new_mem_buf(text.p, (int)text.n);
    BUG_ON(!bio);
    EVP_PKEY *pkey = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
    *is_private = pkey != NULL;
    if (!pkey) {
        BIO_reset(bio);
        pkey = PEM_read_bio_PUBKEY(bio, NULL, no_password, NULL);
    }
    BIO_free(bio);
    ERR_clear_error();
    return pkey;
}

static int read_file(const char *path, struct buf *out, struct err *err)
{
    FILE *f = fopen(path, "re");
    if (!f) {
        return err_set(err, ERR_IO, "cannot read %s: %s", path, strerror(errno));
    }
    char chunk[4096];
    size_t n;
    int rc = 0;
    while (rc == 0 && (n = fread(chunk, 1, sizeof(chunk), f)) > 0) {
        rc = buf_add(out, chunk, n);
    }
    bool failed = ferror(f) != 0;
    fclose(f);
    secret_cleanse(chunk, sizeof(chunk));
    if (failed) {
        return err_set(err, ERR_IO, "cannot read %s", path);
    }
    return rc == 0 ? 0 : err_set(err, ERR_LIMIT, "%s has more than %d bytes", path, PEM_MAX_BYTES);
}

/* Private keys must be for their owner only, public ones may be read by all. */
static int load_pem(const char *path, struct jws_key *key, struct err *err)
{
    struct buf text;
    const char *why = "holds no PEM key without a password";
    buf_init(&text, PEM_MAX_BYTES);
    buf_reserve(&text, PEM_MAX_BYTES); /* not moved, so that no copy is left behind */
    int rc = read_file(path, &text, err);
    if (rc == 0) {
        key->pkey = read_pem(buf_str(&text), &key->is_private);
        int alg = key->pkey ? alg_of(key->pkey, &why) : -1;
        rc = alg < 0 ? err_set(err, ERR_INVALID, "%s %s", path, why) : 0;
        key->alg = alg == JWS_RS256 ? JWS_RS256 : JWS_ES256;
    }
    secret_cleanse(text.p, text.n);
    buf_clear(&text);
    return rc == 0 && key->is_private ? secret_file_check(path, err) : rc;
}

/* --- sets ------------------------------------------------------------------------------------- */

static int set_kid(struct jws_key *key, struct str name, struct err *err)
{
    if (name.n == 0) {
        return thumbprint(key->pkey, key->alg, key->kid)
                   ? 0
                   : err_set(err, ERR_INVALID, "a key has no thumbprint");
    }
    if (name.n > JWS_KID_MAX) {
        return err_set(err, ERR_LIMIT, "a kid has at most %d bytes", JWS_KID_MAX);
    }
    memcpy(key->kid, name.p, name.n);
    return 0;
}

static int add_key(struct jws_keys *k, const char *path, struct str kid, struct err *err)
{
    k->items = reallocarray(k->items, k->n + 1, sizeof(*k->items));
    BUG_ON(!k->items);
    struct jws_key *key = &k->items[k->n++]; /* counted at once: clear frees what there is of it */
    *key = (struct jws_key){.kid = ""};
    int rc = load_pem(path, key, err);
    return rc == 0 ? set_kid(key, kid, err) : rc;
}

static int is_pem(const struct dirent *e)
{
    struct str name = str_from(e->d_name);
    return str_ends(name, STR(".pem")) && name.n > 4 && name.p[0] != '.';
}

static int load_folder(struct jws_keys *k, const char *folder, struct err *err)
{
    struct dirent **files;
    int rc = 0, n = scandir(folder, &files, is_pem, alphasort);
    if (n < 0) {
        return err_set(err, ERR_IO, "cannot read the folder %s: %s", folder, strerror(errno));
    }
    for (int i = 0; i < n; i++) {
        char path[4096];
        struct str name = str_from(files[i]->d_name);
        snprintf(path, sizeof(path), "%s/%s", folder, name.p);
        if (rc == 0) {
            rc = add_key(k, path, str_of(name.p, name.n - 4), err);
        }
        free(files[i]);
    }
    free(files);
    if (rc == 0 && n == 0) {
        rc = err_set(err, ERR_NOT_FOUND, "no KID.pem in the folder %s", folder);
    }
    return rc;
}

int jws_keys_load(const char *path, struct jws_keys *out, struct err *err)
{
    struct stat st;
    *out = (struct jws_keys){.n = 0};
    if (stat(path, &st) != 0) {
        return err_set(err, ERR_IO, "cannot read %s: %s", path, strerror(errno));
    }
    int rc = S_ISDIR(st.st_mode) ? load_folder(out, path, err) : add_key(out, path, STR(""), err);
    if (rc != 0) {
        jws_keys_clear(out);
    }
    return rc;
}

void jws_keys_clear(struct jws_keys *k)
{
    for (unsigned i = 0; i < k->n; i++) {
        EVP_PKEY_free(k->items[i].pkey);
    }
    free(k->items);
    *k = (struct jws_keys){.n = 0};
}

const struct jws_key *jws_keys_find(const struct jws_keys *k, struct str kid)
{
    for (unsigned i = 0; i < k->n; i++) {
        if (str_is(kid, k->items[i].kid)) {
            return &k->items[i];
        }
    }
    return NULL;
}

const struct jws_key *jws_keys_signer(const struct jws_keys *k, const char *kid, struct err *err)
{
    const struct jws_key *found = NULL;
    for (unsigned i = 0; i < k->n; i++) {
        const struct jws_key *key = &k->items[i];
        if (!key->is_private || key->alg != JWS_ES256 || (kid && strcmp(kid, key->kid) != 0)) {
            continue;
        }
        if (found) {
            err_set(err, ERR_INVALID, "several private keys: name the one to sign with");
            return NULL;
        }
        found = key;
    }
    if (!found) {
        err_set(err, ERR_NOT_FOUND, "no private P-256 key%s%s", kid ? " of kid " : "", kid ? kid : "");
    }
    return found;
}

int jws_key_generate(const char *folder, char kid[JWS_KID_MAX + 1], struct err *err)
{
    char path[4096];
    char *pem;
    EVP_PKEY *pkey = EVP_EC_gen("P-256");
    BIO *bio = BIO_new(BIO_s_secmem());
    BUG_ON(!pkey || !bio || !thumbprint(pkey, JWS_ES256, kid));
    BUG_ON(PEM_write_bio_PKCS8PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL) != 1);
    long n = BIO_get_mem_data(bio, &pem);
    snprintf(path, sizeof(path), "%s/%s.pem", folder, kid);
    int rc = secret_file_write(path, str_of(pem, (size_t)n), err);
    BIO_free(bio);
    EVP_PKEY_free(pkey);
    return rc;
}
