/* Against the published examples of JA4 (its text and the test captures that come with it): the lists are given in
 * the order in which those clients sent them, and GREASE stands where browsers put it. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/http/ja4.h"

#define CHROME_CIPHERS "1301,1302,1303,c02b,c02f,c02c,c030,cca9,cca8,c013,c014,009c,009d,002f,0035"
#define CHROME_ALGORITHMS "0403,0804,0401,0503,0805,0501,0806,0601"

/* A ClientHello as it would look on the wire: hexadecimal lists, NULL for what is not sent. */
struct sketch {
    uint16_t version;       /* of the message; 0: 0x0303 */
    const char *ciphers;    /* "1301,1302" */
    const char *extensions; /* in order */
    const char *algorithms; /* body of 000d */
    const char *versions;   /* body of 002b */
    struct str alpn;        /* first name of 0010 */
    bool alpn_is_empty;     /* 0010 without a name */
};

static void put(struct buf *b, uint32_t v, unsigned bytes)
{
    for (unsigned i = bytes; i-- > 0;) {
        char c = (char)(v >> 8 * i);
        buf_add(b, &c, 1);
    }
}

static void put_vector(struct buf *b, unsigned length_bytes, struct buf *body)
{
    put(b, (uint32_t)body->n, length_bytes);
    buf_add_str(b, buf_str(body));
    buf_clear(body);
}

static struct buf numbers(const char *text)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    while (text && *text) {
        char *end;
        put(&b, (uint32_t)strtoul(text, &end, 16), 2);
        text = *end == ',' ? end + 1 : end;
    }
    return b;
}

static struct buf extension_body(const struct sketch *s, unsigned type)
{
    struct buf body, inner;
    buf_init(&body, 1 << 20);
    buf_init(&inner, 1 << 20);
    if (type == 0x000d) {
        inner = numbers(s->algorithms);
        put_vector(&body, 2, &inner);
    } else if (type == 0x002b) {
        inner = numbers(s->versions);
        put_vector(&body, 1, &inner);
    } else if (type == 0x0010) {
        if (!s->alpn_is_empty) {
            put(&inner, (uint32_t)s->alpn.n, 1);
            buf_add_str(&inner, s->alpn);
            put(&inner, 2, 1);
            buf_add_cstr(&inner, "zz");
        }
        put_vector(&body, 2, &inner);
    } else if (type == 0x0000) {
        buf_add_str(&body, STR("\0\x06\0\0\x03"
                               "a.b"));
    }
    return body;
}

static struct buf message_of(const struct sketch *s)
{
    struct buf out, body, ciphers = numbers(s->ciphers), extensions, order = numbers(s->extensions);
    buf_init(&out, 1 << 20);
    buf_init(&body, 1 << 20);
    buf_init(&extensions, 1 << 20);
    put(&body, s->version ? s->version : 0x0303, 2);
    for (int i = 0; i < 32; i++) {
        put(&body, 0xa5, 1);
    }
    put(&body, 0, 1);
    put_vector(&body, 2, &ciphers);
    put(&body, 0x0100, 2); /* one compression method: none */
    for (size_t i = 0; i < order.n; i += 2) {
        unsigned type = (unsigned)((uint8_t)order.p[i] << 8 | (uint8_t)order.p[i + 1]);
        struct buf one = extension_body(s, type);
        put(&extensions, type, 2);
        put_vector(&extensions, 2, &one);
    }
    if (s->extensions) {
        put_vector(&body, 2, &extensions);
    }
    put(&out, 1, 1);
    put_vector(&out, 3, &body);
    buf_clear(&order);
    return out;
}

static void expect(const struct sketch *s, const char *wanted)
{
    struct buf message = message_of(s);
    struct ja4 found;
    assert_int_equal(ja4_of_hello(buf_str(&message), &found), 0);
    assert_string_equal(found.text, wanted);
    buf_clear(&message);
}

/* --- published ------------------------------------------------------------------------------------- */

static void the_example_of_the_specification(void **state)
{
    expect(&(struct sketch){.ciphers = CHROME_CIPHERS,
                            .extensions = "001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,ff01,"
                                          "000b,000a,0015",
                            .algorithms = CHROME_ALGORITHMS,
                            .versions = "0304,0303",
                            .alpn = STR("h2")},
           "t13d1516h2_8daaf6152771_e5627efa2ab1");
}

static void the_same_with_grease_everywhere(void **state)
{
    expect(&(struct sketch){.ciphers = "8a8a," CHROME_CIPHERS ",fafa",
                            .extensions = "0a0a,001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,"
                                          "ff01,000b,000a,baba,0015",
                            .algorithms = "1a1a," CHROME_ALGORITHMS,
                            .versions = "6a6a,0304,0303",
                            .alpn = STR("h2")},
           "t13d1516h2_8daaf6152771_e5627efa2ab1");
}

/* Only 0x?a?a with both digits alike is GREASE: ca34 is an extension like any other. */
static void captures_that_come_with_it(void **state)
{
    expect(&(struct sketch){.ciphers =
                                "1301,1303,1302,c02b,c02f,cca9,cca8,c02c,c030,c00a,c009,c013,c014,009c,"
                                "009d,002f,0035",
                            .extensions = "0000,0017,ff01,000a,000b,0023,0010,0005,0022,0033,002b,000d,002d,"
                                          "001c,0015",
                            .algorithms = "0403,0503,0603,0804,0805,0806,0401,0501,0601,0203,0201",
                            .versions = "0304,0303",
                            .alpn = STR("h2")},
           "t13d1715h2_5b57614c22b0_3d5424432f57");
    expect(&(struct sketch){.ciphers = CHROME_CIPHERS,
                            .extensions = "fe0d,0010,0017,0033,44cd,ff01,000a,000d,0023,002b,000b,ca34,002d,"
                                          "0000,0005,001b,0012",
                            .algorithms = "0904,0905,0906," CHROME_ALGORITHMS,
                            .versions = "0304,0303",
                            .alpn = STR("h2")},
           "t13d1517h2_8daaf6152771_cb7bf5808d99");
    expect(&(struct sketch){.ciphers = CHROME_CIPHERS,
                            .extensions =
                                "0033,002b,001b,0000,0012,002d,000d,000a,0005,0023,0017,ff01,000b,0015",
                            .algorithms = CHROME_ALGORITHMS,
                            .versions = "0304,0303"},
           "t13d151400_8daaf6152771_de4a06bb82e3");
    expect(&(struct sketch){.ciphers = CHROME_CIPHERS,
                            .extensions = "000d,0033,0000,ff01,002b,0023,002d,0005,0012,000b,0017,4469,0010,"
                                          "001b,000a,0015",
                            .algorithms = CHROME_ALGORITHMS,
                            .versions = "0304,0303",
                            .alpn = STR("http/1.1")},
           "t13d1516h1_8daaf6152771_e5627efa2ab1");
}

/* --- edges ------------------------------------------------------------------------------------------ */

static void without_signature_algorithms_there_is_no_underscore(void **state)
{
    /* The specification hashes its extensions alone to 6d807ffa2a79; 000d there has no list. */
    expect(&(struct sketch){.ciphers = CHROME_CIPHERS,
                            .extensions =
                                "0005,000a,000b,000d,0012,0015,0017,001b,0023,002b,002d,0033,4469,ff01",
                            .versions = "0304"},
           "t13i151400_8daaf6152771_6d807ffa2a79");
}

static void empty_lists_are_zeros(void **state)
{
    expect(&(struct sketch){.ciphers = ""}, "t12i000000_000000000000_000000000000");
    expect(&(struct sketch){.ciphers = "0a0a", .extensions = ""}, "t12i000000_000000000000_000000000000");
    expect(&(struct sketch){.ciphers = "", .extensions = "0000,0010", .alpn_is_empty = true},
           "t12d000200_000000000000_000000000000");
    expect(&(struct sketch){.ciphers = "", .extensions = "0000,0010,1a1a", .alpn = STR("h3")},
           "t12d0002h3_000000000000_000000000000");
}

static void the_version_is_the_highest_offered(void **state)
{
    static const struct {
        uint16_t message;
        const char *versions, *wanted;
    } rows[] = {
        {0x0303, NULL, "t12"},        {0x0302, NULL, "t11"},        {0x0301, NULL, "t10"},
        {0x0300, NULL, "ts3"},        {0x0002, NULL, "ts2"},        {0x0404, NULL, "t00"},
        {0x0303, "0304", "t13"},      {0x0301, "0302,0303", "t12"}, {0x0303, "0303,0304", "t13"},
        {0x0303, "fafa,0303", "t12"}, {0x0303, "7f1c,0304", "t00"}, {0x0303, "0a0a", "t00"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct sketch s = {.version = rows[i].message,
                           .ciphers = "1301",
                           .extensions = rows[i].versions ? "002b" : NULL,
                           .versions = rows[i].versions};
        struct buf message = message_of(&s);
        struct ja4 found;
        assert_int_equal(ja4_of_hello(buf_str(&message), &found), 0);
        assert_memory_equal(found.text, rows[i].wanted, 3);
        buf_clear(&message);
    }
}

/* The table of the specification. */
static void odd_alpn_names(void **state)
{
    static const struct {
        struct str name;
        const char *wanted;
    } rows[] = {
        {STR_INIT("h2"), "h2"},
        {STR_INIT("h"), "hh"},
        {STR_INIT("\xab"), "ab"},
        {STR_INIT("\xab\xcd"), "ad"},
        {STR_INIT("0\xab"), "3b"},
        {STR_INIT("01\xab\xcd"), "3d"},
        {STR_INIT("0\xab\xcd"
                  "1"),
         "01"},
        {STR_INIT("h2-"), "6d"},
        {STR_INIT("\0z"), "0a"},
        {STR_INIT("acme-tls/1"), "a1"},
        {STR_INIT(""), "00"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct sketch s = {.ciphers = "1301", .extensions = "0010", .alpn = rows[i].name};
        struct buf message = message_of(&s);
        struct ja4 found;
        assert_int_equal(ja4_of_hello(buf_str(&message), &found), 0);
        assert_memory_equal(found.text + 8, rows[i].wanted, 2);
        buf_clear(&message);
    }
}

static char *repeat(unsigned n, bool same)
{
    char *text = malloc(5 * (size_t)n + 1);
    assert_non_null(text);
    text[0] = '\0';
    for (unsigned i = 0; i < n; i++) {
        snprintf(text + 5 * i, 6, "%04x,", same ? 0x0a0a : 0xe000 + i);
    }
    return text;
}

static void counts_end_at_99_and_lists_at_their_limit(void **state)
{
    struct ja4 found = {.text = "untouched"};
    char *many = repeat(JA4_LIST_MAX, false), *more = repeat(JA4_LIST_MAX + 1, false);
    char *grease = repeat(2 * JA4_LIST_MAX, true);
    struct buf message = message_of(&(struct sketch){.ciphers = many, .extensions = many});
    assert_int_equal(ja4_of_hello(buf_str(&message), &found), 0);
    assert_memory_equal(found.text, "t12i999900_", 11);
    assert_int_equal(found.extensions, JA4_LIST_MAX);
    buf_clear(&message);
    struct ja4 none = {.text = "untouched"};
    message = message_of(&(struct sketch){.ciphers = more});
    assert_int_equal(ja4_of_hello(buf_str(&message), &none), ERR_LIMIT);
    buf_clear(&message);
    message = message_of(&(struct sketch){.ciphers = "1301", .extensions = more});
    assert_int_equal(ja4_of_hello(buf_str(&message), &none), ERR_LIMIT);
    assert_string_equal(none.text, "untouched");
    buf_clear(&message);
    message = message_of(&(struct sketch){.ciphers = "1301", .extensions = grease});
    assert_int_equal(ja4_of_hello(buf_str(&message), &found), 0);
    assert_memory_equal(found.text, "t12i010000_", 11);
    assert_int_equal(found.extensions, 2 * JA4_LIST_MAX);
    buf_clear(&message);
    free(many);
    free(more);
    free(grease);
}

/* Cut anywhere, with its lengths as they were or made to fit: refused, nothing read beyond the end. */
static void a_cut_hello_is_refused(void **state)
{
    struct buf message = message_of(&(struct sketch){.ciphers = "1301,1302",
                                                     .extensions = "0000,000d,002b,0010",
                                                     .algorithms = "0403",
                                                     .versions = "0304",
                                                     .alpn = STR("h2")});
    for (size_t n = 0; n < message.n; n++) {
        struct ja4 found;
        char *exact = malloc(n + 1); /* so that the sanitizer sees one byte too far */
        assert_non_null(exact);
        memcpy(exact, message.p, n);
        assert_int_equal(ja4_of_hello(str_of(exact, n), &found), ERR_INVALID);
        if (n >= 4) {
            exact[1] = 0;
            exact[2] = (char)((n - 4) >> 8);
            exact[3] = (char)(n - 4);
            bool without_extensions = n == 4 + 2 + 32 + 1 + 2 + 4 + 2;
            assert_int_equal(ja4_of_hello(str_of(exact, n), &found), without_extensions ? 0 : ERR_INVALID);
        }
        free(exact);
    }
    buf_clear(&message);
}

static void other_messages_are_refused(void **state)
{
    struct ja4 found;
    struct buf message = message_of(&(struct sketch){.ciphers = "1301"});
    message.p[0] = 2; /* a ServerHello */
    assert_int_equal(ja4_of_hello(buf_str(&message), &found), ERR_INVALID);
    message.p[0] = 1;
    buf_add(&message, "x", 1);
    assert_int_equal(ja4_of_hello(buf_str(&message), &found), ERR_INVALID);
    buf_clear(&message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_example_of_the_specification),
        cmocka_unit_test(the_same_with_grease_everywhere),
        cmocka_unit_test(captures_that_come_with_it),
        cmocka_unit_test(without_signature_algorithms_there_is_no_underscore),
        cmocka_unit_test(empty_lists_are_zeros),
        cmocka_unit_test(the_version_is_the_highest_offered),
        cmocka_unit_test(odd_alpn_names),
        cmocka_unit_test(counts_end_at_99_and_lists_at_their_limit),
        cmocka_unit_test(a_cut_hello_is_refused),
        cmocka_unit_test(other_messages_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
