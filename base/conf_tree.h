/* A YAML document as a tree of nodes with positions, for base/conf*.c only. Scalars, mappings and sequences;
 * anchors, aliases, tags, duplicate keys and further documents are refused.
 *
 * Ownership: nodes and their texts live in the arena given.
 * Thread rule: pure functions. */
#ifndef TIDE_BASE_CONF_TREE_H
#define TIDE_BASE_CONF_TREE_H

#include "base/arena.h"
#include "base/err.h"

enum conf_kind {
    CONF_KIND_SCALAR = 0,
    CONF_KIND_MAP = 1,
    CONF_KIND_SEQUENCE = 2,
};

struct conf_node {
    enum conf_kind kind;
    struct str text;         /* scalar, NUL-terminated */
    bool is_plain;           /* scalar without quotes */
    struct conf_node *first; /* members or items */
    struct conf_node *next;  /* sibling */
    unsigned count;          /* of members or items */
    struct str key;          /* in a mapping */
    unsigned line, column;   /* from 1; a member's are those of its key */
};

/* *out is NULL for an empty document. name stands for the file in errors. */
int conf_tree_parse(struct arena *a, struct str text, const char *name, struct conf_node **out,
                    struct err *err) TIDE_CHECK;
const struct conf_node *conf_tree_find(const struct conf_node *map, const char *key); /* map may be NULL */
bool conf_node_is_null(const struct conf_node *n); /* nothing, ~ or null without quotes */
/* "NAME:LINE:COLUMN: ", a long name cut at its front so that the message has room. */
void conf_place(char *out, size_t n, const char *name, unsigned line, unsigned column);

#endif
