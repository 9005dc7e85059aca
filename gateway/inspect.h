/* Questions that only the loops can answer: which requests run, what became of one, end this one. The control thread
 * posts the question to every loop, gathers the answers as they come back by its own inbox, and tells the asker when
 * all are there, or after INSPECT_DEADLINE_MS what is there: a stuck loop is then named by its absence.
 *
 * Ownership: an inspection frees itself when the last loop has answered, whether or not its asker still waits.
 * Thread rule: the control thread; ask() runs on each loop's own. */
#ifndef TIDE_GATEWAY_INSPECT_H
#define TIDE_GATEWAY_INSPECT_H

#include "base/buf.h"
#include "gateway/gateway.h"

enum { INSPECT_DEADLINE_MS = 1000, INSPECT_ID_MAX = 64, INSPECT_LOOP_BYTES = 1 << 20 };

struct inspect_question {
    char id[INSPECT_ID_MAX + 1]; /* of a request or trace; "" for all */
    unsigned most;               /* items a loop may give */
    /* Adds JSON objects to out, separated by commas. On gl's thread. */
    void (*ask)(struct gateway_loop *gl, const struct inspect_question *q, struct buf *out);
};

struct control;
struct inspection;
/* items: JSON objects separated by commas; silent: loops that have not answered. */
typedef void (*inspect_cb)(void *arg, struct str items, unsigned silent);
struct inspection *inspect_begin(struct control *c, const struct inspect_question *q, inspect_cb cb,
                                 void *arg);
void inspect_forget(struct inspection *i); /* before cb was called: it no longer will be */

/* The questions. */
void inspect_running(struct gateway_loop *gl, const struct inspect_question *q, struct buf *out);
void inspect_trace(struct gateway_loop *gl, const struct inspect_question *q, struct buf *out);
void inspect_sample(struct gateway_loop *gl, const struct inspect_question *q, struct buf *out);
void inspect_kill(struct gateway_loop *gl, const struct inspect_question *q, struct buf *out);
void inspect_would_kill(struct gateway_loop *gl, const struct inspect_question *q, struct buf *out);

#endif
