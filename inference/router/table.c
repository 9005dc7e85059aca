#include "inference/router/table.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/id.h"

enum { CANDIDATES = 4096 };

/* --- snapshot ----------------------------------------------------------------------------------------- */

static int compare_models(const void *a, const void *b)
{
    return strcmp(((const struct table_model *)a)->name, ((const struct table_model *)b)->name);
}

static struct table_model *find_or_add(struct worker_table *t, const char *name)
{
    for (unsigned i = 0; i < t->model_count; i++) {
        if (strcmp(t->models[i].name, name) == 0) {
            return &t->models[i];
        }
    }
    struct table_model *m = &t->models[t->model_count++];
    memcpy(m->name, name, strlen(name) + 1);
    m->workers = calloc(t->worker_count, sizeof *m->workers);
    BUG_ON(!m->workers);
    return m;
}

struct worker_table *worker_table_new(struct worker **workers, unsigned count,
                                      char (*const *models)[MODEL_NAME], const unsigned *model_counts)
{
    struct worker_table *t = calloc(1, sizeof *t);
    BUG_ON(!t);
    atomic_init(&t->refs, 1);
    unsigned names = 0;
    for (unsigned i = 0; i < count; i++) {
        names += model_counts[i];
    }
    t->workers = calloc(count + 1, sizeof *t->workers);
    t->models = calloc(names + 1, sizeof *t->models);
    BUG_ON(!t->workers || !t->models);
    t->worker_count = count;
    for (unsigned i = 0; i < count; i++) {
        t->workers[i] = worker_ref(workers[i]);
        for (unsigned k = 0; k < model_counts[i]; k++) {
            struct table_model *m = find_or_add(t, models[i][k]);
            if (m->worker_count == 0 ||
                m->workers[m->worker_count - 1] != i) { /* a worker may name one twice */
                m->workers[m->worker_count++] = i;
            }
        }
    }
    qsort(t->models, t->model_count, sizeof *t->models, compare_models);
    return t;
}

struct worker_table *worker_table_ref(struct worker_table *t)
{
    atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    return t;
}

void worker_table_unref(struct worker_table *t)
{
    if (!t || atomic_fetch_sub(&t->refs, 1) != 1) {
        return;
    }
    for (unsigned i = 0; i < t->worker_count; i++) {
        worker_unref(t->workers[i]);
    }
    for (unsigned i = 0; i < t->model_count; i++) {
        free(t->models[i].workers);
    }
    free(t->workers);
    free(t->models);
    free(t);
}

struct table_model *worker_table_model(const struct worker_table *t, struct str name)
{
    unsigned low = 0, high = t->model_count;
    while (low < high) {
        unsigned mid = (low + high) / 2;
        struct str at = str_from(t->models[mid].name);
        int order = memcmp(name.p, at.p, name.n < at.n ? name.n : at.n);
        order = order != 0 ? order : (name.n > at.n) - (name.n < at.n);
        if (order == 0) {
            return &t->models[mid];
        }
        if (order < 0) {
            high = mid;
        } else {
            low = mid + 1;
        }
    }
    return NULL;
}

/* --- choice ------------------------------------------------------------------------------------------- */

enum { KV_USED_MAX = 95 }; /* percent that is told apart from full */

/* What is asked of a worker while one is chosen. */
struct choice {
    uint64_t now_ms;
    int64_t mean; /* tokens of a request, for those of others: as of ours that run, and of the new one */
};

static int64_t mean_tokens(struct worker *const *list, unsigned n, int64_t tokens)
{
    int64_t sum = tokens, count = 1;
    for (unsigned i = 0; i < n; i++) {
        sum += atomic_load_explicit(&list[i]->load->tokens, memory_order_relaxed);
        count += atomic_load_explicit(&list[i]->load->in_flight, memory_order_relaxed);
    }
    return sum / count;
}

/* Outstanding tokens, ours and those of others, against the share of the KV cache that is free. */
static int64_t load_of(const struct worker *w, const struct choice *c, unsigned halves)
{
    int64_t ours = atomic_load_explicit(&w->load->tokens, memory_order_relaxed);
    int64_t others = atomic_load_explicit(&w->load->others, memory_order_relaxed);
    int64_t used = atomic_load_explicit(&w->load->kv_used, memory_order_relaxed);
    used = (used < KV_USED_MAX ? used : KV_USED_MAX) * halves / 2;
    return (ours + others * c->mean * halves / 2) * 100 / (100 - used);
}

static bool is_less_loaded(const struct worker *a, const struct worker *b, const struct choice *c)
{
    unsigned ha = worker_report_halves(a, c->now_ms), hb = worker_report_halves(b, c->now_ms);
    unsigned halves = ha < hb ? ha : hb; /* who falls silent must not look idle beside those who tell */
    int64_t ta = load_of(a, c, halves) * (int64_t)b->weight;
    int64_t tb = load_of(b, c, halves) * (int64_t)a->weight;
    if (ta != tb) {
        return ta < tb;
    }
    int32_t na = atomic_load_explicit(&a->load->in_flight, memory_order_relaxed);
    int32_t nb = atomic_load_explicit(&b->load->in_flight, memory_order_relaxed);
    return na != nb ? na < nb : (id_fast_random() & 1) != 0;
}

/* Takes a candidate out of the list: the better of two random ones. */
static struct worker *pick(struct worker **list, unsigned *n, const struct choice *c)
{
    unsigned a = 0;
    if (*n >= 2) {
        a = (unsigned)(id_fast_random() % *n);
        unsigned b = (unsigned)(id_fast_random() % (*n - 1));
        b += b >= a;
        a = is_less_loaded(list[a], list[b], c) ? a : b;
    }
    struct worker *w = list[a];
    list[a] = list[--*n];
    return w;
}

/* Workers of this state that might take the request; *busy tells of those whose slots are taken. */
static unsigned gather(const struct worker_table *t, const struct table_model *m,
                       const struct worker *exclude, uint64_t now_ms, bool suspects, struct worker **list,
                       bool *busy)
{
    unsigned n = 0;
    for (unsigned i = 0; i < m->worker_count && n < CANDIDATES; i++) {
        struct worker *w = t->workers[m->workers[i]];
        uint8_t health = atomic_load_explicit(&w->load->health, memory_order_relaxed);
        bool usable = w != exclude && !atomic_load_explicit(&w->load->draining, memory_order_relaxed) &&
                      health == (suspects ? WORKER_SUSPECT : WORKER_READY) &&
                      breaker_would_admit(&w->breaker, now_ms);
        if (usable && !worker_has_slot(w)) {
            *busy = true;
        } else if (usable) {
            list[n++] = w;
        }
    }
    return n;
}

enum choose_result worker_choose(const struct worker_table *t, const struct table_model *m,
                                 const struct worker *exclude, int64_t tokens, uint64_t now_ms,
                                 struct worker_grant *out)
{
    struct worker *list[m->worker_count < CANDIDATES ? m->worker_count + 1 : CANDIDATES];
    bool busy = false;
    for (int suspects = 0; suspects < 2 && !busy; suspects++) {
        unsigned n = gather(t, m, exclude, now_ms, suspects, list, &busy);
        struct choice c = {now_ms, mean_tokens(list, n, tokens)};
        while (n > 0) {
            struct worker *w = pick(list, &n, &c);
            if (!worker_try_take(w, tokens)) {
                busy = true;
                continue;
            }
            enum breaker_admission a = breaker_admit(&w->breaker, now_ms);
            if (a != BREAKER_REFUSE) {
                *out = (struct worker_grant){worker_ref(w), tokens, a == BREAKER_ADMIT_PROBE};
                return CHOOSE_OK;
            }
            worker_give_back(w, tokens);
        }
    }
    return busy ? CHOOSE_BUSY : CHOOSE_NONE;
}

void worker_grant_note(struct worker_grant *g, uint64_t now_ms, enum breaker_result result)
{
    bool was_probe = g->is_probe;
    g->is_probe = false;
    breaker_note(&g->worker->breaker, now_ms, result, was_probe);
}

void worker_grant_end(struct worker_grant *g, uint64_t now_ms)
{
    if (!g->worker) {
        return;
    }
    if (g->is_probe) {
        worker_grant_note(g, now_ms, BREAKER_NO_VERDICT);
    }
    worker_give_back(g->worker, g->tokens);
    worker_unref(g->worker);
    g->worker = NULL;
}
