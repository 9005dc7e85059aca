#include "inference/worker/safetensors/shard.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"

enum { LENGTH_BYTES = 8, LONGEST_NAME = 255 };

struct shard {
    struct arena arena; /* the names */
    const char *name;   /* of the file */
    uint8_t *map;       /* the whole file */
    size_t size;        /* its bytes */
    bool is_taken;      /* the mapping is another's */
    struct shard_tensor *tensors;
    size_t count;
};

static const struct dtype {
    const char *name;
    enum shard_type type;
    unsigned bytes; /* of a value */
} dtypes[] = {
    {"F32", SHARD_F32, 4},         {"F16", SHARD_F16, 2},       {"BF16", SHARD_BF16, 2},
    {"F8_E4M3", SHARD_F8_E4M3, 1}, {"F8_E5M2", SHARD_OTHER, 1}, {"F8_E8M0", SHARD_OTHER, 1},
    {"F64", SHARD_OTHER, 8},       {"I64", SHARD_OTHER, 8},     {"U64", SHARD_OTHER, 8},
    {"I32", SHARD_OTHER, 4},       {"U32", SHARD_OTHER, 4},     {"I16", SHARD_OTHER, 2},
    {"U16", SHARD_OTHER, 2},       {"I8", SHARD_OTHER, 1},      {"U8", SHARD_OTHER, 1},
    {"BOOL", SHARD_OTHER, 1},
};

static int wrong(const struct shard *s, const struct shard_tensor *t, const char *what, struct err *err)
{
    return err_set(err, ERR_INVALID, "%.60s: tensor " STR_FMT " %s", s->name, STR_ARG(t->name), what);
}

/* --- one tensor -------------------------------------------------------------------------------------- */

static int read_dtype(const struct shard *s, struct shard_tensor *t, unsigned *bytes, struct err *err)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
        if (str_is(t->dtype, dtypes[i].name)) {
            t->type = dtypes[i].type;
            *bytes = dtypes[i].bytes;
            return 0;
        }
    }
    return wrong(s, t, "has an unknown dtype", err);
}

static int read_shape(const struct shard *s, struct shard_tensor *t, struct str array, struct err *err)
{
    struct json_slice item;
    t->values = 1;
    while (json_next(&array, &item)) {
        int64_t n;
        if (t->n_dims == SHARD_MAX_DIMS) {
            return wrong(s, t, "has more than 4 dimensions", err);
        }
        if (!json_get_i64(&item, &n) || n <= 0) {
            return wrong(s, t, "has a dimension that is not a whole number above 0", err);
        }
        t->dims[t->n_dims++] = (uint64_t)n;
        if (__builtin_mul_overflow(t->values, (uint64_t)n, &t->values)) {
            return wrong(s, t, "has too many values", err);
        }
    }
    for (uint32_t i = t->n_dims; i < SHARD_MAX_DIMS; i++) {
        t->dims[i] = 1;
    }
    return 0;
}

static int read_offsets(const struct shard *s, struct shard_tensor *t, struct str array, struct err *err)
{
    struct json_slice item;
    int64_t at[2] = {0, 0};
    unsigned n = 0;
    while (json_next(&array, &item)) {
        if (n == 2 || !json_get_i64(&item, &at[n]) || at[n] < 0) {
            return wrong(s, t, "has data_offsets that are not two numbers from 0 up", err);
        }
        n++;
    }
    if (n != 2 || at[1] < at[0]) {
        return wrong(s, t, "has data_offsets that are not a beginning and an end", err);
    }
    t->offset = (size_t)at[0];
    t->n_bytes = (size_t)(at[1] - at[0]);
    return 0;
}

static int read_members(struct shard *s, struct shard_tensor *t, struct str object, struct err *err)
{
    struct json_slice member;
    unsigned seen = 0;
    int rc = 0;
    while (!rc && json_next(&object, &member)) {
        if (str_is(member.key, "dtype") && json_get_str(&s->arena, &member, &t->dtype)) {
            seen |= 1;
        } else if (str_is(member.key, "shape") && member.type == JSON_ARRAY) {
            rc = read_shape(s, t, member.raw, err);
            seen |= 2;
        } else if (str_is(member.key, "data_offsets") && member.type == JSON_ARRAY) {
            rc = read_offsets(s, t, member.raw, err);
            seen |= 4;
        } else {
            rc = wrong(s, t, "has a member that is not dtype, shape or data_offsets as they should be", err);
        }
    }
    return !rc && seen != 7 ? wrong(s, t, "lacks dtype, shape or data_offsets", err) : rc;
}

static int read_tensor(struct shard *s, struct shard_tensor *t, const struct json_slice *member,
                       struct err *err)
{
    struct json_slice key = {.raw = str_of(member->key.p - 1, member->key.n + 2), .type = JSON_STRING};
    unsigned bytes = 0;
    size_t wanted;
    if (!json_get_str(&s->arena, &key, &t->name) || t->name.n == 0 || t->name.n > LONGEST_NAME) {
        return err_set(err, ERR_INVALID, "%.60s: a tensor's name has %zu bytes, expected 1 to %d", s->name,
                       member->key.n, LONGEST_NAME);
    }
    if (member->type != JSON_OBJECT) {
        return wrong(s, t, "is not described by an object", err);
    }
    int rc = read_members(s, t, member->raw, err);
    rc = rc ? rc : read_dtype(s, t, &bytes, err);
    if (!rc && (__builtin_mul_overflow(t->values, (uint64_t)bytes, &wanted) || wanted != t->n_bytes)) {
        rc = wrong(s, t, "has data_offsets that are not the bytes of its dtype and shape", err);
    }
    return rc;
}

/* --- all of them ------------------------------------------------------------------------------------- */

static int compare_offsets(const void *a, const void *b)
{
    size_t x = ((const struct shard_tensor *)a)->offset;
    size_t y = ((const struct shard_tensor *)b)->offset;
    return (x > y) - (x < y);
}

/* One behind the other from 0 to the end of the file. */
static int place_tensors(struct shard *s, const uint8_t *values, size_t room, struct err *err)
{
    size_t at = 0;
    qsort(s->tensors, s->count, sizeof *s->tensors, compare_offsets);
    for (size_t i = 0; i < s->count; i++) {
        struct shard_tensor *t = &s->tensors[i];
        if (t->offset != at) {
            return wrong(s, t, t->offset < at ? "overlaps the one before it" : "leaves a gap before it", err);
        }
        if (t->n_bytes > room - at) {
            return wrong(s, t, "reaches past the end of the file", err);
        }
        t->data = values + at;
        at += t->n_bytes;
    }
    return at == room ? 0
                      : err_set(err, ERR_INVALID, "%.60s: %zu bytes at its end belong to no tensor", s->name,
                                room - at);
}

static int read_head(struct shard *s, struct str head, struct err *err)
{
    const struct json_limits limits = {.max_depth = 4,
                                       .max_members = 5 * SHARD_MAX_TENSORS,
                                       .max_items = 8 * SHARD_MAX_TENSORS,
                                       .max_string = 1 << 16};
    struct json_doc doc;
    struct err inner = {0};
    int rc = json_scan(&s->arena, head, &limits, &doc, &inner);
    if (rc) {
        return err_set(err, rc, "%.60s: its head: %s", s->name, inner.msg);
    }
    if (doc.type != JSON_OBJECT || head.p[0] != '{') {
        return err_set(err, ERR_INVALID, "%.60s: its head is not a JSON object", s->name);
    }
    if (doc.member_count > SHARD_MAX_TENSORS) {
        return err_set(err, ERR_LIMIT, "%.60s: %u tensors, at most %d", s->name, doc.member_count,
                       SHARD_MAX_TENSORS);
    }
    s->tensors = calloc(doc.member_count + 1UL, sizeof *s->tensors);
    if (!s->tensors) {
        return err_set(err, ERR_NOMEM, "%.60s: no memory for its tensors", s->name);
    }
    for (uint32_t i = 0; i < doc.member_count && !rc; i++) {
        const struct json_slice *member = &doc.members[i];
        if (!str_is(member->key, "__metadata__")) {
            rc = read_tensor(s, &s->tensors[s->count++], member, err);
        }
    }
    return rc;
}

static int map_file(struct shard *s, const char *path, struct err *err)
{
    struct stat st;
    int rc = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return err_set(err, ERR_IO, "cannot open %.100s: %s", path, strerror(errno));
    }
    if (fstat(fd, &st) < 0) {
        rc = err_set(err, ERR_IO, "cannot look at %.100s: %s", path, strerror(errno));
    } else if (!S_ISREG(st.st_mode) || st.st_size < LENGTH_BYTES + 2) {
        rc = err_set(err, ERR_INVALID, "%.100s is not a safetensors file", path);
    } else {
        void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (map == MAP_FAILED) {
            rc = err_set(err, ERR_IO, "cannot map %.100s: %s", path, strerror(errno));
        } else {
            s->map = map;
            s->size = (size_t)st.st_size;
        }
    }
    close(fd);
    return rc;
}

static int read_file(struct shard *s, struct err *err)
{
    uint64_t n;
    memcpy(&n, s->map, sizeof n);
    if (n < 2 || n > SHARD_MAX_HEAD || n > s->size - LENGTH_BYTES) {
        return err_set(err, ERR_INVALID, "%.60s: a head of %llu bytes in a file of %zu", s->name,
                       (unsigned long long)n, s->size);
    }
    int rc = read_head(s, str_of((const char *)s->map + LENGTH_BYTES, n), err);
    return rc ? rc : place_tensors(s, s->map + LENGTH_BYTES + n, s->size - LENGTH_BYTES - n, err);
}

int shard_open(const char *path, struct shard **out, struct err *err)
{
    struct shard *s = calloc(1, sizeof *s);
    if (!s) {
        return err_set(err, ERR_NOMEM, "safetensors: no memory");
    }
    arena_init(&s->arena);
    const char *slash = strrchr(path, '/');
    s->name = arena_cstr(&s->arena, str_from(slash ? slash + 1 : path));
    int rc = map_file(s, path, err);
    rc = rc ? rc : read_file(s, err);
    if (rc) {
        shard_close(s);
        return rc;
    }
    *out = s;
    return 0;
}

void shard_close(struct shard *s)
{
    if (!s) {
        return;
    }
    if (s->map && !s->is_taken) {
        munmap(s->map, s->size);
    }
    free(s->tensors);
    arena_clear(&s->arena);
    free(s);
}

const char *shard_name(const struct shard *s)
{
    return s->name;
}

const struct shard_tensor *shard_tensors(const struct shard *s, size_t *count)
{
    *count = s->count;
    return s->tensors;
}

const uint8_t *shard_take_map(struct shard *s, size_t *n)
{
    s->is_taken = true;
    *n = s->size;
    return s->map;
}
