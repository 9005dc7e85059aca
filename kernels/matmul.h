/* The product of matvec.h for many columns, on tensor cores: prompts. Same parameters, same reference (matvec_ref).
 *
 * Errors: as matvec_launch; cudaErrorInvalidValue also for kinds that it does not take.
 * Thread rule: one host thread a stream. */
#ifndef TIDE_KERNELS_MATMUL_H
#define TIDE_KERNELS_MATMUL_H

#include "kernels/matvec.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { MATMUL_LEAST = 9 }; /* columns: from there on matvec would read the weights twice */

/* It has that kind, and so many columns are better off here. */
bool matmul_takes(enum matrix_kind kind, uint32_t columns);
cudaError_t matmul_launch(const struct matvec_params *p, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
