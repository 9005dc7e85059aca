/* The memory of nghttp2 sessions: what differs from malloc is that all sessions of a thread share one frame buffer.
 *
 * Every session allocates a frame buffer of 16 KiB and uses it only between two calls of mem_send that follow each
 * other: so one a thread is enough, when the caller copies what mem_send returned before it touches another session.
 * A new client session keeps its 24 bytes of magic in there: the first mem_send comes right after its creation.
 * A second one in the same session (a header block past 16 KiB) is an ordinary allocation.
 *
 * Errors: running out of memory aborts.
 * Ownership: embedded beside the session, zeroed, and outlives it.
 * Thread rule: the session is made and used on one thread; it may be deleted on another one. */
#ifndef TIDE_BASE_HTTP_H2_MEM_H
#define TIDE_BASE_HTTP_H2_MEM_H

#include <nghttp2/nghttp2.h>

struct h2_mem {
    void *block; /* the thread's frame buffer while it is this session's, or NULL */
};

nghttp2_mem h2_mem_of(struct h2_mem *m); /* for nghttp2_session_*_new3 */

#endif
