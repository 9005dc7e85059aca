#include "base/conf_tree.h"

#include <stdarg.h>
#include <stdio.h>
#include <yaml.h>

enum { DEPTH_MAX = 16, NAME_SHOWN = 56 };

struct reader {
    yaml_parser_t parser;
    yaml_event_t event; /* the one under the eye */
    struct arena *arena;
    const char *name;
    struct err *err;
    unsigned depth;
};

static int read_node(struct reader *r, struct conf_node **out);

void conf_place(char *out, size_t n, const char *name, unsigned line, unsigned column)
{
    size_t length = strlen(name);
    bool cut = length > NAME_SHOWN;
    snprintf(out, n, "%s%s:%u:%u: ", cut ? "..." : "", cut ? name + length - NAME_SHOWN : name, line, column);
}

static int fail_at(struct reader *r, unsigned line, unsigned column, const char *what)
{
    char place[96];
    conf_place(place, sizeof(place), r->name, line, column);
    return err_set(r->err, ERR_INVALID, "%s%s", place, what);
}

static int fail(struct reader *r, const char *what)
{
    return fail_at(r, (unsigned)r->event.start_mark.line + 1, (unsigned)r->event.start_mark.column + 1, what);
}

static int next_event(struct reader *r)
{
    yaml_event_delete(&r->event);
    if (yaml_parser_parse(&r->parser, &r->event)) {
        return 0;
    }
    memset(&r->event, 0, sizeof(r->event));
    return fail_at(r, (unsigned)r->parser.problem_mark.line + 1, (unsigned)r->parser.problem_mark.column + 1,
                   r->parser.problem ? r->parser.problem : "not YAML");
}

static struct conf_node *node_new(struct reader *r, enum conf_kind kind)
{
    struct conf_node *n = ARENA_NEW(r->arena, struct conf_node);
    n->kind = kind;
    n->text = STR("");
    n->line = (unsigned)r->event.start_mark.line + 1;
    n->column = (unsigned)r->event.start_mark.column + 1;
    return n;
}

static int read_scalar(struct reader *r, struct conf_node **out)
{
    struct str text = str_of((const char *)r->event.data.scalar.value, r->event.data.scalar.length);
    if (memchr(text.p, '\0', text.n)) {
        return fail(r, "a NUL in a value");
    }
    *out = node_new(r, CONF_KIND_SCALAR);
    (*out)->text = arena_dup(r->arena, text);
    (*out)->is_plain = r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    return next_event(r);
}

/* key stands at its scalar; the node found gets its place and name. */
static int read_member(struct reader *r, const struct conf_node *map, struct conf_node **out)
{
    struct conf_node *key = NULL, *value = NULL;
    if (r->event.type != YAML_SCALAR_EVENT) {
        return fail(r, "a key must be plain text");
    }
    int rc = read_node(r, &key);
    if (rc != 0) {
        return rc;
    }
    if (conf_tree_find(map, key->text.p)) {
        return fail_at(r, key->line, key->column, "this key is there twice");
    }
    rc = read_node(r, &value);
    if (rc == 0) {
        value->key = key->text;
        value->line = key->line;
        value->column = key->column;
        *out = value;
    }
    return rc;
}

static int read_children(struct reader *r, struct conf_node *parent, yaml_event_type_t end)
{
    struct conf_node **tail = &parent->first;
    int rc = next_event(r);
    while (rc == 0 && r->event.type != end) {
        struct conf_node *child = NULL;
        rc = parent->kind == CONF_KIND_MAP ? read_member(r, parent, &child) : read_node(r, &child);
        if (rc == 0) {
            *tail = child;
            tail = &child->next;
            parent->count++;
        }
    }
    return rc == 0 ? next_event(r) : rc;
}

static bool has_anchor_or_tag(const yaml_event_t *e)
{
    switch (e->type) {
    case YAML_SCALAR_EVENT:
        return e->data.scalar.anchor || e->data.scalar.tag;
    case YAML_SEQUENCE_START_EVENT:
        return e->data.sequence_start.anchor || e->data.sequence_start.tag;
    case YAML_MAPPING_START_EVENT:
        return e->data.mapping_start.anchor || e->data.mapping_start.tag;
    default:
        return e->type == YAML_ALIAS_EVENT;
    }
}

static int read_nested(struct reader *r, struct conf_node **out)
{
    bool map = r->event.type == YAML_MAPPING_START_EVENT;
    if (r->depth == DEPTH_MAX) {
        return fail(r, "nested too deep");
    }
    *out = node_new(r, map ? CONF_KIND_MAP : CONF_KIND_SEQUENCE);
    r->depth++;
    int rc = read_children(r, *out, map ? YAML_MAPPING_END_EVENT : YAML_SEQUENCE_END_EVENT);
    r->depth--;
    return rc;
}

/* Leaves the event behind the node under the eye. */
static int read_node(struct reader *r, struct conf_node **out)
{
    if (has_anchor_or_tag(&r->event)) {
        return fail(r, "anchors, aliases and tags are not allowed");
    }
    if (r->event.type == YAML_SCALAR_EVENT) {
        return read_scalar(r, out);
    }
    return read_nested(r, out);
}

static int read_document(struct reader *r, struct conf_node **out)
{
    int rc = next_event(r); /* STREAM-START */
    rc = rc == 0 ? next_event(r) : rc;
    if (rc != 0 || r->event.type == YAML_STREAM_END_EVENT) {
        return rc;
    }
    rc = next_event(r); /* behind DOCUMENT-START */
    rc = rc == 0 ? read_node(r, out) : rc;
    rc = rc == 0 ? next_event(r) : rc; /* behind DOCUMENT-END */
    if (rc == 0 && r->event.type != YAML_STREAM_END_EVENT) {
        return fail(r, "only one document is allowed");
    }
    return rc;
}

int conf_tree_parse(struct arena *a, struct str text, const char *name, struct conf_node **out,
                    struct err *err)
{
    struct reader r = {.arena = a, .name = name, .err = err};
    *out = NULL;
    BUG_ON(!yaml_parser_initialize(&r.parser));
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text.p, text.n);
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    int rc = read_document(&r, out);
    yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
    return rc;
}

const struct conf_node *conf_tree_find(const struct conf_node *map, const char *key)
{
    const struct conf_node *n = map ? map->first : NULL;
    while (n && !str_is(n->key, key)) {
        n = n->next;
    }
    return n;
}

bool conf_node_is_null(const struct conf_node *n)
{
    return n->kind == CONF_KIND_SCALAR && n->is_plain &&
           (n->text.n == 0 || str_is(n->text, "~") || str_is(n->text, "null"));
}
