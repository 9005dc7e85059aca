/* Routing, products of pieces (heads and experts) and the sum of experts against their references. */
#include "tests/kernels/products.h"

#include "kernels/combine.h"
#include "kernels/matmul.h"
#include "kernels/pieces.h"

/* --- the router -------------------------------------------------------------------------------------------- */

static struct expert_uses host_uses(uint32_t experts, size_t uses)
{
    return (struct expert_uses){host_bytes((experts + 1) * 4), host_bytes((experts + 1) * 4),
                                host_bytes(uses * 4)};
}

static struct expert_uses device_uses(uint32_t experts, size_t uses)
{
    return (struct expert_uses){device_bytes((experts + 1) * 4), device_bytes((experts + 1) * 4),
                                device_bytes(uses * 4)};
}

static void uses_free(struct expert_uses *u)
{
    free(u->active);
    free(u->first);
    free(u->use);
}

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

struct routed { /* what both sides found */
    struct route_params host;
    struct route_params device;
};

static struct routed run_route(struct route_params p, const float *scores, const float *bias)
{
    size_t n = (size_t)p.count * p.experts;
    size_t uses = (size_t)p.count * p.used;
    struct routed r = {p, p};
    r.host.scores = host_bytes(n * sizeof *scores);
    memcpy(r.host.scores, scores, n * sizeof *scores);
    r.host.bias = bias;
    r.host.expert_of = host_bytes(uses * 4);
    r.host.by_expert = host_uses(p.experts, uses);
    r.device.scores = device_copy(scores, n * sizeof *scores);
    r.device.bias = bias ? device_copy(bias, p.experts * sizeof *bias) : NULL;
    r.device.expert_of = device_bytes(uses * 4);
    r.device.by_expert = device_uses(p.experts, uses);
    route_ref(&r.host);
    assert_int_equal(route_launch(&r.device, device_stream), cudaSuccess);
    return r;
}

static void routed_free(struct routed *r)
{
    free(r->host.scores);
    free(r->host.expert_of);
    uses_free(&r->host.by_expert);
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

/* --- pieces -------------------------------------------------------------------------------------------------- */

/* Both sides' products; out begins with random values, so that what is not written stays. */
static void compare_pieces(const char *what, struct pieces_params p, size_t x_values, size_t out_values,
                           const struct expert_uses *device_side)
{
    struct pieces_params q = p;
    float *x = random_floats(x_values, 2.0F);
    float *is = host_bytes(out_values * sizeof *is);
    p.w = random_matrix(p.w.kind, p.w.rows, p.w.columns);
    p.x = x;
    p.out = random_floats(out_values, 1.0F);
    q.w = device_matrix(&p.w);
    q.x = device_copy(x, x_values * sizeof *x);
    q.out = device_copy(p.out, out_values * sizeof *x);
    q.uses = device_side;
    if (matrix_is_quantized(p.w.kind)) {
        uint32_t rows = (uint32_t)(x_values / p.x_pitch);
        p.x_q = host_rows(rows, (uint32_t)p.x_pitch);
        q.x_q = device_rows(rows, (uint32_t)p.x_pitch);
        quantize_ref(&(struct quantize_params){x, p.x_q, rows, (uint32_t)p.x_pitch});
        struct quantize_params first = {q.x, q.x_q, rows, (uint32_t)p.x_pitch};
        assert_int_equal(quantize_launch(&first, device_stream), cudaSuccess);
    }
    pieces_ref(&p);
    assert_int_equal(pieces_launch(&q, device_stream), cudaSuccess);
    host_copy(is, q.out, out_values * sizeof *is);
    expect_close(what, is, p.out, out_values, 1e-6, 1e-6 * 3 * p.w.columns);
    matrix_free(&p.w);
    free(x);
    free(is);
    free(p.out);
    rows_free(&p.x_q);
}

/* A head's part begins a piece of x and of out that is longer than what is multiplied. */
static void compare_heads(enum matrix_kind kind, uint32_t rows, uint32_t columns, uint32_t count)
{
    enum { HEADS = 3 };
    uint32_t x_piece = columns + 32;
    uint32_t out_piece = rows + 5;
    struct pieces_params p = {.w = {.kind = kind, .rows = HEADS * rows, .columns = columns},
                              .pieces = HEADS,
                              .count = count,
                              .uses_of_row = 1,
                              .x_pitch = (size_t)HEADS * x_piece,
                              .x_piece = x_piece,
                              .out_pitch = (size_t)HEADS * out_piece,
                              .out_piece = out_piece};
    char what[96];
    snprintf(what, sizeof what, "heads, %s, %u x %u, %u columns", matrix_names[kind], rows, columns, count);
    compare_pieces(what, p, count * p.x_pitch, count * p.out_pitch, NULL);
}

static void test_heads(void **state)
{
    static const uint32_t counts[] = {1, 3, 8, 70};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        for (enum matrix_kind kind = MATRIX_F32; kind <= MATRIX_E4M3; kind++) {
            if (counts[i] < MATMUL_LEAST ? kind % 4 == i
                                         : kind == MATRIX_F16 || matmul_takes(kind, counts[i])) {
                compare_heads(kind, counts[i] < MATMUL_LEAST ? 7 : 66, 96, counts[i]);
            }
        }
    }
}

/* Uses that a router drew: `rows_shared` of them read one row of x, as the first products of an expert do, or each its own. */
static void compare_experts(enum matrix_kind kind, uint32_t count, uint32_t experts, uint32_t used,
                            bool shares)
{
    enum { ROWS = 37, COLUMNS = 64 };
    struct route_params router = {
        .count = count, .experts = experts, .used = used, .groups = 1, .groups_used = 1, .scale = 1.0F};
    float *scores = random_floats((size_t)count * experts, 4.0F);
    for (uint32_t i = 0; i < count; i++) {
        scores[(size_t)i * experts] = -100.0F; /* the first expert is used where all are */
    }
    struct routed r = run_route(router, scores, NULL);
    size_t uses = (size_t)count * used;
    struct pieces_params p = {.w = {.kind = kind, .rows = experts * ROWS, .columns = COLUMNS},
                              .pieces = experts,
                              .count = (uint32_t)uses,
                              .uses = &r.host.by_expert,
                              .uses_of_row = shares ? used : 1,
                              .x_pitch = COLUMNS,
                              .out_pitch = ROWS};
    char what[96];
    snprintf(what, sizeof what, "experts, %s, %u tokens, %u of %u", matrix_names[kind], count, used, experts);
    compare_pieces(what, p, (shares ? count : uses) * COLUMNS, uses * ROWS, &r.device.by_expert);
    routed_free(&r);
    free(scores);
}

static void test_experts(void **state)
{
    compare_experts(MATRIX_4BIT, 1, 16, 3, true);
    compare_experts(MATRIX_8BIT, 1, 16, 3, false);
    compare_experts(MATRIX_F32, 5, 8, 2, true);
    compare_experts(MATRIX_E4M3, 5, 8, 2, true); /* scales of 128 rows, whichever piece they are of */
    compare_experts(MATRIX_4BIT, 12, 8, 3, false);
    compare_experts(MATRIX_8BIT_FINE, 7, 4, 4, true);
    compare_experts(MATRIX_4BIT, 30, 5, 3, true); /* eighteen columns each: tensor cores */
    compare_experts(MATRIX_8BIT, 30, 5, 3, false);
    compare_experts(MATRIX_8BIT_FINE, 20, 3, 2, true);
    compare_experts(MATRIX_8BIT_MIN, 150, 3, 2, true); /* more than a tile */
}

static void test_piece_bounds(void **state)
{
    struct pieces_params p = {
        .w = {.kind = MATRIX_4BIT, .rows = 9, .columns = 33}, .pieces = 3, .count = 1, .uses_of_row = 1};
    assert_int_equal(pieces_launch(&p, device_stream), cudaErrorInvalidValue);
    p.w.columns = 32;
    p.pieces = 2;
    assert_int_equal(pieces_launch(&p, device_stream), cudaErrorInvalidValue);
    p.pieces = 0;
    assert_int_equal(pieces_launch(&p, device_stream), cudaErrorInvalidValue);
    p.pieces = 3;
    p.count = 0;
    assert_int_equal(pieces_launch(&p, device_stream), cudaSuccess);
}

/* Only the experts in use are read, and once: 3 of 16. */
static void test_expert_traffic(void **state)
{
    enum { EXPERTS = 16, USED = 3, ROWS = 16, COLUMNS = 512 };
    struct route_params router = {
        .count = 1, .experts = EXPERTS, .used = USED, .groups = 1, .groups_used = 1, .scale = 1.0F};
    float *scores = random_floats(EXPERTS, 4.0F);
    struct routed r = run_route(router, scores, NULL);
    struct matrix w = random_matrix(MATRIX_4BIT, EXPERTS * ROWS, COLUMNS);
    struct pieces_params p = {.w = device_matrix(&w),
                              .x_q = device_rows(1, COLUMNS),
                              .out = device_bytes(USED * ROWS * sizeof(float)),
                              .pieces = EXPERTS,
                              .count = USED,
                              .uses = &r.device.by_expert,
                              .uses_of_row = USED,
                              .x_pitch = COLUMNS,
                              .out_pitch = ROWS};
    struct quantize_params q = {device_floats(COLUMNS, 1.0F), p.x_q, 1, COLUMNS};
    assert_int_equal(quantize_launch(&q, device_stream), cudaSuccess);
    device_wait();
    emu_traffic_start();
    assert_int_equal(pieces_launch(&p, device_stream), cudaSuccess);
    device_wait();
    struct emu_traffic t = emu_traffic_stop();
    size_t least = (size_t)USED * ROWS * COLUMNS / 32 * 20 + COLUMNS + COLUMNS / 32 * 8;
    print_message("experts: %zu bytes read, at least %zu; %zu sectors, at least %zu\n", (size_t)t.read_bytes,
                  least, (size_t)t.sectors, (size_t)t.least_sectors);
    assert_true((double)t.read_bytes <= 1.05 * (double)least);
    matrix_free(&w);
    routed_free(&r);
    free(scores);
}

/* What one head of 64 rows asks memory for, by its columns. */
static struct emu_traffic traffic_of_columns(uint32_t count)
{
    enum { ROWS = 64, COLUMNS = 128 };
    struct matrix w = random_matrix(MATRIX_8BIT, ROWS, COLUMNS);
    struct pieces_params p = {.w = device_matrix(&w),
                              .x_q = device_rows(count, COLUMNS),
                              .out = device_bytes((size_t)count * ROWS * sizeof(float)),
                              .pieces = 1,
                              .count = count,
                              .uses_of_row = 1,
                              .x_pitch = COLUMNS,
                              .out_pitch = ROWS};
    struct quantize_params q = {device_floats((size_t)count * COLUMNS, 1.0F), p.x_q, count, COLUMNS};
    assert_int_equal(quantize_launch(&q, device_stream), cudaSuccess);
    device_wait();
    emu_traffic_start();
    assert_int_equal(pieces_launch(&p, device_stream), cudaSuccess);
    device_wait();
    matrix_free(&w);
    return emu_traffic_stop();
}

/* Few columns are computed one, four or eight at once, never more than needed; of many, no tile more. */
static void test_cost_of_columns(void **state)
{
    uint64_t requests[9] = {0};
    for (uint32_t count = 1; count <= 8; count++) {
        requests[count] = traffic_of_columns(count).requests;
    }
    uint64_t to_write_one = requests[3] - requests[2];
    assert_true(requests[2] - requests[1] > to_write_one);
    assert_int_equal(requests[4] - requests[3], to_write_one);
    assert_true(requests[5] - requests[4] > to_write_one);
    assert_int_equal(requests[8] - requests[7], to_write_one);
    assert_true(requests[8] < 2 * requests[4]); /* the weights are read once */
    assert_int_equal(traffic_of_columns(64).shared_requests, traffic_of_columns(40).shared_requests);
}

/* Two tokens that use the same experts: behind the active ones stands what an earlier batch left there. */
static uint64_t requests_over(uint32_t left_there)
{
    enum { EXPERTS = 16, USED = 3, COUNT = 2, ROWS = 16, COLUMNS = 64 };
    struct route_params router = {
        .count = COUNT, .experts = EXPERTS, .used = USED, .groups = 1, .groups_used = 1, .scale = 1.0F};
    float scores[COUNT * EXPERTS] = {0}; /* 0, 1 and 2 are used */
    struct routed r = run_route(router, scores, NULL);
    uint32_t active[EXPERTS + 1] = {USED, 0, 1, 2};
    for (uint32_t i = USED + 1; i <= EXPERTS; i++) {
        active[i] = left_there;
    }
    device_wait();
    r.device.by_expert.active = device_copy(active, sizeof active);
    struct matrix w = random_matrix(MATRIX_F32, EXPERTS * ROWS, COLUMNS);
    struct pieces_params p = {.w = device_matrix(&w),
                              .x = device_floats(COUNT * COLUMNS, 1.0F),
                              .out = device_bytes(COUNT * USED * ROWS * sizeof(float)),
                              .pieces = EXPERTS,
                              .count = COUNT * USED,
                              .uses = &r.device.by_expert,
                              .uses_of_row = USED,
                              .x_pitch = COLUMNS,
                              .out_pitch = ROWS};
    emu_traffic_start();
    assert_int_equal(pieces_launch(&p, device_stream), cudaSuccess);
    device_wait();
    matrix_free(&w);
    routed_free(&r);
    return emu_traffic_stop().requests;
}

static void test_only_active_experts_are_computed(void **state)
{
    assert_int_equal(requests_over(1), requests_over(UINT32_MAX));
}

/* --- the sum --------------------------------------------------------------------------------------------------- */

static void test_combine(void **state)
{
    enum { COUNT = 3, EXPERTS = 9, USED = 4, WIDTH = 130 };
    uint32_t expert_of[COUNT * USED];
    for (uint32_t i = 0; i < COUNT * USED; i++) {
        expert_of[i] = i * 5 % EXPERTS;
    }
    float *answers = random_floats((size_t)COUNT * USED * WIDTH, 1.0F);
    float *weights = random_floats((size_t)COUNT * EXPERTS, 1.0F);
    float *wanted = random_floats((size_t)COUNT * WIDTH, 1.0F);
    float is[COUNT * WIDTH];
    struct combine_params p = {answers, weights, expert_of, wanted, COUNT, EXPERTS, USED, WIDTH};
    struct combine_params q = p;
    q.answers = device_copy(answers, (size_t)COUNT * USED * WIDTH * sizeof(float));
    q.weights = device_copy(weights, (size_t)COUNT * EXPERTS * sizeof(float));
    q.expert_of = device_copy(expert_of, sizeof expert_of);
    q.out = device_copy(wanted, sizeof is);
    combine_ref(&p);
    assert_int_equal(combine_launch(&q, device_stream), cudaSuccess);
    host_copy(is, q.out, sizeof is);
    expect_close("combine", is, wanted, COUNT * WIDTH, 1e-6, 1e-6 * USED);
    q.count = 0;
    assert_int_equal(combine_launch(&q, device_stream), cudaSuccess);
    free(answers);
    free(weights);
    free(wanted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_route, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_route_of_one_large_score, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_route_of_equals, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_route_bounds, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_heads, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_experts, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_piece_bounds, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_expert_traffic, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_cost_of_columns, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_only_active_experts_are_computed, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_combine, device_setup, device_teardown),
    };
    return cmocka_run_group_tests_name("experts", tests, NULL, NULL);
}
