/* Attention in tiles: the queries of neighbouring positions of a sequence, and of the heads that share a key head, read
 * each block of keys and values together. A query's own sums have one order whatever tile it is in. */
#include "inference/worker/cpu/cpu_backend.h"

enum { TILE_TOKENS = 8, TILE_HEADS = ATTEND_QUERIES / TILE_TOKENS };

void cpu_tile_batch(struct backend *b)
{
    const struct batch_token *tokens = b->batch->tokens;
    b->tile_count = 0;
    for (uint32_t i = 0; i < b->batch->n; i++) {
        struct cpu_tile *last = &b->tiles[b->tile_count - (b->tile_count > 0)];
        bool goes_on = i > 0 && last->n < TILE_TOKENS && tokens[i].sequence == tokens[i - 1].sequence &&
                       tokens[i].position == tokens[i - 1].position + 1;
        if (goes_on) {
            last->n++;
        } else {
            b->tiles[b->tile_count++] = (struct cpu_tile){i, 1};
        }
    }
}

/* Query heads of one piece of work: all of a key head where there is work enough for all threads. */
static uint32_t heads_together(const struct backend *b, uint32_t heads)
{
    if (b->tile_count * b->kv.heads < 2 * team_size(b->team)) {
        return 1;
    }
    return heads < TILE_HEADS ? heads : TILE_HEADS;
}

/* The keys and the values of a key head; where the cache has no values, the beginning of the keys. */
static void find_rows(const struct backend *b, const struct graph_op *op, uint32_t key_head,
                      struct attend_job *job)
{
    const struct kv_cache *kv = &b->kv;
    job->keys = (struct attend_rows){.first = kv_cache_keys(kv, op->layer, key_head),
                                     .block = kv_cache_key_block(kv),
                                     .stride = kv->key_dim,
                                     .dim = kv->key_dim};
    job->values = job->keys;
    if (kv->value_dim) {
        job->values = (struct attend_rows){.first = kv_cache_values(kv, op->layer, key_head),
                                           .block = kv_cache_value_block(kv),
                                           .stride = kv->value_dim};
    }
    job->values.dim = b->graph->widths[op->dst] / op->heads;
}

/* Query heads [head, head + n) of a tile's tokens. */
static void attend_tile(struct backend *b, const struct cpu_step *step, unsigned thread,
                        const struct cpu_tile *tile, uint32_t head, uint32_t n)
{
    const struct graph_op *op = step->op;
    struct attend_query queries[ATTEND_QUERIES];
    struct attend_job job = {
        .queries = queries,
        .table = batch_window_table(b->batch, b->batch->tokens[tile->first].sequence, op->window),
        .scale = op->scale,
        .rows = b->attend_rows + (size_t)thread * KV_BLOCK * b->attend_width,
    };
    find_rows(b, op, head / (op->heads / b->kv.heads), &job);
    for (uint32_t i = 0; i < tile->n * n; i++) {
        uint32_t end = b->batch->tokens[tile->first + i / n].position + 1;
        size_t piece = (size_t)(tile->first + i / n) * op->heads + head + i % n;
        queries[job.n++] = (struct attend_query){
            .query = b->buffers[op->a] + piece * job.keys.dim,
            .scores = b->scores + ((size_t)thread * ATTEND_QUERIES + i) * b->conf.context,
            .out = b->buffers[op->dst] + piece * job.values.dim,
            .first = op->window && end > op->window ? end - op->window : 0,
            .end = end};
    }
    b->kernels->attend(&job);
    for (uint32_t i = 0; step->quantizes_too && i < job.n; i++) {
        size_t blocks = job.values.dim / 32;
        size_t piece = (size_t)(tile->first + i / n) * op->heads + head + i % n;
        cpu_quantize_blocks(b, op->dst, piece * blocks, blocks);
    }
}

void cpu_run_attend(struct backend *b, struct cpu_step *step, unsigned thread)
{
    uint32_t shared = step->op->heads / b->kv.heads; /* query heads of a key head */
    uint32_t together = heads_together(b, shared);
    uint32_t parts = (shared + together - 1) / together;
    uint32_t total = b->tile_count * b->kv.heads * parts;
    for (;;) {
        uint32_t i = atomic_fetch_add_explicit(&step->next, 1, memory_order_relaxed);
        if (i >= total) {
            return;
        }
        uint32_t first = i % parts * together;
        uint32_t n = shared - first < together ? shared - first : together;
        uint32_t key_head = i / parts % b->kv.heads;
        attend_tile(b, step, thread, &b->tiles[i / parts / b->kv.heads], key_head * shared + first, n);
    }
}
