#include "gateway/routes.h"

#include <stdio.h>
#include <stdlib.h>

static struct metric requests_total = METRIC_COUNTER_L(
    "tidegate_requests_total", "Requests that ended, by route and class of status.", "route,code");
static struct metric request_duration = METRIC_HISTOGRAM_L(
    "tidegate_request_duration_seconds", "From the first byte of the head to the end.", "route");

struct route_table {
    struct route_entry *rows; /* sealed: exact ones first, then prefixes, longest first */
    unsigned count;
};

static const char *const method_names[] = {
    [HTTP_GET] = "GET",     [HTTP_HEAD] = "HEAD",     [HTTP_POST] = "POST",       [HTTP_PUT] = "PUT",
    [HTTP_PATCH] = "PATCH", [HTTP_DELETE] = "DELETE", [HTTP_OPTIONS] = "OPTIONS",
};

static const char *const code_classes[ROUTE_CODE_CLASSES] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};

struct route_table *route_table_new(void)
{
    struct route_table *t = calloc(1, sizeof *t);
    BUG_ON(t == NULL);
    return t;
}

void route_table_free(struct route_table *t)
{
    for (unsigned i = 0; t != NULL && i < t->count; i++) {
        arena_clear(&t->rows[i].arena);
        for (unsigned c = 0; c < ROUTE_CODE_CLASSES; c++) {
            metric_child_release(t->rows[i].by_code[c]);
        }
        metric_child_release(t->rows[i].duration);
    }
    if (t != NULL) {
        free(t->rows);
        free(t);
    }
}

static bool is_same_path(const struct route *a, const struct route *b)
{
    return a->is_prefix == b->is_prefix && str_eq(a->path, b->path);
}

static const struct route *overlapping(const struct route_table *t, const struct route *row)
{
    for (unsigned i = 0; i < t->count; i++) {
        const struct route *old = &t->rows[i].route;
        if (is_same_path(old, row) && (old->methods & row->methods) != 0) {
            return old;
        }
    }
    return NULL;
}

static void entry_init(struct route_entry *e, const struct route *row)
{
    char labels[96];
    *e = (struct route_entry){.route = *row};
    arena_init(&e->arena);
    e->reading = route_path_read(&e->arena, row->path);
    for (unsigned c = 0; c < ROUTE_CODE_CLASSES; c++) {
        snprintf(labels, sizeof labels, "%s,%s", row->name, code_classes[c]);
        e->by_code[c] = metric_child(&requests_total, labels);
    }
    e->duration = metric_child(&request_duration, row->name);
}

int route_table_add(struct route_table *t, const struct route *rows, unsigned count, struct err *err)
{
    for (unsigned i = 0; i < count; i++) {
        const struct route *old = overlapping(t, &rows[i]);
        if (old != NULL) {
            return err_set(err, ERR_CONFLICT, "routes %s and %s both answer " STR_FMT, old->name,
                           rows[i].name, STR_ARG(rows[i].path));
        }
        t->rows = realloc(t->rows, (t->count + 1) * sizeof *t->rows);
        BUG_ON(t->rows == NULL);
        entry_init(&t->rows[t->count++], &rows[i]);
    }
    return 0;
}

static int by_rank(const void *a, const void *b)
{
    const struct route *x = &((const struct route_entry *)a)->route;
    const struct route *y = &((const struct route_entry *)b)->route;
    if (x->is_prefix != y->is_prefix) {
        return x->is_prefix ? 1 : -1;
    }
    if (x->path.n != y->path.n) {
        return x->path.n > y->path.n ? -1 : 1;
    }
    return memcmp(x->path.p, y->path.p, x->path.n);
}

void route_table_seal(struct route_table *t)
{
    qsort(t->rows, t->count, sizeof *t->rows, by_rank);
}

static bool matches(const struct route *row, struct str own, struct str path)
{
    return row->is_prefix ? str_starts(path, own) : str_eq(path, own);
}

/* What a client must show, as bits. */
static unsigned demands(const struct route *row)
{
    static const uint8_t bits[] = {
        [ROUTE_AUTH_NONE] = 0, [ROUTE_AUTH_APIKEY] = 1, [ROUTE_AUTH_USER] = 2, [ROUTE_AUTH_APIKEY_USER] = 3};
    return bits[row->auth];
}

/* by_reading: both paths as servers may read them. A row of a path asks for nothing on behalf of that path's other methods:
 * each of them has its own. Rows of one path lie together. */
static const struct route_entry *find(const struct route_table *t, enum http_method method, struct str path,
                                      bool by_reading, uint32_t *allowed)
{
    unsigned demanded = 0;           /* by matching rows of longer paths that do not take the method */
    unsigned pending = 0;            /* likewise, by those of the path of `last` */
    const struct route *last = NULL; /* that matched */
    *allowed = 0;
    for (unsigned i = 0; i < t->count; i++) {
        const struct route_entry *e = &t->rows[i];
        if (!matches(&e->route, by_reading ? e->reading : e->route.path, path)) {
            continue;
        }
        if (last == NULL || !is_same_path(last, &e->route)) {
            demanded |= pending;
            pending = 0;
        }
        last = &e->route;
        if ((demands(&e->route) & demanded) != demanded) {
            continue;
        }
        if ((e->route.methods & ROUTE_METHOD(method)) != 0) {
            return e;
        }
        *allowed |= e->route.methods;
        pending |= demands(&e->route);
    }
    return NULL;
}

const struct route_entry *route_find(const struct route_table *t, enum http_method method, struct str path,
                                     uint32_t *allowed)
{
    return find(t, method, path, false, allowed);
}

/* --- what servers make of a path ------------------------------------------------------------------- */

static bool is_read_as_written(struct str path)
{
    bool plain = true;
    char before = '\0';
    for (size_t i = 0; i < path.n; i++) {
        char c = path.p[i];
        plain &= c != '%' && c != ';' && (c != '/' || before != '/');
        before = c;
    }
    return plain;
}

struct str route_path_read(struct arena *a, struct str path)
{
    if (is_read_as_written(path)) {
        return path;
    }
    char *out = arena_alloc(a, path.n);
    size_t n = 0;
    bool is_cut = false; /* behind a semicolon, up to the end of the segment */
    for (size_t i = 0; i < path.n; i++) {
        uint8_t byte = (uint8_t)path.p[i];
        if (byte == '%' && path.n - i > 2 && str_hex_decode(str_of(path.p + i + 1, 2), &byte, 1) == 1) {
            i += 2;
        }
        byte = byte == '\\' ? '/' : byte;
        is_cut = byte != '/' && (is_cut || byte == ';');
        if (!is_cut && (byte != '/' || n == 0 || out[n - 1] != '/')) {
            out[n++] = (char)byte;
        }
    }
    return str_of(out, n);
}

bool route_is_clear(const struct route_table *t, enum http_method method, struct str path, struct arena *a)
{
    uint32_t allowed;
    struct str reading = route_path_read(a, path);
    return reading.p == path.p ||
           find(t, method, path, false, &allowed) == find(t, method, reading, true, &allowed);
}

const struct route_entry *route_at(const struct route_table *t, unsigned i)
{
    return i < t->count ? &t->rows[i] : NULL;
}

enum http_dialect route_dialect_of(struct str path)
{
    if (str_starts(path, STR("/auth/v1/"))) {
        return HTTP_DIALECT_GOTRUE;
    }
    return str_starts(path, STR("/v1/")) ? HTTP_DIALECT_OPENAI : HTTP_DIALECT_PROBLEM;
}

struct str route_methods_text(struct arena *a, uint32_t methods)
{
    struct str out = STR("");
    for (unsigned m = 0; m < sizeof method_names / sizeof method_names[0]; m++) {
        if ((methods & ROUTE_METHOD(m)) != 0) {
            out = arena_printf(a, STR_FMT "%s%s", STR_ARG(out), out.n > 0 ? ", " : "", method_names[m]);
        }
    }
    return out;
}
