#include "ratelimit/limiter_key.h"

#include <sodium.h>
#include <stdio.h>

/* What is hashed: the rule's name, then each dimension as [number, length, value]: no two subjects spell the
 * same bytes. Long values go in as their own hash. */
enum { PLAIN_MAX = 200, HASH_BYTES = crypto_shorthash_siphashx24_BYTES };

struct key_text {
    uint8_t bytes[LIMIT_NAME_MAX + LIMIT_DIMENSIONS * (2 + PLAIN_MAX)];
    size_t n;
};

static void add_value(struct key_text *t, const uint8_t hash_key[16], unsigned dimension, struct str value)
{
    uint8_t digest[HASH_BYTES];
    if (value.n > PLAIN_MAX) {
        crypto_shorthash_siphashx24(digest, (const uint8_t *)value.p, value.n, hash_key);
        value = str_of((const char *)digest, sizeof(digest));
    }
    t->bytes[t->n++] = (uint8_t)dimension;
    t->bytes[t->n++] = (uint8_t)value.n;
    memcpy(t->bytes + t->n, value.p, value.n);
    t->n += value.n;
}

static bool address_is_set(const struct addr *a)
{
    static const struct addr none;
    return !addr_eq(a, &none);
}

bool limiter_key_of(const uint8_t hash_key[16], const struct limit_rule *rule,
                    const struct limit_subject *subject, struct limit_key *out)
{
    struct key_text t = {.n = 0};
    memcpy(t.bytes, rule->name, rule->name_n);
    t.n = rule->name_n;
    for (unsigned d = 0; d < LIMIT_DIMENSIONS; d++) {
        if (!(rule->dimensions & (1u << d))) {
            continue;
        }
        struct addr_prefix prefix;
        struct str value = subject->by[d];
        if (d == LIMIT_BY_ADDRESS) {
            bool v4 = addr_is_v4(&subject->address);
            if (!address_is_set(&subject->address) || (rule->family != 0 && (rule->family == 4) != v4)) {
                return false;
            }
            prefix = addr_mask(&subject->address, rule->bits4, rule->bits6);
            value = str_of((const char *)prefix.addr.b, sizeof(prefix.addr.b));
        } else if (value.n == 0) {
            return false;
        }
        add_value(&t, hash_key, d, value);
    }
    uint8_t digest[HASH_BYTES];
    crypto_shorthash_siphashx24(digest, t.bytes, t.n, hash_key);
    memcpy(&out->lo, digest, 8);
    memcpy(&out->hi, digest + 8, 8);
    return true;
}

uint16_t limiter_key_tag(const uint8_t hash_key[16], const struct limit_rule *rule,
                         const struct limit_subject *subject)
{
    static const enum limit_dimension order[LIMIT_DIMENSIONS] = {
        LIMIT_BY_ACCOUNT,       LIMIT_BY_PHONE,  LIMIT_BY_DEVICE, LIMIT_BY_ADDRESS,
        LIMIT_BY_PHONE_PREFIX,  LIMIT_BY_APIKEY, LIMIT_BY_JA4,    LIMIT_BY_MODEL,
        LIMIT_BY_PHONE_COUNTRY, LIMIT_BY_ASN,    LIMIT_BY_ROUTE,  LIMIT_BY_ALL};
    unsigned i = 0;
    while (!(rule->dimensions & (1u << order[i]))) {
        i++;
    }
    struct addr_prefix prefix = addr_mask(&subject->address, 24, 48);
    struct str value = order[i] == LIMIT_BY_ADDRESS
                           ? str_of((const char *)prefix.addr.b, sizeof(prefix.addr.b))
                           : subject->by[order[i]];
    struct key_text t = {.n = 0};
    add_value(&t, hash_key, order[i], value);
    uint64_t hash = 0;
    crypto_shorthash((uint8_t *)&hash, t.bytes, t.n, hash_key);
    return (uint16_t)(1 + hash % 65535);
}

size_t limiter_key_text(const struct limit_key_state *k, char out[LIMIT_KEY_TEXT])
{
    const struct limit_rule *rule = k->rule;
    char hex[2 * sizeof(k->key) + 1];
    memcpy(out, rule->key_head, rule->key_head_n);
    size_t n = rule->key_head_n;
    if (k->tag != 0) {
        n += (size_t)snprintf(out + n, 8, "{%04x}", k->tag);
    }
    str_hex_encode((const uint8_t *)&k->key, sizeof(k->key), hex);
    memcpy(out + n, hex, 2 * sizeof(k->key));
    return n + 2 * sizeof(k->key);
}
