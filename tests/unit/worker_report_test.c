/* What a worker tells of its load, and what is no such thing. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "inference/router/worker_report.h"

static void a_report_is_read(void **state)
{
    struct worker_report r;
    struct err err;
    struct str text = STR("{\"running\":3,\"waiting\":2,\"slots\":8,\"kv_blocks_used\":96,\"kv_blocks\":2048,"
                          "\"draining\":true,\"later\":{}}");
    assert_int_equal(worker_report_read(text, &r, &err), 0);
    assert_int_equal(r.running, 3);
    assert_int_equal(r.waiting, 2);
    assert_int_equal(r.kv_used, 4);
    assert_true(r.is_draining);
}

static void the_cache_is_full_at_most(void **state)
{
    static const struct {
        const char *used, *blocks;
        uint8_t percent;
    } cases[] = {{"0", "0", 0},     {"0", "64", 0}, {"64", "64", 100},
                 {"99", "64", 100}, {"5", "0", 0},  {"63", "64", 98}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[200];
        struct worker_report r;
        snprintf(text, sizeof text,
                 "{\"running\":0,\"waiting\":0,\"kv_blocks_used\":%s,\"kv_blocks\":%s,\"draining\":false}",
                 cases[i].used, cases[i].blocks);
        assert_int_equal(worker_report_read(str_from(text), &r, NULL), 0);
        assert_int_equal(r.kv_used, cases[i].percent);
    }
}

static void what_is_none_is_refused_by_name(void **state)
{
    static const char *const broken[][2] = {
        {"", ""},
        {"[]", "object"},
        {"{", ""},
        {"{\"running\":1}", "waiting"},
        {"{\"running\":-1,\"waiting\":0,\"kv_blocks_used\":0,\"kv_blocks\":1,\"draining\":false}", "running"},
        {"{\"running\":1,\"waiting\":1e3,\"kv_blocks_used\":0,\"kv_blocks\":1,\"draining\":false}",
         "waiting"},
        {"{\"running\":1,\"waiting\":9223372036854775807,\"kv_blocks_used\":0,\"kv_blocks\":1,\"draining\":"
         "false}",
         "waiting"},
        {"{\"running\":1,\"waiting\":0,\"kv_blocks_used\":\"0\",\"kv_blocks\":1,\"draining\":false}",
         "kv_blocks_used"},
        {"{\"running\":1,\"waiting\":0,\"kv_blocks_used\":0,\"kv_blocks\":null,\"draining\":false}",
         "kv_blocks"},
        {"{\"running\":1,\"waiting\":0,\"kv_blocks_used\":0,\"kv_blocks\":1,\"draining\":0}", "draining"},
        {"{\"running\":1,\"waiting\":0,\"kv_blocks_used\":0,\"kv_blocks\":1}", "draining"},
    };
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        struct worker_report r;
        struct err err = {0};
        assert_int_equal(worker_report_read(str_from(broken[i][0]), &r, &err), ERR_INVALID);
        assert_non_null(strstr(err.msg, broken[i][1]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_report_is_read),
        cmocka_unit_test(the_cache_is_full_at_most),
        cmocka_unit_test(what_is_none_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
