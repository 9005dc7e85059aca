/* What of a step comes back to the host: candidates where a token's sampler can do with them, else its row of logits. */
#include <stdlib.h>

#include "inference/worker/cuda/cuda_backend.h"
#include "kernels/top.h"

_Static_assert((int)CANDIDATES_MAX <= (int)TOP_MOST, "the kernel finds as many");

static int take_pair(struct backend *b, size_t values, void *host, void *device, struct err *err)
{
    int rc = device_error(cudaMallocHost(host, values * sizeof(uint32_t)), "pinned memory", err);
    return rc ? rc : cuda_take(b, values * sizeof(uint32_t), device, err);
}

int results_init(struct backend *b, struct err *err)
{
    struct cuda_candidates *c = &b->candidates;
    size_t rows = b->conf.batch_logits;
    size_t logits = rows * b->graph->widths[GRAPH_LOGITS];
    c->wanted = calloc(rows + 1, sizeof *c->wanted);
    if (!c->wanted) {
        return err_set(err, ERR_NOMEM, "cuda: no memory for %zu rows of logits", rows);
    }
    int rc = device_error(cudaMallocHost((void **)&b->logits, logits * sizeof(float)), "pinned memory", err);
    rc = rc ? rc : take_pair(b, rows * CANDIDATES_MAX, &c->ids, &c->device_ids, err);
    rc = rc ? rc : take_pair(b, rows * CANDIDATES_MAX, &c->logits, &c->device_logits, err);
    return rc ? rc : take_pair(b, rows, &c->log_sum, &c->device_log_sum, err);
}

void results_clear(struct backend *b)
{
    cudaFreeHost(b->logits);
    cudaFreeHost(b->candidates.ids);
    cudaFreeHost(b->candidates.logits);
    cudaFreeHost(b->candidates.log_sum);
    free(b->candidates.wanted);
}

static cudaError_t to_host(struct backend *b, void *to, const void *from, size_t values)
{
    return cudaMemcpyAsync(to, from, values * sizeof(uint32_t), cudaMemcpyDeviceToHost, b->stream);
}

/* Of all rows alike: one launch, and three copies that hold little. */
static cudaError_t copy_candidates(struct backend *b, uint32_t rows)
{
    struct cuda_candidates *c = &b->candidates;
    uint32_t vocab = b->graph->model->sizes.vocab;
    c->n = c->n < vocab ? c->n : vocab;
    struct top_params p = {.x = b->buffers[GRAPH_LOGITS],
                           .ids = c->device_ids,
                           .values = c->device_logits,
                           .log_sum = c->device_log_sum,
                           .rows = rows,
                           .width = vocab,
                           .stride = b->graph->widths[GRAPH_LOGITS],
                           .k = c->n};
    cudaError_t rc = top_launch(&p, b->stream);
    rc = rc != cudaSuccess ? rc : to_host(b, c->ids, c->device_ids, (size_t)rows * c->n);
    rc = rc != cudaSuccess ? rc : to_host(b, c->logits, c->device_logits, (size_t)rows * c->n);
    return rc != cudaSuccess ? rc : to_host(b, c->log_sum, c->device_log_sum, rows);
}

cudaError_t results_copy(struct backend *b, uint32_t rows)
{
    const uint8_t *wanted = b->candidates.wanted;
    size_t width = b->graph->widths[GRAPH_LOGITS];
    cudaError_t rc = b->candidates.n ? copy_candidates(b, rows) : cudaSuccess;
    for (uint32_t row = 0; row < rows && rc == cudaSuccess; row++) {
        uint32_t first = row;
        while (row < rows && !wanted[row]) {
            row++;
        }
        if (row > first) { /* neighbours at once */
            rc = to_host(b, b->logits + first * width,
                         (const float *)b->buffers[GRAPH_LOGITS] + first * width, (row - first) * width);
        }
    }
    return rc;
}

bool results_candidates(const struct backend *b, uint32_t row, struct candidates *out)
{
    const struct cuda_candidates *c = &b->candidates;
    *out = (struct candidates){.ids = (const int32_t *)c->ids + (size_t)row * c->n,
                               .logits = c->logits + (size_t)row * c->n,
                               .log_sum = c->log_sum[row],
                               .n = c->n};
    return c->wanted[row] > 0;
}
