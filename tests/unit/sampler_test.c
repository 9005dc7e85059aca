/* Sampling: greedy, filters, penalties, and that draws follow the distribution and nothing but the seed. */
#include "tests/unit/unit.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "inference/worker/sampler.h"

enum { VOCAB = 1000, DRAWS = 5000 };

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
    id = sampler_pick(sampler, &p, logits, NULL, 0, NULL);
    assert_true(id >= 0 && id < VOCAB);
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

static int make(void **state)
{
    sampler = sampler_new(VOCAB);
    return sampler ? 0 : -1;
}

static int drop(void **state)
{
    sampler_free(sampler);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(distribution), cmocka_unit_test(filters),  cmocka_unit_test(greedy),
        cmocka_unit_test(penalties),    cmocka_unit_test(masks),    cmocka_unit_test(logprobs),
        cmocka_unit_test(masks),        cmocka_unit_test(logprobs), cmocka_unit_test(seeds),
    };
    return cmocka_run_group_tests(tests, make, drop);
}
