/* Opens, updates and resolves the automatic incident: what a person on duty would post, without the
 * person.
 *
 *     a component is bad for open_after     -> open (investigating), or the one resolved less than
 * window ago reopens the set of bad components grows       -> update, at most one per update_gap
 *     still bad after update_every          -> "still affected"
 *     nothing is bad any more               -> monitoring, at once
 *     clean for resolve_after               -> resolved
 *
 * There is at most one automatic incident at a time. A component without fresh results neither
 * opens nor recovers anything: being blind is no evidence.
 *
 * Ownership: borrows the board on each call. Thread rule: used only on the control thread. */
#ifndef TIDE_STATUS_WATCH_H
#define TIDE_STATUS_WATCH_H

#include "status/board.h"

struct watch_conf {
    uint64_t open_after_ms;    /* 10 s: a five-second blip is not an incident */
    uint64_t update_gap_ms;    /* 20 s: failures that follow each other are told together */
    uint64_t update_every_ms;  /* 30 min: no longer silence than this */
    uint64_t resolve_after_ms; /* 5 min */
    uint64_t window_ms;        /* 30 min: within it the same incident goes on */
};

struct watch {
    struct watch_conf conf;
    uint64_t clean_since_mono_ms;
    uint64_t posted_mono_ms; /* last update of the open incident */
};

void watch_init(struct watch *w, const struct watch_conf *conf);
/* After the board was loaded from the snapshot or from PostgreSQL: what has been told is read from
 * the open incident, and of what it does not name nothing has been. */
void watch_resume(struct watch *w, struct board *b, uint64_t mono_ms);
/* True when it changed the book. */
bool watch_tick(struct watch *w, struct board *b, int64_t now_ms, uint64_t mono_ms);

#endif
