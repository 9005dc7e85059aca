/* Configuration by tables: a YAML file becomes a C struct, and the same tables give defaults, checks,
 * --print-config and the manual. Not a general YAML reader: anchors, aliases, tags, duplicate and unknown
 * keys are refused.
 *
 *     static const struct conf_entry entries[] = {
 *         {.name = "idle", .type = CONF_DURATION, CONF_FIELD(struct x_conf, idle_ms), .preset = "60s",
 *          .min = 1000, .max = 3600000, .flags = CONF_RELOADABLE, .help = "Keep-alive without a request."},
 *     };
 *     const struct conf_section x_conf_section = {
 *         .entries = entries, .count = CONF_COUNT(entries), .size = sizeof(struct x_conf), .check = check};
 *
 * The root section is a struct like any other; sections nest by CONF_SECTION, CONF_OPTION and CONF_LIST.
 * Life: conf_load -> immutable struct conf, counted; conf_root borrows the struct until the last unref.
 * All its memory is one arena. A file that is refused leaves no trace: whoever has the old one keeps it.
 * Errors: ERR_INVALID "FILE:LINE:COLUMN: gateway.listen[0].idle: what is wrong", ERR_IO.
 * Thread rule: loading is pure; conf_ref and conf_unref from any thread. */
#ifndef TIDE_BASE_CONF_H
#define TIDE_BASE_CONF_H

#include <stddef.h>

#include "base/addr.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

enum conf_type {
    CONF_BOOL = 0,      /* bool: true or false */
    CONF_INT = 1,       /* uint32_t or uint64_t */
    CONF_OCTAL = 2,     /* uint32_t, written as permission bits: 0600 */
    CONF_DURATION = 3,  /* uint32_t or uint64_t milliseconds, written 250ms 10s 5m 2h 30d */
    CONF_SIZE = 4,      /* uint32_t or uint64_t bytes, written 512 64KiB 1MiB 2GiB */
    CONF_F64 = 5,       /* double */
    CONF_STRING = 6,    /* const char *; NULL when neither given nor preset */
    CONF_ENUM = 7,      /* enum or int: index into .names */
    CONF_ENDPOINT = 8,  /* struct endpoint; text[0] == 0 when neither given nor preset */
    CONF_STRINGS = 9,   /* struct conf_strings */
    CONF_PREFIXES = 10, /* struct conf_prefixes */
    CONF_SECTION = 11,  /* the struct of .section, inline; absent means all its presets */
    CONF_OPTION = 12,   /* pointer to the struct of .section; NULL when absent */
    CONF_LIST = 13,     /* struct conf_list of structs of .section */
};

enum conf_flag {
    CONF_RELOADABLE = 1,   /* SIGHUP may change it; on a section or list: whatever is inside */
    CONF_SECRET = 2,       /* masked by --print-config */
    CONF_REQUIRED = 4,     /* must be written in the file (a list: with at least one item) */
    CONF_FILE = 8,         /* a string that names a readable regular file */
    CONF_SECRET_FILE = 16, /* besides, one that neither group nor others may read */
    CONF_OR_ONE = 32       /* a list of sections: one alone may be written without its dash */
};

struct conf_strings {
    const char *const *items;
    unsigned n;
};
struct conf_prefixes {
    const struct addr_prefix *items;
    unsigned n;
};
struct conf_list {
    const void *items; /* array of the item section's struct: cast it */
    unsigned n;
};

struct conf_section;
struct conf_entry {
    const char *name;
    enum conf_type type;
    size_t offset;            /* CONF_FIELD sets offset and width */
    size_t width;             /* of the field, bytes */
    const char *preset;       /* as it would be written; items of lists with commas; NULL: zero, empty */
    double min, max;          /* value, milliseconds, bytes, length of strings, items; max 0: none */
    unsigned flags;           /* enum conf_flag */
    const char *const *names; /* CONF_ENUM: ends with NULL */
    const struct conf_section *section;
    const char *help; /* one or two sentences for the manual */
};

struct conf_section {
    const struct conf_entry *entries;
    unsigned count;
    size_t size; /* of the struct, bytes */
    /* What single entries cannot say. May fill fields that no entry has. On failure sets *field to the
     * name of the entry at fault (or leaves it NULL) and describes only the fault. */
    int (*check)(void *section, const char **field, struct err *err);
    const char *help; /* a paragraph for the manual; NULL: none */
};

#define CONF_FIELD(type_, field_) .offset = offsetof(type_, field_), .width = sizeof(((type_ *)0)->field_)
#define CONF_COUNT(entries_) (unsigned)(sizeof(entries_) / sizeof((entries_)[0]))

struct conf;
int conf_load(const char *path, const struct conf_section *root, struct conf **out,
              struct err *err) TIDE_CHECK;
int conf_parse(struct str text, const char *name, const struct conf_section *root, struct conf **out,
               struct err *err) TIDE_CHECK; /* name stands for the file in errors */
/* Presets and nothing else, for one struct; its check is run. Strings are static. Not for sections with
 * required settings or with lists that have presets. */
void conf_preset(const struct conf_section *section, void *out);
struct conf *conf_ref(struct conf *c);
void conf_unref(struct conf *c);
const void *conf_root(const struct conf *c);

/* Path of the first setting that differs and may not change by a reload; false when there is none. */
bool conf_needs_restart(const struct conf *from, const struct conf *to, char *path, size_t n);

void conf_write(const struct conf *c, struct buf *out); /* effective values as YAML, secrets masked */
void conf_write_manual(const struct conf_section *root, struct buf *out); /* Markdown */

#endif
