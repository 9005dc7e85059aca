/* Answers as people read them: columns as wide as their widest cell, two spaces between, "-" for what is absent. */
#include <stdio.h>

#include "gateway/ctl/ctl.h"

enum { COLUMNS_MAX = 12, CELL_MAX = 60 };

static unsigned count_columns(const struct ctl_column *columns)
{
    unsigned n = 0;
    while (n < COLUMNS_MAX && columns[n].header != NULL) {
        n++;
    }
    return n;
}

/* Shows a value without its quotes; lists and objects as JSON. */
static struct str cell(struct arena *a, struct str object, const char *key)
{
    struct json_slice m;
    struct str text = STR("-");
    while (json_next(&object, &m)) {
        if (!str_is(m.key, key) || m.type == JSON_NULL) {
            continue;
        }
        if (m.type != JSON_STRING || !json_get_str(a, &m, &text)) {
            text = m.raw;
        }
    }
    return text.n == 0         ? STR("-")
           : text.n > CELL_MAX ? str_of(text.p, str_utf8_safe_len(str_of(text.p, CELL_MAX)))
                               : text;
}

static void widen(struct arena *a, struct str object, const struct ctl_column *columns, unsigned n,
                  size_t *widths)
{
    for (unsigned i = 0; i < n; i++) {
        size_t width = cell(a, object, columns[i].key).n;
        widths[i] = width > widths[i] ? width : widths[i];
    }
}

static void print_cell(struct str text, size_t width, bool last)
{
    printf("%.*s%*s", STR_ARG(text), last ? 0 : (int)(width - text.n + 2), "");
}

static void print_row(struct arena *a, struct str object, const struct ctl_column *columns, unsigned n,
                      const size_t *widths)
{
    for (unsigned i = 0; i < n; i++) {
        print_cell(cell(a, object, columns[i].key), widths[i], i + 1 == n);
    }
    printf("\n");
}

static void print_table(struct arena *a, struct str items, const struct ctl_column *columns)
{
    unsigned n = count_columns(columns);
    size_t widths[COLUMNS_MAX];
    struct json_slice row;
    for (unsigned i = 0; i < n; i++) {
        widths[i] = strlen(columns[i].header);
    }
    for (struct str in = items; json_next(&in, &row);) {
        widen(a, row.raw, columns, n, widths);
    }
    for (unsigned i = 0; i < n; i++) {
        print_cell(str_from(columns[i].header), widths[i], i + 1 == n);
    }
    printf("\n");
    for (struct str in = items; json_next(&in, &row);) {
        print_row(a, row.raw, columns, n, widths);
    }
}

/* One object: a line a column, "NAME  value". */
static void print_object(struct arena *a, struct str object, const struct ctl_column *columns)
{
    unsigned n = count_columns(columns);
    size_t width = 0;
    for (unsigned i = 0; i < n; i++) {
        size_t header = strlen(columns[i].header);
        width = header > width ? header : width;
    }
    for (unsigned i = 0; i < n; i++) {
        struct str text = cell(a, object, columns[i].key);
        printf("%-*s  " STR_FMT "\n", (int)width, columns[i].header, STR_ARG(text));
    }
}

int ctl_print(const struct ctl *c, const struct ctl_answer *a, const char *list,
              const struct ctl_column *columns)
{
    struct arena arena;
    struct json_doc doc;
    struct json_limits limits = {
        .max_depth = 32, .max_members = 1u << 20, .max_items = 1u << 20, .max_string = 1u << 24};
    if (c->json) {
        printf(STR_FMT "\n", STR_ARG(buf_str(&a->body)));
        return CTL_OK;
    }
    arena_init(&arena);
    struct err err = {0};
    int code = CTL_FAILED;
    if (json_scan(&arena, buf_str(&a->body), &limits, &doc, &err) != 0) {
        fprintf(stderr, "tidectl: the answer is not JSON: %s\n", err.msg);
    } else if (list == NULL) {
        print_object(&arena, doc.raw, columns);
        code = CTL_OK;
    } else {
        const struct json_slice *items = json_member(&doc, list);
        print_table(&arena, items != NULL ? items->raw : STR("[]"), columns);
        code = CTL_OK;
    }
    arena_clear(&arena);
    return code;
}
