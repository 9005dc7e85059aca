/* Heads and experts: pieces of a weight matrix times columns of their own. Shapes: pieces.h.
 *
 * Tolerance: 1e-6 times the sum of |w * x|, as matvec.
 * Tile: up to MATMUL_LEAST - 1 columns a piece (as they spread evenly): a warp a row, 8 columns at once, as matvec; from there
 * on tensor cores, as matmul (tile.cuh). A block keeps to one piece and takes all its columns, so that its weights are read
 * from memory once. Only pieces in use are launched: min(uses, experts) of them.
 * Roofline: the bytes of the pieces in use: 8 of 256 experts of V3 in 8 bits (3 x 2048 x 7168) are 352 MB a layer and token,
 * 105 us on an H800 (3.35 TB/s), 73 us on an H200. */
#include "kernels/pieces.h"

#include "kernels/matmul.h"
#include "kernels/tile.cuh"

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
    uint32_t rows = a.p.w.rows / a.p.pieces;
    uint32_t piece = piece_of_block(a);
    if (piece >= a.p.pieces) {
        return; /* the whole block */
    }
    struct tile t = {};
    t.w = a.p.w;
    t.out_row = blockIdx.x * TILE_ROWS;
    t.row = piece * rows + t.out_row;
    t.row_end = (piece + 1) * rows;
    t.x = a.p.x_q;
    t.columns = piece_columns(a, piece);
    t.out = a.p.out;
    for (; t.column < t.columns.count; t.column += TILE_COLUMNS) {
        tile_product<KIND>(t, memory[0]);
        __syncthreads();
    }
}

/* --- launcher ---------------------------------------------------------------------------------------------------------------- */

static void launch_many(const struct piece_arguments &a, dim3 grid, cudaStream_t stream)
{
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

cudaError_t pieces_launch(const struct pieces_params *p, cudaStream_t stream)
{
    if (!matrix_columns_fit(&p->w) || p->pieces == 0 || p->w.rows % p->pieces || p->uses_of_row == 0) {
        return cudaErrorInvalidValue;
    }
    if (p->count == 0 || p->w.rows == 0) {
        return cudaSuccess;
    }
    struct piece_arguments a = {*p, p->uses ? *p->uses : (struct expert_uses){NULL, NULL, NULL}};
    unsigned rows = p->w.rows / p->pieces;
    unsigned blocks = p->uses ? min(p->count, p->pieces) : p->pieces;
    unsigned each = p->uses ? p->count / p->pieces : p->count; /* columns, spread evenly */
    dim3 grid((rows + ROWS - 1) / ROWS, blocks);
    if (matmul_takes(p->w.kind, each)) {
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
