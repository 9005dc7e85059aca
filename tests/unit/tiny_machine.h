/* A tiny model on the CPU, and the logits that transformers has for it (tests/oracles). */
#ifndef TIDE_TESTS_TINY_MACHINE_H
#define TIDE_TESTS_TINY_MACHINE_H

#include "tests/unit/tiny_models.h"

#include <math.h>

#include "inference/worker/backend.h"
#include "inference/worker/model.h"

enum { POSITIONS = 48, STRIDE = 8, COLUMNS = (TINY_VOCAB + STRIDE - 1) / STRIDE };

struct oracle {
    int32_t tokens[POSITIONS];
    float logits[POSITIONS][COLUMNS];
};

__attribute__((unused)) static void read_oracle(const char *name, struct oracle *o)
{
    char path[128];
    char comment[256];
    snprintf(path, sizeof path, "tests/oracles/%s.logits", name);
    FILE *f = fopen(path, "re");
    if (!f) {
        fail_msg("no %s: tests/oracles/logits.py writes it", path);
    }
    assert_non_null(fgets(comment, sizeof comment, f));
    for (unsigned p = 0; p < POSITIONS; p++) {
        assert_int_equal(fscanf(f, "%d", &o->tokens[p]), 1);
    }
    for (unsigned p = 0; p < POSITIONS; p++) {
        for (unsigned i = 0; i < COLUMNS; i++) {
            assert_int_equal(fscanf(f, "%f", &o->logits[p][i]), 1);
        }
    }
    fclose(f);
}

struct machine {
    struct model *model;
    struct graph *graph;
    struct backend *backend;
    uint32_t table[POSITIONS / KV_BLOCK];
};

__attribute__((unused)) static void machine_open(struct machine *m, const char *path, bool portable)
{
    struct backend_conf conf = {.kv_blocks = 8,
                                .context = POSITIONS,
                                .batch_tokens = POSITIONS,
                                .batch_logits = POSITIONS,
                                .threads = 2,
                                .portable = portable};
    struct err err;
    if (model_open(path, &m->model, &err)) {
        fail_msg("%s", err.msg);
    }
    m->graph = graph_new(m->model);
    assert_non_null(m->graph);
    assert_int_equal(backend_cpu.open(m->graph, &conf, &m->backend, &err), 0);
    for (uint32_t i = 0; i < POSITIONS / KV_BLOCK; i++) {
        m->table[i] = (5 * i + 6) % 8; /* blocks out of order */
    }
}

__attribute__((unused)) static void machine_close(struct machine *m)
{
    backend_cpu.close(m->backend);
    graph_free(m->graph);
    model_close(m->model);
}

/* Computes tokens [from, to); rows gets their logits. */
__attribute__((unused)) static void machine_run(struct machine *m, const int32_t *tokens, uint32_t from,
                                                uint32_t to, float *rows)
{
    struct batch_token batch[POSITIONS];
    float *logits;
    struct err err;
    for (uint32_t i = from; i < to; i++) {
        batch[i - from] = (struct batch_token){.token = tokens[i], .position = i, .wants_logits = true};
    }
    struct batch b = {
        .tokens = batch, .n = to - from, .tables = m->table, .table_width = POSITIONS / KV_BLOCK};
    assert_int_equal(backend_cpu.run(m->backend, &b, &logits, &err), 0);
    memcpy(rows, logits, (size_t)(to - from) * TINY_VOCAB * sizeof *rows);
}

/* The largest difference of a row, over the row's largest logit. */
__attribute__((unused)) static double row_difference(const float *ours, const float *theirs)
{
    double difference = 0;
    double largest = 0;
    for (unsigned i = 0; i < COLUMNS; i++) {
        difference = fmax(difference, fabs((double)ours[i * STRIDE] - (double)theirs[i]));
        largest = fmax(largest, fabs((double)theirs[i]));
    }
    return difference / largest;
}

#endif
