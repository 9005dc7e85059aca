#include "inference/worker/speed.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "inference/worker/device.h"

enum { ROUNDS_MAX = 100, LONG_PROMPT = 2048, SHORT_PROMPT = 16, ANSWER = 32, BATCH_MAX = 64 };

struct bench {
    struct device device;
    struct batch_token *tokens;
    uint32_t *tables;
    uint32_t table_width;
    uint32_t step_tokens;
    uint32_t vocab;
};

static int32_t some_token(const struct bench *b, uint32_t i)
{
    return (int32_t)((i * 7919 + 13) % b->vocab);
}

static int run(struct bench *b, uint32_t n, struct err *err)
{
    struct batch batch = {.tokens = b->tokens, .n = n, .tables = b->tables, .table_width = b->table_width};
    float *logits;
    return device_run(&b->device, &batch, &logits, err);
}

/* One prompt, in steps as the engine cuts it; only its last token wants logits. */
static int time_prompt(struct bench *b, uint32_t n, double *rate, struct err *err)
{
    uint64_t began = clock_mono_us();
    for (uint32_t done = 0; done < n;) {
        uint32_t part = n - done < b->step_tokens ? n - done : b->step_tokens;
        for (uint32_t i = 0; i < part; i++) {
            b->tokens[i] = (struct batch_token){
                .token = some_token(b, done + i), .position = done + i, .wants_logits = done + i + 1 == n};
        }
        int rc = run(b, part, err);
        if (rc) {
            return rc;
        }
        done += part;
    }
    *rate = n * 1e6 / (double)(clock_mono_us() - began);
    return 0;
}

static int short_prompts(struct bench *b, uint32_t sequences, struct err *err)
{
    int rc = 0;
    for (uint32_t s = 0; s < sequences && !rc; s++) {
        for (uint32_t i = 0; i < SHORT_PROMPT; i++) {
            b->tokens[i] = (struct batch_token){.token = some_token(b, s + i), .sequence = s, .position = i};
        }
        b->tokens[SHORT_PROMPT - 1].wants_logits = true;
        rc = run(b, SHORT_PROMPT, err);
    }
    return rc;
}

/* ANSWER tokens of each sequence after a short prompt: tokens of all of them a second. */
static int time_answers(struct bench *b, uint32_t sequences, double *rate, struct err *err)
{
    int rc = short_prompts(b, sequences, err);
    uint64_t began = clock_mono_us();
    for (uint32_t k = 0; k < ANSWER && !rc; k++) {
        for (uint32_t s = 0; s < sequences; s++) {
            b->tokens[s] = (struct batch_token){.token = some_token(b, s + k),
                                                .sequence = s,
                                                .position = SHORT_PROMPT + k,
                                                .wants_logits = true};
        }
        rc = run(b, sequences, err);
    }
    *rate = (double)sequences * ANSWER * 1e6 / (double)(clock_mono_us() - began);
    return rc;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_row(const char *what, uint32_t n, double *rates, uint32_t rounds)
{
    qsort(rates, rounds, sizeof *rates, ascending);
    printf("| %-7s | %5u | %10.1f | %10.1f | %10.1f |\n", what, n, rates[rounds / 2], rates[0],
           rates[rounds - 1]);
}

/* Rounds are interleaved: what disturbs the machine for a second disturbs every row alike. */
static int measure(struct bench *b, const struct options *o, struct err *err)
{
    static const uint32_t prompts[] = {32, 128, 512, LONG_PROMPT};
    static const uint32_t batches[] = {1, 2, 4, 8, 16, 32, BATCH_MAX};
    enum { PROMPTS = 4, BATCHES = 7 };
    static double rates[PROMPTS + BATCHES][ROUNDS_MAX];
    int rc = 0;
    for (uint32_t r = 0; r < o->rounds && !rc; r++) {
        for (unsigned i = 0; i < PROMPTS && !rc; i++) {
            rc = time_prompt(b, prompts[i], &rates[i][r], err);
        }
        for (unsigned i = 0; i < BATCHES && !rc; i++) {
            rc = time_answers(b, batches[i], &rates[PROMPTS + i][r], err);
        }
    }
    if (rc) {
        return rc;
    }
    printf("| %-7s | %5s | %10s | %10s | %10s |\n", "test", "n", "tokens/s", "worst", "best");
    puts("|---------|------:|-----------:|-----------:|-----------:|");
    for (unsigned i = 0; i < PROMPTS; i++) {
        print_row("prompt", prompts[i], rates[i], o->rounds);
    }
    for (unsigned i = 0; i < BATCHES; i++) {
        print_row("answers", batches[i], rates[PROMPTS + i], o->rounds);
    }
    return 0;
}

/* The first sequence may be as long as the longest prompt; the others have room for a short one and its answer. */
static int prepare(struct bench *b, const struct options *o, struct graph *g, struct err *err)
{
    enum { WIDTH = LONG_PROMPT / KV_BLOCK, SHORT_WIDTH = (SHORT_PROMPT + ANSWER) / KV_BLOCK };
    struct backend_conf conf = {.kv_blocks = WIDTH + BATCH_MAX * SHORT_WIDTH,
                                .context = LONG_PROMPT,
                                .batch_tokens = o->step_tokens > BATCH_MAX ? o->step_tokens : BATCH_MAX,
                                .batch_logits = BATCH_MAX,
                                .threads = o->threads,
                                .portable = o->portable,
                                .no_amx = o->no_amx};
    b->table_width = WIDTH;
    b->step_tokens = conf.batch_tokens;
    b->vocab = g->model->sizes.vocab;
    b->tokens = calloc(conf.batch_tokens, sizeof *b->tokens);
    b->tables = calloc((size_t)BATCH_MAX * WIDTH, sizeof *b->tables);
    if (!b->tokens || !b->tables) {
        return err_set(err, ERR_NOMEM, "no memory for a batch");
    }
    for (uint32_t i = 0; i < WIDTH; i++) {
        b->tables[i] = i;
    }
    for (uint32_t s = 1; s < BATCH_MAX; s++) {
        for (uint32_t i = 0; i < SHORT_WIDTH; i++) {
            b->tables[(size_t)s * WIDTH + i] = WIDTH + (s - 1) * SHORT_WIDTH + i;
        }
    }
    return device_open(&o->device, g, &conf, &b->device, err);
}

int speed_run(const struct options *o, struct err *err)
{
    struct model *m = NULL;
    struct graph *g = NULL;
    struct bench b = {0};
    int rc = model_open(o->model, &m, err);
    if (!rc) {
        g = graph_new(m);
        rc = g ? prepare(&b, o, g, err) : err_set(err, ERR_NOMEM, "no memory for the graph");
    }
    if (!rc) {
        char text[256];
        device_describe(&b.device, text, sizeof text);
        printf("%s, %u rounds: median, worst, best; answers: tokens of n sequences together\n\n", text,
               o->rounds);
        rc = measure(&b, o, err);
    }
    device_close(&b.device);
    free(b.tokens);
    free(b.tables);
    graph_free(g);
    model_close(m);
    return rc;
}
