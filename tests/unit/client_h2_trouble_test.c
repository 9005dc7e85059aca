/* The client over HTTP/2 when the other side refuses, breaks the protocol, dies or falls silent. */
#include "tests/unit/h2_server.h"

/* --- trouble ------------------------------------------------------------------------------------------ */

static void check_bytes(void **state, const char *bytes, size_t n, int rc, const char *words)
{
    struct rig *r = *state;
    struct call c = {0};
    r->bytes = bytes;
    r->bytes_n = n;
    expect(r, &c, rc);
    assert_non_null(strstr(c.err.msg, words));
    assert_int_equal(http_origin_connections(r->origin), 0);
}

static void garbage_is_told_as_such(void **state)
{
    static const char http1[] = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
    static const char noise[] = "\xff\xfe\x01\x02 this is no frame of any kind whatsoever, and it goes on";
    static const char odd[] = "\0\0\1\0\0\0\0\0\1x";                     /* DATA before SETTINGS */
    static const char odd_settings[] = "\0\0\5\4\0\0\0\0\0hello";        /* no multiple of six */
    static const char data0[] = "\0\0\0\4\0\0\0\0\0\0\0\1\0\0\0\0\0\0z"; /* DATA on stream 0 */
    const struct {
        const char *p;
        size_t n;
        const char *words;
    } vectors[] = {{http1, sizeof http1 - 1, "HTTP/1.1"},
                   {noise, sizeof noise - 1, "broke HTTP/2"},
                   {odd, sizeof odd - 1, "broke HTTP/2"},
                   {odd_settings, sizeof odd_settings - 1, "broke HTTP/2"},
                   {data0, sizeof data0 - 1, "broke HTTP/2"}};
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        check_bytes(state, vectors[i].p, vectors[i].n, ERR_PROTOCOL, vectors[i].words);
        teardown(state);
        setup(state);
    }
}

static void answer_short(struct rig *r, struct asked *a)
{
    answer(a, 5, "9");
}

static void answer_huge_head(struct rig *r, struct asked *a)
{
    static char big[12000];
    memset(big, 'v', sizeof big - 1);
    nghttp2_nv nv[] = {NV(":status", "200"), NV("x-1", big), NV("x-2", big), NV("x-3", big), NV("x-4", big)};
    assert_int_equal(nghttp2_submit_response(a->peer->session, a->id, nv, 5, NULL), 0);
}

static void lengths_must_agree(void **state)
{
    struct rig *r = *state;
    struct call c = {0};
    r->on_asked = answer_short;
    expect(r, &c, ERR_PROTOCOL);
    r->on_asked = answer_hello;
    struct call next = {0};
    expect(r, &next, 0);
    assert_int_equal(r->peer_count, 1); /* it cost the stream, not the connection */
}

static void a_long_head_is_refused(void **state)
{
    struct rig *r = *state;
    struct call c = {0};
    r->on_asked = answer_huge_head;
    expect(r, &c, ERR_LIMIT);
    assert_int_equal(c.heads, 0);
}

static void refuse_first(struct rig *r, struct asked *a)
{
    if (r->ask_count == 1) {
        nghttp2_submit_rst_stream(a->peer->session, 0, a->id, NGHTTP2_REFUSED_STREAM);
    } else {
        answer(a, 5, NULL);
    }
}

static void goaway_first(struct rig *r, struct asked *a)
{
    if (r->ask_count == 1) {
        nghttp2_submit_goaway(a->peer->session, 0, 0, NGHTTP2_NO_ERROR, NULL, 0);
    } else {
        answer(a, 5, NULL);
    }
}

static void check_untouched(struct rig *r, void (*script)(struct rig *, struct asked *), unsigned peers)
{
    struct call c = {0};
    r->on_asked = script;
    start_request(r, &c,
                  &(struct http_client_request){.method = STR("POST"), .body = STR("{}"), .once = true});
    run_to_end(r, &c);
    assert_string_equal(c.err.msg, "");
    assert_int_equal(c.rc, 0);
    assert_int_equal(r->ask_count, 2);
    assert_string_equal(r->asks[1].body.p, "{}");
    assert_int_equal(r->peer_count, peers);
}

static void what_was_refused_is_sent_again(void **state)
{
    check_untouched(*state, refuse_first, 1);
}

static void what_a_goaway_left_out_goes_to_another_connection(void **state)
{
    check_untouched(*state, goaway_first, 2);
}

static void a_draining_connection_ends_what_runs(void **state)
{
    struct rig *r = *state;
    struct call running = {0};
    struct call next = {0};
    r->on_asked = answer_never;
    start(r, &running);
    settle(r);
    nghttp2_submit_goaway(r->peers[0].session, 0, r->asks[0].id, NGHTTP2_NO_ERROR, NULL, 0);
    flush_peer(&r->peers[0]);
    settle(r);
    r->on_asked = answer_hello;
    expect(r, &next, 0);
    assert_int_equal(r->peer_count, 2);
    assert_int_equal(http_origin_connections(r->origin), 2);
    answer(&r->asks[0], 6, NULL);
    flush_peer(&r->peers[0]);
    run_to_end(r, &running);
    assert_int_equal(running.rc, 0);
    settle(r);
    assert_int_equal(http_origin_connections(r->origin), 1);
}

static void reset_it(struct rig *r, struct asked *a)
{
    nghttp2_submit_rst_stream(a->peer->session, 0, a->id, NGHTTP2_INTERNAL_ERROR);
}

static void a_reset_ends_one_answer(void **state)
{
    struct rig *r = *state;
    struct call c = {0};
    r->on_asked = reset_it;
    expect(r, &c, ERR_CLOSED);
    assert_non_null(strstr(c.err.msg, "INTERNAL_ERROR"));
    assert_int_equal(http_origin_connections(r->origin), 1);
}

static void die_first_time(struct rig *r, struct asked *a)
{
    if (r->ask_count == 2) {
        close_peer(a->peer);
    } else {
        answer(a, 5, NULL);
    }
}

static void check_death(struct rig *r, bool once, int rc)
{
    struct call first = {0};
    struct call c = {0};
    expect(r, &first, 0);
    r->on_asked = die_first_time;
    start_request(r, &c,
                  &(struct http_client_request){.method = STR("POST"), .body = STR("{}"), .once = once});
    run_to_end(r, &c);
    assert_int_equal(c.rc, rc);
    assert_int_equal(r->ask_count, once ? 2 : 3);
}

static void a_connection_that_dies_unanswered_is_replaced_once(void **state)
{
    check_death(*state, false, 0);
}

static void but_not_for_what_must_not_be_done_twice(void **state)
{
    check_death(*state, true, ERR_CLOSED);
}

static void die_half_way(struct rig *r, struct asked *a)
{
    a->open_end = true;
    answer(a, 3, NULL);
    flush_peer(a->peer);
    close_peer(a->peer);
}

static void a_death_within_an_answer_is_an_error(void **state)
{
    struct rig *r = *state;
    struct call first = {0};
    struct call c = {0};
    expect(r, &first, 0);
    r->on_asked = die_half_way;
    expect(r, &c, ERR_CLOSED);
    assert_int_equal(c.heads, 1);
    assert_int_equal(r->ask_count, 2);
}

static void nobody_listens(void **state)
{
    struct rig *r = *state;
    struct call c[2] = {0};
    event_del(&r->ev);
    close(r->fd);
    r->fd = socket(AF_INET, SOCK_STREAM, 0);
    start(r, &c[0]);
    start(r, &c[1]);
    for (unsigned i = 0; i < 2; i++) {
        run_to_end(r, &c[i]);
        assert_int_equal(c[i].rc, ERR_UNAVAILABLE);
    }
    assert_int_equal(http_origin_connections(r->origin), 0);
}

/* --- time --------------------------------------------------------------------------------------------- */

static void silence_ends_in_time(void **state)
{
    struct rig *r = *state;
    struct call none = {0};
    struct call half = {0};
    r->on_asked = answer_never;
    start_request(r, &none, &(struct http_client_request){.method = STR("GET"), .head_ms = 60});
    run_to_end(r, &none);
    assert_int_equal(none.rc, ERR_TIMEOUT);
    assert_non_null(strstr(none.err.msg, "no answer"));
    settle(r);
    assert_int_equal(r->asks[0].reset_code, NGHTTP2_CANCEL);
    start_request(r, &half, &(struct http_client_request){.method = STR("GET"), .idle_ms = 60});
    settle(r);
    r->asks[1].open_end = true;
    answer(&r->asks[1], 4, NULL);
    flush_peer(&r->peers[0]);
    run_to_end(r, &half);
    assert_int_equal(half.rc, ERR_TIMEOUT);
    assert_non_null(strstr(half.err.msg, "the answer stopped"));
}

static void who_gives_no_sign_of_life_is_given_up(void **state)
{
    struct rig *r = *state;
    struct call c = {0};
    r->deaf = true;
    start_request(r, &c,
                  &(struct http_client_request){.method = STR("POST"), .body = STR("{}"), .once = true});
    run_to_end(r, &c);
    assert_int_equal(c.rc, ERR_CLOSED);
    assert_non_null(strstr(c.err.msg, "no sign of life"));
}

static void who_answers_pings_may_think(void **state)
{
    struct rig *r = *state;
    struct call c = {0};
    r->on_asked = answer_never;
    start_request(r, &c, &(struct http_client_request){.method = STR("GET"), .head_ms = 250});
    run_to_end(r, &c);
    assert_int_equal(c.rc,
                     ERR_TIMEOUT); /* of the answer, after several times of patience with the connection */
}

static void freeing_the_origin_says_goodbye(void **state)
{
    struct rig *r = *state;
    struct call c = {0};
    expect(r, &c, 0);
    http_origin_free(r->origin);
    r->origin = NULL;
    settle(r);
    assert_true(r->peers[0].got_goaway);
    assert_int_equal(r->peers[0].fd, -1);
}
int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(garbage_is_told_as_such),
        CASE(lengths_must_agree),
        CASE(a_long_head_is_refused),
        CASE(what_was_refused_is_sent_again),
        CASE(what_a_goaway_left_out_goes_to_another_connection),
        CASE(a_draining_connection_ends_what_runs),
        CASE(a_reset_ends_one_answer),
        CASE(a_connection_that_dies_unanswered_is_replaced_once),
        CASE(but_not_for_what_must_not_be_done_twice),
        CASE(a_death_within_an_answer_is_an_error),
        CASE(nobody_listens),
        CASE(silence_ends_in_time),
        CASE(who_gives_no_sign_of_life_is_given_up),
        CASE(who_answers_pings_may_think),
        CASE(freeing_the_origin_says_goodbye),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
