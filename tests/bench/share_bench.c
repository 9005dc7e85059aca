/* The share of the memory's bandwidth that one answer takes: a decode step reads every weight once, so what memory can give is
 * the roof over it.
 *
 *     build/release/tests/share_bench MODEL [THREADS] [ROUNDS]        2 threads, 40 rounds
 *
 * A round is STEPS steps of one answer and then as many readings of as many bytes as the model's file has, by as many threads;
 * so both meet the same neighbours. A reading fetches a word of each line of the cache, so that adding up takes no time, each
 * thread a part of its own from one end to the other, in large pages. Prints medians, and of the shares the quartiles too. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "inference/worker/backend.h"
#include "inference/worker/model.h"

enum { THREADS_MAX = 64, ROUNDS_MAX = 1000, STEPS = 8, CHAINS = 4 };
enum { LINE = 8, LARGE_PAGE = 2 << 20 }; /* words, bytes */
enum { PROMPT = 16, POSITIONS = 64 };    /* tokens */

static int fail(const struct err *err)
{
    fprintf(stderr, "share_bench: %s\n", err->msg);
    return 1;
}

/* --- reading ------------------------------------------------------------------------------------------- */

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
    for (int step = 0; step < STEPS; step++) {
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

static uint64_t *make_words(size_t n)
{
    uint64_t *words =
        aligned_alloc(LARGE_PAGE, (n * sizeof *words + LARGE_PAGE - 1) / LARGE_PAGE * LARGE_PAGE);
    BUG_ON(!words);
    madvise(words, n * sizeof *words, MADV_HUGEPAGE); /* refused is fine */
    for (size_t i = 0; i < n; i++) {
        words[i] = i * 0x9e3779b97f4a7c15;
    }
    return words;
}

/* Nanoseconds of STEPS readings. */
static uint64_t time_reading(const uint64_t *words, size_t n, unsigned threads)
{
    pthread_t ids[THREADS_MAX];
    struct part parts[THREADS_MAX];
    pthread_barrier_t start;
    uint64_t sum = 0;
    pthread_barrier_init(&start, NULL, threads + 1);
    for (unsigned t = 0; t < threads; t++) {
        parts[t] = (struct part){.p = words + n / threads * t, .n = n / threads, .start = &start};
        BUG_ON(pthread_create(&ids[t], NULL, read_part, &parts[t]) != 0);
    }
    pthread_barrier_wait(&start);
    uint64_t began = clock_mono_ns();
    for (unsigned t = 0; t < threads; t++) {
        pthread_join(ids[t], NULL);
        sum += parts[t].sum;
    }
    uint64_t took = clock_mono_ns() - began;
    BUG_ON(sum == 0);
    pthread_barrier_destroy(&start);
    return took;
}

/* --- answering ----------------------------------------------------------------------------------------- */

struct machine {
    struct model *model;
    struct graph *graph;
    struct backend *backend;
    uint32_t table[POSITIONS / KV_BLOCK];
};

static int open_machine(struct machine *m, const char *path, unsigned threads, struct err *err)
{
    const struct backend_conf conf = {.kv_blocks = POSITIONS / KV_BLOCK,
                                      .context = POSITIONS,
                                      .batch_tokens = PROMPT,
                                      .batch_logits = 1,
                                      .threads = threads};
    for (uint32_t i = 0; i < POSITIONS / KV_BLOCK; i++) {
        m->table[i] = i;
    }
    int rc = model_open(path, &m->model, err);
    if (rc) {
        return rc;
    }
    m->graph = graph_new(m->model);
    BUG_ON(!m->graph);
    return backend_cpu.open(m->graph, &conf, &m->backend, err);
}

static void close_machine(struct machine *m)
{
    backend_cpu.close(m->backend);
    graph_free(m->graph);
    model_close(m->model);
}

static void run(struct machine *m, uint32_t from, uint32_t n)
{
    struct batch_token tokens[PROMPT];
    struct batch batch = {.tokens = tokens, .n = n, .tables = m->table, .table_width = POSITIONS / KV_BLOCK};
    float *logits;
    struct err err;
    for (uint32_t i = 0; i < n; i++) {
        tokens[i] = (struct batch_token){.token = (int32_t)((from + i) * 7919 % m->model->sizes.vocab),
                                         .position = from + i,
                                         .wants_logits = i + 1 == n,
                                         .best_only = true};
    }
    BUG_ON(backend_cpu.run(m->backend, &batch, &logits, &err) != 0);
}

/* Nanoseconds of STEPS steps of one answer. */
static uint64_t time_steps(struct machine *m)
{
    run(m, 0, PROMPT);
    uint64_t began = clock_mono_ns();
    for (uint32_t i = 0; i < STEPS; i++) {
        run(m, PROMPT + i, 1);
    }
    return clock_mono_ns() - began;
}

/* --- the whole ----------------------------------------------------------------------------------------- */

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    unsigned threads = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 2;
    unsigned rounds = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 40;
    static double rates[ROUNDS_MAX], roofs[ROUNDS_MAX], shares[ROUNDS_MAX];
    struct machine m = {0};
    struct err err;
    struct stat file;
    if (argc < 2 || stat(argv[1], &file) != 0 || threads == 0 || threads > THREADS_MAX || rounds == 0 ||
        rounds > ROUNDS_MAX) {
        fprintf(stderr, "usage: share_bench MODEL [THREADS, up to 64] [ROUNDS, up to 1000]\n");
        return 2;
    }
    if (open_machine(&m, argv[1], threads, &err)) {
        return fail(&err);
    }
    size_t words = (size_t)file.st_size / sizeof(uint64_t);
    uint64_t *memory = make_words(words);
    for (unsigned r = 0; r < rounds; r++) {
        double steps = (double)time_steps(&m), reading = (double)time_reading(memory, words, threads);
        rates[r] = STEPS * 1e9 / steps;
        roofs[r] = STEPS * (double)file.st_size / reading;
        shares[r] = reading / steps;
    }
    qsort(rates, rounds, sizeof *rates, ascending);
    qsort(roofs, rounds, sizeof *roofs, ascending);
    qsort(shares, rounds, sizeof *shares, ascending);
    printf("%u threads, %u rounds: %.1f tokens/s, memory %.1f GB/s, share %.2f [%.2f..%.2f]\n", threads,
           rounds, rates[rounds / 2], roofs[rounds / 2], shares[rounds / 2], shares[rounds / 4],
           shares[rounds * 3 / 4]);
    free(memory);
    close_machine(&m);
    return 0;
}
