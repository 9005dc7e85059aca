/* Binding a tree of nodes to tables. Single values are in conf_value.c, writing in conf_write.c. */
#include "base/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/conf_tree.h"
#include "base/conf_value.h"

enum { FILE_MAX_BYTES = 1024 * 1024, PATH_ROOM = 256 };

struct conf {
    atomic_uint refs;
    struct arena arena;
    const struct conf_section *section;
    void *root; /* in the arena */
};

struct binding {
    struct arena *arena;
    const char *name;           /* of the file */
    const struct conf_node *at; /* innermost node that is there */
    char path[PATH_ROOM];       /* gateway.listen[0].idle */
    size_t path_n;
    struct err *err;
};

static int bind_section(struct binding *b, const struct conf_section *s, const struct conf_node *node,
                        void *out);

/* --- errors and paths ------------------------------------------------------------------------- */

static int fail(struct binding *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int fail(struct binding *b, const char *fmt, ...)
{
    char what[160], place[96];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    conf_place(place, sizeof(place), b->name, b->at ? b->at->line : 1, b->at ? b->at->column : 1);
    return err_set(b->err, ERR_INVALID, "%s%s%s%s", place, b->path, b->path_n ? ": " : "", what);
}

static size_t path_push(struct binding *b, const char *name, unsigned index)
{
    size_t before = b->path_n;
    size_t room = sizeof(b->path) - before;
    int n = name ? snprintf(b->path + before, room, "%s%s", before ? "." : "", name)
                 : snprintf(b->path + before, room, "[%u]", index);
    b->path_n = (size_t)n < room ? before + (size_t)n : sizeof(b->path) - 1;
    return before;
}

static void path_pop(struct binding *b, size_t before)
{
    b->path_n = before;
    b->path[before] = '\0';
}

/* Levenshtein's distance, for names up to 63 bytes. */
static unsigned distance(struct str a, struct str b)
{
    unsigned row[64];
    if (a.n >= 64 || b.n >= 64) {
        return 64;
    }
    for (unsigned j = 0; j <= b.n; j++) {
        row[j] = j;
    }
    for (unsigned i = 1; i <= a.n; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= b.n; j++) {
            unsigned change = diagonal + (a.p[i - 1] != b.p[j - 1]);
            unsigned least = row[j] < row[j - 1] ? row[j] : row[j - 1];
            diagonal = row[j];
            row[j] = change < least + 1 ? change : least + 1;
        }
    }
    return row[b.n];
}

static int fail_unknown(struct binding *b, const struct conf_section *s, struct str key)
{
    unsigned best = (unsigned)(key.n / 2) + 1;
    const char *nearest = NULL;
    for (unsigned i = 0; i < s->count; i++) {
        unsigned d = distance(key, str_from(s->entries[i].name));
        if (d < best) {
            best = d;
            nearest = s->entries[i].name;
        }
    }
    return nearest ? fail(b, "unknown setting '%.40s', did you mean '%s'?", key.p, nearest)
                   : fail(b, "unknown setting '%.40s'", key.p);
}

/* --- binding ---------------------------------------------------------------------------------- */

static int bind_scalar(struct binding *b, const struct conf_entry *e, const struct conf_node *node,
                       void *field)
{
    struct err why;
    if (!node && !e->preset) {
        return 0;
    }
    if (node && (node->kind != CONF_KIND_SCALAR || conf_node_is_null(node))) {
        return fail(b, "needs a single value");
    }
    int rc = conf_value_read(e, node ? b->arena : NULL, node ? node->text : str_from(e->preset), field, &why);
    return rc == 0 ? 0 : fail(b, "%s", why.msg);
}

static unsigned preset_items(const char *preset, struct str items[64], struct arena *a)
{
    struct str in = str_from(preset), item;
    unsigned n = 0;
    while (n < 64 && str_cut(&in, ',', &item)) {
        items[n++] = arena_dup(a, str_trim(item));
    }
    return n;
}

static int bind_items(struct binding *b, const struct conf_entry *e, const struct conf_node *node,
                      void *field)
{
    struct str presets[64];
    struct str *items = presets;
    unsigned n = 0;
    struct err why;
    if (!node) {
        n = preset_items(e->preset, presets, b->arena);
    } else if (node->kind != CONF_KIND_SEQUENCE) {
        return fail(b, "needs a list, like [a, b]");
    } else {
        items = arena_alloc(b->arena, node->count * sizeof(*items));
        for (const struct conf_node *i = node->first; i; i = i->next) {
            if (i->kind != CONF_KIND_SCALAR) {
                return fail(b, "item %u needs to be a single value", n);
            }
            items[n++] = i->text;
        }
    }
    int rc = conf_items_read(e, b->arena, items, n, field, &why);
    return rc == 0 ? 0 : fail(b, "%s", why.msg);
}

static int bind_list(struct binding *b, const struct conf_entry *e, const struct conf_node *node,
                     struct conf_list *out)
{
    struct err why;
    bool is_one = node && node->kind == CONF_KIND_MAP && (e->flags & CONF_OR_ONE);
    if (node && node->kind != CONF_KIND_SEQUENCE && !is_one) {
        return fail(b, "needs a list");
    }
    unsigned n = is_one ? 1 : node ? node->count : 0, i = 0;
    if (conf_count_check(e, n, &why) != 0) {
        return fail(b, "%s", why.msg);
    }
    char *items = n ? arena_calloc(b->arena, n * e->section->size) : NULL;
    *out = (struct conf_list){items, n};
    if (is_one) {
        return bind_section(b, e->section, node, items);
    }
    for (const struct conf_node *item = node ? node->first : NULL; item; item = item->next, i++) {
        size_t before = path_push(b, NULL, i);
        b->at = item;
        int rc = bind_section(b, e->section, item, items + i * e->section->size);
        if (rc != 0) {
            return rc;
        }
        path_pop(b, before);
    }
    return 0;
}

static int bind_option(struct binding *b, const struct conf_entry *e, const struct conf_node *node,
                       void **out)
{
    if (!node) {
        *out = NULL;
        return 0;
    }
    *out = arena_calloc(b->arena, e->section->size);
    return bind_section(b, e->section, node, *out);
}

static int bind_entry(struct binding *b, const struct conf_entry *e, const struct conf_node *node,
                      void *field)
{
    bool list = e->type == CONF_LIST || e->type == CONF_STRINGS || e->type == CONF_PREFIXES;
    if ((e->flags & CONF_REQUIRED) && (!node || (list && node->count == 0))) {
        return fail(b, "is required");
    }
    switch (e->type) {
    case CONF_SECTION:
        return bind_section(b, e->section, node, field);
    case CONF_OPTION:
        return bind_option(b, e, node, field);
    case CONF_LIST:
        return bind_list(b, e, node, field);
    case CONF_STRINGS:
    case CONF_PREFIXES:
        return bind_items(b, e, node, field);
    default:
        return bind_scalar(b, e, node, field);
    }
}

static int check_keys(struct binding *b, const struct conf_section *s, const struct conf_node *map)
{
    for (const struct conf_node *n = map ? map->first : NULL; n; n = n->next) {
        bool known = false;
        for (unsigned i = 0; i < s->count && !known; i++) {
            known = str_is(n->key, s->entries[i].name);
        }
        if (!known) {
            b->at = n;
            return fail_unknown(b, s, n->key);
        }
    }
    return 0;
}

static int run_check(struct binding *b, const struct conf_section *s, const struct conf_node *node, void *out)
{
    struct err why = {.msg = ""};
    const char *field = NULL;
    if (!s->check || s->check(out, &field, &why) == 0) {
        return 0;
    }
    const struct conf_node *at = field ? conf_tree_find(node, field) : NULL;
    if (at) {
        b->at = at;
    }
    if (field) {
        path_push(b, field, 0);
    }
    return fail(b, "%s", why.msg);
}

static int bind_section(struct binding *b, const struct conf_section *s, const struct conf_node *node,
                        void *out)
{
    const struct conf_node *here = b->at;
    if (node && conf_node_is_null(node)) {
        node = NULL;
    }
    if (node && node->kind != CONF_KIND_MAP) {
        return fail(b, "needs settings, one 'name: value' a line");
    }
    int rc = check_keys(b, s, node);
    for (unsigned i = 0; rc == 0 && i < s->count; i++) {
        const struct conf_entry *e = &s->entries[i];
        const struct conf_node *member = conf_tree_find(node, e->name);
        size_t before = path_push(b, e->name, 0);
        b->at = member ? member : here;
        rc = bind_entry(b, e, member, (char *)out + e->offset);
        if (rc != 0) {
            return rc; /* the path stays as the error needs it */
        }
        path_pop(b, before);
    }
    b->at = here;
    return rc == 0 ? run_check(b, s, node, out) : rc;
}

/* --- life ------------------------------------------------------------------------------------- */

int conf_parse(struct str text, const char *name, const struct conf_section *root, struct conf **out,
               struct err *err)
{
    struct conf_node *tree;
    struct arena nodes;
    *out = NULL;
    struct conf *c = calloc(1, sizeof(*c));
    BUG_ON(!c);
    atomic_init(&c->refs, 1);
    arena_init(&c->arena);
    arena_init(&nodes);
    c->section = root;
    c->root = arena_calloc(&c->arena, root->size);
    int rc = conf_tree_parse(&nodes, text, name, &tree, err);
    if (rc == 0) {
        struct binding b = {.arena = &c->arena, .name = name, .at = tree, .err = err};
        rc = bind_section(&b, root, tree, c->root);
    }
    arena_clear(&nodes);
    if (rc != 0) {
        conf_unref(c);
        return rc;
    }
    *out = c;
    return 0;
}

static int read_file(const char *path, struct buf *out, struct err *err)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return err_set(err, ERR_IO, "cannot read %s: %s", path, strerror(errno));
    }
    int rc = 0;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        rc = err_set(err, ERR_IO, "%s is not a regular file", path);
    } else if (st.st_size > FILE_MAX_BYTES) {
        rc = err_set(err, ERR_LIMIT, "%s has more than 1 MiB", path);
    }
    while (rc == 0) {
        char chunk[4096];
        ssize_t n = read(fd, chunk, sizeof(chunk));
        if (n == 0) {
            break;
        }
        if (n < 0) {
            rc = err_set(err, ERR_IO, "cannot read %s: %s", path, strerror(errno));
        } else if (buf_add(out, chunk, (size_t)n) != 0) {
            rc = err_set(err, ERR_LIMIT, "%s has more than 1 MiB", path);
        }
    }
    close(fd);
    return rc;
}

int conf_load(const char *path, const struct conf_section *root, struct conf **out, struct err *err)
{
    struct buf text;
    *out = NULL;
    buf_init(&text, FILE_MAX_BYTES);
    int rc = read_file(path, &text, err);
    if (rc == 0) {
        rc = conf_parse(buf_str(&text), path, root, out, err);
    }
    buf_clear(&text);
    return rc;
}

void conf_preset(const struct conf_section *section, void *out)
{
    struct err err = {.msg = ""};
    struct arena none;
    struct binding b = {.arena = &none, .name = "presets", .err = &err};
    arena_init(&none);
    memset(out, 0, section->size);
    int rc = bind_section(&b, section, NULL, out);
    BUG_ON(rc != 0);
    BUG_ON(none.total_bytes != 0); /* a list with presets: there is no one to own them */
}

struct conf *conf_ref(struct conf *c)
{
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

void conf_unref(struct conf *c)
{
    if (c && atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) == 1) {
        arena_clear(&c->arena);
        free(c);
    }
}

const struct conf_section *conf_root_section(const struct conf *c)
{
    return c->section;
}

const void *conf_root(const struct conf *c)
{
    return c->root;
}
