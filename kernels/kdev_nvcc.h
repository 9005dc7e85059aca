/* Wrappers of single instructions, for nvcc. kdev_emu.h has the same ones for the emulator; tests/kernels/compiled
 * finds each in the PTX. */
#ifndef TIDE_KERNELS_KDEV_NVCC_H
#define TIDE_KERNELS_KDEV_NVCC_H

#include <cuda_fp16.h>

#define SHARED(type, name, dims) __shared__ type name dims
/* One name for all types: a kernel has one dynamic part. */
#define DYNAMIC_SHARED(type, name)                                                                           \
    extern __shared__ __align__(16) unsigned char dynamic_shared_bytes[];                                    \
    type *name = reinterpret_cast<type *>(dynamic_shared_bytes)
#define LAUNCH(kernel, grid, block, shared, stream, ...) kernel<<<grid, block, shared, stream>>>(__VA_ARGS__)

static __device__ __forceinline__ float half_to_float_device(uint16_t h)
{
    return __half2float(__ushort_as_half(h));
}

static __device__ __forceinline__ uint16_t float_to_half_device(float f)
{
    return __half_as_ushort(__float2half_rn(f));
}

/* 16 bytes at once, from an address that is a multiple of 16. */
static __device__ __forceinline__ uint4 load16(const void *p)
{
    return *static_cast<const uint4 *>(p);
}

static __device__ __forceinline__ void store16(void *p, uint4 v)
{
    *static_cast<uint4 *>(p) = v;
}

/* The first `bytes` (0 to 16) of 16 from global to shared memory; the rest become zero. Done at copy_async_wait. */
static __device__ __forceinline__ void copy_async16(void *shared, const void *global, unsigned bytes)
{
    unsigned to = static_cast<unsigned>(__cvta_generic_to_shared(shared));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global), "r"(bytes)
                 : "memory");
}

static __device__ __forceinline__ void copy_async_commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

#define copy_async_wait(groups_left) asm volatile("cp.async.wait_group %0;" ::"n"(groups_left) : "memory")

/* c (16 x 8) += a (16 x 16) . b (16 x 8), halves, sums in float. */
static __device__ __forceinline__ void mma_f16(const uint32_t (&a)[4], const uint32_t (&b)[2], float (&c)[4])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* The same of bfloat16. */
static __device__ __forceinline__ void mma_bf16(const uint32_t (&a)[4], const uint32_t (&b)[2], float (&c)[4])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* c (16 x 8) += a (16 x 32) . b (32 x 8), int8, exact sums. */
static __device__ __forceinline__ void mma_s8(const uint32_t (&a)[4], const uint32_t (&b)[2], int (&c)[4])
{
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};"
                 : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* c (16 x 8) += a (16 x 32) . b (32 x 8), e4m3, sums in float. From 8.9 on. */
static __device__ __forceinline__ void mma_e4m3(const uint32_t (&a)[4], const uint32_t (&b)[2], float (&c)[4])
{
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 890
    asm volatile("mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    __trap();
#endif
}

/* Two e4m3 in 16 bits, the first below; what is too large becomes 448. From 8.9 on. */
static __device__ __forceinline__ uint16_t floats_to_e4m3(float low, float high)
{
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 890
    uint16_t pair;
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(high), "f"(low));
    return pair;
#else
    __trap();
    return 0;
#endif
}

#endif
