/* Addresses of one "host:port", kept fresh: asked through evdns on the loop (and /etc/hosts), asked again when
 * they are older than the TTL floor and somebody wants them. Never blocks; old addresses serve while new ones are
 * on their way, and for as long as the name servers do not answer.
 *
 * Ownership: the holder frees it; after resolver_free no callback comes.
 * Thread rule: on its loop. */
#ifndef TIDE_BASE_RESOLVER_H
#define TIDE_BASE_RESOLVER_H

#include "base/addr.h"
#include "base/loop.h"

enum { RESOLVER_TTL_FLOOR_MS = 10000, RESOLVER_ADDRESSES = 16 };

struct resolver;

struct resolver *resolver_new(struct loop *loop, struct str host_port, void (*on_answer)(void *arg),
                              void *arg, struct err *err); /* NULL: not "host:port" */
void resolver_free(struct resolver *r);
/* Starts a look-up when there are no fresh addresses. on_answer follows, never from inside this call. */
void resolver_refresh(struct resolver *r);
unsigned resolver_count(const struct resolver *r);
/* The addresses in turn: each call gives the next one. NULL when there are none. */
const struct endpoint *resolver_next(struct resolver *r);

#endif
