#include "base/arena.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"

/* Under AddressSanitizer every block is followed by poison, and so is all that is not handed out: also the
 * chunks in the cache, so that a use after arena_clear is found. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define POISON(p, n) ASAN_POISON_MEMORY_REGION((p), (n))
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION((p), (n))
enum { ARENA_POISON = 16 }; /* bytes of poison behind a block, besides the padding */
#else
#define POISON(p, n) ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
enum { ARENA_POISON = 0 };
#endif

/* A chunk is this head and then the bytes; sizes count both. */
struct arena_chunk {
    struct arena_chunk *next;
    size_t size; /* of the whole chunk, bytes */
};

struct arena_cleanup {
    struct arena_cleanup *next;
    void (*fn)(void *);
    void *arg;
};

enum {
    ARENA_ALIGN = 16,
    ARENA_FIRST = 4096,    /* the only size that is cached */
    ARENA_LARGEST = 65536, /* chunks double up to here; a larger request gets its own */
    ARENA_CACHED = 256,    /* first chunks kept per thread: 1 MiB */
    ARENA_MAX_BYTES_LOG2 = 40,
};
_Static_assert(sizeof(struct arena_chunk) % ARENA_ALIGN == 0, "data behind the head is aligned");

/* Cache of first-size chunks. The pthread key frees it when its thread ends. */
struct chunk_cache {
    struct arena_chunk *free;
    unsigned count;
    bool registered;
};
static _Thread_local struct chunk_cache cache;
static pthread_key_t cache_key;
static pthread_once_t cache_once = PTHREAD_ONCE_INIT;

static void cache_free(void *arg)
{
    struct chunk_cache *c = arg;
    while (c->free) {
        struct arena_chunk *chunk = c->free;
        c->free = chunk->next;
        free(chunk);
    }
    c->count = ARENA_CACHED; /* arenas cleared by later destructors of this thread free at once */
}

static void cache_key_make(void)
{
    BUG_ON(pthread_key_create(&cache_key, cache_free) != 0);
}

static void cache_register(void)
{
    pthread_once(&cache_once, cache_key_make);
    BUG_ON(pthread_setspecific(cache_key, &cache) != 0);
    cache.registered = true;
}

/* Runs on the main thread at exit too, where key destructors do not. */
__attribute__((destructor)) static void cache_free_main(void)
{
    cache_free(&cache);
}

static struct arena_chunk *chunk_new(size_t size)
{
    struct arena_chunk *chunk;
    if (size == ARENA_FIRST && cache.free) {
        chunk = cache.free;
        cache.free = chunk->next;
        cache.count--;
        return chunk;
    }
    chunk = malloc(size);
    BUG_ON(!chunk);
    chunk->size = size;
    POISON(chunk + 1, size - sizeof(*chunk));
    return chunk;
}

static void chunk_free(struct arena_chunk *chunk)
{
    if (chunk->size != ARENA_FIRST || cache.count >= ARENA_CACHED) {
        free(chunk);
        return;
    }
    if (!cache.registered) {
        cache_register();
    }
    POISON(chunk + 1, chunk->size - sizeof(*chunk));
    chunk->next = cache.free;
    cache.free = chunk;
    cache.count++;
}

void arena_init(struct arena *a)
{
    *a = (struct arena){0};
}

void arena_clear(struct arena *a)
{
    while (a->cleanups) {
        struct arena_cleanup *c = a->cleanups;
        a->cleanups = c->next;
        c->fn(c->arg);
    }
    while (a->chunks) {
        struct arena_chunk *chunk = a->chunks;
        a->chunks = chunk->next;
        chunk_free(chunk);
    }
    arena_init(a);
}

/* A large request goes behind the newest chunk, so that the rest of that chunk stays in use. */
static void *alloc_alone(struct arena *a, size_t n)
{
    struct arena_chunk *chunk = chunk_new(sizeof(*chunk) + n);
    chunk->next = a->chunks->next;
    a->chunks->next = chunk;
    return chunk + 1;
}

static void *alloc_slow(struct arena *a, size_t n)
{
    if (a->chunks && n > ARENA_LARGEST / 4) {
        return alloc_alone(a, n);
    }
    size_t size = a->chunks ? a->chunks->size * 2 : ARENA_FIRST;
    if (size > ARENA_LARGEST) {
        size = ARENA_LARGEST;
    }
    if (size < sizeof(struct arena_chunk) + n) {
        size = sizeof(struct arena_chunk) + n;
    }
    struct arena_chunk *chunk = chunk_new(size);
    chunk->next = a->chunks;
    a->chunks = chunk;
    a->next = (char *)(chunk + 1) + n;
    a->end = (char *)chunk + size;
    return chunk + 1;
}

void *arena_alloc(struct arena *a, size_t n)
{
    BUG_ON(n >> ARENA_MAX_BYTES_LOG2 != 0);
    size_t step = (n + ARENA_POISON + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    char *p = a->next;
    a->total_bytes += step;
    if (a->chunks && step <= (size_t)(a->end - a->next)) {
        a->next += step;
    } else {
        p = alloc_slow(a, step);
    }
    UNPOISON(p, n);
    return p;
}

void *arena_calloc(struct arena *a, size_t n)
{
    void *p = arena_alloc(a, n);
    memset(p, 0, n);
    return p;
}

char *arena_cstr(struct arena *a, struct str s)
{
    char *p = arena_alloc(a, s.n + 1);
    memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    return p;
}

struct str arena_dup(struct arena *a, struct str s)
{
    return (struct str){arena_cstr(a, s), s.n};
}

struct str arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    BUG_ON(n < 0);
    char *p = arena_alloc(a, (size_t)n + 1);
    va_start(ap, fmt);
    vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return (struct str){p, (size_t)n};
}

void arena_on_clear(struct arena *a, void (*fn)(void *), void *arg)
{
    struct arena_cleanup *c = arena_alloc(a, sizeof(*c));
    *c = (struct arena_cleanup){a->cleanups, fn, arg};
    a->cleanups = c;
}
