/* Strips times 16 columns with AMX: the text of the kernels, over whichever tile unit was included before, the processor's
 * (tile_unit.h, in kernels_amx.c) or the tests' stand-in.
 *
 * A strip's block of bytes is a tile as it stands (fewer bits become bytes first): group g is row g, the 4 bytes of a row of
 * weights are what the unit takes as one. So are 16 tokens' int8 activations, a token a row. One multiplication gives the 16 x 16 sums of a block, or of half
 * of one where there is a scale for 16 columns; they go through memory to AVX-512, which scales and adds them. The
 * sums are exact and the floats' order is that of the AVX-512 kernels, so the results are the same bits. */
#ifndef TIDE_WORKER_CPU_AMX_STRIPS_H
#define TIDE_WORKER_CPU_AMX_STRIPS_H

#include "inference/worker/cpu/avx512.h"

#define AMX_INLINE static inline AMX __attribute__((always_inline))

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

/* Weights of 4, 5 or 6 bits as bytes, `moved` less than they lie there: columns 0 to 15, then 16 to 31. */
INLINE void spread_groups(const uint8_t *nibbles, unsigned bits, char moved, uint8_t to[8][64])
{
#pragma GCC unroll 4
    for (unsigned g = 0; g < 4; g++) {
        __m512i low;
        __m512i high;
        unpack_group(nibbles, bits, g, &low, &high);
        _mm512_store_si512(to[g], _mm512_sub_epi8(low, _mm512_set1_epi8(moved)));
        _mm512_store_si512(to[4 + g], _mm512_sub_epi8(high, _mm512_set1_epi8(moved)));
    }
}

AMX_INLINE void multiply(const int8_t *q, uint32_t width, const uint8_t *weights,
                         int32_t sums[KERNEL_TILE][PACKED_ROWS])
{
    tile_zero(SUMS);
    tile_load(TOKENS, q, width);
    tile_load(WEIGHTS, weights, 64);
    tile_dot(SUMS, TOKENS, WEIGHTS);
    tile_store(SUMS, sums, 64);
}

/* Columns from `column` on, those of one scale: added as AVX-512's kernels do. m: NULL where the kind has no minimums. */
AMX_INLINE void add_part(const struct quantized *x, size_t column, const uint8_t *weights, unsigned parts,
                         __m512 d, const __m512 *m, __m512 acc[KERNEL_TILE])
{
    _Alignas(64) int32_t dots[KERNEL_TILE][PACKED_ROWS];
    multiply(x->q + column, x->width, weights, dots);
#pragma GCC unroll 16
    for (unsigned c = 0; c < KERNEL_TILE; c++) {
        size_t at = (size_t)c * x->width + column;
        acc[c] = add_scaled(acc[c], d, x->scale[at / 32], _mm512_load_si512(dots[c]));
        if (m) {
            float sum = parts == 1 ? x->sum[at / 32] : x->scale[at / 32] * (float)x->totals[at / 16];
            acc[c] = _mm512_fmadd_ps(*m, _mm512_set1_ps(sum), acc[c]);
        }
    }
}

/* A block has `head` bytes of scales and minimums, of fine 8-bit ones each half has; `parts` scales. */
AMX_INLINE void amx_strip(const uint8_t *strip, const struct quantized *x, unsigned bits, unsigned parts,
                          unsigned head, size_t block_bytes, float out[KERNEL_TILE][PACKED_ROWS])
{
    const uint32_t blocks = x->width / PACKED_COLUMNS;
    const unsigned groups = 8 / parts;
    const size_t next = bits == 6 ? 32 : block_bytes / parts; /* from a scale to that of the other half */
    const bool has_minimum = head == 64 && bits != 6;
    const char moved = bits == 6 ? 32 : bits == 5 && !has_minimum ? 16 : 0;
    _Alignas(64) uint8_t spread[8][64];
    __m512 acc[KERNEL_TILE];
#pragma GCC unroll 16
    for (unsigned c = 0; c < KERNEL_TILE; c++) {
        acc[c] = _mm512_setzero_ps();
    }
    tile_configure(parts == 1 ? &tiles_whole : &tiles_fine);
    for (uint32_t b = 0; b < blocks; b++, strip += block_bytes) {
        if (bits < 8) {
            spread_groups(strip + head, bits, moved, spread);
        }
        for (unsigned part = 0; part < parts; part++) {
            const uint8_t *scales = strip + part * next;
            const uint8_t *weights = bits < 8 ? spread[groups * part] : scales + head;
            __m512 d = load_halves(scales);
            __m512 m = has_minimum ? load_halves(scales + 32) : d; /* or not used */
            add_part(x, 32UL * b + 16 * part, weights, parts, d, has_minimum ? &m : NULL, acc);
        }
    }
    tile_release();
#pragma GCC unroll 16
    for (unsigned c = 0; c < KERNEL_TILE; c++) {
        _mm512_storeu_ps(out[c], acc[c]);
    }
}

#define AMX_STRIP(kind, bits, parts, head, bytes)                                                            \
    AMX static void amx_##kind(const uint8_t *strip, const struct quantized *x, unsigned columns,            \
                               float out[KERNEL_TILE][PACKED_ROWS])                                          \
    {                                                                                                        \
        if (columns < KERNEL_TILE) {                                                                         \
            amx_few->strip_##kind(strip, x, columns, out);                                                   \
            return;                                                                                          \
        }                                                                                                    \
        amx_strip(strip, x, bits, parts, head, bytes, out);                                                  \
    }
AMX_STRIP(4bit, 4, 1, 64, PACKED_4BIT_BYTES)
AMX_STRIP(5bit, 5, 1, 32, PACKED_5BIT_BYTES)
AMX_STRIP(5bit_min, 5, 1, 64, PACKED_5BIT_MIN_BYTES)
AMX_STRIP(6bit_fine, 6, 2, 64, PACKED_6BIT_FINE_BYTES)
AMX_STRIP(8bit, 8, 1, 32, PACKED_8BIT_BYTES)
AMX_STRIP(8bit_fine_min, 8, 2, 64, PACKED_8BIT_FINE_MIN_BYTES)

/* `few`, those of AVX-512, with these kernels for whole tiles. */
static struct cpu_kernels amx_kernels(const struct cpu_kernels *few)
{
    struct cpu_kernels k = *few;
    amx_few = few;
    k.name = "amx-int8";
    k.strip_4bit = amx_4bit;
    k.strip_5bit = amx_5bit;
    k.strip_5bit_min = amx_5bit_min;
    k.strip_6bit_fine = amx_6bit_fine;
    k.strip_8bit = amx_8bit;
    k.strip_8bit_fine_min = amx_8bit_fine_min;
    return k;
}

#endif
