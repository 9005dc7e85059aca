/* Rotary positions: pairs of a head turn by an angle that the table has for each position.
 *
 *     x' = x cos - y sin      y' = x sin + y cos      (x, y): values 2i and 2i + 1, or i and i + dims / 2
 *
 * Values [to, to + dims) of each piece of out come from values [from, from + dims) of the piece of x; out may be x when
 * from = to. Other values stay.
 * Errors: cudaErrorInvalidValue for odd dims or pieces too short; else what the launch answers.
 * Thread rule: one host thread a stream. */
#ifndef TIDE_KERNELS_ROPE_H
#define TIDE_KERNELS_ROPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cuda_runtime.h>

#ifdef __cplusplus
extern "C" {
#endif

struct rope_params {
    const float *x;
    float *out;
    const float *table;        /* (positions, dims): cosine and sine of each pair */
    const uint32_t *positions; /* (tokens) */
    uint32_t tokens;
    uint32_t heads;     /* pieces of a token */
    uint32_t x_piece;   /* values of a piece of x */
    uint32_t out_piece; /* values of a piece of out */
    uint32_t from;
    uint32_t to;
    uint32_t dims;   /* rotated values of a piece, even */
    bool has_halves; /* pairs are i and i + dims / 2 */
};

cudaError_t rope_launch(const struct rope_params *p, cudaStream_t stream);
void rope_ref(const struct rope_params *p);

#ifdef __cplusplus
}
#endif
#endif
