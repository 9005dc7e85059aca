/* Taking connections: the limits that come before the first byte, cheapest first. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/http/conn.h"
#include "base/http/peers.h"
#include "base/http/proxy_protocol.h"
#include "base/log.h"
#include "base/open_files.h"

enum { ACCEPTS_PER_TURN = 64, FD_RESERVE = 256, EVICT_LOOK = 64, HANDSHAKE_PATIENCE_MS = 500 };

static atomic_uint process_connections; /* of all loops */

void accept_connection_gone(void)
{
    atomic_fetch_sub_explicit(&process_connections, 1, memory_order_relaxed);
}

unsigned accept_connections_limit(const struct http_limits *limits)
{
    struct rlimit r;
    if (limits->connections > 0) {
        return limits->connections;
    }
    if (getrlimit(RLIMIT_NOFILE, &r) != 0 || r.rlim_cur > OPEN_FILES_MOST) {
        return OPEN_FILES_MOST;
    }
    unsigned all = (unsigned)r.rlim_cur;
    return all > 2 * FD_RESERVE ? all - FD_RESERVE : all / 2;
}

/* Room for one connection: of the oldest ones the one that has been idle longest goes. Busy ones that were looked at go to
 * the end of the list, so that the next search sees others. */
static bool evict_idle(struct http_server *s)
{
    struct conn *longest = NULL;
    struct conn *next = s->open.first;
    for (unsigned looked = 0; next && looked < EVICT_LOOK && looked < s->open.n; looked++) {
        struct conn *c = next;
        next = c->next;
        if (!conn_is_idle(c) || c->close_when_sent || c->requests == 0) {
            conn_list_remove(&s->open, c);
            conn_list_add(&s->open, c);
        } else if (!longest || c->idle_since_ms < longest->idle_since_ms) {
            longest = c;
        }
    }
    if (!longest) {
        return false;
    }
    http_count_closed("evicted_idle");
    conn_die(longest, HTTP_FINISH_DONE);
    return true;
}

/* The kernel says that descriptors are out before it looks whether anybody waits. */
static bool has_waiting(int listen_fd)
{
    struct pollfd p = {.fd = listen_fd, .events = POLLIN};
    return poll(&p, 1, 0) > 0;
}

/* Out of descriptors and of idle connections: give up the reserve, take one connection with it, refuse that one. The queue moves on
 * and clients hear no instead of nothing. */
static void refuse_one(struct http_server *s, int listen_fd)
{
    close(s->reserve_fd);
    int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0) {
        close(fd);
        http_count_refused("descriptors");
        log_warn("accept state=refused reason=descriptors");
    }
    s->reserve_fd = dup(listen_fd);
}

/* Who connects and says nothing goes first: an honest client's hello comes with its ACK. Then who stalls. */
static struct conn *least_earnest(struct http_server *s)
{
    struct conn *oldest = s->handshaking.first;
    unsigned looked = 0;
    for (struct conn *c = oldest; c && looked < EVICT_LOOK; c = c->next, looked++) {
        if (!tls_has_hello(c)) {
            return c;
        }
    }
    return loop_now_ms(s->loop) - oldest->accepted_ms < HANDSHAKE_PATIENCE_MS ? NULL : oldest;
}

/* Too many handshakes at once: one of them makes room, or the new one goes. */
static bool has_handshake_room(struct http_server *s)
{
    if (s->handshaking.n < s->limits.handshakes_per_loop) {
        return true;
    }
    struct conn *evicted = least_earnest(s);
    if (!evicted) {
        return false;
    }
    http_count_handshake("evicted");
    evicted->reset_on_close = true;
    conn_die(evicted, HTTP_FINISH_DONE);
    return true;
}

/* Per address; NULL: taken, and counted in *slot. */
static const char *peer_refusal(struct http_server *s, const struct addr *peer, struct peer_slot **slot)
{
    const struct http_limits *limits = &s->limits;
    if (server_is_exempt(s, peer)) {
        return NULL;
    }
    switch (peer_admit(peer, server_addr_limit(s, limits->connections_per_addr),
                       server_addr_limit(s, limits->handshakes_per_s), loop_now_ms(s->loop), slot)) {
    case PEER_TOO_MANY:
        return "connections_per_addr";
    case PEER_TOO_FAST:
        return "handshakes_per_s";
    default:
        return NULL;
    }
}

static bool is_proxy(const struct http_listener *l, const struct addr *peer)
{
    for (unsigned i = 0; i < l->proxy_count; i++) {
        if (addr_prefix_has(&l->proxies[i], peer)) {
            return true;
        }
    }
    return false;
}

static const char *refusal(struct attachment *at, const struct addr *peer, struct peer_slot **slot)
{
    struct http_server *s = at->server;
    const struct http_listener *l = at->listener;
    bool is_named_later = l->proxy_protocol || l->endpoint.sa.ss_family == AF_UNIX;
    if (!is_named_later && server_refuses_peer(s, peer)) {
        return "banned";
    }
    if (s->shed >= HTTP_SHED_CONNECTIONS) {
        return "memory";
    }
    if (atomic_load_explicit(&process_connections, memory_order_relaxed) >= s->most_connections &&
        !evict_idle(s)) {
        return "connections";
    }
    if ((at->ssl_ctx || l->proxy_protocol) && !has_handshake_room(s)) {
        return "handshakes";
    }
    if (l->endpoint.sa.ss_family == AF_UNIX) {
        return NULL;
    }
    if (l->proxy_protocol) { /* whom the header names is counted when it has come */
        return is_proxy(l, peer) ? NULL : "not_a_proxy";
    }
    return peer_refusal(s, peer, slot);
}

/* Also ends a client whose window stays shut for that long. */
static void limit_silence(const struct http_server *s, int fd)
{
    unsigned ms = (unsigned)s->limits.unacked_ms;
    if (ms > 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
    }
}

static void take(struct attachment *at, int fd, const struct sockaddr *sa)
{
    struct addr peer;
    struct peer_slot *slot = NULL;
    addr_from_sockaddr(sa, &peer);
    const char *why = refusal(at, &peer, &slot);
    if (why) {
        struct linger now = {.l_onoff = 1, .l_linger = 0};
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
        close(fd);
        http_count_refused(why);
        return;
    }
    atomic_fetch_add_explicit(&process_connections, 1, memory_order_relaxed);
    if (sa->sa_family != AF_UNIX) {
        limit_silence(at->server, fd);
    }
    conn_new(at, fd, &peer, slot);
}

static void on_acceptable(evutil_socket_t listen_fd, short what, void *arg)
{
    struct attachment *at = arg;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        struct sockaddr_storage sa = {.ss_family = AF_UNSPEC};
        socklen_t n = sizeof(sa);
        int fd = accept4(listen_fd, (struct sockaddr *)&sa, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            take(at, fd, (const struct sockaddr *)&sa);
            continue;
        }
        int why = errno;
        if ((why == EMFILE || why == ENFILE) && has_waiting(listen_fd) &&
            !evict_idle(at->server)) { /* its descriptor is free after this turn */
            refuse_one(at->server, listen_fd);
        }
        if (why != ECONNABORTED && why != EINTR) {
            return;
        }
    }
}

/* --- PROXY headers -------------------------------------------------------------------------------- */

void accept_no_proxy_header(struct conn *c, const char *why)
{
    http_count_closed(why);
    c->reset_on_close = true;
    conn_die(c, HTTP_FINISH_PROTOCOL);
}

/* Whom the header names is counted as if it had connected itself. */
static bool admit_named(struct conn *c, const struct proxy_header *header)
{
    struct peer_slot *slot = NULL;
    if (!header->has_peer) {
        return true;
    }
    c->peer = header->peer;
    const char *why =
        server_refuses_peer(c->server, &c->peer) ? "banned" : peer_refusal(c->server, &c->peer, &slot);
    if (!why) {
        c->peer_slot = slot;
        return true;
    }
    http_count_refused(why);
    c->reset_on_close = true;
    conn_die(c, HTTP_FINISH_ABORTED);
    return false;
}

void accept_proxy_header(struct conn *c, struct str data)
{
    struct proxy_header header;
    buf_add_str(&c->in, data);
    int n = proxy_header_parse(buf_str(&c->in), &header);
    if (n < 0) {
        accept_no_proxy_header(c, "proxy_header");
    }
    if (n <= 0 || !admit_named(c, &header)) {
        return;
    }
    struct buf came = c->in;
    buf_init(&c->in, CONN_IN_MAX);
    conn_list_remove(&c->server->handshaking, c);
    c->accepted_ms = loop_now_ms(c->server->loop);
    conn_begin(c);
    if (came.n > (size_t)n) {
        conn_take_raw(c, str_skip(buf_str(&came), (size_t)n));
    }
    buf_clear(&came);
}

/* --- listening ------------------------------------------------------------------------------------ */

void accept_start(struct attachment *at)
{
    int fd = at->listener->fds[at->shard];
    event_assign(&at->accept_ev, loop_event_base(at->server->loop), fd, EV_READ | EV_PERSIST, on_acceptable,
                 at);
    event_add(&at->accept_ev, NULL);
    at->accepting = true;
}

void accept_stop(struct attachment *at)
{
    if (at->accepting) {
        event_del(&at->accept_ev);
        at->accepting = false;
    }
}

void accept_refuse(struct attachment *at)
{
    if (at->accepting) {
        accept_stop(at);
        shutdown(at->listener->fds[at->shard], SHUT_RDWR);
    }
}
