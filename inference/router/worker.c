#include "inference/router/worker.h"

#include <stdio.h>
#include <stdlib.h>

#include <openssl/crypto.h>

#include "base/err.h"

const char *worker_state_name(enum worker_state s)
{
    static const char *const names[] = {"pending", "ready", "suspect", "draining", "down"};
    return names[s];
}

static struct worker_load *new_load(void)
{
    struct worker_load *l = aligned_alloc(alignof(struct worker_load), sizeof *l);
    BUG_ON(!l);
    memset(l, 0, sizeof *l);
    atomic_init(&l->refs, 1);
    atomic_init(&l->health, (uint8_t)WORKER_PENDING);
    return l;
}

static void unref_load(struct worker_load *l)
{
    if (atomic_fetch_sub(&l->refs, 1) == 1) {
        free(l);
    }
}

struct worker *worker_new(const struct worker_conf *conf, struct str api_key, uint32_t id)
{
    struct worker *w = aligned_alloc(alignof(struct worker), sizeof *w);
    BUG_ON(!w);
    memset(w, 0, sizeof *w);
    w->load = new_load();
    snprintf(w->name, sizeof w->name, "%s", conf->name);
    snprintf(w->target, sizeof w->target, "%s", conf->target);
    if (api_key.n > 0) {
        snprintf(w->authorization, sizeof w->authorization, "Bearer " STR_FMT, STR_ARG(api_key));
    }
    w->protocol = conf->protocol;
    w->ping_ms = conf->ping_ms;
    w->weight = conf->weight ? conf->weight : 100;
    w->slots = conf->slots;
    w->report_fresh_ms = conf->load_report ? conf->report_fresh_ms : 0;
    w->id = id;
    atomic_init(&w->refs, 1);
    breaker_init(&w->breaker);
    return w;
}

void worker_succeed(struct worker *w, const struct worker *old)
{
    unref_load(w->load);
    w->load = old->load;
    atomic_fetch_add_explicit(&w->load->refs, 1, memory_order_relaxed);
}

struct worker *worker_ref(struct worker *w)
{
    atomic_fetch_add_explicit(&w->refs, 1, memory_order_relaxed);
    return w;
}

void worker_unref(struct worker *w)
{
    if (w && atomic_fetch_sub(&w->refs, 1) == 1) {
        unref_load(w->load);
        OPENSSL_cleanse(w->authorization, sizeof w->authorization);
        free(w);
    }
}

enum worker_state worker_state(const struct worker *w)
{
    if (atomic_load_explicit(&w->load->draining, memory_order_relaxed)) {
        return WORKER_DRAINING;
    }
    enum worker_state s = (enum worker_state)atomic_load_explicit(&w->load->health, memory_order_relaxed);
    return s == WORKER_READY && breaker_state(&w->breaker) != BREAKER_CLOSED ? WORKER_SUSPECT : s;
}

bool worker_has_slot(const struct worker *w)
{
    int32_t n = atomic_load_explicit(&w->load->in_flight, memory_order_relaxed);
    return w->slots == 0 || n < (int32_t)w->slots;
}

bool worker_try_take(struct worker *w, int64_t tokens)
{
    int32_t n = atomic_fetch_add_explicit(&w->load->in_flight, 1, memory_order_relaxed);
    if (w->slots > 0 && n >= (int32_t)w->slots) {
        atomic_fetch_sub_explicit(&w->load->in_flight, 1, memory_order_relaxed);
        return false;
    }
    atomic_fetch_add_explicit(&w->load->tokens, tokens, memory_order_relaxed);
    return true;
}

void worker_give_back(struct worker *w, int64_t tokens)
{
    atomic_fetch_sub_explicit(&w->load->tokens, tokens, memory_order_relaxed);
    int32_t n = atomic_fetch_sub_explicit(&w->load->in_flight, 1, memory_order_relaxed);
    BUG_ON(n <= 0);
}

/* Two loops at once may lose one sample: it is an average. */
void worker_note_ttft(struct worker *w, uint64_t us)
{
    uint32_t new = us < UINT32_MAX / 8 ? (uint32_t)us : UINT32_MAX / 8;
    uint32_t old = atomic_load_explicit(&w->load->ttft_us, memory_order_relaxed);
    atomic_store_explicit(&w->load->ttft_us, old ? old - old / 8 + new / 8 : new, memory_order_relaxed);
}

void worker_note_progress(struct worker *w, uint64_t now_ms)
{
    atomic_store_explicit(&w->load->progress_ms, now_ms, memory_order_relaxed);
}

bool worker_status_is_refusal(unsigned status)
{
    return status == 401 || status == 402 || status == 403;
}

bool worker_note_refusal(struct worker *w)
{
    if (atomic_load_explicit(&w->refuses_key, memory_order_relaxed)) {
        if (atomic_exchange_explicit(&w->is_on_trial, false, memory_order_relaxed)) {
            worker_suspect(w);
        }
        return true;
    }
    atomic_store_explicit(&w->is_doubted, true, memory_order_relaxed);
    return false;
}

/* The router may be about to set refuses_key: then the next answer undoes it. */
bool worker_note_answer(struct worker *w)
{
    if (!atomic_load_explicit(&w->answered, memory_order_relaxed)) {
        atomic_store_explicit(&w->answered, true, memory_order_relaxed);
    }
    return atomic_load_explicit(&w->refuses_key, memory_order_relaxed) &&
           atomic_exchange_explicit(&w->refuses_key, false, memory_order_relaxed);
}

/* Of what it has, ours at this moment are known here, better and at once; only the rest is news. A request that has just
 * left or ended makes the rest wrong by one, until the next report. */
enum { OTHERS_MAX = 1000000 }; /* more is nonsense, and would not fit the products of the choice */

void worker_note_report(struct worker *w, const struct worker_report *r, uint64_t now_ms)
{
    int32_t ours = atomic_load_explicit(&w->load->in_flight, memory_order_relaxed);
    int32_t all = r->running + r->waiting;
    int32_t others = all > ours ? all - ours : 0;
    atomic_store_explicit(&w->load->others, others < OTHERS_MAX ? others : OTHERS_MAX, memory_order_relaxed);
    atomic_store_explicit(&w->load->kv_used, r->kv_used, memory_order_relaxed);
    atomic_store_explicit(&w->load->report_ms, now_ms, memory_order_relaxed);
    if (r->is_draining) {
        worker_suspect(w);
    }
}

unsigned worker_report_halves(const struct worker *w, uint64_t now_ms)
{
    uint64_t at = atomic_load_explicit(&w->load->report_ms, memory_order_relaxed);
    uint64_t age = now_ms > at ? now_ms - at : 0; /* a loop's time may be a little behind */
    if (at == 0 || age > 2 * w->report_fresh_ms) {
        return 0;
    }
    return age > w->report_fresh_ms ? 1 : 2;
}

void worker_suspect(struct worker *w)
{
    uint8_t ready = WORKER_READY;
    atomic_compare_exchange_strong(&w->load->health, &ready, (uint8_t)WORKER_SUSPECT);
}
