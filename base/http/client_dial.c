#include "base/http/client_dial.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/http/client_conn.h"
#include "base/metrics.h"

static struct metric connects =
    METRIC_COUNTER("tidegate_client_connects_total", "Upstream connections opened or tried.");
static struct metric connect_failures =
    METRIC_COUNTER("tidegate_client_connect_failures_total", "Upstream connections that could not be made.");

static void on_writable(evutil_socket_t fd, short what, void *arg);

static void close_socket(struct client_dial *d)
{
    if (d->fd >= 0) {
        event_del(&d->wr);
        close(d->fd);
        d->fd = -1;
    }
}

static int open_socket(struct client_dial *d, const struct endpoint *e)
{
    d->fd = socket(e->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (d->fd < 0) {
        return errno;
    }
    event_assign(&d->wr, loop_event_base(d->origin->loop), d->fd, EV_WRITE, on_writable, d);
    if (e->sa.ss_family != AF_UNIX) {
        int on = 1;
        setsockopt(d->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    metric_add(&connects, 1);
    if (connect(d->fd, (const struct sockaddr *)&e->sa, e->sa_len) != 0 && errno != EINPROGRESS) {
        return errno;
    }
    event_add(&d->wr, NULL);
    return 0;
}

/* Tries the addresses that are left. 0, or the errno of the last. */
static int connect_next(struct client_dial *d)
{
    struct http_origin *o = d->origin;
    int error = EADDRNOTAVAIL;
    while (d->addr_left > 0) {
        d->addr_left--;
        error = open_socket(d, o->is_named ? resolver_next(o->resolver) : &o->endpoint);
        if (error == 0) {
            return 0;
        }
        metric_add(&connect_failures, 1);
        close_socket(d);
    }
    return error;
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct client_dial *d = arg;
    int error = 0;
    socklen_t n = sizeof error;
    getsockopt(d->fd, SOL_SOCKET, SO_ERROR, &error, &n);
    if (error == 0) {
        d->fd = -1;
        d->on_done(d->arg, fd, 0);
        return;
    }
    metric_add(&connect_failures, 1);
    close_socket(d);
    error = d->addr_left > 0 ? connect_next(d) : error;
    if (error != 0) {
        d->on_done(d->arg, -1, error);
    }
}

static void wait_for_resolver(struct client_dial *d)
{
    struct http_origin *o = d->origin;
    d->next = o->dials;
    d->at = &o->dials;
    if (d->next) {
        d->next->at = &d->next;
    }
    o->dials = d;
}

static void leave_wait(struct client_dial *d)
{
    if (d->at) {
        *d->at = d->next;
        if (d->next) {
            d->next->at = d->at;
        }
        d->at = NULL;
    }
}

int client_dial_start(struct client_dial *d, struct http_origin *o, client_dial_cb on_done, void *arg)
{
    *d = (struct client_dial){.origin = o, .on_done = on_done, .arg = arg, .fd = -1, .addr_left = 1};
    if (o->is_named) {
        resolver_refresh(o->resolver);
        d->addr_left = resolver_count(o->resolver);
        if (d->addr_left == 0) {
            wait_for_resolver(d);
            return 0;
        }
    }
    return connect_next(d);
}

void client_dial_stop(struct client_dial *d)
{
    leave_wait(d);
    close_socket(d);
}

/* Those that begin to wait meanwhile wait for the next answer: so the list is taken first. */
void client_dial_resolved(struct http_origin *o)
{
    struct client_dial *list = o->dials;
    o->dials = NULL;
    if (list) {
        list->at = &list;
    }
    while (list) {
        struct client_dial *d = list;
        leave_wait(d);
        d->addr_left = resolver_count(o->resolver);
        int error = d->addr_left > 0 ? connect_next(d) : CLIENT_DIAL_NO_ADDRESS;
        if (error != 0) {
            d->on_done(d->arg, -1, error);
        }
    }
}

int client_dial_code(int error)
{
    switch (error) {
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOBUFS:
        return ERR_IO;
    default:
        return ERR_UNAVAILABLE;
    }
}

const char *client_dial_error(int error)
{
    return error == CLIENT_DIAL_NO_ADDRESS ? "no address for the name" : strerror(error);
}
