/* The matrix products of kernels_avx2.c's table: a strip of 16 rows as two halves of 8. Exist on x86-64 only.
 * Thread rule: pure functions. */
#ifndef TIDE_WORKER_CPU_STRIPS_AVX2_H
#define TIDE_WORKER_CPU_STRIPS_AVX2_H

#include "inference/worker/cpu/kernels.h"

void cpu_strip_4bit_avx2(const uint8_t *strip, const struct quantized *x, unsigned columns,
                         float out[KERNEL_TILE][PACKED_ROWS]);
void cpu_strip_5bit_avx2(const uint8_t *strip, const struct quantized *x, unsigned columns,
                         float out[KERNEL_TILE][PACKED_ROWS]);
void cpu_strip_5bit_min_avx2(const uint8_t *strip, const struct quantized *x, unsigned columns,
                             float out[KERNEL_TILE][PACKED_ROWS]);
void cpu_strip_6bit_fine_avx2(const uint8_t *strip, const struct quantized *x, unsigned columns,
                              float out[KERNEL_TILE][PACKED_ROWS]);
void cpu_strip_8bit_avx2(const uint8_t *strip, const struct quantized *x, unsigned columns,
                         float out[KERNEL_TILE][PACKED_ROWS]);
void cpu_strip_8bit_fine_min_avx2(const uint8_t *strip, const struct quantized *x, unsigned columns,
                                  float out[KERNEL_TILE][PACKED_ROWS]);

#endif
