/* What an answer to a probe proves. Pure: no sockets, no clocks.
 *
 * VERDICT_NONE is "it proves nothing": the probe itself was refused (401, 403, 429), so the component goes stale
 * rather than red or green.
 * Thread rule: pure functions; a struct sms_history belongs to one thread. */
#ifndef TIDE_STATUS_VERDICT_H
#define TIDE_STATUS_VERDICT_H

#include "base/json.h"
#include "status/component.h"
#include "status/prober.h"

enum verdict {
    VERDICT_OK = 0,
    VERDICT_SLOW = 1,
    VERDICT_FAIL = 2,
    VERDICT_NONE = 3,
};
const char *verdict_word(enum verdict v); /* "ok", "slow", "fail", "none" */

/* GET /auth/v1/settings: 200 and an object. *settings (NULL allowed) is the object, freed by the caller. */
enum verdict verdict_of_settings(const struct prober_result *r, uint64_t slow_ms, cJSON **settings);
/* A refresh with a token that cannot be right: 400 and an object. */
enum verdict verdict_of_token(const struct prober_result *r, uint64_t slow_ms);
/* GET /v1/models: 200 and a list under "data". */
enum verdict verdict_of_models(const struct prober_result *r, uint64_t slow_ms, cJSON **models);
/* POST /v1/chat/completions: 200 and at least one choice. */
enum verdict verdict_of_chat(const struct prober_result *r, uint64_t slow_ms);
/* Any 2xx. */
enum verdict verdict_of_health(const struct prober_result *r, uint64_t slow_ms);
enum verdict verdict_worse(enum verdict a, enum verdict b); /* NONE yields to the other */

/* SMS as the gateway counts it: bad while newly counted failures outnumber newly counted successes, until sends
 * succeed again or nothing was sent for SMS_FORGET_MS. */
enum { SMS_FORGET_MS = 600000 };
struct sms_history {
    bool is_primed;
    bool is_bad;
    double sent; /* counters as last read */
    double failed;
    uint64_t last_mono_ms; /* something was sent */
};
enum verdict verdict_of_sms(struct sms_history *h, double sent, double failed, uint64_t mono_ms);

#endif
