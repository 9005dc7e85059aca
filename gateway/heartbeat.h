/* Whether a loop still answers. Not what follows when it does not (control.c).
 *
 *     heartbeat_ask, once a second -> a message to the loop -> answered: asked anew the next time
 *                                                         \-> not yet: how long it has been waiting for
 *
 * One message at most is on its way, however long the loop hangs; when it goes on, it answers. A pause of the whole process
 * is no silence of a loop: only what was asked and not answered counts.
 * Ownership: embedded in its loop's owner; the loop is freed first.
 * Thread rule: heartbeat_ask on one thread; the answer comes on the loop's own. */
#ifndef TIDE_GATEWAY_HEARTBEAT_H
#define TIDE_GATEWAY_HEARTBEAT_H

#include <stdatomic.h>

#include "base/loop.h"

struct heartbeat {
    struct loop_msg msg;
    atomic_ullong asked_ms; /* monotonic; 0: it has answered */
};

/* For how many milliseconds the loop has been silent. now_ms: monotonic, not 0. */
uint64_t heartbeat_ask(struct heartbeat *h, struct loop *loop, uint64_t now_ms);

#endif
