/* Turns the bytes of tokens into text that may be shown: whole UTF-8 sequences only, and nothing that is,
 * or may yet become, a stop string.
 *
 *     stopper_push per token -> text to show so far; true when a stop string was found (it is not shown)
 *     stopper_finish          -> what was held back, when the answer ends for another reason
 *
 * Bytes that can never be UTF-8 show as U+FFFD, as does a sequence that the answer leaves unfinished.
 * Ownership: stop strings are borrowed until stopper_clear.
 * Thread rule: used by one thread at a time. */
#ifndef TIDE_WORKER_STOPPER_H
#define TIDE_WORKER_STOPPER_H

#include "base/buf.h"

enum { STOPPER_MAX_STOPS = 16, STOPPER_MAX_BYTES = 512 }; /* strings, bytes of one */

struct stopper {
    struct str stops[STOPPER_MAX_STOPS]; /* not empty */
    unsigned stop_count;
    uint8_t raw[4]; /* an unfinished UTF-8 sequence */
    unsigned raw_n;
    struct buf held; /* whole text that may be the start of a stop string */
};

void stopper_init(struct stopper *s, const struct str *stops, unsigned stop_count);
void stopper_clear(struct stopper *s);
bool stopper_push(struct stopper *s, struct str bytes, struct buf *out); /* appends to out */
void stopper_finish(struct stopper *s, struct buf *out);

#endif
