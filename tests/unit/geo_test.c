/* Places from files built here byte by byte (the format: maxmind.github.io/MaxMind-DB), good and broken. */
#include "tests/unit/temp.h"

#include <cmocka.h>

#include "base/buf.h"
#include "base/geo.h"

enum { NODES_MAX = 400, EMPTY = UINT32_MAX, DATA = 1u << 30 /* added to an offset of data */ };

/* A file being built: a tree over 128 bits, then data. */
struct builder {
    uint32_t nodes[NODES_MAX][2]; /* a node, EMPTY, or DATA + offset */
    unsigned node_count;
    char data[512];
    unsigned data_bytes;
};

static unsigned add_node(struct builder *b)
{
    assert_true(b->node_count < NODES_MAX);
    b->nodes[b->node_count][0] = b->nodes[b->node_count][1] = EMPTY;
    return b->node_count++;
}

static void add(struct builder *b, const char *prefix, const char *record, size_t record_bytes)
{
    struct addr_prefix p;
    assert_true(addr_prefix_parse(str_from(prefix), &p));
    struct addr at = p.addr;
    if (addr_is_v4(&at)) {
        memset(at.b, 0, 12); /* IPv4 stands at ::/96 there */
    }
    unsigned node = b->node_count ? 0 : add_node(b);
    for (unsigned depth = 0; depth < p.bits; depth++) {
        uint32_t *side = &b->nodes[node][at.b[depth / 8] >> (7 - depth % 8) & 1];
        if (depth + 1u == p.bits) {
            *side = DATA + b->data_bytes;
        } else if (*side == EMPTY) {
            unsigned made = add_node(b);
            *side = made;
        }
        node = depth + 1u == p.bits ? node : *side;
    }
    memcpy(b->data + b->data_bytes, record, record_bytes);
    b->data_bytes += (unsigned)record_bytes;
}

#define ADD(b, prefix, record) add((b), (prefix), (record), sizeof(record) - 1)
#define CHINA                                                                                                \
    "\xe1\x47"                                                                                               \
    "country"                                                                                                \
    "\xe1\x48"                                                                                               \
    "iso_code"                                                                                               \
    "\x42"                                                                                                   \
    "CN"
#define OF_HONG_KONG                                                                                         \
    "\xe1\x4c"                                                                                               \
    "country_code"                                                                                           \
    "\x42"                                                                                                   \
    "HK"
#define SYSTEM                                                                                               \
    "\xe1\x58"                                                                                               \
    "autonomous_system_number"                                                                               \
    "\xc2\x10\x26" /* 4134 */
#define SYSTEM_TEXT                                                                                          \
    "\xe1\x43"                                                                                               \
    "asn"                                                                                                    \
    "\x46"                                                                                                   \
    "AS9808"

static const char *finish(const struct builder *b, const char *name)
{
    static const char marker[] = "\xab\xcd\xef"
                                 "MaxMind.com";
    struct buf out;
    buf_init(&out, 1 << 16);
    for (unsigned i = 0; i < b->node_count * 2; i++) {
        uint32_t side = b->nodes[i / 2][i % 2];
        uint32_t v = side == EMPTY ? b->node_count : side >= DATA ? b->node_count + 16 + (side - DATA) : side;
        buf_add(&out, (const char[]){(char)(v >> 16), (char)(v >> 8), (char)v}, 3);
    }
    buf_add(&out, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
    buf_add(&out, b->data, b->data_bytes);
    buf_add(&out, marker, sizeof marker - 1);
    const char meta[] = "\xe9\x5b"
                        "binary_format_major_version"
                        "\xa1\x02"
                        "\x5b"
                        "binary_format_minor_version"
                        "\xa0"
                        "\x4b"
                        "description"
                        "\xe0"
                        "\x4b"
                        "build_epoch"
                        "\x04\x02\x68\xe7\x78\x00"
                        "\x4d"
                        "database_type"
                        "\x44"
                        "Test"
                        "\x4a"
                        "ip_version"
                        "\xa1\x06"
                        "\x49"
                        "languages"
                        "\x00\x04"
                        "\x4b"
                        "record_size"
                        "\xa1\x18"
                        "\x4a"
                        "node_count"
                        "\xc4";
    buf_add(&out, meta, sizeof meta - 1);
    buf_add(&out, (const char[]){0, 0, (char)(b->node_count >> 8), (char)b->node_count}, 4);
    FILE *f = fopen(temp_path(name), "w");
    assert_non_null(f);
    assert_int_equal(fwrite(out.p, 1, out.n, f), out.n);
    fclose(f);
    buf_clear(&out);
    return temp_path(name);
}

static struct geo *open_good(const char *country, const char *asn)
{
    struct geo *g = NULL;
    struct err err = {0};
    if (geo_open((const char *const[]){country, asn}, &g, &err) < 0) {
        fail_msg("%s", err.msg);
    }
    return g;
}

static void assert_place(const struct geo *g, const char *address, const char *country, uint32_t asn)
{
    struct addr a;
    struct geo_place place;
    assert_true(addr_parse(str_from(address), &a));
    assert_true(geo_find(g, &a, &place));
    assert_string_equal(place.country, country);
    assert_int_equal(place.asn, asn);
}

static void two_files_or_one(void **state)
{
    struct builder countries = {.node_count = 0}, systems = {.node_count = 0}, both = {.node_count = 0};
    ADD(&countries, "1.2.0.0/16", CHINA);
    ADD(&countries, "2001:db8::/32", OF_HONG_KONG);
    ADD(&systems, "1.2.3.0/24", SYSTEM);
    ADD(&systems, "2001:db8:1::/48", SYSTEM_TEXT);
    ADD(&both, "9.0.0.0/8", CHINA);
    ADD(&both, "8.0.0.0/8", SYSTEM);
    struct geo *g = open_good(finish(&countries, "country"), finish(&systems, "asn"));
    assert_place(g, "1.2.3.4", "CN", 4134);
    assert_place(g, "1.2.4.4", "CN", 0);
    assert_place(g, "2001:db8:1::7", "HK", 9808);
    assert_place(g, "2001:db9::7", "", 0);
    assert_place(g, "127.0.0.1", "", 0);
    assert_int_equal(geo_built_s(g, GEO_COUNTRY), 0x68e77800);
    geo_unref(g);
    g = open_good(finish(&both, "both"), NULL);
    assert_place(g, "9.1.1.1", "CN", 0);
    assert_place(g, "8.1.1.1", "", 4134);
    assert_int_equal(geo_built_s(g, GEO_ASN), 0);
    geo_unref(g);
}

/* The file is a copy of ours: what happens to it on disk changes nothing. */
static void outlives_its_file(void **state)
{
    struct builder b = {.node_count = 0};
    ADD(&b, "1.2.0.0/16", CHINA);
    struct geo *g = open_good(finish(&b, "cut"), NULL);
    assert_int_equal(truncate(temp_path("cut"), 10), 0);
    assert_place(g, "1.2.3.4", "CN", 0);
    geo_unref(g);
}

static void assert_refused(const char *country, const char *asn, const char *words)
{
    struct geo *g = NULL;
    struct err err = {0};
    assert_true(geo_open((const char *const[]){country, asn}, &g, &err) < 0);
    if (!strstr(err.msg, words)) {
        fail_msg("%s", err.msg);
    }
}

static void broken_files_are_refused_whole(void **state)
{
    struct builder good = {.node_count = 0}, bad_record = {.node_count = 0}, bad_tree = {.node_count = 0},
                   circle = {.node_count = 0};
    ADD(&good, "1.2.0.0/16", CHINA);
    ADD(&bad_record, "1.2.0.0/16", CHINA);
    ADD(&bad_record, "1.3.0.0/16",
        "\xe2\x47"
        "country"); /* a map that ends in its middle */
    ADD(&circle, "1.2.0.0/16", CHINA);
    ADD(&bad_tree, "1.2.0.0/16", CHINA);
    bad_tree.nodes[50][1] = DATA + 4000;
    circle.nodes[50][1] = 3;
    (void)finish(&good, "good");
    assert_refused(temp_path("none"), NULL, "none: cannot be read");
    assert_refused("/tmp", NULL, "no regular file");
    assert_refused(temp_write("text", "not a database", 0600), NULL, "text: is not a good MaxMind DB file");
    assert_refused(temp_write("empty", "", 0600), NULL, "empty: ");
    assert_refused(finish(&bad_record, "record"), NULL, "record: its tree or a record is broken");
    assert_refused(finish(&bad_tree, "tree"), NULL, "tree: its tree or a record is broken");
    assert_refused(finish(&circle, "circle"), NULL, "circle: its tree or a record is broken");
    assert_refused(NULL, temp_path("good"), "good: holds no autonomous systems");
    assert_refused(temp_path("good"), temp_path("none"), "none: cannot be read");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_files_or_one),
        cmocka_unit_test(outlives_its_file),
        cmocka_unit_test(broken_files_are_refused_whole),
    };
    return cmocka_run_group_tests(tests, temp_make, temp_remove);
}
