#include "tests/unit/unit.h"

#include <stdlib.h>

#include "base/json.h"

static struct arena arena;

static int scan(struct str text, const struct json_limits *limits, struct json_doc *doc, struct err *err)
{
    arena_clear(&arena);
    return json_scan(&arena, text, limits, doc, err);
}

static int scan_of(const char *text)
{
    struct json_doc doc;
    return scan(str_from(text), NULL, &doc, NULL);
}

static void accepts_what_rfc_8259_accepts(void **state)
{
    static const char *const good[] = {
        "null",
        " true ",
        "false",
        "0",
        "-0",
        "-0.5e+10",
        "1E-2",
        "\"\"",
        "[]",
        "{}",
        "[ ]",
        "{ }",
        "[1,2,[3]]",
        "{\"a\":{\"a\":1},\"b\":[{\"a\":2}]}",
        "\"\\ud83c\\udf0a\\n\\/\"",
        "\"\xe4\xbd\xa0\x7f\"",
        "\t\r\n [\n]\n",
        "{\"\":1}",
        "123456789012345678901234567890",
        "1e999",
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(scan_of(good[i]), 0);
    }
}

static void refuses_what_it_refuses(void **state)
{
    static const char *const bad[] = {
        "",
        " ",
        "nul",
        "True",
        "01",
        "-",
        "+1",
        ".5",
        "1.",
        "1e",
        "1e+",
        "0x1",
        "NaN",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{\"a\":1,}",
        "{\"a\"}",
        "{\"a\":}",
        "{a:1}",
        "{'a':1}",
        "[1",
        "{\"a\":1",
        "\"a",
        "\"\\",
        "\"\\u12\"",
        "\"\\x41\"",
        "\"\t\"",
        "\"\x01\"",
        "1 2",
        "[]]",
        "\"\\u0000\"",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud800\\u0041\"",
        "\"\\ud800x\"",
        "\"\xff\"",
        "\"\xed\xa0\x80\"",
        "\xef\xbb\xbf{}",
        "{\"a\":1,\"a\":2}",
        "{\"a\":1,\"\\u0061\":2}",
        "[{\"x\":1,\"y\":2,\"x\":3}]",
        "{\"o\":{\"k\":1,\"k\":1}}",
        "// c\n1",
        "{\"a\":1,\"b\":2]",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(scan_of(bad[i]), ERR_INVALID);
    }
    struct json_doc doc;
    assert_int_equal(scan(STR("\"a\0b\""), NULL, &doc, NULL), ERR_INVALID);
    assert_int_equal(scan(STR("[1]\0"), NULL, &doc, NULL), ERR_INVALID);
}

static void errors_name_the_byte(void **state)
{
    struct json_doc doc;
    struct err err;
    assert_int_equal(scan(STR("{\"a\": tru}"), NULL, &doc, &err), ERR_INVALID);
    assert_string_equal(err.msg, "JSON: an unknown word at byte 6");
}

static void limits_are_exact(void **state)
{
    struct json_limits l = {.max_depth = 2, .max_members = 3, .max_items = 3, .max_string = 4};
    struct json_doc doc;
    struct err err;
    assert_int_equal(scan(STR("[[]]"), &l, &doc, &err), 0);
    assert_int_equal(scan(STR("[[[]]]"), &l, &doc, &err), ERR_LIMIT);
    assert_int_equal(scan(STR("{\"a\":{\"b\":1},\"c\":1}"), &l, &doc, &err), 0);
    assert_int_equal(scan(STR("{\"a\":{\"b\":1},\"c\":1,\"d\":1}"), &l, &doc, &err), ERR_LIMIT);
    assert_int_equal(scan(STR("[1,2,3]"), &l, &doc, &err), 0);
    assert_int_equal(scan(STR("[1,[2,3]]"), &l, &doc, &err), ERR_LIMIT);
    assert_int_equal(scan(STR("\"1234\""), &l, &doc, &err), 0);
    assert_int_equal(scan(STR("\"12345\""), &l, &doc, &err), ERR_LIMIT);
    assert_non_null(strstr(err.msg, "at most 4"));
    char deep[20001];
    memset(deep, '[', sizeof(deep));
    assert_int_equal(scan(str_of(deep, sizeof(deep)), NULL, &doc, &err), ERR_LIMIT);
    char digits[200];
    memset(digits, '1', sizeof(digits));
    assert_int_equal(scan(str_of(digits, sizeof(digits)), NULL, &doc, &err), ERR_LIMIT);
}

static void many_members_are_told_apart(void **state)
{
    struct buf b;
    struct json_doc doc;
    buf_init(&b, 1 << 20);
    buf_add_cstr(&b, "{");
    for (int i = 0; i < 900; i++) {
        buf_addf(&b, "\"k%d\":[%d],", i, i);
    }
    size_t n = b.n;
    buf_add_cstr(&b, "\"k900\":0}");
    assert_int_equal(scan(buf_str(&b), NULL, &doc, NULL), 0);
    assert_int_equal(doc.member_count, 901);
    assert_true(str_is(json_member(&doc, "k450")->raw, "[450]"));
    b.n = n;
    buf_add_cstr(&b, "\"k450\":0}");
    assert_int_equal(scan(buf_str(&b), NULL, &doc, NULL), ERR_INVALID);
    buf_clear(&b);
}

static void members_are_slices_of_the_text(void **state)
{
    struct str text = STR(" { \"model\" : \"m\\u0031\" , \"n\":-7,\"x\\ty\":[1, {\"a\":\"]\"}, true] ,"
                          "\"f\":1.5,\"t\":false,\"z\":null } ");
    struct json_doc doc;
    struct str s;
    int64_t i = 0;
    double d = 0;
    bool b = true;
    assert_int_equal(scan(text, NULL, &doc, NULL), 0);
    assert_int_equal(doc.type, JSON_OBJECT);
    assert_int_equal(doc.member_count, 6);
    const struct json_slice *m = json_member(&doc, "model");
    assert_true(m->raw.p > text.p && m->raw.p < text.p + text.n);
    assert_true(json_get_str(&arena, m, &s) && str_is(s, "m1"));
    assert_false(json_get_i64(m, &i));
    assert_true(json_get_i64(json_member(&doc, "n"), &i) && i == -7);
    assert_true(json_get_f64(json_member(&doc, "f"), &d) && d == 1.5);
    assert_false(json_get_i64(json_member(&doc, "f"), &i));
    assert_true(json_get_bool(json_member(&doc, "t"), &b) && !b);
    assert_false(json_get_bool(json_member(&doc, "z"), &b));
    assert_null(json_member(&doc, "a"));
    assert_false(json_get_str(&arena, NULL, &s));
    assert_non_null(json_member(&doc, "x\ty"));
}

static void lists_members_of_an_inner_object(void **state)
{
    struct arena a;
    struct json_doc doc, inner;
    arena_init(&a);
    assert_int_equal(json_scan(&a, STR("{\"x\": { \"a\" : [1,{\"b\":2}], \"c\":\"}\",\"d\\u0065\":null } }"),
                               NULL, &doc, NULL),
                     0);
    json_members(&a, json_member(&doc, "x")->raw, &inner);
    assert_int_equal(inner.member_count, 3);
    assert_true(str_is(json_member(&inner, "a")->raw, "[1,{\"b\":2}]"));
    assert_true(str_is(json_member(&inner, "c")->raw, "\"}\""));
    assert_int_equal(json_member(&inner, "de")->type, JSON_NULL);
    assert_null(json_member(&inner, "b"));
    json_members(&a, STR("{ }"), &inner);
    assert_int_equal(inner.member_count, 0);
    arena_clear(&a);
}

static void walks_arrays_and_objects(void **state)
{
    struct json_doc doc;
    struct json_slice v;
    assert_int_equal(scan(STR("[ 1 ,\"a,]\\\"\" , {\"k\" : [2] , \"l\":{}} ,[],null ]"), NULL, &doc, NULL),
                     0);
    struct str in = doc.raw;
    assert_true(json_next(&in, &v) && v.type == JSON_NUMBER && str_is(v.raw, "1"));
    assert_true(json_next(&in, &v) && v.type == JSON_STRING && str_is(v.raw, "\"a,]\\\"\""));
    assert_true(json_next(&in, &v) && v.type == JSON_OBJECT);
    struct str inner = v.raw;
    assert_true(json_next(&in, &v) && v.type == JSON_ARRAY && str_is(v.raw, "[]"));
    assert_true(json_next(&in, &v) && v.type == JSON_NULL);
    assert_false(json_next(&in, &v));
    assert_false(json_next(&in, &v));
    assert_true(json_next(&inner, &v) && str_is(v.key, "k") && str_is(v.raw, "[2]"));
    assert_true(json_next(&inner, &v) && str_is(v.key, "l") && str_is(v.raw, "{}"));
    assert_false(json_next(&inner, &v));
    struct str empty = STR("[ ]");
    assert_false(json_next(&empty, &v));
}

static void numbers_that_do_not_fit(void **state)
{
    struct json_doc doc;
    int64_t i = 0;
    double d = 0;
    assert_int_equal(scan(STR("{\"a\":9223372036854775807,\"b\":9223372036854775808,\"c\":1e999,\"d\":1e3}"),
                          NULL, &doc, NULL),
                     0);
    assert_true(json_get_i64(json_member(&doc, "a"), &i) && i == INT64_MAX);
    assert_false(json_get_i64(json_member(&doc, "b"), &i));
    assert_false(json_get_f64(json_member(&doc, "c"), &d));
    assert_false(json_get_i64(json_member(&doc, "d"), &i));
    assert_true(json_get_f64(json_member(&doc, "d"), &d) && d == 1000);
}

static void writes_what_it_can_read(void **state)
{
    struct buf b;
    struct json_doc doc;
    buf_init(&b, 4096);
    struct json_writer w = {.out = &b};
    json_open(&w, '{');
    json_str_at(&w, "s", STR("q\" b\\ \n \x01 \x7f \xe4\xbd\xa0 \xff"));
    json_i64_at(&w, "min", INT64_MIN);
    json_f64_at(&w, "f", 0.1);
    json_f64_at(&w, "nan", 0.0 / 0.0);
    json_bool_at(&w, "yes", true);
    json_open_at(&w, "a", '[');
    json_i64(&w, 1);
    json_raw(&w, STR("{}"));
    json_open(&w, '[');
    json_close(&w, ']');
    json_close(&w, ']');
    json_null_at(&w, "n");
    json_raw_at(&w, "r", STR("[2]"));
    json_close(&w, '}');
    assert_string_equal(
        b.p, "{\"s\":\"q\\\" b\\\\ \\n \\u0001 \x7f \xe4\xbd\xa0 \\ufffd\",\"min\":-9223372036854775808,"
             "\"f\":0.1,\"nan\":null,\"yes\":true,\"a\":[1,{},[]],\"n\":null,\"r\":[2]}");
    assert_int_equal(scan(buf_str(&b), NULL, &doc, NULL), 0);
    buf_clear(&b);
}

static void parse_gives_a_dom(void **state)
{
    cJSON *dom;
    struct err err;
    assert_int_equal(json_parse(STR("{\"a\":[1,2]} trailing"), NULL, &dom, &err), ERR_INVALID);
    assert_null(dom);
    assert_int_equal(json_parse(STR("{\"a\":[1,2]}"), NULL, &dom, &err), 0);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(dom, "a")), 2);
    cJSON_Delete(dom);
}

static int clear_arena(void **state)
{
    arena_clear(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_what_rfc_8259_accepts),
        cmocka_unit_test(refuses_what_it_refuses),
        cmocka_unit_test(errors_name_the_byte),
        cmocka_unit_test(limits_are_exact),
        cmocka_unit_test(many_members_are_told_apart),
        cmocka_unit_test(members_are_slices_of_the_text),
        cmocka_unit_test(lists_members_of_an_inner_object),
        cmocka_unit_test(walks_arrays_and_objects),
        cmocka_unit_test(numbers_that_do_not_fit),
        cmocka_unit_test(writes_what_it_can_read),
        cmocka_unit_test(parse_gives_a_dom),
    };
    return cmocka_run_group_tests(tests, NULL, clear_arena);
}
