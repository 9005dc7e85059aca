#include "inference/router/table.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/id.h"

/* --- snapshot ----------------------------------------------------------------------------------------- */

/* That a worker serves a model. */
struct service {
    const char *model;
    unsigned worker;
};

static int by_model(const void *a, const void *b)
{
    const struct service *x = a, *y = b;
    int order = strcmp(x->model, y->model);
    return order != 0 ? order : (x->worker > y->worker) - (x->worker < y->worker);
}

static struct service *list_services(char (*const *models)[MODEL_NAME], const unsigned *model_counts,
                                     unsigned workers, unsigned *count)
{
    unsigned n = 0;
    for (unsigned i = 0; i < workers; i++) {
        n += model_counts[i];
    }
    struct service *list = calloc(n + 1, sizeof *list);
    BUG_ON(!list);
    *count = n;
    n = 0;
    for (unsigned i = 0; i < workers; i++) {
        for (unsigned k = 0; k < model_counts[i]; k++) {
            list[n++] = (struct service){models[i][k], i};
        }
    }
    qsort(list, n, sizeof *list, by_model);
    return list;
}

/* Models and who serves them, from a sorted list. A worker may name one twice. */
static void add_models(struct worker_table *t, const struct service *list, unsigned n)
{
    struct table_model *m = NULL;
    unsigned places = 0;
    t->models = calloc(n + 1, sizeof *t->models);
    t->places = calloc(n + 1, sizeof(struct worker *));
    BUG_ON(!t->models || !t->places);
    for (unsigned i = 0; i < n; i++) {
        if (!m || strcmp(m->name, list[i].model) != 0) {
            m = &t->models[t->model_count++];
            memcpy(m->name, list[i].model, strlen(list[i].model) + 1);
            m->workers = t->places + places;
        } else if (list[i].worker == list[i - 1].worker) {
            continue;
        }
        t->places[places++] = t->workers[list[i].worker];
        m->worker_count++;
    }
}

struct worker_table *worker_table_new(struct worker **workers, unsigned count,
                                      char (*const *models)[MODEL_NAME], const unsigned *model_counts)
{
    struct worker_table *t = calloc(1, sizeof *t);
    BUG_ON(!t);
    atomic_init(&t->refs, 1);
    t->workers = calloc(count + 1, sizeof(struct worker *));
    BUG_ON(!t->workers);
    t->worker_count = count;
    for (unsigned i = 0; i < count; i++) {
        t->workers[i] = worker_ref(workers[i]);
    }
    unsigned n = 0;
    struct service *list = list_services(models, model_counts, count, &n);
    add_models(t, list, n);
    free(list);
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
    free(t->workers);
    free(t->places);
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

enum {
    CANDIDATES = 4096,
    KV_USED_MAX = 95, /* percent that is told apart from full */
    FEW = 8,          /* so few workers are all looked at */
    DRAWS = 16,       /* of more, before all are looked at */
    MEAN_OF = 16,     /* workers for the mean of a request */
};

/* What is asked for, while a worker is chosen. */
struct choice {
    const struct table_model *model;
    const struct worker *exclude;
    int64_t tokens;
    uint64_t now_ms;
    int64_t mean; /* tokens of a request, for those of others; 0: not needed so far */
};

/* As of ours that run, and of the new one. Of many workers some that lie together are enough. */
static int64_t mean_tokens(const struct choice *c)
{
    const struct table_model *m = c->model;
    int64_t sum = c->tokens, count = 1;
    bool is_many = m->worker_count > MEAN_OF;
    unsigned at = is_many ? (unsigned)(id_fast_random() % m->worker_count) : 0;
    for (unsigned n = is_many ? MEAN_OF : m->worker_count; n > 0; n--) {
        const struct worker_load *l = m->workers[at]->load;
        sum += atomic_load_explicit(&l->tokens, memory_order_relaxed);
        count += atomic_load_explicit(&l->in_flight, memory_order_relaxed);
        at = at + 1 < m->worker_count ? at + 1 : 0;
    }
    return sum / count;
}

/* Outstanding tokens, ours and those of others, against the share of the KV cache that is free. */
static int64_t load_of(const struct worker *w, struct choice *c, unsigned halves)
{
    int64_t ours = atomic_load_explicit(&w->load->tokens, memory_order_relaxed);
    if (halves == 0) {
        return ours;
    }
    int64_t others = atomic_load_explicit(&w->load->others, memory_order_relaxed);
    int64_t used = atomic_load_explicit(&w->load->kv_used, memory_order_relaxed);
    used = (used < KV_USED_MAX ? used : KV_USED_MAX) * halves / 2;
    if (others > 0 && c->mean == 0) {
        c->mean = mean_tokens(c);
    }
    return (ours + others * c->mean * halves / 2) * 100 / (100 - used);
}

static bool is_less_loaded(const struct worker *a, const struct worker *b, struct choice *c)
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

/* Of this state, and might take the request if it has a slot. */
static bool is_usable(const struct worker *w, enum worker_state state, const struct choice *c)
{
    return w != c->exclude && atomic_load_explicit(&w->load->health, memory_order_relaxed) == state &&
           !atomic_load_explicit(&w->load->draining, memory_order_relaxed) &&
           breaker_would_admit(&w->breaker, c->now_ms);
}

static enum choose_result take(struct worker *w, const struct choice *c, struct worker_grant *out)
{
    if (!worker_try_take(w, c->tokens)) {
        return CHOOSE_BUSY;
    }
    enum breaker_admission a = breaker_admit(&w->breaker, c->now_ms);
    if (a == BREAKER_REFUSE) {
        worker_give_back(w, c->tokens);
        return CHOOSE_NONE;
    }
    *out = (struct worker_grant){worker_ref(w), c->tokens, a == BREAKER_ADMIT_PROBE};
    return CHOOSE_OK;
}

/* The better of two random ones that are ready and have a slot, so that a choice among a thousand costs what one among ten
 * does. NULL: there were no two in DRAWS. */
static struct worker *draw(struct choice *c)
{
    const struct table_model *m = c->model;
    struct worker *first = NULL;
    for (unsigned i = 0; i < DRAWS; i++) {
        struct worker *w = m->workers[id_fast_random() % m->worker_count];
        if (w == first || !is_usable(w, WORKER_READY, c) || !worker_has_slot(w)) {
            continue;
        }
        if (first) {
            return is_less_loaded(first, w, c) ? first : w;
        }
        first = w;
    }
    return NULL;
}

/* Takes a candidate out of the list: the better of two random ones. */
static struct worker *pick(struct worker **list, unsigned *n, struct choice *c)
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

/* Looks at all of this state: who is busy and who is gone is known only then, and the last free one is found. */
static enum choose_result choose_of_all(enum worker_state state, struct choice *c, struct worker_grant *out)
{
    const struct table_model *m = c->model;
    struct worker *list[m->worker_count < CANDIDATES ? m->worker_count + 1 : CANDIDATES];
    enum choose_result res = CHOOSE_NONE;
    unsigned n = 0;
    for (unsigned i = 0; i < m->worker_count && n < CANDIDATES; i++) {
        struct worker *w = m->workers[i];
        if (is_usable(w, state, c) && worker_has_slot(w)) {
            list[n++] = w;
        } else if (res == CHOOSE_NONE && is_usable(w, state, c)) {
            res = CHOOSE_BUSY;
        }
    }
    while (n > 0) {
        enum choose_result one = take(pick(list, &n, c), c, out);
        if (one == CHOOSE_OK) {
            return CHOOSE_OK;
        }
        res = one == CHOOSE_BUSY ? CHOOSE_BUSY : res;
    }
    return res;
}

enum choose_result worker_choose(const struct table_model *m, const struct worker *exclude, int64_t tokens,
                                 uint64_t now_ms, struct worker_grant *out)
{
    struct choice c = {m, exclude, tokens, now_ms, 0};
    struct worker *w = m->worker_count > FEW ? draw(&c) : NULL;
    if (w && take(w, &c, out) == CHOOSE_OK) {
        return CHOOSE_OK;
    }
    enum choose_result res = choose_of_all(WORKER_READY, &c, out);
    return res != CHOOSE_NONE ? res : choose_of_all(WORKER_SUSPECT, &c, out);
}

/* This table's worker, or NULL: one that was made anew meanwhile is not. */
static struct worker *find_worker(const struct table_model *m, const struct worker *w)
{
    for (unsigned i = 0; i < m->worker_count; i++) {
        if (m->workers[i] == w) {
            return m->workers[i];
        }
    }
    return NULL;
}

enum choose_result worker_choose_freed(const struct worker *freed, const struct table_model *m,
                                       const struct worker *exclude, int64_t tokens, uint64_t now_ms,
                                       struct worker_grant *out)
{
    struct choice c = {m, exclude, tokens, now_ms, 0};
    struct worker *w = freed ? find_worker(m, freed) : NULL;
    if (w && is_usable(w, WORKER_READY, &c)) {
        return take(w, &c, out);
    }
    return worker_choose(m, exclude, tokens, now_ms, out);
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
