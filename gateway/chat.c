/* Chat as a part of the process: the router on the control loop, its half on each loop, the rows of the route table.
 * What a request goes through is chat_call.c. */
#include "gateway/chat.h"

#include <stdlib.h>

#include "base/log.h"
#include "gateway/chat_call.h"
#include "gateway/chat_models.h"
#include "gateway/config.h"
#include "gateway/control.h"
#include "gateway/limits.h"
#include "inference/router/router.h"

struct chat {
    struct gateway *gateway;
    struct router *router;
};

/* --- process and loops -------------------------------------------------------------------------------- */

static void take_table(struct gateway_loop *gl, void *arg)
{
    struct chat *chat = arg;
    worker_origins_set_table(&gl->chat->origins, router_table(chat->router));
}

static void on_table(void *arg, struct worker_table *t)
{
    struct chat *chat = arg;
    gateway_each_loop(chat->gateway, take_table, chat);
}

static int configure(struct chat *chat, const struct chat_conf *conf, struct err *err)
{
    struct router_conf rc = {
        .workers = conf->workers.items, .worker_count = conf->workers.n, .probe_ms = conf->probe_ms};
    return router_configure(chat->router, &rc, err);
}

int chat_open(struct gateway *g, struct err *err)
{
    struct chat *chat = calloc(1, sizeof *chat);
    BUG_ON(!chat);
    chat->gateway = g;
    chat->router = router_new(control_loop(g->control), on_table, chat);
    g->chat = chat;
    return configure(chat, &g->conf->set->chat, err);
}

void chat_reload(struct gateway *g, const struct chat_conf *conf)
{
    struct err err;
    if (configure(g->chat, conf, &err) != 0) {
        log_error("chat reload=refused text=\"%s\"", err.msg);
    }
}

void chat_close(struct gateway *g)
{
    if (g->chat) {
        router_free(g->chat->router);
        free(g->chat);
        g->chat = NULL;
    }
}

int chat_loop_open(struct gateway_loop *gl, struct err *err)
{
    gl->chat = calloc(1, sizeof *gl->chat);
    BUG_ON(!gl->chat);
    gl->chat->retry_credit = CHAT_RETRY_CREDIT_MAX;
    struct worker_table *t = router_table(gl->gateway->chat->router);
    worker_origins_init(&gl->chat->origins, gl->loop, t);
    worker_table_unref(t);
    return 0;
}

void chat_loop_close(struct gateway_loop *gl)
{
    if (gl->chat) {
        worker_origins_clear(&gl->chat->origins);
        free(gl->chat);
        gl->chat = NULL;
    }
}

/* --- rows --------------------------------------------------------------------------------------------- */

static void prepare(struct request *r, enum chat_kind kind)
{
    struct chat_call *c = ARENA_NEW(&r->ex->arena, struct chat_call);
    chat_call_init(c, r, kind);
    chat_body_read(&r->ex->arena, r->body, kind, c->conf, &c->body);
    r->handler = c;
    if (!c->body.problem) {
        limits_set_tokens(r, (uint64_t)(c->body.prompt_tokens + chat_call_reserved(c)));
    }
}

static void prepare_chat(struct request *r)
{
    prepare(r, CHAT_KIND_CHAT);
}

static void prepare_text(struct request *r)
{
    prepare(r, CHAT_KIND_TEXT);
}

static void handle_chat(struct request *r)
{
    struct chat_call *c = r->handler;
    struct problem p = {.code = c->body.problem,
                        .detail = c->body.detail,
                        .param = c->body.param,
                        .message = STR(""),
                        .extra = STR("")};
    r->prompt_tokens = 0; /* until a worker has read it */
    r->completion_tokens = 0;
    if (p.code) {
        http_reply_problem(r->ex, &p);
        return;
    }
    const struct table_model *m = worker_table_model(c->cl->origins.table, c->body.model);
    if (!m) {
        p = (struct problem){
            .code = "model_not_found", .param = STR("model"), .message = STR(""), .extra = STR("")};
        p.detail = arena_printf(&r->ex->arena, "there is no model \"" STR_FMT "\"", STR_ARG(c->body.asked));
        http_reply_problem(r->ex, &p);
        return;
    }
    r->model = arena_cstr(&r->ex->arena, c->body.model);
    r->prompt_tokens = -1;
    r->completion_tokens = -1;
    chat_call_run(c);
}

void chat_route_rows(const struct chat_conf *conf, struct route rows[CHAT_ROUTES])
{
    struct route post = {.methods = 1u << HTTP_POST,
                         .auth = ROUTE_AUTH_USER,
                         .body = ROUTE_BODY_BUFFER,
                         .max_body_bytes = conf->body_bytes,
                         .plain_body = true,
                         .dialect = HTTP_DIALECT_OPENAI,
                         .outage_grace = true,
                         .own_deadlines = true,
                         .is_heavy = true,
                         .handle = handle_chat};
    struct route get = {.methods = 1u << HTTP_GET | 1u << HTTP_HEAD,
                        .auth = ROUTE_AUTH_USER,
                        .dialect = HTTP_DIALECT_OPENAI,
                        .outage_grace = true,
                        .handle = chat_models_handle};
    rows[0] = rows[1] = post;
    rows[0].name = "chat";
    rows[0].path = STR("/v1/chat/completions");
    rows[0].prepare = prepare_chat;
    rows[1].name = "completions";
    rows[1].path = STR("/v1/completions");
    rows[1].prepare = prepare_text;
    rows[2] = rows[3] = get;
    rows[2].name = "models";
    rows[2].path = STR("/v1/models");
    rows[3].name = "model";
    rows[3].path = STR("/v1/models/");
    rows[3].is_prefix = true;
}

/* --- operators ---------------------------------------------------------------------------------------- */

void chat_write_workers(struct gateway *g, struct buf *out)
{
    router_write_json(g->chat->router, out);
}

bool chat_drain_worker(struct gateway *g, struct str name, bool drain)
{
    return router_drain(g->chat->router, name, drain);
}

void chat_write_drained(struct gateway *g, struct buf *out)
{
    router_write_drained(g->chat->router, out);
}

bool chat_has_worker(struct gateway *g, struct str name)
{
    return router_has(g->chat->router, name);
}

static bool has_ready_worker(const struct table_model *m)
{
    unsigned i = 0;
    while (i < m->worker_count && worker_state(m->workers[i]) != WORKER_READY) {
        i++;
    }
    return i < m->worker_count;
}

bool chat_is_ready(struct gateway *g)
{
    struct worker_table *t = router_table(g->chat->router);
    bool ready = false;
    for (unsigned i = 0; i < t->model_count && !ready; i++) {
        ready = has_ready_worker(&t->models[i]);
    }
    worker_table_unref(t);
    return ready;
}
