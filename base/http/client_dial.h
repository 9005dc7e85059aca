/* A connection of the client being made: the addresses of an origin, one after another, until one takes. Not what is
 * spoken on it.
 *
 *     client_dial_start -> [waits for the resolver] -> on_done(fd) | on_done(-1, errno)
 *                                                  \-> client_dial_stop: on_done never comes
 *
 * Ownership: embedded in the connection that wants it; the socket moves to that in on_done.
 * Time: none of its own; the owner's deadline ends it by client_dial_stop.
 * Errors: an errno, or CLIENT_DIAL_NO_ADDRESS.
 * Thread rule: the loop of the origin. */
#ifndef TIDE_BASE_HTTP_CLIENT_DIAL_H
#define TIDE_BASE_HTTP_CLIENT_DIAL_H

#include "base/resolver.h"

struct http_origin;

enum { CLIENT_DIAL_NO_ADDRESS = -1 }; /* the resolver found none for the name */

typedef void (*client_dial_cb)(void *arg, int fd, int error);

struct client_dial {
    struct http_origin *origin;
    client_dial_cb on_done;
    void *arg;
    int fd;             /* -1: none */
    unsigned addr_left; /* further addresses to try */
    struct event wr;
    struct client_dial **at, *next; /* while it waits for the resolver: of origin->dials */
};

/* 0: on_done follows, never from inside this call. Else an errno, and it is over. */
int client_dial_start(struct client_dial *d, struct http_origin *o, client_dial_cb on_done, void *arg);
void client_dial_stop(struct client_dial *d);     /* harmless when nothing is going on */
void client_dial_resolved(struct http_origin *o); /* the resolver has answered: goes on with all that wait */
const char *client_dial_error(int error);         /* in words */
/* The code of an error: ERR_IO when this machine has nothing left to connect with (descriptors, memory), which says nothing
 * about the peer, else ERR_UNAVAILABLE. So too where there is no address or port to come from: that concerns this peer
 * alone, and another may have one. */
int client_dial_code(int error);

#endif
