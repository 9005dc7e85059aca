/* Requests read beside the loop: each comes back once, the shortest first, and those whose client has left do not. */
#include "tests/unit/gguf_builder.h"

#include <unistd.h>

#include "base/loop.h"
#include "inference/worker/intake.h"

enum { ASKED = 4, MOST = 8, LONG_TEXT = 200000, TRIES = 60 };

static struct gguf *file;
static struct tokenizer *tokenizer;

struct rig {
    struct loop *loop;
    struct intake *intake;
    struct loop_timer guard;
    struct http_exchange ex[MOST];
    struct http_exchange *order[MOST];
    struct intake_result seen[MOST]; /* by ex; numbers only */
    unsigned done;
    unsigned wanted;
};

static struct rig rig;

static void on_guard(void *arg)
{
    fail_msg("not read");
}

static int setup(void **state)
{
    memset(&rig, 0, sizeof rig);
    rig.loop = loop_new("test", 0);
    loop_timer_init(rig.loop, &rig.guard, on_guard, NULL);
    return intake_new(rig.loop, &rig.intake, NULL);
}

static int teardown(void **state)
{
    intake_free(rig.intake);
    loop_timer_disarm(&rig.guard);
    loop_free(rig.loop);
    return 0;
}

static void on_read(struct http_exchange *ex, struct intake_result *r)
{
    assert_ptr_equal(ex->user, &rig);
    assert_null(ex->on_finish);
    rig.order[rig.done++] = ex;
    rig.seen[ex - rig.ex] = *r;
    if (rig.done == rig.wanted) {
        loop_stop(rig.loop);
    }
}

static void ask_for(uint64_t payer, unsigned i, enum intake_kind kind, struct str body)
{
    const struct openai_context c = {.tokenizer = tokenizer, .model = STR("tiny"), .context = 100};
    rig.ex[i].user = &rig;
    intake_read(rig.intake, &rig.ex[i], payer, kind, body, &c, on_read);
}

static void ask(unsigned i, enum intake_kind kind, struct str body)
{
    ask_for(0, i, kind, body);
}

static void wait_for(unsigned wanted)
{
    rig.wanted = wanted;
    loop_timer_arm(&rig.guard, 60000);
    loop_run(rig.loop);
}

/* {"prompt":"hellhell..."}, of n bytes of text. */
static struct buf long_body(size_t n)
{
    struct buf b;
    buf_init(&b, n + 100);
    buf_add_cstr(&b, "{\"prompt\":\"");
    for (size_t i = 0; i < n; i += 4) {
        buf_add_cstr(&b, "hell");
    }
    buf_add_cstr(&b, "\"}");
    return b;
}

static void each_kind_comes_back_read(void **state)
{
    char body[] = "{\"prompt\":\"hello\",\"max_tokens\":7}";
    ask(0, INTAKE_COMPLETION, str_from(body));
    memset(body, 'x', sizeof body); /* it was copied */
    ask(1, INTAKE_TOKENS, STR("{\"prompt\":\"hello\"}"));
    ask(2, INTAKE_CHAT, STR("{\"messages\":[]}"));
    ask(3, INTAKE_COMPLETION, STR("{\"prompt\":7}"));
    wait_for(4);
    assert_int_equal(rig.seen[0].rc, 0);
    assert_int_equal(rig.seen[0].request.max_tokens, 7);
    assert_int_equal(rig.seen[0].request.prompt.n, 2);
    assert_int_equal(rig.seen[1].rc, 0);
    assert_int_equal(rig.seen[1].tokens.n, 2);
    assert_int_equal(rig.seen[2].rc, ERR_INVALID);
    assert_int_equal(rig.seen[3].rc, ERR_INVALID);
    assert_string_equal(rig.seen[3].fault.param, "prompt");
}

/* Whether the thread is at the first one when the others come is not ours to say: they come later and later until it was. */
static void the_shortest_goes_first(void **state)
{
    struct buf first = long_body(LONG_TEXT);
    struct buf middle = long_body(100);
    bool in_order = false;
    for (unsigned i = 0; i < TRIES && !in_order; i++) {
        rig.done = 0;
        ask(0, INTAKE_TOKENS, buf_str(&first));
        usleep(i * 500);
        ask(1, INTAKE_TOKENS, buf_str(&first));
        ask(2, INTAKE_TOKENS, buf_str(&middle));
        ask(3, INTAKE_TOKENS, STR("{\"prompt\":\"he\"}"));
        wait_for(4);
        in_order = rig.order[0] == &rig.ex[0] && rig.order[1] == &rig.ex[3] && rig.order[2] == &rig.ex[2];
        assert_int_equal(rig.seen[1].tokens.n, LONG_TEXT / 4);
    }
    assert_true(in_order);
    buf_clear(&first);
    buf_clear(&middle);
}

/* A short one is asked for each that comes back, so that some always wait: the long one is not last for ever. */
enum { SHORT_TEXT = 8000, SHORTS = 60 };

static struct buf short_text;
static unsigned shorts;

static void on_short_read(struct http_exchange *ex, struct intake_result *r)
{
    const struct openai_context c = {.tokenizer = tokenizer, .model = STR("tiny"), .context = 100};
    if (ex == &rig.ex[0] || shorts == SHORTS) {
        loop_stop(rig.loop);
        return;
    }
    shorts++;
    ex->user = &rig;
    intake_read(rig.intake, ex, 0, INTAKE_TOKENS, buf_str(&short_text), &c, on_short_read);
}

static void those_who_come_later_do_not_pass_for_ever(void **state)
{
    struct buf text = long_body((size_t)5 * SHORT_TEXT);
    short_text = long_body(SHORT_TEXT);
    shorts = 0;
    for (unsigned i = 1; i < ASKED; i++) {
        on_short_read(&rig.ex[i], NULL);
    }
    const struct openai_context c = {.tokenizer = tokenizer, .model = STR("tiny"), .context = 100};
    rig.ex[0].user = &rig;
    intake_read(rig.intake, &rig.ex[0], 0, INTAKE_TOKENS, buf_str(&text), &c, on_short_read);
    loop_timer_arm(&rig.guard, 60000);
    loop_run(rig.loop);
    assert_true(shorts < SHORTS / 2);
    for (unsigned i = 0; i < ASKED; i++) { /* who still waits, leaves */
        if (rig.ex[i].on_finish) {
            rig.ex[i].on_finish(&rig.ex[i], HTTP_FINISH_CLIENT_GONE);
        }
    }
    buf_clear(&text);
    buf_clear(&short_text);
}

/* Two payers always have three texts here each. Who comes after a long while waits for what is there, not for as much as
 * was served before. */
enum { BUSY = 6, BEFORE = 30, AFTER = 12 };

static void on_busy_read(struct http_exchange *ex, struct intake_result *r)
{
    const struct openai_context c = {.tokenizer = tokenizer, .model = STR("tiny"), .context = 100};
    if (ex == &rig.ex[0] || shorts == BEFORE + SHORTS) {
        loop_stop(rig.loop);
        return;
    }
    ex->user = &rig;
    intake_read(rig.intake, ex, 7 + (uint64_t)(ex - rig.ex) % 2, INTAKE_TOKENS, buf_str(&short_text), &c,
                on_busy_read);
    if (++shorts == BUSY + BEFORE) {
        rig.ex[0].user = &rig;
        intake_read(rig.intake, &rig.ex[0], 9, INTAKE_TOKENS, STR("{\"prompt\":\"he\"}"), &c, on_busy_read);
    }
}

static void a_long_backlog_passes_nobody(void **state)
{
    short_text = long_body(SHORT_TEXT);
    shorts = 0;
    for (unsigned i = 1; i <= BUSY; i++) {
        on_busy_read(&rig.ex[i], NULL);
    }
    loop_timer_arm(&rig.guard, 60000);
    loop_run(rig.loop);
    assert_true(shorts >= BUSY + BEFORE);
    assert_true(shorts < BUSY + BEFORE + AFTER);
    for (unsigned i = 1; i <= BUSY; i++) { /* who still waits, leaves */
        if (rig.ex[i].on_finish) {
            rig.ex[i].on_finish(&rig.ex[i], HTTP_FINISH_CLIENT_GONE);
        }
    }
    buf_clear(&short_text);
}

/* Somebody's few words come when the first of one payer's many long texts has been read: they wait for the one that is
 * in work by then, not for all that came before. On a slow machine a few more may have been read meanwhile. */
static struct buf long_text;

static void on_first_read(struct http_exchange *ex, struct intake_result *r)
{
    usleep(5000); /* the next one is in work */
    ask_for(8, MOST - 1, INTAKE_TOKENS, STR("{\"prompt\":\"he\"}"));
    on_read(ex, r);
}

static void one_payer_waits_for_himself(void **state)
{
    const struct openai_context c = {.tokenizer = tokenizer, .model = STR("tiny"), .context = 100};
    long_text = long_body(LONG_TEXT);
    rig.ex[0].user = &rig;
    intake_read(rig.intake, &rig.ex[0], 7, INTAKE_TOKENS, buf_str(&long_text), &c, on_first_read);
    for (unsigned i = 1; i < MOST - 1; i++) {
        ask_for(7, i, INTAKE_TOKENS, buf_str(&long_text));
    }
    wait_for(MOST);
    unsigned theirs = 0;
    for (unsigned i = 0; i < MOST && rig.order[i] != &rig.ex[MOST - 1]; i++) {
        assert_ptr_equal(rig.order[i], &rig.ex[theirs++]); /* and his come in their order */
    }
    assert_in_range(theirs, 1, MOST - 2);
    buf_clear(&long_text);
}

/* He waits behind what he has waiting, not behind what he took back. */
static void what_is_taken_back_takes_no_turn(void **state)
{
    enum { HIS = MOST - 2, ANOTHERS = MOST - 1 };
    struct buf half = long_body(LONG_TEXT / 2);
    long_text = long_body(LONG_TEXT);
    ask_for(9, 0, INTAKE_TOKENS, buf_str(&long_text)); /* it keeps the thread busy */
    for (unsigned i = 1; i < HIS; i++) {
        ask_for(7, i, INTAKE_TOKENS, buf_str(&long_text));
    }
    for (unsigned i = 1; i < HIS; i++) {
        rig.ex[i].on_finish(&rig.ex[i], HTTP_FINISH_CLIENT_GONE);
    }
    ask_for(7, HIS, INTAKE_TOKENS, STR("{\"prompt\":\"he\"}"));
    ask_for(8, ANOTHERS, INTAKE_TOKENS, buf_str(&half));
    wait_for(3);
    bool is_his_first = rig.order[0] == &rig.ex[HIS] || rig.order[2] == &rig.ex[ANOTHERS];
    assert_true(is_his_first); /* whether the first of all was in work when they came, or not */
    buf_clear(&long_text);
    buf_clear(&half);
}

static void whoever_has_left_hears_nothing(void **state)
{
    struct buf first = long_body(LONG_TEXT);
    ask(0, INTAKE_TOKENS, buf_str(&first));
    ask(1, INTAKE_TOKENS, buf_str(&first));
    ask(2, INTAKE_TOKENS, buf_str(&first));
    rig.ex[0].on_finish(&rig.ex[0], HTTP_FINISH_CLIENT_GONE);
    rig.ex[2].on_finish(&rig.ex[2], HTTP_FINISH_CLIENT_GONE);
    wait_for(1);
    assert_ptr_equal(rig.order[0], &rig.ex[1]);
    ask(3, INTAKE_TOKENS, buf_str(&first)); /* and it goes with work left */
    rig.ex[3].on_finish(&rig.ex[3], HTTP_FINISH_DRAINED);
    buf_clear(&first);
}

static int make(void **state)
{
    if (temp_make(state) || gguf_open(write_tiny_model("tiny.gguf"), &file, NULL)) {
        return -1;
    }
    return tokenizer_new(file, &tokenizer, NULL);
}

static int drop(void **state)
{
    tokenizer_free(tokenizer);
    gguf_close(file);
    return temp_remove(state);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(each_kind_comes_back_read),
        CASE(the_shortest_goes_first),
        CASE(those_who_come_later_do_not_pass_for_ever),
        CASE(a_long_backlog_passes_nobody),
        CASE(one_payer_waits_for_himself),
        CASE(what_is_taken_back_takes_no_turn),
        CASE(whoever_has_left_hears_nothing),
    };
    return cmocka_run_group_tests(tests, make, drop);
}
