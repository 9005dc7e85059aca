/* Routing of tokens to experts: who is used and with which weight, by hand-worked cases. */
#include "tests/unit/unit.h"

#include <math.h>

#include "inference/worker/route.h"

static void expect(const float *weights, const float *expected, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (fabsf(weights[i] - expected[i]) > 1e-6F) {
            fail_msg("weight %u is %g, expected %g", i, (double)weights[i], (double)expected[i]);
        }
    }
}

static float sigmoid(float x)
{
    return 1.0F / (1.0F + expf(-x));
}

static void softmax_weights_are_shares_of_all(void **state)
{
    const struct model_experts x = {
        .count = 4, .used = 2, .groups = 1, .groups_used = 1, .gating = MODEL_GATING_SOFTMAX, .scale = 2.0F};
    float scores[] = {logf(1), logf(4), logf(2), logf(3)};
    const float expected[] = {0, 0.8F, 0, 0.6F};
    uint32_t used[2];
    route(&x, NULL, scores, used);
    expect(scores, expected, 4);
    assert_int_equal(used[0], 1);
    assert_int_equal(used[1], 3);
}

/* The bias decides who is used; the weights are without it, over their sum. */
static void a_bias_decides_but_does_not_weigh(void **state)
{
    const struct model_experts x = {.count = 4,
                                    .used = 2,
                                    .groups = 1,
                                    .groups_used = 1,
                                    .gating = MODEL_GATING_SIGMOID,
                                    .is_normalised = true,
                                    .scale = 2.5F};
    float scores[] = {2, 1, 0, -1};
    const float bias[] = {-1, 0, 0, 1};
    float total = sigmoid(1) + sigmoid(-1);
    const float expected[] = {0, 2.5F * sigmoid(1) / total, 0, 2.5F * sigmoid(-1) / total};
    uint32_t used[2];
    route(&x, bias, scores, used);
    expect(scores, expected, 4);
    assert_int_equal(used[0], 1);
    assert_int_equal(used[1], 3);
}

/* Of two groups, the one with the better pair (sigmoid) or the best one (softmax); never from the other, even
 * where all choices of the group are negative. */
static void groups_come_first(void **state)
{
    struct model_experts x = {
        .count = 6, .used = 2, .groups = 2, .groups_used = 1, .gating = MODEL_GATING_SIGMOID, .scale = 1.0F};
    const float given[] = {3, -9, -9, 2, 1, 0};
    const float bias[] = {-5, -5, -5, -5, -5, -5};
    float scores[6];
    uint32_t used[2];
    memcpy(scores, given, sizeof scores);
    route(&x, bias, scores, used);
    assert_int_equal(used[0], 3);
    assert_int_equal(used[1], 4);
    assert_true(scores[0] == 0 && scores[5] == 0);
    x.gating = MODEL_GATING_SOFTMAX;
    memcpy(scores, given, sizeof scores);
    route(&x, bias, scores, used);
    assert_int_equal(used[0], 0);
    assert_int_equal(used[1], 1);
}

static void of_equals_the_lower_number(void **state)
{
    const struct model_experts x = {
        .count = 5, .used = 3, .groups = 1, .groups_used = 1, .gating = MODEL_GATING_SIGMOID, .scale = 1.0F};
    float scores[] = {0, 1, 1, 1, 1};
    uint32_t used[3];
    route(&x, NULL, scores, used);
    assert_int_equal(used[0], 1);
    assert_int_equal(used[1], 2);
    assert_int_equal(used[2], 3);
    assert_true(scores[4] == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(softmax_weights_are_shares_of_all),
        cmocka_unit_test(a_bias_decides_but_does_not_weigh),
        cmocka_unit_test(groups_come_first),
        cmocka_unit_test(of_equals_the_lower_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
