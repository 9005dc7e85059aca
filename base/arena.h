/* Memory that dies all at once: one arena a request. Nothing in it is freed singly.
 *
 * Life: arena_init (no allocation yet), allocations, arena_clear runs the destructors, newest first,
 * and frees every chunk. A cleared arena may be used again. The first 0 bytes cost nothing; chunks
 * start at 4 KiB and come from a small per-thread cache.
 * Ownership: what arena_* returns is borrowed from the arena.
 * Errors: running out of memory aborts; sizes that come from the network are checked by the caller.
 * Thread rule: used by one thread at a time. */
#ifndef TIDE_BASE_ARENA_H
#define TIDE_BASE_ARENA_H

#include "base/str.h"

struct arena_chunk;
struct arena_cleanup;
struct arena {
    struct arena_chunk *chunks;     /* newest first */
    struct arena_cleanup *cleanups; /* newest first */
    char *next;                     /* first free byte of the newest chunk */
    char *end;                      /* its end */
    size_t total_bytes;             /* handed out since arena_init or arena_clear */
};

void arena_init(struct arena *a);
void arena_clear(struct arena *a);
void *arena_alloc(struct arena *a, size_t n);        /* 16-byte aligned, not zeroed */
void *arena_calloc(struct arena *a, size_t n);       /* zeroed */
struct str arena_dup(struct arena *a, struct str s); /* a copy with a NUL behind it */
char *arena_cstr(struct arena *a, struct str s);
struct str arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void arena_on_clear(struct arena *a, void (*fn)(void *), void *arg);

#define ARENA_NEW(a, type) ((type *)arena_calloc((a), sizeof(type)))

#endif
