/* Borrowed text: a pointer and a length, by value. Not owned, not necessarily NUL-terminated.
 *
 * Life: valid as long as what it points into; a parser takes `struct str *in` and advances it.
 * Errors: parsers of numbers return false and leave *out alone.
 * Thread rule: pure functions. */
#ifndef TIDE_BASE_STR_H
#define TIDE_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
    const char *p; /* never NULL; "" when empty */
    size_t n;      /* bytes */
};

#define STR(literal) ((struct str){"" literal, sizeof(literal) - 1})
#define STR_INIT(literal)                                                                                    \
    {                                                                                                        \
        "" literal, sizeof(literal) - 1                                                                      \
    } /* in static tables */
#define STR_FMT "%.*s"
#define STR_ARG(s) (int)(s).n, (s).p

static inline struct str str_of(const char *p, size_t n)
{
    return (struct str){p ? p : "", p ? n : 0};
}
static inline struct str str_from(const char *cstr) /* NULL reads as empty */
{
    return cstr ? (struct str){cstr, strlen(cstr)} : (struct str){"", 0};
}
static inline bool str_eq(struct str a, struct str b)
{
    return a.n == b.n && memcmp(a.p, b.p, a.n) == 0;
}
static inline struct str str_skip(struct str s, size_t n) /* n <= s.n */
{
    return (struct str){s.p + n, s.n - n};
}
static inline bool str_is(struct str a, const char *cstr)
{
    return str_eq(a, str_from(cstr));
}
bool str_eq_nocase(struct str a, struct str b); /* ASCII */
bool str_starts(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
struct str str_trim(struct str s);                        /* spaces and tabs at both ends */
bool str_cut(struct str *in, char sep, struct str *head); /* false at the end of *in; *in keeps the rest */
bool str_u64(struct str s, uint64_t *out);                /* 1*DIGIT, whole text, no overflow */
char *str_put_u64(char *at, uint64_t v);                  /* writes 1 to 20 digits, returns their end */
char *str_put_digits(char *at, uint32_t v, unsigned n);   /* the last n digits of v, with zeros in front */
size_t str_text_len(struct str s);                        /* bytes before the first control byte but HTAB */
bool str_is_text(struct str s);                           /* str_text_len(s) == s.n */
bool str_i64(struct str s, int64_t *out);                 /* ["-"] 1*DIGIT */
bool str_duration_ms(struct str s, uint64_t *out);        /* 250ms 10s 5m 2h 30d; a bare 0 */
bool str_size_bytes(struct str s, uint64_t *out);         /* 512 64KiB 1MiB 2GiB */
bool str_is_utf8(struct str s);                           /* RFC 3629: no surrogates, no overlong forms */
size_t str_utf8_valid_len(struct str s);                  /* bytes before the first that is not UTF-8 */
size_t str_utf8_safe_len(struct str s); /* length without an unfinished last sequence (at most 3 less) */
int str_hex_decode(struct str hex, uint8_t *out, size_t out_n); /* bytes written or -1 */
void str_hex_encode(const uint8_t *p, size_t n, char *out);     /* 2n lower-case digits, NUL */

#endif
