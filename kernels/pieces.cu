/* Heads and experts: pieces of a weight matrix times columns of their own. Shapes: pieces.h.
 *
 * Tolerance: 1e-6 times the sum of |w * x|, as matvec.
 * Tile: up to MATMUL_LEAST - 1 columns a piece (as they spread evenly): a warp a row, 8 columns at once, as matvec; from there
 * on tensor cores, as matmul (tile.cuh), or, FP8 experts, as matmul_fp8 (tile_fp8.cuh). A block keeps to one piece and takes all its columns, so that its weights are read
 * from memory once. Only pieces in use are launched: min(uses, experts) of them.
 * Roofline: the bytes of the pieces in use: 8 of 256 experts of V3 in 8 bits (3 x 2048 x 7168) are 352 MB a layer and token,
 * 105 us on an H800 (3.35 TB/s), 73 us on an H200. */
#include "kernels/pieces.h"

#include "kernels/matmul.h"
#include "kernels/tile_fp8.cuh"

enum { THREADS = 128, ROWS = THREADS / WARP_LANES, BLOCKS = 4 /* at once, at least */ };

/* --- device helpers ---------------------------------------------------------------------------------------------------- */

struct piece_arguments { /* as the launcher has them, by value */
    struct pieces_params p;
    struct expert_uses uses;
};

/* The piece of this block; pieces: nobody uses it. */
static __device__ __forceinline__ uint32_t piece_of_block(const struct piece_arguments &a)
{
    if (!a.p.uses) {
        return blockIdx.y;
    }
    return blockIdx.y < a.uses.active[0] ? a.uses.active[1 + blockIdx.y] : a.p.pieces;
}

static __device__ struct columns piece_columns(const struct piece_arguments &a, uint32_t piece)
{
    struct columns c = {
        NULL,         a.p.count, a.p.uses_of_row, piece * a.p.x_piece, a.p.x_pitch, piece * a.p.out_piece,
        a.p.out_pitch};
    if (a.p.uses) {
        c.use = a.uses.use + a.uses.first[piece];
        c.count = a.uses.first[piece + 1] - a.uses.first[piece];
    }
    return c;
}

/* The first of a piece, of this block's rows. */
static __device__ struct tile piece_tile(const struct piece_arguments &a, uint32_t piece)
{
    uint32_t rows = a.p.w.rows / a.p.pieces;
    struct tile t = {};
    t.w = a.p.w;
    t.out_row = blockIdx.x * TILE_ROWS;
    t.row = piece * rows + t.out_row;
    t.row_end = (piece + 1) * rows;
    t.columns = piece_columns(a, piece);
    t.out = a.p.out;
    return t;
}

/* --- kernels --------------------------------------------------------------------------------------------------------------- */

template <int COLUMNS>
static __global__ void __launch_bounds__(THREADS, BLOCKS) pieces_few(struct piece_arguments a)
{
    uint32_t rows = a.p.w.rows / a.p.pieces;
    uint32_t row = blockIdx.x * ROWS + threadIdx.x / WARP_LANES;
    uint32_t piece = piece_of_block(a);
    if (row >= rows || piece >= a.p.pieces) {
        return; /* the whole warp */
    }
    struct columns columns = piece_columns(a, piece);
    for (uint32_t first = 0; first < columns.count; first += COLUMNS) {
        float sums[COLUMNS];
        row_dots<COLUMNS>(a.p.w, piece * rows + row, {a.p.x, a.p.x_q}, columns, first, sums);
        for (int c = 0; c < COLUMNS; c++) {
            if (threadIdx.x % WARP_LANES == 0 && first + c < columns.count) {
                a.p.out[column_out(columns, first + c) + row] = sums[c];
            }
        }
    }
}

template <enum matrix_kind KIND>
static __global__ void __launch_bounds__(TILE_THREADS, TILE_BLOCKS_AT_ONCE)
    pieces_many(struct piece_arguments a)
{
    SHARED(struct tile_memory, memory, [1]);
    uint32_t piece = piece_of_block(a);
    if (piece >= a.p.pieces) {
        return; /* the whole block */
    }
    struct tile t = piece_tile(a, piece);
    t.x = a.p.x_q;
    for (; t.column < t.columns.count; t.column += TILE_COLUMNS) {
        tile_product<KIND>(t, memory[0]);
        __syncthreads();
    }
}

static __global__ void __launch_bounds__(TILE_THREADS, TILE_FP8_BLOCKS_AT_ONCE)
    pieces_fp8(struct piece_arguments a)
{
    SHARED(struct tile_memory, memory, [1]);
    uint32_t piece = piece_of_block(a);
    if (piece >= a.p.pieces) {
        return; /* the whole block */
    }
    struct tile t = piece_tile(a, piece);
    t.x.q = reinterpret_cast<int8_t *>(a.p.x_fp8.q);
    for (; t.column < t.columns.count; t.column += TILE_COLUMNS) {
        tile_fp8_product(t, a.p.x_fp8.scale, memory[0]);
        __syncthreads();
    }
}

/* --- launcher ---------------------------------------------------------------------------------------------------------------- */

static void launch_many(const struct piece_arguments &a, dim3 grid, cudaStream_t stream)
{
    if (a.p.x_fp8.q) {
        LAUNCH(pieces_fp8, grid, dim3(TILE_THREADS), 0, stream, a);
        return;
    }
    switch (a.p.w.kind) {
    case MATRIX_4BIT:
        LAUNCH((pieces_many<MATRIX_4BIT>), grid, dim3(TILE_THREADS), 0, stream, a);
        break;
    case MATRIX_8BIT:
        LAUNCH((pieces_many<MATRIX_8BIT>), grid, dim3(TILE_THREADS), 0, stream, a);
        break;
    case MATRIX_8BIT_FINE:
        LAUNCH((pieces_many<MATRIX_8BIT_FINE>), grid, dim3(TILE_THREADS), 0, stream, a);
        break;
    default:
        LAUNCH((pieces_many<MATRIX_8BIT_MIN>), grid, dim3(TILE_THREADS), 0, stream, a);
        break;
    }
}

/* Columns of a piece, as they spread evenly. */
static uint32_t columns_of_each(const struct pieces_params *p)
{
    return p->uses ? p->count / p->pieces : p->count;
}

bool pieces_take_fp8(const struct pieces_params *p)
{
    bool is_whole = p->w.rows / p->pieces % TILE_ROWS == 0; /* each tile of each piece lies within one 128 */
    return p->uses && is_whole && p->x_pitch == p->w.columns && matmul_fp8_takes(&p->w, columns_of_each(p));
}

cudaError_t pieces_launch(const struct pieces_params *p, cudaStream_t stream)
{
    if (!matrix_columns_fit(&p->w) || p->pieces == 0 || p->w.rows % p->pieces || p->uses_of_row == 0 ||
        (p->x_fp8.q && !pieces_take_fp8(p))) {
        return cudaErrorInvalidValue;
    }
    if (p->count == 0 || p->w.rows == 0) {
        return cudaSuccess;
    }
    struct piece_arguments a = {*p, p->uses ? *p->uses : (struct expert_uses){NULL, NULL, NULL}};
    unsigned rows = p->w.rows / p->pieces;
    unsigned blocks = p->uses ? min(p->count, p->pieces) : p->pieces;
    uint32_t each = columns_of_each(p);
    dim3 grid((rows + ROWS - 1) / ROWS, blocks);
    if (p->x_fp8.q || matmul_takes(p->w.kind, each)) {
        launch_many(a, dim3((rows + TILE_ROWS - 1) / TILE_ROWS, blocks), stream);
    } else if (each <= 1) {
        LAUNCH((pieces_few<1>), grid, dim3(THREADS), 0, stream, a);
    } else if (each <= 4) {
        LAUNCH((pieces_few<4>), grid, dim3(THREADS), 0, stream, a);
    } else {
        LAUNCH((pieces_few<8>), grid, dim3(THREADS), 0, stream, a);
    }
    return cudaGetLastError();
}
