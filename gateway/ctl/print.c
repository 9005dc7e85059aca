/* Answers as -o says. For people: columns as wide as their widest cell, two spaces between, "-" for what is absent. */
#include <stdio.h>

#include "gateway/ctl/ctl.h"
#include "base/money.h"

enum { CELL_MAX = 60 };

static const struct json_limits limits = {
    .max_depth = 64, .max_members = 1u << 20, .max_items = 1u << 20, .max_string = 1u << 24};

static unsigned count_columns(const struct ctl_column *columns)
{
    unsigned n = 0;
    while (n < CTL_COLUMNS_MAX && columns[n].header != NULL) {
        n++;
    }
    return n;
}

/* --- a cell ------------------------------------------------------------------------------------------- */

/* A list of plain values with commas between; what has lists or objects in it as JSON. */
static struct str list_cell(struct arena *a, struct str list)
{
    struct buf text;
    struct json_slice m;
    struct str rest = list;
    bool is_plain = true;
    buf_init(&text, list.n + 1);
    while (json_next(&rest, &m)) {
        struct str value = m.raw;
        is_plain = is_plain && m.type != JSON_ARRAY && m.type != JSON_OBJECT;
        (void)(m.type == JSON_STRING && json_get_str(a, &m, &value));
        buf_addf(&text, "%s" STR_FMT, text.n > 0 ? "," : "", STR_ARG(value));
    }
    struct str shown = is_plain ? arena_dup(a, buf_str(&text)) : list;
    buf_clear(&text);
    return shown;
}

/* A value without its quotes; objects as JSON. "": absent. */
static struct str value_of(struct arena *a, struct str object, const char *key)
{
    struct json_slice m;
    struct str text = STR("");
    while (json_next(&object, &m)) {
        if (!str_is(m.key, key) || m.type == JSON_NULL) {
            continue;
        }
        if (m.type == JSON_ARRAY) {
            text = list_cell(a, m.raw);
        } else if (m.type != JSON_STRING || !json_get_str(a, &m, &text)) {
            text = m.raw;
        }
    }
    return text;
}

static bool is_amount(const char *key)
{
    static const char *const keys[] = {"limit", "burst", "remaining", "signup_remaining"};
    unsigned i = 0;
    while (i < sizeof keys / sizeof keys[0] && strcmp(keys[i], key) != 0) {
        i++;
    }
    return i < sizeof keys / sizeof keys[0];
}

/* Of a rule about money: comes in millionths. */
static struct str amount_of(struct arena *a, struct str object, struct str value)
{
    char text[MONEY_TEXT_MAX];
    uint64_t n;
    if (!str_is(value_of(a, object, "unit"), "money") || !str_u64(value, &n)) {
        return value;
    }
    money_format(n, text);
    return arena_dup(a, str_from(text));
}

/* As operators write it: "50/1s", in the largest unit that the period is whole in; some have none. */
static struct str rate_of(struct arena *a, struct str object, struct str amount)
{
    static const struct {
        uint64_t ms;
        const char *name;
    } units[] = {{86400000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}};
    uint64_t ms = 0;
    unsigned i = 0;
    if (!str_u64(value_of(a, object, "period_ms"), &ms) || ms == 0) {
        return amount;
    }
    while (ms % units[i].ms != 0) {
        i++;
    }
    return arena_printf(a, STR_FMT "/%llu%s", STR_ARG(amount), (unsigned long long)(ms / units[i].ms),
                        units[i].name);
}

static struct str cell(struct arena *a, struct str object, const char *key)
{
    struct str text = value_of(a, object, key);
    text = is_amount(key) ? amount_of(a, object, text) : text;
    text = strcmp(key, "limit") == 0 ? rate_of(a, object, text) : text;
    return text.n == 0         ? STR("-")
           : text.n > CELL_MAX ? str_of(text.p, str_utf8_safe_len(str_of(text.p, CELL_MAX)))
                               : text;
}

/* --- tables ------------------------------------------------------------------------------------------- */

static void widen(struct arena *a, struct str object, const struct ctl_column *columns, unsigned n,
                  size_t *widths)
{
    for (unsigned i = 0; i < n; i++) {
        size_t width = cell(a, object, columns[i].key).n;
        widths[i] = width > widths[i] ? width : widths[i];
    }
}

static void print_cell(struct str text, enum ctl_colour colour, size_t width, bool last)
{
    bool is_plain = colour == CTL_PLAIN;
    printf("%s%.*s%s%*s", is_plain ? "" : ctl_paint(colour), STR_ARG(text),
           is_plain ? "" : ctl_paint(CTL_PLAIN), last ? 0 : (int)(width - text.n + 2), "");
}

static void print_row(struct arena *a, struct str object, const struct ctl_column *columns, unsigned n,
                      const size_t *widths)
{
    for (unsigned i = 0; i < n; i++) {
        struct str text = cell(a, object, columns[i].key);
        print_cell(text, ctl_colour_of(text), widths[i], i + 1 == n);
    }
    printf("\n");
}

static void print_table(struct arena *a, struct str items, const struct ctl_column *columns)
{
    unsigned n = count_columns(columns);
    size_t widths[CTL_COLUMNS_MAX];
    struct json_slice row;
    for (unsigned i = 0; i < n; i++) {
        widths[i] = strlen(columns[i].header);
    }
    for (struct str in = items; json_next(&in, &row);) {
        widen(a, row.raw, columns, n, widths);
    }
    for (unsigned i = 0; i < n; i++) {
        print_cell(str_from(columns[i].header), CTL_BOLD, widths[i], i + 1 == n);
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

static void print_name(const struct ctl *c, struct arena *a, struct str object, const struct ctl_view *view)
{
    struct str name = cell(a, object, view->key);
    if (c->form == CTL_NAME) {
        printf("%s/", view->kind);
    }
    printf(STR_FMT "\n", STR_ARG(name));
}

static void print_view(const struct ctl *c, struct arena *a, const struct json_doc *doc,
                       const struct ctl_view *view)
{
    const struct json_slice *list = view->list != NULL ? json_member(doc, view->list) : NULL;
    struct str items = list != NULL ? list->raw : STR("[]");
    bool is_by_name = c->form == CTL_NAME || c->form == CTL_BARE;
    struct json_slice row;
    if (view->list == NULL && is_by_name) {
        print_name(c, a, doc->raw, view);
    } else if (view->list == NULL) {
        print_object(a, doc->raw, view->columns);
    } else if (!is_by_name) {
        print_table(a, items, view->columns);
    }
    while (view->list != NULL && is_by_name && json_next(&items, &row)) {
        print_name(c, a, row.raw, view);
    }
}

int ctl_print(const struct ctl *c, struct str json, const struct ctl_view *view)
{
    struct arena arena;
    struct json_doc doc;
    struct err err = {0};
    int code = CTL_OK;
    if (ctl_print_raw(c, json)) {
        return CTL_OK;
    }
    arena_init(&arena);
    if (json_scan(&arena, json, &limits, &doc, &err) == 0) {
        print_view(c, &arena, &doc, view);
    } else {
        fprintf(stderr, "tidectl: the answer is not JSON: %s\n", err.msg);
        code = CTL_FAILED;
    }
    arena_clear(&arena);
    return code;
}

bool ctl_print_raw(const struct ctl *c, struct str json)
{
    struct arena arena;
    struct json_doc doc;
    if (c->form != CTL_JSON && c->form != CTL_YAML) {
        return false;
    }
    arena_init(&arena);
    if (c->form == CTL_YAML && json_scan(&arena, json, &limits, &doc, NULL) == 0) {
        ctl_print_yaml(doc.raw);
    } else {
        printf(STR_FMT "\n", STR_ARG(json));
    }
    arena_clear(&arena);
    return true;
}

/* "worker/w1" is worker and w1; without a slash all is the kind. */
static void print_made_up(const struct ctl *c, const char *thing, const char *happened)
{
    struct buf text;
    struct json_writer w = {.out = &text};
    struct str name = str_from(thing);
    struct str kind;
    buf_init(&text, CTL_DOCUMENT_MAX);
    (void)str_cut(&name, '/', &kind);
    json_open(&w, '{');
    json_str_at(&w, "kind", kind);
    json_str_at(&w, "name", name);
    json_str_at(&w, "happened", str_from(happened));
    json_close(&w, '}');
    (void)ctl_print_raw(c, buf_str(&text));
    buf_clear(&text);
}

void ctl_say_done(const struct ctl *c, struct str json, const char *thing, const char *happened)
{
    if (json.n > 0 && ctl_print_raw(c, json)) {
        return;
    }
    if (c->form == CTL_JSON || c->form == CTL_YAML) {
        print_made_up(c, thing, happened);
    } else if (c->form == CTL_NAME) {
        printf("%s\n", thing);
    } else {
        const char *path = strstr(thing, "//"); /* "keyring//etc/keyring.json": a path says enough */
        printf("%s %s%s\n", path != NULL ? path + 1 : thing, happened, c->dry_run ? " (dry run)" : "");
    }
}

int ctl_get(const struct ctl *c, const char *target, const struct ctl_view *view)
{
    struct ctl_answer a;
    int code = ctl_request(c, "GET", target, NULL, &a);
    if (code == CTL_OK) {
        code = ctl_print(c, buf_str(&a.body), view);
    }
    buf_clear(&a.body);
    return code;
}

/* Some changes take effect without a database; then nobody can look up who did it. */
static void say_audited(struct str answer)
{
    struct arena arena;
    struct json_doc doc;
    arena_init(&arena);
    if (json_scan(&arena, answer, &json_limits_default, &doc, NULL) == 0 &&
        str_is(ctl_member(&arena, doc.raw, "audited", STR("true")), "false")) {
        fprintf(stderr, "tidectl: without a database this is not in the audit log\n");
    }
    arena_clear(&arena);
}

int ctl_change(const struct ctl *c, const char *method, const char *target, const struct buf *body,
               const char *thing, const char *happened)
{
    struct ctl_answer a;
    int code = ctl_request(c, method, target, body, &a);
    if (code == CTL_OK) {
        ctl_say_done(c, buf_str(&a.body), thing, happened);
        say_audited(buf_str(&a.body));
    }
    buf_clear(&a.body);
    return code;
}

int ctl_change_reason(const struct ctl *c, const char *target, const char *key, const char *thing,
                      const char *happened)
{
    enum { REASON_MAX = 64 << 10 };
    struct buf body;
    buf_init(&body, REASON_MAX);
    struct json_writer w = {.out = &body};
    json_open(&w, '{');
    if (key != NULL) {
        json_str_at(&w, key, str_from(c->words[0]));
    }
    json_str_at(&w, "reason", str_from(c->reason));
    json_close(&w, '}');
    int code = ctl_change(c, "POST", target, &body, thing, happened);
    buf_clear(&body);
    return code;
}
