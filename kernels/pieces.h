/* Products of a matrix that is cut into pieces of equal shape, each with columns of its own: heads and experts.
 *
 *     heads:    out[c][h] = piece h of w . x[c][h]                 every piece meets its part of every column
 *     experts:  out[u] = piece e of w . x[u / uses_of_row]         for each use u of expert e (route.h)
 *
 * A column's result has the same bits whatever stands beside it, but for the step from matvec to tensor cores.
 * Errors: cudaErrorInvalidValue for columns that the kind does not allow, and for x_fp8 where it is not taken; else what the launch answers.
 * Thread rule: one host thread a stream. */
#ifndef TIDE_KERNELS_PIECES_H
#define TIDE_KERNELS_PIECES_H

#include "kernels/matmul_fp8.h"
#include "kernels/matvec.h"
#include "kernels/route.h"

#ifdef __cplusplus
extern "C" {
#endif

struct pieces_params {
    struct matrix w; /* (pieces * rows of one, columns) */
    const float *x;  /* of kinds that are not quantized; of E4M3 16-byte aligned, as each part of it */
    struct quantized_rows x_q; /* of quantized kinds */
    struct fp8_rows x_fp8;     /* (rows of x, columns), where pieces_take_fp8; else no pointers */
    float *out;
    uint32_t pieces;
    uint32_t count;                 /* columns of each head; uses of all experts */
    const struct expert_uses *uses; /* host struct of device memory; NULL: heads */
    uint32_t uses_of_row;           /* that read the same row of x; 1 for heads */
    size_t x_pitch;                 /* values from a row of x to the next */
    size_t x_piece;                 /* of heads: values from a head's part to the next; 0 for experts */
    size_t out_pitch;               /* likewise of out; of experts: of a use */
    size_t out_piece;
};

/* FP8 experts of so many columns, whose rows become FP8 too (quantize_fp8_launch), are better off on tensor cores. */
bool pieces_take_fp8(const struct pieces_params *p);
cudaError_t pieces_launch(const struct pieces_params *p, cudaStream_t stream);
void pieces_ref(const struct pieces_params *p);

#ifdef __cplusplus
}
#endif
#endif
