/* Single values of the configuration: from text into a field, and back to text. For base/conf*.c only.
 * Thread rule: pure functions, but that file settings look at the file. */
#ifndef TIDE_BASE_CONF_VALUE_H
#define TIDE_BASE_CONF_VALUE_H

#include "base/arena.h"
#include "base/conf.h"

/* Types up to CONF_ENDPOINT: text into the field `at`; a NULL arena keeps the text itself (presets). The
 * message of an error says only what is wrong. */
int conf_value_read(const struct conf_entry *e, struct arena *a, struct str text, void *at,
                    struct err *err) TIDE_CHECK;
/* Items of CONF_STRINGS and CONF_PREFIXES. */
int conf_items_read(const struct conf_entry *e, struct arena *a, const struct str *items, unsigned n,
                    void *at, struct err *err) TIDE_CHECK;
int conf_count_check(const struct conf_entry *e, unsigned n, struct err *err) TIDE_CHECK;

/* As it would be written in YAML; false when the field holds nothing. */
bool conf_value_write(const struct conf_entry *e, const void *at, struct buf *out);
void conf_number_write(const struct conf_entry *e, double v, struct buf *out); /* in the entry's unit */

const struct conf_section *conf_root_section(const struct conf *c);

static inline const void *conf_field(const struct conf_entry *e, const void *section)
{
    return (const char *)section + e->offset;
}

#endif
