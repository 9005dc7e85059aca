#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "inference/worker/cuda/cuda_backend.h"
#include "kernels/activation.h"
#include "kernels/attend.h"

#ifdef TIDE_NO_FP8 /* compiled for devices before 8.9 too, whose code newer ones would run: there such kernels trap */
static const bool is_fp8_compiled = false;
#else
static const bool is_fp8_compiled = true;
#endif

/* --- memory -------------------------------------------------------------------------------------------------- */

/* Device memory until close; never NULL. */
int cuda_take(struct backend *b, size_t bytes, void **out, struct err *err)
{
    int rc = device_error(cudaMalloc(out, bytes ? bytes : 1), "memory for a step", err);
    if (!rc) {
        b->owned[b->owned_count++] = *out;
        b->buffer_bytes += bytes;
    }
    return rc;
}

static int take_values(struct backend *b, size_t rows, size_t columns, size_t value_bytes, void *out,
                       struct err *err)
{
    size_t bytes;
    if (__builtin_mul_overflow(rows, columns, &bytes) || __builtin_mul_overflow(bytes, value_bytes, &bytes) ||
        bytes > SIZE_MAX / 2) {
        return err_set(err, ERR_LIMIT, "cuda: %zu x %zu values are too many", rows, columns);
    }
    return cuda_take(b, bytes, out, err);
}

static uint32_t widest_input(const struct graph *g)
{
    uint32_t widest = 0;
    for (size_t i = 0; i < g->op_count; i++) {
        const struct graph_op *op = &g->ops[i];
        widest = cuda_is_product(op->kind) && g->widths[op->a] > widest ? g->widths[op->a] : widest;
    }
    return widest;
}

/* What rows become before a product, besides int8. */
static int take_forms(struct backend *b, size_t rows, size_t widest, struct err *err)
{
    bool has_halves = false;
    bool has_fp8 = false;
    for (size_t i = 0; i < b->graph->op_count; i++) {
        has_halves = has_halves || b->steps[i].splits;
        has_fp8 = has_fp8 || b->steps[i].rounds;
    }
    int rc = 0;
    if (has_halves) {
        rc = take_values(b, rows, widest, sizeof(uint16_t), &b->halves.high, err);
        rc = rc ? rc : take_values(b, rows, widest, sizeof(uint16_t), &b->halves.low, err);
    }
    if (!rc && has_fp8) {
        rc = take_values(b, rows, widest, 1, &b->fp8.q, err);
        /* a row may be that of several experts, each with a last group that is shorter */
        rc = rc ? rc : take_values(b, rows, widest / MATRIX_BLOCK, sizeof(float), &b->fp8.scale, err);
    }
    return rc;
}

static int take_buffers(struct backend *b, struct err *err)
{
    const struct graph *g = b->graph;
    const struct backend_conf *c = &b->conf;
    size_t rows = c->batch_tokens > c->batch_logits ? c->batch_tokens : c->batch_logits;
    size_t widest = widest_input(g);
    int rc = 0;
    for (unsigned i = 1; i < GRAPH_BUFFERS && !rc; i++) {
        bool few = i == GRAPH_LOGITS || i == GRAPH_PICKED;
        rc = take_values(b, few ? c->batch_logits : c->batch_tokens, g->widths[i], sizeof(float),
                         &b->buffers[i], err);
    }
    if (!rc && b->shard) {
        rc = take_values(b, c->batch_logits, b->shard->vocab_part, sizeof(float), &b->logits_part, err);
    }
    rc = rc ? rc : take_values(b, rows, widest, 1, &b->quantized.q, err);
    rc = rc ? rc : take_values(b, rows, widest / 32 + 1, sizeof(float), &b->quantized.scale, err);
    rc = rc ? rc : take_values(b, rows, widest / 32 + 1, sizeof(float), &b->quantized.sum, err);
    return rc ? rc : take_forms(b, rows, widest, err);
}

static int take_cache(struct backend *b, struct err *err)
{
    const struct model_sizes *s = &b->graph->model->sizes;
    size_t positions = (size_t)s->layers * (b->conf.kv_blocks + 1) * KV_BLOCK;
    size_t before = b->buffer_bytes;
    int rc = take_values(b, positions, (size_t)s->kv_heads * s->key_dim, sizeof(uint16_t), &b->keys, err);
    rc =
        rc ? rc
           : take_values(b, positions, (size_t)s->kv_heads * s->value_dim, sizeof(uint16_t), &b->values, err);
    b->kv_bytes = b->buffer_bytes - before;
    uint32_t mixed = s->latent.rank > s->head_dim ? s->latent.rank : s->head_dim;
    size_t scratch = attend_scratch_values(b->conf.batch_tokens, s->heads, mixed, b->conf.context);
    return rc ? rc : take_values(b, scratch, 1, sizeof(float), &b->scratch, err);
}

static int take_experts(struct backend *b, struct err *err)
{
    const struct model_sizes *s = &b->graph->model->sizes;
    const struct model_experts *x = &s->experts;
    struct cuda_experts *e = &b->experts;
    size_t uses = (size_t)b->conf.batch_tokens * x->used;
    if (x->count == 0) {
        return 0;
    }
    int rc = take_values(b, uses, 1, sizeof(uint32_t), &e->expert_of, err);
    rc = rc ? rc : take_values(b, uses, 1, sizeof(uint32_t), &e->uses.use, err);
    rc = rc ? rc : take_values(b, x->count + 1, 1, sizeof(uint32_t), &e->uses.active, err);
    rc = rc ? rc : take_values(b, x->count + 1, 1, sizeof(uint32_t), &e->uses.first, err);
    return rc ? rc : take_values(b, uses, s->width, sizeof(float), &e->answers, err);
}

/* Pinned on the host, and the same on the device. */
static int take_batch(struct backend *b, struct err *err)
{
    size_t n = b->conf.batch_tokens;
    size_t width = (b->conf.context + KV_BLOCK - 1) / KV_BLOCK;
    const struct {
        size_t values;
        uint32_t **host;
        uint32_t **device;
    } rows[] = {{n, &b->host.tokens, &b->device.tokens},
                {n, &b->host.positions, &b->device.positions},
                {n, &b->host.sequences, &b->device.sequences},
                {b->conf.batch_logits, &b->host.picked, &b->device.picked},
                {n * width, &b->host.tables, &b->device.tables}};
    int rc = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows && !rc; i++) {
        size_t bytes = rows[i].values * sizeof(uint32_t);
        rc = device_error(cudaMallocHost((void **)rows[i].host, bytes), "pinned memory", err);
        rc = rc ? rc : cuda_take(b, bytes, (void **)rows[i].device, err);
    }
    return rc;
}

static int make_rotation(struct backend *b, enum model_rope which, struct err *err)
{
    const struct rope *r = &b->graph->model->rope[which];
    size_t n = (size_t)b->conf.context * r->dims;
    float *host = malloc(n * sizeof *host + 1);
    if (!host) {
        return err_set(err, ERR_NOMEM, "cuda: no memory for the rotations of %u positions", b->conf.context);
    }
    for (size_t i = 0; i < n / 2; i++) {
        double angle = (double)(i / (r->dims / 2)) * r->frequency[i % (r->dims / 2)];
        host[2 * i] = (float)cos(angle) * r->magnitude;
        host[2 * i + 1] = (float)sin(angle) * r->magnitude;
    }
    int rc = cuda_take(b, n * sizeof *host, (void **)&b->rotation[which], err);
    if (!rc && n) {
        cudaError_t copied = cudaMemcpy(b->rotation[which], host, n * sizeof *host, cudaMemcpyHostToDevice);
        rc = device_error(copied, "copying rotations", err);
    }
    free(host);
    return rc;
}

/* --- steps --------------------------------------------------------------------------------------------------- */

/* What the rows of int8, of FP8 and of 16 bits hold, from step to step. */
struct prepared {
    enum graph_buffer int8;
    enum graph_buffer fp8;
    bool is_of_experts; /* fp8: made by them, which take it from more rows on than other products do */
    enum graph_buffer halves;
    enum matrix_kind kind; /* of halves */
};

static void prepare_input(struct cuda_step *step, struct prepared *has)
{
    const struct graph_op *op = step->op;
    bool is_dense = op->kind == GRAPH_MATMUL || op->kind == GRAPH_MATMUL_ADD;
    bool is_experts = op->kind == GRAPH_EXPERTS || op->kind == GRAPH_EXPERTS_ADD;
    if (cuda_is_product(op->kind) && matrix_is_quantized(step->weight->matrix.kind)) {
        step->quantizes = op->a != has->int8;
        has->int8 = op->a;
    } else if ((is_dense || is_experts) && step->weight->matrix.kind == MATRIX_E4M3) {
        step->rounds = op->a != has->fp8 || is_experts != has->is_of_experts;
        has->fp8 = op->a;
        has->is_of_experts = is_experts;
    } else if (is_dense && step->weight->matrix.kind != MATRIX_F32) {
        step->splits = op->a != has->halves || step->weight->matrix.kind != has->kind;
        has->halves = op->a;
        has->kind = step->weight->matrix.kind;
    }
    has->int8 = op->dst == has->int8 ? GRAPH_NONE : has->int8;
    has->fp8 = op->dst == has->fp8 ? GRAPH_NONE : has->fp8;
    has->halves = op->dst == has->halves ? GRAPH_NONE : has->halves;
}

static int make_steps(struct backend *b, struct err *err)
{
    const struct graph *g = b->graph;
    struct prepared has = {GRAPH_NONE, GRAPH_NONE, false, GRAPH_NONE, MATRIX_F32};
    b->steps = calloc(g->op_count, sizeof *b->steps);
    if (!b->steps) {
        return err_set(err, ERR_NOMEM, "cuda: no memory for %zu steps", g->op_count);
    }
    for (size_t i = 0; i < g->op_count; i++) {
        const struct graph_op *op = &g->ops[i];
        struct cuda_step *step = &b->steps[i];
        step->op = op;
        struct shard_part part = b->shard ? b->shard->parts[i] : (struct shard_part){0};
        step->weight = op->weight ? device_weights_find(&b->weights, op->weight, part.cut) : NULL;
        step->bias = op->bias ? device_weights_find(&b->weights, op->bias, part.cut)->vector : NULL;
        step->join = part.join;
        step->clears = part.clears;
        prepare_input(step, &has);
    }
    return 0;
}

static int check(const struct graph *g, struct err *err)
{
    const struct model_sizes *s = &g->model->sizes;
    if (s->key_dim > ATTEND_MOST_DIM) {
        return err_set(err, ERR_INVALID, "cuda: keys of %u values, at most %d", s->key_dim, ATTEND_MOST_DIM);
    }
    if (s->experts.count > ROUTE_MOST || s->experts.groups > ROUTE_MOST_GROUPS) {
        return err_set(err, ERR_INVALID, "cuda: %u experts in %u groups, at most %d in %d", s->experts.count,
                       s->experts.groups, ROUTE_MOST, ROUTE_MOST_GROUPS);
    }
    if (s->latent.rank && (s->head_dim % MATRIX_BLOCK || s->latent.rank % MATRIX_BLOCK)) {
        return err_set(err, ERR_INVALID, "cuda: heads of %u values and latents of %u, not multiples of %d",
                       s->head_dim, s->latent.rank, MATRIX_BLOCK);
    }
    return 0;
}

/* --- life ------------------------------------------------------------------------------------------------------ */

static void cuda_close(struct backend *b)
{
    if (!b) {
        return;
    }
    ranks_close(b->ranks);
    decode_graphs_clear(&b->graphs);
    device_weights_clear(&b->weights);
    for (size_t i = 0; i < b->owned_count; i++) {
        cudaFree(b->owned[i]);
    }
    cudaFreeHost(b->host.tokens);
    cudaFreeHost(b->host.positions);
    cudaFreeHost(b->host.sequences);
    cudaFreeHost(b->host.picked);
    cudaFreeHost(b->host.tables);
    results_clear(b);
    if (b->stream) {
        cudaStreamDestroy(b->stream);
    }
    free(b->owned);
    free(b->steps);
    free(b);
}

static int find_device(struct backend *b, struct err *err)
{
    struct cudaDeviceProp prop;
    int devices = 0;
    int rc = device_error(cudaGetDeviceCount(&devices), "looking for a device", err);
    int device = b->shard ? (int)b->shard->rank : 0;
    rc = rc ? rc : device_error(cudaGetDeviceProperties(&prop, device), "asking for its properties", err);
    if (!rc) {
        snprintf(b->device_name, sizeof b->device_name, "%.63s", prop.name);
        b->has_fp8 = is_fp8_compiled && (prop.major > 8 || (prop.major == 8 && prop.minor >= 9));
        rc = device_error(cudaStreamCreateWithFlags(&b->stream, cudaStreamNonBlocking), "making a stream",
                          err);
    }
    return rc;
}

/* The device may be of a kind that the kernels were not compiled for: better known now than at the first answer. And
 * what was copied has arrived, before the stream that does not wait for copies begins. */
static int try_kernel(struct backend *b, struct err *err)
{
    float *x = b->buffers[GRAPH_STREAM];
    struct activation_params p = {.kind = ACTIVATION_ADD, .a = x, .b = x, .out = x, .n = 1};
    cudaError_t rc = cudaMemsetAsync(x, 0, sizeof *x, b->stream);
    rc = rc != cudaSuccess ? rc : activation_launch(&p, b->stream);
    rc = rc != cudaSuccess ? rc : cudaDeviceSynchronize();
    return device_error(rc, "trying a kernel", err);
}

static int open_all(struct backend *b, struct err *err)
{
    enum { OTHERS = 32 };
    b->owned = calloc(GRAPH_BUFFERS + OTHERS, sizeof *b->owned);
    int rc = b->owned ? check(b->graph, err) : err_set(err, ERR_NOMEM, "cuda: no memory");
    rc = rc ? rc : find_device(b, err);
    const struct shard_part *parts = b->shard ? b->shard->parts : NULL;
    rc = rc ? rc : device_weights_init(&b->weights, b->graph, parts, b->has_fp8, err);
    rc = rc ? rc : make_steps(b, err);
    rc = rc ? rc : take_buffers(b, err);
    rc = rc ? rc : take_cache(b, err);
    rc = rc ? rc : take_experts(b, err);
    rc = rc ? rc : take_batch(b, err);
    rc = rc ? rc : results_init(b, err);
    for (unsigned i = 0; i < MODEL_ROPES && !rc; i++) {
        rc = make_rotation(b, (enum model_rope)i, err);
    }
    return rc ? rc : try_kernel(b, err);
}

static int open_backend(struct backend as, struct backend **out, struct err *err)
{
    struct backend *b = malloc(sizeof *b);
    if (!b) {
        return err_set(err, ERR_NOMEM, "cuda: no memory");
    }
    *b = as;
    decode_graphs_init(&b->graphs);
    bool is_whole = !b->shard && b->conf.ranks > 1;
    int rc = is_whole ? ranks_open(b->graph, &b->conf, &b->ranks, err) : open_all(b, err);
    if (rc) {
        cuda_close(b);
        return rc;
    }
    *out = b;
    return 0;
}

static int cuda_open(const struct graph *g, const struct backend_conf *conf, struct backend **out,
                     struct err *err)
{
    return open_backend((struct backend){.graph = g, .conf = *conf}, out, err);
}

int cuda_shard_open(const struct shard *shard, struct communicator *communicator,
                    const struct backend_conf *conf, struct backend **out, struct err *err)
{
    struct backend as = {.graph = &shard->graph, .conf = *conf, .shard = shard, .communicator = communicator};
    return open_backend(as, out, err);
}

/* --- a run -------------------------------------------------------------------------------------------------------- */

/* Neighbours of one sequence share a row of tables. */
static void take_over(struct backend *b, const struct batch *batch)
{
    b->n = batch->n;
    b->picked_count = 0;
    b->candidates.n = 0;
    b->table_rows = 0;
    b->positions = 0;
    b->table_width = (b->conf.context + KV_BLOCK - 1) / KV_BLOCK;
    uint32_t width = batch->table_width < b->table_width ? batch->table_width : b->table_width;
    for (uint32_t i = 0; i < batch->n; i++) {
        const struct batch_token *t = &batch->tokens[i];
        BUG_ON(t->position >= b->conf.context);
        BUG_ON(batch_table(batch, t->sequence)[t->position / KV_BLOCK] >= b->conf.kv_blocks);
        BUG_ON(t->token < 0 || (uint32_t)t->token >= b->graph->model->sizes.vocab);
        if (i == 0 || batch->tokens[i - 1].sequence != t->sequence) {
            memcpy(b->host.tables + (size_t)b->table_rows * b->table_width, batch_table(batch, t->sequence),
                   width * sizeof *b->host.tables);
            b->table_rows++;
        }
        b->host.tokens[i] = (uint32_t)t->token;
        b->host.positions[i] = t->position;
        b->host.sequences[i] = b->table_rows - 1;
        b->positions = t->position >= b->positions ? t->position + 1 : b->positions;
        if (t->wants_logits) {
            BUG_ON(b->picked_count == b->conf.batch_logits);
            b->candidates.wanted[b->picked_count] = t->candidates;
            b->candidates.n = t->candidates > b->candidates.n ? t->candidates : b->candidates.n;
            b->host.picked[b->picked_count++] = i;
        }
    }
}

static cudaError_t copy_batch(struct backend *b)
{
    const struct {
        uint32_t *to;
        const uint32_t *from;
        size_t values;
    } rows[] = {{b->device.tokens, b->host.tokens, b->n},
                {b->device.positions, b->host.positions, b->n},
                {b->device.sequences, b->host.sequences, b->n},
                {b->device.picked, b->host.picked, b->picked_count},
                {b->device.tables, b->host.tables, (size_t)b->table_rows * b->table_width}};
    cudaError_t rc = cudaSuccess;
    for (size_t i = 0; i < sizeof rows / sizeof *rows && rc == cudaSuccess; i++) {
        rc = cudaMemcpyAsync(rows[i].to, rows[i].from, rows[i].values * sizeof(uint32_t),
                             cudaMemcpyHostToDevice, b->stream);
    }
    return rc;
}

/* After an operation of which each rank has a part. */
static int join_ranks(struct backend *b, const struct cuda_step *step, struct err *err)
{
    const struct graph_op *op = step->op;
    size_t rows = op->picked ? b->picked_count : b->n;
    if (step->join == SHARD_SUM) {
        return communicator_sum(b->communicator, b->buffers[op->dst], rows * b->graph->widths[op->dst],
                                b->stream, err);
    }
    if (step->join == SHARD_GATHER && rows) {
        return communicator_gather(b->communicator, b->logits_part, step->weight->matrix.rows,
                                   b->buffers[op->dst], rows, b->shard->vocab_part, b->shard->ranks,
                                   b->stream, err);
    }
    return 0;
}

int cuda_launch_steps(struct backend *b, struct err *err)
{
    int rc = 0;
    for (size_t i = 0; i < b->graph->op_count && !rc; i++) {
        rc = device_error(cuda_step_launch(b, &b->steps[i]), cuda_op_name(b->steps[i].op->kind), err);
        rc = rc ? rc : join_ranks(b, &b->steps[i], err);
    }
    return rc;
}

/* Rows that were filled up to a multiple of the ranks move together. */
static void close_up(float *logits, size_t rows, size_t width, size_t vocab)
{
    for (size_t i = 1; i < rows && width != vocab; i++) {
        memmove(logits + i * vocab, logits + i * width, vocab * sizeof *logits);
    }
}

void cuda_shard_abort(struct backend *b, struct communicator *communicator)
{
    communicator_stop(communicator);
    if (b) {
        decode_graphs_end(&b->graphs);
    }
    communicator_abort(communicator);
}

int cuda_shard_run(struct backend *b, const struct batch *batch, float **logits, struct err *err)
{
    BUG_ON(batch->n == 0 || batch->n > b->conf.batch_tokens);
    take_over(b, batch);
    uint32_t wanted = b->picked_count;
    struct decode_graph *graph = decode_graphs_pad(b);
    int rc = device_error(copy_batch(b), "copying the batch", err);
    if (!rc) {
        rc = graph ? decode_graphs_launch(b, graph, err) : cuda_launch_steps(b, err);
    }
    if (!rc && wanted && (!b->shard || b->shard->rank == 0)) {
        rc = device_error(results_copy(b, wanted), "copying the logits", err);
    }
    if (rc && b->communicator) {
        cuda_shard_abort(b,
                         b->communicator); /* what was queued would wait for ranks that wait for this one */
    }
    cudaError_t waited =
        cudaStreamSynchronize(b->stream); /* always: the next run writes what this one reads */
    rc = rc ? rc : device_error(waited, "a step", err);
    *logits = b->logits;
    if (!rc) {
        close_up(b->logits, wanted, b->graph->widths[GRAPH_LOGITS], b->graph->model->sizes.vocab);
    }
    return rc;
}

static int cuda_run(struct backend *b, const struct batch *batch, float **logits, struct err *err)
{
    return b->ranks ? ranks_run(b->ranks, batch, logits, err) : cuda_shard_run(b, batch, logits, err);
}

static bool cuda_candidates(const struct backend *b, uint32_t row, struct candidates *out)
{
    return results_candidates(b->ranks ? ranks_backend(b->ranks, 0) : b, row, out);
}

static void cuda_describe(const struct backend *b, char *out, size_t n)
{
    if (b->ranks) {
        int used = snprintf(out, n, "ranks=%u ", b->conf.ranks);
        cuda_describe(ranks_backend(b->ranks, 0), out + used, n - (size_t)used);
        return;
    }
    snprintf(out, n, "backend=cuda device=\"%s\" weights_mib=%zu fp8_mib=%zu kv_mib=%zu", b->device_name,
             b->weights.bytes >> 20, b->weights.fp8_bytes >> 20, b->kv_bytes >> 20);
}

const struct backend_kind backend_cuda = {
    .name = "cuda",
    .open = cuda_open,
    .run = cuda_run,
    .candidates = cuda_candidates,
    .describe = cuda_describe,
    .close = cuda_close,
};
