/* When a connection to Redis is given up for a while: after some failures in a row, or when more than half of the
 * last 20 commands failed. Only the counting: who opens, probes and closes is redis_pipeline.c.
 * Thread rule: the connection's loop. */
#ifndef TIDE_BASE_REDIS_BREAKER_H
#define TIDE_BASE_REDIS_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

enum { REDIS_BREAKER_HISTORY = 20 };

struct redis_breaker {
    bool open;          /* refuse */
    uint32_t failures;  /* in a row */
    uint32_t history;   /* last outcomes, 1 = failed */
    uint32_t history_n; /* of them known */
};

/* true: it has opened just now. */
static inline bool redis_breaker_record(struct redis_breaker *b, bool failed, uint32_t most_in_a_row)
{
    b->failures = failed ? b->failures + 1 : 0;
    b->history = ((b->history << 1) | failed) & ((1u << REDIS_BREAKER_HISTORY) - 1);
    b->history_n += b->history_n < REDIS_BREAKER_HISTORY;
    bool often =
        b->history_n == REDIS_BREAKER_HISTORY && __builtin_popcount(b->history) > REDIS_BREAKER_HISTORY / 2;
    if (b->open || !failed || (b->failures < most_in_a_row && !often)) {
        return false;
    }
    b->open = true;
    return true;
}

#endif
