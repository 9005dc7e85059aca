#include "inference/worker/safetensors/convert.h"

#include <stdlib.h>

static int wrong(const struct source *s, const char *what, struct err *err)
{
    return err_set(err, ERR_INVALID, "%.60s: tensor " STR_FMT " %s", shard_name(s->shard),
                   STR_ARG(s->tensor->name), what);
}

static enum tensor_type type_of(const struct source *s)
{
    switch (s->tensor->type) {
    case SHARD_F32:
        return TENSOR_F32;
    case SHARD_F16:
        return TENSOR_F16;
    default: /* FP8 becomes it */
        return TENSOR_BF16;
    }
}

static size_t value_bytes(const struct source *s)
{
    return s->tensor->type == SHARD_F32 ? sizeof(float) : sizeof(uint16_t);
}

/* GGUF counts a row's values first. A number alone is a row of one. */
static struct gguf_shape shape_of(const struct shard_tensor *t)
{
    struct gguf_shape shape = {.n_dims = t->n_dims ? t->n_dims : 1, .dims = {1, 1, 1, 1}};
    for (uint32_t i = 0; i < t->n_dims; i++) {
        shape.dims[i] = t->dims[t->n_dims - 1 - i];
    }
    return shape;
}

static uint64_t blocks_of(uint64_t n)
{
    return (n + GGUF_FP8_BLOCK - 1) / GGUF_FP8_BLOCK;
}

int convert_check(const struct source *s, struct err *err)
{
    const struct shard_tensor *t = s->tensor;
    const struct shard_tensor *scale = s->scale;
    if (t->type == SHARD_OTHER) {
        return wrong(s, "is not F32, F16, BF16 or F8_E4M3", err);
    }
    if (t->type != SHARD_F8_E4M3) {
        return scale ? wrong(s, "has scales, but is not F8_E4M3", err) : 0;
    }
    if (!scale) {
        return wrong(s, "is F8_E4M3, but has no weight_scale_inv", err);
    }
    if (t->n_dims != 2 || scale->n_dims != 2 || scale->type != SHARD_F32 ||
        scale->dims[0] != blocks_of(t->dims[0]) || scale->dims[1] != blocks_of(t->dims[1])) {
        return wrong(s, "has a weight_scale_inv that is not an F32 for each 128 x 128 values", err);
    }
    return 0;
}

static struct gguf_fp8 fp8_of(const struct source *s)
{
    return (struct gguf_fp8){s->tensor->data, s->scale->data};
}

static void copy(const struct source *s, uint8_t *dst)
{
    if (s->scale) {
        struct gguf_fp8 fp8 = fp8_of(s);
        gguf_fp8_to_bf16(&fp8, s->tensor->dims[0], s->tensor->dims[1], dst);
    } else {
        memcpy(dst, s->tensor->data, s->tensor->n_bytes);
    }
}

int convert_plain(struct gguf *g, const char *name, const struct source *s, struct err *err)
{
    struct gguf_shape shape = shape_of(s->tensor);
    uint8_t *data = NULL;
    bool is_aligned = (uintptr_t)s->tensor->data % value_bytes(s) == 0;
    if (!s->scale && is_aligned) {
        return gguf_add_tensor(g, name, type_of(s), &shape, s->tensor->data, err);
    }
    int rc = gguf_make_tensor(g, name, type_of(s), &shape, &data, err);
    if (!rc && s->scale) {
        struct gguf_fp8 fp8 = fp8_of(s);
        gguf_keep_fp8(g, &fp8);
    } else if (!rc) {
        copy(s, data);
    }
    return rc;
}

/* The rows of each head, so many bytes each, change places. */
static int pair_rows(uint8_t *data, uint64_t rows, uint64_t half, size_t row_bytes, struct err *err)
{
    uint8_t *head = malloc(2 * half * row_bytes);
    if (!head) {
        return err_set(err, ERR_NOMEM, "model: no memory for a head");
    }
    for (uint64_t at = 0; at < rows; at += 2 * half) {
        uint8_t *out = data + at * row_bytes;
        memcpy(head, out, 2 * half * row_bytes);
        for (uint64_t i = 0; i < half; i++) {
            memcpy(out + 2 * i * row_bytes, head + i * row_bytes, row_bytes);
            memcpy(out + (2 * i + 1) * row_bytes, head + (i + half) * row_bytes, row_bytes);
        }
    }
    free(head);
    return 0;
}

/* Of heads that lie within a block of scales, whose rows may change places under them: the last tensor's. */
static int keep_pairs(struct gguf *g, const char *name, const struct source *s, uint64_t half,
                      struct err *err)
{
    struct gguf_fp8 fp8 = fp8_of(s);
    uint8_t *values = NULL;
    int rc = gguf_make_bytes(g, name, s->tensor->n_bytes, &values, err);
    if (!rc) {
        memcpy(values, s->tensor->data, s->tensor->n_bytes);
        rc = pair_rows(values, s->tensor->dims[0], half, s->tensor->dims[1], err);
    }
    if (!rc) {
        fp8.values = values;
        gguf_keep_fp8(g, &fp8);
    }
    return rc;
}

int convert_pairs(struct gguf *g, const char *name, const struct source *s, uint32_t heads, struct err *err)
{
    struct gguf_shape shape = shape_of(s->tensor);
    uint64_t rows = s->tensor->dims[0];
    uint64_t half = heads ? rows / heads / 2 : 0;
    size_t row_bytes = shape.dims[0] * value_bytes(s);
    uint8_t *data = NULL;
    if (s->tensor->n_dims != 2 || half == 0 || rows != 2 * half * heads) {
        return wrong(s, "does not have an even number of rows for each head", err);
    }
    int rc = gguf_make_tensor(g, name, type_of(s), &shape, &data, err);
    if (rc) {
        return rc;
    }
    if (s->scale && GGUF_FP8_BLOCK % (2 * half) == 0) {
        return keep_pairs(g, name, s, half, err);
    }
    copy(s, data);
    return pair_rows(data, rows, half, row_bytes, err);
}

int convert_norm(struct gguf *g, const char *name, const struct source *s, struct err *err)
{
    struct gguf_shape shape = shape_of(s->tensor);
    const struct quant_type *type = quant_type_find(type_of(s));
    uint8_t *data = NULL;
    if (s->scale || s->tensor->n_dims != 1) {
        return wrong(s, "is not a row of F32, F16 or BF16", err);
    }
    int rc = gguf_make_tensor(g, name, TENSOR_F32, &shape, &data, err);
    if (rc) {
        return rc;
    }
    float *values = (float *)(void *)data;
    type->dequantize(s->tensor->data, values, s->tensor->values);
    for (uint64_t i = 0; i < s->tensor->values; i++) {
        values[i] += 1.0F;
    }
    return 0;
}

/* All of them, where that is what they are. */
static bool keep_experts(struct gguf *g, const struct source *experts, uint32_t count)
{
    struct gguf_fp8 *matrices = calloc(count, sizeof *matrices);
    uint32_t found = 0;
    for (; matrices && found < count && experts[found].scale; found++) {
        matrices[found] = fp8_of(&experts[found]);
    }
    if (matrices && found == count) {
        gguf_keep_fp8(g, matrices);
    }
    free(matrices);
    return found == count;
}

int convert_experts(struct gguf *g, const char *name, const struct source *experts, uint32_t count,
                    struct err *err)
{
    const struct shard_tensor *first = experts[0].tensor;
    struct gguf_shape shape = shape_of(first);
    uint8_t *data = NULL;
    if (first->n_dims != 2) {
        return wrong(&experts[0], "is not a matrix", err);
    }
    for (uint32_t i = 1; i < count; i++) {
        const struct shard_tensor *t = experts[i].tensor;
        if (type_of(&experts[i]) != type_of(&experts[0]) || t->n_dims != 2 || t->dims[0] != first->dims[0] ||
            t->dims[1] != first->dims[1]) {
            return wrong(&experts[i], "differs in dtype or shape from that of expert 0", err);
        }
    }
    shape.n_dims = 3;
    shape.dims[2] = count;
    int rc = gguf_make_tensor(g, name, type_of(&experts[0]), &shape, &data, err);
    if (rc || keep_experts(g, experts, count)) {
        return rc;
    }
    for (uint32_t i = 0; i < count; i++) {
        copy(&experts[i], data);
        data += first->values * value_bytes(&experts[0]);
    }
    return 0;
}
