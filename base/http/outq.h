/* Bytes waiting to go out: a queue of 16 KiB blocks, each at most one TLS record. Not a ring: it grows, and
 * its users bound it.
 *
 *     head [from..to] -> [from..to] -> tail [from..to | room]
 *
 * Ownership: blocks belong to the queue; free ones to the pool of the loop, which keeps 64 (1 MiB).
 * Thread rule: pool and queues are used on one loop only. */
#ifndef TIDE_BASE_HTTP_OUTQ_H
#define TIDE_BASE_HTTP_OUTQ_H

#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

enum { OUTQ_BLOCK_BYTES = 16384, OUTQ_POOL_BLOCKS = 64 };

struct outq_block {
    struct outq_block *next;
    uint32_t from, to; /* bytes in use: p[from] .. p[to - 1] */
    char p[OUTQ_BLOCK_BYTES];
};

struct outq_pool {
    struct outq_block *free;
    unsigned count;
};

struct outq {
    struct outq_block *head, *tail;
    size_t n; /* bytes queued */
};

void outq_pool_clear(struct outq_pool *pool);

void outq_add(struct outq *q, struct outq_pool *pool, const void *p, size_t n);
/* Room for n <= OUTQ_BLOCK_BYTES contiguous bytes behind the last; follow with outq_commit. */
char *outq_reserve(struct outq *q, struct outq_pool *pool, size_t n);
void outq_commit(struct outq *q, size_t n);
struct str outq_front(const struct outq *q); /* the first block's bytes; empty when the queue is */
void outq_consume(struct outq *q, struct outq_pool *pool, size_t n);
size_t outq_read(struct outq *q, struct outq_pool *pool, void *out,
                 size_t n); /* bytes moved out, at most n */
void outq_clear(struct outq *q, struct outq_pool *pool);

#endif
