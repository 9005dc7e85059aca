/* One thing the public relies on (Sign-up, Log-in, a model) and what the probes say of it.
 *
 * Results enter a window of five. Three bad ones of five make it worse; three good ones in a row
 * make it better: a single lost packet changes nothing, and nothing flaps. `measured` is what the
 * probes say, `policy` what a sign-up notice says; what visitors are shown is the worse, and never
 * green without fresh results.
 *
 * Ownership: plain data, owned by the board. Units: *_ms of the wall clock, *_mono_ms monotonic.
 * Thread rule: used by one thread at a time. */
#ifndef TIDE_STATUS_COMPONENT_H
#define TIDE_STATUS_COMPONENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/http/problem.h"
#include "status/component_status.h"
#include "status/short_code.h"
#include "status/uptime.h"

enum component_kind {
    COMPONENT_SIGNUP = 0,
    COMPONENT_LOGIN = 1,
    COMPONENT_SMS = 2,
    COMPONENT_CHAT = 3,
    COMPONENT_MODEL = 4,
};

enum probe_outcome {
    PROBE_OK = 0,
    PROBE_SLOW = 1, /* right, but later than promised */
    PROBE_FAIL = 2,
};

enum { COMPONENT_WINDOW = 5, COMPONENT_VOTES = 3, COMPONENT_KEY_MAX = 104, COMPONENT_LABEL_MAX = 96 };

struct component {
    char key[COMPONENT_KEY_MAX];     /* "login", "model:NAME": names the row in PostgreSQL */
    char code[SHORT_CODE_LEN + 1];   /* of the key */
    char label[COMPONENT_LABEL_MAX]; /* the model's id; empty: the phrase of its kind */
    enum component_kind kind;
    enum component_status measured;     /* by the window */
    enum component_status derived;      /* by other components: Chat follows its models */
    enum component_status policy;       /* by the notices in force */
    enum component_status shown;        /* set by component_refresh */
    bool is_stale;                      /* no fresh result: set by component_refresh */
    uint8_t outcomes[COMPONENT_WINDOW]; /* enum probe_outcome, oldest first */
    unsigned outcome_count;
    uint64_t seen_mono_ms;      /* of the last result; 0 = none since the start */
    int64_t seen_ms;            /* of the last result, also from the snapshot; 0 = never */
    uint64_t bad_since_mono_ms; /* kept by watch.c: faulty since then; 0 = it is not */
    enum component_status told; /* kept by watch.c: its state as the open incident tells it */
    int64_t created_ms;
    int64_t updated_ms; /* `shown` changed */
    struct uptime uptime;
};

void component_init(struct component *c, enum component_kind kind, struct str label, int64_t now_ms);
/* Takes one result; true when `measured` changed. */
bool component_observe(struct component *c, enum probe_outcome outcome, int64_t now_ms, uint64_t mono_ms);
/* True when the last result does not agree with `measured`: worth asking again soon. */
bool component_is_in_doubt(const struct component *c);
/* What is wrong with it in earnest: the worse of measured and derived, without policy and
 * staleness. */
static inline enum component_status component_fault(const struct component *c)
{
    return component_status_worse(c->measured, c->derived);
}
/* Computes `shown` and `is_stale`; true when one of them changed. */
bool component_refresh(struct component *c, uint64_t stale_after_ms, int64_t now_ms, uint64_t mono_ms);
const char *component_name(const struct component *c, enum problem_lang lang);
const char *component_description(const struct component *c, enum problem_lang lang);

#endif
