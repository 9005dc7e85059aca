#include "base/http/h2_mem.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

/* Running out of memory aborts, as everywhere for small sizes: nghttp2 1.52 frees a frame twice when some of its
 * allocations fail (nghttp2_submit_data, when the queue of streams cannot grow). */
static void *checked(void *p)
{
    BUG_ON(!p);
    return p;
}

enum {
    FRAME_BLOCK_BYTES = 9 + 1 + 16384, /* frame head, pad length, payload */
};

static __thread char frame_block[FRAME_BLOCK_BYTES];

static void *h2_malloc(size_t size, void *arg)
{
    struct h2_mem *m = arg;
    if (size != FRAME_BLOCK_BYTES || m->block) {
        return checked(malloc(size));
    }
    m->block = frame_block;
    return m->block;
}

static bool is_block(const struct h2_mem *m, const void *p)
{
    return p && p == m->block;
}

static void h2_free_bytes(void *p, void *arg)
{
    struct h2_mem *m = arg;
    if (is_block(m, p)) {
        m->block = NULL;
    } else {
        free(p);
    }
}

static void *h2_calloc(size_t n, size_t size, void *arg)
{
    (void)arg;
    return checked(calloc(n, size));
}

static void *h2_realloc(void *p, size_t size, void *arg)
{
    struct h2_mem *m = arg;
    if (!p) {
        return h2_malloc(size, arg);
    }
    if (!is_block(m, p)) {
        return checked(realloc(p, size));
    }
    void *own = checked(malloc(size));
    memcpy(own, p, size < FRAME_BLOCK_BYTES ? size : FRAME_BLOCK_BYTES);
    m->block = NULL;
    return own;
}

nghttp2_mem h2_mem_of(struct h2_mem *m)
{
    return (nghttp2_mem){m, h2_malloc, h2_free_bytes, h2_calloc, h2_realloc};
}
