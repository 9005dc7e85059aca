#include "inference/worker/model.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "inference/worker/model_parts.h"
#include "inference/worker/safetensors/folder.h"

int model_open_file(const char *path, struct gguf **out, struct err *err)
{
    struct stat st;
    bool is_folder = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
    return is_folder ? folder_open(path, out, err) : gguf_open(path, out, err);
}

int model_open(const char *path, struct model **out, struct err *err)
{
    struct model *m = calloc(1, sizeof *m);
    if (!m) {
        return err_set(err, ERR_NOMEM, "model: no memory");
    }
    int rc = model_open_file(path, &m->file, err);
    if (!rc) {
        rc = model_read_sizes(m, err);
    }
    if (!rc) {
        rc = model_settle_forms(m, err);
    }
    if (!rc) {
        rc = model_find_tensors(m, err);
    }
    if (rc) {
        model_close(m);
        return rc;
    }
    m->name = STR("");
    if (gguf_get_str(m->file, "general.name", &m->name, NULL) || !str_is_utf8(m->name)) {
        m->name = STR("");
    }
    *out = m;
    return 0;
}

void model_close(struct model *m)
{
    if (!m) {
        return;
    }
    for (unsigned i = 0; i < MODEL_ROPES; i++) {
        rope_clear(&m->rope[i]);
    }
    gguf_close(m->file);
    free(m->layer);
    free(m);
}

size_t model_cached_values(const struct model_sizes *s)
{
    return (size_t)s->layers * s->kv_heads * (s->key_dim + s->value_dim);
}

uint32_t model_window_layers(const struct model *m)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < m->sizes.layers; i++) {
        n += m->layer[i].window > 0;
    }
    return n;
}
