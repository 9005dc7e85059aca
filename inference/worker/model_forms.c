/* Files that hold a model in another form: tensors that stand together are split, and layers that predict further
 * tokens are left out. Before the tensors are found, for their list changes here. */
#include <stdio.h>
#include <stdlib.h>

#include "inference/worker/gguf_made.h"
#include "inference/worker/model_parts.h"

enum { NAME_ROOM = 64 };

/* --- keys and values of heads ------------------------------------------------------------------------- */

/* attn_kv_b has for each head its rows of keys, then its rows of values; a row is as wide as the latent. */
struct joined {
    const struct gguf_tensor *tensor;
    uint64_t heads;
    uint64_t rank;
    uint64_t key_rows; /* of a head */
    uint64_t value_rows;
};

static int check_joined(const struct joined *j, struct err *err)
{
    const struct gguf_tensor *t = j->tensor;
    uint64_t rows = j->heads * (j->key_rows + j->value_rows);
    if (t->dims[0] == j->rank && t->dims[1] == rows && t->dims[2] == 1 && t->dims[3] == 1) {
        return 0;
    }
    return err_set(err, ERR_INVALID, "model: tensor " STR_FMT " is %llu x %llu, expected %llu x %llu",
                   STR_ARG(t->name), (unsigned long long)t->dims[0], (unsigned long long)t->rows,
                   (unsigned long long)j->rank, (unsigned long long)rows);
}

/* Rows stay as they are, in any type. */
static int split_values(struct model *m, const struct joined *j, const char *name, struct err *err)
{
    const struct gguf_tensor from = *j->tensor; /* the list moves */
    struct gguf_shape shape = {3, {j->rank, j->value_rows, j->heads, 1}};
    uint8_t *data = NULL;
    int rc = gguf_make_tensor(m->file, name, from.type->type, &shape, &data, err);
    for (uint64_t head = 0; head < j->heads && !rc; head++) {
        uint64_t first = head * (j->key_rows + j->value_rows) + j->key_rows;
        memcpy(data, from.data + first * from.row_bytes, j->value_rows * from.row_bytes);
        data += j->value_rows * from.row_bytes;
    }
    return rc;
}

static void put_value(uint8_t *dst, enum tensor_type type, float value)
{
    uint16_t narrow = type == TENSOR_BF16 ? float_to_bfloat(value) : float_to_half(value);
    if (type == TENSOR_F32) {
        memcpy(dst, &value, sizeof value);
    } else {
        memcpy(dst, &narrow, sizeof narrow);
    }
}

/* The query is multiplied by them the other way round: rows become columns, which blocks of values cannot. They
 * become F16, and F32 and BF16 stay. */
static int split_keys(struct model *m, const struct joined *j, const char *name, struct err *err)
{
    const struct gguf_tensor from = *j->tensor;
    enum tensor_type type = from.type->block_values > 1 ? TENSOR_F16 : from.type->type;
    size_t bytes = type == TENSOR_F32 ? sizeof(float) : sizeof(uint16_t);
    struct gguf_shape shape = {3, {j->key_rows, j->rank, j->heads, 1}};
    uint8_t *data = NULL;
    float *row = malloc(j->rank * sizeof *row);
    int rc = row ? gguf_make_tensor(m->file, name, type, &shape, &data, err)
                 : err_set(err, ERR_NOMEM, "model: no memory for a row");
    for (uint64_t head = 0; head < j->heads && !rc; head++) {
        uint64_t first = head * (j->key_rows + j->value_rows);
        for (uint64_t i = 0; i < j->key_rows; i++) {
            from.type->dequantize(from.data + (first + i) * from.row_bytes, row, j->rank);
            for (uint64_t k = 0; k < j->rank; k++) {
                put_value(data + (k * j->key_rows + i) * bytes, type, row[k]);
            }
        }
        data += j->key_rows * j->rank * bytes;
    }
    free(row);
    return rc;
}

static int split_layer(struct model *m, uint32_t layer, struct err *err)
{
    const struct model_sizes *s = &m->sizes;
    char joined[NAME_ROOM];
    char keys[NAME_ROOM];
    char values[NAME_ROOM];
    snprintf(joined, sizeof joined, "blk.%u.attn_kv_b.weight", layer);
    snprintf(keys, sizeof keys, "blk.%u.attn_k_b.weight", layer);
    snprintf(values, sizeof values, "blk.%u.attn_v_b.weight", layer);
    struct joined j = {.tensor = gguf_tensor_find(m->file, joined),
                       .heads = s->heads,
                       .rank = s->latent.rank,
                       .key_rows = s->latent.plain_dim,
                       .value_rows = s->latent.value_dim};
    if (!j.tensor || gguf_tensor_find(m->file, keys) || gguf_tensor_find(m->file, values)) {
        return 0;
    }
    gguf_fill(m->file, j.tensor);
    int rc = check_joined(&j, err);
    rc = rc ? rc : split_keys(m, &j, keys, err);
    j.tensor = gguf_tensor_find(m->file, joined);
    rc = rc ? rc : split_values(m, &j, values, err);
    if (!rc) {
        gguf_drop_tensor(m->file, gguf_tensor_find(m->file, joined));
    }
    return rc;
}

/* --- layers that predict further tokens ---------------------------------------------------------------- */

static bool predicts_further(const struct gguf *file, uint32_t layer)
{
    char name[NAME_ROOM];
    snprintf(name, sizeof name, "blk.%u.nextn.eh_proj.weight", layer);
    return gguf_tensor_find(file, name) != NULL;
}

uint32_t model_own_layers(const struct gguf *file, uint32_t layers)
{
    while (layers > 1 && predicts_further(file, layers - 1)) {
        layers--;
    }
    return layers;
}

static void drop_layer(struct gguf *file, uint32_t layer)
{
    char prefix[NAME_ROOM];
    size_t count;
    const struct gguf_tensor *t = gguf_tensors(file, &count);
    snprintf(prefix, sizeof prefix, "blk.%u.", layer);
    for (size_t i = count; i-- > 0;) {
        if (str_starts(t[i].name, str_from(prefix))) {
            gguf_drop_tensor(file, &t[i]);
        }
    }
}

int model_settle_forms(struct model *m, struct err *err)
{
    int rc = 0;
    if (!m->family->has_latent) {
        return 0;
    }
    for (uint32_t layer = m->sizes.layers; predicts_further(m->file, layer); layer++) {
        drop_layer(m->file, layer);
    }
    for (uint32_t layer = 0; layer < m->sizes.layers && !rc; layer++) {
        rc = split_layer(m, layer, err);
    }
    return rc;
}
