/* The table of verbs and options itself, for tools that build on tidectl: help -o json, yaml, name. */
#include <stdio.h>

#include "gateway/ctl/verbs.h"

static const char *const levels[] = {[CTL_LEVEL_NONE] = "none",
                                     [CTL_LEVEL_READ] = "read",
                                     [CTL_LEVEL_WRITE] = "write",
                                     [CTL_LEVEL_ADMIN] = "admin"};

const char *ctl_level_name(enum ctl_level level)
{
    return levels[level];
}

static void write_text(struct json_writer *w, const char *key, const char *text)
{
    if (text != NULL) {
        json_str_at(w, key, str_from(text));
    }
}

static void write_option(struct json_writer *w, const struct ctl_option *o)
{
    char letter[2] = {o->letter, '\0'};
    json_open(w, '{');
    json_str_at(w, "name", str_from(o->name));
    write_text(w, "letter", o->letter != '\0' ? letter : NULL);
    write_text(w, "value", o->value);
    json_str_at(w, "help", str_from(o->help));
    json_bool_at(w, "everywhere", o->is_everywhere);
    json_close(w, '}');
}

static bool write_verb(void *arg, const struct ctl_verb *v)
{
    struct json_writer *w = arg;
    struct str list = str_from(v->options);
    struct str word;
    json_open(w, '{');
    json_str_at(w, "verb", str_from(v->words));
    write_text(w, "arguments", v->args);
    json_str_at(w, "level", str_from(levels[v->level]));
    json_str_at(w, "summary", str_from(v->summary));
    json_open_at(w, "options", '[');
    while (ctl_next_word(&list, &word)) {
        word.n -= str_ends(word, STR("!")) ? 1 : 0;
        json_str(w, word);
    }
    json_close(w, ']');
    json_open_at(w, "wanted", '[');
    for (const struct ctl_option *o = ctl_options; o->name != NULL; o++) {
        bool is_wanted = false;
        if (ctl_verb_takes(v, o, &is_wanted) && is_wanted) {
            json_str(w, str_from(o->name));
        }
    }
    json_close(w, ']');
    json_close(w, '}');
    return true;
}

static bool print_verb_name(void *arg, const struct ctl_verb *v)
{
    printf("verb/%s\n", v->words);
    return true;
}

void ctl_print_verbs(const struct ctl *c)
{
    struct buf text;
    struct json_writer w = {.out = &text};
    if (c->form == CTL_NAME) {
        ctl_verbs_walk(print_verb_name, NULL);
        return;
    }
    buf_init(&text, CTL_DOCUMENT_MAX);
    json_open(&w, '{');
    json_open_at(&w, "verbs", '[');
    ctl_verbs_walk(write_verb, &w);
    json_close(&w, ']');
    json_open_at(&w, "options", '[');
    for (const struct ctl_option *o = ctl_options; o->name != NULL; o++) {
        write_option(&w, o);
    }
    json_close(&w, ']');
    json_close(&w, '}');
    (void)ctl_print_raw(c, buf_str(&text));
    buf_clear(&text);
}
