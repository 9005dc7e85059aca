#include "tests/unit/unit.h"

#include "gateway/chat_body.h"

static struct chat_alias_conf aliases[] = {{"deepseek-chat", "SmolLM2-135M"}, {"odd", "a\"b"}};
static struct chat_conf conf = {
    .aliases = {aliases, 2}, .max_choices = 4, .expected_tokens = 256, .max_tokens = 0};

struct row {
    const char *text;
    const char *upstream; /* NULL: as received */
};

static void check(const struct row *row, enum chat_kind kind)
{
    struct arena a;
    struct chat_body b;
    arena_init(&a);
    chat_body_read(&a, str_from(row->text), kind, &conf, &b);
    if (b.problem) {
        fail_msg("%s: %s: " STR_FMT, row->text, b.problem, STR_ARG(b.detail));
    }
    const char *want = row->upstream ? row->upstream : row->text;
    if (!str_is(b.upstream, want)) {
        fail_msg("%s\n became " STR_FMT "\n  wanted %s", row->text, STR_ARG(b.upstream), want);
    }
    arena_clear(&a);
}

#define M "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

static void what_needs_no_change_is_sent_as_received(void **state)
{
    static const struct row rows[] = {
        {"{\"model\":\"m\"," M "}", NULL},
        {" {\n \"model\" : \"m\" ,\t" M
         ", \"seed\": 18446744073709551615, \"x\": [1.0e3, {\"\\u0041\": null}] } ",
         NULL},
        {"{\"model\":\"m\"," M ",\"stream\":false,\"stream_options\":{\"include_usage\":false}}", NULL},
        {"{\"model\":\"m\"," M ",\"stream\":true,\"stream_options\":{\"include_usage\":true}}", NULL},
        {"{\"model\":\"m\"," M
         ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}],\"stream\":null}",
         NULL},
        {"{\"model\":\"\\u006d\"," M ",\"max_tokens\":null,\"n\":null,\"stop\":[\"a\"]}", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        check(&rows[i], CHAT_KIND_CHAT);
    }
    struct row text = {"{\"model\":\"m\",\"prompt\":[\"a\",\"b\"]}", NULL};
    check(&text, CHAT_KIND_TEXT);
}

static void splices_touch_only_their_place(void **state)
{
    static const struct row rows[] = {
        {"{\"model\":\"m\"," M ",\"stream\":true,\"seed\":18446744073709551615}",
         "{\"stream_options\":{\"include_usage\":true},\"model\":\"m\"," M
         ",\"stream\":true,\"seed\":18446744073709551615}"},
        {"{\"model\":\"m\"," M ",\"stream\":true,\"stream_options\":null}",
         "{\"model\":\"m\"," M ",\"stream\":true,\"stream_options\":{\"include_usage\":true}}"},
        {"{\"model\":\"m\"," M ",\"stream\":true,\"stream_options\":{ }}",
         "{\"model\":\"m\"," M ",\"stream\":true,\"stream_options\":{\"include_usage\":true }}"},
        {"{\"model\":\"m\"," M ",\"stream\":true,\"stream_options\":{\"x\":1}}",
         "{\"model\":\"m\"," M ",\"stream\":true,\"stream_options\":{\"include_usage\":true,\"x\":1}}"},
        {"{\"stream_options\":{\"x\":1,\"include\\u005fusage\":false},\"stream\":true,\"model\":\"m\"," M "}",
         "{\"stream_options\":{\"x\":1,\"include\\u005fusage\":true},\"stream\":true,\"model\":\"m\"," M "}"},
        {"{\"model\": \"deepseek-chat\" ," M ",\"a\":1}", "{\"model\": \"SmolLM2-135M\" ," M ",\"a\":1}"},
        {"{\"model\":\"odd\"," M "}", "{\"model\":\"a\\\"b\"," M "}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        check(&rows[i], CHAT_KIND_CHAT);
    }
}

static void max_tokens_is_capped(void **state)
{
    static const struct row rows[] = {
        {"{\"model\":\"m\",\"max_tokens\":5000," M "}", "{\"model\":\"m\",\"max_tokens\":100," M "}"},
        {"{\"model\":\"m\",\"max_tokens\":99," M "}", NULL},
        {"{\"model\":\"m\"," M "}", "{\"max_tokens\":100,\"model\":\"m\"," M "}"},
        {"{\"model\":\"m\"," M ",\"max_tokens\":null}", "{\"model\":\"m\"," M ",\"max_tokens\":100}"},
        {"{\"model\":\"m\",\"max_completion_tokens\":101," M "}",
         "{\"model\":\"m\",\"max_completion_tokens\":100," M "}"},
        {"{\"model\":\"m\"," M ",\"stream\":true}",
         "{\"max_tokens\":100,\"stream_options\":{\"include_usage\":true},\"model\":\"m\"," M
         ",\"stream\":true}"},
    };
    conf.max_tokens = 100;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        check(&rows[i], CHAT_KIND_CHAT);
    }
    conf.max_tokens = 0;
}

static void wrong_bodies_are_refused_with_their_field(void **state)
{
    static const struct {
        const char *text;
        const char *problem;
        const char *param;
    } rows[] = {
        {"", "bad_json", ""},
        {"{\"model\":\"m\"", "bad_json", ""},
        {"{\"model\":\"m\",\"model\":\"n\"," M "}", "bad_json", ""},
        {"{\"model\":\"m\",\"mod\\u0065l\":\"n\"," M "}", "bad_json", ""},
        {"[1]", "bad_request", ""},
        {"{" M "}", "bad_request", "model"},
        {"{\"model\":7," M "}", "bad_request", "model"},
        {"{\"model\":\"\"," M "}", "bad_request", "model"},
        {"{\"model\":\"m\"}", "bad_request", "messages"},
        {"{\"model\":\"m\",\"messages\":[]}", "bad_request", "messages"},
        {"{\"model\":\"m\",\"messages\":{}}", "bad_request", "messages"},
        {"{\"model\":\"m\",\"messages\":[\"hi\"]}", "bad_request", "messages"},
        {"{\"model\":\"m\"," M ",\"stream\":1}", "bad_request", "stream"},
        {"{\"model\":\"m\"," M ",\"stream_options\":[]}", "bad_request", "stream_options"},
        {"{\"model\":\"m\"," M ",\"stream\":true,\"stream_options\":{\"include_usage\":\"y\"}}",
         "bad_request", "stream_options.include_usage"},
        {"{\"model\":\"m\"," M ",\"max_tokens\":0}", "bad_request", "max_tokens"},
        {"{\"model\":\"m\"," M ",\"max_tokens\":1.5}", "bad_request", "max_tokens"},
        {"{\"model\":\"m\"," M ",\"max_tokens\":\"5\"}", "bad_request", "max_tokens"},
        {"{\"model\":\"m\"," M ",\"max_completion_tokens\":99999999999}", "bad_request",
         "max_completion_tokens"},
        {"{\"model\":\"m\"," M ",\"n\":5}", "bad_request", "n"},
        {"{\"model\":\"m\"," M ",\"n\":2,\"best_of\":1}", "bad_request", "best_of"},
        {"{\"model\":\"m\"," M ",\"best_of\":5}", "bad_request", "best_of"},
        {"{\"model\":\"m\"," M ",\"best_of\":0}", "bad_request", "best_of"},
        {"{\"model\":\"m\"," M ",\"best_of\":\"2\"}", "bad_request", "best_of"},
        {"{\"model\":\"m\"," M ",\"n\":5,\"best_of\":5}", "bad_request", "n"},
        {"{\"model\":\"m\"," M ",\"temperature\":2.1}", "bad_request", "temperature"},
        {"{\"model\":\"m\"," M ",\"temperature\":\"hot\"}", "bad_request", "temperature"},
        {"{\"model\":\"m\"," M ",\"top_p\":-0.1}", "bad_request", "top_p"},
        {"{\"model\":\"m\"," M ",\"seed\":\"x\"}", "bad_request", "seed"},
        {"{\"model\":\"m\"," M ",\"stop\":1}", "bad_request", "stop"},
        {"{\"model\":\"m\"," M ",\"tools\":{}}", "bad_request", "tools"},
        {"{\"model\":\"m\"," M ",\"user\":1}", "bad_request", "user"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct arena a;
        struct chat_body b;
        arena_init(&a);
        chat_body_read(&a, str_from(rows[i].text), CHAT_KIND_CHAT, &conf, &b);
        if (!b.problem || strcmp(b.problem, rows[i].problem) != 0 || !str_is(b.param, rows[i].param)) {
            fail_msg("%s: %s, " STR_FMT, rows[i].text, b.problem ? b.problem : "accepted", STR_ARG(b.param));
        }
        arena_clear(&a);
    }
}

static void what_was_asked_is_known(void **state)
{
    struct arena a;
    struct chat_body b;
    arena_init(&a);
    chat_body_read(&a,
                   STR("{\"model\":\"deepseek-chat\"," M ",\"stream\":true,\"n\":2,\"max_tokens\":7,"
                       "\"stream_options\":{\"include_usage\":true}}"),
                   CHAT_KIND_CHAT, &conf, &b);
    assert_null(b.problem);
    assert_true(str_is(b.model, "SmolLM2-135M"));
    assert_true(str_is(b.asked, "deepseek-chat"));
    assert_true(b.is_stream);
    assert_true(b.wants_usage);
    assert_int_equal(b.max_tokens, 7);
    assert_int_equal(b.choices, 2);
    arena_clear(&a);
}

static void each_text_of_a_prompt_counts(void **state)
{
    static const struct {
        const char *members;
        int64_t choices; /* 0: refused */
    } rows[] = {
        {"\"prompt\":\"a\"", 1},
        {"\"prompt\":[1,2,3,4,5]", 1},
        {"\"prompt\":[]", 1},
        {"\"prompt\":[1,2,3,4,5],\"n\":4", 4},
        {"\"prompt\":[\"a\",\"b\"],\"n\":2", 4},
        {"\"prompt\":[[1,2,3],[4,5]]", 2},
        {"\"prompt\":[\"a\",\"b\",\"c\",\"d\"]", 4},
        {"\"prompt\":[\"a\",\"b\",\"c\",\"d\",\"e\"]", 0},
        {"\"prompt\":[1,[1],[2],[3],[4],[5]]", 0},
        {"\"prompt\":[\"a\",\"b\"],\"n\":3", 0},
        {"\"prompt\":\"a\",\"best_of\":3", 3},
        {"\"prompt\":\"a\",\"best_of\":null,\"n\":2", 2},
        {"\"prompt\":\"a\",\"best_of\":4,\"n\":4", 4},
        {"\"prompt\":[\"a\",\"b\"],\"best_of\":2", 4},
        {"\"prompt\":[\"a\",\"b\"],\"best_of\":3", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct arena a;
        struct chat_body b;
        arena_init(&a);
        struct str text = arena_printf(&a, "{\"model\":\"m\",%s}", rows[i].members);
        chat_body_read(&a, text, CHAT_KIND_TEXT, &conf, &b);
        bool is_right = rows[i].choices > 0
                            ? !b.problem && b.choices == rows[i].choices
                            : b.problem && strcmp(b.problem, "bad_request") == 0 && str_is(b.param, "prompt");
        if (!is_right) {
            fail_msg("%s: %s, %lld choices", rows[i].members, b.problem ? b.problem : "accepted",
                     (long long)b.choices);
        }
        arena_clear(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_needs_no_change_is_sent_as_received),
        cmocka_unit_test(splices_touch_only_their_place),
        cmocka_unit_test(max_tokens_is_capped),
        cmocka_unit_test(wrong_bodies_are_refused_with_their_field),
        cmocka_unit_test(what_was_asked_is_known),
        cmocka_unit_test(each_text_of_a_prompt_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
