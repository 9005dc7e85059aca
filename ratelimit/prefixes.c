#include "ratelimit/prefixes.h"

#include <stdio.h>

#include "base/str.h"

/* No wider than /24 and /48: those choose the slot in a Redis Cluster (limiter_key_tag). */
enum {
    DEFAULT_BITS4 = 32,
    DEFAULT_BITS6 = 64,
    BITS4_MIN = 24,
    BITS4_MAX = 32,
    BITS6_MIN = 48,
    BITS6_MAX = 128
};

static bool next_word(struct str *rest, struct str *word)
{
    while (rest->n > 0 && (*rest->p == ' ' || *rest->p == ',')) {
        *rest = str_skip(*rest, 1);
    }
    size_t n = 0;
    while (n < rest->n && rest->p[n] != ' ' && rest->p[n] != ',') {
        n++;
    }
    *word = str_of(rest->p, n);
    *rest = str_skip(*rest, n);
    return n > 0;
}

static bool bits_are_good(uint64_t bits)
{
    return (bits >= BITS4_MIN && bits <= BITS4_MAX) || (bits >= BITS6_MIN && bits <= BITS6_MAX);
}

/* "56" or "56x4". */
static bool word_read(struct str word, uint64_t *bits, uint64_t *factor)
{
    struct str text;
    struct str rest = word;
    *factor = 1;
    if (memchr(word.p, 'x', word.n) == NULL) {
        return str_u64(word, bits) && bits_are_good(*bits);
    }
    return str_cut(&rest, 'x', &text) && str_u64(text, bits) && bits_are_good(*bits) &&
           str_u64(rest, factor) && *factor >= 2 && *factor <= LIMIT_FACTOR_MAX;
}

/* Into the rule itself; false when that family has its prefix already. */
static bool base_add(struct limit_prefix *base, bool *has4, bool *has6, unsigned bits)
{
    bool *has = bits <= BITS4_MAX ? has4 : has6;
    if (*has) {
        return false;
    }
    *has = true;
    *(bits <= BITS4_MAX ? &base->bits4 : &base->bits6) = (uint8_t)bits;
    return true;
}

static bool factor_add(struct limit_prefix *out, unsigned *n, unsigned bits, uint64_t factor)
{
    if (*n == LIMIT_PREFIXES_MAX) {
        return false;
    }
    struct limit_prefix *p = &out[(*n)++];
    bool v4 = bits <= BITS4_MAX;
    *p = (struct limit_prefix){.family = v4 ? 4 : 6,
                               .bits4 = v4 ? (uint8_t)bits : DEFAULT_BITS4,
                               .bits6 = v4 ? DEFAULT_BITS6 : (uint8_t)bits,
                               .factor = (uint32_t)factor};
    snprintf(p->suffix, sizeof(p->suffix), "_%u", bits);
    return true;
}

unsigned limit_prefixes_parse(const char *text, const char *family,
                              struct limit_prefix out[LIMIT_PREFIXES_MAX])
{
    struct str rest = str_from(text ? text : "32 64");
    struct str word;
    char only = text && family ? *family : 0; /* the default text names both families for every row */
    bool has4 = false, has6 = false;
    unsigned n = 1;
    out[0] = (struct limit_prefix){.bits4 = DEFAULT_BITS4, .bits6 = DEFAULT_BITS6, .factor = 1};
    while (next_word(&rest, &word)) {
        uint64_t bits = 0;
        uint64_t factor = 1;
        if (!word_read(word, &bits, &factor) || (only == '4' && bits > BITS4_MAX) ||
            (only == '6' && bits <= BITS4_MAX)) {
            return 0;
        }
        bool added = factor == 1 ? base_add(&out[0], &has4, &has6, (unsigned)bits)
                                 : factor_add(out, &n, (unsigned)bits, factor);
        if (!added) {
            return 0;
        }
    }
    if (!has4 && !has6) {
        return 0;
    }
    out[0].family = family ? (uint8_t)(*family - '0') : has4 && has6 ? 0 : has4 ? 4 : 6;
    return n;
}
