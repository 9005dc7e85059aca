/* Sampling: greedy, filters, penalties, and that draws follow the distribution and nothing but the seed. */
#include "tests/unit/unit.h"

#include <math.h>
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
    return sampler_pick(sampler, p, logits, answer, position);
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
    assert_int_equal(sampler_pick(sampler, &p, logits, NULL, 0), 10); /* the lowest of equals */
    logits[0] = NAN;
    logits[999] = NAN;
    assert_int_equal(sampler_pick(sampler, &p, logits, NULL, 0), 10);
    p.temperature = 1;
    int32_t id = sampler_pick(sampler, &p, logits, NULL, 0);
    assert_true(id >= 0 && id < VOCAB && !isnan(logits[id]));
    for (unsigned i = 0; i < VOCAB; i++) {
        logits[i] = NAN;
    }
    id = sampler_pick(sampler, &p, logits, NULL, 0);
    assert_true(id >= 0 && id < VOCAB);
}

static void penalties(void **state)
{
    const int32_t answer[] = {10, 10, 20};
    struct sampler_params p = plain;
    float logits[VOCAB];
    p.temperature = 0;
    p.frequency_penalty = 0.5F;
    p.presence_penalty = 0.25F;
    fill(logits);
    int32_t id = sampler_pick(sampler, &p, logits, answer, 3);
    assert_true(fabsf(logits[10] - (logf(0.5F) - 1.25F)) < 1e-6F);
    assert_true(fabsf(logits[20] - (logf(0.3F) - 0.75F)) < 1e-6F);
    assert_true(logits[30] == logf(0.15F));
    assert_int_equal(id, 30);
    fill(logits);
    sampler_pick(sampler, &p, logits, answer, 3); /* nothing is remembered between calls */
    assert_true(fabsf(logits[10] - (logf(0.5F) - 1.25F)) < 1e-6F);
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
        cmocka_unit_test(distribution), cmocka_unit_test(filters), cmocka_unit_test(greedy),
        cmocka_unit_test(penalties),    cmocka_unit_test(seeds),
    };
    return cmocka_run_group_tests(tests, make, drop);
}
