/* JSON as block-style YAML 1.2. Strings keep JSON's quotes and escapes, which YAML reads alike, unless nothing in them
 * could be taken for something else. */
#include <stdio.h>

#include "gateway/ctl/ctl.h"

enum { INDENT = 2 };

static void print_value(const struct json_slice *v, int depth, bool after_key);

/* A word that no YAML reader takes for a number, a truth, null, a date or structure. */
static bool is_plain(struct str text)
{
    static const char *const taken[] = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"};
    for (unsigned i = 0; i < sizeof taken / sizeof taken[0]; i++) {
        if (str_eq_nocase(text, str_from(taken[i]))) {
            return false;
        }
    }
    for (size_t i = 0; i < text.n; i++) {
        char lower = (char)(text.p[i] | 32);
        bool is_letter = lower >= 'a' && lower <= 'z';
        bool is_inside = (text.p[i] >= '0' && text.p[i] <= '9') || strchr("_-./", text.p[i]) != NULL;
        if (!is_letter && (i == 0 || !is_inside)) {
            return false;
        }
    }
    return text.n > 0;
}

/* quoted: with its quotes. */
static void print_text(struct str quoted)
{
    struct str inner = str_of(quoted.p + 1, quoted.n - 2);
    struct str shown = is_plain(inner) ? inner : quoted;
    printf(STR_FMT, STR_ARG(shown));
}

static void print_items(struct str list, int depth)
{
    struct json_slice item;
    while (json_next(&list, &item)) {
        printf("%*s-", depth * INDENT, "");
        print_value(&item, depth + 1, false);
    }
}

/* The first member stands on the line of the dash before it. */
static void print_members(struct str object, int depth, bool on_line)
{
    struct json_slice m;
    for (bool first = true; json_next(&object, &m); first = false) {
        printf("%*s", first && on_line ? 1 : depth * INDENT, "");
        if (is_plain(m.key)) {
            printf(STR_FMT ":", STR_ARG(m.key));
        } else {
            printf("\"" STR_FMT "\":", STR_ARG(m.key));
        }
        print_value(&m, depth, true);
    }
}

static bool is_empty(struct str list)
{
    struct json_slice any;
    return !json_next(&list, &any);
}

static void print_value(const struct json_slice *v, int depth, bool after_key)
{
    bool is_nested = v->type == JSON_OBJECT || v->type == JSON_ARRAY;
    if (is_nested && is_empty(v->raw)) {
        printf(v->type == JSON_OBJECT ? " {}\n" : " []\n");
    } else if (v->type == JSON_OBJECT) {
        printf("%s", after_key ? "\n" : "");
        print_members(v->raw, after_key ? depth + 1 : depth, !after_key);
    } else if (v->type == JSON_ARRAY) {
        printf("\n");
        print_items(v->raw, after_key ? depth + 1 : depth);
    } else {
        printf(" ");
        if (v->type == JSON_STRING) {
            print_text(v->raw);
        } else {
            printf(STR_FMT, STR_ARG(v->raw));
        }
        printf("\n");
    }
}

void ctl_print_yaml(struct str json)
{
    if (json.n > 0 && json.p[0] == '{' && !is_empty(json)) {
        print_members(json, 0, false);
    } else if (json.n > 0 && json.p[0] == '[' && !is_empty(json)) {
        print_items(json, 0);
    } else {
        printf(STR_FMT "\n", STR_ARG(json));
    }
}
