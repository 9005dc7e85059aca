/* How fast memory can be read: the roof over a decode step of one answer, which reads every weight once.
 *
 *     build/release/tests/read_bench [MB] [THREADS] [ROUNDS]        95 MB, 2 threads, 7 rounds
 *
 * Prints the median in GB/s. Each thread fetches a part of its own, from one end to the other: a word of each line of the cache,
 * so that adding up takes no time, in large pages as packed weights have them. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/err.h"

enum { THREADS_MAX = 64, ROUNDS_MAX = 100, PASSES = 4, CHAINS = 4 };
enum { LINE = 8, LARGE_PAGE = 2 << 20 }; /* words, bytes */

struct part {
    const uint64_t *p;
    size_t n; /* words */
    uint64_t sum;
    pthread_barrier_t *start;
};

static void *read_part(void *arg)
{
    struct part *part = arg;
    uint64_t sums[CHAINS] = {0}; /* additions that do not wait for each other */
    pthread_barrier_wait(part->start);
    for (int pass = 0; pass < PASSES; pass++) {
        for (size_t i = 0; i + CHAINS * LINE <= part->n; i += CHAINS * LINE) {
            for (size_t k = 0; k < CHAINS; k++) {
                sums[k] += part->p[i + k * LINE];
            }
        }
    }
    for (size_t k = 0; k < CHAINS; k++) {
        part->sum += sums[k];
    }
    return NULL;
}

static double time_round(const uint64_t *words, size_t n, unsigned threads)
{
    pthread_t ids[THREADS_MAX];
    struct part parts[THREADS_MAX];
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, threads + 1);
    for (unsigned t = 0; t < threads; t++) {
        parts[t] = (struct part){.p = words + n / threads * t, .n = n / threads, .start = &start};
        BUG_ON(pthread_create(&ids[t], NULL, read_part, &parts[t]) != 0);
    }
    pthread_barrier_wait(&start);
    uint64_t began = clock_mono_ns(), sum = 0;
    for (unsigned t = 0; t < threads; t++) {
        pthread_join(ids[t], NULL);
        sum += parts[t].sum;
    }
    double seconds = (double)(clock_mono_ns() - began) / 1e9;
    BUG_ON(sum == 0);
    pthread_barrier_destroy(&start);
    return (double)n * sizeof *words * PASSES / seconds / 1e9;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    size_t megabytes = argc > 1 ? strtoul(argv[1], NULL, 10) : 95;
    unsigned threads = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 2;
    unsigned rounds = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 7;
    double rates[ROUNDS_MAX];
    if (megabytes == 0 || threads == 0 || threads > THREADS_MAX || rounds == 0 || rounds > ROUNDS_MAX) {
        fprintf(stderr, "usage: read_bench [MB] [THREADS, up to 64] [ROUNDS, up to 100]\n");
        return 2;
    }
    size_t n = megabytes * 1000000 / sizeof(uint64_t);
    uint64_t *words =
        aligned_alloc(LARGE_PAGE, (n * sizeof *words + LARGE_PAGE - 1) / LARGE_PAGE * LARGE_PAGE);
    BUG_ON(!words);
    madvise(words, n * sizeof *words, MADV_HUGEPAGE); /* refused is fine */
    for (size_t i = 0; i < n; i++) {
        words[i] = i * 0x9e3779b97f4a7c15;
    }
    for (unsigned r = 0; r < rounds; r++) {
        rates[r] = time_round(words, n, threads);
    }
    qsort(rates, rounds, sizeof *rates, ascending);
    printf("%zu MB, %u threads: %.1f GB/s\n", megabytes, threads, rates[rounds / 2]);
    free(words);
    return 0;
}
