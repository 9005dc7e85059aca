#include "inference/worker/diagnose.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "base/json.h"
#include "inference/worker/device.h"
#include "inference/worker/openai_request.h"
#include "inference/worker/text_file.h"

/* --- one tensor -------------------------------------------------------------------------------------- */

static int write_rows(const struct gguf_tensor *t, struct err *err)
{
    float *row = malloc(t->dims[0] * sizeof *row);
    if (!row) {
        return err_set(err, ERR_NOMEM, "no memory for a row");
    }
    int rc = 0;
    for (uint64_t i = 0; i < t->rows && !rc; i++) {
        t->type->dequantize(t->data + i * t->row_bytes, row, t->dims[0]);
        if (fwrite(row, sizeof *row, t->dims[0], stdout) != t->dims[0]) {
            rc = err_set(err, ERR_IO, "cannot write: %s", strerror(errno));
        }
    }
    free(row);
    return rc;
}

int diagnose_tensor(const struct options *o, struct err *err)
{
    struct gguf *file;
    int rc = model_open_file(o->model, &file, err);
    if (rc) {
        return rc;
    }
    const struct gguf_tensor *t = gguf_tensor_find(file, o->tensor);
    if (t) {
        gguf_fill(file, t);
    }
    rc = t ? write_rows(t, err) : err_set(err, ERR_NOT_FOUND, "the file has no tensor %.80s", o->tensor);
    gguf_close(file);
    return rc;
}

/* --- logits ------------------------------------------------------------------------------------------ */

struct id_list {
    int32_t *p;
    uint32_t n;
};

static int read_ids(struct arena *a, struct str text, uint32_t vocab, struct id_list *out, struct err *err)
{
    struct json_limits limits = json_limits_default;
    struct json_doc doc;
    limits.max_items = 1 << 24;
    int rc = json_scan(a, text, &limits, &doc, err);
    if (rc) {
        return rc;
    }
    if (doc.type != JSON_ARRAY) {
        return err_set(err, ERR_INVALID, "--tokens: the file is not a JSON array");
    }
    out->p = arena_alloc(a, (doc.raw.n / 2 + 1) * sizeof *out->p);
    struct json_slice item;
    for (struct str in = doc.raw; json_next(&in, &item);) {
        int64_t id;
        if (!json_get_i64(&item, &id) || id < 0 || id >= vocab) {
            return err_set(err, ERR_INVALID, "--tokens: item %u is not a token id below %u", out->n, vocab);
        }
        out->p[out->n++] = (int32_t)id;
    }
    return out->n ? 0 : err_set(err, ERR_INVALID, "--tokens: the array is empty");
}

static void print_top(const float *logits, uint32_t vocab, uint32_t top, bool *taken)
{
    for (uint32_t k = 0; k < top && k < vocab; k++) {
        uint32_t best = vocab;
        for (uint32_t i = 0; i < vocab; i++) {
            if (!taken[i] && (best == vocab || logits[i] > logits[best])) {
                best = i;
            }
        }
        taken[best] = true;
        printf("%s[%u,%.9g]", k ? "," : "", best, (double)logits[best]);
    }
    memset(taken, 0, vocab * sizeof *taken);
}

static void print_position(const float *logits, uint32_t vocab, uint32_t position, uint32_t top, bool *taken)
{
    float largest = logits[0];
    double sum = 0;
    for (uint32_t i = 1; i < vocab; i++) {
        largest = fmaxf(largest, logits[i]);
    }
    for (uint32_t i = 0; i < vocab; i++) {
        sum += exp((double)logits[i] - (double)largest);
    }
    printf("{\"position\":%u,\"log_sum\":%.9g,\"top\":[", position, (double)largest + log(sum));
    print_top(logits, vocab, top, taken);
    puts("]}");
}

static int run_ids(const struct options *o, struct device *d, const struct id_list *ids, uint32_t vocab,
                   struct err *err)
{
    struct batch_token *tokens = calloc(o->step_tokens, sizeof *tokens);
    bool *taken = calloc(vocab, sizeof *taken);
    uint32_t width = (ids->n + KV_BLOCK - 1) / KV_BLOCK;
    uint32_t *table = calloc(width, sizeof *table);
    int rc = tokens && taken && table ? 0 : err_set(err, ERR_NOMEM, "no memory for a batch");
    for (uint32_t i = 0; !rc && i < width; i++) {
        table[i] = i;
    }
    for (uint32_t done = 0; !rc && done < ids->n;) {
        struct batch batch = {.tokens = tokens, .tables = table, .table_width = width};
        float *logits;
        while (batch.n < o->step_tokens && done + batch.n < ids->n) {
            tokens[batch.n] = (struct batch_token){
                .token = ids->p[done + batch.n], .position = done + batch.n, .wants_logits = true};
            batch.n++;
        }
        rc = device_run(d, &batch, &logits, err);
        for (uint32_t i = 0; i < batch.n && !rc; i++) {
            print_position(logits + (size_t)i * vocab, vocab, done + i, o->top, taken);
        }
        done += batch.n;
    }
    free(tokens);
    free(taken);
    free(table);
    return rc;
}

static int run_model(const struct options *o, struct model *m, const struct id_list *ids, struct err *err)
{
    struct backend_conf conf = {.kv_blocks = (ids->n + KV_BLOCK - 1) / KV_BLOCK,
                                .context = ids->n,
                                .batch_tokens = o->step_tokens,
                                .batch_logits = o->step_tokens,
                                .threads = o->threads,
                                .portable = o->portable,
                                .no_amx = o->no_amx};
    struct device device = {0};
    struct graph *g = graph_new(m);
    int rc = g ? device_open(&o->device, g, &conf, &device, err)
               : err_set(err, ERR_NOMEM, "no memory for the graph");
    if (!rc) {
        rc = run_ids(o, &device, ids, m->sizes.vocab, err);
    }
    device_close(&device);
    graph_free(g);
    return rc;
}

int diagnose_logits(const struct options *o, struct err *err)
{
    struct model *m = NULL;
    struct arena arena;
    struct buf text;
    struct id_list ids = {0};
    arena_init(&arena);
    buf_init(&text, 64 << 20);
    int rc = model_open(o->model, &m, err);
    if (!rc) {
        rc = text_file_read(o->tokens, &text, err);
    }
    if (!rc) {
        rc = read_ids(&arena, buf_str(&text), m->sizes.vocab, &ids, err);
    }
    if (!rc) {
        rc = run_model(o, m, &ids, err);
    }
    model_close(m);
    buf_clear(&text);
    arena_clear(&arena);
    return rc;
}

/* --- tokens ------------------------------------------------------------------------------------------ */

static int print_tokens(struct str line, const struct openai_context *context, struct err *err)
{
    struct arena arena;
    struct token_list tokens = {0};
    struct openai_fault fault = {0};
    arena_init(&arena);
    int rc = openai_parse_tokenize(&arena, line, context, &tokens, &fault);
    if (rc) {
        *err = fault.err;
    } else {
        putchar('[');
        for (size_t i = 0; i < tokens.n; i++) {
            printf("%s%d", i ? "," : "", tokens.p[i]);
        }
        puts("]");
    }
    token_list_clear(&tokens);
    arena_clear(&arena);
    return rc;
}

int diagnose_tokens(const struct options *o, struct err *err)
{
    struct gguf *file = NULL;
    struct tokenizer *tokenizer = NULL;
    struct openai_context context = {0};
    struct str template_text;
    char *line = NULL;
    size_t room = 0;
    int rc = model_open_file(o->model, &file, err);
    rc = rc ? rc : tokenizer_new(file, &tokenizer, err);
    if (!rc && chat_template_find(file, &context.chat, &template_text, NULL)) {
        context.chat = NULL; /* none, or an unknown one: prompts can be tokenized all the same */
    }
    context.tokenizer = tokenizer;
    while (!rc) {
        ssize_t n = getline(&line, &room, stdin);
        if (n < 0) {
            break;
        }
        rc = print_tokens(str_of(line, strcspn(line, "\n")), &context, err);
    }
    free(line);
    tokenizer_free(tokenizer);
    gguf_close(file);
    return rc;
}
