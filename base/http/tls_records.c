#include "base/http/tls_records.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>

#include "base/buf.h"

enum {
    KEY_MAX = 32,
    IV_BYTES = 12,
    TAG_BYTES = 16,
    SUITES = 3,
    KEYS_SET = 1024, /* ready to use: of the 512 connections that came last; 1 kB each */
    KEY_UPDATE = 24,
    KEY_UPDATE_BYTES = 5,
};

struct suite {
    uint16_t id;
    const char *cipher, *hash;
    uint8_t key_n, secret_n; /* bytes */
};

static const struct suite suites[SUITES] = {
    {0x1301, "AES-128-GCM", "SHA256", 16, 32},
    {0x1302, "AES-256-GCM", "SHA384", 32, 48},
    {0x1303, "ChaCha20-Poly1305", "SHA256", 32, 32},
};

/* A context knows which key it holds: keys have numbers that are never used twice. */
struct context {
    EVP_CIPHER_CTX *evp; /* NULL until it is needed */
    uint64_t key_number;
};

struct tls_ciphers {
    EVP_CIPHER *cipher[SUITES];
    EVP_MAC_CTX *hmac[SUITES];                 /* for HKDF */
    struct context contexts[SUITES][KEYS_SET]; /* at the key's number modulo their count */
    uint64_t next_key_number;
};

struct direction {
    uint8_t secret[TLS_SECRET_MAX];
    uint8_t key[KEY_MAX];
    uint8_t iv[IV_BYTES];
    uint64_t seq;        /* of the next record */
    uint64_t key_number; /* see struct context */
};

struct tls_records {
    struct tls_ciphers *ciphers;
    const struct suite *suite;
    struct direction in, out;
    struct buf part;                   /* of a record that is not whole */
    uint8_t message[KEY_UPDATE_BYTES]; /* of a handshake message that is not whole */
    uint8_t message_n;
    uint8_t empties; /* records without content, one after another */
    uint8_t alert;   /* enum tls_alert */
    bool reply_wanted;
    bool has_ended; /* an alert was sealed */
};

/* --- secrets and keys ----------------------------------------------------------------------------- */

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static uint8_t read_hex(const char *hex, uint8_t out[TLS_SECRET_MAX])
{
    size_t n = strlen(hex);
    if (n % 2 != 0 || n > 2 * TLS_SECRET_MAX) {
        return 0;
    }
    for (size_t i = 0; i < n; i += 2) {
        int high = hex_digit(hex[i]), low = hex_digit(hex[i + 1]);
        if (high < 0 || low < 0) {
            return 0;
        }
        out[i / 2] = (uint8_t)(high << 4 | low);
    }
    return (uint8_t)(n / 2);
}

/* "CLIENT_TRAFFIC_SECRET_0 <client random> <secret>", both in lower-case hexadecimal digits. */
bool tls_secrets_take(struct tls_secrets *s, const char *line)
{
    static const char client[] = "CLIENT_TRAFFIC_SECRET_0 ", server[] = "SERVER_TRAFFIC_SECRET_0 ";
    const char *secret = strrchr(line, ' ');
    if (strncmp(line, client, sizeof(client) - 1) == 0) {
        s->client_n = read_hex(secret + 1, s->client);
    } else if (strncmp(line, server, sizeof(server) - 1) == 0) {
        s->server_n = read_hex(secret + 1, s->server);
    } else {
        return false;
    }
    return true;
}

/* HKDF-Expand-Label (7.1) without context, for at most one block of the hash. */
static void expand(const struct tls_records *r, const uint8_t *secret, const char *label, uint8_t *out,
                   uint8_t n)
{
    EVP_MAC_CTX *hmac = r->ciphers->hmac[r->suite - suites];
    uint8_t info[32];
    uint8_t block[EVP_MAX_MD_SIZE];
    size_t label_n = strlen(label);
    size_t at = 0;
    info[at++] = 0;
    info[at++] = n;
    info[at++] = (uint8_t)(6 + label_n);
    memcpy(info + at, "tls13 ", 6);
    memcpy(info + at + 6, label, label_n);
    at += 6 + label_n;
    info[at++] = 0; /* the context's length */
    info[at++] = 1; /* the block's number */
    BUG_ON(n > r->suite->secret_n || EVP_MAC_init(hmac, secret, r->suite->secret_n, NULL) != 1 ||
           EVP_MAC_update(hmac, info, at) != 1 || EVP_MAC_final(hmac, block, NULL, sizeof(block)) != 1);
    memcpy(out, block, n);
    OPENSSL_cleanse(block, sizeof(block));
}

static void set_keys(struct tls_records *r, struct direction *d)
{
    expand(r, d->secret, "key", d->key, r->suite->key_n);
    expand(r, d->secret, "iv", d->iv, IV_BYTES);
    d->seq = 0;
    d->key_number = ++r->ciphers->next_key_number;
}

static void next_keys(struct tls_records *r, struct direction *d)
{
    expand(r, d->secret, "traffic upd", d->secret, r->suite->secret_n);
    set_keys(r, d);
}

/* --- life ----------------------------------------------------------------------------------------- */

static EVP_MAC_CTX *hmac_new(EVP_MAC *mac, const char *hash)
{
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)(uintptr_t)hash, 0),
        OSSL_PARAM_construct_end(),
    };
    EVP_MAC_CTX *c = EVP_MAC_CTX_new(mac);
    BUG_ON(!c || EVP_MAC_CTX_set_params(c, params) != 1);
    return c;
}

struct tls_ciphers *tls_ciphers_new(void)
{
    struct tls_ciphers *c = calloc(1, sizeof(*c));
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    BUG_ON(!c || !mac);
    for (int i = 0; i < SUITES; i++) {
        c->cipher[i] = EVP_CIPHER_fetch(NULL, suites[i].cipher, NULL);
        BUG_ON(!c->cipher[i]);
        c->hmac[i] = hmac_new(mac, suites[i].hash);
    }
    EVP_MAC_free(mac);
    return c;
}

void tls_ciphers_free(struct tls_ciphers *c)
{
    if (!c) {
        return;
    }
    for (int i = 0; i < SUITES; i++) {
        for (int k = 0; k < KEYS_SET; k++) {
            EVP_CIPHER_CTX_free(c->contexts[i][k].evp);
        }
        EVP_CIPHER_free(c->cipher[i]);
        EVP_MAC_CTX_free(c->hmac[i]);
    }
    free(c);
}

struct tls_records *tls_records_new(struct tls_ciphers *c, uint16_t id, const struct tls_secrets *secrets,
                                    uint64_t written)
{
    const struct suite *suite = suites;
    while (suite < suites + SUITES && suite->id != id) {
        suite++;
    }
    if (suite == suites + SUITES || secrets->client_n != suite->secret_n ||
        secrets->server_n != suite->secret_n) {
        return NULL;
    }
    struct tls_records *r = calloc(1, sizeof(*r));
    BUG_ON(!r);
    r->ciphers = c;
    r->suite = suite;
    memcpy(r->in.secret, secrets->client, suite->secret_n);
    memcpy(r->out.secret, secrets->server, suite->secret_n);
    set_keys(r, &r->in);
    set_keys(r, &r->out);
    r->out.seq = written;
    buf_init(&r->part, TLS_RECORD_HEAD + TLS_RECORD_CIPHER_MAX);
    return r;
}

void tls_records_free(struct tls_records *r)
{
    if (r) {
        buf_clear(&r->part);
        OPENSSL_cleanse(r, sizeof(*r));
        free(r);
    }
}

/* --- one record through the cipher ---------------------------------------------------------------- */

static struct context *context_of(const struct tls_records *r, const struct direction *d)
{
    long suite = r->suite - suites;
    struct context *c = &r->ciphers->contexts[suite][d->key_number % KEYS_SET];
    if (!c->evp) {
        c->evp = EVP_CIPHER_CTX_new();
        BUG_ON(!c->evp || EVP_CipherInit_ex2(c->evp, r->ciphers->cipher[suite], NULL, NULL, 1, NULL) != 1);
    }
    return c;
}

/* The context with this direction's key and the nonce of its next record (5.3). */
static EVP_CIPHER_CTX *begin(const struct tls_records *r, struct direction *d)
{
    struct context *c = context_of(r, d);
    uint8_t nonce[IV_BYTES];
    memcpy(nonce, d->iv, IV_BYTES);
    for (unsigned i = 0; i < 8; i++) {
        nonce[IV_BYTES - 1 - i] ^= (uint8_t)(d->seq >> 8 * i);
    }
    const uint8_t *key = c->key_number == d->key_number ? NULL : d->key;
    BUG_ON(EVP_CipherInit_ex(c->evp, NULL, NULL, key, nonce, d == &r->out) != 1);
    c->key_number = d->key_number;
    d->seq++;
    return c->evp;
}

size_t tls_records_seal(struct tls_records *r, enum tls_content type, const void *p, size_t n, char *out)
{
    BUG_ON(n > TLS_RECORD_PLAIN_MAX);
    EVP_CIPHER_CTX *evp = begin(r, &r->out);
    size_t inner = n + 1 + TAG_BYTES;
    uint8_t *head = (uint8_t *)out;
    uint8_t *at = head + TLS_RECORD_HEAD;
    int k = 0;
    memcpy(at, p, n); /* cheaper than a second call for the type */
    at[n] = (uint8_t)type;
    memcpy(head, (uint8_t[]){TLS_CONTENT_DATA, 3, 3, (uint8_t)(inner >> 8), (uint8_t)inner}, TLS_RECORD_HEAD);
    BUG_ON(EVP_EncryptUpdate(evp, NULL, &k, head, TLS_RECORD_HEAD) != 1 ||
           EVP_EncryptUpdate(evp, at, &k, at, (int)n + 1) != 1 ||
           EVP_EncryptFinal_ex(evp, at + n + 1, &k) != 1 ||
           EVP_CIPHER_CTX_ctrl(evp, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, at + n + 1) != 1);
    return TLS_RECORD_HEAD + inner;
}

/* Decrypts n >= TAG_BYTES bytes behind head into out; false when they are not what the client sealed. */
static bool decrypt(struct tls_records *r, const uint8_t *head, size_t n, uint8_t *out)
{
    EVP_CIPHER_CTX *evp = begin(r, &r->in);
    const uint8_t *text = head + TLS_RECORD_HEAD;
    int text_n = (int)n - TAG_BYTES;
    int k = 0;
    return EVP_DecryptUpdate(evp, NULL, &k, head, TLS_RECORD_HEAD) == 1 &&
           EVP_DecryptUpdate(evp, out, &k, text, text_n) == 1 &&
           EVP_CIPHER_CTX_ctrl(evp, EVP_CTRL_AEAD_SET_TAG, TAG_BYTES, (void *)(uintptr_t)(text + text_n)) ==
               1 &&
           EVP_DecryptFinal_ex(evp, out + text_n, &k) == 1;
}

/* --- opening -------------------------------------------------------------------------------------- */

static enum tls_opened fail(struct tls_records *r, enum tls_alert alert)
{
    r->alert = (uint8_t)alert;
    return TLS_OPENED_FAILED;
}

/* Of all handshake messages a client may now send one (4.6.3). It must end its record: the next has other keys. */
static enum tls_opened take_handshake(struct tls_records *r, const uint8_t *p, size_t n)
{
    if (n == 0 || n > (size_t)(KEY_UPDATE_BYTES - r->message_n)) {
        return fail(r, TLS_ALERT_UNEXPECTED_MESSAGE);
    }
    memcpy(r->message + r->message_n, p, n);
    r->message_n = (uint8_t)(r->message_n + n);
    if (r->message[0] != KEY_UPDATE) {
        return fail(r, TLS_ALERT_UNEXPECTED_MESSAGE);
    }
    if (r->message_n < KEY_UPDATE_BYTES) {
        return TLS_OPENED_DATA;
    }
    if (memcmp(r->message + 1, "\0\0\1", 3) != 0) {
        return fail(r, TLS_ALERT_DECODE_ERROR);
    }
    if (r->message[4] > 1) {
        return fail(r, TLS_ALERT_ILLEGAL_PARAMETER);
    }
    r->reply_wanted = r->message[4] == 1;
    r->message_n = 0;
    next_keys(r, &r->in);
    return TLS_OPENED_KEY_UPDATE;
}

/* What is inside: content, its type, and zeros as padding (5.4). */
static enum tls_opened take_inner(struct tls_records *r, const uint8_t *inner, size_t inner_n, size_t *n)
{
    while (inner_n > 0 && inner[inner_n - 1] == 0) {
        inner_n--;
    }
    if (inner_n == 0) {
        return fail(r, TLS_ALERT_UNEXPECTED_MESSAGE);
    }
    uint8_t type = inner[--inner_n];
    if (type == TLS_CONTENT_HANDSHAKE) {
        return take_handshake(r, inner, inner_n);
    }
    if (r->message_n > 0) {
        return fail(r, TLS_ALERT_UNEXPECTED_MESSAGE);
    }
    if (type == TLS_CONTENT_ALERT) {
        return inner_n == 2 ? TLS_OPENED_CLOSED : fail(r, TLS_ALERT_DECODE_ERROR);
    }
    if (type != TLS_CONTENT_DATA) {
        return fail(r, TLS_ALERT_UNEXPECTED_MESSAGE);
    }
    r->empties = inner_n == 0 ? (uint8_t)(r->empties + 1) : 0;
    if (r->empties > TLS_EMPTY_RECORDS) {
        return fail(r, TLS_ALERT_UNEXPECTED_MESSAGE);
    }
    *n = inner_n;
    return TLS_OPENED_DATA;
}

static enum tls_opened take_record(struct tls_records *r, const uint8_t *head, size_t body_n, char *out,
                                   size_t *n)
{
    uint8_t *inner = (uint8_t *)out;
    size_t inner_n = body_n - TAG_BYTES;
    if (inner_n > TLS_RECORD_PLAIN_MAX + 1) {
        return fail(r, TLS_ALERT_RECORD_OVERFLOW);
    }
    return decrypt(r, head, body_n, inner) ? take_inner(r, inner, inner_n, n)
                                           : fail(r, TLS_ALERT_BAD_RECORD_MAC);
}

/* What the head says, before its body is waited for. The version is not looked at (5.1). */
static bool head_is_fine(struct tls_records *r, const uint8_t *head, size_t body_n)
{
    if (head[0] != TLS_CONTENT_DATA) {
        fail(r, TLS_ALERT_UNEXPECTED_MESSAGE);
    } else if (body_n > TLS_RECORD_CIPHER_MAX) {
        fail(r, TLS_ALERT_RECORD_OVERFLOW);
    } else if (body_n <= TAG_BYTES) {
        fail(r, TLS_ALERT_BAD_RECORD_MAC);
    } else {
        return true;
    }
    return false;
}

/* Moves bytes from *in until the kept part has `wanted` of them; true when it does. */
static bool keep(struct tls_records *r, struct str *in, size_t wanted)
{
    size_t lacks = wanted > r->part.n ? wanted - r->part.n : 0;
    size_t take = in->n < lacks ? in->n : lacks;
    BUG_ON(buf_add(&r->part, in->p, take) != 0);
    *in = str_skip(*in, take);
    return take == lacks;
}

static size_t body_bytes(const uint8_t *head)
{
    return (size_t)head[3] << 8 | head[4];
}

enum tls_opened tls_records_open(struct tls_records *r, struct str *in, char *out, size_t *n)
{
    *n = 0;
    const uint8_t *head = (const uint8_t *)in->p;
    bool is_kept = r->part.n > 0 || in->n < TLS_RECORD_HEAD ||
                   in->n - TLS_RECORD_HEAD < body_bytes(head); /* else it is read where it lies */
    if (is_kept) {
        if (!keep(r, in, TLS_RECORD_HEAD)) {
            return TLS_OPENED_MORE;
        }
        head = (const uint8_t *)r->part.p;
    }
    size_t body_n = body_bytes(head);
    if (!head_is_fine(r, head, body_n)) {
        return TLS_OPENED_FAILED;
    }
    if (!is_kept) {
        *in = str_skip(*in, TLS_RECORD_HEAD + body_n);
        return take_record(r, head, body_n, out, n);
    }
    if (!keep(r, in, TLS_RECORD_HEAD + body_n)) {
        return TLS_OPENED_MORE;
    }
    enum tls_opened what = take_record(r, (const uint8_t *)r->part.p, body_n, out, n);
    buf_clear(&r->part);
    return what;
}

bool tls_records_reply(const struct tls_records *r)
{
    return r->reply_wanted;
}

enum tls_alert tls_records_alert(const struct tls_records *r)
{
    return (enum tls_alert)r->alert;
}

/* --- sealing -------------------------------------------------------------------------------------- */

bool tls_records_key_is_worn(const struct tls_records *r)
{
    return r->out.seq >= TLS_KEY_RECORDS;
}

size_t tls_records_update_key(struct tls_records *r, char *out)
{
    static const uint8_t message[KEY_UPDATE_BYTES] = {KEY_UPDATE, 0, 0, 1, 0};
    size_t n = tls_records_seal(r, TLS_CONTENT_HANDSHAKE, message, sizeof(message), out);
    next_keys(r, &r->out);
    return n;
}

size_t tls_records_seal_alert(struct tls_records *r, enum tls_alert alert, char *out)
{
    uint8_t text[2] = {alert == TLS_ALERT_CLOSE_NOTIFY ? 1 : 2, (uint8_t)alert};
    if (r->has_ended) {
        return 0;
    }
    r->has_ended = true;
    return tls_records_seal(r, TLS_CONTENT_ALERT, text, sizeof(text), out);
}
