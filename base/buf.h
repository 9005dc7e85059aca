/* Owned bytes that grow up to a ceiling set at birth. Not a queue: see base/http for rings.
 *
 *     p: [ used bytes ... | NUL | spare ]      n used, cap allocated, max the ceiling
 *
 * Ownership: the holder calls buf_clear. p is never NULL and always has a NUL after n bytes.
 * Errors: an addition that would pass max sets `overflowed`, adds nothing and returns ERR_LIMIT; all
 * later additions fail as well, so that a sequence of additions is checked once, at its end.
 * Memory: running out of memory below max aborts (small allocations are never checked).
 * Thread rule: used by one thread at a time. */
#ifndef TIDE_BASE_BUF_H
#define TIDE_BASE_BUF_H

#include <stdarg.h>

#include "base/str.h"

struct buf {
    char *p;         /* NUL-terminated */
    size_t n;        /* bytes used */
    size_t cap;      /* bytes allocated, 0 while p is the shared empty text */
    size_t max;      /* most bytes it may hold */
    bool overflowed; /* an addition did not fit */
};

void buf_init(struct buf *b, size_t max_bytes);
void buf_clear(struct buf *b);    /* frees; usable again, same max */
void buf_truncate(struct buf *b); /* n = 0, keeps the memory, forgets an overflow */

int buf_add(struct buf *b, const void *p, size_t n);
int buf_add_str(struct buf *b, struct str s);
int buf_add_cstr(struct buf *b, const char *s);
int buf_add_char(struct buf *b, char c);
int buf_add_u64(struct buf *b, uint64_t v);
int buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int buf_addv(struct buf *b, const char *fmt, va_list ap);
void *buf_reserve(struct buf *b, size_t n); /* room for n more; NULL past max. Follow with buf_commit */
void buf_commit(struct buf *b, size_t n);
void buf_consume(struct buf *b, size_t n); /* drop n bytes at the front (memmove) */
char *buf_take(struct buf *b, size_t *n);  /* heap text, caller frees; the buf is empty again */

static inline struct str buf_str(const struct buf *b)
{
    return (struct str){b->p, b->n};
}

#endif
