#include "base/http/outq.h"

#include <stdlib.h>

#include "base/err.h"

static struct outq_block *take_free(struct outq_block **list, unsigned *count)
{
    struct outq_block *b = *list;
    if (b) {
        *list = b->next;
        (*count)--;
    }
    return b;
}

static struct outq_block *block_take(struct outq_pool *pool, uint32_t size)
{
    struct outq_block *b = size == OUTQ_SMALL_BYTES ? take_free(&pool->small, &pool->small_count)
                                                    : take_free(&pool->large, &pool->large_count);
    if (!b) {
        b = malloc(sizeof(*b) + size);
        BUG_ON(!b);
        b->size = size;
    }
    b->next = NULL;
    b->from = b->to = 0;
    return b;
}

static void block_give(struct outq_pool *pool, struct outq_block *b)
{
    bool is_small = b->size == OUTQ_SMALL_BYTES;
    struct outq_block **list = is_small ? &pool->small : &pool->large;
    unsigned *count = is_small ? &pool->small_count : &pool->large_count;
    if (*count >= (is_small ? OUTQ_POOL_SMALL : OUTQ_POOL_BLOCKS)) {
        free(b);
        return;
    }
    b->next = *list;
    *list = b;
    (*count)++;
}

static void free_list(struct outq_block *list)
{
    while (list) {
        struct outq_block *b = list;
        list = b->next;
        free(b);
    }
}

void outq_pool_clear(struct outq_pool *pool)
{
    free_list(pool->large);
    free_list(pool->small);
    *pool = (struct outq_pool){0};
}

static void block_append(struct outq *q, struct outq_pool *pool, uint32_t size)
{
    struct outq_block *b = block_take(pool, size);
    if (q->tail) {
        q->tail->next = b;
    } else {
        q->head = b;
    }
    q->tail = b;
}

/* The only block, a small one: its bytes move to a large one. */
static void enlarge(struct outq *q, struct outq_pool *pool)
{
    struct outq_block *small = q->tail;
    struct outq_block *b = block_take(pool, OUTQ_BLOCK_BYTES);
    BUG_ON(q->head != small);
    b->to = small->to - small->from;
    memcpy(b->p, small->p + small->from, b->to);
    q->head = q->tail = b;
    block_give(pool, small);
}

/* So that the tail takes something, and all n bytes where a small block is too small for them. */
static void make_room(struct outq *q, struct outq_pool *pool, size_t n)
{
    if (!q->tail) {
        block_append(q, pool, n <= OUTQ_SMALL_BYTES ? OUTQ_SMALL_BYTES : OUTQ_BLOCK_BYTES);
    } else if (q->tail->size == OUTQ_SMALL_BYTES && OUTQ_SMALL_BYTES - q->tail->to < n) {
        enlarge(q, pool);
    }
    if (q->tail->to == q->tail->size) {
        block_append(q, pool, OUTQ_BLOCK_BYTES);
    }
}

void outq_add(struct outq *q, struct outq_pool *pool, const void *p, size_t n)
{
    const char *from = p;
    while (n > 0) {
        make_room(q, pool, n);
        size_t room = q->tail->size - q->tail->to;
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
    make_room(q, pool, n);
    if (q->tail->size - q->tail->to < n) {
        block_append(q, pool, OUTQ_BLOCK_BYTES);
    }
    return q->tail->p + q->tail->to;
}

void outq_commit(struct outq *q, size_t n)
{
    BUG_ON(!q->tail || q->tail->size - q->tail->to < n);
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
