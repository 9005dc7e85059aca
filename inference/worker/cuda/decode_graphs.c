#include "inference/worker/cuda/cuda_backend.h"
#include "kernels/attend.h"

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* `least` doubled until it holds n, but not past `most`, which does. */
static uint32_t doubled(uint32_t least, uint32_t n, uint32_t most)
{
    uint64_t size = least;
    while (size < n) {
        size *= 2;
    }
    return size < most ? (uint32_t)size : most;
}

static struct decode_graph *find(struct decode_graphs *graphs, uint32_t rows, uint32_t positions)
{
    for (uint32_t i = 0; i < graphs->count; i++) {
        if (graphs->list[i].rows == rows && graphs->list[i].positions == positions) {
            return &graphs->list[i];
        }
    }
    if (graphs->count == DECODE_GRAPHS_MAX) {
        return NULL;
    }
    struct decode_graph *g = &graphs->list[graphs->count++];
    *g = (struct decode_graph){.rows = rows, .positions = positions};
    return g;
}

void decode_graphs_init(struct decode_graphs *graphs)
{
    pthread_mutex_init(&graphs->mutex, NULL);
}

struct decode_graph *decode_graphs_pad(struct backend *b)
{
    uint32_t most = smaller(b->conf.batch_tokens, b->conf.batch_logits);
    if (b->conf.portable || b->picked_count != b->n || b->n > most) {
        return NULL;
    }
    pthread_mutex_lock(&b->graphs.mutex);
    struct decode_graph *g =
        find(&b->graphs, doubled(1, b->n, most), doubled(ATTEND_SPLIT, b->positions, b->conf.context));
    pthread_mutex_unlock(&b->graphs.mutex);
    if (!g) {
        return NULL;
    }
    b->positions = g->positions;
    if (b->n < g->rows) {
        b->host.tables[(size_t)b->table_rows++ * b->table_width] = b->conf.kv_blocks; /* nobody's */
    }
    for (; b->n < g->rows; b->n++) {
        b->host.tokens[b->n] = 0;
        b->host.positions[b->n] = 0;
        b->host.sequences[b->n] = b->table_rows - 1;
        b->host.picked[b->n] = b->n;
    }
    b->picked_count = b->n;
    return g;
}

/* Relaxed: a kernel that was never launched is loaded meanwhile, which stricter modes forbid. */
static int record(struct backend *b, struct decode_graph *g, struct err *err)
{
    cudaGraph_t graph = NULL;
    uint32_t calls = b->communicator ? communicator_calls(b->communicator) : 0;
    int rc = device_error(cudaStreamBeginCapture(b->stream, cudaStreamCaptureModeRelaxed),
                          "recording a graph", err);
    if (rc) {
        return rc;
    }
    rc = cuda_launch_steps(b, err);
    cudaError_t ended = cudaStreamEndCapture(b->stream, &graph); /* whatever happened before */
    rc = rc ? rc : device_error(ended, "recording a graph", err);
    rc = rc ? rc : device_error(cudaGraphInstantiate(&g->exec, graph, 0), "making a graph", err);
    if (graph) {
        cudaGraphDestroy(graph);
    }
    g->collectives = b->communicator ? communicator_calls(b->communicator) - calls : 0;
    return rc;
}

static int launch(struct backend *b, struct decode_graph *g, struct err *err)
{
    int rc = 0;
    if (b->graphs.is_over) {
        return err_set(err, ERR_UNAVAILABLE, "cuda: a graph: aborted");
    }
    if (!g->exec) {
        rc = record(b, g, err);
    } else if (b->communicator) {
        communicator_replayed(b->communicator, g->collectives);
    }
    return rc ? rc : device_error(cudaGraphLaunch(g->exec, b->stream), "a graph", err);
}

int decode_graphs_launch(struct backend *b, struct decode_graph *g, struct err *err)
{
    pthread_mutex_lock(&b->graphs.mutex);
    int rc = launch(b, g, err);
    pthread_mutex_unlock(&b->graphs.mutex);
    return rc;
}

void decode_graphs_end(struct decode_graphs *graphs)
{
    pthread_mutex_lock(&graphs->mutex);
    graphs->is_over = true;
    for (uint32_t i = 0; i < graphs->count; i++) {
        if (graphs->list[i].exec) {
            cudaGraphExecDestroy(graphs->list[i].exec); /* one that runs goes when it has ended */
            graphs->list[i].exec = NULL;
        }
    }
    pthread_mutex_unlock(&graphs->mutex);
}

void decode_graphs_clear(struct decode_graphs *graphs)
{
    decode_graphs_end(graphs);
    pthread_mutex_destroy(&graphs->mutex);
}
