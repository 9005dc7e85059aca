#include "base/str.h"

#include "base/swar.h"

static char lower(char c)
{
    return (c >= 'A' && c <= 'Z') ? (char)(c | 0x20) : c;
}

bool str_eq_nocase(struct str a, struct str b)
{
    if (a.n != b.n) {
        return false;
    }
    for (size_t i = 0; i < a.n; i++) {
        if (lower(a.p[i]) != lower(b.p[i])) {
            return false;
        }
    }
    return true;
}

bool str_starts(struct str s, struct str prefix)
{
    return s.n >= prefix.n && memcmp(s.p, prefix.p, prefix.n) == 0;
}

bool str_ends(struct str s, struct str suffix)
{
    return s.n >= suffix.n && memcmp(s.p + (s.n - suffix.n), suffix.p, suffix.n) == 0;
}

struct str str_trim(struct str s)
{
    while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t')) {
        s = str_skip(s, 1);
    }
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t')) {
        s.n--;
    }
    return s;
}

/* An empty rest is the end, so "a," yields "a" and nothing after it; ",a" yields "" and "a". */
bool str_cut(struct str *in, char sep, struct str *head)
{
    if (in->n == 0) {
        return false;
    }
    const char *at = memchr(in->p, sep, in->n);
    if (!at) {
        *head = *in;
        *in = str_skip(*in, in->n);
        return true;
    }
    *head = str_of(in->p, (size_t)(at - in->p));
    *in = str_skip(*in, head->n + 1);
    return true;
}

/* Reads the digits at the front of *in; false when there are none or too many. */
static bool cut_u64(struct str *in, uint64_t *out)
{
    uint64_t v = 0;
    size_t i = 0;
    for (; i < in->n && in->p[i] >= '0' && in->p[i] <= '9'; i++) {
        if (__builtin_mul_overflow(v, 10U, &v) || __builtin_add_overflow(v, (uint64_t)(in->p[i] - '0'), &v)) {
            return false;
        }
    }
    *in = str_skip(*in, i);
    *out = v;
    return i > 0;
}

bool str_u64(struct str s, uint64_t *out)
{
    uint64_t v;
    if (!cut_u64(&s, &v) || s.n != 0) {
        return false;
    }
    *out = v;
    return true;
}

/* 00 to 99: a division yields two digits. */
static const char pairs[] = "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
                            "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
                            "8081828384858687888990919293949596979899";

char *str_put_u64(char *at, uint64_t v)
{
    char digits[20];
    char *end = digits + sizeof(digits);
    char *p = end;
    if (v < 10) { /* most of what logs count */
        *at = (char)('0' + v);
        return at + 1;
    }
    for (; v >= 100; v /= 100) {
        p -= 2;
        memcpy(p, pairs + 2 * (v % 100), 2);
    }
    if (v >= 10) {
        p -= 2;
        memcpy(p, pairs + 2 * v, 2);
    } else {
        *--p = (char)('0' + v);
    }
    memcpy(at, p, (size_t)(end - p));
    return at + (end - p);
}

char *str_put_digits(char *at, uint32_t v, unsigned n)
{
    char *p = at + n;
    for (; p - at >= 2; v /= 100) {
        p -= 2;
        memcpy(p, pairs + v % 100 * 2, 2);
    }
    if (p > at) {
        *at = (char)('0' + v % 10);
    }
    return at + n;
}

static uint64_t controls(const char *p)
{
    uint64_t eight = swar_load(p);
    return swar_below(eight, ' ') | swar_has(eight, 0x7f);
}

size_t str_text_len(struct str s)
{
    size_t i = 0;
    while (s.n - i >= 8) {
        uint64_t found = controls(s.p + i);
        i += found ? swar_first(found) : 8;
        if (found && s.p[i++] != '\t') {
            return i - 1;
        }
    }
    if (i < s.n && s.n >= 8 && controls(s.p + s.n - 8) == 0) {
        return s.n;
    }
    while (i < s.n && ((uint8_t)s.p[i] >= ' ' || s.p[i] == '\t') && s.p[i] != 0x7f) {
        i++;
    }
    return i;
}

bool str_is_text(struct str s)
{
    uint64_t found = 0;
    for (size_t i = 0; i + 8 < s.n; i += 8) {
        found |= controls(s.p + i);
    }
    if (s.n >= 8 && (found | controls(s.p + s.n - 8)) == 0) {
        return true;
    }
    return str_text_len(s) == s.n; /* short, or with a tab, or not text */
}

bool str_i64(struct str s, int64_t *out)
{
    bool negative = s.n > 0 && s.p[0] == '-';
    uint64_t v;
    if (!str_u64(negative ? str_skip(s, 1) : s, &v)) {
        return false;
    }
    if (v > (uint64_t)INT64_MAX + (negative ? 1 : 0)) {
        return false;
    }
    *out = (int64_t)(negative ? 0 - v : v);
    return true;
}

struct unit {
    const char *name;
    uint64_t factor;
};

static bool number_with_unit(struct str s, const struct unit *units, size_t n, uint64_t *out)
{
    uint64_t v;
    if (!cut_u64(&s, &v)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (str_is(s, units[i].name)) {
            return !__builtin_mul_overflow(v, units[i].factor, out);
        }
    }
    return false;
}

bool str_duration_ms(struct str s, uint64_t *out)
{
    static const struct unit units[] = {
        {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000},
    };
    uint64_t v;
    if (str_is(s, "0")) {
        v = 0;
    } else if (!number_with_unit(s, units, sizeof(units) / sizeof(units[0]), &v)) {
        return false;
    }
    *out = v;
    return true;
}

bool str_size_bytes(struct str s, uint64_t *out)
{
    static const struct unit units[] = {
        {"", 1}, {"B", 1}, {"KiB", 1024}, {"MiB", 1024 * 1024}, {"GiB", 1024 * 1024 * 1024},
    };
    uint64_t v;
    if (!number_with_unit(s, units, sizeof(units) / sizeof(units[0]), &v)) {
        return false;
    }
    *out = v;
    return true;
}

/* Length of the sequence that a lead byte announces; 0 for a byte that cannot lead. */
static size_t utf8_length(uint8_t lead)
{
    if (lead < 0x80) {
        return 1;
    }
    if (lead >= 0xC2 && lead <= 0xDF) {
        return 2;
    }
    if (lead >= 0xE0 && lead <= 0xEF) {
        return 3;
    }
    return lead >= 0xF0 && lead <= 0xF4 ? 4 : 0;
}

/* The second byte's range carries the bans on overlong forms, surrogates and code points past
 * 10FFFF. */
static bool utf8_second_ok(uint8_t lead, uint8_t second)
{
    switch (lead) {
    case 0xE0:
        return second >= 0xA0 && second <= 0xBF;
    case 0xED:
        return second >= 0x80 && second <= 0x9F;
    case 0xF0:
        return second >= 0x90 && second <= 0xBF;
    case 0xF4:
        return second >= 0x80 && second <= 0x8F;
    default:
        return second >= 0x80 && second <= 0xBF;
    }
}

static bool utf8_sequence_ok(const uint8_t *p, size_t n)
{
    if (n > 1 && !utf8_second_ok(p[0], p[1])) {
        return false;
    }
    for (size_t i = 2; i < n; i++) {
        if ((p[i] & 0xC0) != 0x80) {
            return false;
        }
    }
    return true;
}

size_t str_utf8_valid_len(struct str s)
{
    const uint8_t *p = (const uint8_t *)s.p;
    size_t i = 0;
    while (i < s.n) {
        if (s.n - i >= 8 && (swar_load(p + i) & SWAR_HIGH) == 0) {
            i += 8;
            continue;
        }
        size_t n = utf8_length(p[i]);
        if (n == 0 || n > s.n - i || !utf8_sequence_ok(p + i, n)) {
            return i;
        }
        i += n;
    }
    return i;
}

bool str_is_utf8(struct str s)
{
    return str_utf8_valid_len(s) == s.n;
}

size_t str_utf8_safe_len(struct str s)
{
    const uint8_t *p = (const uint8_t *)s.p;
    for (size_t back = 1; back <= 3 && back <= s.n; back++) {
        uint8_t c = p[s.n - back];
        if ((c & 0xC0) == 0x80) {
            continue;
        }
        return utf8_length(c) > back ? s.n - back : s.n;
    }
    return s.n;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int str_hex_decode(struct str hex, uint8_t *out, size_t out_n)
{
    if (hex.n % 2 != 0 || hex.n / 2 > out_n) {
        return -1;
    }
    for (size_t i = 0; i < hex.n / 2; i++) {
        int high = hex_digit(hex.p[2 * i]);
        int low = hex_digit(hex.p[2 * i + 1]);
        if (high < 0 || low < 0) {
            return -1;
        }
        out[i] = (uint8_t)(high << 4 | low);
    }
    return (int)(hex.n / 2);
}

void str_hex_encode(const uint8_t *p, size_t n, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[p[i] >> 4];
        out[2 * i + 1] = digits[p[i] & 15];
    }
    out[2 * n] = '\0';
}
