/* GCRA, the generic cell rate algorithm, in integer microseconds. Pure arithmetic: no state, no
 * clock.
 *
 * A rule lets `limit` units pass per `period_us`, and up to `burst` units at once. State of a key
 * is one number, the theoretical arrival time t. A request of cost c at time now:
 *
 *     t' = clamp(t, now, now + cap)     n = t' + inc(c)     allowed iff n - now <= tau; then t = n
 *
 * with inc(c) = ceil(c * period / limit), rounded once a request (once a unit would lose 5 % at 7 M
 * tokens a minute), tau = floor(burst * period / limit) but at least inc(1), and cap = tau + debt.
 *
 * What is known afterwards is the one number d = n - now ("distance"): all that a client is told
 * follows from it.
 * Units: microseconds in int64; limit and burst up to 1e12, period up to 400 days; products are
 * 128-bit.
 * Thread rule: pure functions. */
#ifndef TIDE_RATELIMIT_GCRA_H
#define TIDE_RATELIMIT_GCRA_H

#include <stdbool.h>
#include <stdint.h>

struct gcra {
    uint64_t limit;     /* units per period, >= 1 */
    uint64_t period_us; /* >= 1 */
    uint64_t burst;     /* units at once, >= 1 */
    int64_t tau_us;     /* gcra_init computes it */
    int64_t cap_us;     /* tau plus the debt that a later charge may leave */
};

enum { GCRA_NEVER = -1 }; /* retry time of a cost that exceeds the burst */

/* false when a number is out of range (zero, or tau past 400 days). debt in units. */
bool gcra_init(struct gcra *g, uint64_t limit, uint64_t period_us, uint64_t burst, uint64_t debt);
int64_t gcra_inc_us(const struct gcra *g, uint64_t cost); /* saturates at 4e15 */

/* From the distance d of a request with increment inc: */
static inline bool gcra_allows(const struct gcra *g, int64_t d_us)
{
    return d_us <= g->tau_us;
}
uint64_t gcra_remaining(const struct gcra *g, int64_t used_us); /* units left when used_us of tau are taken */
int64_t gcra_retry_us(const struct gcra *g, int64_t d_us,
                      int64_t inc_us); /* 0: now; -1: cost exceeds the burst */

/* One step for a state kept in memory: *t is read, and written when allowed. Returns the distance.
 */
int64_t gcra_step(const struct gcra *g, int64_t *t_us, int64_t now_us, int64_t inc_us);

#endif
