#include "ratelimit/striped.h"

#include <sys/mman.h>

#include "base/err.h"

void striped_init(struct striped *s)
{
    for (int i = 0; i < STRIPED_LOCKS; i++) {
        pthread_mutex_init(&s->at[i].lock, NULL);
    }
}

void striped_clear(struct striped *s)
{
    for (int i = 0; i < STRIPED_LOCKS; i++) {
        pthread_mutex_destroy(&s->at[i].lock);
    }
}

void *striped_pages_new(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    BUG_ON(p == MAP_FAILED);
    return p;
}

void striped_pages_free(void *pages, size_t bytes)
{
    munmap(pages, bytes);
}

uint64_t striped_buckets(uint64_t entries, unsigned ways)
{
    uint64_t n = STRIPED_LOCKS;
    while (n * ways < entries) {
        n *= 2;
    }
    return n;
}
