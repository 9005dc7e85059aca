#include "inference/worker/cpu/packed.h"

#include <sys/mman.h>

/* Writes one block column (32 values of one row) of a strip. */
typedef void (*pack_cb)(const uint8_t *row, uint32_t block, unsigned lane, uint8_t *dst);

static uint16_t load_u16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static void store_u16(uint8_t *p, uint16_t v)
{
    memcpy(p, &v, sizeof v);
}

/* Byte j of 16: columns j and 16 + j. */
static void put_nibbles(uint8_t *dst, unsigned lane, const uint8_t nibbles[16])
{
    for (unsigned g = 0; g < 4; g++) {
        memcpy(dst + 64 * g + 4 * lane, nibbles + 4 * g, 4);
    }
}

static void put_4bit(uint8_t *dst, unsigned lane, uint16_t d, uint16_t m, const uint8_t nibbles[16])
{
    store_u16(dst + 2 * lane, d);
    store_u16(dst + 32 + 2 * lane, m);
    put_nibbles(dst + 64, lane, nibbles);
}

/* The lower four bits of 32 values; what is above them is left to the caller. */
static void put_lower_bits(uint8_t *dst, unsigned lane, const int8_t values[32])
{
    uint8_t nibbles[16];
    for (unsigned j = 0; j < 16; j++) {
        nibbles[j] = (uint8_t)((values[j] & 15) | (values[j + 16] & 15) << 4);
    }
    put_nibbles(dst, lane, nibbles);
}

/* Values of 0 to 31: their lower bits, then the fifth ones. */
static void put_5bit(uint8_t *dst, unsigned lane, const int8_t values[32])
{
    uint8_t fifths[4] = {0};
    put_lower_bits(dst, lane, values);
    for (unsigned j = 0; j < 32; j++) {
        fifths[j % 4] |= (uint8_t)(values[j] >> 4 << j / 4);
    }
    memcpy(dst + 256 + 4 * lane, fifths, sizeof fifths);
}

/* Values of -32 to 31 with a scale for each half. */
static void put_6bit_fine(uint8_t *dst, unsigned lane, const uint16_t scales[2], const int8_t values[32])
{
    int8_t moved[32];
    uint8_t upper[2][4] = {{0}};
    for (unsigned j = 0; j < 32; j++) {
        moved[j] = (int8_t)(values[j] + 32);
        upper[j / 16][j % 4] |= (uint8_t)(moved[j] >> 4 << 2 * (j % 16 / 4));
    }
    put_lower_bits(dst + 64, lane, moved);
    for (unsigned half = 0; half < 2; half++) {
        store_u16(dst + 32 * half + 2 * lane, scales[half]);
        memcpy(dst + 320 + 64 * half + 4 * lane, upper[half], sizeof upper[half]);
    }
}

static void pack_q4_0(const uint8_t *row, uint32_t block, unsigned lane, uint8_t *dst)
{
    const uint8_t *src = row + 18UL * block;
    uint16_t d = load_u16(src);
    put_4bit(dst, lane, d, float_to_half(-8.0F * half_to_float(d)), src + 2);
}

static void pack_q4_1(const uint8_t *row, uint32_t block, unsigned lane, uint8_t *dst)
{
    const uint8_t *src = row + 20UL * block;
    put_4bit(dst, lane, load_u16(src), load_u16(src + 2), src + 4);
}

static void pack_q4_k(const uint8_t *row, uint32_t block, unsigned lane, uint8_t *dst)
{
    const uint8_t *src = row + (size_t)Q4K_BYTES * (block / 8);
    unsigned sub = block % 8;
    const uint8_t *q = src + 16 + 32 * (sub / 2);
    uint8_t scale;
    uint8_t min;
    uint8_t nibbles[16];
    quant_q4k_scale(src + 4, sub, &scale, &min);
    for (unsigned j = 0; j < 16; j++) {
        unsigned low = sub & 1 ? q[j] >> 4 : q[j] & 15;
        unsigned high = sub & 1 ? q[j + 16] >> 4 : q[j + 16] & 15;
        nibbles[j] = (uint8_t)(low | high << 4);
    }
    put_4bit(dst, lane, float_to_half(half_to_float(load_u16(src)) * (float)scale),
             float_to_half(-half_to_float(load_u16(src + 2)) * (float)min), nibbles);
}

static void put_values(uint8_t *dst, unsigned lane, const int8_t *values, unsigned groups)
{
    for (unsigned g = 0; g < groups; g++) {
        memcpy(dst + 64 * g + 4 * lane, values + 4 * g, 4);
    }
}

static void put_8bit_min(uint8_t *dst, unsigned lane, uint16_t d, uint16_t m, const int8_t *values,
                         unsigned groups)
{
    store_u16(dst + 2 * lane, d);
    store_u16(dst + 32 + 2 * lane, m);
    put_values(dst + 64, lane, values, groups);
}

static void pack_q5_0(const uint8_t *row, uint32_t block, unsigned lane, uint8_t *dst)
{
    const uint8_t *src = row + 22UL * block;
    int8_t values[32];
    quant_q5_values(src + 2, src + 6, values);
    store_u16(dst + 2 * lane, load_u16(src));
    put_5bit(dst + 32, lane, values);
}

static void pack_q5_1(const uint8_t *row, uint32_t block, unsigned lane, uint8_t *dst)
{
    const uint8_t *src = row + 24UL * block;
    int8_t values[32];
    quant_q5_values(src + 4, src + 8, values);
    store_u16(dst + 2 * lane, load_u16(src));
    store_u16(dst + 32 + 2 * lane, load_u16(src + 2));
    put_5bit(dst + 64, lane, values);
}

static void pack_q5_k(const uint8_t *row, uint32_t block, unsigned lane, uint8_t *dst)
{
    const uint8_t *src = row + (size_t)Q5K_BYTES * (block / 8);
    unsigned sub = block % 8;
    int8_t values[QK_SUPER];
    uint8_t scale;
    uint8_t min;
    quant_q5k_values(src, values);
    quant_q4k_scale(src + 4, sub, &scale, &min);
    store_u16(dst + 2 * lane, float_to_half(half_to_float(load_u16(src)) * (float)scale));
    store_u16(dst + 32 + 2 * lane, float_to_half(-half_to_float(load_u16(src + 2)) * (float)min));
    put_5bit(dst + 64, lane, values + 32 * sub);
}

static void pack_q2_k(const uint8_t *row, uint32_t block, unsigned lane, uint8_t *dst)
{
    const uint8_t *src = row + (size_t)Q2K_BYTES * (block / 8);
    unsigned sub = block % 8;
    int8_t values[QK_SUPER];
    float d = half_to_float(load_u16(src + 80));
    float dmin = half_to_float(load_u16(src + 82));
    quant_q2k_values(src, values);
    for (unsigned part = 0; part < 2; part++) {
        uint8_t scales = src[2 * sub + part];
        put_8bit_min(dst + 320UL * part, lane, float_to_half(d * (float)(scales & 15)),
                     float_to_half(-dmin * (float)(scales >> 4)), values + 32 * sub + 16 * part, 4);
    }
}

static void pack_q3_k(const uint8_t *row, uint32_t block, unsigned lane, uint8_t *dst)
{
    const uint8_t *src = row + (size_t)Q3K_BYTES * (block / 8);
    unsigned sub = block % 8;
    int8_t values[QK_SUPER];
    uint16_t scales[2];
    float d = half_to_float(load_u16(src + 108));
    quant_q3k_values(src, values);
    for (unsigned half = 0; half < 2; half++) {
        scales[half] = float_to_half(d * (float)quant_q3k_scale(src, 2 * sub + half));
    }
    put_6bit_fine(dst, lane, scales, values + 32 * sub);
}

static void pack_q8_0(const uint8_t *row, uint32_t block, unsigned lane, uint8_t *dst)
{
    const uint8_t *src = row + 34UL * block;
    store_u16(dst + 2 * lane, load_u16(src));
    put_values(dst + 32, lane, (const int8_t *)src + 2, 8);
}

static void pack_q6_k(const uint8_t *row, uint32_t block, unsigned lane, uint8_t *dst)
{
    const uint8_t *src = row + (size_t)Q6K_BYTES * (block / 8);
    unsigned sub = block % 8;
    int8_t values[QK_SUPER];
    uint16_t scales[2];
    float d = half_to_float(load_u16(src + 208));
    quant_q6k_values(src, values);
    for (unsigned half = 0; half < 2; half++) {
        scales[half] = float_to_half(d * (float)(int8_t)src[192 + 2 * sub + half]);
    }
    put_6bit_fine(dst, lane, scales, values + 32 * sub);
}

static const struct packing {
    enum tensor_type type;
    enum packed_kind kind;
    pack_cb pack;
} packings[] = {
    {TENSOR_F32, PACKED_F32, NULL},
    {TENSOR_F16, PACKED_F16, NULL},
    {TENSOR_BF16, PACKED_BF16, NULL},
    {TENSOR_Q4_0, PACKED_4BIT, pack_q4_0},
    {TENSOR_Q4_1, PACKED_4BIT, pack_q4_1},
    {TENSOR_Q4_K, PACKED_4BIT, pack_q4_k},
    {TENSOR_Q5_0, PACKED_5BIT, pack_q5_0},
    {TENSOR_Q5_1, PACKED_5BIT_MIN, pack_q5_1},
    {TENSOR_Q5_K, PACKED_5BIT_MIN, pack_q5_k},
    {TENSOR_Q3_K, PACKED_6BIT_FINE, pack_q3_k},
    {TENSOR_Q6_K, PACKED_6BIT_FINE, pack_q6_k},
    {TENSOR_Q8_0, PACKED_8BIT, pack_q8_0},
    {TENSOR_Q2_K, PACKED_8BIT_FINE_MIN, pack_q2_k},
};

size_t packed_block_bytes(enum packed_kind kind)
{
    static const uint16_t bytes[] = {
        [PACKED_4BIT] = PACKED_4BIT_BYTES,
        [PACKED_5BIT] = PACKED_5BIT_BYTES,
        [PACKED_5BIT_MIN] = PACKED_5BIT_MIN_BYTES,
        [PACKED_6BIT_FINE] = PACKED_6BIT_FINE_BYTES,
        [PACKED_8BIT] = PACKED_8BIT_BYTES,
        [PACKED_8BIT_FINE_MIN] = PACKED_8BIT_FINE_MIN_BYTES,
        [PACKED_BF16] = 0,
    };
    return bytes[kind];
}

static const struct packing *find_packing(enum tensor_type type)
{
    for (size_t i = 0; i < sizeof packings / sizeof *packings; i++) {
        if (packings[i].type == type) {
            return &packings[i];
        }
    }
    return NULL;
}

static void pack_strip(const struct gguf_tensor *t, const struct packing *how, uint32_t strip, uint8_t *dst)
{
    uint32_t blocks = (uint32_t)(t->dims[0] / PACKED_COLUMNS);
    size_t block_bytes = packed_block_bytes(how->kind);
    for (unsigned lane = 0; lane < PACKED_ROWS; lane++) {
        uint64_t row = (uint64_t)strip * PACKED_ROWS + lane;
        if (row >= t->rows) {
            return; /* the memory is zero */
        }
        for (uint32_t block = 0; block < blocks; block++) {
            how->pack(t->data + row * t->row_bytes, block, lane, dst + block * block_bytes);
        }
    }
}

int packed_shape(struct packed *p, const struct gguf_tensor *t, struct err *err)
{
    const struct packing *how = find_packing(t->type->type);
    if (!how || t->rows > UINT32_MAX - PACKED_ROWS || t->dims[0] > UINT32_MAX) {
        return err_set(err, ERR_INVALID, "cpu: cannot multiply tensor " STR_FMT " of type %s",
                       STR_ARG(t->name), t->type->name);
    }
    *p = (struct packed){.tensor = t,
                         .kind = how->kind,
                         .rows = (uint32_t)t->rows,
                         .columns = (uint32_t)t->dims[0],
                         .strips = (uint32_t)((t->rows + PACKED_ROWS - 1) / PACKED_ROWS)};
    if (how->pack) {
        p->strip_bytes = (size_t)(p->columns / PACKED_COLUMNS) * packed_block_bytes(how->kind);
    } else {
        p->strip_bytes = t->row_bytes;
        p->data = t->data;
    }
    return 0;
}

int packed_fill(struct packed *p, struct err *err)
{
    const struct packing *how = find_packing(p->tensor->type->type);
    size_t total = packed_bytes(p);
    if (p->data) {
        return 0;
    }
    void *memory = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return err_set(err, ERR_NOMEM, "cpu: no memory for " STR_FMT " (%zu bytes)", STR_ARG(p->tensor->name),
                       total);
    }
    madvise(memory, total, MADV_HUGEPAGE); /* fewer TLB misses; refused is fine */
    p->owned = memory;
    p->data = memory;
    for (uint32_t strip = 0; strip < p->strips; strip++) {
        pack_strip(p->tensor, how, strip, p->owned + strip * p->strip_bytes);
    }
    return 0;
}

int packed_init(struct packed *p, const struct gguf_tensor *t, struct err *err)
{
    int rc = packed_shape(p, t, err);
    return rc ? rc : packed_fill(p, err);
}

size_t packed_bytes(const struct packed *p)
{
    bool stays = p->kind == PACKED_F32 || p->kind == PACKED_F16 || p->kind == PACKED_BF16;
    return stays ? 0 : (p->strip_bytes * p->strips + 63) / 64 * 64;
}

void packed_empty(struct packed *p)
{
    if (p->owned) {
        munmap(p->owned, packed_bytes(p));
        p->owned = NULL;
        p->data = NULL;
    }
}

void packed_clear(struct packed *p)
{
    packed_empty(p);
    *p = (struct packed){0};
}

/* --- reading one row of a block ------------------------------------------------------------------------ */

static uint32_t load_u32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* Four values of up to 6 bits less `moved`, each a byte. */
static void put_four(uint32_t values, uint8_t moved, int8_t *out)
{
    const uint32_t signs = 0x80808080; /* of the bytes: what is taken off one borrows from no other */
    values = ((values | signs) - moved * 0x01010101U) ^ signs;
    memcpy(out, &values, sizeof values);
}

static void read_5bit(const uint8_t *nibbles, unsigned lane, bool has_fifths, uint8_t moved, int8_t out[32])
{
    uint32_t fifths = has_fifths ? load_u32(nibbles + 256 + 4UL * lane) : 0;
    for (unsigned g = 0; g < 4; g++) {
        uint32_t both = load_u32(nibbles + 64UL * g + 4UL * lane);
        put_four((both & 0x0F0F0F0F) | (fifths >> g & 0x01010101) << 4, moved, out + 4 * g);
        put_four((both >> 4 & 0x0F0F0F0F) | (fifths >> (4 + g) & 0x01010101) << 4, moved, out + 16 + 4 * g);
    }
}

static void read_6bit(const uint8_t *nibbles, unsigned lane, int8_t out[32])
{
    uint32_t first = load_u32(nibbles + 256 + 4UL * lane);
    uint32_t second = load_u32(nibbles + 320 + 4UL * lane);
    for (unsigned g = 0; g < 4; g++) {
        uint32_t both = load_u32(nibbles + 64UL * g + 4UL * lane);
        put_four((both & 0x0F0F0F0F) | (first >> 2 * g & 0x03030303) << 4, 32, out + 4 * g);
        put_four((both >> 4 & 0x0F0F0F0F) | (second >> 2 * g & 0x03030303) << 4, 32, out + 16 + 4 * g);
    }
}

static void read_8bit(const uint8_t *values, unsigned lane, unsigned n, int8_t *out)
{
    for (unsigned j = 0; j < n; j += 4) {
        memcpy(out + j, values + 16UL * j + 4UL * lane, 4);
    }
}

static void read_values(enum packed_kind kind, const uint8_t *block, unsigned lane, int8_t out[32])
{
    switch (kind) {
    case PACKED_4BIT:
        read_5bit(block + 64, lane, false, 0, out);
        break;
    case PACKED_5BIT:
        read_5bit(block + 32, lane, true, 16, out);
        break;
    case PACKED_5BIT_MIN:
        read_5bit(block + 64, lane, true, 0, out);
        break;
    case PACKED_6BIT_FINE:
        read_6bit(block + 64, lane, out);
        break;
    case PACKED_8BIT:
        read_8bit(block + 32, lane, 32, out);
        break;
    case PACKED_8BIT_FINE_MIN:
        read_8bit(block + 64, lane, 16, out);
        read_8bit(block + 384, lane, 16, out + 16);
        break;
    default:
        BUG_ON(true); /* rows of floats */
    }
}

void packed_read(enum packed_kind kind, const uint8_t *block, unsigned lane, struct packed_row *out)
{
    /* from the first half's scale to the second's, and from a scale to its minimum; 0: there is none */
    size_t next = kind == PACKED_6BIT_FINE ? 32 : kind == PACKED_8BIT_FINE_MIN ? 320 : 0;
    bool has_minimum = kind == PACKED_4BIT || kind == PACKED_5BIT_MIN || kind == PACKED_8BIT_FINE_MIN;
    read_values(kind, block, lane, out->values);
    for (unsigned half = 0; half < 2; half++) {
        const uint8_t *scale = block + half * next + 2UL * lane;
        out->scale[half] = load_u16(scale);
        out->minimum[half] = has_minimum ? load_u16(scale + 32) : 0;
    }
}
