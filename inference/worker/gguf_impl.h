/* What the files of the GGUF reader share: gguf.c (one file), gguf_parts.c (a model in several), gguf_keys.c (reads of
 * one key), gguf_stamp.c (which file it is), gguf_made.c (keys and tensors that stand in no file). */
#ifndef TIDE_WORKER_GGUF_IMPL_H
#define TIDE_WORKER_GGUF_IMPL_H

#include <pthread.h>

#include "base/arena.h"
#include "base/buf.h"
#include "inference/worker/gguf.h"

struct pair {
    struct str key;
    enum gguf_type type;
    struct gguf_array array; /* of an array; of a scalar or string: count 1, p at the value */
};

struct mapping {
    const uint8_t *p; /* a whole file, or memory for a tensor that was made */
    size_t size;      /* its bytes */
};

struct gguf {
    const uint8_t *map; /* the whole file; NULL: there is none */
    size_t size;        /* its bytes */
    struct pair *pairs;
    uint64_t pair_count;
    struct gguf_tensor *tensors; /* of all parts */
    uint64_t tensor_count;
    struct mapping *parts; /* the second file and those after it, and what was made */
    uint64_t part_count;
    size_t file_bytes; /* of all files */
    uint8_t stamp[GGUF_STAMP_BYTES];
    struct arena names;      /* of tensors that were made */
    struct buf made;         /* the keys, where they stand in no file */
    pthread_mutex_t filling; /* gguf_fill, of any tensor */
};

int gguf_compare_pairs(const void *a, const void *b);
/* Sets type, rows and bytes from name and dims. */
int gguf_check_shape(struct gguf_tensor *t, uint32_t type, struct err *err) TIDE_CHECK;
/* The keys alone, from their bytes in a file's form. */
int gguf_read_pairs(struct gguf *g, const uint8_t *p, size_t n, struct err *err) TIDE_CHECK;

int gguf_open_one(const char *path, struct gguf **out, struct err *err) TIDE_CHECK;
struct stat;
void gguf_stamp_file(struct gguf *g, const struct stat *st);
void gguf_stamp_part(struct gguf *g, const struct gguf *part);
int gguf_check_names(const struct gguf *g, struct err *err) TIDE_CHECK; /* no tensor twice */
/* Where the file says that it is the first of several: maps the others and takes their tensors. */
int gguf_join_parts(struct gguf *g, const char *path, struct err *err) TIDE_CHECK;

#endif
