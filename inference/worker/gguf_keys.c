/* Reads of single keys of an open GGUF file. */
#include <stdlib.h>

#include "inference/worker/gguf_impl.h"

static const struct pair *find_pair(const struct gguf *g, const char *key, struct err *err)
{
    struct pair wanted = {.key = str_from(key)};
    const struct pair *found =
        bsearch(&wanted, g->pairs, g->pair_count, sizeof *g->pairs, gguf_compare_pairs);
    if (!found) {
        err_set(err, ERR_NOT_FOUND, "GGUF: the file has no key %s", key);
    }
    return found;
}

static int wrong_type(const char *key, const char *wanted, struct err *err)
{
    return err_set(err, ERR_INVALID, "GGUF: key %s is not %s", key, wanted);
}

bool gguf_has(const struct gguf *g, const char *key)
{
    return find_pair(g, key, NULL) != NULL;
}

static bool read_integer(const struct pair *pair, uint64_t *out)
{
    int64_t wide = 0;
    unsigned bytes = gguf_scalar_bytes(pair->type);
    memcpy(&wide, pair->array.p, bytes);
    switch (pair->type) {
    case GGUF_I8:
        wide = (int8_t)wide;
        break;
    case GGUF_I16:
        wide = (int16_t)wide;
        break;
    case GGUF_I32:
        wide = (int32_t)wide;
        break;
    case GGUF_U8:
    case GGUF_U16:
    case GGUF_U32:
    case GGUF_U64:
    case GGUF_I64:
        break;
    default:
        return false;
    }
    if (wide < 0 && pair->type != GGUF_U64) {
        return false;
    }
    *out = (uint64_t)wide;
    return true;
}

int gguf_get_u64(const struct gguf *g, const char *key, uint64_t *out, struct err *err)
{
    const struct pair *pair = find_pair(g, key, err);
    if (!pair) {
        return ERR_NOT_FOUND;
    }
    if (gguf_scalar_bytes(pair->type) == 0 || !read_integer(pair, out)) {
        return wrong_type(key, "a whole number of zero or more", err);
    }
    return 0;
}

int gguf_get_f32(const struct gguf *g, const char *key, float *out, struct err *err)
{
    const struct pair *pair = find_pair(g, key, err);
    if (!pair) {
        return ERR_NOT_FOUND;
    }
    if (pair->type == GGUF_F32) {
        memcpy(out, pair->array.p, sizeof *out);
        return 0;
    }
    if (pair->type == GGUF_F64) {
        double wide;
        memcpy(&wide, pair->array.p, sizeof wide);
        *out = (float)wide;
        return 0;
    }
    return wrong_type(key, "a floating-point number", err);
}

int gguf_get_bool(const struct gguf *g, const char *key, bool *out, struct err *err)
{
    const struct pair *pair = find_pair(g, key, err);
    if (!pair) {
        return ERR_NOT_FOUND;
    }
    if (pair->type != GGUF_BOOL) {
        return wrong_type(key, "a boolean", err);
    }
    *out = *pair->array.p != 0;
    return 0;
}

int gguf_get_str(const struct gguf *g, const char *key, struct str *out, struct err *err)
{
    const struct pair *pair = find_pair(g, key, err);
    if (!pair) {
        return ERR_NOT_FOUND;
    }
    if (pair->type != GGUF_STRING) {
        return wrong_type(key, "a string", err);
    }
    struct gguf_array one = pair->array;
    *out = gguf_array_next(&one);
    return 0;
}

int gguf_get_array(const struct gguf *g, const char *key, enum gguf_type element, struct gguf_array *out,
                   struct err *err)
{
    const struct pair *pair = find_pair(g, key, err);
    if (!pair) {
        return ERR_NOT_FOUND;
    }
    if (pair->type != GGUF_ARRAY || pair->array.type != element) {
        return wrong_type(key, element == GGUF_STRING ? "an array of strings" : "an array of its type", err);
    }
    *out = pair->array;
    return 0;
}

bool gguf_pair_at(const struct gguf *g, uint64_t index, struct gguf_pair *out)
{
    if (index >= g->pair_count) {
        return false;
    }
    const struct pair *p = &g->pairs[index];
    *out = (struct gguf_pair){.key = p->key, .is_array = p->type == GGUF_ARRAY, .value = p->array};
    return true;
}

struct str gguf_array_next(struct gguf_array *strings)
{
    uint64_t n;
    memcpy(&n, strings->p, sizeof n);
    struct str s = str_of((const char *)strings->p + sizeof n, n);
    strings->p += sizeof n + n;
    strings->count--;
    return s;
}

int32_t gguf_array_i32(const struct gguf_array *a, uint64_t index)
{
    int32_t v;
    memcpy(&v, a->p + index * sizeof v, sizeof v);
    return v;
}
