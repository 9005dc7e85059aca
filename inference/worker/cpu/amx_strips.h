/* Strips times 16 columns with AMX: the text of the kernels, over whichever tile unit was included before, the processor's
 * (tile_unit.h, in kernels_amx.c) or the tests' stand-in.
 *
 * A strip's block is a tile as it stands: group g is row g, the 4 bytes of a row of weights are what the unit takes as
 * one. So are 16 tokens' int8 activations, a token a row. One multiplication gives the 16 x 16 sums of a block, or of half
 * of one where there is a scale for 16 columns; they go through memory to AVX-512, which scales and adds them. The
 * sums are exact and the floats' order is that of the AVX-512 kernels, so the results are the same bits. */
#ifndef TIDE_WORKER_CPU_AMX_STRIPS_H
#define TIDE_WORKER_CPU_AMX_STRIPS_H

#include "inference/worker/cpu/avx512.h"

#if defined(__clang__) /* its assembler asks */
#pragma clang attribute push(__attribute__((target("amx-tile,amx-int8"))), apply_to = function)
#endif

/* The tiles. */
#define SUMS 0
#define TOKENS 1
#define WEIGHTS 2

/* As the processor reads it. */
struct tile_config {
    uint8_t palette;        /* 1: eight tiles of at most 16 x 64 bytes */
    uint8_t start_row;      /* where an interrupted load goes on */
    uint8_t reserved[14];   /* 0 */
    uint16_t row_bytes[16]; /* of each tile; 0: not used */
    uint8_t rows[16];
};
_Static_assert(sizeof(struct tile_config) == 64, "the processor reads 64 bytes");
_Static_assert(KERNEL_TILE == 16 && PACKED_ROWS == 16, "a tile is 16 tokens, or rows of weights");

#define TILES(groups)                                                                                        \
    {                                                                                                        \
        .palette = 1, .row_bytes = {[SUMS] = 64, [TOKENS] = 4 * (groups), [WEIGHTS] = 64},                   \
        .rows = {[SUMS] = 16, [TOKENS] = 16, [WEIGHTS] = (groups)},                                          \
    }
static const struct tile_config tiles_whole = TILES(8); /* 32 columns of the matrix at once */
static const struct tile_config tiles_fine = TILES(4);  /* 16 */

/* The kernels that multiply fewer columns than a tile has tokens. */
static const struct cpu_kernels *amx_few;

/* 4-bit weights as bytes: the low halves are columns 0 to 15, the high ones 16 to 31. */
INLINE void spread_halves(const uint8_t *from, uint8_t to[8][64])
{
    const __m512i mask = _mm512_set1_epi8(15);
    for (unsigned g = 0; g < 4; g++) {
        __m512i both = _mm512_loadu_si512(from + 64 * g);
        _mm512_store_si512(to[g], _mm512_and_si512(both, mask));
        _mm512_store_si512(to[4 + g], _mm512_and_si512(_mm512_srli_epi16(both, 4), mask));
    }
}

INLINE void multiply(const int8_t *q, uint32_t width, const uint8_t *weights,
                     int32_t sums[KERNEL_TILE][PACKED_ROWS])
{
    tile_zero(SUMS);
    tile_load(TOKENS, q, width);
    tile_load(WEIGHTS, weights, 64);
    tile_dot(SUMS, TOKENS, WEIGHTS);
    tile_store(SUMS, sums, 64);
}

/* Weights of `bits`; `parts` scales a block, behind `head` bytes of scales and minimums. */
INLINE void amx_strip(const uint8_t *strip, const struct quantized *x, unsigned bits, unsigned parts,
                      unsigned head, float out[KERNEL_TILE][PACKED_ROWS])
{
    const uint32_t blocks = x->width / PACKED_COLUMNS;
    const unsigned groups = 8 / parts;
    _Alignas(64) uint8_t spread[8][64];
    _Alignas(64) int32_t dots[KERNEL_TILE][PACKED_ROWS];
    __m512 acc[KERNEL_TILE];
#pragma GCC unroll 16
    for (unsigned c = 0; c < KERNEL_TILE; c++) {
        acc[c] = _mm512_setzero_ps();
    }
    tile_configure(parts == 1 ? &tiles_whole : &tiles_fine);
    for (uint32_t p = 0; p < blocks * parts; p++, strip += head + 8UL * groups * bits) {
        const uint8_t *weights = strip + head;
        if (bits == 4) {
            spread_halves(weights, spread);
            weights = spread[0];
        }
        multiply(x->q + 4UL * groups * p, x->width, weights, dots);
        __m512 d = load_halves(strip);
        __m512 m = head == 64 ? load_halves(strip + 32) : _mm512_setzero_ps();
#pragma GCC unroll 16
        for (unsigned c = 0; c < KERNEL_TILE; c++) {
            size_t at = (size_t)c * blocks + p / parts;
            acc[c] = add_scaled(acc[c], d, x->scale[at], _mm512_load_si512(dots[c]));
            if (head == 64) {
                acc[c] = _mm512_fmadd_ps(m, _mm512_set1_ps(scaled_sum(x, c, groups, p, at)), acc[c]);
            }
        }
    }
    tile_release();
#pragma GCC unroll 16
    for (unsigned c = 0; c < KERNEL_TILE; c++) {
        _mm512_storeu_ps(out[c], acc[c]);
    }
}

#define AMX_STRIP(kind, bits, parts, head)                                                                   \
    static void amx_##kind(const uint8_t *strip, const struct quantized *x, unsigned columns,                \
                           float out[KERNEL_TILE][PACKED_ROWS])                                              \
    {                                                                                                        \
        if (columns < KERNEL_TILE) {                                                                         \
            amx_few->strip_##kind(strip, x, columns, out);                                                   \
            return;                                                                                          \
        }                                                                                                    \
        amx_strip(strip, x, bits, parts, head, out);                                                         \
    }
AMX_STRIP(4bit, 4, 1, 64)
AMX_STRIP(8bit, 8, 1, 32)
AMX_STRIP(8bit_fine, 8, 2, 32)
AMX_STRIP(8bit_min, 8, 1, 64)
AMX_STRIP(8bit_fine_min, 8, 2, 64)

#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

/* `few`, those of AVX-512, with these kernels for whole tiles. */
static struct cpu_kernels amx_kernels(const struct cpu_kernels *few)
{
    struct cpu_kernels k = *few;
    amx_few = few;
    k.name = "amx-int8";
    k.strip_4bit = amx_4bit;
    k.strip_8bit = amx_8bit;
    k.strip_8bit_fine = amx_8bit_fine;
    k.strip_8bit_min = amx_8bit_min;
    k.strip_8bit_fine_min = amx_8bit_fine_min;
    return k;
}

#endif
