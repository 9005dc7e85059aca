/* Locks for a table that all loops share: one lock for each of a few hundred stripes of buckets, so that two loops
 * rarely meet. Not a table.
 *
 * Thread rule: any thread. */
#ifndef TIDE_RATELIMIT_STRIPED_H
#define TIDE_RATELIMIT_STRIPED_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

enum { STRIPED_LOCKS = 256 };

struct striped {
    struct {
        pthread_mutex_t lock;
    } __attribute__((aligned(64))) at[STRIPED_LOCKS];
};

void striped_init(struct striped *s);
void striped_clear(struct striped *s);

static inline pthread_mutex_t *striped_lock(struct striped *s, uint64_t bucket)
{
    pthread_mutex_t *lock = &s->at[bucket % STRIPED_LOCKS].lock;
    pthread_mutex_lock(lock);
    return lock;
}

/* Whole zero pages that cost nothing before they are used; aborts when there are none. */
void *striped_pages_new(size_t bytes);
void striped_pages_free(void *pages, size_t bytes);
uint64_t striped_buckets(uint64_t entries, unsigned ways); /* a power of two that holds them, at least 256 */

#endif
