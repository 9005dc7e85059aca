#include "inference/router/router.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/secret.h"
#include "inference/router/router_impl.h"

enum { PROBE_ANSWER_BYTES = 1 << 18, PROBE_QUESTION_BYTES = 4096, TICK_MIN_MS = 50, QUEUES_MAX = 4096 };

static struct metric up =
    METRIC_GAUGE_L("tidegate_worker_up", "1 while the worker is ready and takes our key.", "worker");
static struct metric refuses_key = METRIC_GAUGE_L(
    "tidegate_worker_refuses_key",
    "1 while it refuses (401, 402, 403) even what this gateway asks itself: its key, or its bill.", "worker");
static struct metric running =
    METRIC_GAUGE_L("tidegate_worker_requests_running", "Requests it works on.", "worker");
static struct metric outstanding =
    METRIC_GAUGE_L("tidegate_worker_outstanding_tokens", "Tokens it has still to read or write.", "worker");
static struct metric requests =
    METRIC_COUNTER_L("tidegate_worker_requests_total",
                     "Requests it was given and that have ended, also by their clients.", "worker");
static struct metric failures =
    METRIC_COUNTER_L("tidegate_worker_failures_total", "Of them, failed.", "worker");
static struct metric opened =
    METRIC_COUNTER_L("tidegate_worker_breaker_opened_total", "Times its circuit breaker opened.", "worker");
static struct metric reports =
    METRIC_COUNTER_L("tidegate_worker_reports_total", "Reports of its load that were heard.", "worker");
static struct metric others = METRIC_GAUGE_L(
    "tidegate_worker_others_running",
    "Requests beyond this gateway's that it last told of, running or waiting there.", "worker");
static struct metric kv_used =
    METRIC_GAUGE_L("tidegate_worker_kv_used_ratio", "Share of its KV cache in use, as last told.", "worker");
static struct metric credit =
    METRIC_GAUGE_L("tidegate_worker_report_credit",
                   "What its last report counts in the choice: 1, 0.5, or 0 when it is too old.", "worker");
static struct metric waiting =
    METRIC_GAUGE("tidegate_chat_queue_waiting", "Requests waiting for a free worker.");

/* --- members ------------------------------------------------------------------------------------------ */

static struct metric_child *child(struct metric *m, const struct worker *w)
{
    metric_register(m);
    return metric_child(m, w->name);
}

static int read_key(const char *path, struct buf *out, struct err *err)
{
    int rc = path ? secret_file_read(path, out, err) : 0;
    if (rc == 0 && out->n >= WORKER_KEY) {
        rc = err_set(err, ERR_INVALID, "%s: a worker's key has at most %d bytes", path, WORKER_KEY - 1);
    }
    return rc;
}

static struct member *new_member(struct router *r, const struct worker_conf *conf, struct err *err)
{
    struct buf key;
    buf_init(&key, 4096);
    if (read_key(conf->api_key_file, &key, err) != 0) {
        buf_clear(&key);
        return NULL;
    }
    struct http_origin_conf oc = {
        .target = str_from(conf->target), .protocol = conf->protocol, .max_idle = 1, .max_connections = 4};
    struct http_origin *origin = http_origin_new(r->control, &oc, err);
    if (origin) {
        struct member *m = calloc(1, sizeof *m);
        BUG_ON(!m);
        m->router = r;
        m->worker = worker_new(conf, buf_str(&key), r->next_id++);
        m->origin = origin;
        m->key_file = conf->api_key_file ? strdup(conf->api_key_file) : NULL;
        m->models_given = conf->models.n > 0;
        for (unsigned i = 0; i < conf->models.n && i < WORKER_MODELS; i++) {
            memcpy(m->models[m->model_count++], conf->models.items[i], strlen(conf->models.items[i]) + 1);
        }
        buf_init(&m->answer, PROBE_ANSWER_BYTES);
        buf_init(&m->key.question, PROBE_QUESTION_BYTES);
        sse_init(&m->report.events, REPORT_EVENT_BYTES);
        secret_cleanse(key.p, key.n);
        buf_clear(&key);
        return m;
    }
    secret_cleanse(key.p, key.n);
    buf_clear(&key);
    return NULL;
}

static void free_member(struct member *m)
{
    struct metric_child *children[] = {m->up,       m->refuses_key, m->running, m->outstanding,
                                       m->requests, m->failures,    m->opened,  m->reports,
                                       m->others,   m->kv_used,     m->credit};
    for (unsigned i = 0; i < sizeof children / sizeof *children; i++) {
        metric_child_release(children[i]);
    }
    member_probe_stop(m);
    member_listen_stop(m);
    http_origin_free(m->origin);
    worker_unref(m->worker);
    buf_clear(&m->answer);
    buf_clear(&m->key.question);
    free(m->key_file);
    free(m);
}

static void catch_up(struct metric_child *c, uint64_t to)
{
    metric_child_add(c, (int64_t)to - (int64_t)metric_child_value(c));
}

static void show_report(struct member *m)
{
    const struct worker *w = m->worker;
    if (!m->reports) {
        m->reports = child(&reports, w);
        m->others = child(&others, w);
        m->kv_used = child(&kv_used, w);
        m->credit = child(&credit, w);
    }
    catch_up(m->reports, m->report.heard);
    metric_child_set(m->others, atomic_load_explicit(&w->load->others, memory_order_relaxed));
    metric_child_set(m->kv_used, atomic_load_explicit(&w->load->kv_used, memory_order_relaxed) / 100.0);
    metric_child_set(m->credit, worker_report_halves(w, clock_mono_ms()) / 2.0);
}

void member_show(struct member *m)
{
    struct worker *w = m->worker;
    if (!m->up) {
        m->up = child(&up, w);
        m->refuses_key = child(&refuses_key, w);
        m->running = child(&running, w);
        m->outstanding = child(&outstanding, w);
        m->requests = child(&requests, w);
        m->failures = child(&failures, w);
        m->opened = child(&opened, w);
    }
    bool is_refused = atomic_load_explicit(&w->refuses_key, memory_order_relaxed);
    metric_child_set(m->up, worker_state(w) == WORKER_READY && !is_refused); /* a trial is no all-clear */
    metric_child_set(m->refuses_key, is_refused);
    metric_child_set(m->running, atomic_load_explicit(&w->load->in_flight, memory_order_relaxed));
    metric_child_set(m->outstanding, (double)atomic_load_explicit(&w->load->tokens, memory_order_relaxed));
    catch_up(m->requests, atomic_load_explicit(&w->requests, memory_order_relaxed));
    catch_up(m->failures, atomic_load_explicit(&w->failures, memory_order_relaxed));
    catch_up(m->opened, atomic_load_explicit(&w->breaker.opened, memory_order_relaxed));
    if (w->report_fresh_ms > 0) {
        show_report(m);
    }
}

/* --- tables ------------------------------------------------------------------------------------------- */

/* The place of this model's queue, or where it would be. */
static unsigned queue_place(const struct router *r, const char *model)
{
    unsigned low = 0, high = r->queue_count;
    while (low < high) {
        unsigned mid = (low + high) / 2;
        if (strcmp(model_queue_name(r->queues[mid]), model) < 0) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

static bool has_queue_at(const struct router *r, unsigned place, const char *model)
{
    return place < r->queue_count && strcmp(model_queue_name(r->queues[place]), model) == 0;
}

static struct model_queue *find_queue(struct router *r, const char *model)
{
    unsigned at = queue_place(r, model);
    if (has_queue_at(r, at, model)) {
        return r->queues[at];
    }
    BUG_ON(r->queue_count == QUEUES_MAX);
    r->queues = reallocarray(r->queues, r->queue_count + 1, sizeof *r->queues);
    BUG_ON(!r->queues);
    memmove(r->queues + at + 1, r->queues + at, (r->queue_count - at) * sizeof *r->queues);
    r->queue_count++;
    return r->queues[at] = model_queue_new(model);
}

/* Models whose queue would be one too many are not served; names come from workers, not from clients. */
static unsigned known_models(struct router *r, const struct member *m)
{
    unsigned n = 0;
    while (n < m->model_count &&
           (r->queue_count + 1 < QUEUES_MAX || has_queue_at(r, queue_place(r, m->models[n]), m->models[n]))) {
        (void)find_queue(r, m->models[n++]);
    }
    return n;
}

/* A new table of what members serve now. */
static void publish(struct router *r)
{
    r->has_news = false;
    struct worker *workers[r->member_count + 1];
    char(*models[r->member_count + 1])[MODEL_NAME];
    unsigned counts[r->member_count + 1];
    unsigned n = 0;
    for (struct member *m = r->members; m; m = m->next, n++) {
        workers[n] = m->worker;
        models[n] = m->models;
        counts[n] = known_models(r, m);
    }
    struct worker_table *t = worker_table_new(workers, n, models, counts);
    for (unsigned i = 0; i < t->model_count; i++) {
        t->models[i].queue = find_queue(r, t->models[i].name);
    }
    pthread_mutex_lock(&r->mutex);
    struct worker_table *old = r->table;
    r->table = t;
    pthread_mutex_unlock(&r->mutex);
    worker_table_unref(old);
    r->on_table(r->arg, t);
}

/* The first of them goes out at once: a gateway that starts serves the first worker's models without delay. */
void router_publish_news(struct router *r)
{
    uint64_t now = clock_mono_ms();
    if (now - r->news_ms >= TICK_MIN_MS) {
        r->news_ms = now;
        publish(r);
    } else if (!r->has_news) {
        r->has_news = true;
        loop_timer_arm(&r->tick, TICK_MIN_MS);
    }
}

struct worker_table *router_table(struct router *r)
{
    pthread_mutex_lock(&r->mutex);
    struct worker_table *t = worker_table_ref(r->table);
    pthread_mutex_unlock(&r->mutex);
    return t;
}

/* --- configuration ------------------------------------------------------------------------------------ */

/* The file of its key says what it said before. */
static bool has_same_key(const struct member *m, const struct worker_conf *c)
{
    struct err err;
    struct buf key;
    if (!c->api_key_file || !m->key_file) {
        return c->api_key_file == m->key_file;
    }
    buf_init(&key, 4096);
    bool same = read_key(c->api_key_file, &key, &err) == 0 &&
                str_eq(buf_str(&key), str_skip(str_from(m->worker->authorization), strlen("Bearer ")));
    secret_cleanse(key.p, key.n);
    buf_clear(&key);
    return same;
}

static bool is_same(const struct member *m, const struct worker_conf *c)
{
    const struct worker *w = m->worker;
    if (strcmp(w->name, c->name) != 0 || strcmp(w->target, c->target) != 0 || w->protocol != c->protocol ||
        w->ping_ms != c->ping_ms || w->weight != c->weight || w->slots != c->slots ||
        w->report_fresh_ms != (c->load_report ? c->report_fresh_ms : 0) ||
        m->models_given != (c->models.n > 0) || !has_same_key(m, c)) {
        return false;
    }
    for (unsigned i = 0; m->models_given && i < c->models.n; i++) {
        if (c->models.n != m->model_count || strcmp(m->models[i], c->models.items[i]) != 0) {
            return false;
        }
    }
    return true;
}

/* The members there are while others come, by name. */
struct old_members {
    struct old_member {
        struct member *member;
        bool is_kept;
    } * items;
    unsigned n;
};

static int by_name(const void *a, const void *b)
{
    const struct old_member *x = a, *y = b;
    return strcmp(x->member->worker->name, y->member->worker->name);
}

static void list_old(const struct router *r, struct old_members *out)
{
    out->n = 0;
    out->items = calloc(r->member_count + 1, sizeof *out->items);
    BUG_ON(!out->items);
    for (struct member *m = r->members; m; m = m->next) {
        out->items[out->n++].member = m;
    }
    qsort(out->items, out->n, sizeof *out->items, by_name);
}

static int to_name(const void *name, const void *item)
{
    return strcmp(name, ((const struct old_member *)item)->member->worker->name);
}

static struct old_member *find_old(const struct old_members *old, const char *name)
{
    return bsearch(name, old->items, old->n, sizeof *old->items, to_name);
}

/* One that is made anew: what runs at its server goes on and takes its places, and an operator's drain stays. */
static void inherit(struct member *m, const struct member *old)
{
    struct worker *w = m->worker;
    bool is_same_server = strcmp(w->target, old->worker->target) == 0 && w->protocol == old->worker->protocol;
    if (!is_same_server) {
        atomic_store(&w->load->draining, atomic_load(&old->worker->load->draining));
        return;
    }
    worker_succeed(w, old->worker);
    atomic_store(&w->is_doubted, atomic_load(&old->worker->refuses_key));
    if (!m->models_given && !old->models_given) { /* until it is asked again */
        memcpy(m->models, old->models, sizeof m->models);
        m->model_count = old->model_count;
    }
}

static void free_members(struct member *list)
{
    while (list) {
        struct member *m = list;
        list = m->next;
        free_member(m);
    }
}

/* Members for what is not there yet, in the order of the configuration; NULL slots are those kept. */
static int make_new(struct router *r, const struct router_conf *conf, const struct old_members *old,
                    struct member **made, struct err *err)
{
    for (unsigned i = 0; i < conf->worker_count; i++) {
        struct old_member *o = find_old(old, conf->workers[i].name);
        if (o && is_same(o->member, &conf->workers[i])) {
            o->is_kept = true;
            continue;
        }
        made[i] = new_member(r, &conf->workers[i], err);
        if (!made[i]) {
            while (i-- > 0) {
                if (made[i]) {
                    free_member(made[i]);
                }
            }
            return ERR_INVALID;
        }
    }
    return 0;
}

/* The list anew: what was made, and what is kept. */
static void replace_members(struct router *r, const struct router_conf *conf, const struct old_members *old,
                            struct member **made)
{
    struct member **tail = &r->members;
    for (unsigned i = 0; i < conf->worker_count; i++) {
        const struct old_member *o = find_old(old, conf->workers[i].name);
        BUG_ON(!made[i] && !o);
        struct member *m = made[i] ? made[i] : o->member;
        if (made[i] && o) {
            inherit(m, o->member);
        }
        *tail = m;
        tail = &m->next;
    }
    *tail = NULL;
    for (unsigned i = 0; i < old->n; i++) {
        if (!old->items[i].is_kept) {
            free_member(old->items[i].member);
        }
    }
    r->member_count = conf->worker_count;
}

int router_configure(struct router *r, const struct router_conf *conf, struct err *err)
{
    struct member **made = calloc(conf->worker_count + 1, sizeof(struct member *));
    struct old_members old;
    BUG_ON(!made);
    list_old(r, &old);
    int rc = make_new(r, conf, &old, made, err);
    if (rc == 0) {
        replace_members(r, conf, &old, made);
        r->probe_ms = conf->probe_ms ? conf->probe_ms : 2000;
        publish(r);
        loop_timer_arm(&r->tick, 0);
    }
    free(old.items);
    free(made);
    return rc;
}

/* --- life --------------------------------------------------------------------------------------------- */

static void on_tick(void *arg)
{
    struct router *r = arg;
    uint64_t now = clock_mono_ms();
    unsigned n = 0;
    if (r->has_news) {
        r->news_ms = now;
        publish(r);
    }
    for (struct member *m = r->members; m; m = m->next) {
        member_probe_if_due(m, now);
        member_listen_if_due(m, now);
        member_show(m);
    }
    for (unsigned i = 0; i < r->queue_count; i++) {
        n += model_queue_length(r->queues[i]);
    }
    metric_set(&waiting, n);
    queue_pump_all(r->table, now); /* a worker that came back wakes those who wait */
    loop_timer_arm(&r->tick, r->probe_ms / 8 > TICK_MIN_MS ? r->probe_ms / 8 : TICK_MIN_MS);
}

static void ignore_table(void *arg, struct worker_table *t)
{
}

struct router *router_new(struct loop *control, void (*on_table)(void *arg, struct worker_table *t),
                          void *arg)
{
    struct router *r = calloc(1, sizeof *r);
    BUG_ON(!r);
    r->control = control;
    r->on_table = ignore_table;
    r->probe_ms = 2000;
    pthread_mutex_init(&r->mutex, NULL);
    loop_timer_init(control, &r->tick, on_tick, r);
    publish(r);
    r->on_table = on_table;
    r->arg = arg;
    return r;
}

void router_free(struct router *r)
{
    if (!r) {
        return;
    }
    loop_timer_disarm(&r->tick);
    free_members(r->members);
    worker_table_unref(r->table);
    for (unsigned i = 0; i < r->queue_count; i++) {
        model_queue_free(r->queues[i]);
    }
    free(r->queues);
    pthread_mutex_destroy(&r->mutex);
    free(r);
}

static struct member *find_member(const struct router *r, struct str name)
{
    struct member *m = r->members;
    while (m != NULL && !str_is(name, m->worker->name)) {
        m = m->next;
    }
    return m;
}

bool router_has(const struct router *r, struct str name)
{
    return find_member(r, name) != NULL;
}

bool router_drain(struct router *r, struct str name, bool drain)
{
    const struct member *m = find_member(r, name);
    if (m == NULL) {
        return false;
    }
    atomic_store(&m->worker->load->draining, drain);
    log_info("worker name=%s draining=%d", m->worker->name, drain);
    return true;
}

void router_write_drained(const struct router *r, struct buf *out)
{
    for (const struct member *m = r->members; m; m = m->next) {
        if (atomic_load(&m->worker->load->draining)) {
            buf_addf(out, "%s\n", m->worker->name);
        }
    }
}

/* What it last told, as long as that counts. */
static void write_report(struct json_writer *w, const struct worker *k)
{
    uint64_t now = clock_mono_ms();
    if (worker_report_halves(k, now) == 0) {
        json_null_at(w, "others");
        json_null_at(w, "kv_used_percent");
        json_null_at(w, "report_age_ms");
        return;
    }
    json_i64_at(w, "others", atomic_load(&k->load->others));
    json_i64_at(w, "kv_used_percent", atomic_load(&k->load->kv_used));
    json_i64_at(w, "report_age_ms", (int64_t)(now - atomic_load(&k->load->report_ms)));
}

static void write_member(struct json_writer *w, const struct member *m)
{
    const struct worker *k = m->worker;
    json_open(w, '{');
    json_str_at(w, "name", str_from(k->name));
    json_str_at(w, "target", str_from(k->target));
    json_str_at(w, "state", str_from(worker_state_name(worker_state(k))));
    json_str_at(w, "breaker", str_from(breaker_state_name(breaker_state(&k->breaker))));
    json_bool_at(w, "refuses_key", atomic_load(&k->refuses_key));
    json_i64_at(w, "running", atomic_load(&k->load->in_flight));
    json_i64_at(w, "slots", k->slots);
    json_i64_at(w, "tokens", atomic_load(&k->load->tokens));
    write_report(w, k);
    json_i64_at(w, "first_token_ms", atomic_load(&k->load->ttft_us) / 1000);
    json_bool_at(w, "draining", atomic_load(&k->load->draining));
    json_i64_at(w, "weight", k->weight);
    json_i64_at(w, "requests", (int64_t)atomic_load(&k->requests));
    json_i64_at(w, "failures", (int64_t)atomic_load(&k->failures));
    json_open_at(w, "models", '[');
    for (unsigned i = 0; i < m->model_count; i++) {
        json_str(w, str_from(m->models[i]));
    }
    json_close(w, ']');
    json_close(w, '}');
}

void router_write_json(const struct router *r, struct buf *out)
{
    struct json_writer w = {.out = out};
    json_open(&w, '[');
    for (const struct member *m = r->members; m; m = m->next) {
        write_member(&w, m);
    }
    json_close(&w, ']');
}
