#include "inference/worker/gguf_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* A place in the header. Reads past the end set `failed` and give zeros, so that a run of reads is
 * checked once. */
struct cursor {
    const uint8_t *start; /* of the file */
    const uint8_t *p;
    const uint8_t *end;
    bool failed;
};

static size_t cursor_at(const struct cursor *c)
{
    return (size_t)(c->p - c->start);
}

static size_t cursor_left(const struct cursor *c)
{
    return (size_t)(c->end - c->p);
}

static const uint8_t *cursor_take(struct cursor *c, uint64_t n)
{
    if (c->failed || n > cursor_left(c)) {
        c->failed = true;
        return NULL;
    }
    const uint8_t *p = c->p;
    c->p += n;
    return p;
}

static uint32_t cursor_u32(struct cursor *c)
{
    uint32_t v = 0;
    const uint8_t *p = cursor_take(c, sizeof v);
    if (p) {
        memcpy(&v, p, sizeof v);
    }
    return v;
}

static uint64_t cursor_u64(struct cursor *c)
{
    uint64_t v = 0;
    const uint8_t *p = cursor_take(c, sizeof v);
    if (p) {
        memcpy(&v, p, sizeof v);
    }
    return v;
}

static struct str cursor_str(struct cursor *c)
{
    uint64_t n = cursor_u64(c);
    const uint8_t *p = cursor_take(c, n);
    return p ? str_of((const char *)p, n) : STR("");
}

static int broken_end(const struct cursor *c, const char *in, struct err *err)
{
    return err_set(err, ERR_INVALID, "GGUF: the file ends inside %s (at byte %zu)", in, cursor_at(c));
}

unsigned gguf_scalar_bytes(enum gguf_type type)
{
    static const uint8_t bytes[] = {
        [GGUF_U8] = 1,  [GGUF_I8] = 1,   [GGUF_U16] = 2, [GGUF_I16] = 2, [GGUF_U32] = 4, [GGUF_I32] = 4,
        [GGUF_F32] = 4, [GGUF_BOOL] = 1, [GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_F64] = 8,
    };
    return (unsigned)type < sizeof bytes ? bytes[type] : 0;
}

static int skip_elements(struct cursor *c, const struct pair *pair, struct err *err)
{
    const struct gguf_array *a = &pair->array;
    unsigned bytes = gguf_scalar_bytes(a->type);
    if (bytes) {
        if (a->count > cursor_left(c) / bytes) {
            return broken_end(c, "an array", err);
        }
        cursor_take(c, a->count * bytes);
    } else if (a->type == GGUF_STRING) {
        if (a->count > cursor_left(c) / 8) {
            return broken_end(c, "an array of strings", err);
        }
        for (uint64_t i = 0; i < a->count && !c->failed; i++) {
            cursor_str(c);
        }
    } else {
        return err_set(err, ERR_INVALID, "GGUF: key " STR_FMT " has a value of unknown type %u",
                       STR_ARG(pair->key), (unsigned)a->type);
    }
    return c->failed ? broken_end(c, "a value", err) : 0;
}

static int read_pair(struct cursor *c, struct pair *pair, struct err *err)
{
    pair->key = cursor_str(c);
    pair->type = (enum gguf_type)cursor_u32(c);
    if (c->failed) {
        return broken_end(c, "a key", err);
    }
    if (pair->key.n == 0 || pair->key.n > 65535) {
        return err_set(err, ERR_INVALID, "GGUF: a key of %zu bytes (at byte %zu)", pair->key.n, cursor_at(c));
    }
    pair->array = (struct gguf_array){.type = pair->type, .count = 1};
    if (pair->type == GGUF_ARRAY) {
        pair->array.type = (enum gguf_type)cursor_u32(c);
        pair->array.count = cursor_u64(c);
    }
    pair->array.p = c->p;
    if (c->failed) {
        return broken_end(c, "an array", err);
    }
    return skip_elements(c, pair, err);
}

static int compare_text(struct str a, struct str b)
{
    int order = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
    return order ? order : (a.n > b.n) - (a.n < b.n);
}

int gguf_compare_pairs(const void *a, const void *b)
{
    return compare_text(((const struct pair *)a)->key, ((const struct pair *)b)->key);
}

static int read_pairs(struct gguf *g, struct cursor *c, struct err *err)
{
    /* the smallest pair is a length, one letter, a type and one byte */
    if (g->pair_count > GGUF_MAX_PAIRS || g->pair_count > cursor_left(c) / 14) {
        return err_set(err, ERR_LIMIT, "GGUF: %llu key-value pairs in %zu bytes",
                       (unsigned long long)g->pair_count, g->size);
    }
    g->pairs = calloc(g->pair_count + 1, sizeof *g->pairs);
    if (!g->pairs) {
        return err_set(err, ERR_NOMEM, "GGUF: no memory for the keys");
    }
    for (uint64_t i = 0; i < g->pair_count; i++) {
        int rc = read_pair(c, &g->pairs[i], err);
        if (rc) {
            return rc;
        }
    }
    qsort(g->pairs, g->pair_count, sizeof *g->pairs, gguf_compare_pairs);
    for (uint64_t i = 1; i < g->pair_count; i++) {
        if (str_eq(g->pairs[i - 1].key, g->pairs[i].key)) {
            return err_set(err, ERR_INVALID, "GGUF: key " STR_FMT " occurs twice", STR_ARG(g->pairs[i].key));
        }
    }
    return 0;
}

int gguf_read_pairs(struct gguf *g, const uint8_t *p, size_t n, struct err *err)
{
    struct cursor c = {.start = p, .p = p, .end = p + n};
    return read_pairs(g, &c, err);
}

int gguf_check_shape(struct gguf_tensor *t, uint32_t type, struct err *err)
{
    t->type = quant_type_find(type);
    if (!t->type) {
        return err_set(err, ERR_INVALID, "GGUF: tensor " STR_FMT " has type %u (%s), which is not supported",
                       STR_ARG(t->name), type, quant_type_name(type));
    }
    t->rows = 1;
    uint64_t values = t->dims[0];
    for (uint32_t i = 0; i < GGUF_MAX_DIMS; i++) {
        if (t->dims[i] == 0 || t->dims[i] > INT64_MAX) {
            return err_set(err, ERR_INVALID, "GGUF: tensor " STR_FMT " has dimension %u of %llu",
                           STR_ARG(t->name), i, (unsigned long long)t->dims[i]);
        }
        if (i > 0 && (__builtin_mul_overflow(t->rows, t->dims[i], &t->rows) ||
                      __builtin_mul_overflow(values, t->dims[i], &values))) {
            return err_set(err, ERR_INVALID, "GGUF: tensor " STR_FMT " has too many values",
                           STR_ARG(t->name));
        }
    }
    if (t->dims[0] % t->type->block_values) {
        return err_set(err, ERR_INVALID, "GGUF: tensor " STR_FMT " has rows of %llu values, not blocks of %u",
                       STR_ARG(t->name), (unsigned long long)t->dims[0], t->type->block_values);
    }
    uint64_t row_blocks = t->dims[0] / t->type->block_values;
    if (__builtin_mul_overflow(row_blocks, t->type->block_bytes, &t->row_bytes) ||
        __builtin_mul_overflow(t->row_bytes, t->rows, &t->n_bytes)) {
        return err_set(err, ERR_INVALID, "GGUF: tensor " STR_FMT " has too many bytes", STR_ARG(t->name));
    }
    return 0;
}

static int read_tensor(struct cursor *c, struct gguf_tensor *t, uint64_t alignment, struct err *err)
{
    t->name = cursor_str(c);
    t->n_dims = cursor_u32(c);
    if (c->failed) {
        return broken_end(c, "a tensor's name", err);
    }
    if (t->name.n == 0 || t->name.n > GGUF_MAX_NAME) {
        return err_set(err, ERR_INVALID, "GGUF: a tensor name of %zu bytes (at byte %zu)", t->name.n,
                       cursor_at(c));
    }
    if (t->n_dims == 0 || t->n_dims > GGUF_MAX_DIMS) {
        return err_set(err, ERR_INVALID, "GGUF: tensor " STR_FMT " has %u dimensions", STR_ARG(t->name),
                       t->n_dims);
    }
    for (uint32_t i = 0; i < GGUF_MAX_DIMS; i++) {
        t->dims[i] = i < t->n_dims ? cursor_u64(c) : 1;
    }
    uint32_t type = cursor_u32(c);
    uint64_t offset = cursor_u64(c);
    if (c->failed) {
        return broken_end(c, "a tensor's description", err);
    }
    if (offset % alignment) {
        return err_set(err, ERR_INVALID, "GGUF: tensor " STR_FMT " starts at %llu, not a multiple of %llu",
                       STR_ARG(t->name), (unsigned long long)offset, (unsigned long long)alignment);
    }
    t->offset = offset;
    return gguf_check_shape(t, type, err);
}

static int compare_offsets(const void *a, const void *b)
{
    const struct gguf_tensor *x = *(const struct gguf_tensor *const *)a;
    const struct gguf_tensor *y = *(const struct gguf_tensor *const *)b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

static int compare_names(const void *a, const void *b)
{
    const struct gguf_tensor *x = *(const struct gguf_tensor *const *)a;
    const struct gguf_tensor *y = *(const struct gguf_tensor *const *)b;
    return compare_text(x->name, y->name);
}

static const struct gguf_tensor **list_tensors(const struct gguf *g, struct err *err)
{
    const struct gguf_tensor **order = calloc(g->tensor_count + 1, sizeof *order);
    for (uint64_t i = 0; order && i < g->tensor_count; i++) {
        order[i] = &g->tensors[i];
    }
    if (!order) {
        err_set(err, ERR_NOMEM, "GGUF: no memory for the tensors");
    }
    return order;
}

int gguf_check_names(const struct gguf *g, struct err *err)
{
    const struct gguf_tensor **order = list_tensors(g, err);
    if (!order) {
        return ERR_NOMEM;
    }
    int rc = 0;
    qsort(order, g->tensor_count, sizeof *order, compare_names);
    for (uint64_t i = 1; i < g->tensor_count && !rc; i++) {
        if (str_eq(order[i - 1]->name, order[i]->name)) {
            rc = err_set(err, ERR_INVALID, "GGUF: tensor " STR_FMT " occurs twice", STR_ARG(order[i]->name));
        }
    }
    free(order);
    return rc;
}

static int check_neighbours(const struct gguf *g, struct err *err)
{
    const struct gguf_tensor **order = list_tensors(g, err);
    if (!order) {
        return ERR_NOMEM;
    }
    int rc = 0;
    qsort(order, g->tensor_count, sizeof *order, compare_offsets);
    for (uint64_t i = 1; i < g->tensor_count && !rc; i++) {
        const struct gguf_tensor *before = order[i - 1];
        if (order[i]->offset - before->offset < before->n_bytes) {
            rc = err_set(err, ERR_INVALID, "GGUF: tensors " STR_FMT " and " STR_FMT " overlap",
                         STR_ARG(before->name), STR_ARG(order[i]->name));
        }
    }
    free(order);
    return rc;
}

static int place_tensors(struct gguf *g, const struct cursor *c, uint64_t alignment, struct err *err)
{
    uint64_t start = (cursor_at(c) + alignment - 1) / alignment * alignment;
    if (g->tensor_count == 0) {
        return 0; /* a vocabulary alone; nothing need follow the head */
    }
    if (start > g->size) {
        return err_set(err, ERR_INVALID, "GGUF: the file ends before its tensor data");
    }
    uint64_t room = g->size - start;
    for (uint64_t i = 0; i < g->tensor_count; i++) {
        struct gguf_tensor *t = &g->tensors[i];
        if (t->offset > room || t->n_bytes > room - t->offset) {
            return err_set(err, ERR_INVALID,
                           "GGUF: tensor " STR_FMT " (%zu bytes at %zu) reaches past the end of the file",
                           STR_ARG(t->name), t->n_bytes, t->offset);
        }
        t->data = g->map + start + t->offset;
    }
    int rc = check_neighbours(g, err);
    return rc ? rc : gguf_check_names(g, err);
}

static int read_tensors(struct gguf *g, struct cursor *c, struct err *err)
{
    uint64_t alignment = 32;
    int rc = gguf_get_u64(g, "general.alignment", &alignment, err);
    if (rc && rc != ERR_NOT_FOUND) {
        return rc;
    }
    if (alignment == 0 || (alignment & (alignment - 1)) || alignment > 1 << 20) {
        return err_set(err, ERR_INVALID, "GGUF: general.alignment is %llu, not a power of two up to 1 MiB",
                       (unsigned long long)alignment);
    }
    /* the smallest description is a length, one letter, one dimension, a type and an offset */
    if (g->tensor_count > GGUF_MAX_TENSORS || g->tensor_count > cursor_left(c) / 33) {
        return err_set(err, ERR_LIMIT, "GGUF: %llu tensors in %zu bytes", (unsigned long long)g->tensor_count,
                       g->size);
    }
    g->tensors = calloc(g->tensor_count + 1, sizeof *g->tensors);
    if (!g->tensors) {
        return err_set(err, ERR_NOMEM, "GGUF: no memory for the tensors");
    }
    for (uint64_t i = 0; i < g->tensor_count; i++) {
        rc = read_tensor(c, &g->tensors[i], alignment, err);
        if (rc) {
            return rc;
        }
    }
    return place_tensors(g, c, alignment, err);
}

static int read_header(struct gguf *g, struct err *err)
{
    struct cursor c = {.start = g->map, .p = g->map, .end = g->map + g->size};
    const uint8_t *magic = cursor_take(&c, 4);
    if (!magic || memcmp(magic, "GGUF", 4) != 0) {
        return err_set(err, ERR_INVALID,
                       "GGUF: the file does not start with GGUF (of a safetensors model, give the folder)");
    }
    uint32_t version = cursor_u32(&c);
    if (version == 0x03000000U) {
        return err_set(err, ERR_INVALID, "GGUF: the file is big-endian");
    }
    if (!c.failed && version != 2 && version != 3) {
        return err_set(err, ERR_INVALID, "GGUF: version %u, expected 2 or 3", version);
    }
    g->tensor_count = cursor_u64(&c);
    g->pair_count = cursor_u64(&c);
    if (c.failed) {
        return broken_end(&c, "its head", err);
    }
    int rc = read_pairs(g, &c, err);
    return rc ? rc : read_tensors(g, &c, err);
}

static int map_file(struct gguf *g, const char *path, struct err *err)
{
    int rc = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return err_set(err, ERR_IO, "cannot open %.100s: %s", path, strerror(errno));
    }
    struct stat st;
    if (fstat(fd, &st) < 0) {
        rc = err_set(err, ERR_IO, "cannot look at %.100s: %s", path, strerror(errno));
    } else if (!S_ISREG(st.st_mode)) {
        rc = err_set(err, ERR_INVALID, "%.100s is not a regular file", path);
    } else if (st.st_size < 24) {
        rc = err_set(err, ERR_INVALID, "GGUF: %.100s has %lld bytes, less than a header", path,
                     (long long)st.st_size);
    } else {
        void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (map == MAP_FAILED) {
            rc = err_set(err, ERR_IO, "cannot map %.100s: %s", path, strerror(errno));
        } else {
            g->map = map;
            g->size = (size_t)st.st_size;
            g->file_bytes = g->size;
            gguf_stamp_file(g, &st);
        }
    }
    close(fd);
    return rc;
}

int gguf_open_one(const char *path, struct gguf **out, struct err *err)
{
    struct gguf *g = calloc(1, sizeof *g);
    if (!g) {
        return err_set(err, ERR_NOMEM, "GGUF: no memory");
    }
    arena_init(&g->names);
    pthread_mutex_init(&g->filling, NULL);
    buf_init(&g->made, 0);
    int rc = map_file(g, path, err);
    if (!rc) {
        rc = read_header(g, err);
    }
    if (rc) {
        gguf_close(g);
        return rc;
    }
    *out = g;
    return 0;
}

int gguf_open(const char *path, struct gguf **out, struct err *err)
{
    struct gguf *g;
    int rc = gguf_open_one(path, &g, err);
    if (rc) {
        return rc;
    }
    rc = gguf_join_parts(g, path, err);
    if (rc) {
        gguf_close(g);
        return rc;
    }
    *out = g;
    return 0;
}

void gguf_close(struct gguf *g)
{
    if (!g) {
        return;
    }
    for (uint64_t i = 0; i < g->part_count; i++) {
        munmap((void *)(uintptr_t)g->parts[i].p, g->parts[i].size);
    }
    free(g->parts);
    if (g->map) {
        munmap((void *)(uintptr_t)g->map, g->size);
    }
    free(g->pairs);
    free(g->tensors);
    arena_clear(&g->names);
    pthread_mutex_destroy(&g->filling);
    buf_clear(&g->made);
    free(g);
}

void gguf_release_pages(const struct gguf *g, const struct gguf_tensor *t)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t from = ((uintptr_t)t->data + page - 1) & ~(page - 1);
    uintptr_t to = ((uintptr_t)t->data + t->n_bytes) & ~(page - 1);
    if (g->map && !t->is_made && to > from) {
        madvise((void *)from, to - from, MADV_DONTNEED);
    }
}

const struct gguf_tensor *gguf_tensor_find(const struct gguf *g, const char *name)
{
    struct str wanted = str_from(name);
    for (uint64_t i = 0; i < g->tensor_count; i++) {
        if (str_eq(g->tensors[i].name, wanted)) {
            return &g->tensors[i];
        }
    }
    return NULL;
}

const struct gguf_tensor *gguf_tensors(const struct gguf *g, size_t *count)
{
    *count = g->tensor_count;
    return g->tensors;
}

size_t gguf_file_bytes(const struct gguf *g)
{
    return g->file_bytes;
}
