/* Bytes waiting to go out: a queue of blocks of 16 KiB, each at most one TLS record. Not a ring: it grows, and its users
 * bound it.
 *
 *     head [from..to] -> [from..to] -> tail [from..to | room]
 *
 * A queue begins with a small block where that suffices, since most turns send one event or one short answer on each of
 * many connections; what outgrows it moves to a large one, so that it still leaves in one record.
 * Ownership: blocks belong to the queue; free ones to the pool of the loop, which keeps 64 large (1 MiB) and 512 small
 * ones (1 MiB).
 * Thread rule: pool and queues are used on one loop only. */
#ifndef TIDE_BASE_HTTP_OUTQ_H
#define TIDE_BASE_HTTP_OUTQ_H

#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

enum { OUTQ_BLOCK_BYTES = 16384, OUTQ_SMALL_BYTES = 2024, OUTQ_POOL_BLOCKS = 64, OUTQ_POOL_SMALL = 512 };

struct outq_block {
    struct outq_block *next;
    uint32_t from, to; /* bytes in use: p[from] .. p[to - 1] */
    uint32_t size;     /* of p: OUTQ_BLOCK_BYTES or OUTQ_SMALL_BYTES */
    char p[];
};

struct outq_pool {
    struct outq_block *large, *small;
    unsigned large_count, small_count;
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
