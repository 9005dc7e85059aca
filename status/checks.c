#include "status/checks_inner.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"

enum { TOKEN_LIFE_S = 120, BODY_MAX = 256 * 1024, URL_MAX = 320 };

static struct metric results =
    METRIC_COUNTER_L("tidestatus_probe_results_total", "Verdicts of probes.", "check,verdict");
static struct metric seconds =
    METRIC_HISTOGRAM_L("tidestatus_probe_seconds", "Time that probes took.", "check");

static const char *const kind_words[] = {"login", "models", "sms", "chat"};

static void run(void *arg);

/* --- results ----------------------------------------------------------------------------------- */

void check_observe(struct checks *c, enum component_kind kind, const char *label, enum verdict v)
{
    static const enum probe_outcome outcomes[] = {PROBE_OK, PROBE_SLOW, PROBE_FAIL};
    int64_t now = clock_wall_ms();
    struct component *component = board_component(c->board, kind, str_from(label), now);
    if (component && v != VERDICT_NONE && component_observe(component, outcomes[v], now, clock_mono_ms())) {
        log_info("component name=%s measured=%s", component->key, component_status_word(component->measured));
    }
}

static bool is_in_doubt(struct checks *c, enum component_kind kind, const char *label)
{
    const struct component *component = board_component(c->board, kind, str_from(label), clock_wall_ms());
    return component && component_is_in_doubt(component);
}

void check_note(struct check *k, enum verdict v, const struct prober_result *r)
{
    char labels[32];
    snprintf(labels, sizeof labels, "%s,%s", kind_words[k->kind], verdict_word(v));
    metric_child_add(metric_child(&results, labels), 1);
    metric_child_observe_us(metric_child(&seconds, kind_words[k->kind]), r->elapsed_ms * 1000);
    if (v != k->noted) {
        k->noted = v;
        log_info("probe check=%s model=%s verdict=%s status=%u ms=%llu error=\"%s\"", kind_words[k->kind],
                 k->model, verdict_word(v), r->status, (unsigned long long)r->elapsed_ms, r->error);
    }
}

static bool check_is_in_doubt(const struct check *k)
{
    struct checks *c = k->owner;
    switch (k->kind) {
    case CHECK_LOGIN:
        return is_in_doubt(c, COMPONENT_LOGIN, "") || is_in_doubt(c, COMPONENT_SIGNUP, "");
    case CHECK_LIST:
        return is_in_doubt(c, COMPONENT_CHAT, "");
    case CHECK_SMS:
        return is_in_doubt(c, COMPONENT_SMS, "");
    case CHECK_MODEL:
        return is_in_doubt(c, COMPONENT_MODEL, k->model);
    }
    return false;
}

static void forget(struct check *k);

void check_run_again(struct check *k)
{
    const struct status_probe_conf *conf = k->owner->conf;
    uint64_t took = clock_mono_ms() - k->began_ms;
    uint64_t interval = k->kind == CHECK_MODEL ? conf->chat_interval_ms : conf->interval_ms;
    if (k->is_gone) {
        forget(k);
        return;
    }
    if (check_is_in_doubt(k) && conf->confirm_ms < interval) {
        interval = conf->confirm_ms;
    }
    loop_timer_arm(&k->timer, took < interval ? interval - took : 0);
}

/* --- requests ---------------------------------------------------------------------------------- */

/* A fresh token of the probes' own issuer: "authorization: Bearer ...". False when none is configured. */
static bool write_bearer(struct checks *c, struct buf *out)
{
    struct buf payload;
    struct err err;
    int64_t now = clock_wall_s();
    if (!c->signer) {
        return false;
    }
    buf_init(&payload, 2048);
    struct json_writer w = {.out = &payload};
    json_open(&w, '{');
    json_str_at(&w, "iss", str_from(c->conf->token_issuer));
    json_str_at(&w, "aud", str_from(c->conf->token_audience));
    json_str_at(&w, "sub", STR("status-probe"));
    json_str_at(&w, "role", STR("authenticated"));
    json_i64_at(&w, "iat", now);
    json_i64_at(&w, "exp", now + TOKEN_LIFE_S);
    json_close(&w, '}');
    buf_add_cstr(out, "authorization: Bearer ");
    int rc = jws_sign(c->signer, "JWT", buf_str(&payload), out, &err);
    if (rc < 0) {
        log_error("probe token: %s", err.msg);
    }
    buf_clear(&payload);
    return rc == 0;
}

void check_fetch(struct check *k, struct prober_request *request, const char *path, bool with_token,
                 prober_done done)
{
    struct checks *c = k->owner;
    char url[URL_MAX], apikey[256];
    struct buf bearer;
    buf_init(&bearer, JWS_TOKEN_MAX + 64);
    if (path) {
        snprintf(url, sizeof url, "%s%s", c->conf->target, path);
        request->url = url;
        if (c->conf->apikey) {
            snprintf(apikey, sizeof apikey, "apikey: %s", c->conf->apikey);
            request->fields[0] = apikey;
        }
    }
    if (with_token && write_bearer(c, &bearer)) {
        request->fields[1] = bearer.p;
    }
    if (request->max_body_bytes == 0) {
        request->max_body_bytes = BODY_MAX;
    }
    if (prober_fetch(c->prober, request, done, k) < 0) {
        log_warn("probe check=%s not sent: too many under way", kind_words[k->kind]);
        check_run_again(k);
    }
    buf_clear(&bearer);
}

/* --- models ------------------------------------------------------------------------------------ */

static struct check *add_check(struct checks *c, enum check_kind kind, struct str model)
{
    if (c->count == STATUS_COMPONENTS_MAX || model.n >= COMPONENT_LABEL_MAX) {
        return NULL;
    }
    struct check *k = calloc(1, sizeof *k);
    BUG_ON(!k);
    k->owner = c;
    k->kind = kind;
    k->listed_ms = clock_mono_ms();
    snprintf(k->model, sizeof k->model, STR_FMT, STR_ARG(model));
    loop_timer_init(c->loop, &k->timer, run, k);
    c->items[c->count++] = k;
    return k;
}

void checks_list_model(struct checks *c, struct str model, uint64_t mono_ms)
{
    for (unsigned n = 0; n < c->count; n++) {
        if (c->items[n]->kind == CHECK_MODEL && str_is(model, c->items[n]->model)) {
            c->items[n]->listed_ms = mono_ms;
            return;
        }
    }
    struct check *k = add_check(c, CHECK_MODEL, model);
    if (!k || !board_component(c->board, COMPONENT_MODEL, model, clock_wall_ms())) {
        log_warn("model without a component, there are too many: " STR_FMT, STR_ARG(model));
        return;
    }
    loop_timer_arm(&k->timer, 0);
}

/* Takes a check and its component away. */
static void forget(struct check *k)
{
    struct checks *c = k->owner;
    struct component *component = board_component(c->board, COMPONENT_MODEL, str_from(k->model), 0);
    if (component) {
        board_drop_component(c->board, component);
    }
    for (unsigned n = 0; n < c->count; n++) {
        if (c->items[n] == k) {
            c->items[n] = c->items[--c->count];
            break;
        }
    }
    log_info("model forgotten name=%s", k->model);
    loop_timer_disarm(&k->timer);
    free(k);
}

void checks_mark_gone(struct checks *c, uint64_t mono_ms)
{
    for (unsigned n = 0; n < c->count; n++) {
        struct check *k = c->items[n];
        k->is_gone |= k->kind == CHECK_MODEL && mono_ms - k->listed_ms > CHECKS_FORGET_MS;
    }
}

/* --- life -------------------------------------------------------------------------------------- */

static void run(void *arg)
{
    struct check *k = arg;
    k->began_ms = clock_mono_ms();
    switch (k->kind) {
    case CHECK_LOGIN:
        login_check_run(k);
        break;
    case CHECK_LIST:
        chat_check_list(k);
        break;
    case CHECK_SMS:
        sms_check_run(k);
        break;
    case CHECK_MODEL:
        chat_check_run(k);
        break;
    }
}

/* Components in the order of the page; models come below, as they are listed. */
static void add_components(struct checks *c)
{
    const struct status_probe_conf *conf = c->conf;
    int64_t now = clock_wall_ms();
    board_component(c->board, COMPONENT_SIGNUP, STR(""), now);
    board_component(c->board, COMPONENT_LOGIN, STR(""), now);
    add_check(c, CHECK_LOGIN, STR(""));
    if (conf->metrics_url || conf->sms_health_url) {
        board_component(c->board, COMPONENT_SMS, STR(""), now);
        add_check(c, CHECK_SMS, STR(""));
    }
    if (!conf->chat) {
        return;
    }
    board_component(c->board, COMPONENT_CHAT, STR(""), now);
    add_check(c, CHECK_LIST, STR(""));
    for (unsigned n = 0; n < conf->models.n; n++) {
        checks_list_model(c, str_from(conf->models.items[n]), clock_mono_ms());
    }
    for (unsigned n = 0; n < c->board->component_count && conf->models.n == 0; n++) { /* of the snapshot */
        const struct component *component = &c->board->components[n];
        if (component->kind == COMPONENT_MODEL) {
            checks_list_model(c, str_from(component->label), clock_mono_ms());
        }
    }
}

static bool is_probed(const struct checks *c, const struct component *component)
{
    static const enum check_kind by[] = {[COMPONENT_SIGNUP] = CHECK_LOGIN,
                                         [COMPONENT_LOGIN] = CHECK_LOGIN,
                                         [COMPONENT_SMS] = CHECK_SMS,
                                         [COMPONENT_CHAT] = CHECK_LIST,
                                         [COMPONENT_MODEL] = CHECK_MODEL};
    for (unsigned n = 0; n < c->count; n++) {
        const struct check *k = c->items[n];
        if (k->kind == by[component->kind] && str_is(str_from(component->label), k->model)) {
            return true;
        }
    }
    return false;
}

/* What the snapshot knows of an older configuration: nobody would ever see it well again. */
static void drop_unprobed(struct checks *c)
{
    for (unsigned n = c->board->component_count; n > 0; n--) {
        struct component *component = &c->board->components[n - 1];
        if (!is_probed(c, component)) {
            log_info("component forgotten, nothing probes it: name=%s", component->key);
            board_drop_component(c->board, component);
        }
    }
}

struct checks *checks_new(struct loop *loop, struct prober *prober, struct board *board,
                          const struct status_probe_conf *conf, struct err *err)
{
    struct checks *c = calloc(1, sizeof *c);
    BUG_ON(!c);
    c->loop = loop;
    c->prober = prober;
    c->board = board;
    c->conf = conf;
    if (conf->token_key) {
        if (jws_keys_load(conf->token_key, &c->keys, err) < 0 ||
            !(c->signer = jws_keys_signer(&c->keys, NULL, err))) {
            checks_free(c);
            return NULL;
        }
    }
    metric_register(&results);
    metric_register(&seconds);
    add_components(c);
    drop_unprobed(c);
    return c;
}

void checks_free(struct checks *c)
{
    if (!c) {
        return;
    }
    for (unsigned n = 0; n < c->count; n++) {
        loop_timer_disarm(&c->items[n]->timer);
        free(c->items[n]);
    }
    jws_keys_clear(&c->keys);
    free(c);
}

void checks_start(struct checks *c)
{
    for (unsigned n = 0; n < c->count; n++) {
        loop_timer_arm(&c->items[n]->timer, 0);
    }
}

void checks_set_conf(struct checks *c, const struct status_probe_conf *conf)
{
    c->conf = conf;
}

bool checks_signup_state(const struct checks *c, enum signup_state *out)
{
    *out = c->signup_state;
    return c->has_signup_state;
}
