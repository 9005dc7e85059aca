#include "inference/worker/sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "inference/worker/choices.h"
#include "inference/worker/cpu/kernels.h"

struct sampler {
    const struct cpu_kernels *kernels;
    uint32_t vocab;
    uint32_t blocks;        /* of ROW_BLOCK tokens; the last may be short */
    float *work;            /* logits with mask, bias and penalties */
    float *tops;            /* largest logit of each block */
    float *weights;         /* of all tokens, or of the choices */
    double *sums;           /* of each block of weights */
    struct choice *choices; /* those that pass the filters */
    struct choice *spare;   /* as long, for sorting */
    bool *seen;             /* tokens that got their presence penalty; all false between calls */
};

struct sampler *sampler_new(uint32_t vocab, const struct cpu_kernels *kernels)
{
    struct sampler *s = calloc(1, sizeof *s);
    if (!s) {
        return NULL;
    }
    s->kernels = kernels;
    s->vocab = vocab;
    s->blocks = (vocab + ROW_BLOCK - 1) / ROW_BLOCK;
    size_t whole = (size_t)s->blocks * ROW_BLOCK;
    s->work = malloc(vocab * sizeof *s->work);
    s->tops = malloc(s->blocks * sizeof *s->tops);
    s->weights = malloc(whole * sizeof *s->weights);
    s->sums = malloc(s->blocks * sizeof *s->sums);
    s->choices = malloc(whole * sizeof *s->choices);
    s->spare = malloc(whole * sizeof *s->spare);
    s->seen = calloc(vocab, sizeof *s->seen);
    if (!s->work || !s->tops || !s->weights || !s->sums || !s->choices || !s->spare || !s->seen) {
        sampler_free(s);
        return NULL;
    }
    return s;
}

void sampler_free(struct sampler *s)
{
    if (s) {
        free(s->work);
        free(s->tops);
        free(s->weights);
        free(s->sums);
        free(s->choices);
        free(s->spare);
        free(s->seen);
        free(s);
    }
}

/* Philox4x32-10 of Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3" (2011). */
double sampler_uniform(uint64_t seed, uint64_t position)
{
    uint32_t c[4] = {(uint32_t)position, (uint32_t)(position >> 32), 0, 0};
    uint32_t k[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    for (unsigned round = 0; round < 10; round++) {
        uint64_t a = 0xD2511F53ULL * c[0];
        uint64_t b = 0xCD9E8D57ULL * c[2];
        uint32_t next[4] = {(uint32_t)(b >> 32) ^ c[1] ^ k[0], (uint32_t)b, (uint32_t)(a >> 32) ^ c[3] ^ k[1],
                            (uint32_t)a};
        memcpy(c, next, sizeof c);
        k[0] += 0x9E3779B9U;
        k[1] += 0xBB67AE85U;
    }
    uint64_t bits = ((uint64_t)c[0] << 32 | c[1]) >> 11;
    return (double)bits * 0x1p-53;
}

/* Marks the tokens that are met for the first time. */
static void weaken(struct sampler *s, float by, const int32_t *tokens, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float *logit = &s->work[tokens[i]];
        if (!s->seen[tokens[i]]) {
            s->seen[tokens[i]] = true;
            *logit = *logit > 0 ? *logit / by : *logit * by;
        }
    }
}

static void forget(struct sampler *s, const int32_t *tokens, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        s->seen[tokens[i]] = false;
    }
}

static bool repeats_cost(const struct sampler_params *p)
{
    return p->repetition_penalty > 0 && p->repetition_penalty != 1;
}

static void penalize(struct sampler *s, const struct sampler_params *p, const int32_t *answer, size_t n)
{
    if (repeats_cost(p)) {
        weaken(s, p->repetition_penalty, p->prompt, p->prompt_n);
        weaken(s, p->repetition_penalty, answer, n);
        forget(s, p->prompt, p->prompt_n);
        forget(s, answer, n);
    }
    for (size_t i = 0; i < n; i++) {
        s->work[answer[i]] -= p->frequency_penalty;
        if (!s->seen[answer[i]]) {
            s->seen[answer[i]] = true;
            s->work[answer[i]] -= p->presence_penalty;
        }
    }
    forget(s, answer, n);
}

static void mask(struct sampler *s, const uint64_t *allowed)
{
    for (uint32_t i = 0; i < s->vocab; i++) {
        bool may = allowed[i / 64] >> (i % 64) & 1;
        s->work[i] = may ? s->work[i] : -INFINITY;
    }
}

static bool has_penalties(const struct sampler_params *p)
{
    return p->presence_penalty != 0 || p->frequency_penalty != 0 || repeats_cost(p);
}

uint32_t sampler_candidates(const struct sampler_params *p)
{
    if (has_penalties(p) || p->bias_n > 0) {
        return 0;
    }
    return p->temperature <= 0 ? 1 : p->top_k <= CANDIDATES_MAX ? p->top_k : 0;
}

/* The logits to choose from: the model's own when nothing changes them. */
static const float *change(struct sampler *s, const struct sampler_params *p, const float *logits,
                           const int32_t *answer, size_t answer_n, const uint64_t *allowed)
{
    if (!has_penalties(p) && !allowed && p->bias_n == 0) {
        return logits;
    }
    memcpy(s->work, logits, s->vocab * sizeof *s->work);
    for (uint32_t i = 0; i < p->bias_n; i++) {
        s->work[p->bias[i].id] += p->bias[i].add;
    }
    if (has_penalties(p)) {
        penalize(s, p, answer, answer_n);
    }
    if (allowed) {
        mask(s, allowed);
    }
    return s->work;
}

/* --- looking at a row -------------------------------------------------------------------------------- */

static uint32_t block_end(const struct sampler *s, uint32_t block)
{
    return block + 1 < s->blocks ? (block + 1) * ROW_BLOCK : s->vocab;
}

/* The last block of a row of n as a whole one; NULL where it is whole. */
static const float *short_block(const float *row, uint32_t n, float out[ROW_BLOCK])
{
    uint32_t rest = n % ROW_BLOCK;
    if (rest == 0) {
        return NULL;
    }
    for (uint32_t i = 0; i < ROW_BLOCK; i++) {
        out[i] = i < rest ? row[n - rest + i] : -INFINITY;
    }
    return out;
}

/* The largest logit, and those of all blocks; -INFINITY where none is a number. */
static float find_tops(struct sampler *s, const float *logits)
{
    float room[ROW_BLOCK];
    float largest = -INFINITY;
    const float *last = short_block(logits, s->vocab, room);
    s->kernels->row_tops(logits, s->vocab / ROW_BLOCK, s->tops);
    if (last) {
        s->kernels->row_tops(last, 1, s->tops + s->blocks - 1);
    }
    for (uint32_t b = 0; b < s->blocks; b++) {
        largest = s->tops[b] > largest ? s->tops[b] : largest;
    }
    return largest;
}

/* The first token with that logit, which there is. */
static int32_t place_of(const struct sampler *s, const float *logits, float largest)
{
    for (uint32_t b = 0; b < s->blocks; b++) {
        for (uint32_t i = b * ROW_BLOCK; s->tops[b] == largest && i < block_end(s, b); i++) {
            if (logits[i] == largest) {
                return (int32_t)i;
            }
        }
    }
    return 0;
}

static float steepness(float temperature) /* for row_weigh */
{
    return 1.44269504F / temperature;
}

/* Weighs n values, whose weights may take their place; the sum of all. */
static double weigh(struct sampler *s, const float *values, uint32_t n, float largest, float temperature)
{
    float room[ROW_BLOCK];
    double total = 0;
    const float *last = short_block(values, n, room);
    uint32_t whole = n / ROW_BLOCK;
    s->kernels->row_weigh(values, whole, largest, steepness(temperature), s->weights, s->sums);
    if (last) {
        s->kernels->row_weigh(last, 1, largest, steepness(temperature), s->weights + whole * ROW_BLOCK,
                              s->sums + whole);
    }
    for (uint32_t b = 0; b * ROW_BLOCK < n; b++) {
        total += s->sums[b];
    }
    return total;
}

/* The nth largest of n values (from 0), which are put in another order (Hoare's FIND). */
static float nth_largest(float *v, uint32_t n, uint32_t nth)
{
    int64_t low = 0;
    int64_t high = (int64_t)n - 1;
    while (low < high) {
        float pivot = v[nth];
        int64_t i = low;
        int64_t j = high;
        while (i <= j) {
            while (v[i] > pivot) {
                i++;
            }
            while (v[j] < pivot) {
                j--;
            }
            if (i <= j) {
                float moved = v[i];
                v[i++] = v[j];
                v[j--] = moved;
            }
        }
        low = j < nth ? i : low;
        high = nth < i ? j : high;
    }
    return v[nth];
}

/* How far below the largest the k largest logits can be: no further than the k best blocks' own largest. */
static float span_of_best(struct sampler *s, float largest, uint32_t k)
{
    if (k > s->blocks) {
        return -INFINITY;
    }
    memcpy(s->weights, s->tops, s->blocks * sizeof *s->weights);
    return nth_largest(s->weights, s->blocks, k - 1) - largest;
}

/* --- choices ----------------------------------------------------------------------------------------- */

/* How far below the largest a logit may be to pass min_p and top_k; -INFINITY: any. */
static float span_of(struct sampler *s, const struct sampler_params *p, float largest)
{
    const float slack = 1e-4F; /* the weight decides */
    float span = p->min_p > 0 ? (logf(p->min_p) - slack) * p->temperature : -INFINITY;
    float best = p->top_k ? span_of_best(s, largest, p->top_k) : -INFINITY;
    return best > span ? best : span;
}

/* Makes choices of the tokens whose logits are within `span` below the largest, by id. */
static uint32_t collect_near(struct sampler *s, const float *logits, float largest, float span)
{
    uint32_t n = 0;
    for (uint32_t b = 0; b < s->blocks; b++) {
        for (uint32_t i = b * ROW_BLOCK; s->tops[b] - largest >= span && i < block_end(s, b); i++) {
            s->choices[n].id = (int32_t)i;
            s->weights[n] = logits[i];
            n += logits[i] - largest >= span;
        }
    }
    return n;
}

/* Gives the choices their weights and drops those of less than min_p. The sum of what is left. */
static double weigh_choices(struct sampler *s, const struct sampler_params *p, float largest, uint32_t *n)
{
    double total = 0;
    uint32_t kept = 0;
    weigh(s, s->weights, *n, largest, p->temperature);
    for (uint32_t i = 0; i < *n; i++) {
        float weight = s->weights[i];
        if (weight >= p->min_p && weight > 0) {
            s->choices[kept++] = (struct choice){weight, s->choices[i].id};
            total += (double)weight;
        }
    }
    *n = kept;
    return total;
}

/* Makes choices of all tokens of that weight and more, by id; their sum in *total. A block's sum is not less than any
 * of its weights. */
static uint32_t collect_heavy(struct sampler *s, float least, double *total)
{
    uint32_t n = 0;
    *total = 0;
    for (uint32_t b = 0; b < s->blocks; b++) {
        for (uint32_t i = b * ROW_BLOCK; s->sums[b] >= (double)least && i < block_end(s, b); i++) {
            s->choices[n] = (struct choice){s->weights[i], (int32_t)i};
            n += s->weights[i] >= least && s->weights[i] > 0;
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        *total += (double)s->choices[i].weight;
    }
    return n;
}

/* Makes choices of tokens among which the nucleus is: of the heavy ones if they reach top_p, else of lighter ones too, down
 * to where all that are lighter miss 1 - top_p together. */
static uint32_t collect_nucleus(struct sampler *s, float top_p, double total)
{
    const float last = (float)((1.0 - (double)top_p) * total / s->vocab);
    for (float least = 1.0F / 64;; least /= 64) {
        double reached;
        uint32_t n = collect_heavy(s, least > last ? least : last, &reached);
        if (least <= last || reached >= (double)top_p * total) {
            return n;
        }
    }
}

/* By id, blocks as a whole first. */
static int32_t draw_from_all(const struct sampler *s, double target)
{
    uint32_t block = 0;
    int32_t last = -1;
    for (uint32_t b = 0; b < s->blocks; b++) {
        if (s->sums[b] > 0) {
            block = b;
            if (target < s->sums[b]) {
                break;
            }
            target -= s->sums[b];
        }
    }
    for (uint32_t i = block * ROW_BLOCK; i < block_end(s, block) && (last < 0 || target >= 0); i++) {
        if (s->weights[i] > 0) {
            last = (int32_t)i;
            target -= (double)s->weights[i];
        }
    }
    return last;
}

/* top_k and top_p of n choices that weigh `total`, and the draw. */
static int32_t draw_from_heaviest(struct sampler *s, const struct sampler_params *p, uint32_t n, double total,
                                  double uniform)
{
    choices_sort(s->choices, s->spare, n);
    if (p->top_k) {
        n = choices_heaviest(s->choices, n, p->top_k, &total);
    }
    n = choices_nucleus(s->choices, n, p->top_p, &total);
    return choices_draw(s->choices, n, uniform * total);
}

int32_t sampler_pick(struct sampler *s, const struct sampler_params *p, const float *logits,
                     const int32_t *answer, size_t answer_n, const uint64_t *allowed)
{
    logits = change(s, p, logits, answer, answer_n, allowed);
    float largest = find_tops(s, logits);
    if (largest == -INFINITY) {
        return SAMPLER_NONE;
    }
    if (p->temperature <= 0 || !isfinite(steepness(p->temperature)) || !isfinite(largest)) {
        return place_of(s, logits, largest);
    }
    double uniform = sampler_uniform(p->seed, answer_n);
    uint32_t n;
    double total;
    if (p->min_p > 0 || p->top_k > 0) {
        n = collect_near(s, logits, largest, span_of(s, p, largest));
        total = weigh_choices(s, p, largest, &n);
        if (p->top_k == 0 && p->top_p >= 1) {
            return choices_draw(s->choices, n, uniform * total);
        }
    } else {
        total = weigh(s, logits, s->vocab, largest, p->temperature);
        if (p->top_p >= 1) {
            return draw_from_all(s, uniform * total);
        }
        n = collect_nucleus(s, p->top_p, total);
    }
    return draw_from_heaviest(s, p, n, total, uniform);
}

int32_t sampler_pick_among(struct sampler *s, const struct sampler_params *p, const struct candidates *c,
                           size_t answer_n)
{
    if (!(c->logits[0] > -INFINITY)) {
        return SAMPLER_NONE;
    }
    if (p->temperature <= 0 || !isfinite(steepness(p->temperature)) || !isfinite(c->logits[0])) {
        return c->ids[0];
    }
    uint32_t n = c->n;
    for (uint32_t i = 0; i < n; i++) {
        s->choices[i].id = c->ids[i];
        s->weights[i] = c->logits[i];
    }
    double total = weigh_choices(s, p, c->logits[0], &n);
    return draw_from_heaviest(s, p, n, total, sampler_uniform(p->seed, answer_n));
}

/* --- what the model thought -------------------------------------------------------------------------- */

static bool is_better(const float *logits, int32_t a, int32_t b)
{
    return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
}

/* Insertion into a short list, best first. */
static void keep_best(const float *logits, int32_t id, uint32_t most, struct token_logprob *out)
{
    uint32_t at = out->top_n;
    if (at == most && !is_better(logits, id, out->top[most - 1].id)) {
        return;
    }
    out->top_n += at < most;
    at -= at == most;
    for (; at > 0 && is_better(logits, id, out->top[at - 1].id); at--) {
        out->top[at] = out->top[at - 1];
    }
    out->top[at].id = id;
}

void sampler_logprob(struct sampler *s, const float *logits, int32_t id, uint32_t top_n,
                     struct token_logprob *out)
{
    float largest = find_tops(s, logits);
    float span = top_n ? span_of_best(s, largest, top_n) : 0;
    *out = (struct token_logprob){.id = id};
    for (uint32_t b = 0; top_n && b < s->blocks; b++) {
        for (uint32_t i = b * ROW_BLOCK; s->tops[b] - largest >= span && i < block_end(s, b); i++) {
            if (logits[i] - largest >= span) {
                keep_best(logits, (int32_t)i, top_n, out);
            }
        }
    }
    float log_sum = largest + (float)log(weigh(s, logits, s->vocab, largest, 1));
    out->logprob = logits[id] - log_sum;
    for (uint32_t i = 0; i < out->top_n; i++) {
        out->top[i].logprob = logits[out->top[i].id] - log_sum;
    }
}

void sampler_logprob_among(const struct candidates *c, int32_t id, uint32_t top_n, struct token_logprob *out)
{
    *out = (struct token_logprob){.id = id, .top_n = top_n < c->n ? top_n : c->n};
    for (uint32_t i = 0; i < c->n; i++) {
        if (c->ids[i] == id) {
            out->logprob = c->logits[i] - c->log_sum;
        }
    }
    for (uint32_t i = 0; i < out->top_n; i++) {
        out->top[i].id = c->ids[i];
        out->top[i].logprob = c->logits[i] - c->log_sum;
    }
}
