/* Server-sent events, as bytes: finds where events end in a stream that is passed through, so that nothing is
 * ever cut inside an event. Not a DOM: fields are looked at only when asked for.
 *
 * Source: WHATWG HTML 9.2.6; line ends CR, LF, CRLF (also split over two reads); comments start with ':'.
 * An event is held in `held` only while it is incomplete, at most max_event_bytes (1 MiB).
 * Thread rule: used by one thread at a time. */
#ifndef TIDE_BASE_HTTP_SSE_H
#define TIDE_BASE_HTTP_SSE_H

#include "base/buf.h"
#include "base/err.h"

struct sse_scanner {
    struct buf held; /* the unfinished event */
    size_t scanned;  /* bytes of held already looked at */
    bool line_empty; /* at the start of a line */
    bool after_cr;   /* the last byte was CR: an LF now belongs to it */
};

void sse_init(struct sse_scanner *s, size_t max_event_bytes);
void sse_clear(struct sse_scanner *s);

/* Feeds bytes; calls on_event once per complete event (or comment block) with its bytes as received, the
 * terminating blank line included. Stops when on_event returns non-zero and returns that; ERR_LIMIT when an
 * event is longer than the ceiling. event is borrowed until the return. */
typedef int (*sse_event_cb)(void *arg, struct str event);
int sse_feed(struct sse_scanner *s, struct str bytes, sse_event_cb cb, void *arg) TIDE_CHECK;
bool sse_is_idle(const struct sse_scanner *s); /* no unfinished event held */
/* The data lines of an event joined with "\n", into out (cleared first); false when it has none (a comment). */
bool sse_data(struct str event, struct buf *out);

#endif
