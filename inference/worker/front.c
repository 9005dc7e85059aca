#include "inference/worker/front.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/http/problem.h"
#include "base/http/server.h"
#include "base/id.h"
#include "base/log.h"
#include "base/secret.h"
#include "inference/worker/answer.h"
#include "inference/worker/intake.h"
#include "inference/worker/load_report.h"
#include "inference/worker/openai_reply.h"
#include "inference/worker/worker_metrics.h"

enum { REPLY_MAX = 16 << 20, KEY_MAX = 4096 };

enum front_state { FRONT_LOADING = 0, FRONT_READY = 1, FRONT_DRAINING = 2 };

struct front {
    struct http_listener *listener;
    struct http_server *server;
    struct intake *intake;
    struct engine *engine; /* NULL while loading */
    enum front_state state;
    struct str model; /* the id that clients use; borrowed from options or alias_text */
    char alias_text[128];
    struct buf api_key; /* empty: none asked for */
    uint32_t body_bytes;
    uint32_t text_bytes;
    bool draining;       /* state, for those who borrow it */
    uint32_t request_ms; /* that an answer may take */
    int64_t started_s;   /* `created` of the model */
};

static void reply_json(struct http_exchange *ex, const struct buf *body)
{
    static const struct http_field fields[] = {{STR_INIT("content-type"), STR_INIT("application/json")}};
    http_reply(ex, 200, fields, 1, buf_str(body));
}

static struct front *front_of(const struct http_exchange *ex)
{
    return ex->user;
}

static struct openai_context context_of(const struct front *f)
{
    return (struct openai_context){.tokenizer = engine_tokenizer(f->engine),
                                   .chat = engine_template(f->engine),
                                   .model = f->model,
                                   .context = engine_context(f->engine),
                                   .text_bytes = f->text_bytes};
}

static void reply_fault(struct http_exchange *ex, const struct openai_fault *fault)
{
    struct problem p = {
        .code = fault->code, .detail = str_from(fault->err.msg), .param = str_from(fault->param)};
    metric_child_add(metric_child(&worker_refused, fault->is_long ? "text_limit" : "invalid"), 1);
    http_reply_problem(ex, &p);
}

/* --- answers ----------------------------------------------------------------------------------------- */

/* A body that came whole: false when the exchange has been answered already. */
static bool take_body(struct http_exchange *ex, int rc)
{
    if (rc) {
        http_reply_error(ex, "payload_too_large", "The body is larger than %u bytes.",
                         front_of(ex)->body_bytes);
        return false;
    }
    return true;
}

/* For whom a gateway asks; 0: it does not say. */
static uint64_t payer_of(const struct http_exchange *ex)
{
    struct str name = http_field_get(ex, "x-tide-tenant");
    return name.n ? id_siphash(name.p, name.n) : 0;
}

/* What the request itself says is told apart within that. */
static void name_tenant(const struct http_exchange *ex, struct openai_request *q)
{
    q->payer = payer_of(ex);
    if (q->payer) {
        uint64_t both[2] = {q->payer, q->tenant};
        q->tenant = id_siphash(both, sizeof both);
    }
}

static void on_request_read(struct http_exchange *ex, struct intake_result *r)
{
    struct front *f = front_of(ex);
    if (r->rc) {
        reply_fault(ex, &r->fault);
    } else {
        name_tenant(ex, &r->request);
        answer_start(ex, f->engine, f->model, f->request_ms, &r->request);
    }
}

static void on_answer_body(struct http_exchange *ex, int rc, struct str body)
{
    struct front *f = front_of(ex);
    if (!take_body(ex, rc)) {
        return;
    }
    struct openai_context c = context_of(f);
    bool chat = str_is(ex->path, "/v1/chat/completions");
    intake_read(f->intake, ex, payer_of(ex), chat ? INTAKE_CHAT : INTAKE_COMPLETION, body, &c,
                on_request_read);
}

/* --- tokens ------------------------------------------------------------------------------------------ */

static void write_tokens(struct buf *out, const struct token_list *tokens, uint32_t context)
{
    struct json_writer w = {.out = out};
    json_open(&w, '{');
    json_i64_at(&w, "count", (int64_t)tokens->n);
    json_i64_at(&w, "max_model_len", context);
    json_open_at(&w, "tokens", '[');
    for (size_t i = 0; i < tokens->n; i++) {
        json_i64(&w, tokens->p[i]);
    }
    json_close(&w, ']');
    json_close(&w, '}');
}

static void on_tokens_read(struct http_exchange *ex, struct intake_result *r)
{
    struct front *f = front_of(ex);
    struct buf reply;
    if (r->rc) {
        reply_fault(ex, &r->fault);
        return;
    }
    buf_init(&reply, (size_t)f->body_bytes * 12 + 4096); /* a token of one byte takes up to 9 */
    write_tokens(&reply, &r->tokens, engine_context(f->engine));
    reply_json(ex, &reply);
    buf_clear(&reply);
}

static void on_tokenize_body(struct http_exchange *ex, int rc, struct str body)
{
    struct front *f = front_of(ex);
    if (take_body(ex, rc)) {
        struct openai_context c = context_of(f);
        intake_read(f->intake, ex, payer_of(ex), INTAKE_TOKENS, body, &c, on_tokens_read);
    }
}

static void write_text(struct buf *out, const struct tokenizer *t, const struct token_list *tokens)
{
    struct stopper text; /* without stop strings: makes whole UTF-8 of the tokens' bytes */
    struct buf plain;
    struct json_writer w = {.out = out};
    stopper_init(&text, NULL, 0);
    buf_init(&plain, REPLY_MAX);
    for (size_t i = 0; i < tokens->n; i++) {
        stopper_push(&text, tokenizer_text(t, tokens->p[i]), &plain);
    }
    stopper_finish(&text, &plain);
    out->overflowed = out->overflowed || plain.overflowed;
    json_open(&w, '{');
    json_str_at(&w, "prompt", buf_str(&plain));
    json_close(&w, '}');
    buf_clear(&plain);
    stopper_clear(&text);
}

static void on_detokenize_body(struct http_exchange *ex, int rc, struct str body)
{
    struct front *f = front_of(ex);
    struct openai_fault fault;
    struct token_list tokens = {0};
    struct buf reply;
    if (!take_body(ex, rc)) {
        return;
    }
    struct openai_context c = context_of(f);
    if (openai_parse_detokenize(&ex->arena, body, &c, &tokens, &fault)) {
        reply_fault(ex, &fault);
    } else {
        buf_init(&reply, 6UL * REPLY_MAX);
        write_text(&reply, c.tokenizer, &tokens);
        if (reply.overflowed) {
            http_reply_error(ex, "payload_too_large", "The text is too long.");
        } else {
            reply_json(ex, &reply);
        }
        buf_clear(&reply);
    }
    token_list_clear(&tokens);
}

/* --- what the worker says of itself ------------------------------------------------------------------ */

static void reply_models(struct http_exchange *ex)
{
    const struct front *f = front_of(ex);
    struct str wanted = str_skip(ex->path, STR("/v1/models").n);
    struct buf body;
    buf_init(&body, REPLY_MAX);
    if (wanted.n == 0) {
        openai_write_models(&body, f->model, f->started_s, f->engine);
        reply_json(ex, &body);
    } else if (str_eq(http_path_decode(ex, str_skip(wanted, 1)), f->model)) { /* clients write '/' as %2F */
        struct json_writer w = {.out = &body};
        openai_write_model(&w, f->model, f->started_s, f->engine);
        reply_json(ex, &body);
    } else {
        http_reply_error(ex, "model_not_found", "This server has no such model.");
    }
    buf_clear(&body);
}

static void reply_health(struct http_exchange *ex)
{
    static const struct http_field fields[] = {{STR_INIT("content-type"), STR_INIT("application/json")}};
    switch (front_of(ex)->state) {
    case FRONT_READY:
        http_reply(ex, 200, fields, 1, STR("{\"status\":\"ok\"}"));
        break;
    case FRONT_LOADING:
        http_reply_error(ex, "not_ready", "Loading model");
        break;
    case FRONT_DRAINING:
        http_reply_error(ex, "draining", "The worker is stopping.");
        break;
    }
}

static void reply_load(struct http_exchange *ex)
{
    static const struct http_field fields[] = {{STR_INIT("content-type"), STR_INIT(LOAD_REPORT_TYPE)}};
    struct front *f = front_of(ex);
    if (ex->method == HTTP_HEAD) {
        http_reply(ex, 200, fields, 1, STR(""));
        return;
    }
    load_report_start(ex, f->engine, &f->draining);
}

static void reply_metrics(struct http_exchange *ex)
{
    static const struct http_field fields[] = {{STR_INIT("content-type"), STR_INIT(METRICS_CONTENT_TYPE)}};
    struct buf body;
    buf_init(&body, REPLY_MAX);
    metrics_write(&body);
    http_reply(ex, 200, fields, 1, buf_str(&body));
    buf_clear(&body);
}

/* --- routes ------------------------------------------------------------------------------------------ */

struct route {
    const char *path;
    bool posts;       /* POST with a body; else GET and HEAD */
    bool needs_model; /* 503 while loading and draining */
    bool is_open;     /* no API key asked for */
    bool is_prefix;   /* longer paths too, after a '/' */
    http_body_cb on_body;
    void (*reply)(struct http_exchange *ex);
};

static const struct route routes[] = {
    {"/v1/chat/completions", .posts = true, .needs_model = true, .on_body = on_answer_body},
    {"/v1/completions", .posts = true, .needs_model = true, .on_body = on_answer_body},
    {"/tokenize", .posts = true, .needs_model = true, .on_body = on_tokenize_body},
    {"/detokenize", .posts = true, .needs_model = true, .on_body = on_detokenize_body},
    {"/v1/models", .needs_model = true, .is_prefix = true, .reply = reply_models},
    {"/tide/v1/load", .needs_model = true, .reply = reply_load},
    {"/health", .is_open = true, .reply = reply_health},
    {"/metrics", .reply = reply_metrics},
};

static const struct route *find_route(struct str path)
{
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        struct str name = str_from(routes[i].path);
        bool is_longer = routes[i].is_prefix && path.n > name.n && str_starts(path, name);
        if (str_eq(path, name) || (is_longer && path.p[name.n] == '/')) {
            return &routes[i];
        }
    }
    return NULL;
}

static bool has_key(const struct front *f, const struct http_exchange *ex)
{
    struct str value = http_field_get(ex, "authorization");
    struct str scheme = str_of(value.p, value.n < 7 ? value.n : 7);
    return f->api_key.n == 0 || (str_eq_nocase(scheme, STR("Bearer ")) &&
                                 secret_str_eq(str_trim(str_skip(value, 7)), buf_str(&f->api_key)));
}

static bool method_fits(const struct route *r, enum http_method m)
{
    return r->posts ? m == HTTP_POST : m == HTTP_GET || m == HTTP_HEAD;
}

static void on_request(struct http_exchange *ex, void *arg)
{
    struct front *f = arg;
    const struct route *route = find_route(ex->path);
    ex->user = f;
    ex->dialect = HTTP_DIALECT_OPENAI;
    if (!route) {
        http_reply_error(ex, "not_found", "There is nothing at this path.");
    } else if (!route->is_open && !has_key(f, ex)) {
        http_reply_error(ex, "invalid_api_key", "The API key is missing or wrong.");
    } else if (!method_fits(route, ex->method)) {
        http_reply_error(ex, "method_not_allowed", "This path takes %s.", route->posts ? "POST" : "GET");
    } else if (route->needs_model && f->state == FRONT_LOADING) {
        http_reply_error(ex, "not_ready", "Loading model");
    } else if (route->needs_model && f->state == FRONT_DRAINING) {
        http_reply_error(ex, "draining", "The worker is stopping.");
    } else if (route->posts) {
        http_read_body(ex, f->body_bytes, route->on_body);
    } else {
        route->reply(ex);
    }
}

/* --- life -------------------------------------------------------------------------------------------- */

/* The file's or the folder's own name, without what stands before it and ".gguf". */
static void name_after_file(struct front *f, const char *path)
{
    struct str name = str_from(path);
    while (name.n && name.p[name.n - 1] == '/') {
        name.n--;
    }
    const char *slash = memrchr(name.p, '/', name.n);
    name = slash ? str_skip(name, (size_t)(slash - name.p) + 1) : name;
    if (str_ends(name, STR(".gguf"))) {
        name.n -= STR(".gguf").n;
    }
    snprintf(f->alias_text, sizeof f->alias_text, STR_FMT, STR_ARG(name));
    f->model = str_from(f->alias_text);
}

static int set_names(struct front *f, const struct options *o, struct err *err)
{
    name_after_file(f, o->model);
    if (o->alias) {
        f->model = str_from(o->alias);
    }
    if (f->model.n == 0 || !str_is_utf8(f->model)) {
        return err_set(err, ERR_INVALID, "--alias: the model's name must be UTF-8 and not empty");
    }
    if (!o->api_key_file) {
        return 0;
    }
    int rc = secret_file_read(o->api_key_file, &f->api_key, err);
    if (!rc && f->api_key.n == 0) {
        rc = err_set(err, ERR_INVALID, "--api-key-file: %.80s is empty", o->api_key_file);
    }
    return rc;
}

static int start_server(struct front *f, struct loop *loop, const struct options *o, struct err *err)
{
    const struct http_listener_conf conf = {.endpoint = o->listen,
                                            .plaintext = true, /* options.c asks for a key off loopback */
                                            .http2 = true,
                                            .shards = 1,
                                            .backlog = 1024,
                                            .unix_mode = 0600,
                                            .name = "worker"};
    const struct http_handler handler = {on_request, f};
    struct http_limits limits = http_limits_default;
    limits.max_age_ms = 24 * 3600 * 1000; /* gateways keep their connections */
    limits.requests_per_connection = UINT32_MAX;
    limits.h2_streams = limits.h2_unanswered =
        1024; /* a gateway's requests come on one connection; slots and queue bound them */
    limits.h2_resets_burst = 100000; /* a gateway resets whatever its clients leave */
    limits.h2_control_burst = 100000;
    f->listener = http_listener_open(&conf, 1, err);
    if (!f->listener) {
        return err->code;
    }
    f->server = http_server_new(loop, &limits, &handler);
    return http_server_attach(f->server, f->listener, 0, NULL, NULL, err);
}

int front_open(struct loop *loop, const struct options *o, struct front **out, struct err *err)
{
    struct front *f = calloc(1, sizeof *f);
    BUG_ON(!f);
    buf_init(&f->api_key, KEY_MAX);
    f->body_bytes = o->body_bytes;
    f->text_bytes = o->text_bytes;
    f->request_ms = o->request_ms;
    f->started_s = clock_wall_s();
    int rc = set_names(f, o, err);
    rc = rc ? rc : intake_new(loop, &f->intake, err);
    rc = rc ? rc : start_server(f, loop, o, err);
    if (rc) {
        front_close(f);
        return rc;
    }
    log_info("worker state=listening address=%s model=" STR_FMT, http_listener_endpoint(f->listener)->text,
             STR_ARG(f->model));
    *out = f;
    return 0;
}

void front_ready(struct front *f, struct engine *engine)
{
    f->engine = engine;
    if (f->state == FRONT_LOADING) {
        f->state = FRONT_READY;
    }
}

void front_drain(struct front *f, uint32_t deadline_ms, void (*on_empty)(void *), void *arg)
{
    f->state = FRONT_DRAINING;
    f->draining = true;
    http_server_drain(f->server, deadline_ms, on_empty, arg);
}

void front_close(struct front *f)
{
    if (!f) {
        return;
    }
    if (f->server) {
        http_server_free(f->server);
    }
    intake_free(f->intake);
    if (f->listener) {
        http_listener_close(f->listener);
    }
    secret_cleanse(f->api_key.p, f->api_key.n);
    buf_clear(&f->api_key);
    free(f);
}
