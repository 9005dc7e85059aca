/* Stop strings across token borders and UTF-8 that arrives in pieces. */
#include "tests/unit/unit.h"

#include "inference/worker/stopper.h"

/* Pushes each piece; the shown text up to there must be `shown[i]`. Returns the last answer. */
static bool push_all(struct stopper *s, struct buf *out, const char *const *pieces, const char *const *shown)
{
    bool stopped = false;
    for (unsigned i = 0; pieces[i] && !stopped; i++) {
        stopped = stopper_push(s, str_from(pieces[i]), out);
        assert_string_equal(out->p, shown[i]);
    }
    return stopped;
}

static void check(const char *const *stops, const char *const *pieces, const char *const *shown,
                  bool expected, const char *at_end)
{
    struct str list[4];
    unsigned n = 0;
    struct stopper s;
    struct buf out;
    while (stops[n]) {
        list[n] = str_from(stops[n]);
        n++;
    }
    stopper_init(&s, list, n);
    buf_init(&out, 1000);
    assert_int_equal(push_all(&s, &out, pieces, shown), expected);
    if (!expected) {
        stopper_finish(&s, &out);
    }
    assert_string_equal(out.p, at_end);
    stopper_clear(&s);
    buf_clear(&out);
}

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})
#define NOTHING ((const char *const[]){NULL})

static void stop_strings(void **state)
{
    check(LIST("END"), LIST("abcENDdef"), LIST("abc"), true, "abc");
    check(LIST("END"), LIST("abE", "N", "Dx"), LIST("ab", "ab", "ab"), true, "ab");
    check(LIST("END"), LIST("abE", "N", "x"), LIST("ab", "ab", "abENx"), false, "abENx");
    check(LIST("END"), LIST("EEN", "EN"), LIST("E", "EEN"), false, "EENEN");
    check(LIST("aab"), LIST("a", "a", "a", "b"), LIST("", "", "a", "a"), true, "a");
    check(LIST("long one", "ng"), LIST("lo", "ng"), LIST("", "lo"), true, "lo");
    check(LIST("\n\n"), LIST("a\n", "b\n", "\nc"), LIST("a", "a\nb", "a\nb"), true, "a\nb");
    check(LIST("x"), LIST("abc"), LIST("abc"), false, "abc");
    check(LIST("END"), LIST("abcEN"), LIST("abc"), false, "abcEN");
    check(LIST("\xC3\xA9t"), LIST("\xC3", "\xA9", "t"), LIST("", "", ""), true, "");
}

static void pieces_of_utf8(void **state)
{
    check(NOTHING, LIST("\xE4", "\xBD", "\xA0!"), LIST("", "", "\xE4\xBD\xA0!"), false, "\xE4\xBD\xA0!");
    check(NOTHING, LIST("\xF0\x9F", "\x98\x80"), LIST("", "\xF0\x9F\x98\x80"), false, "\xF0\x9F\x98\x80");
    check(NOTHING, LIST("a\xF0\x9F"), LIST("a"), false, "a\xEF\xBF\xBD");
    check(NOTHING,
          LIST("\xFF"
               "a"),
          LIST("\xEF\xBF\xBD"
               "a"),
          false,
          "\xEF\xBF\xBD"
          "a");
    check(NOTHING, LIST("\x80"), LIST("\xEF\xBF\xBD"), false, "\xEF\xBF\xBD");
    check(NOTHING,
          LIST("\xE4"
               "A"),
          LIST("\xEF\xBF\xBD"
               "A"),
          false,
          "\xEF\xBF\xBD"
          "A");
    check(NOTHING, LIST("\xC3\xC3\xA9"), LIST("\xEF\xBF\xBD\xC3\xA9"), false, "\xEF\xBF\xBD\xC3\xA9");
    check(NOTHING, LIST("\xED\xA0\x80"), LIST("\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"), false,
          "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"); /* a surrogate */
}

static void any_bytes_give_utf8(void **state)
{
    uint64_t r = 12345;
    for (unsigned round = 0; round < 2000; round++) {
        struct stopper s;
        struct buf out;
        struct str stop = STR("\x41\x42");
        stopper_init(&s, &stop, 1);
        buf_init(&out, 1000);
        for (unsigned i = 0; i < 20; i++) {
            r = r * 6364136223846793005ULL + 1442695040888963407ULL;
            char byte = (char)(r >> 56);
            if (stopper_push(&s, str_of(&byte, 1), &out)) {
                break;
            }
        }
        stopper_finish(&s, &out);
        assert_true(str_is_utf8(buf_str(&out)));
        stopper_clear(&s);
        buf_clear(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stop_strings),
        cmocka_unit_test(pieces_of_utf8),
        cmocka_unit_test(any_bytes_give_utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
