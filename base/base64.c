#include "base/base64.h"

static const char standard[65] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char url[65] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static size_t encode(const uint8_t *p, size_t n, char *out, const char *alphabet, bool pad)
{
    char *to = out;
    for (; n >= 3; n -= 3, p += 3) {
        *to++ = alphabet[p[0] >> 2];
        *to++ = alphabet[(p[0] & 3) << 4 | p[1] >> 4];
        *to++ = alphabet[(p[1] & 15) << 2 | p[2] >> 6];
        *to++ = alphabet[p[2] & 63];
    }
    if (n > 0) {
        uint8_t second = n == 2 ? p[1] : 0;
        *to++ = alphabet[p[0] >> 2];
        *to++ = alphabet[(p[0] & 3) << 4 | second >> 4];
        if (n == 2) {
            *to++ = alphabet[(second & 15) << 2];
        }
        for (size_t i = n; pad && i < 3; i++) {
            *to++ = '=';
        }
    }
    *to = '\0';
    return (size_t)(to - out);
}

size_t base64_encode(const void *p, size_t n, char *out)
{
    return encode(p, n, out, standard, true);
}

size_t base64url_encode(const void *p, size_t n, char *out)
{
    return encode(p, n, out, url, false);
}

static int value_of(char c, bool is_url)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    if (c == (is_url ? '-' : '+')) {
        return 62;
    }
    return c == (is_url ? '_' : '/') ? 63 : -1;
}

/* s has no padding any more. 6 bits come in, 8 go out; what is left over at the end must be zero. */
static ptrdiff_t decode(struct str s, uint8_t *out, size_t cap, bool is_url)
{
    uint32_t bits = 0, held = 0;
    size_t n = 0;
    if (s.n % 4 == 1 || s.n / 4 * 3 + s.n % 4 * 3 / 4 > cap) {
        return -1;
    }
    for (size_t i = 0; i < s.n; i++) {
        int v = value_of(s.p[i], is_url);
        if (v < 0) {
            return -1;
        }
        bits = (bits << 6 | (uint32_t)v) & 0xffff;
        held += 6;
        if (held >= 8) {
            held -= 8;
            out[n++] = (uint8_t)(bits >> held);
        }
    }
    return (bits & ((1U << held) - 1)) == 0 ? (ptrdiff_t)n : -1;
}

ptrdiff_t base64_decode(struct str s, uint8_t *out, size_t cap)
{
    if (s.n % 4 != 0) {
        return -1;
    }
    for (int i = 0; i < 2 && s.n > 0 && s.p[s.n - 1] == '='; i++) {
        s.n--;
    }
    return decode(s, out, cap, false);
}

ptrdiff_t base64url_decode(struct str s, uint8_t *out, size_t cap)
{
    return decode(s, out, cap, true);
}
