#include "inference/worker/cuda/device_weights.h"

#include <stdlib.h>

#include "inference/worker/cpu/packed.h"

int device_error(cudaError_t rc, const char *doing, struct err *err)
{
    if (rc == cudaSuccess) {
        return 0;
    }
    int code = rc == cudaErrorMemoryAllocation ? ERR_NOMEM : ERR_UNAVAILABLE;
    return err_set(err, code, "cuda: %s: %s (%s)", doing, cudaGetErrorString(rc), cudaGetErrorName(rc));
}

/* --- from strips of 16 rows to planes ---------------------------------------------------------------------- */

struct planes { /* host memory of one matrix */
    uint8_t *values;
    uint16_t *scale;
    size_t value_bytes;
    size_t scale_bytes;
};

static bool has_minimum(enum packed_kind kind)
{
    return kind == PACKED_4BIT || kind == PACKED_5BIT_MIN || kind == PACKED_8BIT_FINE_MIN;
}

static bool is_fine(enum packed_kind kind)
{
    return kind == PACKED_6BIT_FINE || kind == PACKED_8BIT_FINE_MIN;
}

/* 4-bit values stay two a byte, all others become a byte each. */
static void put_values(const struct packed_row *row, bool is_4bit, uint8_t *out)
{
    if (!is_4bit) {
        memcpy(out, row->values, PACKED_COLUMNS);
        return;
    }
    for (unsigned j = 0; j < PACKED_COLUMNS / 2; j++) {
        out[j] = (uint8_t)(row->values[j] | row->values[j + 16] << 4);
    }
}

/* A block has a scale, with its minimum where there are any, or two of them: each for 16 columns. */
static void unpack_block(const struct packed *p, const uint8_t *strip, unsigned lane, size_t block,
                         struct planes *out)
{
    struct packed_row row;
    bool is_4bit = p->kind == PACKED_4BIT;
    unsigned parts = is_fine(p->kind) ? 2 : 1;
    unsigned scales = has_minimum(p->kind) ? 2 : 1;
    uint16_t *scale = out->scale + block * parts * scales;
    packed_read(p->kind, strip, lane, &row);
    put_values(&row, is_4bit, out->values + block * (is_4bit ? 16 : 32));
    for (unsigned part = 0; part < parts; part++, scale += scales) {
        scale[0] = row.scale[part];
        if (scales == 2) {
            scale[1] = row.minimum[part];
        }
    }
}

/* Of the file, for the i-th row of the cut. */
static uint32_t row_of(const struct packed *p, struct shard_cut cut, uint32_t i)
{
    uint32_t rows = cut.row_to - cut.row_from;
    return i / rows * (p->rows / cut.pieces) + cut.row_from + i % rows;
}

static void unpack(const struct packed *p, struct shard_cut cut, struct planes *out)
{
    size_t block_bytes = p->strip_bytes / (p->columns / PACKED_COLUMNS);
    size_t first = cut.column_from / PACKED_COLUMNS;
    size_t end = cut.column_to / PACKED_COLUMNS;
    size_t at = 0;
    for (uint32_t i = 0; i < cut.pieces * (cut.row_to - cut.row_from); i++) {
        uint32_t row = row_of(p, cut, i);
        const uint8_t *strip = p->data + row / PACKED_ROWS * p->strip_bytes;
        for (size_t b = first; b < end; b++) {
            unpack_block(p, strip + b * block_bytes, row % PACKED_ROWS, at++, out);
        }
    }
}

/* --- to the device -------------------------------------------------------------------------------------------- */

static int take(struct device_weights *w, size_t bytes, void **out, struct err *err)
{
    int rc = device_error(cudaMalloc(out, bytes), "memory for weights", err);
    w->bytes += rc ? 0 : bytes;
    return rc;
}

static int copy(void *to, const void *host, size_t bytes, struct err *err)
{
    return device_error(cudaMemcpy(to, host, bytes, cudaMemcpyHostToDevice), "copying weights", err);
}

static int upload(struct device_weights *w, const void *host, size_t bytes, void **out, struct err *err)
{
    int rc = take(w, bytes, out, err);
    return rc ? rc : copy(*out, host, bytes, err);
}

/* The rows of a cut are values here: of a bias, whose matrix is cut so. */
static int upload_vector(struct device_weights *w, const struct gguf_tensor *t, struct shard_cut cut,
                         struct err *err)
{
    struct device_weight *row = &w->rows[w->count++];
    size_t n = t->dims[0] * t->rows;
    size_t to = cut.row_to ? cut.row_to : n;
    float *host = malloc(n * sizeof *host);
    row->tensor = t;
    row->cut = cut;
    if (!host) {
        return err_set(err, ERR_NOMEM, "cuda: no memory for " STR_FMT, STR_ARG(t->name));
    }
    t->type->dequantize(t->data, host, n);
    int rc = upload(w, host + cut.row_from, (to - cut.row_from) * sizeof *host, (void **)&row->vector, err);
    free(host);
    return rc;
}

/* Whole rows of the file, or pieces of them. */
static int upload_file_rows(struct device_weights *w, struct device_weight *row, const struct packed *p,
                            struct shard_cut cut, struct err *err)
{
    size_t value_bytes = p->strip_bytes / p->columns;
    size_t row_bytes = (cut.column_to - cut.column_from) * value_bytes;
    uint32_t rows = row->matrix.rows;
    const uint8_t *from = p->data + cut.column_from * value_bytes;
    if (row_bytes == p->strip_bytes && cut.pieces == 1) {
        return upload(w, from + cut.row_from * row_bytes, rows * row_bytes, (void **)&row->matrix.values,
                      err);
    }
    uint8_t *host = malloc(rows * row_bytes);
    if (!host) {
        return err_set(err, ERR_NOMEM, "cuda: no memory to cut weights");
    }
    for (uint32_t i = 0; i < rows; i++) {
        memcpy(host + i * row_bytes, from + row_of(p, cut, i) * p->strip_bytes, row_bytes);
    }
    int rc = upload(w, host, rows * row_bytes, (void **)&row->matrix.values, err);
    free(host);
    return rc;
}

static int upload_planes(struct device_weights *w, struct device_weight *row, const struct packed *p,
                         struct shard_cut cut, struct err *err)
{
    size_t blocks = (size_t)row->matrix.rows * (row->matrix.columns / PACKED_COLUMNS);
    size_t scales = (is_fine(p->kind) ? 2 : 1) * (has_minimum(p->kind) ? 2 : 1);
    struct planes planes = {.value_bytes = blocks * (p->kind == PACKED_4BIT ? 16 : 32),
                            .scale_bytes = blocks * scales * sizeof(uint16_t)};
    planes.values = malloc(planes.value_bytes);
    planes.scale = malloc(planes.scale_bytes);
    int rc =
        planes.values && planes.scale ? 0 : err_set(err, ERR_NOMEM, "cuda: no memory to lay out weights");
    if (!rc) {
        unpack(p, cut, &planes);
        rc = upload(w, planes.values, planes.value_bytes, (void **)&row->matrix.values, err);
    }
    if (!rc) {
        rc = upload(w, planes.scale, planes.scale_bytes, (void **)&row->matrix.scale, err);
    }
    free(planes.values);
    free(planes.scale);
    return rc;
}

static enum matrix_kind device_kind(enum packed_kind kind)
{
    static const enum matrix_kind kinds[] = {
        [PACKED_F32] = MATRIX_F32,           [PACKED_F16] = MATRIX_F16,
        [PACKED_4BIT] = MATRIX_4BIT,         [PACKED_5BIT] = MATRIX_8BIT,
        [PACKED_5BIT_MIN] = MATRIX_8BIT_MIN, [PACKED_6BIT_FINE] = MATRIX_8BIT_FINE,
        [PACKED_8BIT] = MATRIX_8BIT,         [PACKED_8BIT_FINE_MIN] = MATRIX_8BIT_FINE_MIN,
        [PACKED_BF16] = MATRIX_BF16,
    };
    return kinds[kind];
}

/* With its ends, where it says none. */
static struct shard_cut full_cut(struct shard_cut cut, uint32_t rows, uint32_t columns)
{
    cut.pieces = cut.pieces ? cut.pieces : 1;
    cut.row_to = cut.row_to ? cut.row_to : rows;
    cut.column_to = cut.column_to ? cut.column_to : columns;
    return cut;
}

static int upload_packed(struct device_weights *w, struct device_weight *row, const struct packed *p,
                         struct err *err)
{
    struct shard_cut cut = full_cut(row->cut, p->rows, p->columns);
    row->matrix = (struct matrix){.kind = device_kind(p->kind),
                                  .rows = cut.pieces * (cut.row_to - cut.row_from),
                                  .columns = cut.column_to - cut.column_from};
    if (p->owned && (cut.column_from % PACKED_COLUMNS || cut.column_to % PACKED_COLUMNS)) {
        return err_set(err, ERR_INVALID,
                       "cuda: tensor " STR_FMT ": %u columns are not whole blocks of %d on each device",
                       STR_ARG(row->tensor->name), p->columns, PACKED_COLUMNS);
    }
    return p->owned ? upload_planes(w, row, p, cut, err) : upload_file_rows(w, row, p, cut, err);
}

/* --- FP8, from its file ---------------------------------------------------------------------------------------- */

static size_t fp8_blocks(size_t n)
{
    return (n + FP8_BLOCK - 1) / FP8_BLOCK;
}

/* Values from..to-1 have the scales of the blocks that they would have, counted from their first. */
static bool keeps_blocks(uint32_t from, uint32_t to)
{
    return from % FP8_BLOCK == 0 || from / FP8_BLOCK == (to - 1) / FP8_BLOCK;
}

/* Can this part be FP8? *part is it, counted in each of the tensor's matrices. */
static bool find_fp8_part(const struct gguf_tensor *t, struct shard_cut cut, struct shard_cut *part)
{
    uint32_t rows = (uint32_t)t->rows;
    uint32_t columns = (uint32_t)t->dims[0];
    uint32_t matrices = (uint32_t)t->dims[2];
    *part = full_cut(cut, rows, columns);
    if (part->pieces != matrices) { /* rows of all of them in one */
        if (part->row_to - part->row_from != rows) {
            return false;
        }
        part->row_to = rows / matrices;
        part->pieces = matrices;
    }
    bool ends_blocks = matrices == 1 || (part->row_to - part->row_from) % FP8_BLOCK == 0;
    return ends_blocks && keeps_blocks(part->row_from, part->row_to) &&
           keeps_blocks(part->column_from, part->column_to) &&
           (part->column_to - part->column_from) % MATRIX_BLOCK == 0;
}

/* `rows` rows of so many bytes, which lie `pitch` apart in the file. */
static int copy_rows(uint8_t *to, const uint8_t *from, size_t pitch, size_t rows, size_t bytes,
                     struct err *err)
{
    if (pitch == bytes) {
        return copy(to, from, rows * bytes, err);
    }
    uint8_t *host = malloc(rows * bytes);
    if (!host) {
        return err_set(err, ERR_NOMEM, "cuda: no memory to cut weights");
    }
    for (size_t i = 0; i < rows; i++) {
        memcpy(host + i * bytes, from + i * pitch, bytes);
    }
    int rc = copy(to, host, rows * bytes, err);
    free(host);
    return rc;
}

static int upload_fp8(struct device_weights *w, const struct gguf_tensor *t, struct shard_cut cut,
                      struct shard_cut part, struct err *err)
{
    struct device_weight *row = &w->rows[w->count++];
    size_t rows = part.row_to - part.row_from;
    size_t columns = part.column_to - part.column_from;
    size_t scale_rows = fp8_blocks(rows);
    size_t scale_bytes = fp8_blocks(columns) * sizeof(float);
    size_t scale_pitch = fp8_blocks(t->dims[0]) * sizeof(float);
    uint8_t *values = NULL;
    uint8_t *scales = NULL;
    *row = (struct device_weight){.tensor = t, .cut = cut};
    row->matrix = (struct matrix){MATRIX_E4M3, part.pieces * (uint32_t)rows, (uint32_t)columns, NULL, NULL};
    size_t before = w->bytes;
    int rc = take(w, part.pieces * rows * columns, (void **)&values, err);
    row->matrix.values = values;
    rc = rc ? rc : take(w, part.pieces * scale_rows * scale_bytes, (void **)&scales, err);
    row->matrix.scale = (const uint16_t *)(void *)scales;
    w->fp8_bytes += w->bytes - before;
    for (uint32_t i = 0; i < part.pieces && !rc; i++) {
        const uint8_t *from = t->fp8[i].values + part.row_from * t->dims[0] + part.column_from;
        const uint8_t *scale = t->fp8[i].scales + part.row_from / FP8_BLOCK * scale_pitch +
                               part.column_from / FP8_BLOCK * sizeof(float);
        rc = copy_rows(values + i * rows * columns, from, t->dims[0], rows, columns, err);
        rc = rc ? rc
                : copy_rows(scales + i * scale_rows * scale_bytes, scale, scale_pitch, scale_rows,
                            scale_bytes, err);
    }
    return rc;
}

/* --- all ---------------------------------------------------------------------------------------------------------- */

static int upload_matrix(struct device_weights *w, const struct gguf_tensor *t, struct shard_cut cut,
                         struct err *err)
{
    struct device_weight *row = &w->rows[w->count++];
    struct packed p;
    int rc = packed_init(&p, t, err);
    if (rc) {
        return rc;
    }
    row->tensor = t;
    row->cut = cut;
    rc = upload_packed(w, row, &p, err);
    packed_clear(&p);
    return rc;
}

static bool is_matrix(const struct graph_op *op)
{
    return op->kind != GRAPH_NORM;
}

static int upload_weight(struct device_weights *w, struct gguf *file, const struct graph_op *op,
                         struct shard_cut cut, bool has_fp8, struct err *err)
{
    const struct gguf_tensor *t = op->weight;
    struct shard_cut part = {0};
    if (!is_matrix(op)) {
        return upload_vector(w, t, cut, err);
    }
    if (has_fp8 && t->fp8 && find_fp8_part(t, cut, &part)) {
        return upload_fp8(w, t, cut, part, err);
    }
    gguf_fill(file, t);
    return upload_matrix(w, t, cut, err);
}

int device_weights_init(struct device_weights *w, const struct graph *g, const struct shard_part *parts,
                        bool has_fp8, struct err *err)
{
    *w = (struct device_weights){.rows = calloc(2 * g->op_count, sizeof *w->rows)};
    if (!w->rows) {
        return err_set(err, ERR_NOMEM, "cuda: no memory for %zu operations", g->op_count);
    }
    int rc = 0;
    for (size_t i = 0; i < g->op_count && !rc; i++) {
        const struct graph_op *op = &g->ops[i];
        struct shard_cut cut = parts ? parts[i].cut : (struct shard_cut){0};
        if (op->weight && !device_weights_find(w, op->weight, cut)) {
            rc = upload_weight(w, g->model->file, op, cut, has_fp8, err);
            gguf_release_pages(g->model->file, op->weight);
        }
        if (!rc && op->bias) {
            rc = upload_vector(w, op->bias, cut, err);
        }
    }
    return rc;
}

void device_weights_clear(struct device_weights *w)
{
    for (size_t i = 0; i < w->count; i++) {
        cudaFree((void *)w->rows[i].matrix.values);
        cudaFree((void *)w->rows[i].matrix.scale);
        cudaFree(w->rows[i].vector);
    }
    free(w->rows);
    *w = (struct device_weights){0};
}

const struct device_weight *device_weights_find(const struct device_weights *w, const struct gguf_tensor *t,
                                                struct shard_cut cut)
{
    for (size_t i = 0; i < w->count; i++) {
        if (w->rows[i].tensor == t && memcmp(&w->rows[i].cut, &cut, sizeof cut) == 0) {
            return &w->rows[i];
        }
    }
    return NULL;
}
