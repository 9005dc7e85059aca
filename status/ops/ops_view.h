/* What the dashboard is made of at one moment, borrowed from those who know: the pages' board, the history of /metrics,
 * and the newest answers of the gateway's read socket. Neither where it comes from (ops_feed.h) nor its looks.
 *
 * Ownership: all is borrowed for one rendering.
 * Units: *_ms wall clock; silent_ms a duration.
 * Thread rule: immutable while rendered. */
#ifndef TIDE_STATUS_OPS_VIEW_H
#define TIDE_STATUS_OPS_VIEW_H

#include <cjson/cJSON.h>

#include "status/board.h"
#include "status/ops/ops_history.h"

/* What is asked of the gateway. */
enum ops_source {
    OPS_METRICS = 0,
    OPS_WORKERS = 1,
    OPS_TOP = 2,    /* whom limits refuse most */
    OPS_SMS = 3,    /* budgets, blocked prefixes, providers */
    OPS_ATTACK = 4, /* where the ladder stands */
    OPS_MOVES = 5,  /* its last moves */
    OPS_POLICY = 6, /* the last versions */
    OPS_SOURCES = 7,
};

struct ops_answer {
    cJSON *json;      /* the last good one; NULL: none yet, and always of OPS_METRICS */
    int64_t at_ms;    /* of the last good one; 0: never */
    char trouble[96]; /* what came of the newest try; "": it was good */
};

struct ops_view {
    const struct board *board;
    const struct ops_history *history;
    const struct ops_answer *answers; /* OPS_SOURCES of them */
    int64_t now_ms;
    bool is_silent;     /* no /metrics for too long: numbers are of the past */
    uint64_t silent_ms; /* since the last reading, or since the start */
};

/* Of the last reading; false when the gateway does not have that number. */
static inline bool ops_view_number(const struct ops_view *v, enum ops_count c, double *out)
{
    *out = v->history->last.of[c];
    return v->history->last.is_known[c];
}

#endif
