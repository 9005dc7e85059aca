#include "inference/worker/cpu/program.h"

#include <stdlib.h>

#include "base/log.h"

static bool is_product(const struct graph_op *op)
{
    return op->kind == GRAPH_MATMUL || op->kind == GRAPH_MATMUL_ADD || op->kind == GRAPH_MATMUL_HEADS ||
           op->kind == GRAPH_EXPERTS || op->kind == GRAPH_EXPERTS_ADD;
}

static int allocate(struct cpu_program *p, const struct graph *g, struct err *err)
{
    size_t products = 0;
    size_t vector_values = 0;
    for (size_t i = 0; i < g->op_count; i++) {
        const struct graph_op *op = &g->ops[i];
        products += is_product(op);
        vector_values += op->kind == GRAPH_NORM ? op->weight->dims[0] : 0;
        vector_values += op->bias ? op->bias->dims[0] : 0;
    }
    p->steps = calloc(g->op_count + products, sizeof *p->steps);
    p->matrices = calloc(products, sizeof *p->matrices);
    p->taken = calloc(products * p->threads, sizeof *p->taken);
    p->vectors = malloc(vector_values * sizeof *p->vectors);
    if (!p->steps || !p->matrices || !p->taken || !p->vectors) {
        return err_set(err, ERR_NOMEM, "cpu: no memory for %zu steps", g->op_count);
    }
    return 0;
}

static int add_product(struct cpu_program *p, struct cpu_step *step, struct err *err)
{
    step->taken = p->taken + p->matrix_count * p->threads;
    step->matrix = &p->matrices[p->matrix_count++];
    int rc = packed_shape(step->matrix, step->op->weight, err);
    if (!rc) {
        p->packed_bytes += packed_bytes(step->matrix);
    }
    return rc;
}

static int place_weights(struct cpu_program *p, const struct gguf *model, const char *path, struct err *err)
{
    struct err why;
    if (path && p->packed_bytes > 0) {
        if (packed_file_open(&p->file, path, model, p->matrices, p->matrix_count, &why) == 0) {
            return 0;
        }
        log_info("weights state=private reason=\"%s\"", why.msg);
    }
    int rc = 0;
    for (size_t i = 0; i < p->matrix_count && !rc; i++) {
        rc = packed_fill(&p->matrices[i], err);
        if (!rc && p->matrices[i].owned) {
            gguf_release_pages(model, p->matrices[i].tensor);
        }
    }
    return rc;
}

/* A product needs its input as int8 unless the step before has left it so. */
static bool needs_quantizing(const struct gguf_tensor *weight, enum graph_buffer input,
                             enum graph_buffer ready)
{
    return weight->type->block_values > 1 && input != ready;
}

/* A norm, an activation or a head of attention is whole blocks of one thread's work: that thread turns them to
 * int8 at once, which saves a step and a barrier. */
static bool can_quantize_too(const struct graph *g, const struct cpu_step *before, enum graph_buffer input)
{
    const struct graph_op *op = before->op;
    bool whole_norm = op->kind == GRAPH_NORM && op->weight->dims[0] == g->widths[op->dst];
    bool whole_heads = op->kind == GRAPH_ATTEND && g->widths[op->dst] / op->heads % 32 == 0;
    bool whole_blocks = whole_norm || whole_heads || op->kind == GRAPH_SWIGLU || op->kind == GRAPH_GEGLU;
    return op->dst == input && whole_blocks && !before->quantizes;
}

static void add_quantizing(struct cpu_program *p, const struct graph *g, const struct graph_op *op)
{
    struct cpu_step *before = &p->steps[p->step_count - 1];
    if (can_quantize_too(g, before, op->a)) {
        before->quantizes_too = true;
    } else {
        p->steps[p->step_count++] = (struct cpu_step){.op = op, .quantizes = true, .waits = true};
    }
}

/* Rotating keys and storing them share the work in the same way: a thread stores what it rotated itself. */
static bool waits(const struct cpu_program *p, const struct graph_op *op)
{
    const struct graph_op *before = p->step_count ? p->steps[p->step_count - 1].op : NULL;
    bool own_keys =
        before && op->kind == GRAPH_STORE_KV && before->kind == GRAPH_ROPE && before->dst == op->a;
    return !op->beside && !own_keys;
}

/* A vector of the file as float32, at *free. */
static const float *take_vector(const struct gguf_tensor *t, float **free)
{
    float *v = *free;
    t->type->dequantize(t->data, v, t->dims[0]);
    *free += t->dims[0];
    return v;
}

static int lower(struct cpu_program *p, const struct graph *g, struct err *err)
{
    enum graph_buffer ready = GRAPH_NONE; /* whose int8 form is up to date */
    float *free = p->vectors;
    for (size_t i = 0; i < g->op_count; i++) {
        const struct graph_op *op = &g->ops[i];
        if (op->weight) {
            gguf_fill(g->model->file, op->weight);
        }
        bool quantizing = is_product(op) && needs_quantizing(op->weight, op->a, ready);
        if (quantizing) {
            add_quantizing(p, g, op);
            ready = op->a;
        }
        bool barrier = quantizing || waits(p, op);
        struct cpu_step *step = &p->steps[p->step_count++];
        *step = (struct cpu_step){.op = op, .waits = barrier};
        if (op->kind == GRAPH_NORM) {
            step->norm = take_vector(op->weight, &free);
        } else if (is_product(op)) {
            int rc = add_product(p, step, err);
            if (rc) {
                return rc;
            }
        }
        if (op->bias) {
            step->bias = take_vector(op->bias, &free);
        }
        if (op->dst == ready) {
            ready = GRAPH_NONE;
        }
    }
    return 0;
}

int cpu_program_init(struct cpu_program *p, const struct graph *g, const char *packed, unsigned threads,
                     struct err *err)
{
    *p = (struct cpu_program){.threads = threads};
    int rc = allocate(p, g, err);
    rc = rc ? rc : lower(p, g, err);
    return rc ? rc : place_weights(p, g->model->file, packed, err);
}

void cpu_program_clear(struct cpu_program *p)
{
    for (size_t i = 0; i < p->matrix_count; i++) {
        packed_clear(&p->matrices[i]);
    }
    packed_file_close(&p->file);
    free(p->steps);
    free(p->matrices);
    free(p->taken);
    free(p->vectors);
    *p = (struct cpu_program){0};
}

void cpu_program_rewind(struct cpu_program *p)
{
    for (size_t i = 0; i < p->step_count; i++) {
        atomic_store_explicit(&p->steps[i].next, 0, memory_order_relaxed);
    }
    for (size_t i = 0; i < p->matrix_count * p->threads; i++) {
        atomic_store_explicit(&p->taken[i], 0, memory_order_relaxed);
    }
}
