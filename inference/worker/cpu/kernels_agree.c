/* A small product of every kind of strip, by two kinds of kernels. */
#include "inference/worker/cpu/kernels.h"

enum { BLOCKS = 3, WIDTH = BLOCKS * PACKED_COLUMNS };

struct product {
    uint8_t strip[BLOCKS * PACKED_8BIT_FINE_MIN_BYTES];
    int8_t q[KERNEL_TILE * WIDTH];
    float scale[KERNEL_TILE * BLOCKS];
    float sum[KERNEL_TILE * BLOCKS];
    int16_t totals[KERNEL_TILE * BLOCKS * 2];
    uint32_t random;
};

static const struct shape {
    enum packed_kind kind;
    unsigned head;       /* bytes of scales and minimums of a part */
    unsigned part_bytes; /* of the head and its weights */
    unsigned parts;      /* of a block */
} shapes[] = {
    {PACKED_4BIT, 64, PACKED_4BIT_BYTES, 1},
    {PACKED_5BIT, 32, PACKED_5BIT_BYTES, 1},
    {PACKED_5BIT_MIN, 64, PACKED_5BIT_MIN_BYTES, 1},
    {PACKED_6BIT_FINE, 64, PACKED_6BIT_FINE_BYTES, 1},
    {PACKED_8BIT, 32, PACKED_8BIT_BYTES, 1},
    {PACKED_8BIT_FINE_MIN, 64, PACKED_8BIT_FINE_MIN_BYTES / 2, 2},
};

static uint8_t random_byte(struct product *p)
{
    p->random = p->random * 1664525 + 1013904223;
    return (uint8_t)(p->random >> 24);
}

static void fill_columns(struct product *p)
{
    for (unsigned i = 0; i < sizeof p->q; i++) {
        p->q[i] = (int8_t)(random_byte(p) % 255 - 127);
    }
    for (unsigned i = 0; i < KERNEL_TILE * BLOCKS; i++) {
        int totals[2] = {0};
        for (unsigned k = 0; k < PACKED_COLUMNS; k++) {
            totals[k / 16] += p->q[i * PACKED_COLUMNS + k];
        }
        p->scale[i] = (float)(1 + random_byte(p)) / 1024.0F;
        p->sum[i] = p->scale[i] * (float)(totals[0] + totals[1]);
        p->totals[2 * i] = (int16_t)totals[0];
        p->totals[2 * i + 1] = (int16_t)totals[1];
    }
}

static void fill_strip(struct product *p, const struct shape *s)
{
    for (unsigned i = 0; i < BLOCKS * s->parts * s->part_bytes; i++) {
        bool scale = i % s->part_bytes < s->head && i % 2 == 1; /* the upper byte of an f16: below 2 */
        p->strip[i] = (uint8_t)(random_byte(p) & (scale ? 0xBF : 0xFF));
    }
}

bool cpu_kernels_agree(const struct cpu_kernels *a, const struct cpu_kernels *b)
{
    struct product p = {.random = 1};
    struct quantized x = {.q = p.q, .scale = p.scale, .sum = p.sum, .totals = p.totals, .width = WIDTH};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        float by_a[KERNEL_TILE][PACKED_ROWS];
        float by_b[KERNEL_TILE][PACKED_ROWS];
        fill_columns(&p);
        fill_strip(&p, &shapes[i]);
        cpu_kernels_strip(a, shapes[i].kind)(p.strip, &x, KERNEL_TILE, by_a);
        cpu_kernels_strip(b, shapes[i].kind)(p.strip, &x, KERNEL_TILE, by_b);
        if (memcmp(by_a, by_b, sizeof by_a) != 0) {
            return false;
        }
    }
    return true;
}
