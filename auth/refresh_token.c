/* See refresh_token.h. Numbers are LEB128 varints in their shortest form: a token has one spelling. */
#include "auth/refresh_token.h"

#include <openssl/sha.h>
#include <stdio.h>

#include "base/base64.h"

enum { TOKEN_VERSION = 1, TOKEN_HEAD = 17, TOKEN_MAC = 16, TOKEN_SUM = 4, VARINT_MAX = 9 };

static size_t varint_write(uint64_t v, uint8_t *out)
{
    size_t n = 0;
    for (; v >= 0x80; v >>= 7) {
        out[n++] = (uint8_t)(v | 0x80);
    }
    out[n++] = (uint8_t)v;
    return n;
}

/* The whole text is one varint of at most 63 bits, not longer than needed. */
static bool varint_read(const uint8_t *p, size_t n, int64_t *out)
{
    uint64_t v = 0;
    if (n == 0 || n > VARINT_MAX || (n > 1 && p[n - 1] == 0)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (((p[i] & 0x80) != 0) != (i + 1 < n)) {
            return false;
        }
        v |= (uint64_t)(p[i] & 0x7F) << (7 * i);
    }
    *out = (int64_t)v;
    return v > 0;
}

static void token_mac(const struct secret_key *key, const uint8_t *p, size_t n,
                      uint8_t out[SECRET_HMAC_BYTES])
{
    const struct str texts[] = {STR_INIT("refresh"), {(const char *)p, n}};
    secret_hmac_of(key, texts, 2, out);
}

void refresh_token_write(const struct secret_ring *r, const struct refresh_token *t,
                         char out[REFRESH_TOKEN_TEXT])
{
    uint8_t bytes[REFRESH_TOKEN_BYTES_MAX], mac[SECRET_HMAC_BYTES], sum[SHA256_DIGEST_LENGTH];
    bytes[0] = TOKEN_VERSION;
    memcpy(bytes + 1, t->session.b, ID_UUID_BYTES);
    size_t n = TOKEN_HEAD + varint_write((uint64_t)t->counter, bytes + TOKEN_HEAD);
    token_mac(secret_active(r, SECRET_TOKEN), bytes, n, mac);
    memcpy(bytes + n, mac, TOKEN_MAC);
    n += TOKEN_MAC;
    SHA256(bytes, n, sum);
    memcpy(bytes + n, sum, TOKEN_SUM);
    n += TOKEN_SUM;
    snprintf(out, 4, "rt_");
    base64url_encode(bytes, n, out + 3);
}

static bool token_mac_is_ours(const struct secret_ring *r, const uint8_t *bytes, size_t n)
{
    const struct secret_key *key;
    uint8_t mac[SECRET_HMAC_BYTES];
    bool is_ours = false;
    for (unsigned i = 0; !is_ours && (key = secret_at(r, SECRET_TOKEN, i)); i++) {
        token_mac(key, bytes, n, mac);
        is_ours = secret_eq(mac, bytes + n, TOKEN_MAC);
    }
    return is_ours;
}

bool refresh_token_read(const struct secret_ring *r, struct str text, struct refresh_token *out)
{
    uint8_t bytes[REFRESH_TOKEN_BYTES_MAX + 4], sum[SHA256_DIGEST_LENGTH];
    if (!str_starts(text, STR("rt_")) || text.n >= REFRESH_TOKEN_TEXT) {
        return false;
    }
    ptrdiff_t decoded = base64url_decode(str_skip(text, 3), bytes, sizeof bytes);
    if (decoded <= TOKEN_HEAD + TOKEN_MAC + TOKEN_SUM || bytes[0] != TOKEN_VERSION) {
        return false;
    }
    size_t summed = (size_t)decoded - TOKEN_SUM;
    size_t signed_bytes = summed - TOKEN_MAC;
    SHA256(bytes, summed, sum);
    if (memcmp(sum, bytes + summed, TOKEN_SUM) != 0) {
        return false;
    }
    memcpy(out->session.b, bytes + 1, ID_UUID_BYTES);
    return varint_read(bytes + TOKEN_HEAD, signed_bytes - TOKEN_HEAD, &out->counter) &&
           token_mac_is_ours(r, bytes, signed_bytes);
}
