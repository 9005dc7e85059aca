/* Tensors of FP8: their file has e4m3 with a scale for each 128 x 128; data, as BF16, is made when somebody asks. */
#include "inference/worker/gguf_impl.h"
#include "inference/worker/gguf_made.h"

void gguf_fp8_to_bf16(const struct gguf_fp8 *m, uint64_t rows, uint64_t columns, uint8_t *dst)
{
    float values[256];
    uint64_t across = (columns + GGUF_FP8_BLOCK - 1) / GGUF_FP8_BLOCK;
    for (unsigned i = 0; i < 256; i++) {
        values[i] = e4m3_to_float((uint8_t)i);
    }
    for (uint64_t row = 0; row < rows; row++) {
        const uint8_t *src = m->values + row * columns;
        const uint8_t *scales = m->scales + row / GGUF_FP8_BLOCK * across * sizeof(float);
        for (uint64_t column = 0; column < columns; column++, dst += sizeof(uint16_t)) {
            float scale;
            memcpy(&scale, scales + column / GGUF_FP8_BLOCK * sizeof scale, sizeof scale);
            uint16_t value = float_to_bfloat(values[src[column]] * scale);
            memcpy(dst, &value, sizeof value);
        }
    }
}

void gguf_keep_fp8(struct gguf *g, const struct gguf_fp8 *matrices)
{
    struct gguf_tensor *t = &g->tensors[g->tensor_count - 1];
    size_t bytes = t->dims[2] * sizeof *matrices;
    struct gguf_fp8 *kept = arena_alloc(&g->names, bytes);
    memcpy(kept, matrices, bytes);
    t->fp8 = kept;
    t->is_filled = arena_alloc(&g->names, sizeof *t->is_filled);
    *t->is_filled = false;
    if (t->rows == t->dims[2]) {
        gguf_fill(g, t); /* vectors are read without being asked for */
    }
}

void gguf_fill(struct gguf *g, const struct gguf_tensor *t)
{
    uint64_t rows = t->rows / t->dims[2];
    if (!t->fp8) {
        return;
    }
    pthread_mutex_lock(&g->filling);
    for (uint64_t i = 0; i < t->dims[2] && !*t->is_filled; i++) {
        gguf_fp8_to_bf16(&t->fp8[i], rows, t->dims[0],
                         (uint8_t *)(uintptr_t)t->data + i * rows * t->row_bytes);
    }
    *t->is_filled = true;
    pthread_mutex_unlock(&g->filling);
}
