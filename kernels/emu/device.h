/* CUDA's device language for g++: qualifiers, indices, vectors, warp operations, atomics. Included by kdev.h where
 * nvcc does not compile; every kernel source is compiled so, and each of its memory accesses is seen (access.cc).
 *
 * Thread rule: device code runs on fibers of one system thread. */
#ifndef TIDE_EMU_DEVICE_H
#define TIDE_EMU_DEVICE_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include <new>
#include <tuple>
#include <utility>

#include <cuda_runtime.h>

#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_)
    {
    }
};

struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(16) int4 {
    int x, y, z, w;
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};

/* --- where a thread is: constant for as long as its fiber lives --------------------------------------- */

struct emu_position {
    dim3 thread;
    dim3 block;
    dim3 block_dim;
    dim3 grid_dim;
};
extern const struct emu_position emu_here; /* the scheduler writes it, under another declaration */

#define threadIdx (emu_here.thread)
#define blockIdx (emu_here.block)
#define blockDim (emu_here.block_dim)
#define gridDim (emu_here.grid_dim)

struct emu_place {
    const char *file;
    int line;
};
#define EMU_PLACE (emu_place{__FILE__, __LINE__})

/* --- barriers and warp operations ----------------------------------------------------------------------- */

enum warp_op_kind {
    WARP_SYNC = 0,
    WARP_SHFL = 1,
    WARP_SHFL_UP = 2,
    WARP_SHFL_DOWN = 3,
    WARP_SHFL_XOR = 4,
    WARP_BALLOT = 5,
    WARP_MMA_F16 = 6,
    WARP_MMA_BF16 = 7,
    WARP_MMA_S8 = 8,
    WARP_MMA_E4M3 = 9,
    WARP_LDMATRIX = 10,
};

struct warp_op {
    enum warp_op_kind kind;
    uint32_t mask;
    uint32_t arg; /* lane, delta or width: of shuffles lane or delta | width << 16 */
    uint32_t in[12];
    uint32_t out[4];
    uintptr_t address; /* of ldmatrix */
};

void emu_syncthreads(struct emu_place place);
void emu_warp(struct emu_place place, struct warp_op *op); /* all lanes of the mask, then out is filled */

#define __syncthreads() emu_syncthreads(EMU_PLACE)
#define __syncwarp(...) emu_syncwarp(EMU_PLACE, ##__VA_ARGS__)
#define __shfl_sync(...) emu_shfl(EMU_PLACE, WARP_SHFL, __VA_ARGS__)
#define __shfl_up_sync(...) emu_shfl(EMU_PLACE, WARP_SHFL_UP, __VA_ARGS__)
#define __shfl_down_sync(...) emu_shfl(EMU_PLACE, WARP_SHFL_DOWN, __VA_ARGS__)
#define __shfl_xor_sync(...) emu_shfl(EMU_PLACE, WARP_SHFL_XOR, __VA_ARGS__)
#define __ballot_sync(mask, predicate) emu_ballot(EMU_PLACE, mask, predicate)
#define __any_sync(mask, predicate) (emu_ballot(EMU_PLACE, mask, predicate) != 0)
#define __all_sync(mask, predicate) (emu_ballot(EMU_PLACE, mask, !(predicate)) == 0)

static inline void emu_syncwarp(struct emu_place place, uint32_t mask = 0xFFFFFFFFU)
{
    struct warp_op op = {};
    op.kind = WARP_SYNC;
    op.mask = mask;
    emu_warp(place, &op);
}

template <class T>
static inline T emu_shfl(struct emu_place place, enum warp_op_kind kind, uint32_t mask, T value, uint32_t arg,
                         uint32_t width = 32)
{
    static_assert(sizeof(T) == 4, "shuffles move 4 bytes");
    struct warp_op op = {};
    op.kind = kind;
    op.mask = mask;
    op.arg = arg | width << 16;
    memcpy(op.in, &value, 4);
    emu_warp(place, &op);
    memcpy(&value, op.out, 4);
    return value;
}

static inline uint32_t emu_ballot(struct emu_place place, uint32_t mask, int predicate)
{
    struct warp_op op = {};
    op.kind = WARP_BALLOT;
    op.mask = mask;
    op.in[0] = predicate != 0;
    emu_warp(place, &op);
    return op.out[0];
}

/* --- memory ----------------------------------------------------------------------------------------------- */

/* The block's array of that place in the source. */
void *emu_shared_array(const void *site, const char *name, size_t bytes, size_t element_bytes);
void *emu_dynamic_shared(void);
uint4 emu_load16(const void *p);
void emu_store16(void *p, uint4 v);
void emu_copy_async(void *shared, const void *global, unsigned bytes);
void emu_copy_commit(void);
void emu_copy_wait(unsigned groups_left);
int emu_atomic_add(int *p, int v);
unsigned emu_atomic_add(unsigned *p, unsigned v);
float emu_atomic_add(float *p, float v);

#define atomicAdd(p, v) emu_atomic_add(p, v)
#define __ldg(p) (*(p))
#define __popc(x) __builtin_popcount(x)

#define SHARED(type, name, dims)                                                                             \
    static const char name##_site = 0;                                                                       \
    type(&name) dims =                                                                                       \
        *static_cast<type(*) dims>(emu_shared_array(&name##_site, #name, sizeof(type dims), sizeof(type)))
#define DYNAMIC_SHARED(type, name) type *name = static_cast<type *>(emu_dynamic_shared())

/* --- arithmetic -------------------------------------------------------------------------------------------- */

static inline int __dp4a(int a, int b, int sum)
{
    for (int i = 0; i < 4; i++) {
        sum += (int8_t)((unsigned)a >> (8 * i)) * (int8_t)((unsigned)b >> (8 * i));
    }
    return sum;
}

static inline float rsqrtf(float x)
{
    return 1.0F / sqrtf(x);
}

static inline unsigned min(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

static inline unsigned max(unsigned a, unsigned b)
{
    return a > b ? a : b;
}

#define __expf expf

static inline unsigned __float_as_uint(float f)
{
    unsigned u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static inline float __uint_as_float(unsigned u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

float emu_half_to_float(uint16_t h);
uint16_t emu_float_to_half(float f);
uint8_t emu_float_to_e4m3(float f);

/* --- launches ---------------------------------------------------------------------------------------------- */

struct emu_launch {
    const char *name;
    const void *function;
    dim3 grid;
    dim3 block;
    size_t shared_bytes;
    void (*call)(const void *arguments);
    void *arguments; /* frozen at the launch */
    size_t argument_bytes;
};

/* Queues the launch; takes the arguments over. */
void emu_enqueue_launch(struct emu_launch launch, cudaStream_t stream);
void *emu_parameters(size_t bytes);

template <class... P, class... A>
static void emu_launch_kernel(const char *name, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared,
                              cudaStream_t stream, A... arguments)
{
    struct frozen {
        void (*kernel)(P...);
        std::tuple<P...> arguments;
    };
    static_assert(sizeof(frozen) <= 4096, "a kernel takes at most 4 KiB of arguments");
    void *memory = emu_parameters(sizeof(frozen));
    new (memory) frozen{kernel, std::tuple<P...>(arguments...)};
    struct emu_launch launch = {};
    launch.name = name;
    launch.function = reinterpret_cast<const void *>(kernel);
    launch.grid = grid;
    launch.block = block;
    launch.shared_bytes = shared;
    launch.arguments = memory;
    launch.argument_bytes = sizeof(frozen);
    launch.call = [](const void *p) {
        const frozen *f = static_cast<const frozen *>(p);
        std::apply(f->kernel, f->arguments);
    };
    emu_enqueue_launch(launch, stream);
}

#define LAUNCH(kernel, grid, block, shared, stream, ...)                                                     \
    emu_launch_kernel(#kernel, kernel, grid, block, shared, stream, __VA_ARGS__)

#endif
