/* What a ban or an allowance names, as text and as what is compared.
 *
 *     203.0.113.7  203.0.113.0/24  2001:db8::/32     addresses and prefixes of any length
 *     AS64500                                        an autonomous system
 *     ja4:t13d1516h2_8daaf6152771_02713d6af862       a kind of TLS client
 *     device:3f2a...                                 x-device-id as apps send it
 *     +86170                                         phone numbers that begin so; fewer digits than a number has
 *
 * The text of a struct is canonical: equal targets have equal texts.
 * Thread rule: pure functions. */
#ifndef TIDE_RATELIMIT_BAN_TARGET_H
#define TIDE_RATELIMIT_BAN_TARGET_H

#include "base/addr.h"

enum { BAN_TEXT_MAX = 140, BAN_PHONE_DIGITS_MAX = 9 };

enum ban_kind {
    BAN_ADDRESS = 0,
    BAN_ASN = 1,
    BAN_JA4 = 2,
    BAN_DEVICE = 3,
    BAN_PHONE = 4,
    BAN_KINDS = 5,
};
const char *ban_kind_name(enum ban_kind k); /* "address", "asn", ... */

struct ban_target {
    enum ban_kind kind;
    struct addr_prefix prefix;   /* BAN_ADDRESS */
    char text[BAN_TEXT_MAX + 1]; /* canonical, with its "ja4:" or "device:" */
};

/* ERR_INVALID: says what is wrong with it. */
int ban_target_parse(struct str s, struct ban_target *out, struct err *err) TIDE_CHECK;
/* So much of the world that it is hardly meant: wider than an IPv4 /8 or an IPv6 /16, or a phone prefix of at most three
 * digits, as countries have. */
bool ban_target_is_wide(const struct ban_target *t);

#endif
