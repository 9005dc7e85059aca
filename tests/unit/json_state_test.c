/* The grammar of JSON answers, byte by byte: what base/json takes and what it refuses, and every cut of both. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "inference/worker/json_state.h"

/* How many bytes are taken; the state after them. */
static size_t push_all(const char *text, size_t n, struct json_state *s)
{
    *s = (struct json_state){0};
    for (size_t i = 0; i < n; i++) {
        if (!json_state_push(s, (uint8_t)text[i])) {
            return i;
        }
    }
    return n;
}

static bool is_whole(const char *text, size_t n)
{
    struct json_state s;
    return push_all(text, n, &s) == n && s.place == JSON_AT_DONE;
}

static const char *const good[] = {
    "{}",
    " { } ",
    "{\"a\":1}",
    "{\"a\" : [ ] , \"b\":{}}",
    "{\"a\":[1,-2.5e+10,0,0.1,1E5,true,false,null,\"x\",[[]],{\"k\":{}}]}",
    "{\"\\u00e9\\n\\\"\\/\":\"\xC3\xA9\xE4\xB8\xAD\xF0\x9F\x98\x80\xEE\x80\x80\"}",
    "{\"\\uD7FF\\uE000\":0}",
};

static const char *const bad[] = {
    "",
    "[]",
    "1",
    "\"a\"",
    "{\"a\"}",
    "{\"a\":}",
    "{\"a\":1,}",
    "{,}",
    "{\"a\":01}",
    "{\"a\":+1}",
    "{\"a\":.5}",
    "{\"a\":1.}",
    "{\"a\":1e}",
    "{\"a\":tru}",
    "{a:1}",
    "{\"a\":'b'}",
    "{\"a\":1]",
    "{\"a\":[1}",
    "{\"a\":[1,]}",
    "{}}",
    "{\"a\":truee}",
    "{\"a\":\"\t\"}",
    "{\"a\":\"\\x\"}",
    "{\"a\":\"\\u12\"}",
    "{\"a\":\"\\ud800\"}",
    "{\"a\":\"\xC0\x80\"}",
    "{\"a\":\"\xE0\x80\x80\"}",
    "{\"a\":\"\xED\xA0\x80\"}",
    "{\"a\":\"\xF4\x90\x80\x80\"}",
    "{\"a\":\"\x80\"}",
    "{\"a\":nul1}",
    "{\"a\" 1}",
    "{\"a\":1 2}",
};

static void whole_texts(void **state)
{
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        if (!is_whole(good[i], strlen(good[i]))) {
            fail_msg("refused: %s", good[i]);
        }
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (is_whole(bad[i], strlen(bad[i]))) {
            fail_msg("taken: %s", bad[i]);
        }
    }
}

static void no_part_of_a_text_is_whole(void **state)
{
    struct json_state s;
    const char *text = good[4];
    for (size_t n = 0; n < strlen(text); n++) {
        assert_int_equal(push_all(text, n, &s), n);
        assert_int_not_equal(s.place, JSON_AT_DONE);
    }
}

static void nesting_ends(void **state)
{
    struct json_state s;
    char text[200] = "{\"a\":";
    size_t n = strlen(text);
    memset(text + n, '[', 100);
    assert_int_equal(push_all(text, n + 100, &s), n + JSON_STATE_DEPTH - 1);
}

enum { RANDOM_TEXTS = 200000 };

/* Random texts near the grammar: whatever ends whole here, base/json takes too. */
static void what_is_whole_base_json_takes(void **state)
{
    static const char *const parts[] = {"{",    "}",    "[",     "]",      ",",    ":",    "\"",   "\\", "u",
                                        "0",    "1",    "-",     ".",      "e",    "true", "null", " ",  "a",
                                        "\xC3", "\xA9", "\"a\"", "\"b\":", "00e9", "\n",   "5}"};
    static const struct json_limits limits = {
        .max_depth = 80, .max_members = 1000, .max_items = 1000, .max_string = 1000};
    struct arena arena;
    unsigned whole = 0;
    srand(11);
    for (unsigned i = 0; i < RANDOM_TEXTS; i++) {
        char text[400] = "{";
        struct json_state s;
        size_t n = 1;
        for (unsigned k = 0; k < 20; k++) {
            const char *part = parts[(size_t)rand() % (sizeof parts / sizeof *parts)];
            snprintf(text + n, sizeof text - n, "%s", part);
            if (push_all(text, n + strlen(part), &s) == n + strlen(part)) {
                n += strlen(part); /* else it cannot follow: the next one is tried in its place */
            }
        }
        text[n] = '\0';
        if (is_whole(text, strlen(text))) {
            struct json_doc doc;
            struct err err;
            arena_init(&arena);
            int rc = json_scan(&arena, str_from(text), &limits, &doc, &err);
            if (rc && !strstr(err.msg, "twice") && !strstr(err.msg, "duplicate")) {
                fail_msg("%s: %s", text, err.msg);
            }
            whole++;
            arena_clear(&arena);
        }
    }
    assert_true(whole > RANDOM_TEXTS / 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_texts),
        cmocka_unit_test(no_part_of_a_text_is_whole),
        cmocka_unit_test(nesting_ends),
        cmocka_unit_test(what_is_whole_base_json_takes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
