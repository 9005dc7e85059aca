#include "inference/worker/safetensors/folder.h"

#include "inference/worker/safetensors/folder_parts.h"

static int put_together(struct folder *f, struct gguf **out, struct err *err)
{
    struct gguf *g = NULL;
    int rc = folder_read_config(f, err);
    rc = rc ? rc : folder_read_vocabulary(f, err);
    rc = rc ? rc : gguf_of_pairs(&f->pairs, &g, err);
    rc = rc ? rc : folder_read_weights(f, g, err);
    if (rc) {
        gguf_close(g);
        return rc;
    }
    *out = g;
    return 0;
}

int folder_open(const char *path, struct gguf **out, struct err *err)
{
    struct folder f = {.path = path};
    arena_init(&f.arena);
    gguf_pairs_init(&f.pairs);
    int rc = put_together(&f, out, err);
    gguf_pairs_clear(&f.pairs);
    arena_clear(&f.arena);
    return rc;
}
