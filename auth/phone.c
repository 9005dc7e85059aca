/* Reading a number, in three steps: fold what is provably the same character, check the shape, find the
 * country code. Then either our own table (mainland) or libphonenumber (everywhere else) has the last word. */
#include "auth/phone.h"

#include <stdio.h>

#include "auth/cn_ranges.h"
#include "auth/phone_lib.h"
#include "auth/phone_plan.h"

enum { PHONE_DIGITS_MIN = 7, PHONE_DIGITS_MAX = 15, CN_CODE_DIGITS = 2 };

void phone_start(void)
{
    phone_lib_start();
    phone_plan_start();
}

/* Next character with full-width forms folded to ASCII; 0 for anything not allowed. */
static char phone_next_char(struct str *in)
{
    unsigned char c = (unsigned char)in->p[0];
    size_t width = 1;
    char folded = 0;
    if (c < 0x80) {
        folded = (c >= '0' && c <= '9') || (c && strchr("+- ()", c)) ? (char)c : 0;
    } else if (in->n >= 3 && c == 0xE3 && memcmp(in->p, "\xE3\x80\x80", 3) == 0) {
        folded = ' '; /* U+3000 */
        width = 3;
    } else if (in->n >= 3 && c == 0xEF && (unsigned char)in->p[1] == 0xBC) {
        unsigned char last = (unsigned char)in->p[2];
        folded = last >= 0x90 && last <= 0x99 ? (char)('0' + last - 0x90) /* U+FF10..19 */
                 : last == 0x8B               ? '+'                       /* U+FF0B */
                 : last == 0x8D               ? '-'                       /* U+FF0D */
                                              : 0;
        width = 3;
    }
    *in = str_skip(*in, width);
    return folded;
}

/* Signs met on the way: at most one plus, before any digit; at most one pair of parentheses around something. */
struct phone_signs {
    bool has_plus;
    int parens;       /* 0 none yet, 1 open, 2 closed */
    bool paren_empty; /* nothing inside yet */
};

static bool phone_take_sign(struct phone_signs *s, char c, size_t digits)
{
    switch (c) {
    case '+':
        if (s->has_plus || digits > 0) {
            return false;
        }
        s->has_plus = true;
        return true;
    case '(':
        s->paren_empty = true;
        return s->parens++ == 0;
    case ')':
        return s->parens++ == 1 && !s->paren_empty;
    default:
        return c == ' ' || (c == '-' && digits > 0);
    }
}

/* The digits of text (NUL-terminated) and whether a plus came first; -1 when a character does not belong. */
static int phone_digits(struct str text, char digits[PHONE_TEXT_MAX + 1], bool *has_plus)
{
    struct phone_signs signs = {0};
    int n = 0;
    while (text.n > 0) {
        char c = phone_next_char(&text);
        if (c >= '0' && c <= '9') {
            digits[n++] = c;
            signs.paren_empty = false;
        } else if (!phone_take_sign(&signs, c, (size_t)n)) {
            return -1;
        }
    }
    if (signs.parens == 1) {
        return -1;
    }
    digits[n] = 0;
    *has_plus = signs.has_plus;
    return n;
}

/* The international digits (country code first), or an empty text when the spelling proves none. */
static struct str phone_international(const char *digits, size_t n, bool has_plus,
                                      char joined[PHONE_E164_MAX])
{
    struct str d = str_of(digits, n);
    if (has_plus) {
        return d;
    }
    if (str_starts(d, STR("00"))) {
        return str_skip(d, 2);
    }
    if (cn_mobile_is_shaped(d)) {
        snprintf(joined, PHONE_E164_MAX, "86%.11s", digits);
        return str_from(joined);
    }
    return str_starts(d, STR("86")) ? d : (struct str){"", 0};
}

int phone_canonical(struct str text, char e164[PHONE_E164_MAX + 1], struct err *err)
{
    char digits[PHONE_TEXT_MAX + 1];
    char joined[PHONE_E164_MAX];
    bool has_plus = false;
    if (text.n == 0 || text.n > PHONE_TEXT_MAX) {
        return err_set(err, ERR_INVALID, "a phone number has 1 to %d bytes", PHONE_TEXT_MAX);
    }
    int n = phone_digits(text, digits, &has_plus);
    if (n < 0) {
        return err_set(err, ERR_INVALID,
                       "a phone number has digits, one leading plus, spaces and hyphens only");
    }
    struct str d = phone_international(digits, (size_t)n, has_plus, joined);
    if (d.n == 0) {
        return err_set(err, ERR_INVALID, "write the number with + and its country code");
    }
    bool is_cn = str_starts(d, STR("86"));
    bool has_trunk = is_cn && d.n > CN_CODE_DIGITS && d.p[CN_CODE_DIGITS] == '0';
    size_t length = d.n - has_trunk;
    if (d.p[0] == '0' || length < PHONE_DIGITS_MIN || length > PHONE_DIGITS_MAX) {
        return err_set(err, ERR_INVALID, "an international number has a country code and 7 to 15 digits");
    }
    if (has_trunk) {
        struct str national = str_skip(d, CN_CODE_DIGITS + 1);
        if (national.p[0] == '0') {
            return err_set(err, ERR_INVALID, "behind +86 there is at most one 0");
        }
        snprintf(e164, PHONE_E164_MAX + 1, "+86" STR_FMT, STR_ARG(national));
    } else {
        snprintf(e164, PHONE_E164_MAX + 1, "+" STR_FMT, STR_ARG(d));
    }
    return 0;
}

static int phone_read_cn(enum phone_mode mode, struct phone *out, struct err *err)
{
    struct str national = str_from(out->e164 + 1 + CN_CODE_DIGITS);
    bool valid = mode == PHONE_MODE_SHAPE ? cn_mobile_is_shaped(national) : cn_mobile_is_assigned(national);
    if (!valid) {
        return err_set(err, ERR_INVALID, "not a mobile number of mainland China");
    }
    memcpy(out->country, "CN", 3);
    out->country_code = 86;
    out->type = PHONE_TYPE_MOBILE;
    out->is_virtual = cn_mobile_is_virtual(national);
    return 0;
}

int phone_read(struct str text, enum phone_mode mode, struct phone *out, struct err *err)
{
    struct phone phone = {0};
    int rc = phone_canonical(text, phone.e164, err);
    if (rc < 0) {
        return rc;
    }
    /* No other country code begins with 86: E.164 country codes are prefix-free. */
    if (strncmp(phone.e164, "+86", 3) == 0) {
        rc = phone_read_cn(mode, &phone, err);
    } else {
        struct phone_lib_answer answer;
        enum phone_plan_verdict verdict = phone_plan_check(phone.e164, &answer);
        if (verdict == PHONE_PLAN_INVALID ||
            (verdict == PHONE_PLAN_UNSURE && !phone_lib_check(phone.e164, &answer))) {
            return err_set(err, ERR_INVALID, "no number that receives codes in its country");
        }
        memcpy(phone.country, answer.country, sizeof phone.country);
        phone.country_code = answer.country_code;
        phone.type = (enum phone_type)answer.type;
        phone.is_virtual = phone.type == PHONE_TYPE_VOIP;
    }
    if (rc == 0) {
        *out = phone;
    }
    return rc;
}

void phone_prefix(const struct phone *p, char out[PHONE_E164_MAX + 1])
{
    size_t n = 1 + (p->country_code == 86 ? PHONE_PREFIX_DIGITS_CN : PHONE_PREFIX_DIGITS);
    for (int code = p->country_code; code > 0; code /= 10) {
        n++;
    }
    n = strnlen(p->e164, n);
    memcpy(out, p->e164, n);
    out[n] = 0;
}

const char *phone_type_name(enum phone_type t)
{
    static const char *const names[] = {"mobile", "fixed_or_mobile", "voip"};
    return names[t];
}

void phone_mask(const char *e164, char out[PHONE_E164_MAX + 1])
{
    size_t n = strlen(e164);
    snprintf(out, PHONE_E164_MAX + 1, "%s", e164);
    for (size_t i = n > 8 ? n - 8 : 1; i + 4 < n; i++) {
        out[i] = '*';
    }
}
