#include "inference/worker/sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct choice {
    float weight; /* relative to the best token, which has 1 */
    int32_t id;
};

struct sampler {
    uint32_t vocab;
    float *work;            /* logits with mask, bias and penalties */
    float *weights;         /* of all tokens */
    struct choice *choices; /* those that pass the filters */
    bool *seen;             /* tokens that got their presence penalty; all false between calls */
};

struct sampler *sampler_new(uint32_t vocab)
{
    struct sampler *s = calloc(1, sizeof *s);
    if (!s) {
        return NULL;
    }
    s->vocab = vocab;
    s->work = malloc(vocab * sizeof *s->work);
    s->weights = malloc(vocab * sizeof *s->weights);
    s->choices = malloc(vocab * sizeof *s->choices);
    s->seen = calloc(vocab, sizeof *s->seen);
    if (!s->work || !s->weights || !s->choices || !s->seen) {
        sampler_free(s);
        return NULL;
    }
    return s;
}

void sampler_free(struct sampler *s)
{
    if (s) {
        free(s->work);
        free(s->weights);
        free(s->choices);
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

static void penalize(struct sampler *s, const struct sampler_params *p, const int32_t *answer, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        s->work[answer[i]] -= p->frequency_penalty;
        if (!s->seen[answer[i]]) {
            s->seen[answer[i]] = true;
            s->work[answer[i]] -= p->presence_penalty;
        }
    }
    for (size_t i = 0; i < n; i++) {
        s->seen[answer[i]] = false;
    }
}

static void mask(struct sampler *s, const uint64_t *allowed)
{
    for (uint32_t i = 0; i < s->vocab; i++) {
        if (!(allowed[i / 64] >> (i % 64) & 1)) {
            s->work[i] = -INFINITY;
        }
    }
}

static bool has_penalties(const struct sampler_params *p)
{
    return p->presence_penalty != 0 || p->frequency_penalty != 0;
}

bool sampler_picks_best(const struct sampler_params *p)
{
    return p->temperature <= 0 && !has_penalties(p) && p->bias_n == 0;
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

static uint32_t best_of(const float *logits, uint32_t n)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++) {
        if (logits[i] > logits[best] || isnan(logits[best])) {
            best = i;
        }
    }
    return best;
}

/* e^x for x <= 0 to about 1e-7, in a form that compilers turn into vector code; 0 below -80 and for NaN. */
static inline float decay(float x)
{
    float n = (float)(int)(x * 1.44269504F - 0.5F);
    float r = (x - n * 0.693359375F) + n * 2.12194440e-4F;
    float p =
        1.0F +
        r * (1.0F + r * (0.5F + r * (1.0F / 6 + r * (1.0F / 24 + r * (1.0F / 120 + r * (1.0F / 720))))));
    int32_t bits = ((int32_t)n + 127) << 23;
    float power;
    memcpy(&power, &bits, sizeof power);
    return p * power;
}

static void weigh(struct sampler *s, const float *logits, float largest, float temperature)
{
    float inverse = 1.0F / temperature;
    for (uint32_t i = 0; i < s->vocab; i++) {
        float x = (logits[i] - largest) * inverse;
        float inside = x > -80.0F ? x : -80.0F; /* also for NaN */
        s->weights[i] = x > -80.0F ? decay(inside) : 0.0F;
    }
}

static double total_from(const struct sampler *s, float cut)
{
    double total = 0;
    for (uint32_t i = 0; i < s->vocab; i++) {
        total += s->weights[i] >= cut ? (double)s->weights[i] : 0.0;
    }
    return total;
}

static int32_t draw_from_all(const struct sampler *s, float cut, double target)
{
    int32_t last = -1;
    for (uint32_t i = 0; i < s->vocab; i++) {
        if (s->weights[i] >= cut && s->weights[i] > 0) {
            last = (int32_t)i;
            target -= (double)s->weights[i];
            if (target < 0) {
                break;
            }
        }
    }
    return last;
}

static int by_weight(const void *a, const void *b) /* heaviest first, then lowest id */
{
    const struct choice *x = a;
    const struct choice *y = b;
    if (x->weight != y->weight) {
        return x->weight < y->weight ? 1 : -1;
    }
    return (x->id > y->id) - (x->id < y->id);
}

static size_t collect(struct sampler *s, float cut)
{
    size_t n = 0;
    for (uint32_t i = 0; i < s->vocab; i++) {
        if (s->weights[i] >= cut && s->weights[i] > 0) {
            s->choices[n++] = (struct choice){s->weights[i], (int32_t)i};
        }
    }
    qsort(s->choices, n, sizeof *s->choices, by_weight);
    return n;
}

/* The nucleus: the heaviest choices that together reach top_p of `total`. Leaves their sum in *total. */
static size_t keep_nucleus(const struct sampler *s, size_t n, float top_p, double *total)
{
    double wanted = (double)top_p * *total;
    double sum = 0;
    size_t kept = 0;
    while (kept < n && (kept == 0 || sum < wanted)) {
        sum += (double)s->choices[kept++].weight;
    }
    *total = sum;
    return kept;
}

static int32_t draw_from_choices(struct sampler *s, const struct sampler_params *p, float cut, double total,
                                 double uniform)
{
    float tail = 0; /* what is lighter cannot be in the nucleus: all such tokens together miss 1 - top_p */
    if (p->top_p < 1 && p->top_k == 0) {
        tail = (float)((1.0 - (double)p->top_p) * total / s->vocab);
    }
    size_t n = collect(s, tail > cut ? tail : cut);
    if (p->top_k && n > p->top_k) {
        n = p->top_k;
    }
    if (p->top_k) {
        total = 0;
        for (size_t i = 0; i < n; i++) {
            total += (double)s->choices[i].weight;
        }
    }
    n = keep_nucleus(s, n, p->top_p, &total);
    double target = uniform * total;
    size_t i = 0;
    for (; i + 1 < n; i++) {
        target -= (double)s->choices[i].weight;
        if (target < 0) {
            break;
        }
    }
    return s->choices[i].id;
}

int32_t sampler_pick(struct sampler *s, const struct sampler_params *p, const float *logits,
                     const int32_t *answer, size_t answer_n, const uint64_t *allowed)
{
    logits = change(s, p, logits, answer, answer_n, allowed);
    uint32_t best = best_of(logits, s->vocab);
    if (p->temperature <= 0 || !isfinite(logits[best])) {
        return (int32_t)best;
    }
    weigh(s, logits, logits[best], p->temperature);
    double total = total_from(s, p->min_p);
    double uniform = sampler_uniform(p->seed, answer_n);
    if (p->top_p >= 1 && p->top_k == 0) {
        return draw_from_all(s, p->min_p, uniform * total);
    }
    return draw_from_choices(s, p, p->min_p, total, uniform);
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

void sampler_logprob(const struct sampler *s, const float *logits, int32_t id, uint32_t top_n,
                     struct token_logprob *out)
{
    float largest = logits[best_of(logits, s->vocab)];
    double total = 0;
    *out = (struct token_logprob){.id = id};
    for (uint32_t i = 0; i < s->vocab; i++) {
        total += (double)expf(logits[i] - largest);
        if (top_n > 0) {
            keep_best(logits, (int32_t)i, top_n, out);
        }
    }
    float log_sum = largest + (float)log(total);
    out->logprob = logits[id] - log_sum;
    for (uint32_t i = 0; i < out->top_n; i++) {
        out->top[i].logprob = logits[out->top[i].id] - log_sum;
    }
}
