#include "inference/worker/gguf_made.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "inference/worker/gguf_impl.h"

#define PAIRS_MAX_BYTES (1UL << 30)

/* --- keys -------------------------------------------------------------------------------------------- */

void gguf_pairs_init(struct gguf_pairs *p)
{
    *p = (struct gguf_pairs){0};
    buf_init(&p->bytes, PAIRS_MAX_BYTES);
}

void gguf_pairs_clear(struct gguf_pairs *p)
{
    buf_clear(&p->bytes);
    p->count = 0;
}

static void begin_pair(struct gguf_pairs *p, const char *key, enum gguf_type type)
{
    uint32_t number = type;
    gguf_pairs_item_str(p, str_from(key));
    buf_add(&p->bytes, &number, sizeof number);
    p->count++;
}

void gguf_pairs_u32(struct gguf_pairs *p, const char *key, uint32_t v)
{
    begin_pair(p, key, GGUF_U32);
    gguf_pairs_item_u32(p, v);
}

void gguf_pairs_f32(struct gguf_pairs *p, const char *key, float v)
{
    begin_pair(p, key, GGUF_F32);
    gguf_pairs_item_f32(p, v);
}

void gguf_pairs_bool(struct gguf_pairs *p, const char *key, bool v)
{
    begin_pair(p, key, GGUF_BOOL);
    buf_add_char(&p->bytes, (char)v);
}

void gguf_pairs_str(struct gguf_pairs *p, const char *key, struct str v)
{
    begin_pair(p, key, GGUF_STRING);
    gguf_pairs_item_str(p, v);
}

void gguf_pairs_array(struct gguf_pairs *p, const char *key, enum gguf_type type, uint64_t count)
{
    begin_pair(p, key, GGUF_ARRAY);
    gguf_pairs_item_u32(p, type);
    buf_add(&p->bytes, &count, sizeof count);
}

void gguf_pairs_item_u32(struct gguf_pairs *p, uint32_t v)
{
    buf_add(&p->bytes, &v, sizeof v);
}

void gguf_pairs_item_f32(struct gguf_pairs *p, float v)
{
    buf_add(&p->bytes, &v, sizeof v);
}

void gguf_pairs_item_str(struct gguf_pairs *p, struct str v)
{
    uint64_t n = v.n;
    buf_add(&p->bytes, &n, sizeof n);
    buf_add_str(&p->bytes, v);
}

int gguf_of_pairs(struct gguf_pairs *pairs, struct gguf **out, struct err *err)
{
    struct gguf *g = calloc(1, sizeof *g);
    if (!g || pairs->bytes.overflowed) {
        free(g);
        gguf_pairs_clear(pairs);
        return err_set(err, ERR_NOMEM, "model: no memory for the keys");
    }
    arena_init(&g->names);
    pthread_mutex_init(&g->filling, NULL);
    g->made = pairs->bytes;
    g->size = pairs->bytes.n;
    g->pair_count = pairs->count;
    gguf_pairs_init(pairs);
    int rc = gguf_read_pairs(g, (const uint8_t *)g->made.p, g->made.n, err);
    if (rc) {
        gguf_close(g);
        return rc;
    }
    *out = g;
    return 0;
}

/* --- tensors ----------------------------------------------------------------------------------------- */

static int adopt(struct gguf *g, const uint8_t *map, size_t n, struct err *err)
{
    struct mapping *parts = realloc(g->parts, (g->part_count + 1) * sizeof *parts);
    if (!parts) {
        munmap((void *)(uintptr_t)map, n);
        return err_set(err, ERR_NOMEM, "model: no memory for the files");
    }
    g->parts = parts;
    parts[g->part_count++] = (struct mapping){map, n};
    return 0;
}

int gguf_adopt_file(struct gguf *g, const uint8_t *map, size_t n, struct err *err)
{
    int rc = adopt(g, map, n, err);
    g->file_bytes += rc ? 0 : n;
    return rc;
}

int gguf_add_tensor(struct gguf *g, const char *name, enum tensor_type type, const struct gguf_shape *shape,
                    const uint8_t *data, struct err *err)
{
    if (g->tensor_count >= GGUF_MAX_TENSORS) {
        return err_set(err, ERR_LIMIT, "model: more than %d tensors", GGUF_MAX_TENSORS);
    }
    struct gguf_tensor *tensors = realloc(g->tensors, (g->tensor_count + 2) * sizeof *tensors);
    if (!tensors) {
        return err_set(err, ERR_NOMEM, "model: no memory for the tensors");
    }
    g->tensors = tensors;
    struct gguf_tensor *t = &tensors[g->tensor_count];
    *t = (struct gguf_tensor){
        .name = arena_dup(&g->names, str_from(name)), .n_dims = shape->n_dims, .data = data};
    memcpy(t->dims, shape->dims, sizeof t->dims);
    int rc = gguf_check_shape(t, type, err);
    g->tensor_count += rc ? 0 : 1;
    return rc;
}

int gguf_make_bytes(struct gguf *g, const char *name, size_t bytes, uint8_t **out, struct err *err)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return err_set(err, ERR_NOMEM, "model: no memory for tensor %s (%zu bytes)", name, bytes);
    }
    int rc = adopt(g, memory, bytes, err);
    *out = rc ? NULL : memory;
    return rc;
}

int gguf_make_tensor(struct gguf *g, const char *name, enum tensor_type type, const struct gguf_shape *shape,
                     uint8_t **data, struct err *err)
{
    int rc = gguf_add_tensor(g, name, type, shape, NULL, err);
    if (rc) {
        return rc;
    }
    struct gguf_tensor *t = &g->tensors[g->tensor_count - 1];
    rc = gguf_make_bytes(g, name, t->n_bytes, data, err);
    if (rc) {
        g->tensor_count--;
        return rc;
    }
    t->data = *data;
    t->is_made = true;
    return 0;
}

void gguf_drop_tensor(struct gguf *g, const struct gguf_tensor *t)
{
    size_t at = (size_t)(t - g->tensors);
    if (t->is_made) { /* its pages would stay until the file is closed */
        madvise((void *)(uintptr_t)t->data, t->n_bytes, MADV_DONTNEED);
    }
    memmove(&g->tensors[at], &g->tensors[at + 1], (g->tensor_count - at - 1) * sizeof *t);
    g->tensor_count--;
}
