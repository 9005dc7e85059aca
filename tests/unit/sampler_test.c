/* Sampling: greedy, filters, penalties, and that draws follow the distribution and nothing but the seed. */
#include "tests/unit/unit.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "inference/worker/cpu/kernels.h"
#include "inference/worker/sampler.h"

enum { VOCAB = 1000, DRAWS = 5000 };

static const struct cpu_kernels *kernels;
static struct sampler *sampler;
static const struct sampler_params plain = {.temperature = 1, .top_p = 1};

static void fill(float *logits)
{
    for (unsigned i = 0; i < VOCAB; i++) {
        logits[i] = -30.0F;
    }
    logits[10] = logf(0.5F);
    logits[20] = logf(0.3F);
    logits[30] = logf(0.15F);
    logits[40] = logf(0.05F);
}

static int32_t pick(const struct sampler_params *p, size_t position)
{
    static int32_t answer[DRAWS];
    float logits[VOCAB];
    fill(logits);
    return sampler_pick(sampler, p, logits, answer, position, NULL);
}

/* Share of the draws that gave each of tokens 10, 20, 30, 40; every draw is one of them. */
static void shares(const struct sampler_params *p, double out[4])
{
    memset(out, 0, 4 * sizeof *out);
    for (size_t i = 0; i < DRAWS; i++) {
        int32_t id = pick(p, i);
        assert_true(id == 10 || id == 20 || id == 30 || id == 40);
        out[id / 10 - 1] += 1.0 / DRAWS;
    }
}

static void expect_shares(struct sampler_params p, double a, double b, double c, double d)
{
    double got[4];
    const double expected[4] = {a, b, c, d};
    shares(&p, got);
    for (unsigned i = 0; i < 4; i++) {
        if (fabs(got[i] - expected[i]) > 0.03) {
            fail_msg("token %u: share %g, expected %g", 10 * (i + 1), got[i], expected[i]);
        }
    }
}

static void distribution(void **state)
{
    struct sampler_params p = plain;
    expect_shares(p, 0.5, 0.3, 0.15, 0.05);
    p.seed = 7;
    expect_shares(p, 0.5, 0.3, 0.15, 0.05);
    p.temperature = 0.5F; /* squares */
    expect_shares(p, 0.25 / 0.365, 0.09 / 0.365, 0.0225 / 0.365, 0.0025 / 0.365);
}

static void filters(void **state)
{
    struct sampler_params p = plain;
    p.top_k = 2;
    expect_shares(p, 0.625, 0.375, 0, 0);
    p = plain;
    p.top_p = 0.79F; /* reached by two */
    expect_shares(p, 0.625, 0.375, 0, 0);
    p.top_p = 0.81F;
    expect_shares(p, 0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0);
    p.top_p = 0.01F;
    expect_shares(p, 1, 0, 0, 0);
    p = plain;
    p.min_p = 0.5F; /* half of the best */
    expect_shares(p, 0.625, 0.375, 0, 0);
    p.min_p = 0.2F;
    p.top_k = 3;
    p.top_p = 0.6F; /* of what is left */
    expect_shares(p, 0.625, 0.375, 0, 0);
    p = plain;
    p.top_k = 100000;
    expect_shares(p, 0.5, 0.3, 0.15, 0.05);
}

static void greedy(void **state)
{
    struct sampler_params p = plain;
    float logits[VOCAB];
    p.temperature = 0;
    assert_int_equal(pick(&p, 0), 10);
    fill(logits);
    logits[500] = logits[10];
    assert_int_equal(sampler_pick(sampler, &p, logits, NULL, 0, NULL), 10); /* the lowest of equals */
    logits[0] = NAN;
    logits[999] = NAN;
    assert_int_equal(sampler_pick(sampler, &p, logits, NULL, 0, NULL), 10);
    p.temperature = 1;
    int32_t id = sampler_pick(sampler, &p, logits, NULL, 0, NULL);
    assert_true(id >= 0 && id < VOCAB && !isnan(logits[id]));
    for (unsigned i = 0; i < VOCAB; i++) {
        logits[i] = NAN;
    }
    assert_int_equal(sampler_pick(sampler, &p, logits, NULL, 0, NULL), SAMPLER_NONE);
    p.temperature = 0;
    assert_int_equal(sampler_pick(sampler, &p, logits, NULL, 0, NULL), SAMPLER_NONE);
    const struct candidates none = {.ids = (const int32_t[]){0}, .logits = logits, .n = 1};
    assert_int_equal(sampler_pick_among(sampler, &p, &none, 0), SAMPLER_NONE);
}

/* Odds, greedily: the bias that just makes the other token win tells what the penalties were. */
static bool wins(struct sampler_params p, int32_t id, float add, const int32_t *answer, size_t n)
{
    struct sampler_bias bias = {id, add};
    float logits[VOCAB];
    p.bias = &bias;
    p.bias_n = 1;
    fill(logits);
    int32_t got = sampler_pick(sampler, &p, logits, answer, n, NULL);
    float untouched[VOCAB];
    fill(untouched);
    assert_memory_equal(logits, untouched, sizeof logits);
    return got == id;
}

/* The penalty of what occurred, in the prompt too and once however often, as vLLM has it. */
static void repetitions(void **state)
{
    static const int32_t prompt[] = {10, 7, 10};
    static const int32_t answer[] = {20, 10, 20};
    struct sampler_params p = plain;
    p.temperature = 0;
    p.prompt = prompt;
    p.prompt_n = 3;
    float logits[VOCAB];
    for (unsigned i = 0; i < VOCAB; i++) {
        logits[i] = -9;
    }
    logits[10] = 4;
    logits[20] = 3.5F;
    logits[30] = 2.1F;
    assert_int_equal(sampler_pick(sampler, &p, logits, answer, 3, NULL), 10);
    p.repetition_penalty = 1;
    assert_int_equal(sampler_pick(sampler, &p, logits, answer, 3, NULL), 10);
    p.repetition_penalty = 1.5F; /* 2.67 and 2.33; twice would be 1.78 and 1.56 */
    assert_int_equal(sampler_pick(sampler, &p, logits, answer, 3, NULL), 10);
    assert_int_equal(sampler_pick(sampler, &p, logits, answer, 0, NULL), 20); /* not in the answer yet */
    p.repetition_penalty = 2;                                                 /* 2 and 1.75 */
    assert_int_equal(sampler_pick(sampler, &p, logits, answer, 3, NULL), 30);
    assert_int_equal(sampler_candidates(&p), 0);
    logits[10] = -4; /* negative ones grow away from 0 */
    logits[20] = -3.5F;
    logits[30] = -6.9F;
    assert_int_equal(sampler_pick(sampler, &p, logits, answer, 3, NULL), 30);
    p.prompt_n = 0;
    assert_int_equal(sampler_pick(sampler, &p, logits, answer + 1, 1, NULL), 20);
}

static void penalties(void **state)
{
    const int32_t answer[] = {10, 10, 20};
    struct sampler_params p = plain;
    p.temperature = 0;
    p.frequency_penalty = 0.5F;
    p.presence_penalty = 0.25F;
    /* 10 has log 0.5 - 1.25, 20 has log 0.3 - 0.75, 30 keeps log 0.15 and is the best now */
    assert_true(wins(p, 30, 0, answer, 3));
    float to_win = logf(0.15F) - (logf(0.5F) - 1.25F);
    assert_true(wins(p, 10, to_win + 1e-4F, answer, 3));
    assert_false(wins(p, 10, to_win - 1e-4F, answer, 3));
    to_win = logf(0.15F) - (logf(0.3F) - 0.75F);
    assert_true(wins(p, 20, to_win + 1e-4F, answer, 3));
    assert_false(wins(p, 20, to_win - 1e-4F, answer, 3));
    assert_true(wins(plain, 10, 100, NULL, 0));
}

static void masks(void **state)
{
    uint64_t allowed[(VOCAB + 63) / 64] = {0};
    float logits[VOCAB];
    fill(logits);
    allowed[20 / 64] |= 1ULL << 20 % 64;
    allowed[40 / 64] |= 1ULL << 40 % 64;
    unsigned twenties = 0;
    for (size_t i = 0; i < 2000; i++) {
        static const int32_t answer[2000];
        int32_t id = sampler_pick(sampler, &plain, logits, answer, i, allowed);
        assert_true(id == 20 || id == 40);
        twenties += id == 20;
    }
    assert_true(fabs(twenties / 2000.0 - 0.3 / 0.35) < 0.03);
}

static void logprobs(void **state)
{
    struct token_logprob l;
    float logits[VOCAB];
    fill(logits);
    logits[60] = logits[40];
    for (unsigned i = 0; i < VOCAB; i++) {
        logits[i] += 3;
    }
    double rest = (VOCAB - 5) * exp(-30.0);
    double total = 0.5 + 0.3 + 0.15 + 0.05 + 0.05 + rest;
    sampler_logprob(sampler, logits, 20, 4, &l);
    assert_int_equal(l.id, 20);
    assert_true(fabs((double)l.logprob - log(0.3 / total)) < 1e-5);
    static const int32_t best[] = {10, 20, 30, 40}; /* 40 before its equal 60 */
    assert_int_equal(l.top_n, 4);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(l.top[i].id, best[i]);
    }
    assert_true(fabs((double)l.top[0].logprob - log(0.5 / total)) < 1e-5);
    sampler_logprob(sampler, logits, 999, 0, &l);
    assert_int_equal(l.top_n, 0);
    assert_true(fabs((double)l.logprob - (-30.0 - log(total))) < 1e-4);
}

static void seeds(void **state)
{
    unsigned same = 0;
    for (uint64_t i = 0; i < 1000; i++) {
        assert_true(sampler_uniform(5, i) == sampler_uniform(5, i));
        assert_true(sampler_uniform(5, i) >= 0 && sampler_uniform(5, i) < 1);
        same += sampler_uniform(5, i) == sampler_uniform(6, i);
        same += sampler_uniform(5, i) == sampler_uniform(5, i + 1);
    }
    assert_int_equal(same, 0);
}

/* --- against the same rules written plainly ---------------------------------------------------------- */

struct plain_choice {
    double weight;
    int32_t id;
};

static int by_weight(const void *a, const void *b)
{
    const struct plain_choice *x = a;
    const struct plain_choice *y = b;
    if (x->weight != y->weight) {
        return x->weight < y->weight ? 1 : -1;
    }
    return (x->id > y->id) - (x->id < y->id);
}

static double sum_of(const struct plain_choice *c, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += c[i].weight;
    }
    return sum;
}

static int32_t plain_pick(const struct sampler_params *p, const float *logits, uint32_t vocab, double uniform)
{
    static struct plain_choice c[4 * VOCAB];
    size_t n = 0;
    float largest = logits[0];
    for (uint32_t i = 0; i < vocab; i++) {
        largest = fmaxf(largest, logits[i]); /* NaN aside */
    }
    for (uint32_t i = 0; i < vocab; i++) {
        double weight = exp(((double)logits[i] - (double)largest) / (double)p->temperature);
        if (weight >= (double)p->min_p && weight > 0) {
            c[n++] = (struct plain_choice){weight, (int32_t)i};
        }
    }
    if (p->top_k || p->top_p < 1) {
        qsort(c, n, sizeof *c, by_weight);
    }
    n = p->top_k && p->top_k < n ? p->top_k : n;
    double wanted = (double)p->top_p * sum_of(c, n);
    size_t kept = p->top_p < 1 ? 1 : n;
    while (kept < n && sum_of(c, kept) < wanted) {
        kept++;
    }
    double target = uniform * sum_of(c, kept);
    size_t i = 0;
    while (i + 1 < kept && (target -= c[i].weight) >= 0) {
        i++;
    }
    return c[i].id;
}

/* Rounding may move a border between two tokens, or of the nucleus, by a millionth. */
static bool is_right(const struct sampler_params *p, const float *logits, uint32_t vocab, int32_t got)
{
    static const float moves[] = {0, -2e-6F, 2e-6F};
    double uniform = sampler_uniform(p->seed, 0);
    for (unsigned i = 0; i < 27; i++) {
        struct sampler_params moved = *p;
        moved.min_p *= 1 + moves[i / 3 % 3];
        moved.top_p *= p->top_p < 1 ? 1 + moves[i / 9] : 1;
        if (plain_pick(&moved, logits, vocab, uniform + (double)moves[i % 3]) == got) {
            return true;
        }
    }
    return false;
}

static uint32_t drawn(uint32_t *state)
{
    *state = *state * 1664525U + 1013904223U;
    return *state >> 8;
}

static struct sampler_params some_params(uint32_t *state)
{
    static const float temperatures[] = {0.1F, 0.7F, 1, 2, 100};
    static const float nuclei[] = {1, 1, 0.999F, 0.9F, 0.3F};
    static const float least[] = {0, 0, 1e-6F, 0.05F, 1};
    static const uint32_t counts[] = {0, 0, 1, 5, 40, 300, 5000};
    return (struct sampler_params){.temperature = temperatures[drawn(state) % 5],
                                   .top_p = nuclei[drawn(state) % 5],
                                   .min_p = least[drawn(state) % 5],
                                   .top_k = counts[drawn(state) % 7],
                                   .seed = drawn(state)};
}

/* Half of the rows have logits of which many are equal, some have values that are no numbers. */
static void some_logits(uint32_t *state, float *logits, uint32_t vocab)
{
    uint32_t kind = drawn(state) % 4;
    for (uint32_t i = 0; i < vocab; i++) {
        float x = (float)(drawn(state) % 24001) / 1000.0F - 20.0F;
        logits[i] = kind < 2 ? x : floorf(x);
        if (kind == 3 && i > 0 && drawn(state) % 5 == 0) {
            logits[i] = drawn(state) % 2 ? NAN : -INFINITY;
        }
    }
}

static void plain_rules(void **state)
{
    static const uint32_t vocabs[] = {1, 63, 64, 65, 1000, 4000};
    static float logits[4 * VOCAB];
    uint32_t random = 1;
    for (unsigned v = 0; v < 6; v++) {
        struct sampler *s = sampler_new(vocabs[v], kernels);
        assert_non_null(s);
        for (unsigned i = 0; i < 60; i++) {
            struct sampler_params p = some_params(&random);
            some_logits(&random, logits, vocabs[v]);
            int32_t got = sampler_pick(s, &p, logits, NULL, 0, NULL);
            if (!is_right(&p, logits, vocabs[v], got)) {
                fail_msg("%s: %u tokens, round %u, temperature %g, top_p %g, min_p %g, top_k %u: %d",
                         kernels->name, vocabs[v], i, (double)p.temperature, (double)p.top_p, (double)p.min_p,
                         p.top_k, got);
            }
        }
        sampler_free(s);
    }
}

static int make(void **state)
{
    sampler = sampler_new(VOCAB, kernels);
    return sampler ? 0 : -1;
}

static int drop(void **state)
{
    sampler_free(sampler);
    return 0;
}

/* --- candidates in place of the row ------------------------------------------------------------------- */

/* The n largest of the row, as candidates.h has them. */
static struct candidates largest_of(const float *logits, uint32_t n)
{
    static int32_t ids[CANDIDATES_MAX];
    static float values[CANDIDATES_MAX];
    bool taken[VOCAB] = {false};
    double sum = 0;
    for (uint32_t k = 0; k < n; k++) {
        int32_t best = -1;
        for (int32_t i = 0; i < VOCAB; i++) {
            if (!taken[i] && !isnan(logits[i]) && (best < 0 || logits[i] > logits[best])) {
                best = i;
            }
        }
        taken[best] = true;
        ids[k] = best;
        values[k] = logits[best];
    }
    for (uint32_t i = 0; i < VOCAB; i++) {
        sum += isnan(logits[i]) ? 0 : exp((double)logits[i] - (double)values[0]);
    }
    return (struct candidates){ids, values, values[0] + (float)log(sum), n};
}

/* Few different values, so that ties stand on both sides of any k; some that are no number or cannot be. */
static void fill_unevenly(float *logits, unsigned round)
{
    for (unsigned i = 0; i < VOCAB; i++) {
        logits[i] = (float)((i * 37 + round * 11) % 101) / (round % 2 ? 7.0F : 30.0F);
    }
    logits[5 + round] = NAN;
    logits[900] = -INFINITY;
}

static void candidates_decide_as_the_row_does(void **state)
{
    static const float temperatures[] = {0, 0.3F, 1, 1.7F};
    static const uint32_t tops[] = {1, 2, 7, 40, 64};
    static const int32_t answer[40];
    float logits[VOCAB];
    bool seen[VOCAB] = {false};
    unsigned different = 0;
    for (unsigned i = 0; i < 1600; i++) {
        struct sampler_params p = {.temperature = temperatures[i % 4],
                                   .top_k = tops[i / 4 % 5],
                                   .top_p = i % 3 ? 1 : 0.8F,
                                   .min_p = i % 7 ? 0 : 0.5F,
                                   .seed = i};
        fill_unevenly(logits, i % 10);
        uint32_t n = sampler_candidates(&p);
        assert_int_equal(n, p.temperature > 0 ? p.top_k : 1);
        struct candidates c = largest_of(logits, n + (n < CANDIDATES_MAX)); /* one more changes nothing */
        int32_t id = sampler_pick(sampler, &p, logits, answer, i % 40, NULL);
        assert_int_equal(sampler_pick_among(sampler, &p, &c, i % 40), id);
        different += !seen[id];
        seen[id] = true;
    }
    assert_true(different > 50);
}

static void what_needs_the_whole_row(void **state)
{
    struct sampler_bias bias = {3, 1};
    struct sampler_params p = plain;
    assert_int_equal(sampler_candidates(&p), 0);
    p.top_k = CANDIDATES_MAX;
    assert_int_equal(sampler_candidates(&p), CANDIDATES_MAX);
    p.top_k++;
    assert_int_equal(sampler_candidates(&p), 0);
    p.temperature = 0;
    assert_int_equal(sampler_candidates(&p), 1);
    p.frequency_penalty = 1;
    assert_int_equal(sampler_candidates(&p), 0);
    p.frequency_penalty = 0;
    p.bias = &bias;
    p.bias_n = 1;
    assert_int_equal(sampler_candidates(&p), 0);
}

static void log_probabilities_of_candidates(void **state)
{
    struct token_logprob whole;
    struct token_logprob among;
    float logits[VOCAB];
    fill(logits);
    struct candidates c = largest_of(logits, 6);
    sampler_logprob(sampler, logits, 30, 4, &whole);
    sampler_logprob_among(&c, 30, 4, &among);
    assert_int_equal(among.id, 30);
    assert_int_equal(among.top_n, 4);
    assert_float_equal(among.logprob, whole.logprob, 1e-5);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(among.top[i].id, whole.top[i].id);
        assert_float_equal(among.top[i].logprob, whole.top[i].logprob, 1e-5);
    }
    sampler_logprob_among(&c, 10, 0, &among);
    assert_int_equal(among.top_n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(distribution),
        cmocka_unit_test(filters),
        cmocka_unit_test(greedy),
        cmocka_unit_test(penalties),
        cmocka_unit_test(repetitions),
        cmocka_unit_test(masks),
        cmocka_unit_test(logprobs),
        cmocka_unit_test(seeds),
        cmocka_unit_test(plain_rules),
        cmocka_unit_test(candidates_decide_as_the_row_does),
        cmocka_unit_test(what_needs_the_whole_row),
        cmocka_unit_test(log_probabilities_of_candidates),
    };
    kernels = &cpu_kernels_portable;
    int failed = cmocka_run_group_tests_name("portable", tests, make, drop);
    if (cpu_kernels_best() != kernels) {
        kernels = cpu_kernels_best();
        failed += cmocka_run_group_tests_name("vectors", tests, make, drop);
    }
    return failed;
}
