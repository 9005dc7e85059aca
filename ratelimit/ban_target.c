#include "ratelimit/ban_target.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { WIDE_BITS4 = 96 + 8, WIDE_BITS6 = 16, WIDE_DIGITS = 3, JA4_LEN = 36, JA4_HEAD = 10, DEVICE_MAX = 128 };

static const char *const names[BAN_KINDS] = {"address", "asn", "ja4", "device", "phone"};

const char *ban_kind_name(enum ban_kind k)
{
    return names[k];
}

static int refuse(struct err *err, struct str s, const char *why)
{
    return err_set(err, ERR_INVALID, "\"%.*s\" %s", s.n < 60 ? (int)s.n : 60, s.p, why);
}

static int parse_asn(struct str s, struct ban_target *out, struct err *err)
{
    uint64_t n;
    if (!str_u64(str_skip(s, 2), &n) || n == 0 || n > UINT32_MAX) {
        return refuse(err, s, "is no AS number: AS1 to AS4294967295");
    }
    out->kind = BAN_ASN;
    snprintf(out->text, sizeof out->text, "AS%llu", (unsigned long long)n);
    return 0;
}

/* "+86170": digits enough to name a range, too few to name a person. */
static int parse_phone(struct str s, struct ban_target *out, struct err *err)
{
    for (size_t i = 1; i < s.n; i++) {
        if (!isdigit((unsigned char)s.p[i])) {
            return refuse(err, s, "is no phone prefix: a plus sign and digits");
        }
    }
    if (s.n < 2 || s.n > 1 + BAN_PHONE_DIGITS_MAX || s.p[1] == '0') {
        return refuse(err, s, "is no phone prefix: 1 to 9 digits, the country's first");
    }
    out->kind = BAN_PHONE;
    snprintf(out->text, sizeof out->text, STR_FMT, STR_ARG(s));
    return 0;
}

static bool is_ja4(struct str s)
{
    if (s.n != JA4_LEN || s.p[JA4_HEAD] != '_' || s.p[JA4_HEAD + 13] != '_') {
        return false;
    }
    for (size_t i = 0; i < s.n; i++) {
        bool is_hash = i > JA4_HEAD && i != JA4_HEAD + 13;
        unsigned char c = (unsigned char)s.p[i];
        if (is_hash ? !(isdigit(c) || (c >= 'a' && c <= 'f')) : !(isalnum(c) || c == '_')) {
            return false;
        }
    }
    return true;
}

static int parse_ja4(struct str s, struct ban_target *out, struct err *err)
{
    struct str value = str_skip(s, 4);
    if (!is_ja4(value)) {
        return refuse(err, s, "is no JA4: ja4:t13d1516h2_8daaf6152771_02713d6af862");
    }
    out->kind = BAN_JA4;
    snprintf(out->text, sizeof out->text, STR_FMT, STR_ARG(s));
    return 0;
}

static int parse_device(struct str s, struct ban_target *out, struct err *err)
{
    struct str value = str_skip(s, 7);
    if (value.n == 0 || value.n > DEVICE_MAX) {
        return refuse(err, s, "is no device: 1 to 128 bytes after device:");
    }
    for (size_t i = 0; i < value.n; i++) {
        if (!isgraph((unsigned char)value.p[i])) {
            return refuse(err, s, "is no device: it holds a space or a control character");
        }
    }
    out->kind = BAN_DEVICE;
    snprintf(out->text, sizeof out->text, STR_FMT, STR_ARG(s));
    return 0;
}

int ban_target_parse(struct str s, struct ban_target *out, struct err *err)
{
    static const struct addr mapped = {.b = {[10] = 0xff, [11] = 0xff}};
    *out = (struct ban_target){.kind = BAN_ADDRESS};
    if (s.n > 2 && str_eq_nocase(str_of(s.p, 2), STR("as")) && isdigit((unsigned char)s.p[2])) {
        return parse_asn(s, out, err);
    }
    if (s.n > 0 && s.p[0] == '+') {
        return parse_phone(s, out, err);
    }
    if (str_starts(s, STR("ja4:"))) {
        return parse_ja4(s, out, err);
    }
    if (str_starts(s, STR("device:"))) {
        return parse_device(s, out, err);
    }
    if (!addr_prefix_parse(s, &out->prefix)) {
        return refuse(err, s, "is no address, prefix, AS number, ja4:, device: or phone prefix");
    }
    if (out->prefix.bits < 96 && addr_prefix_has(&out->prefix, &mapped)) {
        return refuse(err, s, "would hold IPv4 as well: 2000::/3 is the public IPv6, 0.0.0.0/0 all of IPv4");
    }
    char text[ADDR_TEXT + 4];
    addr_prefix_format(&out->prefix, text);
    snprintf(out->text, sizeof out->text, "%s", text);
    return 0;
}

bool ban_target_is_wide(const struct ban_target *t)
{
    if (t->kind == BAN_PHONE) {
        return strlen(t->text) <= 1 + WIDE_DIGITS;
    }
    if (t->kind != BAN_ADDRESS) {
        return false;
    }
    return t->prefix.bits < (addr_is_v4(&t->prefix.addr) && t->prefix.bits >= 96 ? WIDE_BITS4 : WIDE_BITS6);
}
