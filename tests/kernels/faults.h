/* Kernels that break one rule each, so that tests see the emulator object (faults.cu). */
#ifndef TIDE_TESTS_FAULTS_H
#define TIDE_TESTS_FAULTS_H

#include <stdint.h>

#include <cuda_runtime.h>

#ifdef __cplusplus
extern "C" {
#endif

enum broken_rule {
    BROKEN_NOTHING = 0,
    BROKEN_MISSING_BARRIER = 1,   /* shared memory written by one warp, read by another */
    BROKEN_MISSING_SYNCWARP = 2,  /* the same within a warp */
    BROKEN_WRITE_AFTER_READ = 3,  /* overwritten while another may still read */
    BROKEN_DIVERGENT_BARRIER = 4, /* half of the block goes another way */
    BROKEN_LEFT_BARRIER = 5,      /* a thread ends while others wait */
    BROKEN_SHUFFLE_DIVERGED = 6,  /* lanes meet different operations */
    BROKEN_SHUFFLE_MASK = 7,      /* a mask without its own lane */
    BROKEN_SHUFFLE_ABSENT = 8,    /* reads a lane that takes no part */
    BROKEN_SHUFFLE_ENDED = 9,     /* waits for a lane that has ended */
    BROKEN_READ_PAST_END = 10,    /* of device memory */
    BROKEN_WRITE_PAST_END = 11,   /* of device memory */
    BROKEN_SHARED_PAST_END = 12,  /* of a shared array */
    BROKEN_HOST_POINTER = 13,     /* device code reads host memory */
    BROKEN_OTHER_STACK = 14,      /* a pointer to another thread's local memory */
    BROKEN_CONSTANT_WRITE = 15,   /* writes the program's constants */
    BROKEN_MISALIGNED = 16,       /* 16 bytes from an address that is a multiple of 4 */
    BROKEN_ASYNC_NO_WAIT = 17,    /* cp.async, and nobody waits */
    BROKEN_ASYNC_EARLY_READ = 18, /* cp.async, read before the wait */
    BROKEN_ASYNC_MISALIGNED = 19,
    BROKEN_NO_DYNAMIC_SHARED = 20, /* uses a dynamic part that the launch did not give */
    BROKEN_STATIC_SHARED_TOO_BIG = 21,
    BROKEN_SHARED_UNWRITTEN = 22, /* reads what nobody wrote, in the second block what the first one left */
    BROKEN_ATOMIC_UNWRITTEN = 23, /* adds to it */
    BROKEN_LOCAL_PAST_END = 24,   /* of an array of the thread's own */
    BROKEN_RULES = 25,
};

/* in: 128 floats of device memory; out: 128 floats. host: any host memory. */
void broken_launch(enum broken_rule rule, const float *in, float *out, float *host, cudaStream_t stream);
/* A block of `threads`, `shared_bytes` dynamic: for limits of launches. raise: first asks for that much. */
void idle_launch(unsigned grid, unsigned threads, size_t shared_bytes, int raise, cudaStream_t stream);
/* *count += each thread's share, the blocks in whatever order: order[i] is the block that ran i-th. */
void order_launch(unsigned *count, unsigned *order, unsigned blocks, cudaStream_t stream);
/* out[i] = in[i * stride], 32 lanes; and through shared memory with that stride. */
void stride_launch(const float *in, float *out, unsigned stride, cudaStream_t stream);
/* c (16 x 8) = a (16 x 16) . b (16 x 8), halves: which lane holds what, by the PTX ISA's figures. */
void mma_f16_launch(const uint16_t *a, const uint16_t *b, float *c, cudaStream_t stream);
void mma_bf16_launch(const uint16_t *a, const uint16_t *b, float *c,
                     cudaStream_t stream); /* the same of bfloat16 */
/* c (16 x 8) = a (16 x 32) . b (32 x 8), int8 */
void mma_s8_launch(const int8_t *a, const int8_t *b, int *c, cudaStream_t stream);
/* c (16 x 8) = a (16 x 32, e4m3) . b (32 x 8, rounded to e4m3) */
void mma_e4m3_launch(const uint8_t *a, const float *b, float *c, cudaStream_t stream);
/* p[0] += add, one thread */
void add_launch(float *p, float add, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
