#include "tests/kernels/faults.h"

#include "kernels/kdev.h"

enum { N = 128 };

/* --- one kernel a rule ------------------------------------------------------------------------------------- */

static __global__ void nothing(const float *in, float *out)
{
    SHARED(float, tile, [N]);
    tile[threadIdx.x] = in[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = tile[N - 1 - threadIdx.x];
}

static __global__ void missing_barrier(const float *in, float *out)
{
    SHARED(float, tile, [N]);
    tile[threadIdx.x] = in[threadIdx.x];
    out[threadIdx.x] = tile[N - 1 - threadIdx.x];
}

static __global__ void missing_syncwarp(const float *in, float *out)
{
    SHARED(float, tile, [N]);
    tile[threadIdx.x] = in[threadIdx.x];
    out[threadIdx.x] = tile[threadIdx.x ^ 1];
}

static __global__ void write_after_read(const float *in, float *out)
{
    SHARED(float, tile, [N]);
    tile[threadIdx.x] = in[threadIdx.x];
    __syncthreads();
    float v = tile[N - 1 - threadIdx.x];
    tile[threadIdx.x] = v;
    out[threadIdx.x] = v;
}

static __global__ void divergent_barrier(const float *in, float *out)
{
    if (threadIdx.x < N / 2) {
        __syncthreads();
        out[threadIdx.x] = in[threadIdx.x];
    } else {
        __syncthreads();
        out[threadIdx.x] = -in[threadIdx.x];
    }
}

static __global__ void left_barrier(const float *in, float *out)
{
    if (threadIdx.x == 5) {
        return;
    }
    __syncthreads();
    out[threadIdx.x] = in[threadIdx.x];
}

static __global__ void shuffle_diverged(const float *in, float *out)
{
    float v = in[threadIdx.x];
    if (threadIdx.x % 2) {
        v = __shfl_xor_sync(ALL_LANES, v, 1);
    } else {
        v = __shfl_xor_sync(ALL_LANES, v, 2);
    }
    out[threadIdx.x] = v;
}

static __global__ void shuffle_mask(const float *in, float *out)
{
    out[threadIdx.x] = __shfl_xor_sync(0xFFFFU, in[threadIdx.x], 1);
}

static __global__ void shuffle_absent(const float *in, float *out)
{
    if (threadIdx.x % WARP_LANES < 16) {
        out[threadIdx.x] = __shfl_sync(0xFFFFU, in[threadIdx.x], 20);
    }
}

static __global__ void shuffle_ended(const float *in, float *out)
{
    if (threadIdx.x % WARP_LANES == 3) {
        return;
    }
    out[threadIdx.x] = __shfl_xor_sync(ALL_LANES, in[threadIdx.x], 1);
}

static __global__ void read_past_end(const float *in, float *out)
{
    out[threadIdx.x] = in[threadIdx.x + 1];
}

static __global__ void write_past_end(const float *in, float *out)
{
    out[threadIdx.x + 1] = in[threadIdx.x];
}

static __global__ void shared_past_end(const float *in, float *out)
{
    SHARED(float, tile, [N]);
    float *p = tile;
    p[threadIdx.x + 1] = in[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = p[threadIdx.x];
}

static __global__ void host_pointer(const float *in, float *out)
{
    out[threadIdx.x] = in[threadIdx.x];
}

static __global__ void other_stack(float *out)
{
    SHARED(float *, pointer, [1]);
    float local[4] = {1.0F, 2.0F, 3.0F, 4.0F};
    if (threadIdx.x == 0) {
        pointer[0] = local;
    }
    __syncthreads();
    out[threadIdx.x] = pointer[0][threadIdx.x % 4];
    __syncthreads();
}

static const float constants[4] = {1.0F, 2.0F, 3.0F, 4.0F};

static __global__ void constant_write(float *out, float *target)
{
    out[threadIdx.x] = target[0];
    target[threadIdx.x % 4] = 0.0F;
}

static __global__ void misaligned(const float *in, float *out)
{
    uint4 v = load16(in + threadIdx.x % 4);
    out[threadIdx.x] = __uint_as_float(v.x ^ v.y ^ v.z ^ v.w);
}

static __global__ void async_no_wait(const float *in)
{
    SHARED(float, tile, [N]);
    copy_async16(&tile[threadIdx.x % 32 * 4], in + threadIdx.x % 32 * 4, 16);
    copy_async_commit();
}

static __global__ void async_early_read(const float *in, float *out)
{
    DYNAMIC_SHARED(float, tile);
    if (threadIdx.x < 32) {
        copy_async16(&tile[threadIdx.x * 4], in + threadIdx.x * 4, 16);
    }
    copy_async_commit();
    __syncthreads();
    out[threadIdx.x] = tile[threadIdx.x];
    __syncthreads();
    copy_async_wait(0);
}

static __global__ void async_misaligned(const float *in)
{
    DYNAMIC_SHARED(float, tile);
    if (threadIdx.x == 0) {
        copy_async16(&tile[1], in, 16);
    }
    copy_async_wait(0);
}

static __global__ void no_dynamic_shared(float *out)
{
    DYNAMIC_SHARED(float, tile);
    tile[threadIdx.x] = 1.0F;
    out[threadIdx.x] = tile[threadIdx.x];
}

static __global__ void static_shared_too_big(float *out)
{
    SHARED(float, tile, [12 * 1024 + 1]);
    tile[threadIdx.x] = 1.0F;
    out[threadIdx.x] = tile[threadIdx.x];
}

static __global__ void shared_unwritten(float *out)
{
    SHARED(float, tile, [N]);
    if (blockIdx.x == 0) {
        tile[threadIdx.x] = 1.0F;
    }
    __syncthreads();
    out[threadIdx.x] = tile[threadIdx.x];
}

static __global__ void atomic_unwritten(float *out)
{
    SHARED(unsigned, count, [1]);
    atomicAdd(count, 1U);
    __syncthreads();
    out[threadIdx.x] = (float)count[0];
}

static __device__ float sum_of(const float (&values)[4], unsigned n)
{
    float sum = 0.0F;
    for (unsigned i = 0; i < n; i++) {
        sum += values[i];
    }
    return sum;
}

static __global__ void local_past_end(const float *in, float *out)
{
    const float values[4] = {in[0], in[1], in[2], in[3]};
    out[threadIdx.x] = sum_of(values, blockDim.x / 32 + 1);
}

void broken_launch(enum broken_rule rule, const float *in, float *out, float *host, cudaStream_t stream)
{
    static void (*const plain[BROKEN_RULES])(const float *, float *) = {
        nothing,       missing_barrier,  missing_syncwarp, write_after_read, divergent_barrier,
        left_barrier,  shuffle_diverged, shuffle_mask,     shuffle_absent,   shuffle_ended,
        read_past_end, write_past_end,   shared_past_end,
    };
    if (plain[rule]) {
        LAUNCH(plain[rule], 2, N, 0, stream, in, out);
        return;
    }
    switch (rule) {
    case BROKEN_HOST_POINTER:
        LAUNCH(host_pointer, 1, N, 0, stream, host, out);
        break;
    case BROKEN_OTHER_STACK:
        LAUNCH(other_stack, 1, N, 0, stream, out);
        break;
    case BROKEN_CONSTANT_WRITE:
        LAUNCH(constant_write, 1, N, 0, stream, out, const_cast<float *>(constants));
        break;
    case BROKEN_MISALIGNED:
        LAUNCH(misaligned, 1, N, 0, stream, in, out);
        break;
    case BROKEN_ASYNC_NO_WAIT:
        LAUNCH(async_no_wait, 1, 32, 0, stream, in);
        break;
    case BROKEN_ASYNC_EARLY_READ:
        LAUNCH(async_early_read, 1, N, N * sizeof(float), stream, in, out);
        break;
    case BROKEN_SHARED_UNWRITTEN:
        LAUNCH(shared_unwritten, 2, N, 0, stream, out);
        break;
    case BROKEN_ATOMIC_UNWRITTEN:
        LAUNCH(atomic_unwritten, 1, N, 0, stream, out);
        break;
    case BROKEN_LOCAL_PAST_END:
        LAUNCH(local_past_end, 1, N, 0, stream, in, out);
        break;
    case BROKEN_ASYNC_MISALIGNED:
        LAUNCH(async_misaligned, 1, N, N * sizeof(float), stream, in);
        break;
    case BROKEN_NO_DYNAMIC_SHARED:
        LAUNCH(no_dynamic_shared, 1, N, 0, stream, out);
        break;
    default:
        LAUNCH(static_shared_too_big, 1, N, 0, stream, out);
        break;
    }
}

/* --- limits, order, layout -------------------------------------------------------------------------------------- */

static __global__ void idle(int unused)
{
    (void)unused;
}

void idle_launch(unsigned grid, unsigned threads, size_t shared_bytes, int raise, cudaStream_t stream)
{
    if (raise) {
        (void)cudaFuncSetAttribute(reinterpret_cast<const void *>(idle),
                                   cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared_bytes);
    }
    LAUNCH(idle, grid, threads, shared_bytes, stream, 0);
}

static __global__ void order(unsigned *count, unsigned *blocks)
{
    if (threadIdx.x == 0) {
        blocks[atomicAdd(count, 1U)] = blockIdx.x;
    }
}

void order_launch(unsigned *count, unsigned *blocks_in_order, unsigned blocks, cudaStream_t stream)
{
    LAUNCH(order, blocks, 32, 0, stream, count, blocks_in_order);
}

static __global__ void strided(const float *in, float *out, unsigned stride)
{
    SHARED(float, tile, [32 * 32]);
    tile[threadIdx.x * stride] = in[threadIdx.x * stride];
    __syncwarp();
    out[threadIdx.x] = tile[threadIdx.x * stride];
}

void stride_launch(const float *in, float *out, unsigned stride, cudaStream_t stream)
{
    LAUNCH(strided, 1, 32, 0, stream, in, out, stride);
}

static __device__ uint32_t two_halves(uint16_t low, uint16_t high)
{
    return low | (uint32_t)high << 16;
}

template <bool IS_BF16>
static __global__ void mma_half_fragments(const uint16_t *a, const uint16_t *b, float *c)
{
    unsigned g = threadIdx.x / 4;
    unsigned t = threadIdx.x % 4 * 2;
    uint32_t fa[4];
    uint32_t fb[2];
    float fc[4] = {};
    for (unsigned r = 0; r < 4; r++) {
        const uint16_t *p = a + (g + r % 2 * 8) * 16 + t + r / 2 * 8;
        fa[r] = two_halves(p[0], p[1]);
    }
    for (unsigned r = 0; r < 2; r++) {
        const uint16_t *p = b + (t + r * 8) * 8 + g;
        fb[r] = two_halves(p[0], p[8]);
    }
    if (IS_BF16) {
        mma_bf16(fa, fb, fc);
    } else {
        mma_f16(fa, fb, fc);
    }
    for (unsigned r = 0; r < 4; r++) {
        c[(g + r / 2 * 8) * 8 + t + r % 2] = fc[r];
    }
}

void mma_f16_launch(const uint16_t *a, const uint16_t *b, float *c, cudaStream_t stream)
{
    LAUNCH(mma_half_fragments<false>, 1, 32, 0, stream, a, b, c);
}

void mma_bf16_launch(const uint16_t *a, const uint16_t *b, float *c, cudaStream_t stream)
{
    LAUNCH(mma_half_fragments<true>, 1, 32, 0, stream, a, b, c);
}

static __global__ void mma_s8_fragments(const int8_t *a, const int8_t *b, int *c)
{
    unsigned g = threadIdx.x / 4;
    unsigned t = threadIdx.x % 4;
    uint32_t fa[4] = {};
    uint32_t fb[2] = {};
    int fc[4] = {};
    for (unsigned i = 0; i < 4; i++) {
        for (unsigned r = 0; r < 4; r++) {
            fa[r] |= (uint32_t)(uint8_t)a[(g + r % 2 * 8) * 32 + 4 * t + i + r / 2 * 16] << (8 * i);
        }
        for (unsigned r = 0; r < 2; r++) {
            fb[r] |= (uint32_t)(uint8_t)b[(4 * t + i + r * 16) * 8 + g] << (8 * i);
        }
    }
    mma_s8(fa, fb, fc);
    for (unsigned r = 0; r < 4; r++) {
        c[(g + r / 2 * 8) * 8 + 2 * t + r % 2] = fc[r];
    }
}

void mma_s8_launch(const int8_t *a, const int8_t *b, int *c, cudaStream_t stream)
{
    LAUNCH(mma_s8_fragments, 1, 32, 0, stream, a, b, c);
}

static __global__ void mma_e4m3_fragments(const uint8_t *a, const float *b, float *c)
{
    unsigned g = threadIdx.x / 4;
    unsigned t = threadIdx.x % 4;
    uint32_t fa[4] = {};
    uint32_t fb[2] = {};
    float fc[4] = {};
    for (unsigned i = 0; i < 4; i++) {
        for (unsigned r = 0; r < 4; r++) {
            fa[r] |= (uint32_t)a[(g + r % 2 * 8) * 32 + 4 * t + i + r / 2 * 16] << (8 * i);
        }
    }
    for (unsigned r = 0; r < 2; r++) {
        const float *p = b + (4 * t + r * 16) * 8 + g;
        fb[r] = floats_to_e4m3(p[0], p[8]) | (uint32_t)floats_to_e4m3(p[16], p[24]) << 16;
    }
    mma_e4m3(fa, fb, fc);
    for (unsigned r = 0; r < 4; r++) {
        c[(g + r / 2 * 8) * 8 + 2 * t + r % 2] = fc[r];
    }
}

void mma_e4m3_launch(const uint8_t *a, const float *b, float *c, cudaStream_t stream)
{
    LAUNCH(mma_e4m3_fragments, 1, 32, 0, stream, a, b, c);
}

static __global__ void add(float *p, float v)
{
    p[0] += v;
}

void add_launch(float *p, float v, cudaStream_t stream)
{
    LAUNCH(add, 1, 1, 0, stream, p, v);
}
