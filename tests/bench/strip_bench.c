/* How fast one thread multiplies packed weights: each kind of strip by each kind of kernels, the least processor time of
 * several rounds over a pool of weights that no cache holds.
 *
 *     build/release/tests/strip_bench [MB] [ROUNDS]        96 MB, 7 rounds
 *
 * One column is a step of one answer, whose limit is the memory; with eight it is the arithmetic. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "inference/worker/cpu/kernels.h"

enum { WIDTH = 576, COLUMNS = 8 };

struct pool {
    uint8_t *weights;
    size_t bytes;
    unsigned rounds;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Seconds. */
static double least(const struct pool *pool, strip_cb kernel, size_t strip_bytes, unsigned columns)
{
    static int8_t q[COLUMNS * WIDTH];
    static float scale[COLUMNS * WIDTH / 32], sum[COLUMNS * WIDTH / 32];
    static int16_t totals[COLUMNS * WIDTH / 16];
    const struct quantized x = {q, scale, sum, totals, WIDTH};
    float out[KERNEL_TILE][PACKED_ROWS];
    double best = INFINITY;
    for (unsigned r = 0; r < pool->rounds; r++) {
        double began = now();
        for (size_t at = 0; at + strip_bytes <= pool->bytes; at += strip_bytes) {
            kernel(pool->weights + at, &x, columns, out);
        }
        best = fmin(best, now() - began);
    }
    return best;
}

static void print_kinds(const struct pool *pool, const struct cpu_kernels *k)
{
    static const char *const names[] = {[PACKED_4BIT] = "4-bit (Q4_0, Q4_1, Q4_K)",
                                        [PACKED_5BIT] = "5-bit (Q5_0)",
                                        [PACKED_5BIT_MIN] = "5-bit min (Q5_1, Q5_K)",
                                        [PACKED_6BIT_FINE] = "6-bit fine (Q6_K, Q3_K)",
                                        [PACKED_8BIT] = "8-bit (Q8_0)",
                                        [PACKED_8BIT_FINE_MIN] = "8-bit fine min (Q2_K)"};
    for (enum packed_kind kind = PACKED_4BIT; kind <= PACKED_8BIT_FINE_MIN; kind++) {
        size_t strip_bytes = packed_block_bytes(kind) * (WIDTH / PACKED_COLUMNS);
        double weights = (double)(pool->bytes / strip_bytes) * PACKED_ROWS * WIDTH;
        double bits = (double)packed_block_bytes(kind) / 64;
        double one = weights / least(pool, cpu_kernels_strip(k, kind), strip_bytes, 1) / 1e9;
        double eight = weights / least(pool, cpu_kernels_strip(k, kind), strip_bytes, COLUMNS) / 1e9;
        printf("%-12s %-25s %5.2f bits  1 column: %5.1f GB/s, %5.1f G weights/s   8: %6.1f G products/s\n",
               k->name, names[kind], bits, one * bits / 8, one, eight * COLUMNS);
    }
}

int main(int argc, char **argv)
{
    size_t megabytes = argc > 1 ? strtoul(argv[1], NULL, 10) : 96;
    struct pool pool = {.bytes = megabytes * 1000000 / 64 * 64,
                        .rounds = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 7};
    const struct cpu_kernels *kinds[] = {cpu_kernels_avx512(), cpu_kernels_avx2(), &cpu_kernels_portable};
    pool.weights = aligned_alloc(64, pool.bytes);
    if (megabytes == 0 || pool.rounds == 0 || !pool.weights) {
        fprintf(stderr, "usage: strip_bench [MB] [ROUNDS]\n");
        return 2;
    }
    for (size_t i = 0; i < pool.bytes; i++) {
        pool.weights[i] = (uint8_t)(i * 2654435761U >> 13) & 0x37; /* scales are not huge */
    }
    for (unsigned i = 0; i < 3; i++) {
        if (kinds[i]) {
            print_kinds(&pool, kinds[i]);
        }
    }
    free(pool.weights);
    return 0;
}
