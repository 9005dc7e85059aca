/* Keys and tensors that stand in no GGUF file: a model of another format brought into this form, and tensors that
 * loading makes of others.
 *
 * Life: write the pairs, gguf_of_pairs makes a struct gguf of them, then tensors join. Tensors may also join a file
 * that was opened. Pointers to tensors move whenever one joins or is dropped, so all of this comes before model.h
 * hands them out.
 * Ownership: the pairs' memory and adopted mappings become the file's, which frees them in gguf_close. Names are
 * copied.
 * Errors: ERR_INVALID, ERR_LIMIT as for gguf_open; ERR_NOMEM.
 * Thread rule: one thread, until the file is handed out. */
#ifndef TIDE_WORKER_GGUF_MADE_H
#define TIDE_WORKER_GGUF_MADE_H

#include "base/buf.h"
#include "inference/worker/gguf.h"

struct gguf_pairs {
    struct buf bytes; /* as in a file */
    uint64_t count;
};

void gguf_pairs_init(struct gguf_pairs *p);
void gguf_pairs_clear(struct gguf_pairs *p);
void gguf_pairs_u32(struct gguf_pairs *p, const char *key, uint32_t v);
void gguf_pairs_f32(struct gguf_pairs *p, const char *key, float v);
void gguf_pairs_bool(struct gguf_pairs *p, const char *key, bool v);
void gguf_pairs_str(struct gguf_pairs *p, const char *key, struct str v);
/* `count` items follow, each with the function of its type. */
void gguf_pairs_array(struct gguf_pairs *p, const char *key, enum gguf_type type, uint64_t count);
void gguf_pairs_item_u32(struct gguf_pairs *p, uint32_t v); /* also of GGUF_I32 */
void gguf_pairs_item_f32(struct gguf_pairs *p, float v);
void gguf_pairs_item_str(struct gguf_pairs *p, struct str v);

/* Takes the bytes of `pairs`, also when it fails. */
int gguf_of_pairs(struct gguf_pairs *pairs, struct gguf **out, struct err *err) TIDE_CHECK;

struct gguf_shape {
    uint32_t n_dims;
    uint64_t dims[GGUF_MAX_DIMS]; /* dims[0] values in a row, unused ones are 1; none is 0 */
};

/* A file whose tensors join: unmapped by gguf_close, and on failure at once. */
int gguf_adopt_file(struct gguf *g, const uint8_t *map, size_t n, struct err *err) TIDE_CHECK;
/* A tensor whose data lies in the file or in an adopted one. */
int gguf_add_tensor(struct gguf *g, const char *name, enum tensor_type type, const struct gguf_shape *shape,
                    const uint8_t *data, struct err *err) TIDE_CHECK;
/* A tensor with memory of its own, zeroed, which the caller fills: *data. */
int gguf_make_tensor(struct gguf *g, const char *name, enum tensor_type type, const struct gguf_shape *shape,
                     uint8_t **data, struct err *err) TIDE_CHECK;
/* Memory until gguf_close, zeroed; no tensor's data, but what one may be made of. */
int gguf_make_bytes(struct gguf *g, const char *name, size_t bytes, uint8_t **out,
                    struct err *err) TIDE_CHECK;
/* The tensor that joined last, of BF16, is made of these, one for each of its dims[2] matrices, in a file that is adopted or in
 * gguf_make_bytes. Its memory stays untouched until gguf_fill. */
void gguf_keep_fp8(struct gguf *g, const struct gguf_fp8 *matrices);
/* What a matrix means, value times scale, rounded. */
void gguf_fp8_to_bf16(const struct gguf_fp8 *m, uint64_t rows, uint64_t columns, uint8_t *dst);
void gguf_drop_tensor(struct gguf *g, const struct gguf_tensor *t);

#endif
