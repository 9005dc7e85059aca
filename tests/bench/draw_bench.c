/* What drawing a token costs: processor time a row of 49,152 logits, the least of several rounds over 64 rows.
 *
 *     build/release/tests/draw_bench [ROUNDS]
 *
 * Logits: a bell of deviation 3 with 30 tokens above it, so that top_p 0.95 keeps about 20 tokens and no block is empty.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "inference/worker/cpu/kernels.h"
#include "inference/worker/sampler.h"

enum { VOCAB = 49152, ROWS = 64 };

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void fill(float *logits)
{
    for (size_t i = 0; i < (size_t)ROWS * VOCAB; i++) {
        double bell = sqrt(-2 * log(sampler_uniform(1, i) + 1e-18)) * cos(2 * M_PI * sampler_uniform(2, i));
        logits[i] = (float)(3 * bell + (i % VOCAB % 1637 == 5 ? 12 : 0));
    }
}

static double least_us(struct sampler *s, const struct sampler_params *p, bool logprobs, const float *logits,
                       unsigned rounds)
{
    double least = INFINITY;
    for (unsigned r = 0; r < rounds; r++) {
        double began = now_us();
        for (size_t row = 0; row < ROWS; row++) {
            struct token_logprob l;
            struct sampler_params mine = *p;
            mine.seed = row;
            int32_t id = sampler_pick(s, &mine, logits + row * VOCAB, NULL, 0, NULL);
            if (logprobs) {
                sampler_logprob(s, logits + row * VOCAB, id, 5, &l);
            }
        }
        least = fmin(least, now_us() - began);
    }
    return least / ROWS;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *what;
        struct sampler_params p;
        bool logprobs;
    } cases[] = {
        {"the largest", {.top_p = 1}, false},
        {"temperature 1", {.temperature = 1, .top_p = 1}, false},
        {"temperature 1, top_p 0.95", {.temperature = 1, .top_p = 0.95F}, false},
        {"temperature 1, top_k 40", {.temperature = 1, .top_p = 1, .top_k = 40}, false},
        {"temperature 0.7, top_k 40, top_p 0.95", {.temperature = 0.7F, .top_p = 0.95F, .top_k = 40}, false},
        {"temperature 1, min_p 0.05", {.temperature = 1, .top_p = 1, .min_p = 0.05F}, false},
        {"temperature 1, a penalty", {.temperature = 1, .top_p = 1, .presence_penalty = 1}, false},
        {"the largest, 5 logprobs", {.top_p = 1}, true},
    };
    unsigned rounds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 20;
    float *logits = malloc(sizeof *logits * ROWS * VOCAB);
    struct sampler *s = sampler_new(VOCAB, cpu_kernels_best());
    if (!logits || !s) {
        return 1;
    }
    fill(logits);
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        printf("%-40s %6.1f us a row\n", cases[i].what,
               least_us(s, &cases[i].p, cases[i].logprobs, logits, rounds));
    }
    sampler_free(s);
    free(logits);
    return 0;
}
