/* The attack ladder's decision: from what is seen now and what was, to a level. Not what a level does (gateway/attack.h).
 *
 *     A0 open -> A1 proof of work -> A2 restricted sign-up -> A3 closed;    A4 (log-in hardened) is set by hand only
 *
 * Up one step: A1 when attempts are past their threshold and look bad for `hold`; A2 when that goes on for `worse`, or
 * past a higher threshold for `hold`; A3 past a still higher one, or when A2 did not halve the rate within `halve`.
 * Down one step when it was calm for `calm`. Past the budget of moves it stays where it is, but for further up.
 * Time is what the caller says has passed since the last call, at most LADDER_STEP_MAX_S: a clock that jumps, or a
 * process that slept, neither raises nor lowers anything.
 * Thread rule: pure functions. */
#ifndef TIDE_RATELIMIT_ATTACK_LADDER_H
#define TIDE_RATELIMIT_ATTACK_LADDER_H

#include <stdbool.h>
#include <stdint.h>

enum { LADDER_LEVELS = 5, LADDER_HIGHEST_BY_ITSELF = 3, LADDER_STEP_MAX_S = 5 };

struct ladder_conf {
    uint32_t floor_per_min;    /* attempts a minute below which nothing is an attack; 100 */
    double factors[3];         /* attempts over the baseline that lead to A1, A2, A3; 5, 20, 50 */
    uint64_t hold_ms;          /* 60 s */
    uint64_t worse_ms;         /* 120 s */
    uint64_t halve_ms;         /* 5 min */
    uint64_t calm_ms;          /* 10 min */
    uint32_t moves_per_h;      /* by itself; 4 */
    uint32_t refused_percent;  /* of attempts refused: more looks bad; 50 */
    uint32_t failed_percent;   /* of attempts failed on our side: more looks bad; 20 */
    uint32_t verified_percent; /* of codes tried that were right: less looks bad; 30 */
};

/* Of all gateways together, a minute. */
struct ladder_signals {
    double attempts, refused, failed; /* failed: by us, or by who sends the codes */
    double tried, verified;           /* codes */
    double baseline;                  /* attempts in quiet times */
};

struct ladder_state {
    int level;
    double hot_s, very_hot_s, calm_s, level_s; /* how long each has lasted */
    double moves;                              /* by itself, lately: drains by moves_per_h */
    double rate_at_entry;                      /* attempts when this level began */
};

/* Notes the time and the signals; returns the level to go to, state->level when it is to stay. */
int ladder_decide(struct ladder_state *state, const struct ladder_signals *s, const struct ladder_conf *conf,
                  double passed_s);
/* The move has been made. */
void ladder_moved(struct ladder_state *state, int level, double attempts, bool by_itself);

#endif
