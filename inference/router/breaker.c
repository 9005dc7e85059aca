#include "inference/router/breaker.h"

#include "base/err.h"

static uint64_t pack(enum breaker_state state, unsigned openings, uint64_t until_ms)
{
    return until_ms << 8 | (uint64_t)(openings & 63) << 2 | (uint64_t)state;
}

static enum breaker_state word_state(uint64_t word)
{
    return (enum breaker_state)(word & 3);
}

static unsigned word_openings(uint64_t word)
{
    return (unsigned)(word >> 2) & 63;
}

static uint64_t word_until(uint64_t word)
{
    return word >> 8;
}

void breaker_init(struct breaker *b)
{
    atomic_init(&b->word, pack(BREAKER_CLOSED, 0, 0));
    atomic_init(&b->connect_errors, 0);
    atomic_init(&b->opened, 0);
    for (unsigned i = 0; i < BREAKER_RING_S; i++) {
        atomic_init(&b->ring[i], 0);
    }
}

enum breaker_state breaker_state(const struct breaker *b)
{
    return word_state(atomic_load(&b->word));
}

const char *breaker_state_name(enum breaker_state s)
{
    static const char *const names[] = {"closed", "open", "half_open"};
    return names[s];
}

bool breaker_would_admit(const struct breaker *b, uint64_t now_ms)
{
    uint64_t word = atomic_load_explicit(&b->word, memory_order_relaxed);
    return word_state(word) == BREAKER_CLOSED || now_ms >= word_until(word);
}

enum breaker_admission breaker_admit(struct breaker *b, uint64_t now_ms)
{
    uint64_t word = atomic_load_explicit(&b->word, memory_order_relaxed);
    if (word_state(word) == BREAKER_CLOSED) {
        return BREAKER_ADMIT;
    }
    if (now_ms < word_until(word)) {
        return BREAKER_REFUSE;
    }
    uint64_t probing = pack(BREAKER_HALF_OPEN, word_openings(word), now_ms + BREAKER_PROBE_MS);
    return atomic_compare_exchange_strong(&b->word, &word, probing) ? BREAKER_ADMIT_PROBE : BREAKER_REFUSE;
}

static void clear_ring(struct breaker *b)
{
    for (unsigned i = 0; i < BREAKER_RING_S; i++) {
        atomic_store_explicit(&b->ring[i], 0, memory_order_relaxed);
    }
}

static void count(struct breaker *b, uint64_t now_ms, bool failed)
{
    uint64_t second = (now_ms / 1000) & 0xffffffff;
    _Atomic uint64_t *slot = &b->ring[second % BREAKER_RING_S];
    uint64_t old = atomic_load_explicit(slot, memory_order_relaxed);
    uint64_t new;
    do {
        uint64_t all = old >> 32 == second ? old & 0xffff : 0;
        uint64_t bad = old >> 32 == second ? old >> 16 & 0xffff : 0;
        if (all == 0xffff) {
            return; /* the second has said enough */
        }
        new = second << 32 | (bad + failed) << 16 | (all + 1);
    } while (!atomic_compare_exchange_weak(slot, &old, new));
}

static bool ring_is_bad(const struct breaker *b, uint64_t now_ms)
{
    uint64_t second = (now_ms / 1000) & 0xffffffff;
    uint64_t all = 0, bad = 0;
    for (unsigned i = 0; i < BREAKER_RING_S; i++) {
        uint64_t slot = atomic_load_explicit(&b->ring[i], memory_order_relaxed);
        if (((second - (slot >> 32)) & 0xffffffff) < BREAKER_RING_S) {
            all += slot & 0xffff;
            bad += slot >> 16 & 0xffff;
        }
    }
    return all >= BREAKER_MIN_SAMPLES && bad * 100 >= all * BREAKER_FAIL_PERCENT;
}

static uint64_t open_for_ms(unsigned openings)
{
    uint64_t ms = BREAKER_OPEN_MS;
    while (openings-- > 1 && ms < BREAKER_OPEN_MAX_MS) {
        ms *= 2;
    }
    return ms < BREAKER_OPEN_MAX_MS ? ms : BREAKER_OPEN_MAX_MS;
}

/* From state `from` only: somebody else's change stands. */
static void open_from(struct breaker *b, uint64_t now_ms, enum breaker_state from)
{
    uint64_t word = atomic_load(&b->word);
    while (word_state(word) == from) {
        unsigned openings = word_openings(word) < 62 ? word_openings(word) + 1 : 62;
        uint64_t open = pack(BREAKER_OPEN, openings, now_ms + open_for_ms(openings));
        if (atomic_compare_exchange_weak(&b->word, &word, open)) {
            atomic_fetch_add_explicit(&b->opened, 1, memory_order_relaxed);
            clear_ring(b);
            return;
        }
    }
}

static void note_result(struct breaker *b, uint64_t now_ms, enum breaker_result result)
{
    if (result == BREAKER_NO_VERDICT) {
        return;
    }
    count(b, now_ms, result != BREAKER_OK);
    uint32_t in_a_row = 0;
    if (result == BREAKER_CONNECT_FAIL) {
        in_a_row = atomic_fetch_add(&b->connect_errors, 1) + 1;
    } else if (atomic_load_explicit(&b->connect_errors, memory_order_relaxed) != 0) {
        atomic_store_explicit(&b->connect_errors, 0, memory_order_relaxed);
    }
    if (result != BREAKER_OK && (in_a_row >= BREAKER_CONNECT_ERRORS || ring_is_bad(b, now_ms))) {
        open_from(b, now_ms, BREAKER_CLOSED);
    }
}

/* Not closed, when this probe began: a later one may have opened it again meanwhile. */
static void note_probe(struct breaker *b, uint64_t now_ms, enum breaker_result result)
{
    uint64_t word = atomic_load(&b->word);
    switch (result) {
    case BREAKER_OK: /* however late: it works */
        clear_ring(b);
        atomic_store(&b->connect_errors, 0);
        atomic_store(&b->word, pack(BREAKER_CLOSED, 0, 0));
        break;
    case BREAKER_NO_VERDICT:
        if (word_state(word) == BREAKER_HALF_OPEN) {
            uint64_t open = pack(BREAKER_OPEN, word_openings(word), now_ms);
            (void)atomic_compare_exchange_strong(&b->word, &word, open);
        }
        break;
    default:
        open_from(b, now_ms, BREAKER_HALF_OPEN);
    }
}

void breaker_note(struct breaker *b, uint64_t now_ms, enum breaker_result result, bool is_probe)
{
    if (is_probe && breaker_state(b) != BREAKER_CLOSED) {
        note_probe(b, now_ms, result);
    } else { /* a probe that others were quicker than is a request like any */
        note_result(b, now_ms, result);
    }
}
