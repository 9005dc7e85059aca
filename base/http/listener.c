/* Listening sockets: one per shard (SO_REUSEPORT), behind a lock that refuses a second instance. Made here, or
 * taken over from the process that this one replaces (handover.h). */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/http/handover.h"
#include "base/http/server_impl.h"
#include "base/log.h"

enum { SHARDS_MAX = 256 };

/* SO_REUSEPORT lets a second process of the same user share the port silently; an abstract unix socket named
 * after the address can be bound only once and is free the moment its process is dead. */
static int take_lock(const char *text, struct err *err)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int n = snprintf(sa.sun_path + 1, sizeof(sa.sun_path) - 1, "tidegate-listen/%s", text);
    size_t name = n < (int)sizeof(sa.sun_path) - 1 ? (size_t)n : sizeof(sa.sun_path) - 2;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return err_set(err, ERR_IO, "%s: no lock socket: %s", text, strerror(errno));
    }
    if (bind(fd, (struct sockaddr *)&sa, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + name)) !=
        0) {
        int code = errno;
        close(fd);
        if (code == EADDRINUSE) {
            return err_set(err, ERR_CONFLICT, "%s: another instance already listens there", text);
        }
        return err_set(err, ERR_IO, "%s: cannot lock: %s", text, strerror(code));
    }
    return fd;
}

static bool has_port(const struct endpoint *e)
{
    const struct sockaddr_in *v4 = (const void *)&e->sa;
    const struct sockaddr_in6 *v6 = (const void *)&e->sa;
    return e->sa.ss_family == AF_UNIX || (e->sa.ss_family == AF_INET ? v4->sin_port : v6->sin6_port) != 0;
}

static void learn_port(struct endpoint *e, int fd)
{
    char host[ADDR_TEXT];
    struct addr addr;
    socklen_t n = sizeof(e->sa);
    if (getsockname(fd, (struct sockaddr *)&e->sa, &n) != 0) {
        return;
    }
    e->sa_len = n;
    addr_from_sockaddr((const struct sockaddr *)&e->sa, &addr);
    addr_format(&addr, host);
    const struct sockaddr_in *v4 = (const void *)&e->sa;
    snprintf(e->text, sizeof(e->text), e->sa.ss_family == AF_INET6 ? "[%s]:%u" : "%s:%u", host,
             ntohs(v4->sin_port)); /* the port of sockaddr_in6 is at the same place */
}

static int set_options(int fd, const struct endpoint *e)
{
    int on = 1;
    if (e->sa.ss_family == AF_UNIX) {
        return 0;
    }
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0) {
        return -1;
    }
    if (e->sa.ss_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) != 0) {
        return -1;
    }
    return setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* inherited by what is accepted */
}

static const char *unix_path(const struct endpoint *e)
{
    return ((const struct sockaddr_un *)(const void *)&e->sa)->sun_path;
}

/* Only after the lock was taken: a file that is still there then belongs to nobody. */
static void remove_stale(const struct endpoint *e)
{
    struct stat st;
    if (lstat(unix_path(e), &st) == 0 && S_ISSOCK(st.st_mode)) {
        unlink(unix_path(e));
    }
}

static int open_shard(const struct http_listener *l, struct err *err)
{
    const struct endpoint *e = &l->endpoint;
    int fd = socket(e->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return err_set(err, ERR_IO, "%s: no socket: %s", e->text, strerror(errno));
    }
    if (e->sa.ss_family == AF_UNIX) {
        remove_stale(e);
    }
    if (set_options(fd, e) != 0 || bind(fd, (const struct sockaddr *)&e->sa, e->sa_len) != 0) {
        int code = errno;
        close(fd);
        return err_set(err, ERR_IO, "%s: cannot bind: %s", e->text, strerror(code));
    }
    return fd;
}

/* Of a new one, to which nobody can connect before this, and of one that another process had opened to others. One
 * that was taken over and whose file somebody has removed serves nobody new, which is no reason to stop the rest. */
static int set_mode(const struct http_listener *l, struct err *err)
{
    if (l->endpoint.sa.ss_family != AF_UNIX || chmod(unix_path(&l->endpoint), (mode_t)l->unix_mode) == 0) {
        return 0;
    }
    if (errno == ENOENT && l->is_left) {
        log_warn("%s: its file is gone, nobody can connect before a restart", l->endpoint.text);
        return 0;
    }
    return err_set(err, ERR_IO, "%s: cannot set its mode: %s", l->endpoint.text, strerror(errno));
}

int http_listener_begin(struct http_listener *l, struct err *err)
{
    int rc = set_mode(l, err);
    if (rc != 0) {
        return rc;
    }
    for (unsigned i = 0; i < l->shards; i++) {
        if (listen(l->fds[i], l->backlog) != 0) {
            return err_set(err, ERR_IO, "%s: cannot listen: %s", l->endpoint.text, strerror(errno));
        }
    }
    l->is_left = false;
    return 0;
}

/* Shards up to `wanted`: all of them, or those that the process before had not. */
static int open_shards(struct http_listener *l, unsigned wanted, struct err *err)
{
    l->fds = reallocarray(l->fds, l->shards > wanted ? l->shards : wanted, sizeof(*l->fds));
    BUG_ON(!l->fds);
    while (l->shards < wanted) {
        int fd = open_shard(l, err);
        if (fd < 0) {
            return fd;
        }
        l->fds[l->shards++] = fd;
        if (!has_port(&l->endpoint)) {
            learn_port(&l->endpoint, fd);
            if ((l->lock_fd = take_lock(l->endpoint.text, err)) < 0) {
                return l->lock_fd;
            }
        }
    }
    return 0;
}

static void copy_proxies(struct http_listener *l, const struct http_listener_conf *conf)
{
    l->proxy_protocol = conf->proxy_protocol;
    l->proxy_count = conf->proxies.n;
    if (conf->proxies.n > 0) {
        l->proxies = malloc(conf->proxies.n * sizeof(*l->proxies));
        BUG_ON(!l->proxies);
        memcpy(l->proxies, conf->proxies.items, conf->proxies.n * sizeof(*l->proxies));
    }
}

static int open_all(struct http_listener *l, const struct http_listener_conf *conf, unsigned wanted,
                    struct err *err)
{
    if (conf->handover && http_handover_take(conf->handover, l)) {
        l->is_left = true; /* until begin: the process before this one serves */
        if (!has_port(&l->endpoint)) {
            learn_port(&l->endpoint, l->fds[0]);
        }
    } else if (has_port(&l->endpoint) && (l->lock_fd = take_lock(l->endpoint.text, err)) < 0) {
        return l->lock_fd;
    }
    int rc = open_shards(l, wanted, err);
    return rc == 0 && !conf->waits ? http_listener_begin(l, err) : rc;
}

static unsigned wanted_shards(const struct http_listener_conf *conf, unsigned loops)
{
    unsigned n = conf->shards ? conf->shards : loops;
    if (conf->endpoint.sa.ss_family == AF_UNIX || n == 0) {
        return 1;
    }
    return n < SHARDS_MAX ? n : SHARDS_MAX;
}

struct http_listener *http_listener_open(const struct http_listener_conf *conf, unsigned loops,
                                         struct err *err)
{
    if (!conf->tls && !conf->plaintext && !endpoint_is_local(&conf->endpoint)) {
        err_set(err, ERR_DENIED, "%s: plain HTTP only on loopback or a unix socket, or with plaintext: true",
                conf->endpoint.text);
        return NULL;
    }
    struct http_listener *l = calloc(1, sizeof(*l));
    BUG_ON(!l);
    snprintf(l->name, sizeof(l->name), "%s", conf->name ? conf->name : "http");
    l->endpoint = conf->endpoint;
    memcpy(l->asked, conf->endpoint.text, sizeof(l->asked));
    l->backlog = conf->backlog ? (int)conf->backlog : 4096;
    l->unix_mode = conf->unix_mode ? conf->unix_mode : 0600;
    l->tls = conf->tls;
    l->http2 = conf->http2;
    l->hsts = conf->hsts;
    copy_proxies(l, conf);
    l->lock_fd = -1;
    if (open_all(l, conf, wanted_shards(conf, loops), err) != 0) {
        http_listener_close(l);
        return NULL;
    }
    log_info("listener state=open name=%s address=%s shards=%u tls=%d", l->name, l->endpoint.text, l->shards,
             l->tls);
    return l;
}

void http_listener_close(struct http_listener *l)
{
    if (!l) {
        return;
    }
    if (l->endpoint.sa.ss_family == AF_UNIX && l->shards > 0 && !l->is_left) {
        unlink(unix_path(&l->endpoint));
    }
    for (unsigned i = 0; i < l->shards; i++) {
        close(l->fds[i]);
    }
    if (l->lock_fd >= 0) {
        close(l->lock_fd);
    }
    free(l->fds);
    free(l->proxies);
    free(l);
}

void http_listener_leave(struct http_listener *l)
{
    l->is_left = true;
}

unsigned http_listener_shards(const struct http_listener *l)
{
    return l->shards;
}

const struct endpoint *http_listener_endpoint(const struct http_listener *l)
{
    return &l->endpoint;
}
