/* What tests of whole backends share: a tiny model, opened on a kind of machine, and two sequences to run through it. */
#ifndef TIDE_TESTS_MACHINES_H
#define TIDE_TESTS_MACHINES_H

#include "tests/unit/tiny_models.h"

#include <math.h>

#include "inference/worker/cuda/cuda_backend.h"
#include "kernels/emu/emu.h"

enum { POSITIONS = 24, SEQUENCES = 2, BLOCKS = 8 };

static bool machine_uses_graphs;
static uint32_t machine_collective_ms = 600000; /* the emulator is slow */

struct machine {
    struct model *model;
    struct graph *graph;
    const struct backend_kind *kind;
    struct backend *backend;
};

/* `ranks` devices share the model; NULL in m->backend on an error. */
__attribute__((unused)) static int machine_open_on(struct machine *m, const char *path,
                                                   const struct backend_kind *kind, uint32_t ranks,
                                                   struct err *err)
{
    struct backend_conf conf = {.kv_blocks = BLOCKS,
                                .context = POSITIONS,
                                .batch_tokens = SEQUENCES * POSITIONS,
                                .batch_logits = SEQUENCES * POSITIONS,
                                .ranks = ranks,
                                .collective_ms = machine_collective_ms,
                                .threads = 1,
                                .portable = !machine_uses_graphs};
    *m = (struct machine){.kind = kind};
    if (model_open(path, &m->model, err)) {
        fail_msg("%s", err->msg);
    }
    m->graph = graph_new(m->model);
    assert_non_null(m->graph);
    return kind->open(m->graph, &conf, &m->backend, err);
}

__attribute__((unused)) static int machine_open(struct machine *m, const char *path,
                                                const struct backend_kind *kind, struct err *err)
{
    return machine_open_on(m, path, kind, 1, err);
}

__attribute__((unused)) static void machine_close(struct machine *m)
{
    m->kind->close(m->backend);
    graph_free(m->graph);
    model_close(m->model);
}

/* Computes positions [from, to) of both sequences; rows gets the logits of the last two of each, as far as there are. */
__attribute__((unused)) static int machine_run(struct machine *m, uint32_t from, uint32_t to, float *rows,
                                               struct err *err)
{
    static const uint32_t tables[SEQUENCES][4] = {{3, 0, 6, 0}, {1, 7, 2, 0}};
    struct batch_token tokens[SEQUENCES * POSITIONS];
    uint32_t n = 0;
    uint32_t wanted = 0;
    float *logits;
    for (uint32_t s = 0; s < SEQUENCES; s++) {
        for (uint32_t i = from; i < to; i++) {
            tokens[n++] = (struct batch_token){.token = (int32_t)((i * 31 + s * 7 + 1) % 250),
                                               .sequence = s,
                                               .position = i,
                                               .wants_logits = i + 2 >= to};
            wanted += i + 2 >= to;
        }
    }
    struct batch b = {.tokens = tokens, .n = n, .tables = tables[0], .table_width = 4};
    int rc = m->kind->run(m->backend, &b, &logits, err);
    if (!rc) {
        memcpy(rows, logits, (size_t)wanted * TINY_VOCAB * sizeof *rows);
    }
    return rc;
}

static uint32_t best(const float *row)
{
    uint32_t at = 0;
    for (uint32_t i = 1; i < TINY_VOCAB; i++) {
        at = row[i] > row[at] ? i : at;
    }
    return at;
}

/* Logits within `tolerance` of the row's largest, and the same best token unless its lead is within it. */
__attribute__((unused)) static void expect_same_rows(const char *name, const float *is, const float *wanted,
                                                     uint32_t rows, double tolerance)
{
    double worst = 0;
    uint32_t near_ties = 0;
    for (uint32_t r = 0; r < rows; r++, is += TINY_VOCAB, wanted += TINY_VOCAB) {
        double largest = 0;
        double difference = 0;
        for (uint32_t i = 0; i < TINY_VOCAB; i++) {
            double d = fabs((double)is[i] - (double)wanted[i]);
            largest = fmax(largest, fabs((double)wanted[i]));
            difference = d <= difference ? difference : d;
        }
        uint32_t a = best(is);
        uint32_t b = best(wanted);
        double lead = (double)(wanted[b] - wanted[a]);
        if (!(difference <= tolerance * largest) || lead > 2 * tolerance * largest) {
            fail_msg("%s: row %u: off by %.3g of %.3g, best token %u, expected %u", name, r, difference,
                     largest, a, b);
        }
        near_ties += a != b;
        worst = fmax(worst, difference / largest);
    }
    print_message("%s: largest difference %.2g, %u near-ties\n", name, worst, near_ties);
}

#endif
