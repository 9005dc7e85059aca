/* Phone numbers: one strict reading at the edge, so that a person has one spelling. Not a formatter for people.
 *
 *     text -> phone_canonical (syntax only: folds what is provably the same) -> "+8613800138000"
 *          -> phone_read      (also: is it a real mobile number, of which country, virtual or not)
 *
 * Folded: full-width digits, plus, hyphen and space; ASCII spaces, hyphens and one pair of parentheses;
 * 00 for +; bare 86...; a bare mainland mobile number; exactly one trunk 0 after 86. All else is refused,
 * also what libphonenumber would take (letters, other scripts' digits, extensions, carrier prefixes).
 * Mainland China is country code 86 with a mobile range of cn_ranges.c; +852, +853 and +886 are not.
 * Errors: ERR_INVALID with a text that never repeats the number.
 * Thread rule: any thread (phone_start once, at start). */
#ifndef TIDE_AUTH_PHONE_H
#define TIDE_AUTH_PHONE_H

#include "auth/phone_types.h"
#include "base/err.h"
#include "base/str.h"

enum { PHONE_E164_MAX = 16, PHONE_TEXT_MAX = 64, PHONE_PREFIX_DIGITS = 5, PHONE_PREFIX_DIGITS_CN = 7 };

enum phone_mode {
    PHONE_MODE_STRICT = 0, /* mainland numbers: the ranges of cn_ranges.c */
    PHONE_MODE_SHAPE = 1,  /* mainland numbers: 1[3-9] and nine digits, for when the table is stale */
};

struct phone {
    char e164[PHONE_E164_MAX + 1]; /* "+8613800138000" */
    char country[3];               /* ISO 3166 region: "CN", "HK"; "" for numbers of no country */
    int country_code;              /* 86 */
    enum phone_type type;
    bool is_virtual; /* range of a virtual operator: a risk weight, not a verdict */
};

void phone_start(void); /* loads libphonenumber's tables; the first call is slow, so make it at start */
int phone_canonical(struct str text, char e164[PHONE_E164_MAX + 1], struct err *err) TIDE_CHECK;
int phone_read(struct str text, enum phone_mode mode, struct phone *out, struct err *err) TIDE_CHECK;

/* What limits per prefix count: the country code and the next five digits, for +86 the next seven ("+861380013"): the
 * block of 10,000 in which mainland numbers are allotted. A launch day fills wider blocks with honest people. */
void phone_prefix(const struct phone *p, char out[PHONE_E164_MAX + 1]);
const char *phone_type_name(enum phone_type t); /* "mobile", "fixed_or_mobile", "voip" */

/* "+86138****8000": enough to recognise, not enough to call. */
void phone_mask(const char *e164, char out[PHONE_E164_MAX + 1]);

#endif
