#include "kernels/pieces.h"

#include "kernels/ref/half.h"

static double fp8_value(const struct pieces_params *p, size_t at)
{
    size_t groups = (p->w.columns + FP8_BLOCK - 1) / FP8_BLOCK;
    size_t group = at / p->w.columns * groups + at % p->w.columns / FP8_BLOCK;
    return (double)ref_e4m3_to_float(p->x_fp8.q[at]) * (double)p->x_fp8.scale[group];
}

static double x_value(const struct pieces_params *p, size_t at)
{
    if (p->x_fp8.q) {
        return fp8_value(p, at);
    }
    return matrix_is_quantized(p->w.kind) ? (double)p->x_q.q[at] * (double)p->x_q.scale[at / 32]
                                          : (double)p->x[at];
}

static void multiply(const struct pieces_params *p, uint32_t piece, size_t x, float *out)
{
    uint32_t rows = p->w.rows / p->pieces;
    for (uint32_t r = 0; r < rows; r++) {
        double sum = 0;
        for (uint32_t k = 0; k < p->w.columns; k++) {
            sum += (double)matrix_ref_value(&p->w, piece * rows + r, k) * x_value(p, x + k);
        }
        out[r] = (float)sum;
    }
}

void pieces_ref(const struct pieces_params *p)
{
    for (uint32_t piece = 0; piece < p->pieces; piece++) {
        uint32_t from = p->uses ? p->uses->first[piece] : 0;
        uint32_t to = p->uses ? p->uses->first[piece + 1] : p->count;
        for (uint32_t i = from; i < to; i++) {
            size_t use = p->uses ? p->uses->use[i] : i;
            multiply(p, piece, use / p->uses_of_row * p->x_pitch + piece * p->x_piece,
                     p->out + use * p->out_pitch + piece * p->out_piece);
        }
    }
}
