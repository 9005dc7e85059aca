#include "inference/worker/inspect.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/json.h"
#include "inference/worker/cpu/packed_file.h"
#include "inference/worker/engine.h"
#include "inference/worker/kv_tables.h"

enum { SHOWN_TEXT = 60, SHOWN_ITEMS = 4 };

static void print_text(struct str text)
{
    struct buf line;
    struct str part = str_of(text.p, text.n < SHOWN_TEXT ? text.n : SHOWN_TEXT);
    while (part.n > 0 && !str_is_utf8(part)) {
        part.n--; /* not in the middle of a character */
    }
    buf_init(&line, 6 * SHOWN_TEXT + 1);
    json_escape(&line, part);
    printf("\"%s\"%s", line.p, part.n < text.n ? "..." : "");
    buf_clear(&line);
}

static void print_number(const struct gguf_array *a)
{
    float narrow;
    double wide;
    uint64_t bits = 0;
    switch (a->type) {
    case GGUF_F32:
        memcpy(&narrow, a->p, sizeof narrow);
        printf("%.7g", (double)narrow);
        return;
    case GGUF_F64:
        memcpy(&wide, a->p, sizeof wide);
        printf("%.16g", wide);
        return;
    case GGUF_BOOL:
        fputs(*a->p ? "true" : "false", stdout);
        return;
    default:
        break;
    }
    unsigned bytes = gguf_scalar_bytes(a->type);
    memcpy(&bits, a->p, bytes);
    bool is_signed = a->type == GGUF_I8 || a->type == GGUF_I16 || a->type == GGUF_I32 || a->type == GGUF_I64;
    if (is_signed) {
        unsigned shift = 64 - 8 * bytes;
        printf("%" PRId64, (int64_t)(bits << shift) >> shift);
    } else {
        printf("%" PRIu64, bits);
    }
}

static void print_pair(const struct gguf_pair *pair)
{
    static const char *const types[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                        "bool", "string", "array", "u64", "i64", "f64"};
    struct gguf_array a = pair->value;
    printf("  %-8s " STR_FMT " = ", pair->is_array ? "array" : types[a.type], STR_ARG(pair->key));
    if (pair->is_array) {
        printf("%" PRIu64 " x %s", a.count, types[a.type]);
        for (unsigned i = 0; a.type == GGUF_STRING && a.count > 0 && i < SHOWN_ITEMS; i++) {
            fputs(i ? ", " : ": ", stdout);
            print_text(gguf_array_next(&a));
        }
    } else if (a.type == GGUF_STRING) {
        print_text(gguf_array_next(&a));
    } else {
        print_number(&a);
    }
    putchar('\n');
}

static size_t print_tensors(const struct gguf *file)
{
    size_t count;
    size_t bytes = 0;
    const struct gguf_tensor *t = gguf_tensors(file, &count);
    printf("\n%zu tensors\n", count);
    for (size_t i = 0; i < count; i++) {
        printf("  %-6s %12zu  " STR_FMT " [", t[i].type->name, t[i].n_bytes, STR_ARG(t[i].name));
        for (uint32_t d = 0; d < t[i].n_dims; d++) {
            printf("%s%" PRIu64, d ? ", " : "", t[i].dims[d]);
        }
        puts("]");
        bytes += t[i].n_bytes;
    }
    return bytes;
}

/* What engine.c would reserve. */
static void print_cost(const struct options *o, const struct model *m, uint32_t context, size_t weights)
{
    const struct model_sizes *s = &m->sizes;
    struct kv_tables_conf kv = {.slots = o->slots, .context = context, .window = s->window};
    kv_tables_plan(&kv, o->kv_tokens, o->step_tokens > o->slots ? o->step_tokens : o->slots);
    uint64_t token = sizeof(uint16_t) * model_cached_values(s);
    uint64_t layer = token / s->layers * KV_BLOCK; /* bytes of a block */
    uint32_t windows = kv.window_blocks ? model_window_layers(m) : 0;
    uint64_t cache =
        layer * ((uint64_t)(s->layers - windows) * kv.blocks + (uint64_t)windows * kv.window_blocks);
    printf("\nweights      %8.1f MiB\n", (double)weights / (1 << 20));
    printf("KV cache     %8.1f MiB  %" PRIu64 " tokens of %" PRIu64 " bytes (--slots %u, --context %u)\n",
           (double)cache / (1 << 20), (uint64_t)kv.blocks * KV_BLOCK, token, o->slots, kv.context);
    if (windows) {
        printf("                           %u of %u layers keep %u tokens: a window\n", windows, s->layers,
               kv.window_blocks * KV_BLOCK);
    }
    printf("together     %8.1f MiB\n", (double)(weights + cache) / (1 << 20));
}

/* Whether it is good is for the worker that maps it to find out. */
static void print_packed(const struct options *o)
{
    char path[PACKED_PATH_ROOM];
    struct stat st;
    if (packed_file_path(o->model, o->packed_dir, path, NULL) == 0 && stat(path, &st) == 0) {
        printf("packed       %8.1f MiB  %s, shared by the workers of this machine\n",
               (double)st.st_size / (1 << 20), path);
    }
}

static void print_verdict(const struct options *o, size_t weights)
{
    struct model *m = NULL;
    struct tokenizer *t = NULL;
    const struct chat_template *chat = NULL;
    uint32_t context = 0;
    struct err err;
    int rc = model_open(o->model, &m, &err);
    rc = rc ? rc : engine_choose_context(m, o->context, o->kv_tokens, &context, &err);
    if (!rc) {
        print_cost(o, m, context, weights);
        print_packed(o);
        rc = engine_read_text(m, &t, &chat, &err);
    }
    if (rc) {
        printf("\nnot served: %s\n", err.msg);
    } else {
        printf("serves       %s\n", chat ? chat_template_name(chat) : "completions only: no chat template");
    }
    tokenizer_free(t);
    model_close(m);
}

int inspect_run(const struct options *o, struct err *err)
{
    struct gguf *file;
    struct gguf_pair pair;
    int rc = model_open_file(o->model, &file, err);
    if (rc) {
        return rc;
    }
    printf("%s: %zu bytes\n\n", o->model, gguf_file_bytes(file));
    for (uint64_t i = 0; gguf_pair_at(file, i, &pair); i++) {
        print_pair(&pair);
    }
    size_t weights = print_tensors(file);
    gguf_close(file);
    print_verdict(o, weights);
    return 0;
}
