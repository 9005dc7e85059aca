#include "base/http/outq.h"

#include <stdlib.h>

#include "base/err.h"

static struct outq_block *block_take(struct outq_pool *pool)
{
    struct outq_block *b = pool->free;
    if (b) {
        pool->free = b->next;
        pool->count--;
    } else {
        b = malloc(sizeof(*b));
        BUG_ON(!b);
    }
    b->next = NULL;
    b->from = b->to = 0;
    return b;
}

static void block_give(struct outq_pool *pool, struct outq_block *b)
{
    if (pool->count >= OUTQ_POOL_BLOCKS) {
        free(b);
        return;
    }
    b->next = pool->free;
    pool->free = b;
    pool->count++;
}

void outq_pool_clear(struct outq_pool *pool)
{
    while (pool->free) {
        struct outq_block *b = pool->free;
        pool->free = b->next;
        free(b);
    }
    pool->count = 0;
}

static void block_append(struct outq *q, struct outq_pool *pool)
{
    struct outq_block *b = block_take(pool);
    if (q->tail) {
        q->tail->next = b;
    } else {
        q->head = b;
    }
    q->tail = b;
}

void outq_add(struct outq *q, struct outq_pool *pool, const void *p, size_t n)
{
    const char *from = p;
    while (n > 0) {
        if (!q->tail || q->tail->to == OUTQ_BLOCK_BYTES) {
            block_append(q, pool);
        }
        size_t room = OUTQ_BLOCK_BYTES - q->tail->to;
        size_t part = n < room ? n : room;
        memcpy(q->tail->p + q->tail->to, from, part);
        q->tail->to += (uint32_t)part;
        q->n += part;
        from += part;
        n -= part;
    }
}

char *outq_reserve(struct outq *q, struct outq_pool *pool, size_t n)
{
    BUG_ON(n > OUTQ_BLOCK_BYTES);
    if (!q->tail || OUTQ_BLOCK_BYTES - q->tail->to < n) {
        block_append(q, pool);
    }
    return q->tail->p + q->tail->to;
}

void outq_commit(struct outq *q, size_t n)
{
    BUG_ON(!q->tail || OUTQ_BLOCK_BYTES - q->tail->to < n);
    q->tail->to += (uint32_t)n;
    q->n += n;
}

struct str outq_front(const struct outq *q)
{
    if (!q->head) {
        return STR("");
    }
    return str_of(q->head->p + q->head->from, q->head->to - q->head->from);
}

static void drop_head(struct outq *q, struct outq_pool *pool)
{
    struct outq_block *b = q->head;
    q->head = b->next;
    if (!q->head) {
        q->tail = NULL;
    }
    block_give(pool, b);
}

void outq_consume(struct outq *q, struct outq_pool *pool, size_t n)
{
    BUG_ON(n > q->n);
    q->n -= n;
    while (q->head) {
        size_t here = q->head->to - q->head->from;
        if (n < here) {
            q->head->from += (uint32_t)n;
            return;
        }
        n -= here;
        drop_head(q, pool);
    }
}

size_t outq_read(struct outq *q, struct outq_pool *pool, void *out, size_t n)
{
    char *to = out;
    size_t moved = 0;
    while (moved < n && q->n > 0) {
        struct str front = outq_front(q);
        size_t part = n - moved < front.n ? n - moved : front.n;
        memcpy(to + moved, front.p, part);
        outq_consume(q, pool, part);
        moved += part;
    }
    return moved;
}

void outq_clear(struct outq *q, struct outq_pool *pool)
{
    while (q->head) {
        drop_head(q, pool);
    }
    q->n = 0;
}
