#include "tests/unit/unit.h"

#include "gateway/chat_event.h"

static struct buf scratch, text;

static int setup(void **state)
{
    buf_init(&scratch, 1 << 20);
    buf_init(&text, 1 << 20);
    return 0;
}

static int teardown(void **state)
{
    buf_clear(&scratch);
    buf_clear(&text);
    return 0;
}

static struct chat_event read_event(const char *event)
{
    struct chat_event e;
    chat_event_read(str_from(event), &scratch, &text, &e);
    return e;
}

#define DELTA(d, f)                                                                                          \
    "data: {\"id\":\"x\",\"choices\":[{\"index\":0,\"delta\":" d ",\"finish_reason\":" f "}]}\n\n"

static void plain_events_are_known_without_reading(void **state)
{
    assert_true(chat_event_is_plain(str_from(DELTA("{\"content\":\"hi\"}", "null"))));
    assert_true(chat_event_is_plain(str_from(DELTA("{\"content\":\"say \\\"usage\\\": 1\"}", "null"))));
    assert_true(chat_event_is_plain(STR("data: {\"choices\":[],\"usage\":null}\n\n")));
    assert_false(chat_event_is_plain(str_from(DELTA("{}", "\"stop\""))));
    assert_false(chat_event_is_plain(str_from(DELTA("{\"reasoning\":\"hm\"}", "null"))));
    assert_false(chat_event_is_plain(STR("data: {\"choices\":[],\"usage\":{\"a\":1}}\n\n")));
    assert_false(chat_event_is_plain(STR("data: {\"usage\":null,\"x\":{\"usage\": {\"a\":1}}}\n\n")));
    assert_false(chat_event_is_plain(STR("data: {\"error\":{}}\n\n")));
    assert_false(chat_event_is_plain(STR("data: [DONE]\n\n")));
    assert_false(chat_event_is_plain(STR(": ping\n\n")));
    assert_false(chat_event_is_plain(STR("data: {\"a\":\ndata: 1}\n\n")));
    assert_false(chat_event_is_plain(STR("event: x\ndata: {}\n\n")));
}

static void content_is_told_from_preamble(void **state)
{
    assert_false(read_event(DELTA("{\"role\":\"assistant\",\"content\":\"\"}", "null")).has_content);
    assert_false(read_event(DELTA("{\"role\":\"assistant\",\"content\":null}", "null")).has_content);
    assert_false(read_event(DELTA("{}", "null")).has_content);
    assert_true(read_event(DELTA("{\"content\":\" \"}", "null")).has_content);
    assert_true(read_event(DELTA("{\"reasoning_content\":\"a\"}", "null")).has_content);
    assert_true(read_event(DELTA("{\"tool_calls\":[{\"index\":0}]}", "null")).has_content);
    assert_true(read_event("data: {\"choices\":[{\"text\":\"a\",\"finish_reason\":null}]}\n\n").has_content);
    assert_false(read_event("data: {\"choices\":[{\"text\":\"\",\"finish_reason\":null}]}\n\n").has_content);
    assert_true(read_event(DELTA("{}", "\"length\"")).has_finish);
    assert_false(read_event(DELTA("{}", "null")).has_finish);
}

static void ends_errors_and_usage_are_seen(void **state)
{
    assert_true(read_event("data: [DONE]\n\n").is_done);
    assert_true(read_event("data:[DONE]\r\n\r\n").is_done);
    assert_true(read_event(": ping\n\n").is_comment);
    assert_true(read_event("data: {\"error\":{\"message\":\"x\"}}\n\n").is_error);
    assert_true(read_event("data: not json\n\n").is_error);
    assert_false(read_event("data: {\"error\":{\"code\":\"internal_error\"}}\n\n").is_late);
    assert_false(read_event("data: {\"error\":{\"code\":504}}\n\n").is_late);
    assert_true(read_event("data: {\"error\":{\"code\":\"answer_timeout\"}}\n\n").is_late);
    assert_false(read_event("data: {\"error\":null,\"choices\":[]}\n\n").is_error);
    struct chat_event e =
        read_event("data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":4}}\n\n");
    assert_true(e.has_usage);
    assert_true(e.is_usage_only);
    assert_int_equal(e.prompt_tokens, 9);
    assert_int_equal(e.completion_tokens, 4);
    e = read_event("data: "
                   "{\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"usage\":{\"prompt_tokens\":9,"
                   "\"completion_tokens\":1}}\n\n");
    assert_true(e.has_usage);
    assert_false(e.is_usage_only);
    assert_false(
        read_event("data: {\"choices\":[],\"usage\":{\"prompt_tokens\":-1,\"completion_tokens\":4}}\n\n")
            .has_usage);
}

static void reasoning_gets_its_name(void **state)
{
    struct chat_event e = read_event(DELTA("{\"reasoning\":\"so \\\"reasoning\\\"\",\"x\":1}", "null"));
    assert_true(str_is(e.text, DELTA("{\"reasoning_content\":\"so \\\"reasoning\\\"\",\"x\":1}", "null")));
    assert_true(e.has_content);
    const char *both = DELTA("{\"reasoning\":\"a\",\"reasoning_content\":\"a\"}", "null");
    assert_true(str_is(read_event(both).text, both));
    const char *other = DELTA("{\"content\":\"reasoning\"}", "null");
    assert_true(str_is(read_event(other).text, other));
    e = read_event("data: {\"choices\":[{\"delta\":\ndata: {\"reasoning\":\"a\"}}]}\n\n");
    assert_true(str_is(e.text, "data: {\"choices\":[{\"delta\": {\"reasoning_content\":\"a\"}}]}\n\n"));
}

static void a_whole_answer_is_read_likewise(void **state)
{
    struct chat_event e;
    chat_answer_read(
        STR("{\"choices\":[{\"message\":{\"content\":\"a\",\"reasoning\":\"r\"},\"finish_reason\":\"stop\"}],"
            "\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2,\"total_tokens\":3}}"),
        &text, &e);
    assert_true(str_is(e.text,
                       "{\"choices\":[{\"message\":{\"content\":\"a\",\"reasoning_content\":\"r\"},\"finish_"
                       "reason\":\"stop\"}],"
                       "\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2,\"total_tokens\":3}}"));
    assert_int_equal(e.completion_tokens, 2);
    assert_true(e.has_finish);
    assert_false(e.is_error);
    chat_answer_read(STR("<html>"), &text, &e);
    assert_true(e.is_error);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(plain_events_are_known_without_reading), CASE(content_is_told_from_preamble),
        CASE(ends_errors_and_usage_are_seen),         CASE(reasoning_gets_its_name),
        CASE(a_whole_answer_is_read_likewise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
