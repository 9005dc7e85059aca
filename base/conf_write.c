/* What the tables know besides parsing: the effective configuration, what differs, the manual. */
#include <stdio.h>

#include "base/conf.h"
#include "base/conf_value.h"

/* --- effective values ------------------------------------------------------------------------- */

static void write_section(const struct conf_section *s, const void *at, unsigned indent, bool item,
                          struct buf *out);

static void write_list(const struct conf_entry *e, const struct conf_list *list, unsigned indent,
                       struct buf *out)
{
    if (list->n == 0) {
        buf_addf(out, "%s: []\n", e->name);
        return;
    }
    buf_addf(out, "%s:\n", e->name);
    for (unsigned i = 0; i < list->n; i++) {
        const char *item = (const char *)list->items + i * e->section->size;
        write_section(e->section, item, indent + 2, true, out);
    }
}

static void write_value(const struct conf_entry *e, const void *at, struct buf *out)
{
    size_t before = out->n;
    buf_addf(out, "%s: ", e->name);
    if (!conf_value_write(e, at, out)) {
        out->n = before;
        buf_addf(out, "# %s:", e->name);
    }
    buf_add_char(out, '\n');
}

static void write_entry(const struct conf_entry *e, const void *at, unsigned indent, struct buf *out)
{
    const void *inner = e->type == CONF_OPTION ? *(void *const *)at : at;
    switch (e->type) {
    case CONF_SECTION:
    case CONF_OPTION:
        buf_addf(out, inner ? "%s:\n" : "# %s:\n", e->name);
        if (inner) {
            write_section(e->section, inner, indent + 2, false, out);
        }
        break;
    case CONF_LIST:
        write_list(e, at, indent, out);
        break;
    default:
        write_value(e, at, out);
    }
}

/* An item's first line carries the dash, also when that line is a comment: then the dash stands alone. */
static void write_section(const struct conf_section *s, const void *at, unsigned indent, bool item,
                          struct buf *out)
{
    if (item) {
        buf_addf(out, "%*s-\n", (int)indent, "");
        indent += 2;
    }
    for (unsigned i = 0; i < s->count; i++) {
        buf_addf(out, "%*s", (int)indent, "");
        write_entry(&s->entries[i], conf_field(&s->entries[i], at), indent, out);
    }
}

void conf_write(const struct conf *c, struct buf *out)
{
    write_section(conf_root_section(c), conf_root(c), 0, false, out);
}

/* --- what differs ----------------------------------------------------------------------------- */

static bool section_differs(const struct conf_section *s, const void *a, const void *b, char *path, size_t n);

/* Compared by text, masks off. */
static bool value_differs(const struct conf_entry *e, const void *a, const void *b)
{
    struct conf_entry open = *e;
    struct buf one, two;
    open.flags &= ~(unsigned)CONF_SECRET;
    buf_init(&one, SIZE_MAX);
    buf_init(&two, SIZE_MAX);
    bool has_one = conf_value_write(&open, a, &one);
    bool has_two = conf_value_write(&open, b, &two);
    bool differs = has_one != has_two || !str_eq(buf_str(&one), buf_str(&two));
    buf_clear(&one);
    buf_clear(&two);
    return differs;
}

static bool list_differs(const struct conf_entry *e, const struct conf_list *a, const struct conf_list *b,
                         char *path, size_t n)
{
    size_t size = e->section->size;
    for (unsigned i = 0; i < a->n && i < b->n; i++) {
        int used = snprintf(path, n, "[%u]", i);
        size_t skip = (size_t)used < n ? (size_t)used : n - 1;
        if (section_differs(e->section, (const char *)a->items + i * size, (const char *)b->items + i * size,
                            path + skip, n - skip)) {
            return true;
        }
    }
    path[0] = '\0';
    return a->n != b->n;
}

static bool entry_differs(const struct conf_entry *e, const void *a, const void *b, char *path, size_t n)
{
    const void *x = a, *y = b;
    switch (e->type) {
    case CONF_OPTION:
        x = *(void *const *)a;
        y = *(void *const *)b;
        if (!x || !y) {
            return x != y;
        }
        return section_differs(e->section, x, y, path, n);
    case CONF_SECTION:
        return section_differs(e->section, x, y, path, n);
    case CONF_LIST:
        return list_differs(e, a, b, path, n);
    default:
        return value_differs(e, a, b);
    }
}

static bool section_differs(const struct conf_section *s, const void *a, const void *b, char *path, size_t n)
{
    for (unsigned i = 0; i < s->count; i++) {
        const struct conf_entry *e = &s->entries[i];
        if (e->flags & CONF_RELOADABLE) {
            continue;
        }
        int used = snprintf(path, n, ".%s", e->name);
        size_t skip = (size_t)used < n ? (size_t)used : n - 1;
        if (entry_differs(e, conf_field(e, a), conf_field(e, b), path + skip, n - skip)) {
            return true;
        }
    }
    path[0] = '\0';
    return false;
}

bool conf_needs_restart(const struct conf *from, const struct conf *to, char *path, size_t n)
{
    bool differs = section_differs(conf_root_section(from), conf_root(from), conf_root(to), path, n);
    if (differs) {
        memmove(path, path + 1, strlen(path)); /* the leading dot */
    }
    return differs;
}

/* --- the manual ------------------------------------------------------------------------------- */

static const char *const type_names[] = {
    [CONF_BOOL] = "true or false",
    [CONF_INT] = "number",
    [CONF_OCTAL] = "permission bits",
    [CONF_DURATION] = "duration",
    [CONF_SIZE] = "size",
    [CONF_F64] = "number",
    [CONF_STRING] = "text",
    [CONF_ENUM] = "word",
    [CONF_ENDPOINT] = "endpoint",
    [CONF_STRINGS] = "list of texts",
    [CONF_PREFIXES] = "list of prefixes",
    [CONF_SECTION] = "section",
    [CONF_OPTION] = "section, optional",
    [CONF_LIST] = "list of sections",
};

static void write_cell(struct buf *out, const char *text)
{
    for (; *text; text++) {
        buf_add_cstr(out, *text == '|' ? "\\" : "");
        buf_add_char(out, *text);
    }
}

static void write_type(const struct conf_entry *e, struct buf *out)
{
    if (e->flags & (CONF_FILE | CONF_SECRET_FILE)) {
        buf_add_cstr(out, e->flags & CONF_SECRET_FILE ? "file, mode 0600" : "file");
        return;
    }
    buf_add_cstr(out, type_names[e->type]);
    for (int i = 0; e->type == CONF_ENUM && e->names[i]; i++) {
        buf_addf(out, "%s `%s`", i ? "," : ":", e->names[i]);
    }
}

static void write_range(const struct conf_entry *e, struct buf *out)
{
    bool numeric = e->type >= CONF_INT && e->type <= CONF_F64;
    if (!numeric || (e->min == 0 && e->max == 0)) {
        return;
    }
    conf_number_write(e, e->min, out);
    if (e->max == 0) {
        buf_add_cstr(out, " or more");
    } else {
        buf_add_cstr(out, " to ");
        conf_number_write(e, e->max, out);
    }
}

static void write_row(const struct conf_entry *e, struct buf *out)
{
    buf_addf(out, "| `%s` | ", e->name);
    write_type(e, out);
    buf_add_cstr(out, " | ");
    if (e->flags & CONF_REQUIRED) {
        buf_add_cstr(out, "required");
    } else if (e->preset) {
        buf_addf(out, "`%s`", e->preset);
    }
    buf_add_cstr(out, " | ");
    write_range(e, out);
    buf_addf(out, " | %s | ", e->flags & CONF_RELOADABLE ? "yes" : "");
    write_cell(out, e->help ? e->help : "");
    buf_add_cstr(out, " |\n");
}

static void write_manual(const struct conf_section *s, const char *path, struct buf *out)
{
    buf_addf(out, "\n## %s%s%s\n\n", *path ? "`" : "", *path ? path : "The file", *path ? "`" : "");
    if (s->help) {
        buf_addf(out, "%s\n\n", s->help);
    }
    buf_add_cstr(out, "| Setting | Type | Default | Range | Reload | Meaning |\n"
                      "|---|---|---|---|---|---|\n");
    for (unsigned i = 0; i < s->count; i++) {
        write_row(&s->entries[i], out);
    }
    for (unsigned i = 0; i < s->count; i++) {
        const struct conf_entry *e = &s->entries[i];
        char inner[256];
        if (e->section) {
            snprintf(inner, sizeof(inner), "%s%s%s%s", path, *path ? "." : "", e->name,
                     e->type == CONF_LIST ? "[]" : "");
            write_manual(e->section, inner, out);
        }
    }
}

void conf_write_manual(const struct conf_section *root, struct buf *out)
{
    write_manual(root, "", out);
}
