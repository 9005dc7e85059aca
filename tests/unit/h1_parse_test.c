#include "tests/unit/unit.h"

#include <stdio.h>

#include "base/http/h1_parse.h"

enum { FIELDS = 8, TARGET = 64 };

static struct http_field fields[FIELDS];
static char text[8192];

static int parse(const char *head, size_t n, struct h1_head *out, struct h1_refusal *why)
{
    size_t scanned = 0;
    memcpy(text, head, n);
    *out = (struct h1_head){.fields = fields, .max_fields = FIELDS, .max_target = TARGET};
    *why = (struct h1_refusal){"", ""};
    int64_t end = h1_request_end(text, n, &scanned);
    if (end < 0) {
        why->code = "bad_request";
        return ERR_PROTOCOL;
    }
    assert_int_equal(end, (int64_t)n);
    return h1_request_parse(text, n, out, why);
}

#define HEAD(s) s, sizeof(s) - 1

static const struct {
    const char *what, *head;
    size_t n;
    int64_t length;
    bool close;
} good[] = {
    {"plain", HEAD("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), 0, false},
    {"1.0 without host", HEAD("GET / HTTP/1.0\r\n\r\n"), 0, true},
    {"length", HEAD("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"), 5, false},
    {"length zero", HEAD("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"), 0, false},
    {"largest length", HEAD("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 9007199254740992\r\n\r\n"),
     (int64_t)1 << 53, false},
    {"chunked", HEAD("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"), -1, false},
    {"chunked, capitals", HEAD("POST /x HTTP/1.1\r\nHost: a\r\nTRANSFER-ENCODING:\tChunked \r\n\r\n"), -1,
     false},
    {"close", HEAD("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Close\r\n\r\n"), 0, true},
    {"host with port", HEAD("GET / HTTP/1.1\r\nHost: [::1]:8443\r\n\r\n"), 0, false},
    {"absolute", HEAD("GET http://A.example:80/x?y HTTP/1.1\r\nHost: a.example:80\r\n\r\n"), 0, false},
    {"asterisk", HEAD("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"), 0, false},
    {"empty value, obs-text", HEAD("GET / HTTP/1.1\r\nHost: a\r\nX-A:\r\nX-B: \xe4\xb8\xad\r\n\r\n"), 0,
     false},
    {"other method", HEAD("PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n"), 0, false},
};

/* The families of request smuggling and their relatives: every one must be refused, with this code. */
static const struct {
    const char *what, *head;
    size_t n;
    const char *code;
} bad[] = {
    {"CL and TE",
     HEAD("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"),
     "bad_request"},
    {"TE and CL",
     HEAD("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n"),
     "bad_request"},
    {"two CL", HEAD("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n"),
     "bad_request"},
    {"two equal CL", HEAD("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\n"),
     "bad_request"},
    {"list CL", HEAD("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4, 4\r\n\r\n"), "bad_request"},
    {"plus CL", HEAD("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +4\r\n\r\n"), "bad_request"},
    {"minus CL", HEAD("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -4\r\n\r\n"), "bad_request"},
    {"hex CL", HEAD("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x4\r\n\r\n"), "bad_request"},
    {"empty CL", HEAD("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n"), "bad_request"},
    {"CL with leading zero", HEAD("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 05\r\n\r\n"), "bad_request"},
    {"CL 00", HEAD("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 00\r\n\r\n"), "bad_request"},
    {"CL with space inside", HEAD("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4 4\r\n\r\n"),
     "bad_request"},
    {"CL past 2^53", HEAD("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9007199254740993\r\n\r\n"),
     "bad_request"},
    {"CL past 2^64", HEAD("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551620\r\n\r\n"),
     "bad_request"},
    {"TE gzip, chunked", HEAD("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
     "bad_request"},
    {"TE chunked, identity",
     HEAD("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n"), "bad_request"},
    {"TE identity", HEAD("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n"), "bad_request"},
    {"TE xchunked", HEAD("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n"), "bad_request"},
    {"TE quoted", HEAD("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n"),
     "bad_request"},
    {"TE with parameter", HEAD("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n"),
     "bad_request"},
    {"TE with vertical tab",
     HEAD("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0b"
          "chunked\r\n\r\n"),
     "bad_request"},
    {"TE empty", HEAD("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n"), "bad_request"},
    {"two TE",
     HEAD("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
     "bad_request"},
    {"TE in 1.0", HEAD("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"), "bad_request"},
    {"space before colon", HEAD("POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 4\r\n\r\n"), "bad_request"},
    {"tab before colon", HEAD("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\t: chunked\r\n\r\n"),
     "bad_request"},
    {"space before name", HEAD("POST / HTTP/1.1\r\n Host: a\r\n\r\n"), "bad_request"},
    {"obs-fold", HEAD("GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n"), "bad_request"},
    {"obs-fold with tab", HEAD("GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n\tb\r\n\r\n"), "bad_request"},
    {"obs-fold of TE", HEAD("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n"),
     "bad_request"},
    {"bare LF line", HEAD("GET / HTTP/1.1\nHost: a\r\n\r\n"), "bad_request"},
    {"bare LF end", HEAD("GET / HTTP/1.1\r\nHost: a\n\n"), "bad_request"},
    {"bare CR in value", HEAD("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n"), "bad_request"},
    {"bare CR in line", HEAD("GET / HTTP/1.1\rX\r\nHost: a\r\n\r\n"), "bad_request"},
    {"CR CR LF", HEAD("GET / HTTP/1.1\r\nHost: a\r\r\n\r\n"), "bad_request"},
    {"NUL in value", HEAD("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n"), "bad_request"},
    {"NUL in name", HEAD("GET / HTTP/1.1\r\nHost: a\r\nX\0Y: a\r\n\r\n"), "bad_request"},
    {"NUL in target", HEAD("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n"), "bad_request"},
    {"DEL in value", HEAD("GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n"), "bad_request"},
    {"name without colon", HEAD("GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n"), "bad_request"},
    {"empty name", HEAD("GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n"), "bad_request"},
    {"name with bracket", HEAD("GET / HTTP/1.1\r\nHost: a\r\nX(Y): x\r\n\r\n"), "bad_request"},
    {"name with high byte", HEAD("GET / HTTP/1.1\r\nHost: a\r\nX\xff: x\r\n\r\n"), "bad_request"},
    {"no host", HEAD("GET / HTTP/1.1\r\nX: a\r\n\r\n"), "bad_request"},
    {"two hosts", HEAD("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"), "bad_request"},
    {"empty host", HEAD("GET / HTTP/1.1\r\nHost:\r\n\r\n"), "bad_request"},
    {"host with path", HEAD("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"), "bad_request"},
    {"host with user", HEAD("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"), "bad_request"},
    {"host list", HEAD("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"), "bad_request"},
    {"absolute of another host", HEAD("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"), "bad_request"},
    {"absolute of another scheme", HEAD("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"), "bad_request"},
    {"relative target", HEAD("GET x HTTP/1.1\r\nHost: a\r\n\r\n"), "bad_request"},
    {"fragment", HEAD("GET /#x HTTP/1.1\r\nHost: a\r\n\r\n"), "bad_request"},
    {"backslash", HEAD("GET /a\\b HTTP/1.1\r\nHost: a\r\n\r\n"), "bad_request"},
    {"dot segment", HEAD("GET /a/../b HTTP/1.1\r\nHost: a\r\n\r\n"), "bad_request"},
    {"absolute with dot segment", HEAD("GET http://a/.. HTTP/1.1\r\nHost: a\r\n\r\n"), "bad_request"},
    {"high byte in target", HEAD("GET /\xe4 HTTP/1.1\r\nHost: a\r\n\r\n"), "bad_request"},
    {"asterisk with GET", HEAD("GET * HTTP/1.1\r\nHost: a\r\n\r\n"), "bad_request"},
    {"CONNECT", HEAD("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n"), "not_implemented"},
    {"two spaces", HEAD("GET  / HTTP/1.1\r\nHost: a\r\n\r\n"), "bad_request"},
    {"tab for space", HEAD("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"), "bad_request"},
    {"space after version", HEAD("GET / HTTP/1.1 \r\nHost: a\r\n\r\n"), "bad_request"},
    {"HTTP/0.9", HEAD("GET /\r\n\r\n"), "bad_request"},
    {"no version", HEAD("GET / \r\nHost: a\r\n\r\n"), "bad_request"},
    {"HTTP/2.0", HEAD("GET / HTTP/2.0\r\nHost: a\r\n\r\n"), "http_version_not_supported"},
    {"HTTP/1.2", HEAD("GET / HTTP/1.2\r\nHost: a\r\n\r\n"), "http_version_not_supported"},
    {"HTTP/1.11", HEAD("GET / HTTP/1.11\r\nHost: a\r\n\r\n"), "bad_request"},
    {"http/1.1", HEAD("GET / http/1.1\r\nHost: a\r\n\r\n"), "bad_request"},
    {"method with colon", HEAD("GE:T / HTTP/1.1\r\nHost: a\r\n\r\n"), "bad_request"},
    {"other expectation", HEAD("GET / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n"), "expectation_failed"},
    {"too many fields",
     HEAD("GET / HTTP/1.1\r\nHost: a\r\nA:\r\nB:\r\nC:\r\nD:\r\nE:\r\nF:\r\nG:\r\nH:\r\n\r\n"),
     "header_fields_too_large"},
    {"long target",
     HEAD(
         "GET /0123456789012345678901234567890123456789012345678901234567890123 HTTP/1.1\r\nHost: a\r\n\r\n"),
     "uri_too_long"},
};

/* Paths that one server may read as another's. */
static void plain_paths(void **state)
{
    static const char *const plain[] = {"/",        "/a/b",  "/a.b/..c/c..",   "/...",
                                        "/.a",      "//a//", "/a%20b",         "/%41",
                                        "/a;v=1/b", "*",     "/.well-known/x", "/%e4%b8%ad"};
    static const char *const odd[] = {"/.",        "/..",     "/a/./b",      "/a/../b", "/%2e",
                                      "/%2E%2e/a", "/a/.%2e", "/a%2f..%2fb", "/a%5c..", "/..;/a",
                                      "/a;/../b",  "/%00",    "/a%0d%0aX:",  "/%7f",    "/%",
                                      "/%4",       "/%zz"};
    for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
        if (!http_path_is_plain(str_from(plain[i]))) {
            fail_msg("%s is refused", plain[i]);
        }
    }
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        if (http_path_is_plain(str_from(odd[i]))) {
            fail_msg("%s is taken", odd[i]);
        }
    }
}

static void websocket_handshakes(void **state)
{
    static const struct {
        const char *head;
        size_t n;
        bool is_one;
    } cases[] = {
        {HEAD("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"), true},
        {HEAD("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, upgrade\r\nUpgrade: h2c, "
              "WebSocket\r\n\r\n"),
         true},
        {HEAD("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n"), false},
        {HEAD("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"), false},
        {HEAD("POST / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"), false},
        {HEAD("GET / HTTP/1.0\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"), false},
    };
    struct h1_head head;
    struct h1_refusal why;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(parse(cases[i].head, cases[i].n, &head, &why), 0);
        assert_int_equal(head.upgrade_websocket, cases[i].is_one);
    }
}

static void good_heads(void **state)
{
    struct h1_head head;
    struct h1_refusal why;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        if (parse(good[i].head, good[i].n, &head, &why) != 0) {
            fail_msg("%s: refused: %s", good[i].what, why.why);
        }
        if (head.content_length != good[i].length || head.close != good[i].close) {
            fail_msg("%s: length %lld, close %d", good[i].what, (long long)head.content_length, head.close);
        }
    }
}

static void bad_heads(void **state)
{
    struct h1_head head;
    struct h1_refusal why;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (parse(bad[i].head, bad[i].n, &head, &why) == 0) {
            fail_msg("%s: accepted", bad[i].what);
        }
        if (strcmp(why.code, bad[i].code) != 0) {
            fail_msg("%s: %s instead of %s", bad[i].what, why.code, bad[i].code);
        }
    }
}

static void parts_of_a_head(void **state)
{
    struct h1_head head;
    struct h1_refusal why;
    assert_int_equal(parse(HEAD("POST http://A.b:1/p/q?x=1&y HTTP/1.1\r\nHOST: a.B:1\r\nX-Thing:  a b \t\r\n"
                                "Expect: 100-Continue\r\nContent-Length: 12\r\n\r\n"),
                           &head, &why),
                     0);
    assert_int_equal(head.method, HTTP_POST);
    assert_true(str_is(head.path, "/p/q"));
    assert_true(str_is(head.query, "x=1&y"));
    assert_true(str_is(head.target, "/p/q?x=1&y"));
    assert_true(str_is(head.host, "a.B:1"));
    assert_int_equal(head.field_count, 4);
    assert_true(str_is(head.fields[1].name, "x-thing"));
    assert_true(str_is(head.fields[1].value, "a b"));
    assert_true(head.expect_continue);
    assert_int_equal(head.minor, 1);
}

/* Any cut of a head is incomplete, never an error; and no byte is looked at twice. */
static void heads_in_pieces(void **state)
{
    static const char head[] = "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
    size_t scanned = 0;
    for (size_t n = 1; n < sizeof(head) - 1; n++) {
        assert_int_equal(h1_request_end(head, n, &scanned), 0);
        assert_true(scanned <= n);
    }
    assert_int_equal(h1_request_end(head, sizeof(head) - 1, &scanned), sizeof(head) - 1);
}

/* --- chunks --------------------------------------------------------------------------------------- */

static int run_chunks(const char *p, size_t n, size_t step, char *out, size_t *out_n, size_t *used)
{
    struct h1_chunked d = {0};
    *out_n = 0;
    *used = 0;
    while (*used < n) {
        size_t take = n - *used < step ? n - *used : step;
        struct str in = str_of(p + *used, take);
        struct str data;
        enum h1_chunk_result r;
        while ((r = h1_chunked_next(&d, &in, &data)) == H1_CHUNK_HAS_DATA) {
            memcpy(out + *out_n, data.p, data.n);
            *out_n += data.n;
        }
        *used += take - in.n;
        if (r != H1_CHUNK_MORE) {
            return (int)r;
        }
    }
    return H1_CHUNK_MORE;
}

static void good_chunks(void **state)
{
    static const char body[] = "5\r\nhello\r\n1;a=b\r\n \r\n0a ;x"
                               "\r\n0123456789\r\n0\r\nX-T: y\r\n\r\nNEXT";
    static const char plain[] =
        "5\r\nhello\r\n1;a=b;c; d=\"x;\\\"y\"\r\n \r\n0A\r\n0123456789\r\n000\r\nX-T: y\r\n\r\nNEXT";
    char out[64];
    size_t n;
    size_t used;
    assert_int_equal(run_chunks(body, sizeof(body) - 1, 100, out, &n, &used),
                     H1_CHUNK_BAD); /* space in size */
    for (size_t step = 1; step < sizeof(plain); step++) {
        assert_int_equal(run_chunks(plain, sizeof(plain) - 1, step, out, &n, &used), H1_CHUNK_DONE);
        assert_int_equal(n, 16);
        assert_memory_equal(out, "hello 0123456789", 16);
        assert_int_equal(used, sizeof(plain) - 1 - 4);
    }
}

static const struct {
    const char *what, *body;
    size_t n;
} bad_chunk[] = {
    {"hex prefix", HEAD("0x5\r\nhello\r\n")},
    {"plus", HEAD("+5\r\nhello\r\n")},
    {"minus", HEAD("-5\r\nhello\r\n")},
    {"leading space", HEAD(" 5\r\nhello\r\n")},
    {"semicolon alone", HEAD("5;\r\nhello\r\n")},
    {"semicolon and space", HEAD("5; \r\nhello\r\n")},
    {"two semicolons", HEAD("5;;a\r\nhello\r\n")},
    {"extension that is no token", HEAD("5;[a]\r\nhello\r\n")},
    {"extension without value", HEAD("5;a=\r\nhello\r\n")},
    {"extension with a space", HEAD("5;a b\r\nhello\r\n")},
    {"extension with an open quote", HEAD("5;a=\"b\r\nhello\r\n")},
    {"text behind a quote", HEAD("5;a=\"b\"c\r\nhello\r\n")},
    {"trailing space", HEAD("5 \r\nhello\r\n")},
    {"no size", HEAD("\r\nhello\r\n")},
    {"extension without size", HEAD(";a\r\n")},
    {"nine digits", HEAD("000000005\r\nhello\r\n")},
    {"LF only", HEAD("5\nhello\r\n")},
    {"CR only", HEAD("5\rhello\r\n")},
    {"LF in extension", HEAD("5;a\nb\r\nhello\r\n")},
    {"CR in extension", HEAD("5;a\rb\r\nhello\r\n")},
    {"NUL in extension", HEAD("5;a\0\r\nhello\r\n")},
    {"long extension", HEAD("5;0123456789012345678901234567890123456789012345678901234567890123456789\r\n")},
    {"longer than said", HEAD("5\r\nhelloX\r\n")},
    {"shorter than said", HEAD("6\r\nhello\r\n0\r\n\r\n")},
    {"data ends with LF", HEAD("5\r\nhello\n0\r\n\r\n")},
    {"last ends with LF", HEAD("0\n\n")},
    {"end with CR X", HEAD("0\r\n\rX")},
    {"bare LF after trailer", HEAD("0\r\nX: y\n\r\n")},
    {"trailer without name", HEAD("0\r\n: y\r\n\r\n")},
    {"trailer with space", HEAD("0\r\nX : y\r\n\r\n")},
    {"trailer folded", HEAD("0\r\nX: y\r\n z\r\n\r\n")},
    {"trailer NUL", HEAD("0\r\nX: \0\r\n\r\n")},
    {"nine trailers", HEAD("0\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\n\r\n")},
};

static void bad_chunks(void **state)
{
    char out[64];
    size_t n;
    size_t used;
    for (size_t i = 0; i < sizeof(bad_chunk) / sizeof(bad_chunk[0]); i++) {
        for (size_t step = 1; step <= bad_chunk[i].n; step++) {
            int r = run_chunks(bad_chunk[i].body, bad_chunk[i].n, step, out, &n, &used);
            if (r != H1_CHUNK_BAD) {
                fail_msg("%s, step %zu: %d", bad_chunk[i].what, step, r);
            }
        }
    }
}

static void endless_trailer(void **state)
{
    struct h1_chunked d = {0};
    struct str in = STR("0\r\nX: ");
    struct str data;
    enum h1_chunk_result r = h1_chunked_next(&d, &in, &data);
    for (int i = 0; i < 10000 && r == H1_CHUNK_MORE; i++) {
        in = STR("y");
        r = h1_chunked_next(&d, &in, &data);
    }
    assert_int_equal(r, H1_CHUNK_BAD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_heads),           cmocka_unit_test(bad_heads),
        cmocka_unit_test(parts_of_a_head),      cmocka_unit_test(heads_in_pieces),
        cmocka_unit_test(good_chunks),          cmocka_unit_test(bad_chunks),
        cmocka_unit_test(endless_trailer),      cmocka_unit_test(plain_paths),
        cmocka_unit_test(websocket_handshakes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
