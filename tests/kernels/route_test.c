/* The router against its reference. */
#include "tests/kernels/routes.h"

static void expect_same_words(const uint32_t *device, const uint32_t *wanted, size_t n)
{
    uint32_t *is = host_bytes(n * sizeof *is);
    host_copy(is, device, n * sizeof *is);
    for (size_t i = 0; i < n; i++) {
        if (is[i] != wanted[i]) {
            fail_msg("number %zu is %u, the reference says %u", i, is[i], wanted[i]);
        }
    }
    free(is);
}

static void expect_routed(const char *what, struct routed *r)
{
    size_t n = (size_t)r->host.count * r->host.experts;
    size_t uses = (size_t)r->host.count * r->host.used;
    float *is = host_bytes(n * sizeof *is);
    expect_same_words(r->device.expert_of, r->host.expert_of, uses);
    expect_same_words(r->device.by_expert.first, r->host.by_expert.first, r->host.experts + 1);
    expect_same_words(r->device.by_expert.use, r->host.by_expert.use, uses);
    expect_same_words(r->device.by_expert.active, r->host.by_expert.active, r->host.by_expert.active[0] + 1);
    host_copy(is, r->device.scores, n * sizeof *is);
    expect_close(what, is, r->host.scores, n, 1e-5, 1e-7);
    free(is);
}

static const struct route_params routers[] = {
    {.count = 5, .experts = 64, .used = 6, .groups = 1, .groups_used = 1, .scale = 1.0F},
    {.count = 3, .experts = 160, .used = 6, .groups = 8, .groups_used = 3, .scale = 16.0F},
    {.count = 9,
     .experts = 256,
     .used = 8,
     .groups = 8,
     .groups_used = 4,
     .is_sigmoid = true,
     .is_normalised = true,
     .scale = 2.5F},
    {.count = 2, .experts = 33, .used = 33, .groups = 1, .groups_used = 1, .scale = 1.0F},
    {.count = 2, .experts = 96, .used = 3, .groups = 32, .groups_used = 1, .is_sigmoid = true, .scale = 1.0F},
    {.count = 90,
     .experts = 24,
     .used = 9,
     .groups = 1,
     .groups_used = 1,
     .scale = 1.0F}, /* a warp: 96 uses */
    {.count = 1, .experts = 1024, .used = 2, .groups = 2, .groups_used = 1, .scale = 1.0F},
    {.count = 1,
     .experts = 1,
     .used = 1,
     .groups = 1,
     .groups_used = 1,
     .is_normalised = true,
     .scale = 3.0F},
};

static void test_route(void **state)
{
    for (size_t i = 0; i < sizeof routers / sizeof *routers; i++) {
        const struct route_params *p = &routers[i];
        float *scores = random_floats((size_t)p->count * p->experts, i == 1 ? 200.0F : 4.0F);
        float *bias = p->is_sigmoid ? random_floats(p->experts, 1.0F) : NULL;
        struct routed r = run_route(*p, scores, bias);
        char what[64];
        snprintf(what, sizeof what, "%u of %u experts", p->used, p->experts);
        expect_routed(what, &r);
        routed_free(&r);
        free(scores);
        free(bias);
    }
}

/* The largest decides alone where any other's exponential would be lost beside it, wherever it stands. */
static void test_route_of_one_large_score(void **state)
{
    enum { EXPERTS = 160 };
    struct route_params p = {
        .count = 1, .experts = EXPERTS, .used = 3, .groups = 1, .groups_used = 1, .scale = 1.0F};
    for (uint32_t at = 20; at < EXPERTS; at += 32) {
        float scores[EXPERTS] = {0};
        scores[at] = 200.0F;
        struct routed r = run_route(p, scores, NULL);
        expect_routed("one large score", &r);
        assert_float_equal(r.host.scores[at], 1.0F, 1e-6);
        routed_free(&r);
    }
}

/* Of equals the lower number; a token whose scores are no numbers still gets distinct experts within bounds. */
static void test_route_of_equals(void **state)
{
    enum { EXPERTS = 64, USED = 4 };
    struct route_params p = {
        .count = 1, .experts = EXPERTS, .used = USED, .groups = 4, .groups_used = 2, .scale = 1.0F};
    float scores[EXPERTS] = {0};
    struct routed r = run_route(p, scores, NULL);
    expect_routed("equals", &r);
    for (uint32_t i = 0; i < USED; i++) {
        assert_int_equal(r.host.expert_of[i], i);
    }
    routed_free(&r);
    for (uint32_t e = 0; e < EXPERTS; e++) {
        scores[e] = NAN;
    }
    r = run_route(p, scores, NULL);
    expect_same_words(r.device.expert_of, r.host.expert_of, USED);
    routed_free(&r);
}

static void expect_refused_router(struct route_params p)
{
    assert_int_equal(route_launch(&p, device_stream), cudaErrorInvalidValue);
}

static void test_route_bounds(void **state)
{
    struct route_params p = {.experts = 8, .used = 2, .groups = 2, .groups_used = 1};
    assert_int_equal(route_launch(&p, device_stream), cudaSuccess); /* no tokens: nothing to do */
    p.used = 5;                                                     /* than are in the groups */
    expect_refused_router(p);
    p = (struct route_params){.experts = ROUTE_MOST + 2, .used = 2, .groups = 2, .groups_used = 1};
    expect_refused_router(p);
    p = (struct route_params){.experts = 66, .used = 2, .groups = 33, .groups_used = 1};
    expect_refused_router(p);
    p = (struct route_params){.experts = 9, .used = 2, .groups = 2, .groups_used = 1};
    expect_refused_router(p);
    p = (struct route_params){.experts = 8, .used = 2, .groups = 2, .groups_used = 3};
    expect_refused_router(p);
    p = (struct route_params){.experts = 8, .used = 2, .groups = 2};
    expect_refused_router(p);
    p = (struct route_params){.experts = 0};
    expect_refused_router(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_route, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_route_of_one_large_score, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_route_of_equals, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_route_bounds, device_setup, device_teardown),
    };
    return cmocka_run_group_tests_name("route", tests, NULL, NULL);
}
