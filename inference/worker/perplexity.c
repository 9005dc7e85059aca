#include "inference/worker/perplexity.h"

#include <math.h>
#include <stdlib.h>

#include "inference/worker/cpu/kernels.h"
#include "inference/worker/sampler.h"
#include "inference/worker/text_file.h"
#include "inference/worker/tokenizer.h"

enum { PART_DEFAULT = 512, TEXT_MAX = 64 << 20 };

struct run {
    struct device device;
    struct sampler *sampler;
    struct batch_token *batch;
    uint32_t *table; /* of blocks */
    uint32_t vocab;
    uint32_t part; /* tokens */
    uint32_t step_tokens;
    uint32_t counted;
    double sum; /* of negative log-probabilities */
};

static int read_tokens(const struct options *o, const struct model *m, struct token_list *out,
                       token_id *first, struct err *err)
{
    struct tokenizer *tokenizer = NULL;
    struct token_list begin = {0};
    struct buf text;
    buf_init(&text, TEXT_MAX);
    int rc = tokenizer_new(m->file, &tokenizer, err);
    if (!rc && tokenizer_size(tokenizer) != m->sizes.vocab) {
        rc = err_set(err, ERR_INVALID, "the model has %u tokens in its vocabulary, %u in the embedding",
                     tokenizer_size(tokenizer), m->sizes.vocab);
    }
    rc = rc ? rc : text_file_read(o->text, &text, err);
    if (!rc && !str_is_utf8(buf_str(&text))) {
        rc = err_set(err, ERR_INVALID, "%.100s is not UTF-8", o->text);
    }
    if (!rc) {
        tokenizer_begin(tokenizer, out);
        tokenizer_begin(tokenizer, &begin);
        *first = begin.n ? begin.p[0] : TOKEN_NONE;
        rc = tokenizer_encode(tokenizer, buf_str(&text), out, err);
    }
    token_list_clear(&begin);
    buf_clear(&text);
    tokenizer_free(tokenizer);
    return rc;
}

/* Is the token after this one of the part among those that count? */
static bool counts(const struct run *r, uint32_t position)
{
    return position >= r->part / 2 && position + 1 < r->part;
}

static void count(struct run *r, const struct batch *batch, const token_id *tokens, const float *logits)
{
    for (uint32_t i = 0; i < batch->n; i++) {
        if (batch->tokens[i].wants_logits) {
            struct token_logprob l;
            sampler_logprob(r->sampler, logits, tokens[batch->tokens[i].position + 1], 0, &l);
            r->sum -= (double)l.logprob;
            r->counted++;
            logits += r->vocab;
        }
    }
}

/* One part; `first` takes the place of its first token unless it is TOKEN_NONE. */
static int run_part(struct run *r, const token_id *tokens, token_id first, struct err *err)
{
    for (uint32_t done = 0; done < r->part;) {
        struct batch batch = {
            .tokens = r->batch, .tables = r->table, .table_width = (r->part + KV_BLOCK - 1) / KV_BLOCK};
        float *logits;
        for (; batch.n < r->step_tokens && done < r->part; done++) {
            token_id id = done == 0 && first != TOKEN_NONE ? first : tokens[done];
            r->batch[batch.n++] =
                (struct batch_token){.token = id, .position = done, .wants_logits = counts(r, done)};
        }
        int rc = device_run(&r->device, &batch, &logits, err);
        if (rc) {
            return rc;
        }
        count(r, &batch, tokens, logits);
    }
    return 0;
}

static int run_parts(struct run *r, const struct token_list *tokens, token_id first, struct err *err)
{
    if (tokens->n < r->part) {
        return err_set(err, ERR_INVALID, "--text holds %zu tokens; a part has %u (--context)", tokens->n,
                       r->part);
    }
    size_t parts = tokens->n / r->part;
    int rc = 0;
    for (size_t i = 0; i < parts && !rc; i++) {
        rc = run_part(r, tokens->p + i * r->part, first, err);
    }
    if (!rc) {
        printf("perplexity %.4f over %u tokens: the second halves of %zu parts of %u\n",
               exp(r->sum / r->counted), r->counted, parts, r->part);
    }
    return rc;
}

static int prepare(struct run *r, const struct options *o, const struct graph *g, struct err *err)
{
    uint32_t blocks = (r->part + KV_BLOCK - 1) / KV_BLOCK;
    if (r->part > g->model->sizes.context) {
        return err_set(err, ERR_INVALID,
                       "parts of %u tokens are more than the %u that the model was made for", r->part,
                       g->model->sizes.context);
    }
    struct backend_conf conf = {.kv_blocks = blocks,
                                .context = r->part,
                                .batch_tokens = r->step_tokens,
                                .batch_logits = r->step_tokens,
                                .threads = o->threads,
                                .portable = o->portable,
                                .no_amx = o->no_amx};
    r->vocab = g->model->sizes.vocab;
    r->batch = calloc(r->step_tokens, sizeof *r->batch);
    r->table = calloc(blocks, sizeof *r->table);
    r->sampler = sampler_new(r->vocab, o->portable ? &cpu_kernels_portable : cpu_kernels_best());
    if (!r->batch || !r->table || !r->sampler) {
        return err_set(err, ERR_NOMEM, "no memory for a batch");
    }
    for (uint32_t i = 0; i < blocks; i++) {
        r->table[i] = i;
    }
    return device_open(&o->device, g, &conf, &r->device, err);
}

int perplexity_run(const struct options *o, struct err *err)
{
    struct run r = {.part = o->context ? o->context : PART_DEFAULT};
    r.step_tokens = o->step_tokens < r.part ? o->step_tokens : r.part;
    struct model *m = NULL;
    struct graph *g = NULL;
    struct token_list tokens = {0};
    token_id first = TOKEN_NONE;
    int rc = model_open(o->model, &m, err);
    rc = rc ? rc : read_tokens(o, m, &tokens, &first, err);
    if (!rc) {
        g = graph_new(m);
        rc = g ? prepare(&r, o, g, err) : err_set(err, ERR_NOMEM, "no memory for the graph");
    }
    rc = rc ? rc : run_parts(&r, &tokens, first, err);
    device_close(&r.device);
    sampler_free(r.sampler);
    free(r.batch);
    free(r.table);
    token_list_clear(&tokens);
    graph_free(g);
    model_close(m);
    return rc;
}
