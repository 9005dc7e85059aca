/* One inference worker as the gateway sees it: where it is, how much it has to do, whether it is well.
 * Not a connection (origins.h) and not the choice among workers (table.h).
 *
 *     PENDING --probe ok, models known--> READY <--probe--> SUSPECT --3 failed probes--> DOWN --probe ok--> READY
 *     any --operator--> DRAINING (gets nothing new) --operator--> back
 *
 * Changed settings make a new worker; what the server has to do stays: worker_succeed.
 * Ownership: reference-counted; tables and grants hold references. A load belongs to all workers that share it.
 * Thread rule: name, target, protocol, key, weight and slots are fixed at birth; all else is relaxed atomics, read and
 * written by every loop. The hot ones share one cache line. */
#ifndef TIDE_ROUTER_WORKER_H
#define TIDE_ROUTER_WORKER_H

#include <stdalign.h>

#include "base/str.h"
#include "inference/router/breaker.h"
#include "inference/router/worker_conf.h"
#include "inference/router/worker_report.h"

enum { WORKER_NAME = 64, WORKER_TARGET = 256, WORKER_KEY = 256, WORKER_MODELS = 32, MODEL_NAME = 128 };

enum worker_state {
    WORKER_PENDING = 0, /* never answered a probe */
    WORKER_READY = 1,
    WORKER_SUSPECT =
        2, /* a probe or a connection failed lately, or it refuses our key: used only when nothing better
                            is there */
    WORKER_DRAINING = 3, /* the operator's wish */
    WORKER_DOWN = 4,     /* probes fail */
};
const char *worker_state_name(enum worker_state s);

/* Of the server, whatever the settings with which it is asked. */
struct worker_load {
    alignas(64) _Atomic int64_t tokens; /* outstanding: prompt and expected answer of what runs */
    _Atomic int32_t in_flight;          /* requests */
    _Atomic uint32_t ttft_us;           /* moving average of time to first token, 0: none yet */
    _Atomic uint64_t progress_ms;       /* monotonic, when it last sent something for a request */
    _Atomic uint64_t report_ms;         /* monotonic, when it last told its load; 0: never */
    _Atomic int32_t others;             /* requests that it had then beyond ours */
    _Atomic uint8_t kv_used;            /* percent of its KV cache, then */
    _Atomic uint8_t health;             /* enum worker_state, never DRAINING */
    _Atomic bool draining;
    atomic_uint refs; /* workers */
};

struct worker {
    alignas(64) struct worker_load *load;
    uint32_t weight, slots;
    uint64_t report_fresh_ms; /* worker_conf.h; 0: it is not listened to */
    struct breaker breaker;
    _Atomic bool is_doubted;  /* it refused a request, which may be for our key: the router will ask */
    _Atomic bool refuses_key; /* it refused what the router asked */
    _Atomic bool is_on_trial; /* likewise, and yet READY, until it refuses a request as well */
    _Atomic bool answered;    /* a request with 200, since the router asked last */
    char name[WORKER_NAME];
    char target[WORKER_TARGET];
    char authorization[WORKER_KEY + 8]; /* "Bearer ..." or empty */
    enum http_origin_protocol protocol;
    uint64_t ping_ms; /* HTTP/2; worker_conf.h */
    uint32_t id;      /* unique in the router */
    atomic_uint refs;
    _Atomic uint64_t requests, failures;
};

/* api_key: the content of conf->api_key_file, or empty. */
struct worker *worker_new(const struct worker_conf *conf, struct str api_key, uint32_t id);
/* Before anybody else has w: it asks the same server as `old`, so that what runs there counts for both. */
void worker_succeed(struct worker *w, const struct worker *old);
struct worker *worker_ref(struct worker *w);
void worker_unref(struct worker *w);

enum worker_state worker_state(const struct worker *w);
/* One more request of so many tokens; false when its slots are taken. */
bool worker_try_take(struct worker *w, int64_t tokens);
void worker_give_back(struct worker *w, int64_t tokens);
bool worker_has_slot(const struct worker *w);
void worker_note_ttft(struct worker *w, uint64_t us);
void worker_note_progress(struct worker *w, uint64_t now_ms);
/* Statuses that are for our key or our bill; or for the request, as of servers that filter content. */
bool worker_status_is_refusal(unsigned status);
/* It answered a user's request so. True: it is known to do so to everybody, for our key. Ends a trial. */
bool worker_note_refusal(struct worker *w);
/* It answered a user's request with 200, and so takes our key. True: it was thought to refuse it. */
bool worker_note_answer(struct worker *w);
/* What it told; one thread a worker. A worker that drains becomes SUSPECT. */
void worker_note_report(struct worker *w, const struct worker_report *r, uint64_t now_ms);
unsigned worker_report_halves(const struct worker *w, uint64_t now_ms); /* what its report counts: 2, 1, 0 */
void worker_suspect(
    struct worker *w); /* a connection failed: READY becomes SUSPECT until a probe says more */

#endif
