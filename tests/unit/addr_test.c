#include "tests/unit/unit.h"

#include <string.h>

#include "base/addr.h"

static const char *canon(const char *text)
{
    static char out[ADDR_TEXT];
    struct addr a;
    if (!addr_parse(str_from(text), &a)) {
        return "refused";
    }
    addr_format(&a, out);
    return out;
}

static void one_address_one_text(void **state)
{
    assert_string_equal(canon("1.2.3.4"), "1.2.3.4");
    assert_string_equal(canon("::ffff:1.2.3.4"), "1.2.3.4");
    assert_string_equal(canon("::FFFF:0102:0304"), "1.2.3.4");
    assert_string_equal(canon("2001:DB8:0:0:0:0:0:1"), "2001:db8::1");
    static const char *const bad[] = {
        "",         "1.2.3",  "01.2.3.4",   "1.2.3.256", "fe80::1%eth0",      "[::1]",   "1.2.3.4:80",
        " 1.2.3.4", "0x7f.1", "2130706433", "::1::",     "1:2:3:4:5:6:7:8:9", "unknown",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_string_equal(canon(bad[i]), "refused");
    }
    struct addr a;
    assert_false(addr_parse(STR("1.2.3.4\0"), &a));
}

static const char *prefix(const char *text)
{
    static char out[ADDR_TEXT + 4];
    struct addr_prefix p;
    if (!addr_prefix_parse(str_from(text), &p)) {
        return "refused";
    }
    addr_prefix_format(&p, out);
    return out;
}

static bool has(const char *prefix_text, const char *text)
{
    struct addr_prefix p;
    struct addr a;
    assert_true(addr_prefix_parse(str_from(prefix_text), &p));
    assert_true(addr_parse(str_from(text), &a));
    return addr_prefix_has(&p, &a);
}

static void prefixes(void **state)
{
    assert_string_equal(prefix("10.1.2.3/8"), "10.0.0.0/8");
    assert_string_equal(prefix("10.1.2.3"), "10.1.2.3/32");
    assert_string_equal(prefix("2001:db8::1/61"), "2001:db8::/61");
    assert_string_equal(prefix("::1"), "::1/128");
    assert_string_equal(prefix("0.0.0.0/0"), "0.0.0.0/0");
    assert_string_equal(prefix("::ffff:10.0.0.0/104"), "10.0.0.0/8");
    assert_string_equal(prefix("10.0.0.0/33"), "refused");
    assert_string_equal(prefix("10.0.0.0/"), "refused");
    assert_string_equal(prefix("10.0.0.0/08"), "refused");
    assert_string_equal(prefix("::/129"), "refused");
    assert_true(has("10.0.0.0/8", "10.255.0.1"));
    assert_false(has("10.0.0.0/8", "11.0.0.1"));
    assert_true(has("100.64.0.0/10", "100.127.255.255"));
    assert_false(has("100.64.0.0/10", "100.128.0.0"));
    assert_true(has("0.0.0.0/0", "8.8.8.8"));
    assert_false(has("0.0.0.0/0", "2001:db8::1"));
    assert_true(has("::/0", "8.8.8.8"));
}

/* Both sides of each border, and every way to write or wrap 127.0.0.1 that comes out of a resolver. */
static const char *const local_ones[] = {
    "0.0.0.0",
    "0.255.255.255",
    "10.0.0.0",
    "10.255.255.255",
    "100.64.0.0",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.255",
    "169.254.0.0",
    "169.254.169.254",
    "172.16.0.0",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.0",
    "192.168.255.255",
    "198.18.0.0",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.255",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:0:7f00:1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:1ff:ffff::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fdff::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "1fff::1",
};
static const char *const public_ones[] = {
    "1.1.1.1",         "9.255.255.255",   "11.0.0.0",        "100.63.255.255", "100.128.0.0",
    "126.255.255.255", "128.0.0.0",       "169.253.255.255", "169.255.0.0",    "172.15.255.255",
    "172.32.0.0",      "192.0.1.0",       "192.167.0.1",     "192.169.0.0",    "198.17.255.255",
    "198.20.0.0",      "223.255.255.255", "::ffff:8.8.8.8",  "2001:200::1",    "2001:4860:4860::8888",
    "2003::1",         "2606:4700::1111", "3ffe::1",
};

static void all_are(const char *const *texts, size_t n, bool is_public)
{
    struct addr a;
    for (size_t i = 0; i < n; i++) {
        assert_true(addr_parse(str_from(texts[i]), &a));
        if (addr_is_public(&a) != is_public) {
            fail_msg("%s is taken for %s", texts[i], is_public ? "local" : "public");
        }
    }
}

static void public_or_not(void **state)
{
    all_are(local_ones, sizeof(local_ones) / sizeof(local_ones[0]), false);
    all_are(public_ones, sizeof(public_ones) / sizeof(public_ones[0]), true);
}

static void masks_by_family(void **state)
{
    struct addr a, b;
    addr_parse(STR("2001:db8:1:2:3::4"), &a);
    addr_parse(STR("2001:db8:1:2:ffff::"), &b);
    struct addr_prefix p = addr_mask(&a, 32, 64), q = addr_mask(&b, 32, 64);
    assert_true(addr_eq(&p.addr, &q.addr) && p.bits == 64);
    addr_parse(STR("1.2.3.4"), &a);
    p = addr_mask(&a, 24, 64);
    char text[ADDR_TEXT + 4];
    addr_prefix_format(&p, text);
    assert_string_equal(text, "1.2.3.0/24");
    assert_int_equal(addr_mask(&a, 40, 64).bits, 128);
}

static int parse_endpoint(const char *text, struct endpoint *e)
{
    struct err err = {0};
    int rc = endpoint_parse(str_from(text), e, &err);
    assert_int_equal(rc, err.code);
    return rc;
}

static void endpoints(void **state)
{
    struct endpoint e;
    assert_int_equal(parse_endpoint("127.0.0.1:8443", &e), 0);
    assert_int_equal(e.sa.ss_family, AF_INET);
    assert_true(endpoint_is_local(&e));
    assert_int_equal(parse_endpoint("[::]:80", &e), 0);
    assert_int_equal(e.sa.ss_family, AF_INET6);
    assert_false(endpoint_is_local(&e));
    assert_int_equal(parse_endpoint("unix:/run/x.sock", &e), 0);
    assert_int_equal(e.sa.ss_family, AF_UNIX);
    assert_true(endpoint_is_local(&e));
    assert_string_equal(e.text, "unix:/run/x.sock");
    static const char *const bad[] = {
        "",      "127.0.0.1",      "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "::1:80",
        "[::1]", "[127.0.0.1]:80", "host:80",    "unix:",           "unix:x.sock",  "[]:80",
        ":80",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(parse_endpoint(bad[i], &e), ERR_INVALID);
    }
    char path[130] = "unix:/";
    memset(path + 6, 'x', 110);
    assert_int_equal(parse_endpoint(path, &e), ERR_LIMIT);
    assert_string_equal(e.text, "unix:/run/x.sock");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_address_one_text), cmocka_unit_test(prefixes),  cmocka_unit_test(public_or_not),
        cmocka_unit_test(masks_by_family),      cmocka_unit_test(endpoints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
