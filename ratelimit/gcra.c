#include "ratelimit/gcra.h"

#include <stddef.h>

typedef unsigned __int128 u128;

static const uint64_t UNITS_MAX = 1000000000000ull;         /* limit, burst, cost */
static const int64_t SPAN_MAX_US = 400ll * 86400 * 1000000; /* period, tau, cap: far below Lua's 2^53 */
static const int64_t INC_MAX_US = 4000000000000000ll;       /* "never": above any tau, below 2^53 */

bool gcra_init(struct gcra *g, uint64_t limit, uint64_t period_us, uint64_t burst, uint64_t debt)
{
    if (limit < 1 || limit > UNITS_MAX || burst < 1 || burst > UNITS_MAX || debt > UNITS_MAX ||
        period_us < 1 || period_us > (uint64_t)SPAN_MAX_US) {
        return false;
    }
    struct gcra made = {.limit = limit, .period_us = period_us, .burst = burst};
    u128 tau = (u128)burst * period_us / limit;
    int64_t unit = gcra_inc_us(&made, 1);
    u128 cap = (tau > (u128)unit ? tau : (u128)unit) + (u128)debt * period_us / limit;
    if (cap > (u128)SPAN_MAX_US) {
        return false;
    }
    made.tau_us = tau > (u128)unit ? (int64_t)tau : unit;
    made.cap_us = (int64_t)cap;
    *g = made;
    return true;
}

int64_t gcra_inc_us(const struct gcra *g, uint64_t cost)
{
    uint64_t c = cost < UNITS_MAX ? cost : UNITS_MAX;
    u128 inc = ((u128)c * g->period_us + g->limit - 1) / g->limit;
    return inc < (u128)INC_MAX_US ? (int64_t)inc : INC_MAX_US;
}

uint64_t gcra_remaining(const struct gcra *g, int64_t used_us)
{
    if (used_us >= g->tau_us) {
        return 0;
    }
    uint64_t left_us = (uint64_t)(g->tau_us - (used_us > 0 ? used_us : 0));
    uint64_t units = (uint64_t)((u128)left_us * g->limit / g->period_us);
    return units < g->burst ? units : g->burst;
}

int64_t gcra_retry_us(const struct gcra *g, int64_t d_us, int64_t inc_us)
{
    if (inc_us > g->tau_us) {
        return GCRA_NEVER;
    }
    return d_us > g->tau_us ? d_us - g->tau_us : 0;
}

int64_t gcra_step(const struct gcra *g, int64_t *t_us, int64_t now_us, int64_t inc_us)
{
    int64_t t = *t_us > now_us ? *t_us : now_us;
    t = t < now_us + g->cap_us ? t : now_us + g->cap_us;
    int64_t d = t + inc_us - now_us;
    if (d <= g->tau_us) {
        *t_us = t + inc_us;
    }
    return d;
}
