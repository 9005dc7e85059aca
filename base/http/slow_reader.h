/* Whether a client takes what waits for it: `send_stall` (nothing at all) and `send_min_rate` (too little to be worth
 * what waits). Not the kernel's view of a client that is gone: `unacknowledged` (listener.c).
 *
 *     output waits -> a window of send_stall_ms -> nothing taken: "send_stall"
 *                                               -> less than the rate: "send_min_rate"
 *                                               -> enough, or nothing waits any more: the next one
 *
 * What a client takes are the bytes that its TCP acknowledges: the kernel's buffer fills and empties in large steps.
 * On HTTP/2 a stream is judged by itself while its window, or the connection's, is closed; while windows are open and
 * the line is what is slow, the connection is judged.
 * Thread rule: only on the server's loop. */
#ifndef TIDE_BASE_HTTP_SLOW_READER_H
#define TIDE_BASE_HTTP_SLOW_READER_H

#include <stdbool.h>
#include <stdint.h>

struct conn;
struct exchange;

/* Of a connection or an HTTP/2 stream; all zero: nothing waits. */
struct slow_reader {
    uint64_t since_ms; /* where the window began; 0: nothing waits */
    uint64_t stall_ms; /* when anything was seen to be taken */
    uint64_t taken;    /* bytes, at since_ms */
    uint64_t seen;     /* bytes, at stall_ms */
};

/* A connection: its socket took less than all, or took all; the deadline, which may kill it. */
void slow_reader_wait(struct conn *c, bool took_some);
void slow_reader_done(struct conn *c);
void slow_reader_check(struct conn *c, uint64_t now_ms, uint64_t *next_ms);
/* An HTTP/2 stream: it has output; some of it went on its way; the deadline, which may reset it. */
void slow_reader_stream_wait(struct exchange *x);
void slow_reader_stream_took(struct exchange *x);
void slow_reader_stream_check(struct exchange *x, uint64_t now_ms, uint64_t *next_ms);

#endif
