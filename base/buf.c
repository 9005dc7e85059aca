#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"

/* Every empty buf points here; it is never written but for the NUL it already holds. */
static char empty_text[1];

void buf_init(struct buf *b, size_t max_bytes)
{
    const size_t most = SIZE_MAX / 4; /* leaves room to double and to add the NUL */
    *b = (struct buf){.p = empty_text, .max = max_bytes < most ? max_bytes : most};
}

void buf_clear(struct buf *b)
{
    if (b->cap > 0) {
        free(b->p);
    }
    buf_init(b, b->max);
}

void buf_truncate(struct buf *b)
{
    b->n = 0;
    b->overflowed = false;
    if (b->cap > 0) {
        b->p[0] = '\0';
    }
}

/* cap always has one byte more than it may hold in use, for the NUL. */
static void grow(struct buf *b, size_t need)
{
    size_t cap = b->cap > 0 ? b->cap : 64;
    while (cap < need + 1) {
        cap *= 2;
    }
    if (cap > b->max + 1) {
        cap = b->max + 1;
    }
    char *p = realloc(b->cap > 0 ? b->p : NULL, cap);
    BUG_ON(!p);
    p[b->n] = '\0';
    b->p = p;
    b->cap = cap;
}

void *buf_reserve(struct buf *b, size_t n)
{
    if (b->overflowed || n > b->max - b->n) {
        b->overflowed = true;
        return NULL;
    }
    if (b->n + n + 1 > b->cap) {
        grow(b, b->n + n);
    }
    return b->p + b->n;
}

void buf_commit(struct buf *b, size_t n)
{
    BUG_ON(n > 0 && n >= b->cap - b->n);
    b->n += n;
    if (b->cap > 0) {
        b->p[b->n] = '\0';
    }
}

int buf_add(struct buf *b, const void *p, size_t n)
{
    if (n == 0) {
        return b->overflowed ? ERR_LIMIT : 0;
    }
    void *to = buf_reserve(b, n);
    if (!to) {
        return ERR_LIMIT;
    }
    memcpy(to, p, n);
    buf_commit(b, n);
    return 0;
}

int buf_add_str(struct buf *b, struct str s)
{
    return buf_add(b, s.p, s.n);
}

int buf_add_cstr(struct buf *b, const char *s)
{
    return buf_add(b, s, strlen(s));
}

int buf_add_char(struct buf *b, char c)
{
    return buf_add(b, &c, 1);
}

int buf_add_u64(struct buf *b, uint64_t v)
{
    char digits[20];
    return buf_add(b, digits, (size_t)(str_put_u64(digits, v) - digits));
}

int buf_addv(struct buf *b, const char *fmt, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    BUG_ON(n < 0);
    char *to = buf_reserve(b, (size_t)n);
    if (!to) {
        return ERR_LIMIT;
    }
    if (n > 0) {
        vsnprintf(to, (size_t)n + 1, fmt, ap);
        buf_commit(b, (size_t)n);
    }
    return 0;
}

int buf_addf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int rc = buf_addv(b, fmt, ap);
    va_end(ap);
    return rc;
}

void buf_consume(struct buf *b, size_t n)
{
    BUG_ON(n > b->n);
    if (n == 0) {
        return;
    }
    memmove(b->p, b->p + n, b->n - n + 1);
    b->n -= n;
}

char *buf_take(struct buf *b, size_t *n)
{
    if (b->cap == 0) {
        grow(b, 0);
    }
    char *p = b->p;
    if (n) {
        *n = b->n;
    }
    buf_init(b, b->max);
    return p;
}
