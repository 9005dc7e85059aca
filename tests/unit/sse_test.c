#include "tests/unit/unit.h"

#include "base/http/sse.h"

struct seen {
    struct buf bytes; /* all events, as received */
    struct buf data;  /* their data, each in brackets */
    unsigned events;
    int stop_at;
};

static int on_event(void *arg, struct str event)
{
    struct seen *s = arg;
    struct buf data;
    buf_init(&data, 1 << 20);
    s->events++;
    buf_add_str(&s->bytes, event);
    buf_add_char(&s->data, '[');
    buf_add_cstr(&s->data, sse_data(event, &data) ? "" : "-");
    buf_add_str(&s->data, buf_str(&data));
    buf_add_char(&s->data, ']');
    buf_clear(&data);
    return s->stop_at && (int)s->events == s->stop_at ? 7 : 0;
}

static void seen_init(struct seen *s)
{
    *s = (struct seen){0};
    buf_init(&s->bytes, 1 << 20);
    buf_init(&s->data, 1 << 20);
}

static void seen_clear(struct seen *s)
{
    buf_clear(&s->bytes);
    buf_clear(&s->data);
}

static const struct {
    const char *text;
    const char *data;
    size_t left; /* bytes of an unfinished event at the end */
} streams[] = {
    {"data: a\n\ndata: b\n\n", "[a][b]", 0},
    {"data: a\r\n\r\ndata:b\r\n\r\n", "[a][b]", 0},
    {"data: a\r\rdata: b\r\r", "[a][b]", 0},
    {"data: one\ndata: two\n\n", "[one\ntwo]", 0},
    {": keep-alive\n\ndata: x\n\n", "[-][x]", 0},
    {"event: error\ndata: {\"a\":1}\nid: 3\n\n", "[{\"a\":1}]", 0},
    {"data\n\ndata:\n\ndatax: no\n\n", "[][][-]", 0},
    {"data: mixed\r\n\ndata: y\n\r\n", "[mixed][y]", 0},
    {"data: \xe4\xbd\xa0\n\ndata: cut", "[\xe4\xbd\xa0]", 9},
};

static void every_stream_is_the_same_however_it_is_split(void **state)
{
    for (size_t k = 0; k < sizeof streams / sizeof *streams; k++) {
        struct str text = str_from(streams[k].text);
        for (size_t first = 0; first <= text.n; first++) {
            for (size_t second = first; second <= text.n; second++) {
                struct sse_scanner s;
                struct seen seen;
                seen_init(&seen);
                sse_init(&s, 1 << 20);
                assert_int_equal(sse_feed(&s, str_of(text.p, first), on_event, &seen), 0);
                assert_int_equal(sse_feed(&s, str_of(text.p + first, second - first), on_event, &seen), 0);
                assert_int_equal(sse_feed(&s, str_skip(text, second), on_event, &seen), 0);
                assert_string_equal(seen.data.p, streams[k].data);
                assert_int_equal(s.held.n, streams[k].left);
                assert_int_equal(sse_is_idle(&s), streams[k].left == 0);
                sse_clear(&s);
                seen_clear(&seen);
            }
        }
    }
}

static void bytes_pass_unchanged(void **state)
{
    struct str text = STR("data: a\r\n\r\n: c\n\ndata: b\ndata: c\n\n\n");
    struct sse_scanner s;
    struct seen seen;
    seen_init(&seen);
    sse_init(&s, 1 << 20);
    assert_int_equal(sse_feed(&s, text, on_event, &seen), 0);
    assert_string_equal(seen.bytes.p, text.p);
    assert_int_equal(seen.events, 4);
    sse_clear(&s);
    seen_clear(&seen);
}

static void a_long_event_is_refused_whole_or_split(void **state)
{
    char line[64] = "data: 0123456789012345678901234567890123456789\n\n";
    for (size_t first = 0; first < 40; first += 8) {
        struct sse_scanner s;
        struct seen seen;
        seen_init(&seen);
        sse_init(&s, 32);
        int rc = sse_feed(&s, str_of(line, first), on_event, &seen);
        rc = rc ? rc : sse_feed(&s, str_from(line + first), on_event, &seen);
        assert_int_equal(rc, ERR_LIMIT);
        assert_int_equal(seen.events, 0);
        sse_clear(&s);
        seen_clear(&seen);
    }
}

static void the_callback_can_stop(void **state)
{
    struct sse_scanner s;
    struct seen seen;
    seen_init(&seen);
    seen.stop_at = 2;
    sse_init(&s, 1 << 20);
    assert_int_equal(sse_feed(&s, STR("data: 1\n\ndata: 2\n\ndata: 3\n\n"), on_event, &seen), 7);
    assert_int_equal(seen.events, 2);
    sse_clear(&s);
    seen_clear(&seen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_stream_is_the_same_however_it_is_split),
        cmocka_unit_test(bytes_pass_unchanged),
        cmocka_unit_test(a_long_event_is_refused_whole_or_split),
        cmocka_unit_test(the_callback_can_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
