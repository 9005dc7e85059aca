/* Operations that the lanes of a warp do together: each lane leaves its part and waits; the last one works the
 * answers of all out. */
#include <stdio.h>

#include "kernels/emu/fiber.h"
#include "kernels/emu/machine.h"

static const char *kind_name(enum warp_op_kind kind)
{
    static const char *const names[] = {
        "__syncwarp", "__shfl_sync", "__shfl_up_sync", "__shfl_down_sync", "__shfl_xor_sync", "a vote",
        "mma f16",    "mma bf16",    "mma s8",         "mma e4m3",         "ldmatrix"};
    return names[kind];
}

static struct thread *lane_thread(uint32_t warp, uint32_t lane)
{
    uint32_t i = warp * WARP + lane;
    return i < emu_block.count ? &emu_block.threads[i] : NULL;
}

/* --- shuffles and votes ----------------------------------------------------------------------------------- */

static uint32_t shuffle_source(const struct thread *t)
{
    uint32_t width = t->op.arg >> 16;
    uint32_t arg = t->op.arg & 0xFFFF;
    uint32_t first = t->lane & ~(width - 1);
    uint32_t last = first + width - 1;
    uint32_t source = 0;
    switch (t->op.kind) {
    case WARP_SHFL_UP:
        return t->lane < first + arg ? t->lane : t->lane - arg;
    case WARP_SHFL_DOWN:
        source = t->lane + arg;
        return source > last ? t->lane : source;
    case WARP_SHFL_XOR:
        source = t->lane ^ arg;
        return source > last ? t->lane : source;
    default:
        return first + (arg & (width - 1));
    }
}

static void answer_shuffle(struct thread *t)
{
    uint32_t source = shuffle_source(t);
    const struct thread *other = lane_thread(t->warp, source);
    if (!other || !(t->op.mask & 1U << source)) {
        emu_fault(cudaErrorLaunchFailure, "%s reads lane %u, which takes no part", kind_name(t->op.kind),
                  source);
    }
    t->op.out[0] = other->op.in[0];
}

static void answer_ballot(struct thread *t)
{
    uint32_t bits = 0;
    for (uint32_t lane = 0; lane < WARP; lane++) {
        const struct thread *other = lane_thread(t->warp, lane);
        if (other && t->op.mask & 1U << lane) {
            bits |= other->op.in[0] << lane;
        }
    }
    t->op.out[0] = bits;
}

/* --- matrix products ---------------------------------------------------------------------------------------- */

/* Fragments as the PTX ISA draws them: with g = lane / 4 and t = lane % 4, register 0 of A holds row g, register 1 row
 * g + 8, registers 2 and 3 the same rows in the second half of the columns; B has column g; C and D rows g and g + 8,
 * columns 2t and 2t + 1. A register holds two 16-bit or four 8-bit values of consecutive columns of A (rows of B). */

static float bf16_value(uint32_t bits)
{
    return __uint_as_float(bits << 16);
}

static float e4m3_value(uint32_t bits)
{
    float sign = bits & 0x80 ? -1.0F : 1.0F;
    int exponent = (int)(bits >> 3 & 15);
    int fraction = (int)(bits & 7);
    if (exponent == 15 && fraction == 7) {
        return NAN;
    }
    return sign * (exponent ? ldexpf((float)(8 + fraction), exponent - 10) : ldexpf((float)fraction, -9));
}

static float element_value(enum warp_op_kind kind, uint32_t word, uint32_t index)
{
    if (kind == WARP_MMA_F16) {
        return emu_half_to_float((uint16_t)(word >> (16 * index)));
    }
    if (kind == WARP_MMA_BF16) {
        return bf16_value(word >> (16 * index) & 0xFFFF);
    }
    uint32_t byte = word >> (8 * index) & 0xFF;
    return kind == WARP_MMA_S8 ? (float)(int8_t)byte : e4m3_value(byte);
}

static void gather(uint32_t warp, enum warp_op_kind kind, float a[16][32], float b[32][8])
{
    uint32_t per = kind == WARP_MMA_F16 || kind == WARP_MMA_BF16 ? 2 : 4; /* values of a register */
    for (uint32_t lane = 0; lane < WARP; lane++) {
        const struct warp_op *op = &lane_thread(warp, lane)->op;
        uint32_t group = lane / 4;
        uint32_t column = lane % 4 * per;
        for (uint32_t i = 0; i < per; i++) {
            for (uint32_t r = 0; r < 4; r++) {
                a[group + r % 2 * 8][column + i + r / 2 * 4 * per] = element_value(kind, op->in[r], i);
            }
            for (uint32_t r = 0; r < 2; r++) {
                b[column + i + r * 4 * per][group] = element_value(kind, op->in[4 + r], i);
            }
        }
    }
}

static void answer_mma(uint32_t warp, enum warp_op_kind kind)
{
    float a[16][32] = {};
    float b[32][8] = {};
    gather(warp, kind, a, b);
    for (uint32_t lane = 0; lane < WARP; lane++) {
        struct warp_op *op = &lane_thread(warp, lane)->op;
        for (uint32_t r = 0; r < 4; r++) {
            uint32_t row = lane / 4 + r / 2 * 8;
            uint32_t column = lane % 4 * 2 + r % 2;
            double sum = 0;
            for (uint32_t k = 0; k < 32; k++) {
                sum += (double)a[row][k] * (double)b[k][column];
            }
            if (kind == WARP_MMA_S8) {
                op->out[r] = (uint32_t)((int32_t)op->in[6 + r] + (int32_t)sum);
            } else {
                op->out[r] = __float_as_uint((float)(sum + (double)__uint_as_float(op->in[6 + r])));
            }
        }
    }
}

/* ldmatrix.x4: lane l names row l % 8 of matrix l / 8; lane l receives two values of row l / 4 of each matrix. */
static void answer_ldmatrix(uint32_t warp)
{
    for (uint32_t matrix = 0; matrix < 4; matrix++) {
        for (uint32_t lane = 0; lane < WARP; lane++) {
            uintptr_t row = lane_thread(warp, matrix * 8 + lane / 4)->op.address;
            memcpy(&lane_thread(warp, lane)->op.out[matrix],
                   reinterpret_cast<const void *>(row + lane % 4 * 4), 4);
        }
    }
}

/* --- meeting ------------------------------------------------------------------------------------------------- */

static void check_mask(const struct thread *t)
{
    uint32_t lanes = emu_block.lanes[t->warp];
    uint32_t ended = emu_block.ended[t->warp];
    uint32_t left_out = lanes & ~ended & ~t->op.mask;
    if (!(t->op.mask & 1U << t->lane)) {
        emu_fault(cudaErrorLaunchFailure, "%s: the mask %08x leaves out its own lane", kind_name(t->op.kind),
                  t->op.mask);
    }
    if (t->op.mask & ended) {
        emu_fault(cudaErrorLaunchFailure, "%s: the mask names lane %d, which has ended",
                  kind_name(t->op.kind), __builtin_ctz(t->op.mask & ended));
    }
    if (t->op.kind >= WARP_MMA_F16 && lanes != 0xFFFFFFFFU) {
        emu_fault(cudaErrorLaunchFailure, "%s in a warp of fewer than 32 lanes", kind_name(t->op.kind));
    }
    if (t->op.kind == WARP_MMA_E4M3 && !emu_has_e4m3()) {
        emu_fault(cudaErrorLaunchFailure, "%s on a device before 8.9", kind_name(t->op.kind));
    }
    if ((t->op.kind == WARP_SYNC || t->op.kind >= WARP_MMA_F16) && left_out) {
        emu_fault(cudaErrorLaunchFailure, "%s: the mask %08x leaves out lane %d", kind_name(t->op.kind),
                  t->op.mask, __builtin_ctz(left_out));
    }
}

/* All lanes of the mask are here, with the same operation: each that comes is compared with one that waits. */
static bool is_complete(const struct thread *t)
{
    uint32_t named = t->op.mask & emu_block.lanes[t->warp];
    uint32_t here = named & emu_block.waiting[t->warp];
    if (here) {
        uint32_t lane = (uint32_t)__builtin_ctz(here);
        const struct thread *other = lane_thread(t->warp, lane);
        if (other->op.kind != t->op.kind || other->op.mask != t->op.mask ||
            other->place.line != t->place.line) {
            emu_fault(cudaErrorLaunchFailure, "%s at %s:%d meets %s of lane %u at %s:%d",
                      kind_name(t->op.kind), t->place.file, t->place.line, kind_name(other->op.kind), lane,
                      other->place.file, other->place.line);
        }
    }
    return (here | 1U << t->lane) == named;
}

static void answer(struct thread *t)
{
    switch (t->op.kind) {
    case WARP_SYNC:
        emu_block.warp_epochs[t->warp]++;
        return;
    case WARP_MMA_F16:
    case WARP_MMA_BF16:
    case WARP_MMA_S8:
    case WARP_MMA_E4M3:
        answer_mma(t->warp, t->op.kind);
        return;
    case WARP_LDMATRIX:
        answer_ldmatrix(t->warp);
        return;
    default:
        break;
    }
    for (uint32_t lane = 0; lane < WARP; lane++) {
        struct thread *other = lane_thread(t->warp, lane);
        if (!other || !(t->op.mask & 1U << lane)) {
            continue;
        }
        if (t->op.kind == WARP_BALLOT) {
            answer_ballot(other);
        } else {
            answer_shuffle(other);
        }
    }
}

void emu_warp(struct emu_place place, struct warp_op *op)
{
    struct thread *t = emu_block.running;
    t->op = *op;
    t->place = place;
    check_mask(t);
    if (is_complete(t)) {
        answer(t);
        uint32_t others = t->op.mask & emu_block.waiting[t->warp];
        emu_block.waiting[t->warp] &= ~t->op.mask;
        for (; others; others &= others - 1) {
            lane_thread(t->warp, (uint32_t)__builtin_ctz(others))->state = THREAD_READY;
        }
    } else {
        t->state = THREAD_AT_WARP;
        emu_block.waiting[t->warp] |= 1U << t->lane;
        fiber_yield();
    }
    memcpy(op->out, t->op.out, sizeof op->out);
}
