#include "base/conf_value.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "base/secret.h"

/* --- numbers ---------------------------------------------------------------------------------- */

static uint64_t get_number(const struct conf_entry *e, const void *at)
{
    return e->width == 4 ? *(const uint32_t *)at : *(const uint64_t *)at;
}

static const struct unit {
    const char *name;
    uint64_t factor;
} durations[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}},
  sizes[] = {{"GiB", 1U << 30}, {"MiB", 1U << 20}, {"KiB", 1U << 10}, {"", 1}};

static void write_unit(const struct unit *units, uint64_t v, struct buf *out)
{
    while (v != 0 && v % units->factor != 0) {
        units++;
    }
    buf_addf(out, "%llu%s", (unsigned long long)(v / units->factor), v ? units->name : "");
}

void conf_number_write(const struct conf_entry *e, double v, struct buf *out)
{
    struct json_writer w = {.out = out};
    switch (e->type) {
    case CONF_DURATION:
        write_unit(durations, (uint64_t)v, out);
        break;
    case CONF_SIZE:
        write_unit(sizes, (uint64_t)v, out);
        break;
    case CONF_OCTAL:
        buf_addf(out, "0%o", (unsigned)v);
        break;
    default:
        json_f64(&w, v);
    }
}

static int check_range(const struct conf_entry *e, double v, const char *what, struct err *err)
{
    struct buf range;
    if (v >= e->min && (e->max == 0 || v <= e->max)) {
        return 0;
    }
    buf_init(&range, 80);
    buf_addf(&range, "%s must be ", what);
    conf_number_write(e, e->min, &range);
    if (e->max == 0) {
        buf_add_cstr(&range, " or more");
    } else {
        buf_add_cstr(&range, " to ");
        conf_number_write(e, e->max, &range);
    }
    int rc = err_set(err, ERR_INVALID, "%s", range.p);
    buf_clear(&range);
    return rc;
}

static bool read_octal(struct str text, uint64_t *out)
{
    uint64_t v = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '7' || text.n > 5) {
            return false;
        }
        v = v * 8 + (uint64_t)(text.p[i] - '0');
    }
    *out = v;
    return text.n > 0 && text.p[0] == '0';
}

static int read_number(const struct conf_entry *e, struct str text, void *at, struct err *err)
{
    static const char *const forms[] = {[CONF_INT] = "a whole number",
                                        [CONF_OCTAL] = "permission bits like 0600",
                                        [CONF_DURATION] = "a duration like 250ms, 10s, 5m, 2h or 30d",
                                        [CONF_SIZE] = "a size like 512, 64KiB, 1MiB or 2GiB"};
    uint64_t v = 0;
    bool ok = e->type == CONF_INT        ? str_u64(text, &v)
              : e->type == CONF_OCTAL    ? read_octal(text, &v)
              : e->type == CONF_DURATION ? str_duration_ms(text, &v)
                                         : str_size_bytes(text, &v);
    if (!ok) {
        return err_set(err, ERR_INVALID, "'%.40s' is not %s", text.p, forms[e->type]);
    }
    if (e->width == 4 && v > UINT32_MAX) {
        return err_set(err, ERR_INVALID, "'%.40s' is too large", text.p);
    }
    if (e->width == 4) {
        *(uint32_t *)at = (uint32_t)v;
    } else {
        *(uint64_t *)at = v;
    }
    return check_range(e, (double)v, "it", err);
}

static int read_f64(const struct conf_entry *e, struct str text, double *at, struct err *err)
{
    char *end;
    double v = strtod(text.p, &end);
    bool plain = text.n > 0 && strspn(text.p, "0123456789.-") == text.n;
    if (!plain || *end != '\0' || !isfinite(v)) {
        return err_set(err, ERR_INVALID, "'%.40s' is not a number", text.p);
    }
    *at = v;
    return check_range(e, v, "it", err);
}

/* --- texts ------------------------------------------------------------------------------------ */

static int check_file(const char *path, bool secret, struct err *err)
{
    struct stat st;
    if (secret) {
        return secret_file_check(path, err);
    }
    if (stat(path, &st) != 0 || access(path, R_OK) != 0) {
        return err_set(err, ERR_INVALID, "cannot read %s: %s", path, strerror(errno));
    }
    return S_ISREG(st.st_mode) ? 0 : err_set(err, ERR_INVALID, "%s is not a regular file", path);
}

static int read_string(const struct conf_entry *e, struct arena *a, struct str text, const char **at,
                       struct err *err)
{
    int rc = check_range(e, (double)text.n, "its length", err);
    if (rc == 0 && (e->flags & (CONF_FILE | CONF_SECRET_FILE)) && text.n > 0) {
        rc = check_file(text.p, (e->flags & CONF_SECRET_FILE) != 0, err);
    }
    *at = a ? arena_cstr(a, text) : text.p;
    return rc;
}

static int read_enum(const struct conf_entry *e, struct str text, int *at, struct err *err)
{
    struct buf names;
    for (int i = 0; e->names[i]; i++) {
        if (str_is(text, e->names[i])) {
            *at = i;
            return 0;
        }
    }
    buf_init(&names, 120);
    for (int i = 0; e->names[i]; i++) {
        buf_addf(&names, "%s%s", i ? ", " : "", e->names[i]);
    }
    err_set(err, ERR_INVALID, "'%.40s' is not one of %s", text.p, names.p);
    buf_clear(&names);
    return ERR_INVALID;
}

static int read_bool(struct str text, bool *at, struct err *err)
{
    *at = str_is(text, "true");
    if (!*at && !str_is(text, "false")) {
        return err_set(err, ERR_INVALID, "'%.40s' is neither true nor false", text.p);
    }
    return 0;
}

int conf_value_read(const struct conf_entry *e, struct arena *a, struct str text, void *at, struct err *err)
{
    switch (e->type) {
    case CONF_BOOL:
        return read_bool(text, at, err);
    case CONF_INT:
    case CONF_OCTAL:
    case CONF_DURATION:
    case CONF_SIZE:
        return read_number(e, text, at, err);
    case CONF_F64:
        return read_f64(e, text, at, err);
    case CONF_STRING:
        return read_string(e, a, text, at, err);
    case CONF_ENUM:
        return read_enum(e, text, at, err);
    case CONF_ENDPOINT:
        return endpoint_parse(text, at, err);
    default:
        BUG_ON(e->type >= CONF_STRINGS); /* lists and sections have no single value */
        return ERR_INTERNAL;
    }
}

/* --- lists ------------------------------------------------------------------------------------ */

int conf_count_check(const struct conf_entry *e, unsigned n, struct err *err)
{
    return check_range(e, n, "the number of items", err);
}

static int read_strings(struct arena *a, const struct str *items, unsigned n, struct conf_strings *out)
{
    const char **copies = arena_alloc(a, (n + 1) * sizeof(*copies));
    for (unsigned i = 0; i < n; i++) {
        copies[i] = arena_cstr(a, items[i]);
    }
    copies[n] = NULL;
    *out = (struct conf_strings){copies, n};
    return 0;
}

static int read_prefixes(struct arena *a, const struct str *items, unsigned n, struct conf_prefixes *out,
                         struct err *err)
{
    struct addr_prefix *copies = arena_alloc(a, (n + 1) * sizeof(*copies));
    for (unsigned i = 0; i < n; i++) {
        if (!addr_prefix_parse(items[i], &copies[i])) {
            return err_set(err, ERR_INVALID, "'%.48s' is not an address or prefix like 10.0.0.0/8",
                           items[i].p);
        }
    }
    *out = (struct conf_prefixes){copies, n};
    return 0;
}

int conf_items_read(const struct conf_entry *e, struct arena *a, const struct str *items, unsigned n,
                    void *at, struct err *err)
{
    int rc = conf_count_check(e, n, err);
    if (rc != 0 || n == 0) {
        return rc;
    }
    return e->type == CONF_STRINGS ? read_strings(a, items, n, at) : read_prefixes(a, items, n, at, err);
}

/* --- writing ---------------------------------------------------------------------------------- */

static void write_quoted(const char *text, struct buf *out)
{
    struct json_writer w = {.out = out}; /* a JSON string is a YAML string */
    json_str(&w, str_from(text));
}

static void write_strings(const struct conf_strings *s, struct buf *out)
{
    buf_add_char(out, '[');
    for (unsigned i = 0; i < s->n; i++) {
        buf_add_cstr(out, i ? ", " : "");
        write_quoted(s->items[i], out);
    }
    buf_add_char(out, ']');
}

static void write_prefixes(const struct conf_prefixes *p, struct buf *out)
{
    char text[ADDR_TEXT + 4];
    buf_add_char(out, '[');
    for (unsigned i = 0; i < p->n; i++) {
        addr_prefix_format(&p->items[i], text);
        buf_addf(out, "%s\"%s\"", i ? ", " : "", text);
    }
    buf_add_char(out, ']');
}

bool conf_value_write(const struct conf_entry *e, const void *at, struct buf *out)
{
    const char *text = e->type == CONF_STRING     ? *(const char *const *)at
                       : e->type == CONF_ENDPOINT ? ((const struct endpoint *)at)->text
                                                  : "";
    if (!text || (e->type == CONF_ENDPOINT && !*text)) {
        return false;
    }
    if (e->flags & CONF_SECRET) {
        buf_add_cstr(out, "\"***\"");
        return true;
    }
    switch (e->type) {
    case CONF_BOOL:
        buf_add_cstr(out, *(const bool *)at ? "true" : "false");
        break;
    case CONF_INT:
        buf_add_u64(out, get_number(e, at));
        break;
    case CONF_OCTAL:
    case CONF_DURATION:
    case CONF_SIZE:
        conf_number_write(e, (double)get_number(e, at), out);
        break;
    case CONF_F64:
        conf_number_write(e, *(const double *)at, out);
        break;
    case CONF_ENUM:
        buf_add_cstr(out, e->names[*(const int *)at]);
        break;
    case CONF_STRINGS:
        write_strings(at, out);
        break;
    case CONF_PREFIXES:
        write_prefixes(at, out);
        break;
    default:
        write_quoted(text, out);
    }
    return true;
}
