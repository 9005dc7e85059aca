/* Listening sockets on their way from one process to the one that replaces it: as inherited descriptors and a text
 * that says which is which. Not the starting and ending of processes: that is the program's (gateway/upgrade.h).
 *
 *     old:  http_handover_new -> http_handover_add(listener)... -> http_handover_write, http_handover_each
 *     new:  http_handover_read(text) -> http_listener_conf.handover: http_listener_open takes what has its address
 *           -> http_handover_end when it serves -> http_handover_free closes what nobody took
 *
 * The sockets are never closed and opened again, so that connections in their queues are not lost; the lock socket
 * goes with them, so that at no time another instance can come in between.
 * Text: a line a listener, "ADDRESS LOCK SHARD SHARD...": descriptors as decimal numbers.
 * Errors: a text that is not of this form, or names what is no socket, is ERR_INVALID; nothing is closed then.
 * Thread rule: one thread. */
#ifndef TIDE_BASE_HTTP_HANDOVER_H
#define TIDE_BASE_HTTP_HANDOVER_H

#include "base/buf.h"
#include "base/err.h"

struct http_handover;
struct http_listener;

enum { HTTP_HANDOVER_TEXT_MAX = 64 << 10 };

struct http_handover *http_handover_new(void);
void http_handover_add(struct http_handover *h, const struct http_listener *l); /* borrows its descriptors */
void http_handover_write(const struct http_handover *h, struct buf *out);
void http_handover_each(const struct http_handover *h, void (*fn)(void *arg, int fd), void *arg);

/* Owns the descriptors it names from then on. NULL: err says why. */
struct http_handover *http_handover_read(struct str text, struct err *err);
/* Gives the lock and the shards of an address to *l (asked, lock_fd, fds, shards); false: none are there. */
bool http_handover_take(struct http_handover *h, struct http_listener *l);
/* The new process serves: what nobody took is no longer wanted, and the files of its unix sockets are removed. */
void http_handover_end(struct http_handover *h);
/* Closes what was read and not taken. */
void http_handover_free(struct http_handover *h);

#endif
