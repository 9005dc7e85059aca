#include "base/http/server.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/http/conn.h"
#include "base/http/tls_records.h"

enum { DATE_FRESH_MS = 500 };

const struct http_limits http_limits_default = {
    .proxy_header_ms = 3000,
    .handshake_ms = 5000,
    .first_byte_ms = 5000,
    .header_ms = 10000,
    .body_ms = 30000,
    .send_stall_ms = 30000,
    .unacked_ms = 30000,
    .idle_ms = 60000,
    .h2_ping_ms = 30000,
    .h2_ping_ack_ms = 10000,
    .max_age_ms = 3600000,
    .body_min_rate = 1024,
    .send_min_rate = 240,
    .h1_head_bytes = 16384,
    .h2_head_bytes = 32768,
    .fields = 64,
    .target_bytes = 4096,
    .send_high_bytes = 65536,
    .hello_bytes = 16384,
    .connections = 0,
    .connections_per_addr = 256,
    .handshakes_per_loop = 256,
    .handshakes_per_s = 50,
    .hello_records = 16,
    .hello_extensions = 64,
    .key_updates = 32,
    .key_updates_per_min = 8,
    .own_records = true,
    .requests_per_connection = 10000,
    .h2_streams = 100,
    .h2_unanswered = 16,
    .h2_resets_burst = 100,
    .h2_control_burst = 200,
};

/* --- lists, date ---------------------------------------------------------------------------------- */

void conn_list_add(struct conn_list *l, struct conn *c)
{
    c->next = NULL;
    c->prev = l->last;
    if (l->last) {
        l->last->next = c;
    } else {
        l->first = c;
    }
    l->last = c;
    l->n++;
}

void conn_list_remove(struct conn_list *l, struct conn *c)
{
    if (c->prev) {
        c->prev->next = c->next;
    } else {
        l->first = c->next;
    }
    if (c->next) {
        c->next->prev = c->prev;
    } else {
        l->last = c->prev;
    }
    c->prev = c->next = NULL;
    l->n--;
}

struct str server_date(struct http_server *s)
{
    uint64_t now = loop_now_ms(s->loop);
    if (s->date_at_ms == 0 || now - s->date_at_ms >= DATE_FRESH_MS) {
        clock_format_http(clock_wall_s(), s->date);
        s->date_at_ms = now;
    }
    return str_of(s->date, CLOCK_HTTP_LEN);
}

static bool is_in_exempt(const struct http_server *s, const struct addr *peer)
{
    for (unsigned i = 0; i < s->exempt_count; i++) {
        if (addr_prefix_has(&s->exempt[i], peer)) {
            return true;
        }
    }
    return false;
}

bool server_is_exempt(const struct http_server *s, const struct addr *peer)
{
    return addr_is_loopback(peer) || is_in_exempt(s, peer);
}

void http_server_set_gate(struct http_server *s, const struct http_gate *gate)
{
    s->gate = *gate;
}

bool server_refuses_peer(const struct http_server *s, const struct addr *peer)
{
    return s->gate.refuses_peer && !is_in_exempt(s, peer) && s->gate.refuses_peer(s->gate.arg, peer);
}

bool server_refuses_client(const struct http_server *s, const struct addr *peer, struct str ja4)
{
    return s->gate.refuses_client && !is_in_exempt(s, peer) && s->gate.refuses_client(s->gate.arg, peer, ja4);
}

uint32_t server_addr_limit(const struct http_server *s, uint32_t limit)
{
    uint64_t percent = s->gate.addr_percent ? s->gate.addr_percent(s->gate.arg) : 100;
    uint64_t left = limit * percent / 100;
    return left > 0 ? (uint32_t)left : 1;
}

/* --- life ----------------------------------------------------------------------------------------- */

static void *must(void *p)
{
    BUG_ON(!p);
    return p;
}

static void on_drain_deadline(void *arg);
static void on_empty_turn(void *arg);

struct http_server *http_server_new(struct loop *loop, const struct http_limits *limits,
                                    const struct http_handler *handler)
{
    struct http_server *s = must(calloc(1, sizeof(*s)));
    s->loop = loop;
    s->limits = limits ? *limits : http_limits_default;
    s->handler = *handler;
    s->most_connections = accept_connections_limit(&s->limits);
    s->raw = must(malloc(CONN_RAW_BYTES));
    s->plain = must(malloc(CONN_RAW_BYTES));
    s->stage = must(malloc(CONN_STAGE_BYTES));
    s->ciphers = tls_ciphers_new();
    s->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    s->empty_task = (struct loop_task){.fn = on_empty_turn, .arg = s};
    loop_timer_init(loop, &s->drain_timer, on_drain_deadline, s);
    http_register_metrics();
    return s;
}

int http_server_attach(struct http_server *s, struct http_listener *l, unsigned shard, struct tls_set *tls,
                       const struct http_handler *handler, struct err *err)
{
    if (shard >= l->shards) {
        return err_set(err, ERR_INVALID, "listener %s has no shard %u", l->name, shard);
    }
    if (l->tls != (tls != NULL)) {
        return err_set(err, ERR_INVALID, "listener %s: %s", l->name,
                       l->tls ? "a certificate is missing" : "plain, but a certificate was given");
    }
    SSL_CTX *ctx = tls ? tls_set_context(tls, err) : NULL;
    if (tls && !ctx) {
        return ERR_INVALID;
    }
    struct attachment *at = must(calloc(1, sizeof(*at)));
    at->server = s;
    at->listener = l;
    at->shard = shard;
    at->handler = handler ? *handler : s->handler;
    at->ssl_ctx = ctx;
    at->next = s->attachments;
    s->attachments = at;
    if (!s->waits) {
        accept_start(at);
    }
    return 0;
}

void http_server_wait(struct http_server *s)
{
    s->waits = true;
}

void http_server_begin(struct http_server *s)
{
    s->waits = false;
    for (struct attachment *at = s->attachments; at; at = at->next) {
        accept_start(at);
    }
}

void http_server_set_tls(struct http_server *s, struct http_listener *l, struct tls_set *tls)
{
    for (struct attachment *at = s->attachments; at; at = at->next) {
        SSL_CTX *ctx = at->listener == l && at->ssl_ctx ? tls_set_context(tls, NULL) : NULL;
        if (ctx) {
            SSL_CTX_free(at->ssl_ctx);
            at->ssl_ctx = ctx;
        }
    }
}

void http_server_set_limits(struct http_server *s, const struct http_limits *limits)
{
    s->limits = *limits;
    s->most_connections = accept_connections_limit(limits);
}

void http_server_set_exempt(struct http_server *s, const struct addr_prefix *prefixes, unsigned count)
{
    free(s->exempt);
    s->exempt = NULL;
    s->exempt_count = count;
    if (count > 0) {
        s->exempt = must(malloc(count * sizeof(*prefixes)));
        memcpy(s->exempt, prefixes, count * sizeof(*prefixes));
    }
}

void http_server_shed(struct http_server *s, enum http_shed shed)
{
    struct conn *next;
    s->shed = shed;
    for (struct conn *c = shed != HTTP_SHED_NOTHING ? s->open.first : NULL; c; c = next) {
        next = c->next;
        if (conn_is_idle(c) && c->requests > 0 && !c->going_away) {
            http_count_closed("memory");
            conn_go_away(c);
        }
    }
}

unsigned http_server_connections(const struct http_server *s)
{
    return s->connections;
}

/* --- drain and end -------------------------------------------------------------------------------- */

static void on_empty_turn(void *arg)
{
    struct http_server *s = arg;
    void (*fn)(void *) = s->on_empty;
    s->on_empty = NULL;
    if (fn) {
        fn(s->on_empty_arg);
    }
}

void server_conn_gone(struct http_server *s)
{
    s->connections--;
    accept_connection_gone();
    if (s->draining && s->connections == 0) {
        loop_at_turn_end(s->loop, &s->empty_task);
    }
}

static void cut_list(struct conn_list *l)
{
    while (l->first) {
        conn_die(l->first, HTTP_FINISH_DRAINED);
    }
}

static void on_drain_deadline(void *arg)
{
    struct http_server *s = arg;
    cut_list(&s->handshaking);
    cut_list(&s->open);
}

static void begin_end(struct http_server *s, uint64_t deadline_ms, void (*on_empty)(void *), void *arg)
{
    s->draining = true;
    s->on_empty = on_empty;
    s->on_empty_arg = arg;
    struct conn *next;
    for (struct conn *c = s->open.first; c; c = next) {
        next = c->next;
        conn_go_away(c);
    }
    loop_timer_arm(&s->drain_timer, deadline_ms);
    if (s->connections == 0) {
        loop_at_turn_end(s->loop, &s->empty_task);
    }
}

void http_server_drain(struct http_server *s, uint64_t deadline_ms, void (*on_empty)(void *), void *arg)
{
    for (struct attachment *at = s->attachments; at; at = at->next) {
        accept_refuse(at);
    }
    if (s->retired) { /* the client that may be asking now is no longer waited for */
        s->retired = false;
        for (struct conn *c = s->open.first; c; c = c->next) {
            c->going_away = c->going_away && c->is_h2;
        }
    }
    begin_end(s, deadline_ms, on_empty, arg);
}

void http_server_retire(struct http_server *s, uint64_t deadline_ms, void (*on_empty)(void *), void *arg)
{
    for (struct attachment *at = s->attachments; at; at = at->next) {
        accept_stop(at);
    }
    s->retired = true;
    begin_end(s, deadline_ms, on_empty, arg);
}

void http_server_free(struct http_server *s)
{
    if (!s) {
        return;
    }
    struct attachment *at;
    for (at = s->attachments; at; at = at->next) {
        accept_stop(at);
    }
    s->draining = false;
    on_drain_deadline(s);
    while (s->dead.first) {
        conn_destroy(s->dead.first);
    }
    loop_timer_disarm(&s->drain_timer);
    loop_task_cancel(s->loop, &s->empty_task);
    while ((at = s->attachments)) {
        s->attachments = at->next;
        SSL_CTX_free(at->ssl_ctx);
        free(at);
    }
    outq_pool_clear(&s->pool);
    free(s->raw);
    free(s->plain);
    free(s->stage);
    tls_ciphers_free(s->ciphers);
    free(s->exempt);
    if (s->reserve_fd >= 0) {
        close(s->reserve_fd);
    }
    free(s);
}
