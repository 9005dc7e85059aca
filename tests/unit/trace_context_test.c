#include "tests/unit/unit.h"

#include "gateway/trace_context.h"

#define ID "0af7651916cd43dd8448eb211c80319c"
#define PARENT "b7ad6b7169203331"
#define OWN_ID "11112222333344445555666677778888"

static void good(const char *text, unsigned flags)
{
    struct trace_context t = {0};
    assert_true(trace_context_parse(str_from(text), &t));
    assert_string_equal(t.id, ID);
    assert_string_equal(t.parent, PARENT);
    assert_int_equal(t.flags, flags);
}

static void what_is_valid(void **state)
{
    good("00-" ID "-" PARENT "-00", 0);
    good("00-" ID "-" PARENT "-01", 1);
    good("00-" ID "-" PARENT "-03", 3);
    good("00-" ID "-" PARENT "-ff", 3); /* unknown flags are not passed on */
    good("01-" ID "-" PARENT "-01", 1); /* a version to come */
    good("fe-" ID "-" PARENT "-01-more-of-it", 1);
}

static void what_is_not(void **state)
{
    static const char *const bad[] = {
        "",
        "00",
        "00-" ID "-" PARENT,
        "00-" ID "-" PARENT "-",
        "00-" ID "-" PARENT "-1",
        "00-" ID "-" PARENT "-01-more", /* version 00 has nothing more */
        "00-" ID "-" PARENT "-01 ",
        "00-" ID "-" PARENT "-0g",
        "01-" ID "-" PARENT "-01more",
        "ff-" ID "-" PARENT "-01",
        "0-" ID "-" PARENT "-01",
        " 00-" ID "-" PARENT "-01",
        "00-0AF7651916CD43DD8448EB211C80319C-" PARENT "-01",
        "00-" ID "-B7AD6B7169203331-01",
        "00-00000000000000000000000000000000-" PARENT "-01",
        "00-" ID "-0000000000000000-01",
        "00-" ID "0-" PARENT "-01",
        "00_" ID "-" PARENT "-01",
        "00-" ID "-" PARENT "_01",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct trace_context t = {.id = "kept", .flags = 9};
        assert_false(trace_context_parse(str_from(bad[i]), &t));
        assert_string_equal(t.id, "kept");
        assert_int_equal(t.flags, 9);
    }
}

/* What an upstream is told when these fields come in. */
static unsigned told(const struct http_field *fields, unsigned n, struct http_field out[2],
                     struct trace_context *t, struct http_exchange *ex)
{
    *ex = (struct http_exchange){.fields = fields, .field_count = n, .id = OWN_ID};
    arena_init(&ex->arena);
    trace_context_of(ex, t);
    return trace_context_fields(ex, t, out);
}

static void a_trace_goes_on(void **state)
{
    static const struct http_field in[] = {{STR_INIT("traceparent"), STR_INIT("00-" ID "-" PARENT "-01")},
                                           {STR_INIT("tracestate"), STR_INIT("a=1,b=2")}};
    struct http_exchange ex;
    struct trace_context t;
    struct http_field out[2];
    assert_int_equal(told(in, 2, out, &t, &ex), 2);
    assert_true(str_is(out[0].value, "00-" ID "-5555666677778888-01"));
    assert_true(str_is(out[1].name, "tracestate") && str_is(out[1].value, "a=1,b=2"));
    arena_clear(&ex.arena);
}

static void a_trace_begins(void **state)
{
    static const struct http_field bad[] = {{STR_INIT("traceparent"), STR_INIT("00-" ID "-" PARENT "-zz")},
                                            {STR_INIT("tracestate"), STR_INIT("a=1")}};
    static const struct http_field twice[] = {{STR_INIT("traceparent"), STR_INIT("00-" ID "-" PARENT "-01")},
                                              {STR_INIT("traceparent"), STR_INIT("00-" ID "-" PARENT "-01")}};
    struct http_exchange ex;
    struct trace_context t;
    struct http_field out[2];
    const struct {
        const struct http_field *fields;
        unsigned n;
    } cases[] = {{NULL, 0}, {bad, 2}, {twice, 2}};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(told(cases[i].fields, cases[i].n, out, &t, &ex), 1); /* no tracestate */
        assert_true(str_is(out[0].value, "00-" OWN_ID "-5555666677778888-00"));
        assert_string_equal(t.parent, "");
        arena_clear(&ex.arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_valid),
        cmocka_unit_test(what_is_not),
        cmocka_unit_test(a_trace_goes_on),
        cmocka_unit_test(a_trace_begins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
