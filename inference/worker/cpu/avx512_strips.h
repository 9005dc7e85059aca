/* A strip times columns with AVX-512 and VNNI: the text of the kernels, over the processor's vectors (kernels_avx512.c) or the
 * tests' stand-in. 16 rows of a strip at once and four products an instruction; the integers, and the order of every float
 * operation, are those of strips_avx2.c, so the results are the same bits. */
#ifndef TIDE_WORKER_CPU_AVX512_STRIPS_H
#define TIDE_WORKER_CPU_AVX512_STRIPS_H

#include "inference/worker/cpu/avx512.h"

INLINE int32_t load4(const int8_t *q) /* four columns of one token */
{
    int32_t four;
    memcpy(&four, q, sizeof four);
    return four;
}

INLINE __m512i add_products(__m512i dots, __m512i unsigned_weights, const int8_t *q)
{
    return _mm512_dpbusd_epi32(dots, unsigned_weights, _mm512_set1_epi32(load4(q)));
}

/* 4-bit or 5-bit weights behind `head` bytes of scales and minimums. */
INLINE void tile_plane(const uint8_t *strip, const struct quantized *x, unsigned n, unsigned bits,
                       unsigned head, float out[KERNEL_TILE][PACKED_ROWS])
{
    const uint32_t blocks = x->width / PACKED_COLUMNS;
    const size_t block_bytes = head + (bits == 5 ? 320UL : 256UL);
    const bool has_minimum = head == 64;
    __m512 acc[KERNEL_TILE];
    for (unsigned c = 0; c < n; c++) {
        acc[c] = _mm512_setzero_ps();
    }
    for (uint32_t b = 0; b < blocks; b++, strip += block_bytes) {
        __m512i dots[KERNEL_TILE];
#pragma GCC unroll 8
        for (unsigned c = 0; c < n; c++) {
            size_t at = (size_t)c * blocks + b;
            dots[c] = has_minimum ? _mm512_setzero_si512() : start_5bit(x->totals + 2 * at);
        }
#pragma GCC unroll 4
        for (unsigned g = 0; g < 4; g++) {
            __m512i low;
            __m512i high;
            unpack_group(strip + head, bits, g, &low, &high);
#pragma GCC unroll 8
            for (unsigned c = 0; c < n; c++) {
                const int8_t *q = x->q + (size_t)c * x->width + 32UL * b + 4 * g;
                dots[c] = add_products(dots[c], low, q);
                dots[c] = add_products(dots[c], high, q + 16);
            }
        }
        __m512 d = load_halves(strip);
        __m512 m = has_minimum ? load_halves(strip + 32) : d; /* or not used */
#pragma GCC unroll 8
        for (unsigned c = 0; c < n; c++) {
            size_t at = (size_t)c * blocks + b;
            acc[c] = add_scaled(acc[c], d, x->scale[at], dots[c]);
            if (has_minimum) {
                acc[c] = _mm512_fmadd_ps(m, _mm512_set1_ps(x->sum[at]), acc[c]);
            }
        }
    }
    for (unsigned c = 0; c < n; c++) {
        _mm512_storeu_ps(out[c], acc[c]);
    }
}

/* 16 columns of 6-bit weights, the low (half 0) or the high halves of the bytes. */
INLINE void half_6bit(const uint8_t *block, const struct quantized *x, unsigned n, uint32_t b, unsigned half,
                      __m512 *acc)
{
    const uint32_t blocks = x->width / PACKED_COLUMNS;
    __m512i dots[KERNEL_TILE];
#pragma GCC unroll 8
    for (unsigned c = 0; c < n; c++) {
        dots[c] = start_6bit(x->totals[2 * ((size_t)c * blocks + b) + half]);
    }
#pragma GCC unroll 4
    for (unsigned g = 0; g < 4; g++) {
        __m512i halves[2];
        unpack_group(block + 64, 6, g, &halves[0], &halves[1]);
#pragma GCC unroll 8
        for (unsigned c = 0; c < n; c++) {
            dots[c] = add_products(dots[c], halves[half],
                                   x->q + (size_t)c * x->width + 32UL * b + 16 * half + 4 * g);
        }
    }
    __m512 d = load_halves(block + 32 * half);
#pragma GCC unroll 8
    for (unsigned c = 0; c < n; c++) {
        acc[c] = add_scaled(acc[c], d, x->scale[(size_t)c * blocks + b], dots[c]);
    }
}

INLINE void tile_6bit_fine(const uint8_t *strip, const struct quantized *x, unsigned n,
                           float out[KERNEL_TILE][PACKED_ROWS])
{
    __m512 acc[KERNEL_TILE];
    for (unsigned c = 0; c < n; c++) {
        acc[c] = _mm512_setzero_ps();
    }
    for (uint32_t b = 0; b < x->width / PACKED_COLUMNS; b++, strip += PACKED_6BIT_FINE_BYTES) {
        half_6bit(strip, x, n, b, 0, acc);
        half_6bit(strip, x, n, b, 1, acc);
    }
    for (unsigned c = 0; c < n; c++) {
        _mm512_storeu_ps(out[c], acc[c]);
    }
}

/* 8-bit weights, `parts` scales a block, behind `head` bytes of scales and minimums. The instruction wants one factor
 * unsigned: activations are moved up by 128, which adds 128 times the sum of the row's weights to every column alike;
 * that is taken off again, exactly. */
INLINE void tile_parts(const uint8_t *strip, const struct quantized *x, unsigned n, unsigned parts,
                       unsigned head, float out[KERNEL_TILE][PACKED_ROWS])
{
    const __m512i moved = _mm512_set1_epi8((char)128);
    const uint32_t blocks = x->width / PACKED_COLUMNS;
    const unsigned groups = 8 / parts;
    __m512 acc[KERNEL_TILE];
    for (unsigned c = 0; c < n; c++) {
        acc[c] = _mm512_setzero_ps();
    }
    for (uint32_t p = 0; p < blocks * parts; p++, strip += head + 64UL * groups) {
        __m512i extra = _mm512_setzero_si512();
        __m512i dots[KERNEL_TILE];
#pragma GCC unroll 8
        for (unsigned c = 0; c < n; c++) {
            dots[c] = _mm512_setzero_si512();
        }
#pragma GCC unroll 8
        for (unsigned g = 0; g < groups; g++) {
            __m512i w = _mm512_loadu_si512(strip + head + 64 * g);
            extra = _mm512_dpbusd_epi32(extra, moved, w);
#pragma GCC unroll 8
            for (unsigned c = 0; c < n; c++) {
                const int8_t *q = x->q + (size_t)c * x->width + 4UL * (groups * p + g);
                __m512i v = _mm512_set1_epi32(load4(q) ^ (int32_t)0x80808080);
                dots[c] = _mm512_dpbusd_epi32(dots[c], v, w);
            }
        }
        __m512 d = load_halves(strip);
#pragma GCC unroll 8
        for (unsigned c = 0; c < n; c++) {
            float scale = x->scale[(size_t)c * blocks + p / parts];
            acc[c] = add_scaled(acc[c], d, scale, _mm512_sub_epi32(dots[c], extra));
        }
        if (head == 64) {
            __m512 m = load_halves(strip + 32);
#pragma GCC unroll 8
            for (unsigned c = 0; c < n; c++) {
                size_t at = (size_t)c * 2 * blocks + p;
                float sum = x->scale[at / 2] * (float)x->totals[at];
                acc[c] = _mm512_fmadd_ps(m, _mm512_set1_ps(sum), acc[c]);
            }
        }
    }
    for (unsigned c = 0; c < n; c++) {
        _mm512_storeu_ps(out[c], acc[c]);
    }
}

#define TILE(name, tile, first, head)                                                                        \
    INLINE void name(const uint8_t *strip, const struct quantized *x, unsigned n,                            \
                     float out[KERNEL_TILE][PACKED_ROWS])                                                    \
    {                                                                                                        \
        tile(strip, x, n, first, head, out);                                                                 \
    }
TILE(tile_4bit, tile_plane, 4, 64)
TILE(tile_5bit, tile_plane, 5, 32)
TILE(tile_5bit_min, tile_plane, 5, 64)
TILE(tile_8bit, tile_parts, 1, 32)
TILE(tile_8bit_fine_min, tile_parts, 2, 64)

/* The tile functions with their column count as a constant: 8, 4, 2 and 1 at a time. */
#define STRIP(name, tile)                                                                                    \
    AVX512 static void name(const uint8_t *strip, const struct quantized *x, unsigned columns,               \
                            float out[KERNEL_TILE][PACKED_ROWS])                                             \
    {                                                                                                        \
        unsigned c = 0;                                                                                      \
        for (; c + 8 <= columns; c += 8) {                                                                   \
            struct quantized eight = quantized_from(x, c);                                                   \
            tile(strip, &eight, 8, out + c);                                                                 \
        }                                                                                                    \
        if (columns & 4) {                                                                                   \
            struct quantized rest = quantized_from(x, c);                                                    \
            tile(strip, &rest, 4, out + c);                                                                  \
            c += 4;                                                                                          \
        }                                                                                                    \
        if (columns & 2) {                                                                                   \
            struct quantized rest = quantized_from(x, c);                                                    \
            tile(strip, &rest, 2, out + c);                                                                  \
            c += 2;                                                                                          \
        }                                                                                                    \
        if (columns & 1) {                                                                                   \
            struct quantized rest = quantized_from(x, c);                                                    \
            tile(strip, &rest, 1, out + c);                                                                  \
        }                                                                                                    \
    }
STRIP(strip_4bit, tile_4bit)
STRIP(strip_5bit, tile_5bit)
STRIP(strip_5bit_min, tile_5bit_min)
STRIP(strip_6bit_fine, tile_6bit_fine)
STRIP(strip_8bit, tile_8bit)
STRIP(strip_8bit_fine_min, tile_8bit_fine_min)

/* `rest`, with these kernels for strips. */
static struct cpu_kernels avx512_kernels(const struct cpu_kernels *rest)
{
    struct cpu_kernels k = *rest;
    k.name = "avx512-vnni";
    k.strip_4bit = strip_4bit;
    k.strip_5bit = strip_5bit;
    k.strip_5bit_min = strip_5bit_min;
    k.strip_6bit_fine = strip_6bit_fine;
    k.strip_8bit = strip_8bit;
    k.strip_8bit_fine_min = strip_8bit_fine_min;
    return k;
}

#endif
