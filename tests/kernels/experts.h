/* Products of pieces on both sides: heads, and experts that a router drew. */
#ifndef TIDE_TESTS_EXPERTS_H
#define TIDE_TESTS_EXPERTS_H

#include "tests/kernels/products.h"
#include "tests/kernels/routes.h"

#include "kernels/pieces.h"

/* Both sides' products; out begins with random values, so that what is not written stays. */
__attribute__((unused)) static void compare_pieces(const char *what, struct pieces_params p, size_t x_values,
                                                   size_t out_values, const struct expert_uses *device_side)
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
    if (pieces_take_fp8(&p)) {
        uint32_t rows = (uint32_t)(x_values / p.x_pitch);
        p.x_fp8 = host_fp8_rows(rows, p.w.columns);
        q.x_fp8 = device_fp8_rows(rows, p.w.columns);
        quantize_fp8_ref(&(struct quantize_fp8_params){x, p.x_fp8, rows, p.w.columns});
        struct quantize_fp8_params first = {q.x, q.x_fp8, rows, p.w.columns};
        assert_int_equal(quantize_fp8_launch(&first, device_stream), cudaSuccess);
    }
    pieces_ref(&p);
    assert_int_equal(pieces_launch(&q, device_stream), cudaSuccess);
    host_copy(is, q.out, out_values * sizeof *is);
    expect_close(what, is, p.out, out_values, 1e-6, 1e-6 * 3 * p.w.columns);
    matrix_free(&p.w);
    free(p.x_fp8.q);
    free(p.x_fp8.scale);
    free(x);
    free(is);
    free(p.out);
    rows_free(&p.x_q);
}

struct experts_case {
    enum matrix_kind kind;
    uint32_t rows; /* of an expert */
    uint32_t columns;
    uint32_t tokens;
    uint32_t experts;
    uint32_t used;
    bool
        shares; /* uses of a token read one row of x, as the first products of an expert do; else each its own */
};

/* Uses that a router drew. */
__attribute__((unused)) static void compare_experts(const struct experts_case *c)
{
    struct route_params router = {.count = c->tokens,
                                  .experts = c->experts,
                                  .used = c->used,
                                  .groups = 1,
                                  .groups_used = 1,
                                  .scale = 1.0F};
    float *scores = random_floats((size_t)c->tokens * c->experts, 4.0F);
    for (uint32_t i = 0; i < c->tokens; i++) {
        scores[(size_t)i * c->experts] = -100.0F; /* the first expert is used where all are */
    }
    struct routed r = run_route(router, scores, NULL);
    size_t uses = (size_t)c->tokens * c->used;
    struct pieces_params p = {.w = {.kind = c->kind, .rows = c->experts * c->rows, .columns = c->columns},
                              .pieces = c->experts,
                              .count = (uint32_t)uses,
                              .uses = &r.host.by_expert,
                              .uses_of_row = c->shares ? c->used : 1,
                              .x_pitch = c->columns,
                              .out_pitch = c->rows};
    char what[96];
    snprintf(what, sizeof what, "experts, %s, %u tokens, %u of %u", matrix_names[c->kind], c->tokens, c->used,
             c->experts);
    compare_pieces(what, p, (c->shares ? c->tokens : uses) * c->columns, uses * c->rows, &r.device.by_expert);
    routed_free(&r);
    free(scores);
}

#endif
