/* The table of verbs and options: its rows are whole, and what help, manual and examples say can be typed. */
#include "gateway/ctl/verbs.h"

#include <stdlib.h>
#include <wordexp.h>

#include "tests/unit/unit.h"

static bool see_row(void *arg, const struct ctl_verb *v)
{
    unsigned *rows = arg;
    struct str list = str_from(v->options);
    struct str word;
    (*rows)++;
    assert_non_null(v->run);
    assert_non_null(v->summary);
    assert_true(strlen(v->summary) <= 64);
    assert_true(v->summary[strlen(v->summary) - 1] != '.');
    while (ctl_next_word(&list, &word)) {
        word.n -= str_ends(word, STR("!")) ? 1 : 0;
        const struct ctl_option *o = ctl_option_find(word);
        if (o == NULL || o->is_everywhere) {
            fail_msg("%s: option " STR_FMT, v->words, STR_ARG(word));
        }
    }
    return true;
}

static void rows_are_whole(void **state)
{
    unsigned rows = 0;
    ctl_verbs_walk(see_row, &rows);
    assert_true(rows > 20);
}

static void options_are_told_apart(void **state)
{
    unsigned n = 0;
    for (const struct ctl_option *o = ctl_options; o->name != NULL; o++, n++) {
        assert_ptr_equal(ctl_option_find(str_from(o->name)), o);
        assert_ptr_equal(o->letter != 0 ? ctl_option_by_letter(o->letter) : o, o);
        assert_true((o->value == NULL) == (o->type == CTL_SWITCH));
        for (const struct ctl_option *other = ctl_options; other < o; other++) {
            assert_true(other->at != o->at);
        }
    }
    assert_true(n < CTL_OPTIONS_MAX);
}

/* Is it every verb's, or does some row name it? */
static bool see_use(void *arg, const struct ctl_verb *v)
{
    const struct ctl_option **o = arg;
    bool wanted = false;
    if (ctl_verb_takes(v, *o, &wanted)) {
        *o = NULL;
    }
    return *o != NULL;
}

static void options_are_all_used(void **state)
{
    for (const struct ctl_option *o = ctl_options; o->name != NULL; o++) {
        const struct ctl_option *unused = o;
        ctl_verbs_walk(see_use, &unused);
        if (unused != NULL) {
            fail_msg("no verb takes --%s", o->name);
        }
    }
}

/* --- examples can be typed --------------------------------------------------------------------------- */

static void parse_line(const char *line)
{
    struct buf text;
    wordexp_t words;
    struct ctl c = {.word_count = 0};
    const char *comment = strstr(line, "  # ");
    const char *redirect = strstr(line, " > ");
    size_t n = comment != NULL ? (size_t)(comment - line) : strlen(line);
    n = redirect != NULL && redirect < line + n ? (size_t)(redirect - line) : n;
    buf_init(&text, 4096);
    buf_addf(&text, "tidectl %.*s", (int)n, line);
    assert_int_equal(wordexp(text.p, &words, WRDE_NOCMD), 0);
    int code = ctl_parse(&c, (int)words.we_wordc, (const char *const *)words.we_wordv);
    if (code != CTL_OK) {
        fail_msg("example: %s", text.p);
    }
    wordfree(&words);
    buf_clear(&text);
}

static unsigned parse_lines(const char *text)
{
    char *lines = strdup(text != NULL ? text : "");
    char *rest = lines;
    unsigned n = 0;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        if (line[0] != '\0' && line[0] != ' ') {
            parse_line(line);
            n++;
        }
    }
    free(lines);
    return n;
}

static bool see_examples(void *arg, const struct ctl_verb *v)
{
    assert_true(parse_lines(v->examples) > 0);
    return true;
}

static void examples_can_be_typed(void **state)
{
    ctl_verbs_walk(see_examples, NULL);
    assert_true(parse_lines(ctl_help_attack) > 4);
}

/* --- parsing ------------------------------------------------------------------------------------------ */

static int parse(struct ctl *c, const char *const *words)
{
    int n = 0;
    while (words[n] != NULL) {
        n++;
    }
    *c = (struct ctl){.server = "https://env"};
    return ctl_parse(c, n, words);
}

#define PARSE(c, ...) parse((c), (const char *const[]){"tidectl", __VA_ARGS__, NULL})

static void options_stand_anywhere(void **state)
{
    struct ctl c;
    assert_int_equal(PARSE(&c, "-oyaml", "limits", "--ttl=90s", "set", "--reason", "-x-", "a", "--", "--b"),
                     CTL_OK);
    assert_string_equal(c.verb->words, "limits set");
    assert_int_equal(c.word_count, 2);
    assert_string_equal(c.words[1], "--b");
    assert_string_equal(c.reason, "-x-");
    assert_int_equal(c.ttl_ms, 90000);
    assert_int_equal(c.form, CTL_YAML);
    assert_string_equal(c.server, "https://env");
    assert_int_equal(PARSE(&c, "policy", "set", "-f", "-", "--reason=", "--socket", "/s"), CTL_OK);
    assert_string_equal(c.file, "-");
    assert_string_equal(c.reason, "");
    assert_null(c.server); /* who names a socket means it */
    assert_int_equal(PARSE(&c, "trace", "x"), CTL_OK);
    assert_string_equal(c.verb->words, "trace");
    assert_int_equal(PARSE(&c, "trace", "sample"), CTL_OK);
    assert_string_equal(c.verb->words, "trace sample");
    assert_int_equal(PARSE(&c, "policy", "--help", "--bogus"), CTL_USAGE);
    assert_int_equal(PARSE(&c, "policy", "--help"), CTL_OK);
    assert_true(c.help && c.word_count == 1);
}

static void near_words_are_found(void **state)
{
    static const struct {
        const char *words[2];
        const char *verb;
    } rows[] = {
        {{"polcy", "get"}, "policy get"},   {{"policy", "gte"}, "policy get"}, {{"chekc", NULL}, "check"},
        {{"get", "worker"}, "get workers"}, {{"dance", NULL}, NULL},           {{"x", "y"}, NULL},
    };
    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct ctl_verb *v = ctl_verb_nearest(rows[i].words, rows[i].words[1] != NULL ? 2 : 1);
        assert_true((v == NULL) == (rows[i].verb == NULL));
        if (v != NULL) {
            assert_string_equal(v->words, rows[i].verb);
        }
    }
    assert_string_equal(ctl_option_nearest(STR("reson"))->name, "reason");
    assert_null(ctl_option_nearest(STR("bogus")));
    assert_int_equal(ctl_distance(STR("abcd"), STR("abdc")), 1);
    assert_int_equal(ctl_distance(STR(""), STR("abc")), 3);
    assert_int_equal(ctl_distance(STR("kitten"), STR("sitting")), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_whole),         cmocka_unit_test(options_are_told_apart),
        cmocka_unit_test(options_are_all_used),   cmocka_unit_test(examples_can_be_typed),
        cmocka_unit_test(options_stand_anywhere), cmocka_unit_test(near_words_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
