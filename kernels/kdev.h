/* What kernels are written in: CUDA's device language, and the few things that differ between nvcc and the emulator
 * (kernels/emu/device.h). Everything else in a kernel is the same text for both.
 *
 *     LAUNCH(kernel, grid, block, shared_bytes, stream, argument, ...)    kernel<<<...>>>(...); a template in parentheses
 *     SHARED(float, tile, [16][32])                                       __shared__ float tile[16][32]
 *     DYNAMIC_SHARED(float, rows)                                         extern __shared__, shared_bytes of the launch
 *
 * Units: a warp is 32 lanes; helpers want all of them. Half precision is stored as uint16_t and computed as float.
 * Thread rule: device code; launchers are called by one host thread a stream. */
#ifndef TIDE_KERNELS_KDEV_H
#define TIDE_KERNELS_KDEV_H

#include <stdint.h>

#include <cuda_runtime.h>

#ifdef __CUDACC__
#include "kernels/kdev_nvcc.h"
#else
#include "kernels/emu/device.h"
#include "kernels/kdev_emu.h"
#endif

enum { WARP_LANES = 32 };
#define ALL_LANES 0xFFFFFFFFU

/* --- reductions: every lane, or every thread, receives the result ------------------------------------------- */

static __device__ __forceinline__ float warp_sum(float v)
{
    for (int delta = WARP_LANES / 2; delta > 0; delta /= 2) {
        v += __shfl_xor_sync(ALL_LANES, v, delta);
    }
    return v;
}

static __device__ __forceinline__ float warp_max(float v)
{
    for (int delta = WARP_LANES / 2; delta > 0; delta /= 2) {
        v = fmaxf(v, __shfl_xor_sync(ALL_LANES, v, delta));
    }
    return v;
}

/* Of a block of whole warps; `partial` is its shared memory of 32 floats, free again after the next barrier. */
static __device__ __forceinline__ float block_sum(float v, float *partial)
{
    unsigned warps = (blockDim.x + WARP_LANES - 1) / WARP_LANES;
    unsigned lane = threadIdx.x % WARP_LANES;
    v = warp_sum(v);
    if (lane == 0) {
        partial[threadIdx.x / WARP_LANES] = v;
    }
    __syncthreads();
    return warp_sum(lane < warps ? partial[lane] : 0.0F);
}

/* --- half precision, bfloat16 and FP8 -------------------------------------------------------------------------------------------- */

static __device__ __forceinline__ float low_half(uint32_t pair)
{
    return half_to_float_device((uint16_t)(pair & 0xFFFF));
}

static __device__ __forceinline__ float high_half(uint32_t pair)
{
    return half_to_float_device((uint16_t)(pair >> 16));
}

static __device__ __forceinline__ float bf16_to_float(uint16_t h)
{
    return __uint_as_float((uint32_t)h << 16);
}

/* To nearest, ties to even, by bits; a carry moves into the exponent as it should, but not out of what is no number. */
static __device__ __forceinline__ uint16_t float_to_bf16(float f)
{
    uint32_t bits = __float_as_uint(f);
    return f != f ? 0x7FFF : (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

#define LARGEST_HALF 65504.0F

/* What is too large becomes the largest; what is no number stays so. */
static __device__ __forceinline__ uint16_t float_to_finite_half(float f)
{
    return float_to_half_device(f > LARGEST_HALF ? LARGEST_HALF : f < -LARGEST_HALF ? -LARGEST_HALF : f);
}

/* f as the sum of two halves, as far as they reach: rounded, and what is missing then. */
static __device__ __forceinline__ void split_halves(float f, uint16_t *high, uint16_t *low)
{
    *high = float_to_finite_half(f);
    *low = float_to_finite_half(f - half_to_float_device(*high));
}

/* Of numbers, on any device: the bits of a half whose exponent is 8 too small. */
static __device__ __forceinline__ float e4m3_to_float(uint32_t q)
{
    return half_to_float_device((uint16_t)((q & 0x80) << 8 | (q & 0x7F) << 7)) * 256.0F;
}

#endif
