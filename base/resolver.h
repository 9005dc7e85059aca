/* Addresses of one "host:port", kept fresh: asked through evdns on the loop (and /etc/hosts), asked again when
 * they are older than their TTL (1 s to 5 min) and somebody wants them. Never blocks; old addresses serve while new
 * ones are on their way, and for as long as the name servers do not answer or say that there is no such name.
 * Both families are asked for; when one has answered, the other is waited for 50 ms and joins when it comes.
 * UDP only: an answer that does not fit (some 28 addresses) counts as none.
 *
 * Ownership: the holder frees it; after resolver_free no callback comes.
 * Thread rule: on its loop. */
#ifndef TIDE_BASE_RESOLVER_H
#define TIDE_BASE_RESOLVER_H

#include "base/addr.h"
#include "base/loop.h"

enum {
    RESOLVER_TTL_FLOOR_MS = 1000,
    RESOLVER_TTL_CEILING_MS = 300000,
    RESOLVER_FAMILY_MS = 50,
    RESOLVER_ADDRESSES = 16, /* more are not looked at */
    RESOLVER_SERVERS = 8
};

struct resolver;

struct resolver *resolver_new(struct loop *loop, struct str host_port, void (*on_answer)(void *arg),
                              void *arg, struct err *err); /* NULL: not "host:port" */
void resolver_free(struct resolver *r);
/* Name servers of the process, "127.0.0.1:53", instead of those of /etc/resolv.conf: before any loop runs, once
 * they passed the check. */
int resolver_servers_check(const char *const *servers, unsigned n, struct err *err) TIDE_CHECK;
void resolver_use_servers(const char *const *servers, unsigned n);
/* Starts a look-up when there are no fresh addresses. on_answer follows, never from inside this call. */
void resolver_refresh(struct resolver *r);
unsigned resolver_count(const struct resolver *r);
bool resolver_has(const struct resolver *r, const struct sockaddr *sa);
/* The addresses in turn: each call gives the next one. NULL when there are none. */
const struct endpoint *resolver_next(struct resolver *r);

#endif
