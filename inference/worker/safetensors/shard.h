/* One .safetensors file, mapped and checked: names, types, shapes, and where the values lie.
 * Not a model, which may have many of them: folder.h.
 *
 *     length of the head, 8 bytes | head, JSON | values ...
 *     {"__metadata__": {...}, "model.norm.weight": {"dtype": "BF16", "shape": [576], "data_offsets": [0, 1152]}, ...}
 *
 * After shard_open the values of every tensor lie inside the file and have the bytes that type and shape ask for; no
 * two overlap, and no byte belongs to none.
 * Ownership: everything is borrowed from the shard until shard_close. The file must not be rewritten in place.
 * Errors: ERR_IO (cannot open or map), ERR_INVALID, ERR_LIMIT; the text names the file, and the tensor.
 * Thread rule: read-only after shard_open. */
#ifndef TIDE_WORKER_SAFETENSORS_SHARD_H
#define TIDE_WORKER_SAFETENSORS_SHARD_H

#include "base/err.h"
#include "base/str.h"

enum {
    SHARD_MAX_HEAD = 100000000, /* bytes, as the format has it */
    SHARD_MAX_TENSORS = 1 << 17,
    SHARD_MAX_DIMS = 4,
};

enum shard_type { /* those that weights come in; others are told apart by their bytes only */
                  SHARD_OTHER = 0,
                  SHARD_F32 = 1,
                  SHARD_F16 = 2,
                  SHARD_BF16 = 3,
                  SHARD_F8_E4M3 = 4,
};

struct shard_tensor {
    struct str name;
    struct str dtype; /* as written: "BF16" */
    enum shard_type type;
    uint32_t n_dims; /* 0..4 */
    uint64_t
        dims[SHARD_MAX_DIMS]; /* as written: the last one is a row's length; unused ones are 1; none is 0 */
    uint64_t values;          /* product of dims */
    size_t offset;            /* of the values in the file's part of values */
    size_t n_bytes;
    const uint8_t *data;
};

struct shard;

int shard_open(const char *path, struct shard **out, struct err *err) TIDE_CHECK;
void shard_close(struct shard *s);

const char *shard_name(const struct shard *s);                                  /* the path's last part */
const struct shard_tensor *shard_tensors(const struct shard *s, size_t *count); /* by offset */
/* The mapping of the whole file, from now on the caller's; shard_close no longer unmaps it. */
const uint8_t *shard_take_map(struct shard *s, size_t *n);

#endif
