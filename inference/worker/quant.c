#include "inference/worker/quant.h"

#include <stdbool.h>
#include <string.h>

float half_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000U) << 16;
    uint32_t exponent = (h >> 10) & 0x1FU;
    uint32_t fraction = h & 0x3FFU;
    uint32_t bits;

    if (exponent == 0x1F) {
        bits = sign | 0x7F800000U | fraction << 13;
    } else if (exponent != 0) {
        bits = sign | (exponent + 112) << 23 | fraction << 13;
    } else if (fraction == 0) {
        bits = sign;
    } else { /* subnormal: shift the leading one into place */
        unsigned shift = (unsigned)__builtin_clz(fraction) - 21;
        bits = sign | (113 - shift) << 23 | ((fraction << (13 + shift)) & 0x7FFFFFU);
    }
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

uint16_t float_to_half(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    uint32_t sign = (bits >> 16) & 0x8000U;
    uint32_t magnitude = bits & 0x7FFFFFFFU;

    if (magnitude >= 0x7F800000U) { /* infinity or NaN */
        return (uint16_t)(sign | 0x7C00U | (magnitude > 0x7F800000U ? 0x200U : 0));
    }
    if (magnitude >= 0x477FF000U) { /* rounds past 65504 */
        return (uint16_t)(sign | 0x7C00U);
    }
    if (magnitude < 0x33000001U) { /* at most half of the smallest subnormal */
        return (uint16_t)sign;
    }
    uint32_t exponent = magnitude >> 23;
    uint32_t fraction = (magnitude & 0x7FFFFFU) | 0x800000U;
    unsigned drop = exponent >= 113 ? 13 : 13 + (113 - exponent);
    uint32_t kept = fraction >> drop;
    uint32_t rest = fraction & ((1U << drop) - 1);
    uint32_t halfway = 1U << (drop - 1);
    if (rest > halfway || (rest == halfway && (kept & 1))) {
        kept++;
    }
    /* kept holds the implicit one: adding it carries into the exponent as it should */
    uint32_t base = exponent >= 113 ? (exponent - 113) << 10 : 0;
    return (uint16_t)(sign | (base + kept));
}

static uint16_t read_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static float read_half(const uint8_t *p)
{
    return half_to_float(read_u16(p));
}

static void dequantize_f32(const uint8_t *src, float *dst, size_t values)
{
    memcpy(dst, src, values * sizeof *dst);
}

static void dequantize_f16(const uint8_t *src, float *dst, size_t values)
{
    for (size_t i = 0; i < values; i++) {
        dst[i] = read_half(src + 2 * i);
    }
}

float bfloat_to_float(uint16_t b)
{
    uint32_t bits = (uint32_t)b << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

uint16_t float_to_bfloat(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    if ((bits & 0x7FFFFFFFU) > 0x7F800000U) {
        return (uint16_t)(bits >> 16 | 0x40U); /* NaN stays one */
    }
    return (uint16_t)((bits + 0x7FFFU + (bits >> 16 & 1U)) >> 16);
}

float e4m3_to_float(uint8_t b)
{
    uint32_t sign = (uint32_t)(b & 0x80U) << 24;
    uint32_t exponent = b >> 3 & 15U;
    uint32_t fraction = b & 7U;
    uint32_t bits;
    float f;
    if ((b & 0x7FU) == 0x7FU) {
        bits = sign | 0x7FC00000U;
    } else if (exponent) {
        bits = sign | (exponent + 120) << 23 | fraction << 20;
    } else { /* subnormal: eighths of 2^-6 */
        f = (float)fraction / 512.0F;
        memcpy(&bits, &f, sizeof bits);
        bits |= sign;
    }
    memcpy(&f, &bits, sizeof f);
    return f;
}

static void dequantize_bf16(const uint8_t *src, float *dst, size_t values)
{
    for (size_t i = 0; i < values; i++) {
        dst[i] = bfloat_to_float(read_u16(src + 2 * i));
    }
}

static void dequantize_q4_0(const uint8_t *src, float *dst, size_t values)
{
    for (size_t at = 0; at < values; at += 32, src += 18) {
        float d = read_half(src);
        for (unsigned j = 0; j < 16; j++) {
            dst[at + j] = d * (float)((src[2 + j] & 15) - 8);
            dst[at + 16 + j] = d * (float)((src[2 + j] >> 4) - 8);
        }
    }
}

static void dequantize_q4_1(const uint8_t *src, float *dst, size_t values)
{
    for (size_t at = 0; at < values; at += 32, src += 20) {
        float d = read_half(src);
        float m = read_half(src + 2);
        for (unsigned j = 0; j < 16; j++) {
            dst[at + j] = d * (float)(src[4 + j] & 15) + m;
            dst[at + 16 + j] = d * (float)(src[4 + j] >> 4) + m;
        }
    }
}

void quant_q5_values(const uint8_t high[4], const uint8_t low[16], int8_t values[32])
{
    uint32_t bits;
    memcpy(&bits, high, sizeof bits);
    for (unsigned j = 0; j < 16; j++) {
        values[j] = (int8_t)((low[j] & 15U) | ((bits >> j) & 1) << 4);
        values[j + 16] = (int8_t)((low[j] >> 4) | ((bits >> (j + 16)) & 1) << 4);
    }
}

static void dequantize_q5_0(const uint8_t *src, float *dst, size_t values)
{
    int8_t q[32];
    for (size_t at = 0; at < values; at += 32, src += 22) {
        float d = read_half(src);
        quant_q5_values(src + 2, src + 6, q);
        for (unsigned j = 0; j < 32; j++) {
            dst[at + j] = d * (float)(q[j] - 16);
        }
    }
}

static void dequantize_q5_1(const uint8_t *src, float *dst, size_t values)
{
    int8_t q[32];
    for (size_t at = 0; at < values; at += 32, src += 24) {
        float d = read_half(src);
        float m = read_half(src + 2);
        quant_q5_values(src + 4, src + 8, q);
        for (unsigned j = 0; j < 32; j++) {
            dst[at + j] = d * (float)q[j] + m;
        }
    }
}

static void dequantize_q8_0(const uint8_t *src, float *dst, size_t values)
{
    for (size_t at = 0; at < values; at += 32, src += 34) {
        float d = read_half(src);
        for (unsigned j = 0; j < 32; j++) {
            dst[at + j] = d * (float)(int8_t)src[2 + j];
        }
    }
}

void quant_q4k_scale(const uint8_t scales[12], unsigned j, uint8_t *scale, uint8_t *min)
{
    if (j < 4) {
        *scale = scales[j] & 63;
        *min = scales[j + 4] & 63;
    } else {
        *scale = (uint8_t)((scales[j + 4] & 15) | (scales[j - 4] >> 6) << 4);
        *min = (uint8_t)((scales[j + 4] >> 4) | (scales[j] >> 6) << 4);
    }
}

static void dequantize_q4_k(const uint8_t *src, float *dst, size_t values)
{
    for (size_t at = 0; at < values; at += QK_SUPER, src += Q4K_BYTES) {
        float d = read_half(src);
        float dmin = read_half(src + 2);
        const uint8_t *q = src + 16;
        for (unsigned j = 0; j < 8; j++) {
            uint8_t scale;
            uint8_t min;
            quant_q4k_scale(src + 4, j, &scale, &min);
            float step = d * (float)scale;
            float base = dmin * (float)min;
            for (unsigned l = 0; l < 32; l++) {
                uint8_t byte = q[32 * (j / 2) + l];
                dst[at + 32 * j + l] = step * (float)(j & 1 ? byte >> 4 : byte & 15) - base;
            }
        }
    }
}

void quant_q5k_values(const uint8_t block[176], int8_t values[256])
{
    const uint8_t *high = block + 16;
    for (unsigned j = 0; j < 8; j++) {
        const uint8_t *low = block + 48 + 32 * (j / 2);
        for (unsigned l = 0; l < 32; l++) {
            int nibble = j & 1 ? low[l] >> 4 : low[l] & 15;
            values[32 * j + l] = (int8_t)(nibble | ((high[l] >> j) & 1) << 4);
        }
    }
}

static void dequantize_q5_k(const uint8_t *src, float *dst, size_t values)
{
    int8_t q[QK_SUPER];
    for (size_t at = 0; at < values; at += QK_SUPER, src += Q5K_BYTES) {
        float d = read_half(src);
        float dmin = read_half(src + 2);
        quant_q5k_values(src, q);
        for (unsigned l = 0; l < QK_SUPER; l++) {
            uint8_t scale;
            uint8_t min;
            quant_q4k_scale(src + 4, l / 32, &scale, &min);
            dst[at + l] = d * (float)scale * (float)q[l] - dmin * (float)min;
        }
    }
}

/* Two bits of 256 values: byte l of 32 holds values l, 32+l, 64+l and 96+l of its half. */
static unsigned two_bits(const uint8_t bytes[64], unsigned i)
{
    return (bytes[32 * (i / 128) + i % 32] >> (2 * (i % 128 / 32))) & 3U;
}

void quant_q2k_values(const uint8_t block[84], int8_t values[256])
{
    for (unsigned i = 0; i < QK_SUPER; i++) {
        values[i] = (int8_t)two_bits(block + 16, i);
    }
}

static void dequantize_q2_k(const uint8_t *src, float *dst, size_t values)
{
    int8_t q[QK_SUPER];
    for (size_t at = 0; at < values; at += QK_SUPER, src += Q2K_BYTES) {
        float d = read_half(src + 80);
        float dmin = read_half(src + 82);
        quant_q2k_values(src, q);
        for (unsigned l = 0; l < QK_SUPER; l++) {
            uint8_t scales = src[l / 16];
            dst[at + l] = d * (float)(scales & 15) * (float)q[l] - dmin * (float)(scales >> 4);
        }
    }
}

int8_t quant_q3k_scale(const uint8_t block[110], unsigned j)
{
    const uint8_t *scales = block + 96;
    int low = j < 8 ? scales[j] & 15 : scales[j - 8] >> 4;
    int high = (scales[8 + j % 4] >> (2 * (j / 4))) & 3;
    return (int8_t)((low | high << 4) - 32);
}

void quant_q3k_values(const uint8_t block[110], int8_t values[256])
{
    for (unsigned i = 0; i < QK_SUPER; i++) {
        bool above = (block[i % 32] >> (i / 32)) & 1;
        values[i] = (int8_t)((int)two_bits(block + 32, i) - (above ? 0 : 4));
    }
}

static void dequantize_q3_k(const uint8_t *src, float *dst, size_t values)
{
    int8_t q[QK_SUPER];
    for (size_t at = 0; at < values; at += QK_SUPER, src += Q3K_BYTES) {
        float d = read_half(src + 108);
        quant_q3k_values(src, q);
        for (unsigned l = 0; l < QK_SUPER; l++) {
            dst[at + l] = d * (float)quant_q3k_scale(src, l / 16) * (float)q[l];
        }
    }
}

void quant_q6k_values(const uint8_t block[210], int8_t values[256])
{
    for (unsigned part = 0; part < 2; part++) {
        const uint8_t *low = block + 64 * part;
        const uint8_t *high = block + 128 + 32 * part;
        int8_t *out = values + 128 * part;
        for (unsigned l = 0; l < 32; l++) {
            out[l] = (int8_t)(((low[l] & 15) | (high[l] & 3) << 4) - 32);
            out[l + 32] = (int8_t)(((low[l + 32] & 15) | ((high[l] >> 2) & 3) << 4) - 32);
            out[l + 64] = (int8_t)(((low[l] >> 4) | ((high[l] >> 4) & 3) << 4) - 32);
            out[l + 96] = (int8_t)(((low[l + 32] >> 4) | ((high[l] >> 6) & 3) << 4) - 32);
        }
    }
}

static void dequantize_q6_k(const uint8_t *src, float *dst, size_t values)
{
    int8_t q[QK_SUPER];
    for (size_t at = 0; at < values; at += QK_SUPER, src += Q6K_BYTES) {
        float d = read_half(src + 208);
        quant_q6k_values(src, q);
        for (unsigned l = 0; l < QK_SUPER; l++) {
            dst[at + l] = d * (float)(int8_t)src[192 + l / 16] * (float)q[l];
        }
    }
}

static const struct quant_type types[] = {
    {TENSOR_F32, "F32", 1, 4, dequantize_f32},
    {TENSOR_F16, "F16", 1, 2, dequantize_f16},
    {TENSOR_Q4_0, "Q4_0", 32, 18, dequantize_q4_0},
    {TENSOR_Q4_1, "Q4_1", 32, 20, dequantize_q4_1},
    {TENSOR_Q5_0, "Q5_0", 32, 22, dequantize_q5_0},
    {TENSOR_Q5_1, "Q5_1", 32, 24, dequantize_q5_1},
    {TENSOR_Q8_0, "Q8_0", 32, 34, dequantize_q8_0},
    {TENSOR_Q2_K, "Q2_K", QK_SUPER, Q2K_BYTES, dequantize_q2_k},
    {TENSOR_Q3_K, "Q3_K", QK_SUPER, Q3K_BYTES, dequantize_q3_k},
    {TENSOR_Q4_K, "Q4_K", QK_SUPER, Q4K_BYTES, dequantize_q4_k},
    {TENSOR_Q5_K, "Q5_K", QK_SUPER, Q5K_BYTES, dequantize_q5_k},
    {TENSOR_Q6_K, "Q6_K", QK_SUPER, Q6K_BYTES, dequantize_q6_k},
    {TENSOR_BF16, "BF16", 1, 2, dequantize_bf16},
};

static const char *const unread_names[] = {
    [9] = "Q8_1",    [15] = "Q8_K",  [16] = "IQ2_XXS", [17] = "IQ2_XS", [18] = "IQ3_XXS", [19] = "IQ1_S",
    [20] = "IQ4_NL", [21] = "IQ3_S", [22] = "IQ2_S",   [23] = "IQ4_XS", [24] = "I8",      [25] = "I16",
    [26] = "I32",    [27] = "I64",   [28] = "F64",     [29] = "IQ1_M",  [39] = "MXFP4",
};

const struct quant_type *quant_type_find(uint32_t type)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (types[i].type == type) {
            return &types[i];
        }
    }
    return NULL;
}

const char *quant_type_name(uint32_t type)
{
    const struct quant_type *known = quant_type_find(type);
    if (known) {
        return known->name;
    }
    if (type < sizeof unread_names / sizeof *unread_names && unread_names[type]) {
        return unread_names[type];
    }
    return "an unknown type";
}
