/* Weight matrices as the CPU multiplies them: rows in strips of 16, interleaved, a block of 32 columns at a
 * time. One layout for AVX2 (two halves of 8 rows), AVX-512 (all 16 at once) and AMX (a block of bytes is a tile).
 *
 *     4-bit, 320 bytes:        f16 d[16] | f16 m[16] | 4 x (16 rows x 4 bytes); byte i of group g of a row
 *                              holds column 4g+i in its low and 16+4g+i in its high half; value q*d + m
 *     5-bit, 352 bytes:        f16 d[16] | 4 groups as before | 16 rows x 4 bytes of fifth bits: bit g of byte i
 *                              is that of column 4g+i, bit 4+g that of column 16+4g+i; (q - 16)*d
 *     5-bit with a minimum, 384 bytes: f16 m[16] behind d[16]; q*d + m
 *     fine 6-bit, 448 bytes:   f16 d[16] of columns 0 to 15 | f16 d[16] of 16 to 31 | 4 groups as before |
 *                              2 x (16 rows x 4 bytes), for each half of the columns: bits 2g and 2g+1 of byte i
 *                              are the upper ones of its column 4g+i; (q - 32)*d
 *     8-bit, 544 bytes:        f16 d[16] | 8 x (16 rows x 4 bytes); group g holds columns 4g..4g+3; q*d
 *     fine 8-bit with a minimum, 640 bytes: 2 x ( f16 d[16] | f16 m[16] | 4 x (16 rows x 4 bytes) ), for each
 *                              half of the columns; q*d + m
 *
 * Q4_0, Q4_1 and Q4_K become 4-bit; Q5_0 5-bit, Q5_1 and Q5_K with a minimum; Q3_K and Q6_K fine 6-bit; Q8_0 8-bit;
 * Q2_K fine 8-bit with a minimum. Exact but for the K types, whose scale is d times sub-scale rounded to
 * f16 (relative 2^-11). F32, F16 and BF16 stay as the file has them.
 * The last strip is filled up with zero rows. What changes here changes PACKED_LAYOUT too: packed_file.h keeps strips.
 * Life: packed_shape says what it will be; then data is set by packed_fill, or borrowed from a file of strips.
 * Ownership: packed_clear frees what packed_fill made; F32, F16 and BF16 borrow the model's file.
 * Errors: packed_shape gives ERR_INVALID (a type that cannot be multiplied), packed_fill ERR_NOMEM.
 * Thread rule: read-only once data is set. */
#ifndef TIDE_WORKER_CPU_PACKED_H
#define TIDE_WORKER_CPU_PACKED_H

#include "inference/worker/gguf.h"

enum packed_kind {
    PACKED_F32 = 0,
    PACKED_F16 = 1,
    PACKED_4BIT = 2,
    PACKED_5BIT = 3,
    PACKED_5BIT_MIN = 4,
    PACKED_6BIT_FINE = 5,
    PACKED_8BIT = 6,
    PACKED_8BIT_FINE_MIN = 7,
    PACKED_BF16 = 8,
};

enum {
    PACKED_LAYOUT = 2,   /* which one this is */
    PACKED_ROWS = 16,    /* of a strip */
    PACKED_COLUMNS = 32, /* of a block */
    PACKED_4BIT_BYTES = 320,
    PACKED_5BIT_BYTES = 352,
    PACKED_5BIT_MIN_BYTES = 384,
    PACKED_6BIT_FINE_BYTES = 448,
    PACKED_8BIT_BYTES = 544,
    PACKED_8BIT_FINE_MIN_BYTES = 640,
};

struct packed {
    const struct gguf_tensor *tensor; /* borrowed */
    enum packed_kind kind;
    uint32_t rows;
    uint32_t columns;
    uint32_t strips;     /* of 16 rows, the last maybe padded */
    size_t strip_bytes;  /* of F32, F16 and BF16: bytes of a row */
    const uint8_t *data; /* NULL: not there yet */
    uint8_t *owned;      /* data, or NULL when it is a file's */
};

/* One row of a block: value i is values[i] * scale[i / 16] + minimum[i / 16]. */
struct packed_row {
    int8_t values[PACKED_COLUMNS];
    uint16_t scale[2];   /* f16; twice the same where the block has one */
    uint16_t minimum[2]; /* f16; 0 where the kind has none */
};

int packed_init(struct packed *p, const struct gguf_tensor *t,
                struct err *err) TIDE_CHECK; /* shape and fill */
int packed_shape(struct packed *p, const struct gguf_tensor *t, struct err *err) TIDE_CHECK;
int packed_fill(struct packed *p, struct err *err) TIDE_CHECK; /* where data is not there yet */
void packed_empty(struct packed *p);                           /* as it was before packed_fill */
void packed_clear(struct packed *p);
/* Of all strips, and zeroes up to a multiple of 64; 0 when rows stay as the model's file has them. */
size_t packed_bytes(const struct packed *p);
/* Row `lane` (below PACKED_ROWS) of a block of strips: slow, but for every kind. */
void packed_read(enum packed_kind kind, const uint8_t *block, unsigned lane, struct packed_row *out);
size_t packed_block_bytes(enum packed_kind kind); /* 0: there are no blocks */

#endif
