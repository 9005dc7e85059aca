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
                   TENSOR_Q5_1 = 7,
                   TENSOR_Q8_0 = 8,
                   TENSOR_Q2_K = 10,
                   TENSOR_Q3_K = 11,
                   TENSOR_Q4_K = 12,
                   TENSOR_Q5_K = 13,
                   TENSOR_Q6_K = 14,
                   TENSOR_BF16 = 30,
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

float bfloat_to_float(uint16_t b); /* the upper half of a float */
uint16_t float_to_bfloat(float f); /* nearest, ties to even */
float e4m3_to_float(uint8_t b);    /* 8 bits: sign, 4 of exponent, 3 of fraction; no infinities */

/* Sub-block j (0..7) of a Q4_K or Q5_K block's 12 bytes of scales: 6-bit scale and minimum. */
void quant_q4k_scale(const uint8_t scales[12], unsigned j, uint8_t *scale, uint8_t *min);
/* The 256 values of a block, as integers before any scale: 0..3, -4..3, 0..31, -32..31. */
void quant_q2k_values(const uint8_t block[84], int8_t values[256]);
void quant_q3k_values(const uint8_t block[110], int8_t values[256]);
void quant_q5k_values(const uint8_t block[176], int8_t values[256]);
void quant_q6k_values(const uint8_t block[210], int8_t values[256]);
/* Scale of the j-th 16 values (0..15) of a Q3_K block, -32..31. */
int8_t quant_q3k_scale(const uint8_t block[110], unsigned j);
/* The 32 values of a Q5_0 or Q5_1 block, 0..31. */
void quant_q5_values(const uint8_t high[4], const uint8_t low[16], int8_t values[32]);

enum {
    Q2K_BYTES = 84,
    Q3K_BYTES = 110,
    Q4K_BYTES = 144,
    Q5K_BYTES = 176,
    Q6K_BYTES = 210,
    QK_SUPER = 256,
};

#endif
