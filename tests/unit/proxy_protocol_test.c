#include "tests/unit/unit.h"

#include <stdlib.h>

#include "base/http/proxy_protocol.h"

#define TEXT(s) s, sizeof(s) - 1
#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define V4_PAIR "\xcb\x00\x71\x07\x0a\x00\x00\x01\x1f\x90\x01\xbb" /* 203.0.113.7 -> 10.0.0.1, 8080 -> 443 */
#define V6_PAIR                                                                                              \
    "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x05"                                                             \
    "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"                                                             \
    "\x1f\x90\x01\xbb"
#define ZEROS_54                                                                                             \
    "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0" \
    "\0\0\0"
#define UNIX_PAIR ZEROS_54 ZEROS_54 ZEROS_54 ZEROS_54

static const struct {
    const char *what, *text;
    size_t n;
    const char *peer; /* NULL: the header names nobody */
} good[] = {
    {"v1 tcp4", TEXT("PROXY TCP4 203.0.113.7 10.0.0.1 8080 443\r\n"), "203.0.113.7"},
    {"v1 tcp6", TEXT("PROXY TCP6 2001:db8::5 2001:db8::1 8080 443\r\n"), "2001:db8::5"},
    {"v1 tcp6 that carries IPv4", TEXT("PROXY TCP6 ::ffff:203.0.113.7 ::1 8080 443\r\n"), "203.0.113.7"},
    {"v1 unknown", TEXT("PROXY UNKNOWN\r\n"), NULL},
    {"v1 unknown with anything", TEXT("PROXY UNKNOWN a b c\r\n"), NULL},
    {"v1 longest",
     TEXT("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
          "65535 "
          "65535\r\n"),
     NULL},
    {"v2 tcp4", TEXT(SIGNATURE "\x21\x11\0\x0c" V4_PAIR), "203.0.113.7"},
    {"v2 tcp4 and more",
     TEXT(SIGNATURE "\x21\x11\0\x12" V4_PAIR "\x04\0\x03"
                    "abc"),
     "203.0.113.7"},
    {"v2 tcp6", TEXT(SIGNATURE "\x21\x21\0\x24" V6_PAIR), "2001:db8::5"},
    {"v2 unix", TEXT(SIGNATURE "\x21\x31\0\xd8" UNIX_PAIR), NULL},
    {"v2 unspecified", TEXT(SIGNATURE "\x21\0\0\0"), NULL},
    {"v2 local", TEXT(SIGNATURE "\x20\0\0\0"), NULL},
    {"v2 local with addresses", TEXT(SIGNATURE "\x20\x11\0\x0c" V4_PAIR), NULL},
};

static const struct {
    const char *what, *text;
    size_t n;
} bad[] = {
    {"a request", TEXT("GET / HTTP/1.1\r\n")},
    {"a ClientHello", TEXT("\x16\x03\x01\x02\0\x01")},
    {"lower case", TEXT("proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n")},
    {"a tab", TEXT("PROXY\tTCP4 1.2.3.4 1.2.3.4 1 2\r\n")},
    {"two spaces", TEXT("PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n")},
    {"UDP", TEXT("PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n")},
    {"nothing", TEXT("PROXY \r\n")},
    {"unknown family", TEXT("PROXY UNKNOWNX\r\n")},
    {"three words", TEXT("PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n")},
    {"five words", TEXT("PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n")},
    {"space at the end", TEXT("PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n")},
    {"a name", TEXT("PROXY TCP4 localhost 1.2.3.4 1 2\r\n")},
    {"a short address", TEXT("PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n")},
    {"the wrong family", TEXT("PROXY TCP4 ::1 ::1 1 2\r\n")},
    {"the other wrong family", TEXT("PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n")},
    {"mixed families", TEXT("PROXY TCP4 1.2.3.4 ::1 1 2\r\n")},
    {"a port past 65535", TEXT("PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n")},
    {"a signed port", TEXT("PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n")},
    {"a port with zeros", TEXT("PROXY TCP4 1.2.3.4 1.2.3.4 000001 2\r\n")},
    {"LF alone", TEXT("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n")},
    {"CR inside", TEXT("PROXY TCP4 1.2.3.4\r1.2.3.4 1 2\r\n")},
    {"a line past 107 bytes", TEXT("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
                                   "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 "
                                   "655350\r\n")},
    {"v2 version 1", TEXT(SIGNATURE "\x11\x11\0\x0c" V4_PAIR)},
    {"v2 unknown command", TEXT(SIGNATURE "\x22\x11\0\x0c" V4_PAIR)},
    {"v2 udp4", TEXT(SIGNATURE "\x21\x12\0\x0c" V4_PAIR)},
    {"v2 unknown family", TEXT(SIGNATURE "\x21\x41\0\x0c" V4_PAIR)},
    {"v2 short tcp4", TEXT(SIGNATURE "\x21\x11\0\x0b" V4_PAIR)},
    {"v2 short tcp6", TEXT(SIGNATURE "\x21\x21\0\x23" V6_PAIR)},
    {"v2 short unix", TEXT(SIGNATURE "\x21\x31\0\xd7" UNIX_PAIR)},
    {"v2 past 536 bytes", TEXT(SIGNATURE "\x21\x11\x02\x09")},
    {"v2 broken signature", TEXT("\r\n\r\n\0\r\nQUIT\r")},
};

static void good_headers(void **state)
{
    char peer[ADDR_TEXT];
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct proxy_header h;
        char text[512];
        memcpy(text, good[i].text, good[i].n);
        memcpy(text + good[i].n, "GET /", 5);
        int n = proxy_header_parse(str_of(text, good[i].n + 5), &h);
        if (n != (int)good[i].n || h.has_peer != (good[i].peer != NULL)) {
            fail_msg("%s: %d of %zu bytes, peer %d", good[i].what, n, good[i].n, h.has_peer);
        }
        if (good[i].peer) {
            addr_format(&h.peer, peer);
            assert_string_equal(peer, good[i].peer);
        }
    }
}

static void headers_cut_at_every_byte(void **state)
{
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        for (size_t n = 0; n < good[i].n; n++) {
            struct proxy_header h;
            char *exact = malloc(n ? n : 1); /* so that a sanitizer sees a look past the end */
            memcpy(exact, good[i].text, n);
            int rc = proxy_header_parse(str_of(exact, n), &h);
            free(exact);
            if (rc != 0) {
                fail_msg("%s: %d after %zu bytes", good[i].what, rc, n);
            }
        }
    }
}

/* Refused when whole, and no byte before is taken for a header; a wrong start is refused at its first wrong byte. */
static void bad_headers(void **state)
{
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        for (size_t n = 0; n <= bad[i].n; n++) {
            struct proxy_header h;
            int rc = proxy_header_parse(str_of(bad[i].text, n), &h);
            if (rc > 0 || (n == bad[i].n && rc == 0)) {
                fail_msg("%s: %d after %zu bytes", bad[i].what, rc, n);
            }
        }
    }
    struct proxy_header h;
    assert_int_equal(proxy_header_parse(STR("GE"), &h), ERR_PROTOCOL);
    assert_int_equal(proxy_header_parse(STR("\r\n\r\nG"), &h), ERR_PROTOCOL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_headers),
        cmocka_unit_test(headers_cut_at_every_byte),
        cmocka_unit_test(bad_headers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
