/* A model in several files, as llama.cpp splits them: NAME-00001-of-00003.gguf holds the keys, every file its own
 * tensors; split.no, split.count and split.tensors.count say what belongs together. */
#include <stdio.h>
#include <stdlib.h>

#include "inference/worker/gguf_impl.h"

enum { MAX_PARTS = 1000, PATH_ROOM = 4096, SUFFIX_N = sizeof "-00001-of-00001.gguf" - 1 };

static int read_place(const struct gguf *g, uint64_t *number, uint64_t *count, struct err *err)
{
    int rc = gguf_get_u64(g, "split.no", number, err);
    return rc ? rc : gguf_get_u64(g, "split.count", count, err);
}

/* The path of part `number`, from the first one's. */
static int part_path(const char *first, uint64_t number, uint64_t count, char out[PATH_ROOM], struct err *err)
{
    char suffix[SUFFIX_N + 1];
    size_t n = strlen(first);
    snprintf(suffix, sizeof suffix, "-00001-of-%05u.gguf", (unsigned)count);
    if (n <= SUFFIX_N || n >= PATH_ROOM || !str_ends(str_of(first, n), str_from(suffix))) {
        return err_set(err, ERR_INVALID, "GGUF: the first of %llu files, but its name does not end with %s",
                       (unsigned long long)count, suffix);
    }
    snprintf(out, PATH_ROOM, "%.*s-%05u-of-%05u.gguf", (int)(n - SUFFIX_N), first, (unsigned)(number + 1),
             (unsigned)count);
    return 0;
}

static int take_tensors(struct gguf *g, const struct gguf *part, struct err *err)
{
    if (part->tensor_count > GGUF_MAX_TENSORS - g->tensor_count) {
        return err_set(err, ERR_LIMIT, "GGUF: more than %d tensors in all files", GGUF_MAX_TENSORS);
    }
    uint64_t total = g->tensor_count + part->tensor_count;
    struct gguf_tensor *tensors = realloc(g->tensors, (total + 1) * sizeof *tensors);
    if (!tensors) {
        return err_set(err, ERR_NOMEM, "GGUF: no memory for the tensors");
    }
    g->tensors = tensors;
    memcpy(tensors + g->tensor_count, part->tensors, part->tensor_count * sizeof *tensors);
    g->tensor_count = total;
    return 0;
}

static int join_part(struct gguf *g, const char *first, uint64_t number, uint64_t count, struct err *err)
{
    char path[PATH_ROOM];
    struct gguf *part = NULL;
    uint64_t its_number;
    uint64_t its_count;
    int rc = part_path(first, number, count, path, err);
    rc = rc ? rc : gguf_open_one(path, &part, err);
    rc = rc ? rc : read_place(part, &its_number, &its_count, err);
    if (!rc && (its_number != number || its_count != count)) {
        rc = err_set(err, ERR_INVALID, "GGUF: file %llu of %llu says that it is number %llu of %llu",
                     (unsigned long long)number + 1, (unsigned long long)count,
                     (unsigned long long)its_number + 1, (unsigned long long)its_count);
    }
    rc = rc ? rc : take_tensors(g, part, err);
    if (!rc) {
        g->parts[g->part_count++] = (struct mapping){part->map, part->size};
        g->file_bytes += part->size;
        gguf_stamp_part(g, part);
        part->map = NULL; /* now ours */
    }
    gguf_close(part);
    return rc;
}

int gguf_join_parts(struct gguf *g, const char *path, struct err *err)
{
    uint64_t number = 0;
    uint64_t count = 1;
    uint64_t tensors;
    if (!gguf_has(g, "split.count")) {
        return 0;
    }
    int rc = read_place(g, &number, &count, err);
    if (rc || count == 1) {
        return rc;
    }
    if (count == 0 || count > MAX_PARTS) {
        return err_set(err, ERR_LIMIT, "GGUF: split.count is %llu, expected 1 to %d",
                       (unsigned long long)count, MAX_PARTS);
    }
    if (number != 0) {
        return err_set(err, ERR_INVALID, "GGUF: file %llu of %llu; the first one is to be opened",
                       (unsigned long long)number + 1, (unsigned long long)count);
    }
    g->parts = calloc(count, sizeof *g->parts);
    if (!g->parts) {
        return err_set(err, ERR_NOMEM, "GGUF: no memory for the files");
    }
    for (uint64_t i = 1; i < count && !rc; i++) {
        rc = join_part(g, path, i, count, err);
    }
    rc = rc ? rc : gguf_get_u64(g, "split.tensors.count", &tensors, err);
    if (!rc && tensors != g->tensor_count) {
        rc = err_set(err, ERR_INVALID, "GGUF: %llu tensors in all files, split.tensors.count says %llu",
                     (unsigned long long)g->tensor_count, (unsigned long long)tensors);
    }
    return rc ? rc : gguf_check_names(g, err);
}
