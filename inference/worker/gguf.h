/* A GGUF version 3 file, mapped and checked: its key-value pairs and its tensors.
 * Not a model: model.h gives the tensors meaning. Other files are brought into the same form (gguf_made.h).
 *
 *     "GGUF" | version | tensor count | pair count | pairs ... | tensor infos ... | pad | tensor data
 *
 * gguf_open walks the whole header once. After it every string, array and tensor lies inside the file,
 * rows are whole blocks, offsets are aligned, no two tensors overlap and no name occurs twice.
 * A model in several files (NAME-00001-of-00003.gguf) is opened by the first; the others' tensors join in.
 * Ownership: everything returned is borrowed from the mapping until gguf_close. The file must not be
 * rewritten in place while it is open (replace it by a rename).
 * Errors: ERR_IO (cannot open or map), ERR_INVALID (a broken file; the text names byte and reason),
 * ERR_LIMIT (counts past what is believable), ERR_NOT_FOUND (a key that is absent).
 * Thread rule: read-only after gguf_open. */
#ifndef TIDE_WORKER_GGUF_H
#define TIDE_WORKER_GGUF_H

#include "base/err.h"
#include "base/str.h"
#include "inference/worker/quant.h"

enum gguf_type {
    GGUF_U8 = 0,
    GGUF_I8 = 1,
    GGUF_U16 = 2,
    GGUF_I16 = 3,
    GGUF_U32 = 4,
    GGUF_I32 = 5,
    GGUF_F32 = 6,
    GGUF_BOOL = 7,
    GGUF_STRING = 8,
    GGUF_ARRAY = 9,
    GGUF_U64 = 10,
    GGUF_I64 = 11,
    GGUF_F64 = 12,
};

unsigned gguf_scalar_bytes(enum gguf_type type); /* 0: not a scalar */

enum { GGUF_STAMP_BYTES = 32 };
enum { GGUF_FP8_BLOCK = 128 }; /* rows and columns of FP8 that share a scale */
enum { GGUF_MAX_DIMS = 4, GGUF_MAX_PAIRS = 1 << 16, GGUF_MAX_TENSORS = 1 << 17, GGUF_MAX_NAME = 127 };

struct gguf_fp8 {          /* a matrix of e4m3 as its file has it, none of it aligned */
    const uint8_t *values; /* (rows, columns) */
    const uint8_t *scales; /* (rows / 128, columns / 128), both rounded up, float32 */
};

struct gguf_tensor {
    struct str name;
    const struct quant_type *type;
    uint32_t n_dims;              /* 1..4 */
    uint64_t dims[GGUF_MAX_DIMS]; /* dims[0] values in a row, unused ones are 1 */
    uint64_t rows;                /* product of dims[1..] */
    size_t row_bytes;             /* bytes of one row */
    size_t n_bytes;               /* rows * row_bytes */
    size_t offset;                /* from the start of the data section */
    const uint8_t *data;          /* in the mapping, or in memory of its own; of FP8 after gguf_fill only */
    bool is_made;                 /* its data stands in no file (gguf_make_tensor) */
    const struct gguf_fp8 *fp8; /* what its BF16 is made of, each of its dims[2] matrices; NULL: not of FP8 */
    bool *is_filled;            /* of FP8: data has that BF16; under a lock until it is true */
};

/* An array of scalars or strings. For strings, walk it with gguf_array_next. */
struct gguf_array {
    enum gguf_type type; /* of the elements */
    uint64_t count;      /* elements */
    const uint8_t *p;    /* first element */
};

struct gguf_pair {
    struct str key;
    bool is_array;
    struct gguf_array value; /* of a scalar or a string: count 1 */
};

struct gguf;

int gguf_open(const char *path, struct gguf **out, struct err *err) TIDE_CHECK;
void gguf_close(struct gguf *g);
/* Of a tensor of FP8 makes its data, the first time: whoever reads data asks before. Of others it has always been there.
 * From any thread. */
void gguf_fill(struct gguf *g, const struct gguf_tensor *t);
/* Tells the kernel that the pages of a tensor are not needed for now; they come back from the file. Those of a tensor
 * that was made would come back as zeroes: nothing happens to them. */
void gguf_release_pages(const struct gguf *g, const struct gguf_tensor *t);

/* Reads of one key: 0, ERR_NOT_FOUND, or ERR_INVALID when the type is another. *out is set on 0 only. */
int gguf_get_u64(const struct gguf *g, const char *key, uint64_t *out, struct err *err) TIDE_CHECK;
int gguf_get_f32(const struct gguf *g, const char *key, float *out, struct err *err) TIDE_CHECK;
int gguf_get_bool(const struct gguf *g, const char *key, bool *out, struct err *err) TIDE_CHECK;
int gguf_get_str(const struct gguf *g, const char *key, struct str *out, struct err *err) TIDE_CHECK;
int gguf_get_array(const struct gguf *g, const char *key, enum gguf_type element, struct gguf_array *out,
                   struct err *err) TIDE_CHECK;
bool gguf_has(const struct gguf *g, const char *key);
bool gguf_pair_at(const struct gguf *g, uint64_t index,
                  struct gguf_pair *out);                           /* by key; false: past the last */
struct str gguf_array_next(struct gguf_array *strings);             /* advances; count must be above zero */
int32_t gguf_array_i32(const struct gguf_array *a, uint64_t index); /* of GGUF_I32 */

const struct gguf_tensor *gguf_tensor_find(const struct gguf *g, const char *name); /* NULL: absent */
const struct gguf_tensor *gguf_tensors(const struct gguf *g, size_t *count);        /* file order */
size_t gguf_file_bytes(const struct gguf *g);                                       /* of all its files */
/* GGUF_STAMP_BYTES that change when a file is replaced or written to: of each file's number, size and time of writing.
 * NULL where nothing was opened as GGUF. */
const uint8_t *gguf_stamp(const struct gguf *g);

#endif
