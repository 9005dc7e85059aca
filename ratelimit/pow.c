/* See pow.h. */
#include "ratelimit/pow.h"

#include <sodium.h>
#include <stdio.h>

#include "base/base64.h"
#include "base/id.h"
#include "base/json.h"

enum {
    KEY_BYTES = 32,
    PREFIX_BYTES = KEY_BYTES / 2,
    SALT_BYTES = 16,
    NET_BYTES = 8,
    PURPOSE_MAX = 16,
    CANONICAL_MAX = 512,
    COST = 1, /* rounds of SHA-256: more would slow scripts down more than programs */
};
#define ALGORITHM "SHA-256"

/* The parameters of a challenge, whether made here or read. */
struct pow_parameters {
    char purpose[PURPOSE_MAX + 1];
    int64_t cost, key_length, level, expires_s;
    uint8_t net[NET_BYTES];
    uint8_t prefix[PREFIX_BYTES];
    uint8_t nonce[POW_ID_BYTES];
    uint8_t salt[SALT_BYTES];
};

struct pow_paper {
    struct pow_parameters parameters;
    uint8_t signature[SECRET_HMAC_BYTES];
    uint32_t counter;
    uint8_t derived_key[KEY_BYTES];
};

void pow_keys_derive(const struct secret_ring *ring, struct pow_keys *out)
{
    static const struct str purpose = STR_INIT("tidegate challenge");
    const struct secret_key *k;
    *out = (struct pow_keys){0};
    for (; out->n < POW_KEYS_MAX && (k = secret_at(ring, SECRET_TOKEN, out->n)) != NULL; out->n++) {
        out->keys[out->n] = (struct secret_key){.use = SECRET_TOKEN, .n = SECRET_HMAC_BYTES};
        secret_hmac(k, purpose, out->keys[out->n].bytes);
    }
}

const char *pow_verdict_name(enum pow_verdict v)
{
    static const char *const names[POW_VERDICTS] = {
        "ok",          "missing",       "malformed",     "wrong_algorithm", "bad_signature",
        "expired",     "wrong_purpose", "wrong_address", "too_easy",        "wrong_solution",
        "already_used"};
    return names[v];
}

/* --- the parts ------------------------------------------------------------------------------------ */

static void network_hash(const struct secret_key *key, const struct pow_terms *t, uint8_t out[NET_BYTES])
{
    uint8_t mac[SECRET_HMAC_BYTES];
    struct addr_prefix net = addr_mask(&t->client, t->ipv4_bits, t->ipv6_bits);
    secret_hmac(key, str_of((const char *)net.addr.b, sizeof net.addr.b), mac);
    memcpy(out, mac, NET_BYTES);
}

static void derive(const struct pow_parameters *p, uint32_t counter, uint8_t out[KEY_BYTES])
{
    uint8_t text[SALT_BYTES + POW_ID_BYTES + 4];
    memcpy(text, p->salt, SALT_BYTES);
    memcpy(text + SALT_BYTES, p->nonce, POW_ID_BYTES);
    for (int i = 0; i < 4; i++) {
        text[SALT_BYTES + POW_ID_BYTES + i] = (uint8_t)(counter >> (24 - 8 * i));
    }
    crypto_hash_sha256(out, text, sizeof text);
}

/* JSON.stringify of the parameters with sorted members, as ALTCHA signs them. */
static struct str canonical(const struct pow_parameters *p, char out[CANONICAL_MAX])
{
    char net[2 * NET_BYTES + 1], prefix[2 * PREFIX_BYTES + 1], nonce[2 * POW_ID_BYTES + 1],
        salt[2 * SALT_BYTES + 1];
    str_hex_encode(p->net, NET_BYTES, net);
    str_hex_encode(p->prefix, PREFIX_BYTES, prefix);
    str_hex_encode(p->nonce, POW_ID_BYTES, nonce);
    str_hex_encode(p->salt, SALT_BYTES, salt);
    int n = snprintf(out, CANONICAL_MAX,
                     "{\"algorithm\":\"" ALGORITHM "\",\"cost\":%lld,"
                     "\"data\":{\"for\":\"%s\",\"level\":%lld,\"net\":\"%s\"},\"expiresAt\":%lld,"
                     "\"keyLength\":%lld,\"keyPrefix\":\"%s\",\"nonce\":\"%s\",\"salt\":\"%s\"}",
                     (long long)p->cost, p->purpose, (long long)p->level, net, (long long)p->expires_s,
                     (long long)p->key_length, prefix, nonce, salt);
    BUG_ON(n < 0 || n >= CANONICAL_MAX);
    return str_of(out, (size_t)n);
}

/* --- making one ----------------------------------------------------------------------------------- */

void pow_write(const struct pow_keys *keys, const struct pow_terms *terms, uint32_t work, int64_t expires_s,
               struct buf *out)
{
    struct pow_parameters p = {
        .cost = COST, .key_length = KEY_BYTES, .level = terms->level, .expires_s = expires_s};
    uint8_t key[KEY_BYTES], mac[SECRET_HMAC_BYTES];
    char text[CANONICAL_MAX], signature[2 * SECRET_HMAC_BYTES + 1];
    BUG_ON(keys->n == 0 || work == 0);
    snprintf(p.purpose, sizeof p.purpose, "%s", terms->purpose);
    network_hash(&keys->keys[0], terms, p.net);
    id_random(p.nonce, sizeof p.nonce);
    id_random(p.salt, sizeof p.salt);
    derive(&p, id_random_below(work), key);
    memcpy(p.prefix, key, PREFIX_BYTES);
    struct str parameters = canonical(&p, text);
    secret_hmac(&keys->keys[0], parameters, mac);
    str_hex_encode(mac, sizeof mac, signature);
    buf_addf(out, "{\"parameters\":" STR_FMT ",\"signature\":\"%s\"}", STR_ARG(parameters), signature);
}

/* --- reading what comes back ---------------------------------------------------------------------- */

static bool read_hex(const struct json_slice *v, uint8_t *out, size_t n)
{
    if (v->type != JSON_STRING || v->raw.n != 2 * n + 2) {
        return false;
    }
    for (size_t i = 1; i <= 2 * n; i++) {
        char c = v->raw.p[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) {
            return false;
        }
    }
    return str_hex_decode(str_of(v->raw.p + 1, 2 * n), out, n) == (int)n;
}

static bool read_purpose(const struct json_slice *v, char out[PURPOSE_MAX + 1])
{
    if (v->type != JSON_STRING || v->raw.n < 3 || v->raw.n > PURPOSE_MAX + 2) {
        return false;
    }
    for (size_t i = 1; i + 1 < v->raw.n; i++) {
        if (v->raw.p[i] < 'a' || v->raw.p[i] > 'z') {
            return false;
        }
    }
    snprintf(out, PURPOSE_MAX + 1, "%.*s", (int)v->raw.n - 2, v->raw.p + 1);
    return true;
}

static bool read_number(const struct json_slice *v, int64_t max, int64_t *out)
{
    bool has_leading_zero = v->raw.n > 1 && v->raw.p[0] == '0';
    return !has_leading_zero && json_get_i64(v, out) && *out >= 0 && *out <= max;
}

/* Every member once (the scan refused doubles), `needed` of them in all. */
typedef enum pow_verdict (*read_cb)(struct pow_paper *p, const struct json_slice *v, unsigned *found);

static enum pow_verdict read_object(const struct json_slice *from, read_cb member, unsigned needed,
                                    struct pow_paper *p)
{
    struct str in = from->raw;
    struct json_slice v;
    unsigned found = 0;
    if (from->type != JSON_OBJECT) {
        return POW_MALFORMED;
    }
    while (json_next(&in, &v)) {
        enum pow_verdict verdict = v.key_escaped ? POW_MALFORMED : member(p, &v, &found);
        if (verdict != POW_OK) {
            return verdict;
        }
    }
    return found == needed ? POW_OK : POW_MALFORMED;
}

static enum pow_verdict taken(bool is_good, unsigned *found)
{
    (*found)++;
    return is_good ? POW_OK : POW_MALFORMED;
}

static enum pow_verdict read_data(struct pow_paper *p, const struct json_slice *v, unsigned *found)
{
    if (str_is(v->key, "for")) {
        return taken(read_purpose(v, p->parameters.purpose), found);
    }
    if (str_is(v->key, "level")) {
        return taken(read_number(v, POW_LEVELS - 1, &p->parameters.level), found);
    }
    return str_is(v->key, "net") ? taken(read_hex(v, p->parameters.net, NET_BYTES), found) : POW_MALFORMED;
}

static enum pow_verdict read_algorithm(const struct json_slice *v, unsigned *found)
{
    (*found)++;
    if (v->type != JSON_STRING) {
        return POW_MALFORMED;
    }
    return str_is(v->raw, "\"" ALGORITHM "\"") ? POW_OK : POW_WRONG_ALGORITHM;
}

static enum pow_verdict read_parameter(struct pow_paper *p, const struct json_slice *v, unsigned *found)
{
    static const char *const unused[] = {"keySignature", "memoryCost", "parallelism"};
    struct pow_parameters *to = &p->parameters;
    if (str_is(v->key, "algorithm")) {
        return read_algorithm(v, found);
    }
    if (str_is(v->key, "cost")) {
        return taken(read_number(v, INT32_MAX, &to->cost), found);
    }
    if (str_is(v->key, "data")) {
        (*found)++;
        return read_object(v, read_data, 3, p);
    }
    if (str_is(v->key, "expiresAt")) {
        return taken(read_number(v, INT64_MAX / 2, &to->expires_s), found);
    }
    if (str_is(v->key, "keyLength")) {
        return taken(read_number(v, KEY_BYTES, &to->key_length), found);
    }
    if (str_is(v->key, "keyPrefix")) {
        return taken(read_hex(v, to->prefix, PREFIX_BYTES), found);
    }
    if (str_is(v->key, "nonce")) {
        return taken(read_hex(v, to->nonce, POW_ID_BYTES), found);
    }
    if (str_is(v->key, "salt")) {
        return taken(read_hex(v, to->salt, SALT_BYTES), found);
    }
    for (size_t i = 0; i < sizeof unused / sizeof *unused; i++) {
        if (str_is(v->key, unused[i]) && v->type == JSON_NULL) {
            return POW_OK; /* typed clients write what they do not have */
        }
    }
    return POW_MALFORMED;
}

static enum pow_verdict read_challenge(struct pow_paper *p, const struct json_slice *v, unsigned *found)
{
    if (str_is(v->key, "parameters")) {
        (*found)++;
        return read_object(v, read_parameter, 8, p);
    }
    return str_is(v->key, "signature") ? taken(read_hex(v, p->signature, SECRET_HMAC_BYTES), found)
                                       : POW_MALFORMED;
}

static enum pow_verdict read_solution(struct pow_paper *p, const struct json_slice *v, unsigned *found)
{
    int64_t counter = 0;
    if (str_is(v->key, "counter")) {
        bool is_good = read_number(v, UINT32_MAX, &counter);
        p->counter = (uint32_t)counter;
        return taken(is_good, found);
    }
    if (str_is(v->key, "derivedKey")) {
        return taken(read_hex(v, p->derived_key, KEY_BYTES), found);
    }
    bool is_time = str_is(v->key, "time") && (v->type == JSON_NUMBER || v->type == JSON_NULL);
    return is_time ? POW_OK : POW_MALFORMED; /* how long it took: not looked at */
}

static enum pow_verdict read_payload(struct pow_paper *p, const struct json_slice *v, unsigned *found)
{
    (*found)++;
    if (str_is(v->key, "challenge")) {
        return read_object(v, read_challenge, 2, p);
    }
    return str_is(v->key, "solution") ? read_object(v, read_solution, 2, p) : POW_MALFORMED;
}

static enum pow_verdict pow_read(struct str payload, struct arena *arena, struct pow_paper *out)
{
    static const struct json_limits limits = {
        .max_depth = 5, .max_members = 24, .max_items = 0, .max_string = 256};
    struct json_doc doc;
    struct err err;
    if (payload.n > POW_PAYLOAD_MAX) {
        return POW_MALFORMED;
    }
    uint8_t *text = arena_alloc(arena, payload.n / 4 * 3 + 2);
    ptrdiff_t n = base64_decode(payload, text, payload.n / 4 * 3 + 2);
    if (n < 0 || json_scan(arena, str_of((char *)text, (size_t)n), &limits, &doc, &err) != 0) {
        return POW_MALFORMED;
    }
    struct json_slice top = {.key = STR(""), .raw = doc.raw, .type = doc.type};
    return read_object(&top, read_payload, 2, out);
}

/* --- checking it ---------------------------------------------------------------------------------- */

/* The key that signed it; NULL: none of ours. */
static const struct secret_key *find_signer(const struct pow_keys *keys, const struct pow_paper *p)
{
    char text[CANONICAL_MAX];
    uint8_t mac[SECRET_HMAC_BYTES];
    struct str parameters = canonical(&p->parameters, text);
    for (unsigned i = 0; i < keys->n; i++) {
        secret_hmac(&keys->keys[i], parameters, mac);
        if (secret_eq(mac, p->signature, sizeof mac)) {
            return &keys->keys[i];
        }
    }
    return NULL;
}

static bool is_solved(const struct pow_paper *p)
{
    uint8_t key[KEY_BYTES];
    derive(&p->parameters, p->counter, key);
    return secret_eq(key, p->derived_key, KEY_BYTES) && secret_eq(key, p->parameters.prefix, PREFIX_BYTES);
}

enum pow_verdict pow_check(const struct pow_keys *keys, const struct pow_terms *terms, struct str payload,
                           int64_t now_s, struct arena *arena, struct pow_solved *out)
{
    struct pow_paper p = {0};
    uint8_t net[NET_BYTES];
    if (payload.n == 0) {
        return POW_MISSING;
    }
    enum pow_verdict verdict = pow_read(payload, arena, &p);
    if (verdict != POW_OK) {
        return verdict;
    }
    const struct secret_key *signer = find_signer(keys, &p);
    if (!signer) {
        return POW_BAD_SIGNATURE;
    }
    if (p.parameters.expires_s <= now_s) {
        return POW_EXPIRED;
    }
    if (strcmp(p.parameters.purpose, terms->purpose) != 0) {
        return POW_WRONG_PURPOSE;
    }
    network_hash(signer, terms, net);
    if (memcmp(net, p.parameters.net, NET_BYTES) != 0) {
        return POW_WRONG_ADDRESS;
    }
    if (p.parameters.level < (int64_t)terms->level) {
        return POW_TOO_EASY;
    }
    memcpy(out->id, p.parameters.nonce, POW_ID_BYTES);
    out->expires_s = p.parameters.expires_s;
    out->level = (enum pow_level)p.parameters.level;
    return is_solved(&p) ? POW_OK : POW_WRONG_SOLUTION;
}
