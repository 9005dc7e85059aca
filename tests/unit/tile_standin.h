/* AMX's tile unit in plain C, by Intel's manual (SDM volume 1, chapter 18, and the pages of the instructions in volume 2), in
 * place of inference/worker/cpu/tile_unit.h. What a processor answers with an exception is a fault: the test fails, or gets
 * the words where it expects one (standin.expected). Memory is read and written row by row, so that AddressSanitizer sees it. */
#ifndef TIDE_TESTS_TILE_STANDIN_H
#define TIDE_TESTS_TILE_STANDIN_H

#include "tests/unit/unit.h"

#include <stdbool.h>
#include <string.h>

#define AMX /* any processor */

enum { STANDIN_TILES = 8, STANDIN_ROWS = 16, STANDIN_ROW_BYTES = 64 };

static struct tile_standin {
    bool configured;
    unsigned rows[STANDIN_TILES];      /* 0: not used */
    unsigned row_bytes[STANDIN_TILES]; /* likewise */
    uint8_t data[STANDIN_TILES][STANDIN_ROWS][STANDIN_ROW_BYTES];
    jmp_buf *expected; /* where a fault goes on; NULL: the test fails */
    const char *fault;
    unsigned products; /* multiplications so far */
    int32_t error;     /* added to a sum of each multiplication: a unit that is broken */
} standin;

static void tile_fault(const char *what)
{
    standin.fault = what;
    if (!standin.expected) {
        fail_msg("tile unit: %s", what);
    }
    longjmp(*standin.expected, 1);
}

static void tile_require(bool rule, const char *what)
{
    if (!rule) {
        tile_fault(what);
    }
}

static void tile_release(void)
{
    standin.configured = false;
    memset(standin.rows, 0, sizeof standin.rows);
    memset(standin.row_bytes, 0, sizeof standin.row_bytes);
    memset(standin.data, 0, sizeof standin.data);
}

/* LDTILECFG: byte 0 palette, 1 start row, 2 to 15 reserved, 16 to 47 bytes of a row, 48 to 63 rows. */
static void tile_configure(const void *config)
{
    uint8_t bytes[64];
    memcpy(bytes, config, sizeof bytes);
    tile_release();
    if (bytes[0] == 0) {
        return;
    }
    tile_require(bytes[0] == 1, "an unknown palette");
    tile_require(bytes[1] == 0, "a start row");
    for (unsigned i = 2; i < 16; i++) {
        tile_require(bytes[i] == 0, "a reserved byte is set");
    }
    for (unsigned t = 0; t < 16; t++) {
        unsigned row_bytes = bytes[16 + 2 * t] + 256U * bytes[17 + 2 * t];
        unsigned rows = bytes[48 + t];
        tile_require(t < STANDIN_TILES || (rows == 0 && row_bytes == 0), "a ninth tile");
        tile_require(rows <= STANDIN_ROWS && row_bytes <= STANDIN_ROW_BYTES, "a tile too large");
        tile_require((rows == 0) == (row_bytes == 0), "a tile with no rows or no bytes");
        if (t < STANDIN_TILES) {
            standin.rows[t] = rows;
            standin.row_bytes[t] = row_bytes;
        }
    }
    standin.configured = true;
}

static void tile_use(unsigned t)
{
    tile_require(standin.configured, "no configuration");
    tile_require(t < STANDIN_TILES && standin.rows[t] > 0, "a tile that is not configured");
}

static void tile_zero(unsigned t)
{
    tile_use(t);
    memset(standin.data[t], 0, sizeof standin.data[t]);
}

static void tile_load(unsigned t, const void *from, size_t stride)
{
    tile_use(t);
    tile_zero(t);
    for (unsigned row = 0; row < standin.rows[t]; row++) {
        memcpy(standin.data[t][row], (const uint8_t *)from + row * stride, standin.row_bytes[t]);
    }
}

static void tile_store(unsigned t, void *to, size_t stride)
{
    tile_use(t);
    for (unsigned row = 0; row < standin.rows[t]; row++) {
        memcpy((uint8_t *)to + row * stride, standin.data[t][row], standin.row_bytes[t]);
    }
}

/* One sum of TDPBSSD and what four products add to it. */
static void tile_dot4(uint8_t *sum, const uint8_t *a, const uint8_t *b, int32_t error)
{
    int32_t v;
    memcpy(&v, sum, sizeof v);
    for (unsigned i = 0; i < 4; i++) {
        v += (int8_t)a[i] * (int8_t)b[i];
    }
    v += error;
    memcpy(sum, &v, sizeof v);
}

static void tile_dot(unsigned sums, unsigned a, unsigned b)
{
    tile_use(sums);
    tile_use(a);
    tile_use(b);
    tile_require(sums != a && sums != b && a != b, "one tile twice");
    tile_require(standin.row_bytes[a] % 4 == 0 && standin.row_bytes[b] % 4 == 0, "a part of four bytes");
    tile_require(standin.rows[sums] == standin.rows[a], "rows of sums and first factor differ");
    tile_require(standin.row_bytes[sums] == standin.row_bytes[b], "rows of sums and second factor differ");
    tile_require(standin.row_bytes[a] / 4 == standin.rows[b],
                 "columns of the first are not rows of the second");
    for (unsigned i = 0; i < standin.rows[sums]; i++) {
        for (unsigned j = 0; j < standin.row_bytes[sums] / 4; j++) {
            for (unsigned k = 0; k < standin.rows[b]; k++) {
                int32_t error = i == 15 && j == 7 && k == 0 ? standin.error : 0;
                tile_dot4(&standin.data[sums][i][4 * j], &standin.data[a][i][4 * k],
                          &standin.data[b][k][4 * j], error);
            }
        }
    }
    standin.products++;
}

#endif
