#include "base/json_text.h"

#include "base/err.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words are scanned from their low end");

/* Eight bytes at a time after "Determine if a word has a byte less than n" and "... equal to n"
 * of Bit Twiddling Hacks; exact for the first hit, which is all that is used. */
static uint64_t special_bytes(uint64_t w)
{
    const uint64_t ones = 0x0101010101010101U, high = 0x8080808080808080U;
    uint64_t quote = w ^ (ones * '"');
    uint64_t slash = w ^ (ones * '\\');
    return (((quote - ones) & ~quote) | ((slash - ones) & ~slash) | ((w - ones * 0x20) & ~w)) & high;
}

size_t json_plain_len(struct str s)
{
    size_t i = 0;
    for (; s.n - i >= 8; i += 8) {
        uint64_t w;
        memcpy(&w, s.p + i, 8);
        uint64_t special = special_bytes(w);
        if (special != 0) {
            return i + (size_t)__builtin_ctzll(special) / 8; /* the lowest byte is the first */
        }
    }
    for (; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c == '"' || c == '\\' || c < 0x20) {
            break;
        }
    }
    return i;
}

static bool take_hex4(struct str *in, uint32_t *out)
{
    uint8_t b[2];
    if (in->n < 4 || str_hex_decode(str_of(in->p, 4), b, 2) != 2) {
        return false;
    }
    *out = (uint32_t)b[0] << 8 | b[1];
    *in = str_skip(*in, 4);
    return true;
}

static size_t put_utf8(uint32_t c, char *out)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xC0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xE0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3F));
        out[2] = (char)(0x80 | (c & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3F));
    out[2] = (char)(0x80 | (c >> 6 & 0x3F));
    out[3] = (char)(0x80 | (c & 0x3F));
    return 4;
}

/* *in stands behind the u. A high surrogate takes the escape of its low one with it. */
static size_t take_unicode(struct str *in, char *out, const char **what)
{
    uint32_t c, low;
    if (!take_hex4(in, &c)) {
        *what = "an escape \\u without four hex digits";
        return 0;
    }
    if (c == 0) {
        *what = "the escape \\u0000";
        return 0;
    }
    if (c < 0xD800 || c > 0xDFFF) {
        return put_utf8(c, out);
    }
    *what = "a lone surrogate";
    if (c > 0xDBFF || !str_starts(*in, STR("\\u"))) {
        return 0;
    }
    *in = str_skip(*in, 2);
    if (!take_hex4(in, &low) || low < 0xDC00 || low > 0xDFFF) {
        return 0;
    }
    return put_utf8(0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00), out);
}

size_t json_take_escape(struct str *in, char *out, const char **what)
{
    static const char letters[] = "\"\\/bfnrt";
    static const char meanings[] = "\"\\/\b\f\n\r\t";
    char c = in->n >= 2 ? in->p[1] : '\0';
    *in = str_skip(*in, in->n >= 2 ? 2 : in->n);
    if (c == 'u') {
        return take_unicode(in, out, what);
    }
    const char *at = c ? strchr(letters, c) : NULL;
    if (!at) {
        *what = "an unknown escape";
        return 0;
    }
    out[0] = meanings[at - letters];
    return 1;
}

size_t json_unescape(struct str s, char *out)
{
    size_t n = 0;
    const char *what;
    while (s.n > 0) {
        size_t plain = json_plain_len(s);
        memmove(out + n, s.p, plain);
        n += plain;
        s = str_skip(s, plain);
        if (s.n > 0) {
            size_t wrote = json_take_escape(&s, out + n, &what);
            BUG_ON(wrote == 0); /* only scanned text comes here */
            n += wrote;
        }
    }
    return n;
}
