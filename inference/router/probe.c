/* Active health: GET /health, then GET /v1/models, one at a time for each worker, on the control loop. And a question as
 * clients ask them, when a worker refused one of theirs (401, 402, 403): that may be for our key, or for what was asked,
 * as where content is filtered. Only a refusal of what we ask ourselves, for each of its models, says which; then the worker
 * is SUSPECT. So nobody takes a worker away by what he asks. A front may refuse our question and nobody else's: any answer
 * to a client undoes the verdict, and so that there can be one where others are READY, the worker is so again now and then,
 * until it refuses one client. */
#include <string.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/json.h"
#include "base/log.h"
#include "inference/router/router_impl.h"

enum {
    PROBE_CONNECT_MS = 1000,
    PROBE_ANSWER_MS = 2000,
    PROBE_MODELS_MS = 10000, /* between questions for models */
    PROBE_DOWN_AFTER = 3,
    PROBE_BUSY_MS = 10000, /* progress this recent: busy, not dead */
    PROBE_KEY_MS = 5000,   /* between questions whether it takes our key */
    PROBE_TRIAL_AFTER = 6, /* of them in vain, a client's request is let try */
};

static const struct http_client_handler probe_handler;

static void set_health(struct member *m, enum worker_state to)
{
    enum worker_state from = (enum worker_state)atomic_exchange(&m->worker->load->health, (uint8_t)to);
    if (from != to) {
        log_info("worker name=%s state=%s was=%s", m->worker->name, worker_state_name(to),
                 worker_state_name(from));
    }
}

static void rest(struct member *m)
{
    uint64_t period = m->router->probe_ms;
    if (atomic_load(&m->worker->load->health) != WORKER_READY) {
        period /= 4;
    }
    m->phase = MEMBER_RESTING;
    m->next_ms = clock_mono_ms() + period - period / 10 + id_fast_random() % (period / 5 + 1);
}

static void note_alive(struct member *m)
{
    m->failed = 0;
    if (m->model_count > 0) {
        const struct worker *w = m->worker;
        bool is_out = atomic_load(&w->refuses_key) && !atomic_load(&w->is_on_trial);
        set_health(m, is_out ? WORKER_SUSPECT : WORKER_READY);
    }
    rest(m);
}

static void note_failed(struct member *m)
{
    enum worker_state s = (enum worker_state)atomic_load(&m->worker->load->health);
    uint64_t progress = atomic_load(&m->worker->load->progress_ms);
    bool is_busy = progress != 0 && clock_mono_ms() - progress < PROBE_BUSY_MS;
    m->failed++;
    if (s == WORKER_READY || (s == WORKER_SUSPECT && (m->failed < PROBE_DOWN_AFTER || is_busy))) {
        set_health(m, WORKER_SUSPECT);
    } else if (s == WORKER_SUSPECT) {
        set_health(m, WORKER_DOWN);
    }
    rest(m);
}

static void ask(struct member *m, enum member_phase phase)
{
    static const struct {
        struct str method, target;
    } questions[] = {
        [MEMBER_ASKING_HEALTH] = {STR_INIT("GET"), STR_INIT("/health")},
        [MEMBER_ASKING_MODELS] = {STR_INIT("GET"), STR_INIT("/v1/models")},
        [MEMBER_ASKING_CHAT] = {STR_INIT("POST"), STR_INIT("/v1/chat/completions")},
    };
    struct http_field fields[3] = {{STR("accept"), STR("application/json")}};
    unsigned n = 1;
    if (phase == MEMBER_ASKING_CHAT) {
        fields[n++] = (struct http_field){STR("content-type"), STR("application/json")};
    }
    if (m->worker->authorization[0]) {
        fields[n++] = (struct http_field){STR("authorization"), str_from(m->worker->authorization)};
    }
    struct http_client_request req = {.method = questions[phase].method,
                                      .target = questions[phase].target,
                                      .fields = fields,
                                      .field_count = n,
                                      .body =
                                          phase == MEMBER_ASKING_CHAT ? buf_str(&m->key.question) : STR(""),
                                      .connect_ms = PROBE_CONNECT_MS,
                                      .head_ms = PROBE_ANSWER_MS,
                                      .idle_ms = PROBE_ANSWER_MS};
    m->phase = phase;
    m->status = 0;
    buf_truncate(&m->answer);
    m->op = http_send_request(m->origin, &req, &probe_handler, m);
}

static void on_head(struct http_op *op, unsigned status, const struct http_field *fields, unsigned count,
                    int64_t content_length)
{
    ((struct member *)http_op_arg(op))->status = status;
}

static enum http_flow on_data(struct http_op *op, const char *p, size_t n)
{
    struct member *m = http_op_arg(op);
    (void)buf_add(&m->answer, p, n); /* too long: the scan will refuse it */
    return HTTP_FLOW_GO;
}

/* One item of "data". False: not a model. */
static bool read_model(struct arena *a, struct str item, char out[MODEL_NAME])
{
    struct json_doc doc;
    struct str id;
    if (json_scan(a, item, &json_limits_default, &doc, NULL) != 0) {
        return false;
    }
    const struct json_slice *v = json_member(&doc, "id");
    if (!v || !json_get_str(a, v, &id) || id.n == 0 || id.n >= MODEL_NAME) {
        return false;
    }
    memcpy(out, id.p, id.n);
    out[id.n] = 0;
    return true;
}

/* {"data":[{"id":"..."}]}. Returns how many models, 0 when it is nothing of the kind. */
static unsigned read_models(struct str text, char out[WORKER_MODELS][MODEL_NAME])
{
    struct arena a;
    struct json_doc doc;
    unsigned n = 0;
    arena_init(&a);
    if (json_scan(&a, text, &json_limits_default, &doc, NULL) == 0) {
        const struct json_slice *data = json_member(&doc, "data");
        struct str list = data && data->type == JSON_ARRAY ? data->raw : STR("[]");
        struct json_slice item;
        while (n < WORKER_MODELS && json_next(&list, &item)) {
            n += item.type == JSON_OBJECT && read_model(&a, item.raw, out[n]);
        }
    }
    arena_clear(&a);
    return n;
}

static void learn_models(struct member *m)
{
    char models[WORKER_MODELS][MODEL_NAME];
    memset(models, 0, sizeof models);
    unsigned n = m->answer.overflowed || m->status != 200 ? 0 : read_models(buf_str(&m->answer), models);
    if (n == 0) {
        log_warn("worker name=%s what=models status=%u text=\"no models in its answer\"", m->worker->name,
                 m->status);
        return;
    }
    if (n != m->model_count || memcmp(models, m->models, sizeof models) != 0) {
        memcpy(m->models, models, sizeof models);
        m->model_count = n;
        log_info("worker name=%s models=%u first=%s", m->worker->name, n, models[0]);
        router_publish_news(m->router);
    }
}

/* One token of an answer to nothing in particular. */
static void ask_chat(struct member *m, unsigned model)
{
    struct json_writer w = {.out = &m->key.question};
    buf_truncate(&m->key.question);
    json_open(&w, '{');
    json_str_at(&w, "model", str_from(m->models[model]));
    json_open_at(&w, "messages", '[');
    json_open(&w, '{');
    json_str_at(&w, "role", STR("user"));
    json_str_at(&w, "content", STR("Hello"));
    json_close(&w, '}');
    json_close(&w, ']');
    json_i64_at(&w, "max_tokens", 1);
    json_close(&w, '}');
    m->key.model = model;
    ask(m, MEMBER_ASKING_CHAT);
}

static void begin_trial(struct member *m)
{
    struct worker *w = m->worker;
    log_info("worker name=%s text=\"it refuses what this gateway asks: a request shall try\"", w->name);
    m->key.in_vain = 0;
    m->next_ms = 0; /* the next look at its health makes it READY */
    atomic_store(&w->is_on_trial, true);
}

static void learn_refusal(struct member *m)
{
    struct worker *w = m->worker;
    if (atomic_load(&w->refuses_key)) {
        return;
    }
    log_error("worker name=%s status=%u text=\"it refuses even what this gateway asks: its key?\"", w->name,
              m->status);
    m->key.in_vain = 0;
    atomic_store(&w->is_on_trial, false);
    atomic_store(&w->refuses_key, true);
    worker_suspect(w);
}

static void learn_taken(struct member *m, const char *how)
{
    struct worker *w = m->worker;
    bool was_out = atomic_exchange(&w->refuses_key, false);
    m->next_ms = was_out ? 0 : m->next_ms; /* the next look at its health makes it READY */
    log_info("worker name=%s status=%u text=\"%s%s\"", w->name, m->status,
             was_out ? "it " : "it refused a request, and ", how);
}

/* Who fails or is late to answer says nothing of the key, and is asked again. */
static void learn_key(struct member *m, int rc)
{
    struct worker *w = m->worker;
    bool answered = atomic_load(&w->answered);
    bool refuses = worker_status_is_refusal(m->status);
    if (refuses && !answered && m->key.model + 1 < m->model_count) {
        ask_chat(m, m->key.model + 1);
        return;
    }
    m->phase = MEMBER_RESTING;
    if (answered) {
        learn_taken(m, "answers others");
    } else if (refuses) {
        learn_refusal(m);
    } else if (rc == 0 && m->status < 500) {
        learn_taken(m, "takes what this gateway asks");
    } else {
        atomic_store(&w->is_doubted, true);
    }
    if (atomic_load(&w->refuses_key) && ++m->key.in_vain > PROBE_TRIAL_AFTER) {
        begin_trial(m);
    }
}

static void on_end(struct http_op *op, int rc, const struct err *err)
{
    struct member *m = http_op_arg(op);
    m->op = NULL;
    if (m->phase == MEMBER_ASKING_CHAT) {
        learn_key(m, rc);
        return;
    }
    bool alive = rc == 0 && m->status > 0 && m->status < 500;
    if (rc == ERR_IO) { /* not asked: nothing here to connect with */
        log_warn("worker name=%s probe=not_asked text=\"%s\"", m->worker->name, err->msg);
        rest(m);
        return;
    }
    if (m->phase == MEMBER_ASKING_MODELS) {
        m->models_ms = clock_mono_ms();
        if (alive) {
            learn_models(m);
        }
        note_alive(m); /* /health has just said so */
    } else if (!alive) {
        log_debug("worker name=%s probe=failed status=%u text=\"%s\"", m->worker->name, m->status,
                  err ? err->msg : "");
        note_failed(m);
    } else if (!m->models_given &&
               (m->model_count == 0 || m->failed > 0 || clock_mono_ms() - m->models_ms >= PROBE_MODELS_MS)) {
        ask(m, MEMBER_ASKING_MODELS);
    } else {
        note_alive(m);
    }
}

static const struct http_client_handler probe_handler = {
    .on_head = on_head, .on_data = on_data, .on_end = on_end};

static bool is_key_due(const struct member *m, uint64_t now_ms)
{
    const struct worker *w = m->worker;
    bool in_doubt = atomic_load(&w->is_doubted) || atomic_load(&w->refuses_key);
    return in_doubt && m->model_count > 0 &&
           (m->key.asked_ms == 0 || now_ms >= m->key.asked_ms + PROBE_KEY_MS);
}

void member_probe_if_due(struct member *m, uint64_t now_ms)
{
    if (m->phase != MEMBER_RESTING) {
        return;
    }
    /* A request that could not connect made it SUSPECT: look at once, not when the old period ends. */
    bool hurry = m->failed == 0 && atomic_load(&m->worker->load->health) == WORKER_SUSPECT &&
                 !atomic_load(&m->worker->refuses_key);
    if (is_key_due(m, now_ms)) { /* first: it is due seldom, and health may be at every tick */
        m->key.asked_ms = now_ms;
        atomic_store(&m->worker->is_doubted, false);
        atomic_store(&m->worker->answered, false);
        ask_chat(m, 0);
    } else if (now_ms >= m->next_ms || hurry) {
        ask(m, MEMBER_ASKING_HEALTH);
    }
}

void member_probe_stop(struct member *m)
{
    http_op_cancel(m->op);
    m->op = NULL;
    m->phase = MEMBER_RESTING;
}
