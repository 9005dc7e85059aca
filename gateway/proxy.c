/* One proxied request, in order of time:
 *
 *     proxy_handle -> (on_chunk -> on_writable)* -> on_head -> (on_data -> on_drain)* -> on_end
 *                 \-> on_cancel: the client is gone, the upstream connection is closed
 */
#include "gateway/proxy.h"

#include <stdlib.h>

#include "base/http/client.h"
#include "base/http/h1_response.h"
#include "base/log.h"
#include "gateway/config.h"
#include "gateway/cors.h"
#include "gateway/proxy_fields.h"

struct proxy_server {
    struct http_origin *origin;
    unsigned running; /* requests */
};

struct proxy_group {
    char name[64];
    struct proxy_server *servers;
    unsigned count;
    unsigned turn; /* where the search for the least busy one begins */
    uint64_t connect_ms, answer_ms, idle_ms;
};

/* The origins of one configuration on one loop. Requests hold it: after a reload it goes with the last. */
struct proxy_loop {
    unsigned refs;
    struct proxy_group *groups;
    unsigned count;
};

struct proxy_call {
    struct request *r;
    struct proxy_loop *set; /* a reference, until the upstream side has ended */
    struct proxy_server *server;
    struct http_op *op; /* NULL: ended */
    size_t unconsumed;  /* bytes of the request's body that wait in op */
    bool cookies;
    bool body_ended;
};

/* --- origins of a loop -------------------------------------------------------------------------------- */

static void drop_set(struct proxy_loop *set)
{
    if (!set || --set->refs > 0) {
        return;
    }
    for (unsigned i = 0; i < set->count; i++) {
        for (unsigned k = 0; k < set->groups[i].count; k++) {
            http_origin_free(set->groups[i].servers[k].origin);
        }
        free(set->groups[i].servers);
    }
    free(set->groups);
    free(set);
}

static int open_group(struct proxy_group *g, struct loop *loop, const struct proxy_upstream_conf *conf,
                      struct err *err)
{
    memcpy(g->name, conf->name, strlen(conf->name) + 1); /* at most 63: proxy_conf.c */
    g->connect_ms = conf->connect_ms;
    g->answer_ms = conf->answer_ms;
    g->idle_ms = conf->idle_ms;
    g->servers = calloc(conf->targets.n, sizeof *g->servers);
    BUG_ON(!g->servers);
    for (unsigned i = 0; i < conf->targets.n; i++) {
        struct http_origin_conf oc = {.target = str_from(conf->targets.items[i]),
                                      .protocol = conf->protocol,
                                      .max_idle = conf->max_idle,
                                      .max_connections = conf->max_connections,
                                      .idle_ms = conf->keep_ms,
                                      .ping_ms = conf->ping_ms};
        g->servers[i].origin = http_origin_new(loop, &oc, err);
        if (!g->servers[i].origin) {
            return ERR_INVALID;
        }
        g->count++;
    }
    return 0;
}

static struct proxy_loop *new_set(struct loop *loop, const struct proxy_conf *conf, struct err *err)
{
    struct proxy_loop *set = calloc(1, sizeof *set);
    BUG_ON(!set);
    set->refs = 1;
    set->groups = calloc(conf->upstreams.n + 1, sizeof *set->groups);
    BUG_ON(!set->groups);
    const struct proxy_upstream_conf *up = conf->upstreams.items;
    for (unsigned i = 0; i < conf->upstreams.n; i++) {
        set->count++;
        if (open_group(&set->groups[i], loop, &up[i], err) != 0) {
            drop_set(set);
            return NULL;
        }
    }
    return set;
}

int proxy_loop_open(struct gateway_loop *gl, struct err *err)
{
    gl->proxy = new_set(gl->loop, &gl->conf->set->proxy, err);
    return gl->proxy ? 0 : ERR_INVALID;
}

void proxy_loop_reload(struct gateway_loop *gl)
{
    struct err err;
    struct proxy_loop *set = new_set(gl->loop, &gl->conf->set->proxy, &err);
    if (set) { /* targets were checked with the configuration */
        drop_set(gl->proxy);
        gl->proxy = set;
    }
}

void proxy_loop_close(struct gateway_loop *gl)
{
    drop_set(gl->proxy);
    gl->proxy = NULL;
}

/* The row may be of an older configuration than the origins: then its group is found by name, or is gone. */
static struct proxy_group *find_group(struct proxy_loop *set, const struct proxy_route_conf *row)
{
    if (row->group < set->count && strcmp(set->groups[row->group].name, row->upstream) == 0) {
        return &set->groups[row->group];
    }
    for (unsigned i = 0; i < set->count; i++) {
        if (strcmp(set->groups[i].name, row->upstream) == 0) {
            return &set->groups[i];
        }
    }
    return NULL;
}

static struct proxy_server *least_busy(struct proxy_group *g)
{
    struct proxy_server *best = NULL;
    unsigned at = g->turn++ % g->count;
    for (unsigned i = 0; i < g->count; i++) {
        struct proxy_server *s = &g->servers[at];
        at = at + 1 == g->count ? 0 : at + 1;
        if (!best || s->running < best->running) {
            best = s;
        }
    }
    return best;
}

/* --- the upstream's answer ---------------------------------------------------------------------------- */

/* The op has ended or was canceled: this may free its origin, which must have none left. */
static void end_call(struct proxy_call *c)
{
    c->op = NULL;
    c->r->cancel = NULL;
    c->server->running--;
    drop_set(c->set);
}

static void on_head(struct http_op *op, unsigned status, const struct http_field *fields, unsigned count,
                    int64_t content_length)
{
    struct proxy_call *c = http_op_arg(op);
    struct http_field kept[H1_RESPONSE_FIELDS];
    unsigned n = proxy_answer_fields(&c->r->ex->arena, fields, count, c->cookies, kept);
    if (cors_allows(c->r)) {
        n = proxy_drop_cors(kept, n);
    }
    http_start(c->r->ex, status, kept, n, content_length);
}

static enum http_flow on_data(struct http_op *op, const char *p, size_t n)
{
    struct proxy_call *c = http_op_arg(op);
    return http_send(c->r->ex, p, n);
}

static void reply_trouble(struct request *r, int rc, const struct err *err)
{
    switch (rc) {
    case ERR_TIMEOUT:
        http_reply_error(r->ex, "gateway_timeout", "the upstream did not answer in time");
        break;
    case ERR_UNAVAILABLE:
    case ERR_IO:
        http_reply_error(r->ex, "service_unavailable", "the upstream cannot be reached");
        break;
    default:
        http_reply_error(r->ex, "bad_gateway", "the upstream's answer is unusable");
    }
    log_warn("proxy id=%s route=%s upstream_error=%s text=\"%s\"", r->ex->id, r->route->name, err_name(rc),
             err ? err->msg : "");
}

static void on_end(struct http_op *op, int rc, const struct err *err)
{
    struct proxy_call *c = http_op_arg(op);
    struct request *r = c->r;
    end_call(c);
    if (c->unconsumed > 0) {
        http_consume(r->ex, c->unconsumed);
    }
    if (rc == 0) {
        http_end(r->ex);
    } else if (r->ex->status == 0) {
        reply_trouble(r, rc, err);
    } else {
        http_abort(r->ex); /* what was sent cannot be taken back: the client must see that it is not whole */
    }
}

static void on_drain(struct http_exchange *ex)
{
    struct request *r = ex->user;
    struct proxy_call *c = r->handler;
    if (c->op) {
        http_op_resume(c->op);
    }
}

/* --- the client's body -------------------------------------------------------------------------------- */

static void refuse_body(struct request *r)
{
    http_reply_error(r->ex, "payload_too_large", "the body may have %zu bytes", r->route->max_body_bytes);
}

static void on_chunk(struct http_exchange *ex, struct str data, bool last)
{
    struct request *r = ex->user;
    struct proxy_call *c = r->handler;
    if (!c->op) {
        http_consume(ex, data.n); /* answered already: the rest is read and dropped */
        return;
    }
    if (ex->received_bytes > r->route->max_body_bytes) {
        http_op_cancel(c->op);
        end_call(c);
        http_close_after(ex);
        if (ex->status == 0) {
            refuse_body(r);
        } else {
            http_abort(ex);
        }
        return;
    }
    if (http_op_send_body(c->op, data.p, data.n) == HTTP_FLOW_PAUSE) {
        c->unconsumed += data.n;
    } else {
        http_consume(ex, data.n);
    }
    if (last) {
        http_op_end_body(c->op);
    }
}

static void on_writable(struct http_op *op)
{
    struct proxy_call *c = http_op_arg(op);
    size_t n = c->unconsumed;
    c->unconsumed = 0;
    http_consume(c->r->ex, n);
}

/* --- begin and cancel --------------------------------------------------------------------------------- */

static void on_cancel(struct request *r)
{
    struct proxy_call *c = r->handler;
    http_op_cancel(c->op);
    end_call(c);
}

static const struct http_client_handler handler = {
    .on_head = on_head, .on_data = on_data, .on_end = on_end, .on_writable = on_writable};

static const char *const method_names[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"};

static void proxy_handle(struct request *r)
{
    const struct proxy_route_conf *row = r->route->arg;
    struct http_exchange *ex = r->ex;
    struct proxy_group *g = find_group(r->gl->proxy, row);
    if (!g) {
        http_reply_error(ex, "service_unavailable", "the upstream is no longer configured");
        return;
    }
    if (ex->content_length > 0 && (uint64_t)ex->content_length > r->route->max_body_bytes) {
        refuse_body(r);
        return;
    }
    struct proxy_call *c = ARENA_NEW(&ex->arena, struct proxy_call);
    c->r = r;
    c->cookies = row->cookies;
    c->set = r->gl->proxy;
    c->set->refs++;
    c->server = least_busy(g);
    c->server->running++;
    bool streaming = r->route->body == ROUTE_BODY_STREAM && ex->content_length != 0;
    struct http_client_request req = {.method = ex->method < HTTP_OTHER ? str_from(method_names[ex->method])
                                                                        : ex->method_text,
                                      .target = ex->target,
                                      .body = r->body,
                                      .streaming = streaming,
                                      .content_length = streaming ? ex->content_length : 0,
                                      .once = ex->method == HTTP_POST || ex->method == HTTP_PATCH,
                                      .connect_ms = g->connect_ms,
                                      .head_ms = g->answer_ms,
                                      .idle_ms = g->idle_ms};
    req.fields = proxy_request_fields(r, row->cookies, &req.field_count);
    r->handler = c;
    r->cancel = on_cancel;
    ex->on_drain = on_drain;
    c->op = http_send_request(c->server->origin, &req, &handler, c);
    if (streaming) {
        http_stream_body(ex, on_chunk);
    }
}

struct route proxy_route_row(const struct proxy_route_conf *conf)
{
    size_t n = strlen(conf->path);
    return (struct route){.name = conf->name,
                          .methods = conf->method_bits,
                          .path = str_from(conf->path),
                          .is_prefix = conf->path[n - 1] == '/',
                          .auth = conf->auth,
                          .body = conf->body,
                          .max_body_bytes = conf->max_body_bytes,
                          .dialect = HTTP_DIALECT_PROBLEM,
                          .own_deadlines = true,
                          .is_heavy = true,
                          .handle = proxy_handle,
                          .arg = conf};
}
