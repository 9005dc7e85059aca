/* Stops sending requests to a worker that fails, and finds out with one request whether it is back.
 *
 *     CLOSED --(50 % of >= 5 results in 10 s failed, or 3 connect errors in a row)--> OPEN
 *     OPEN --(5 s, doubling to 60 s)--> the next request is the probe: HALF_OPEN
 *     HALF_OPEN --(probe fails)--> OPEN, twice as long; --(probe succeeds)--> CLOSED; others are refused
 *     HALF_OPEN --(30 s)--> the next request probes as well
 *
 * One probe begins at a time: the change to HALF_OPEN is one compare-and-swap of a word that holds state, number of
 * openings and time. A probe that ends without a verdict (its client left) puts OPEN back with its time in the past,
 * so that the next request probes. One that is out for long (an answer that is not streamed tells nothing before its
 * end) keeps others out for 30 s; its verdict counts whenever it comes.
 * Time: milliseconds of the monotonic clock, given by the caller.
 * Thread rule: any thread; all fields are relaxed atomics but for that word. */
#ifndef TIDE_ROUTER_BREAKER_H
#define TIDE_ROUTER_BREAKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    BREAKER_RING_S = 10,
    BREAKER_MIN_SAMPLES = 5,
    BREAKER_FAIL_PERCENT = 50,
    BREAKER_CONNECT_ERRORS = 3,
    BREAKER_OPEN_MS = 5000,
    BREAKER_OPEN_MAX_MS = 60000,
    BREAKER_PROBE_MS = 30000, /* for which others wait for a probe's verdict */
};

enum breaker_state { BREAKER_CLOSED = 0, BREAKER_OPEN = 1, BREAKER_HALF_OPEN = 2 };
enum breaker_result {
    BREAKER_OK = 0,           /* answered, also with a 4xx */
    BREAKER_FAIL = 1,         /* 5xx, time-out, broken answer */
    BREAKER_CONNECT_FAIL = 2, /* no connection */
    BREAKER_NO_VERDICT = 3,   /* canceled by us, or refused (401, 402, 403, 429), which says nothing */
};
enum breaker_admission { BREAKER_ADMIT = 0, BREAKER_ADMIT_PROBE = 1, BREAKER_REFUSE = 2 };

struct breaker {
    _Atomic uint64_t word;                 /* until_ms << 8 | openings << 2 | state */
    _Atomic uint32_t connect_errors;       /* in a row */
    _Atomic uint32_t opened;               /* times it went open, for metrics */
    _Atomic uint64_t ring[BREAKER_RING_S]; /* second << 32 | failed << 16 | all */
};

void breaker_init(struct breaker *b);
/* May a request go there now? BREAKER_ADMIT_PROBE: it is a probe, its result must be noted as such. */
enum breaker_admission breaker_admit(struct breaker *b, uint64_t now_ms);
bool breaker_would_admit(const struct breaker *b, uint64_t now_ms); /* looks, changes nothing */
void breaker_note(struct breaker *b, uint64_t now_ms, enum breaker_result result, bool is_probe);
enum breaker_state breaker_state(const struct breaker *b);
const char *breaker_state_name(enum breaker_state s);

#endif
