/* Random products of a matrix and columns, on both sides, for every kernel that multiplies. */
#ifndef TIDE_TESTS_PRODUCTS_H
#define TIDE_TESTS_PRODUCTS_H

#include "tests/kernels/matrices.h"

#include "kernels/matmul_fp8.h"
#include "kernels/matvec.h"

__attribute__((unused)) static struct quantized_rows host_rows(uint32_t rows, uint32_t width)
{
    size_t n = (size_t)rows * width;
    return (struct quantized_rows){host_bytes(n), host_bytes(n / 32 * sizeof(float)),
                                   host_bytes(n / 32 * sizeof(float))};
}

__attribute__((unused)) static void rows_free(struct quantized_rows *q)
{
    free(q->q);
    free(q->scale);
    free(q->sum);
}

__attribute__((unused)) static struct quantized_rows device_rows(uint32_t rows, uint32_t width)
{
    size_t n = (size_t)rows * width;
    return (struct quantized_rows){device_bytes(n), device_bytes(n / 32 * sizeof(float)),
                                   device_bytes(n / 32 * sizeof(float))};
}

__attribute__((unused)) static struct fp8_rows host_fp8_rows(uint32_t rows, uint32_t width)
{
    return (struct fp8_rows){host_bytes((size_t)rows * width),
                             host_bytes(rows * fp8_blocks(width) * sizeof(float))};
}

__attribute__((unused)) static struct fp8_rows device_fp8_rows(uint32_t rows, uint32_t width)
{
    return (struct fp8_rows){device_bytes((size_t)rows * width),
                             device_bytes(rows * fp8_blocks(width) * sizeof(float))};
}

enum extra { NOTHING, BIAS, ADDS };

struct product {
    struct matvec_params host; /* .out: what the reference gives */
    struct matvec_params device;
    float *is; /* what the kernel gives */
};

__attribute__((unused)) static struct product make_product(enum matrix_kind kind, uint32_t rows,
                                                           uint32_t columns, uint32_t count, enum extra extra)
{
    struct product t = {0};
    struct matrix w = random_matrix(kind, rows, columns);
    float *x = random_floats((size_t)count * columns, 2.0F);
    size_t n = (size_t)rows * count;
    t.host = (struct matvec_params){.w = w, .x = x, .out = random_floats(n, 1.0F), .count = count};
    t.host.adds = extra == ADDS;
    t.host.bias = extra == BIAS ? random_floats(rows, 1.0F) : NULL;
    t.device = t.host;
    t.device.w = device_matrix(&w);
    t.device.x = device_copy(x, (size_t)count * columns * sizeof *x);
    t.device.out = device_copy(t.host.out, n * sizeof *t.is);
    t.device.bias = t.host.bias ? device_copy(t.host.bias, rows * sizeof *t.is) : NULL;
    if (matrix_is_quantized(kind)) {
        t.host.x_q = host_rows(count, columns);
        t.device.x_q = device_rows(count, columns);
        quantize_ref(&(struct quantize_params){x, t.host.x_q, count, columns});
        struct quantize_params q = {t.device.x, t.device.x_q, count, columns};
        assert_int_equal(quantize_launch(&q, device_stream), cudaSuccess);
        device_wait();
    }
    t.is = host_bytes(n * sizeof *t.is);
    return t;
}

__attribute__((unused)) static void product_free(struct product *t)
{
    matrix_free(&t->host.w);
    free((void *)t->host.x);
    free((void *)t->host.bias);
    free(t->host.out);
    rows_free(&t->host.x_q);
    free(t->is);
}

#endif
