/* The tensor types of GGUF files that this engine reads, and how each becomes float32.
 * Not the arithmetic of the forward pass: cpu/packed.h has the layouts that are multiplied.
 *
 * A row is a whole number of blocks; a block of Q4_1, for example, is 32 values in 20 bytes.
 * Values follow ggml's definition of each type to the bit (no fused multiply-add here).
 * Thread rule: pure functions. */
#ifndef TIDE_WORKER_QUANT_H
#define TIDE_WORKER_QUANT_H

#include <stddef.h>
#include <stdint.h>

enum tensor_type { /* the numbers are GGUF's */
                   TENSOR_F32 = 0,
                   TENSOR_F16 = 1,
                   TENSOR_Q4_0 = 2,
                   TENSOR_Q4_1 = 3,
                   TENSOR_Q5_0 = 6,
                   TENSOR_Q8_0 = 8,
                   TENSOR_Q4_K = 12,
                   TENSOR_Q6_K = 14,
};

struct quant_type {
    enum tensor_type type;
    const char *name;                                                  /* as ggml writes it: "Q4_1" */
    uint32_t block_values;                                             /* values in a block */
    uint32_t block_bytes;                                              /* bytes of a block */
    void (*dequantize)(const uint8_t *src, float *dst, size_t values); /* values: whole blocks */
};

const struct quant_type *quant_type_find(uint32_t type); /* NULL: not read by this engine */
const char *quant_type_name(uint32_t type);              /* also of types not read; never NULL */

/* IEEE half precision, by bits. */
float half_to_float(uint16_t h);
uint16_t float_to_half(float f); /* nearest, ties to even; overflow gives infinity */

/* Sub-block j (0..7) of a Q4_K block's 12 bytes of scales: 6-bit scale and minimum. */
void quant_q4k_scale(const uint8_t scales[12], unsigned j, uint8_t *scale, uint8_t *min);
/* The 256 values of a Q6_K block, -32..31, and its 16 scales as stored. */
void quant_q6k_values(const uint8_t block[210], int8_t values[256]);

enum { Q4K_BYTES = 144, Q6K_BYTES = 210, QK_SUPER = 256 };

#endif
