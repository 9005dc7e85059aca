/* The target of a request: paths and queries. */
#include <stdio.h>

#include "gateway/ctl/ctl.h"

void ctl_add_encoded(struct buf *b, const char *text)
{
    for (; *text != '\0'; text++) {
        unsigned char ch = (unsigned char)*text;
        bool plain =
            (ch >= '0' && ch <= '9') || ((ch | 32) >= 'a' && (ch | 32) <= 'z') || strchr("-._~", ch) != NULL;
        if (plain) {
            buf_add_char(b, (char)ch);
        } else {
            buf_addf(b, "%%%02X", ch);
        }
    }
}

void ctl_add_query(struct buf *b, const char *name, const char *value)
{
    if (value != NULL) {
        buf_addf(b, "%c%s=", memchr(b->p, '?', b->n) != NULL ? '&' : '?', name);
        ctl_add_encoded(b, value);
    }
}

void ctl_add_query_number(struct buf *b, const char *name, int64_t value)
{
    char text[24];
    if (value > 0) {
        snprintf(text, sizeof text, "%lld", (long long)value);
        ctl_add_query(b, name, text);
    }
}
