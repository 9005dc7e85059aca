/* Wrappers of single instructions, for the emulator. kdev_nvcc.h has the same ones for nvcc. */
#ifndef TIDE_KERNELS_KDEV_EMU_H
#define TIDE_KERNELS_KDEV_EMU_H

#include "kernels/emu/device.h"

static inline float half_to_float_device(uint16_t h)
{
    return emu_half_to_float(h);
}

static inline uint16_t float_to_half_device(float f)
{
    return emu_float_to_half(f);
}

/* 16 bytes at once, from an address that is a multiple of 16. */
static inline uint4 load16(const void *p)
{
    return emu_load16(p);
}

static inline void store16(void *p, uint4 v)
{
    emu_store16(p, v);
}

#define copy_async16(shared, global, bytes) emu_copy_async(shared, global, bytes)
#define copy_async_commit() emu_copy_commit()
#define copy_async_wait(groups_left) emu_copy_wait(groups_left)

static inline void mma_words(struct emu_place place, enum warp_op_kind kind, const uint32_t (&a)[4],
                             const uint32_t (&b)[2], uint32_t (&c)[4])
{
    struct warp_op op = {};
    op.kind = kind;
    op.mask = 0xFFFFFFFFU;
    memcpy(op.in, a, 16);
    memcpy(op.in + 4, b, 8);
    memcpy(op.in + 6, c, 16);
    emu_warp(place, &op);
    memcpy(c, op.out, 16);
}

static inline void mma_floats(struct emu_place place, enum warp_op_kind kind, const uint32_t (&a)[4],
                              const uint32_t (&b)[2], float (&c)[4])
{
    uint32_t words[4];
    memcpy(words, c, sizeof words);
    mma_words(place, kind, a, b, words);
    memcpy(c, words, sizeof words);
}

static inline void mma_ints(struct emu_place place, enum warp_op_kind kind, const uint32_t (&a)[4],
                            const uint32_t (&b)[2], int (&c)[4])
{
    uint32_t words[4];
    memcpy(words, c, sizeof words);
    mma_words(place, kind, a, b, words);
    memcpy(c, words, sizeof words);
}

static inline uint16_t floats_to_e4m3(float low, float high)
{
    return (uint16_t)(emu_float_to_e4m3(low) | emu_float_to_e4m3(high) << 8);
}

#define mma_e4m3(a, b, c) mma_floats(EMU_PLACE, WARP_MMA_E4M3, a, b, c)
#define mma_bf16(a, b, c) mma_floats(EMU_PLACE, WARP_MMA_BF16, a, b, c)
#define mma_f16(a, b, c) mma_floats(EMU_PLACE, WARP_MMA_F16, a, b, c)
#define mma_s8(a, b, c) mma_ints(EMU_PLACE, WARP_MMA_S8, a, b, c)

#endif
