/* The client over HTTP/2 when all is well: requests, answers, back pressure, cancel. */
#include "tests/unit/h2_server.h"

/* --- requests and answers ----------------------------------------------------------------------------- */

static void a_request_arrives_and_its_answer_comes_back(void **state)
{
    struct rig *r = *state;
    struct call c = {0};
    char want[200];
    start_request(r, &c, &(struct http_client_request){.method = STR("POST"), .body = STR("{\"a\":1}")});
    assert_true(http_op_is_connecting(c.op));
    while (c.ends == 0) {
        run(r);
    }
    snprintf(want, sizeof want,
             ":method=POST;:scheme=http;:authority=%s;:path=/p?q=1;x-a=1;content-length=7;", r->target);
    assert_string_equal(r->asks[0].head, want);
    assert_string_equal(r->asks[0].body.p, "{\"a\":1}");
    assert_int_equal(c.rc, 0);
    assert_int_equal(c.status, 200);
    assert_int_equal(c.content_length, -1);
    assert_string_equal(c.fields, "x-up=v;");
    assert_string_equal(c.body.p, "abcde");
    buf_clear(&c.body);
}

static void many_requests_share_one_connection(void **state)
{
    struct rig *r = *state;
    struct call c[80] = {0};
    for (unsigned i = 0; i < 80; i++) {
        start(r, &c[i]);
    }
    for (unsigned i = 0; i < 80; i++) {
        run_to_end(r, &c[i]);
        assert_int_equal(c[i].rc, 0);
    }
    assert_int_equal(r->peer_count, 1);
    assert_int_equal(http_origin_connections(r->origin), 1);
}

static void the_other_sides_number_of_streams_is_kept(void **state)
{
    struct rig *r = *state;
    struct call c[6] = {0};
    r->max_streams = 2;
    expect(r, &c[0], 0); /* its SETTINGS are known now */
    r->on_asked = answer_never;
    for (unsigned i = 1; i < 6; i++) {
        start(r, &c[i]);
        settle(r);
    }
    assert_int_equal(r->peer_count, 2); /* two on the first, two on a second connection, no third one */
    assert_int_equal(r->ask_count, 5);
    assert_int_equal(c[5].rc, ERR_UNAVAILABLE);
    for (unsigned i = 1; i < 5; i++) {
        http_op_cancel(c[i].op);
    }
    settle(r);
    assert_int_equal(r->asks[4].reset_code, NGHTTP2_CANCEL);
}

static void an_answer_to_head_has_no_body(void **state)
{
    struct rig *r = *state;
    struct call c = {0};
    start_request(r, &c, &(struct http_client_request){.method = STR("HEAD")});
    r->on_asked = answer_never;
    settle(r);
    answer(&r->asks[0], -1, "100");
    flush_peer(&r->peers[0]);
    run_to_end(r, &c);
    assert_int_equal(c.rc, 0);
    assert_int_equal(c.content_length, 100);
}

static void interim_answers_and_trailers_are_dropped(void **state)
{
    struct rig *r = *state;
    struct call c = {0};
    nghttp2_nv early[] = {NV(":status", "103"), NV("link", "x")};
    nghttp2_nv trailer[] = {NV("x-late", "1")};
    r->on_asked = answer_never;
    start(r, &c);
    settle(r);
    struct asked *a = &r->asks[0];
    nghttp2_submit_headers(a->peer->session, 0, a->id, NULL, early, 2, NULL);
    a->open_end = true;
    answer(a, 3, NULL);
    flush_peer(a->peer);
    settle(r);
    assert_int_equal(c.heads, 1);
    assert_int_equal(c.status, 200);
    nghttp2_submit_headers(a->peer->session, NGHTTP2_FLAG_END_STREAM, a->id, NULL, trailer, 1, NULL);
    flush_peer(a->peer);
    run_to_end(r, &c);
    assert_int_equal(c.rc, 0);
    assert_string_equal(c.fields, "x-up=v;");
}

static void a_streamed_body_waits_for_the_window(void **state)
{
    struct rig *r = *state;
    struct call c = {0};
    static char piece[40000];
    size_t given = 0;
    memset(piece, 'b', sizeof piece);
    start_request(
        r, &c, &(struct http_client_request){.method = STR("PUT"), .streaming = true, .content_length = -1});
    while (given < 50 * sizeof piece) { /* 2 MB: more than the op may ever hold */
        enum http_flow flow = http_op_send_body(c.op, piece, sizeof piece);
        given += sizeof piece;
        unsigned before = c.writables;
        while (flow == HTTP_FLOW_PAUSE && c.writables == before) {
            run(r);
        }
    }
    http_op_end_body(c.op);
    run_to_end(r, &c);
    assert_int_equal(c.rc, 0);
    assert_int_equal(r->asks[0].body.n, given);
    assert_in_range(c.writables, 20, 50);
}

/* Nobody is told to wait, and nothing of what was sent is kept: 4 MB, where an op may hold one. */
static void a_streamed_body_that_never_waits(void **state)
{
    static char piece[20000];
    struct rig *r = *state;
    struct call c = {0};
    start_request(
        r, &c, &(struct http_client_request){.method = STR("PUT"), .streaming = true, .content_length = -1});
    for (int i = 0; i < 200; i++) {
        assert_int_equal(http_op_send_body(c.op, piece, sizeof piece), HTTP_FLOW_GO);
        settle(r);
    }
    http_op_end_body(c.op);
    run_to_end(r, &c);
    assert_int_equal(c.rc, 0);
    assert_int_equal(r->asks[0].body.n, 200 * sizeof piece);
}

/* Who was told to wait is told to go on, also when he sent a little more meanwhile. */
static void a_pause_lasts_until_it_is_taken_back(void **state)
{
    static char piece[100000];
    struct rig *r = *state;
    struct call c = {0};
    r->deaf = true;
    start_request(
        r, &c, &(struct http_client_request){.method = STR("PUT"), .streaming = true, .content_length = -1});
    assert_int_equal(http_op_send_body(c.op, piece, sizeof piece), HTTP_FLOW_PAUSE);
    settle(r); /* the window of 65535 bytes is full: what waits would make nobody pause, nor lets him go on */
    assert_int_equal(c.writables, 0);
    assert_int_equal(http_op_send_body(c.op, "x", 1), HTTP_FLOW_PAUSE);
    event_add(&r->peers[0].ev, NULL);
    while (c.writables == 0) {
        run(r);
    }
    http_op_end_body(c.op);
    run_to_end(r, &c);
    assert_int_equal(c.rc, 0);
}

/* --- back pressure ------------------------------------------------------------------------------------ */

static void who_pauses_holds_up_only_himself(void **state)
{
    struct rig *r = *state;
    struct call slow = {.pause = true};
    struct call quick = {0};
    r->on_asked = answer_never;
    start(r, &slow);
    settle(r);
    answer(&r->asks[0], 3000000, NULL);
    flush_peer(&r->peers[0]);
    settle(r);
    assert_in_range(r->asks[0].sent, 1, 65536 + 32768);
    size_t stuck = r->asks[0].sent;
    r->on_asked = answer_hello;
    expect(r, &quick, 0);
    assert_int_equal(r->asks[0].sent, stuck);
    assert_in_range(slow.body.n, 1, 16384); /* after PAUSE nothing more was handed over */
    slow.resume_at_once = true;
    http_op_resume(slow.op);
    while (slow.ends == 0) {
        run(r);
    }
    assert_int_equal(slow.rc, 0);
    assert_int_equal(slow.body.n, 3000000);
    for (size_t i = 0; i < slow.body.n; i++) {
        if (slow.body.p[i] != (char)('a' + i % 26)) {
            fail_msg("byte %zu is out of order", i);
        }
    }
    assert_int_equal(slow.ends, 1);
    buf_clear(&slow.body);
}

static void an_answer_that_ends_while_paused_is_whole(void **state)
{
    struct rig *r = *state;
    struct call c = {.pause = true};
    r->on_asked = answer_never;
    start(r, &c);
    settle(r);
    r->asks[0].open_end = true;
    answer(&r->asks[0], 10, NULL);
    flush_peer(&r->peers[0]);
    settle(r);
    r->asks[0].open_end = false;
    r->asks[0].to_send = 7;
    nghttp2_session_resume_data(r->peers[0].session, r->asks[0].id);
    flush_peer(&r->peers[0]);
    settle(r);
    close_peer(&r->peers[0]); /* the answer came whole: this does not matter any more */
    settle(r);
    assert_int_equal(c.ends, 0);
    assert_int_equal(c.body.n, 10);
    c.pause = false;
    http_op_resume(c.op);
    while (c.ends == 0) {
        run(r);
    }
    assert_int_equal(c.rc, 0);
    assert_string_equal(c.body.p, "abcdefghijklmnopq");
    buf_clear(&c.body);
}

static void check_cancel_of_a_paused(struct rig *r, bool frees_origin)
{
    struct call c = {.pause = true, .free_in_data = frees_origin};
    r->on_asked = answer_never;
    start(r, &c);
    settle(r);
    answer(&r->asks[0], 20000, NULL);
    flush_peer(&r->peers[0]);
    settle(r);
    assert_int_equal(c.ends, 0);
    c.cancel_in_data = true;
    http_op_resume(c.op);
    run(r);
    settle(r);
    assert_int_equal(c.ends, 0);
    buf_clear(&c.body);
}

static void a_paused_answer_can_be_canceled_when_it_goes_on(void **state)
{
    check_cancel_of_a_paused(*state, false);
}

static void and_its_origin_freed(void **state)
{
    check_cancel_of_a_paused(*state, true);
}

/* --- cancel ------------------------------------------------------------------------------------------- */

static void check_cancel(struct rig *r, struct call *gone, bool by_hand)
{
    struct call other = {0};
    r->on_asked = answer_never;
    start(r, gone);
    start(r, &other);
    settle(r);
    r->asks[0].open_end = r->asks[1].open_end = true;
    answer(&r->asks[0], 9, NULL);
    flush_peer(&r->peers[0]);
    settle(r);
    if (by_hand) {
        http_op_cancel(gone->op);
    }
    settle(r);
    assert_true(r->asks[0].reset);
    assert_int_equal(r->asks[0].reset_code, NGHTTP2_CANCEL);
    assert_int_equal(gone->ends, 0);
    r->asks[1].open_end = false;
    answer(&r->asks[1], 4, NULL);
    flush_peer(&r->peers[0]);
    run_to_end(r, &other);
    assert_int_equal(other.rc, 0);
    assert_int_equal(r->peer_count, 1);
    buf_clear(&gone->body);
}

static void a_cancel_resets_one_stream(void **state)
{
    check_cancel(*state, &(struct call){0}, true);
}

static void a_cancel_inside_on_head(void **state)
{
    check_cancel(*state, &(struct call){.cancel_in_head = true}, false);
}

static void a_cancel_inside_on_data(void **state)
{
    check_cancel(*state, &(struct call){.cancel_in_data = true}, false);
}

static void a_cancel_before_the_connection_stands(void **state)
{
    struct rig *r = *state;
    struct call gone = {0};
    struct call other = {0};
    start(r, &gone);
    start(r, &other);
    http_op_cancel(gone.op);
    run_to_end(r, &other);
    assert_int_equal(other.rc, 0);
    assert_int_equal(gone.ends, 0);
    assert_int_equal(r->ask_count, 1);
    buf_clear(&gone.body);
}
int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_request_arrives_and_its_answer_comes_back),
        CASE(many_requests_share_one_connection),
        CASE(the_other_sides_number_of_streams_is_kept),
        CASE(an_answer_to_head_has_no_body),
        CASE(interim_answers_and_trailers_are_dropped),
        CASE(a_streamed_body_waits_for_the_window),
        CASE(a_streamed_body_that_never_waits),
        CASE(a_pause_lasts_until_it_is_taken_back),
        CASE(who_pauses_holds_up_only_himself),
        CASE(an_answer_that_ends_while_paused_is_whole),
        CASE(a_paused_answer_can_be_canceled_when_it_goes_on),
        CASE(and_its_origin_freed),
        CASE(a_cancel_resets_one_stream),
        CASE(a_cancel_inside_on_head),
        CASE(a_cancel_inside_on_data),
        CASE(a_cancel_before_the_connection_stands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
