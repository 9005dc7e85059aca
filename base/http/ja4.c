/* Two passes: the ClientHello becomes lists (RFC 8446 4.1.2), the lists become text. */
#include "base/http/ja4.h"

#include <openssl/sha.h>
#include <stdlib.h>

enum {
    TYPE_CLIENT_HELLO = 1,
    EXT_SERVER_NAME = 0x0000,
    EXT_SIGNATURE_ALGORITHMS = 0x000d,
    EXT_ALPN = 0x0010,
    EXT_SUPPORTED_VERSIONS = 0x002b,
    HASH_DIGITS = 12,
};

struct list {
    uint16_t v[JA4_LIST_MAX];
    unsigned n;
};

struct hello {
    uint16_t version; /* highest offered */
    bool has_name;
    struct str alpn; /* first name; empty: none */
    struct list ciphers, extensions, algorithms;
    unsigned extension_count; /* GREASE among them */
};

/* --- reading ---------------------------------------------------------------------------------------- */

/* Big-endian number of `bytes` bytes off the front. */
static bool take_number(struct str *in, unsigned bytes, uint32_t *out)
{
    if (in->n < bytes) {
        return false;
    }
    *out = 0;
    for (unsigned i = 0; i < bytes; i++) {
        *out = *out << 8 | (uint8_t)in->p[i];
    }
    *in = str_skip(*in, bytes);
    return true;
}

/* What a length of length_bytes in front announces. */
static bool take_vector(struct str *in, unsigned length_bytes, struct str *out)
{
    uint32_t n;
    if (!take_number(in, length_bytes, &n) || in->n < n) {
        return false;
    }
    *out = str_of(in->p, n);
    *in = str_skip(*in, n);
    return true;
}

static bool is_grease(uint32_t v)
{
    return (v & 0x0f0f) == 0x0a0a && v >> 8 == (v & 0xff);
}

static int add(struct list *l, uint32_t v)
{
    if (is_grease(v)) {
        return 0;
    }
    if (l->n == JA4_LIST_MAX) {
        return ERR_LIMIT;
    }
    l->v[l->n++] = (uint16_t)v;
    return 0;
}

static int read_list(struct str in, struct list *l)
{
    uint32_t v;
    int rc = 0;
    while (rc == 0 && take_number(&in, 2, &v)) {
        rc = add(l, v);
    }
    return rc == 0 && in.n > 0 ? ERR_INVALID : rc;
}

static int read_versions(struct str in, struct hello *h)
{
    struct str versions;
    uint32_t v;
    if (!take_vector(&in, 1, &versions)) {
        return ERR_INVALID;
    }
    uint16_t highest = 0;
    while (take_number(&versions, 2, &v)) {
        highest = !is_grease(v) && v > highest ? (uint16_t)v : highest;
    }
    h->version = highest;
    return 0;
}

static int read_alpn(struct str in, struct hello *h)
{
    struct str names;
    if (!take_vector(&in, 2, &names) || (names.n > 0 && !take_vector(&names, 1, &h->alpn))) {
        return ERR_INVALID;
    }
    return 0;
}

static int read_extension(uint32_t type, struct str body, struct hello *h)
{
    struct str algorithms;
    switch (type) {
    case EXT_SERVER_NAME:
        h->has_name = true;
        return 0;
    case EXT_SUPPORTED_VERSIONS:
        return read_versions(body, h);
    case EXT_ALPN:
        return read_alpn(body, h);
    case EXT_SIGNATURE_ALGORITHMS:
        return take_vector(&body, 2, &algorithms) ? read_list(algorithms, &h->algorithms) : ERR_INVALID;
    default:
        return 0;
    }
}

static int read_extensions(struct str in, struct hello *h)
{
    struct str all, body;
    uint32_t type;
    int rc = 0;
    if (in.n == 0) {
        return 0; /* TLS 1.2 may go without */
    }
    if (!take_vector(&in, 2, &all) || in.n > 0) {
        return ERR_INVALID;
    }
    while (rc == 0 && all.n > 0) {
        if (!take_number(&all, 2, &type) || !take_vector(&all, 2, &body)) {
            return ERR_INVALID;
        }
        h->extension_count++;
        rc = add(&h->extensions, type);
        if (rc == 0) {
            rc = read_extension(type, body, h);
        }
    }
    return rc;
}

static int read_hello(struct str in, struct hello *h)
{
    struct str body, session, ciphers, compression;
    uint32_t type, version;
    if (!take_number(&in, 1, &type) || type != TYPE_CLIENT_HELLO || !take_vector(&in, 3, &body) || in.n > 0 ||
        !take_number(&body, 2, &version) || body.n < 32) {
        return ERR_INVALID;
    }
    body = str_skip(body, 32);
    if (!take_vector(&body, 1, &session) || !take_vector(&body, 2, &ciphers) ||
        !take_vector(&body, 1, &compression)) {
        return ERR_INVALID;
    }
    h->version = (uint16_t)version;
    int rc = read_list(ciphers, &h->ciphers);
    return rc == 0 ? read_extensions(body, h) : rc;
}

/* --- writing ---------------------------------------------------------------------------------------- */

static const char digits[] = "0123456789abcdef";

static const char *version_text(uint16_t version)
{
    switch (version) {
    case 0x0304:
        return "13";
    case 0x0303:
        return "12";
    case 0x0302:
        return "11";
    case 0x0301:
        return "10";
    case 0x0300:
        return "s3";
    case 0x0002:
        return "s2";
    default:
        return "00";
    }
}

static char *put_count(char *at, unsigned n)
{
    n = n < 99 ? n : 99;
    *at++ = (char)('0' + n / 10);
    *at++ = (char)('0' + n % 10);
    return at;
}

static bool is_alphanumeric(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* Its first and last character, or those of its hexadecimal form. */
static char *put_alpn(char *at, struct str name)
{
    if (name.n == 0) {
        *at++ = '0';
        *at++ = '0';
        return at;
    }
    char first = name.p[0], last = name.p[name.n - 1];
    bool plain = is_alphanumeric(first) && is_alphanumeric(last);
    *at++ = plain ? first : digits[(uint8_t)first >> 4];
    *at++ = plain ? last : digits[last & 0xf];
    return at;
}

static char *put_list(char *at, const struct list *l)
{
    for (unsigned i = 0; i < l->n; i++) {
        if (i > 0) {
            *at++ = ',';
        }
        for (int shift = 12; shift >= 0; shift -= 4) {
            *at++ = digits[l->v[i] >> shift & 0xf];
        }
    }
    return at;
}

static char *put_hash(char *at, const char *text, const char *end)
{
    uint8_t hash[SHA256_DIGEST_LENGTH];
    SHA256((const uint8_t *)text, (size_t)(end - text), hash);
    for (int i = 0; i < HASH_DIGITS; i++) {
        *at++ = digits[i % 2 == 0 ? hash[i / 2] >> 4 : hash[i / 2] & 0xf];
    }
    return at;
}

static char *put_zeros(char *at)
{
    memset(at, '0', HASH_DIGITS);
    return at + HASH_DIGITS;
}

static int compare(const void *a, const void *b)
{
    uint16_t left = *(const uint16_t *)a, right = *(const uint16_t *)b;
    return left < right ? -1 : left > right;
}

/* Sorted, without the two that the readable part tells already. */
static void settle_extensions(struct list *l)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < l->n; i++) {
        if (l->v[i] != EXT_SERVER_NAME && l->v[i] != EXT_ALPN) {
            l->v[kept++] = l->v[i];
        }
    }
    l->n = kept;
    qsort(l->v, l->n, sizeof(l->v[0]), compare);
}

static void write_text(struct hello *h, char *at)
{
    char text[2 * 5 * JA4_LIST_MAX + 1];
    char *end;
    *at++ = 't';
    memcpy(at, version_text(h->version), 2);
    at += 2;
    *at++ = h->has_name ? 'd' : 'i';
    at = put_alpn(put_count(put_count(at, h->ciphers.n), h->extensions.n), h->alpn);
    *at++ = '_';
    qsort(h->ciphers.v, h->ciphers.n, sizeof(h->ciphers.v[0]), compare);
    at = h->ciphers.n > 0 ? put_hash(at, text, put_list(text, &h->ciphers)) : put_zeros(at);
    *at++ = '_';
    settle_extensions(&h->extensions);
    end = put_list(text, &h->extensions);
    if (h->algorithms.n > 0) {
        *end++ = '_';
        end = put_list(end, &h->algorithms);
    }
    at = h->extensions.n > 0 ? put_hash(at, text, end) : put_zeros(at);
    *at = '\0';
}

int ja4_of_hello(struct str message, struct ja4 *out)
{
    struct hello h;
    h.version = 0;
    h.has_name = false;
    h.alpn = STR("");
    h.ciphers.n = h.extensions.n = h.algorithms.n = 0;
    h.extension_count = 0;
    int rc = read_hello(message, &h);
    if (rc != 0) {
        return rc;
    }
    write_text(&h, out->text);
    out->extensions = (uint16_t)h.extension_count;
    return 0;
}
