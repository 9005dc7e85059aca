/* The command line: options anywhere, "--" ends them; the other words name a verb and its arguments. */
#include <stdio.h>

#include "gateway/ctl/verbs.h"

struct reader {
    struct ctl *c;
    const char *const *argv;
    int argc, at;
    bool given[CTL_OPTIONS_MAX]; /* by place in ctl_options */
};

static bool take_number(const char *text, int64_t *out)
{
    uint64_t n = 0;
    if (!str_u64(str_from(text), &n) || n == 0 || n > INT64_MAX) {
        return false;
    }
    *out = (int64_t)n;
    return true;
}

static bool take_time(const char *text, int64_t *out)
{
    uint64_t ms = 0;
    if (!str_duration_ms(str_from(text), &ms) || ms == 0 || ms > INT64_MAX) {
        return false;
    }
    *out = (int64_t)ms;
    return true;
}

static bool is_one_of(const char *list, const char *text)
{
    struct str rest = str_from(list);
    struct str word;
    while (ctl_next_word(&rest, &word)) {
        if (str_is(word, text)) {
            return true;
        }
    }
    return false;
}

static bool is_scalar(const char *text)
{
    uint64_t n = 0;
    return is_one_of("true false", text) || str_u64(str_from(text), &n);
}

/* Puts a value where its row says. CTL_OK, or CTL_USAGE. */
static int store(struct reader *r, const struct ctl_option *o, const char *value)
{
    void *to = (char *)r->c + o->at;
    bool *given = &r->given[o - ctl_options];
    if (*given) {
        return ctl_usage(r->c, "--%s is given twice", o->name);
    }
    *given = true;
    switch (o->type) {
    case CTL_SWITCH:
        *(bool *)to = true;
        return CTL_OK;
    case CTL_COUNT:
        return take_number(value, to) ? CTL_OK : ctl_usage(r->c, "--%s: a whole number from 1", o->name);
    case CTL_TIME:
        return take_time(value, to) ? CTL_OK : ctl_usage(r->c, "--%s: a time like 90s, 10m, 2h", o->name);
    case CTL_CHOICE:
        if (!is_one_of(o->value, value)) {
            return ctl_usage(r->c, "--%s: one of %s", o->name, o->value);
        }
        break;
    case CTL_SCALAR:
        if (!is_scalar(value)) {
            return ctl_usage(r->c, "--%s: true, false or a number", o->name);
        }
        break;
    case CTL_TEXT:
    case CTL_FILE:
        break;
    }
    memcpy(to, &value, sizeof value);
    return CTL_OK;
}

/* The option that stands here, with the value behind it: attached, or the next word. */
static int take_option(struct reader *r, const struct ctl_option *o, const char *attached)
{
    if (o->type == CTL_SWITCH) {
        return attached == NULL ? store(r, o, NULL) : ctl_usage(r->c, "--%s takes no value", o->name);
    }
    if (attached == NULL && r->at + 1 >= r->argc) {
        return ctl_usage(r->c, "--%s wants a value: %s", o->name, o->value);
    }
    return store(r, o, attached != NULL ? attached : r->argv[++r->at]);
}

static int take_long(struct reader *r, const char *text)
{
    struct str rest = str_from(text);
    struct str name;
    (void)str_cut(&rest, '=', &name);
    const struct ctl_option *o = ctl_option_find(name);
    if (o == NULL) {
        o = ctl_option_nearest(name);
        return ctl_usage(r->c, "there is no option --" STR_FMT "%s%s%s", STR_ARG(name),
                         o != NULL ? "; did you mean --" : "", o != NULL ? o->name : "",
                         o != NULL ? "?" : "");
    }
    return take_option(r, o, text[name.n] == '=' ? text + name.n + 1 : NULL);
}

/* "-wo json", "-ojson": letters of switches, the last may take a value. */
static int take_letters(struct reader *r, const char *letters)
{
    for (; *letters != '\0'; letters++) {
        const struct ctl_option *o = ctl_option_by_letter(*letters);
        if (o == NULL) {
            return ctl_usage(r->c, "there is no option -%c", *letters);
        }
        bool has_value = o->type != CTL_SWITCH;
        int code = take_option(r, o, has_value && letters[1] != '\0' ? letters + 1 : NULL);
        if (code != CTL_OK || has_value) {
            return code;
        }
    }
    return CTL_OK;
}

static int read_words(struct reader *r)
{
    struct ctl *c = r->c;
    bool options_over = false;
    for (; r->at < r->argc; r->at++) {
        const char *text = r->argv[r->at];
        int code = CTL_OK;
        if (options_over || text[0] != '-' || text[1] == '\0') {
            if (c->word_count == CTL_WORDS_MAX) {
                return ctl_usage(c, "more than %d words", CTL_WORDS_MAX);
            }
            c->words[c->word_count++] = text;
        } else if (strcmp(text, "--") == 0) {
            options_over = true;
        } else {
            code = text[1] == '-' ? take_long(r, text + 2) : take_letters(r, text + 1);
        }
        if (code != CTL_OK) {
            return code;
        }
    }
    return CTL_OK;
}

/* --- what the verb's row wants ----------------------------------------------------------------------- */

static bool print_start(void *arg, const struct ctl_verb *v)
{
    const char *word = arg;
    if (ctl_verb_begins(v, &word, 1)) {
        fprintf(stderr, "  tidectl %s\n", v->words);
    }
    return true;
}

struct start {
    const char *word;
    bool *is_known;
};

static bool see_start(void *arg, const struct ctl_verb *v)
{
    const struct start *s = arg;
    *s->is_known = ctl_verb_begins(v, &s->word, 1);
    return !*s->is_known;
}

/* The words begin some verbs, or at least the first does: those are shown. */
static int no_verb(struct ctl *c)
{
    if (c->word_count == 0) {
        return ctl_usage(c, "what is to be done?");
    }
    const struct ctl_verb *near = ctl_verb_nearest(c->words, c->word_count);
    if (near != NULL) {
        return ctl_usage(c, "there is no verb \"%s%s%s\"; did you mean tidectl %s?", c->words[0],
                         c->word_count > 1 ? " " : "", c->word_count > 1 ? c->words[1] : "", near->words);
    }
    bool is_known = false;
    ctl_verbs_walk(see_start, &(struct start){c->words[0], &is_known});
    if (!is_known) {
        return ctl_usage(c, "there is no verb \"%s\"", c->words[0]);
    }
    fprintf(stderr, "tidectl: %s what? There are:\n", c->words[0]);
    ctl_verbs_walk(print_start, (void *)c->words[0]);
    return CTL_USAGE;
}

static int check_arguments(struct ctl *c)
{
    struct ctl_arity arity = ctl_verb_arity(c->verb);
    struct str args = str_from(c->verb->args);
    struct str missing = STR("");
    if (c->word_count > arity.most) {
        return ctl_usage(c, "unexpected word %s", c->words[arity.most]);
    }
    for (int i = 0; i <= c->word_count && c->word_count < arity.least; i++) {
        (void)ctl_next_word(&args, &missing);
    }
    return missing.n == 0 ? CTL_OK : ctl_usage(c, STR_FMT " is missing", STR_ARG(missing));
}

static int check_options(const struct reader *r)
{
    const struct ctl *c = r->c;
    for (const struct ctl_option *o = ctl_options; o->name != NULL; o++) {
        bool wanted = false;
        bool takes = ctl_verb_takes(c->verb, o, &wanted);
        if (r->given[o - ctl_options] && !takes) {
            return ctl_usage(c, "it takes no --%s", o->name);
        }
        if (wanted && !r->given[o - ctl_options]) {
            return ctl_usage(c, "--%s %s is missing: %s", o->name, o->value, o->help);
        }
    }
    return CTL_OK;
}

static enum ctl_form form_of(const char *output)
{
    static const char *const names[] = {
        [CTL_TABLE] = "table", [CTL_JSON] = "json", [CTL_YAML] = "yaml", [CTL_NAME] = "name"};
    for (unsigned i = 0; output != NULL && i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(output, names[i]) == 0) {
            return (enum ctl_form)i;
        }
    }
    return CTL_TABLE;
}

int ctl_parse(struct ctl *c, int argc, const char *const *argv)
{
    struct reader r = {.c = c, .argv = argv, .argc = argc, .at = 1};
    const char *server = c->server;
    const char *socket = c->socket;
    int used = 0;
    int code = read_words(&r);
    if (code != CTL_OK || c->help || c->version) {
        return code;
    }
    if (c->socket != socket && c->server == server) {
        c->server = NULL; /* the environment may have named one */
    }
    c->form = form_of(c->output);
    c->verb = ctl_verb_find(c->words, c->word_count, &used);
    if (c->verb == NULL) {
        return no_verb(c);
    }
    c->word_count -= used;
    memmove(c->words, c->words + used, (size_t)c->word_count * sizeof c->words[0]);
    code = check_arguments(c);
    return code == CTL_OK ? check_options(&r) : code;
}
