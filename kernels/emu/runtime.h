/* What the runtime's two files share: what stands against a call, and what a thread has chosen.
 *
 * Thread rule: under the emulator's lock. */
#ifndef TIDE_EMU_RUNTIME_H
#define TIDE_EMU_RUNTIME_H

#include "kernels/emu/stream.h"

cudaError runtime_begin(void);                           /* cudaSuccess, or what every call answers now */
cudaError runtime_error(cudaError e);                    /* keeps it for cudaGetLastError; returns it */
int runtime_device(void);                                /* of the calling thread */
struct CUstream_st *runtime_stream(cudaStream_t stream); /* NULL: the device's default stream */
void launch_limits_clear(void);

#endif
