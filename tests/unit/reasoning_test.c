/* Reasoning apart from content, by text and by token, whatever the pieces. */
#include "tests/unit/unit.h"

#include "inference/worker/reasoning.h"

enum { OPEN = 7, CLOSE = 8 };

struct split {
    struct reasoning r;
    struct buf thought;
    struct buf content;
};

static void begin(struct split *s, enum reasoning_state state, bool by_token)
{
    buf_init(&s->thought, 1000);
    buf_init(&s->content, 1000);
    reasoning_init(&s->r, state, by_token ? OPEN : TOKEN_NONE, by_token ? CLOSE : TOKEN_NONE);
}

static struct reasoning_out outputs(struct split *s)
{
    return (struct reasoning_out){&s->thought, &s->content};
}

static void expect(struct split *s, const char *thought, const char *content)
{
    reasoning_finish(&s->r, outputs(s));
    assert_true(str_is(buf_str(&s->thought), thought));
    assert_true(str_is(buf_str(&s->content), content));
    reasoning_clear(&s->r);
    buf_clear(&s->thought);
    buf_clear(&s->content);
}

/* The same text in pieces of every size gives the same split. */
static void expect_text(enum reasoning_state state, const char *text, const char *thought,
                        const char *content)
{
    for (size_t size = 1; size <= strlen(text); size++) {
        struct split s;
        begin(&s, state, false);
        for (struct str rest = str_from(text); rest.n;) {
            size_t n = size < rest.n ? size : rest.n;
            reasoning_push(&s.r, str_of(rest.p, n), outputs(&s));
            rest = str_skip(rest, n);
        }
        expect(&s, thought, content);
    }
}

static void by_text(void **state)
{
    expect_text(REASONING_WAITS, "<think>\nwhy\n\nnot\n</think>\n\nyes\n", "why\n\nnot", "yes\n");
    expect_text(REASONING_WAITS, "\n<think></think>yes", "", "yes");
    expect_text(REASONING_WAITS, "plain <think>a</think>", "", "plain <think>a</think>");
    expect_text(REASONING_WAITS, "<thin", "", "<thin");
    expect_text(REASONING_WAITS, "<thing>", "", "<thing>");
    expect_text(REASONING_INSIDE, "why </thin </think>\nyes </think> <think>", "why </thin ",
                "yes </think> <think>");
    expect_text(REASONING_INSIDE, "never ends </th", "never ends </th", "");
    expect_text(REASONING_INSIDE, "<</think>x", "<", "x");
    expect_text(REASONING_AFTER, "\n<think>a</think>", "", "\n<think>a</think>");
}

static void shows_as_soon_as_it_can(void **state)
{
    struct split s;
    begin(&s, REASONING_INSIDE, false);
    reasoning_push(&s.r, STR("\nab</"), outputs(&s));
    assert_true(str_is(buf_str(&s.thought), "ab"));
    reasoning_push(&s.r, STR("b>\n"), outputs(&s));
    assert_true(str_is(buf_str(&s.thought), "ab</b>"));
    reasoning_push(&s.r, STR("c"), outputs(&s));
    assert_true(str_is(buf_str(&s.thought), "ab</b>\nc"));
    expect(&s, "ab</b>\nc", "");
}

static void by_token(void **state)
{
    struct split s;
    begin(&s, REASONING_WAITS, true);
    assert_false(reasoning_is_tag(&s.r, CLOSE));
    assert_true(reasoning_is_tag(&s.r, OPEN));
    reasoning_turn(&s.r, outputs(&s));
    reasoning_push(&s.r, STR("\nit says </think> in text\n"), outputs(&s));
    assert_false(reasoning_is_tag(&s.r, OPEN));
    assert_true(reasoning_is_tag(&s.r, CLOSE));
    reasoning_turn(&s.r, outputs(&s));
    reasoning_push(&s.r, STR("\n"), outputs(&s));
    reasoning_push(&s.r, STR("\nyes"), outputs(&s));
    assert_false(reasoning_is_tag(&s.r, OPEN) || reasoning_is_tag(&s.r, CLOSE));
    expect(&s, "it says </think> in text", "yes");
    begin(&s, REASONING_WAITS, true);
    reasoning_push(&s.r, STR("hello"), outputs(&s));
    assert_false(reasoning_is_tag(&s.r, OPEN)); /* too late */
    expect(&s, "", "hello");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_text),
        cmocka_unit_test(shows_as_soon_as_it_can),
        cmocka_unit_test(by_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
