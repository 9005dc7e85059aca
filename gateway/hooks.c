/* libcurl's multi interface on the control loop: curl tells which sockets and which timer it wants, libevent
 * tells when. A send lives in the list of its hooks from the moment it is asked for until it is handed back. */
#include "gateway/hooks.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "auth/auth.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/secret.h"
#include "gateway/hook_target.h"
#include "gateway/hooks_conf.h"
#include "gateway/webhook.h"
#include "inference/router/breaker.h"

enum { HOOK_BODY_MAX = 8192, HOOK_ANSWER_MAX = 200 * 1024, HOOK_HEADER_MAX = 160 };

static struct metric sends = METRIC_COUNTER_L(
    "tidegate_hook_calls_total", "Calls to hooks, by what came of them in the end.", "hook,result");
static struct metric tries =
    METRIC_COUNTER_L("tidegate_hook_tries_total", "Single tries of hook calls.", "hook");
static struct metric seconds =
    METRIC_HISTOGRAM_L("tidegate_hook_duration_seconds", "From ask to answer.", "hook");

struct hook_send {
    struct loop_msg msg; /* first: on its way to a loop */
    struct hooks *hooks;
    struct hook_send *prev, *next; /* in hooks->sends */
    struct loop *origin;           /* under hooks->lock; NULL: nobody waits any more */
    hook_done_cb done;
    void *arg;
    int rc;
    const char *provider; /* that took it, or was asked last */
    uint64_t began_us;
    /* the control thread's */
    char id[ID_UUID_TEXT + 1];
    struct buf body;
    CURL *easy;
    struct curl_slist *headers;
    struct loop_timer again;
    struct provider *at; /* where the try goes */
    bool is_probe;       /* it tells whether that one is back */
    unsigned tried[HOOK_PROVIDERS_MAX];
    bool was_refused;     /* by some provider, with a 4xx */
    uint64_t deadline_ms; /* monotonic */
    size_t answer_bytes;
};

/* One receiver of codes. */
struct provider {
    struct hook_conf conf; /* its texts are owned */
    struct hook_target target;
    struct webhook_key key;
    struct breaker breaker;
};

struct hooks {
    struct loop *control;
    struct provider providers[HOOK_PROVIDERS_MAX]; /* in order of preference */
    unsigned provider_count;
    struct addr_prefix *allowed; /* owned: networks that all may reach */
    uint64_t deadline_ms;
    uint64_t in_flight_max;
    CURLM *multi;
    struct loop_timer curl_timer;
    pthread_mutex_t lock; /* sends, count, origin */
    struct hook_send *sends;
    unsigned count;
};

/* --- handing back ------------------------------------------------------------------------------------ */

static void send_free(struct hook_send *s)
{
    secret_cleanse(s->body.p, s->body.n);
    buf_clear(&s->body);
    free(s);
}

/* Under the lock. */
static void send_unlink(struct hook_send *s)
{
    struct hooks *h = s->hooks;
    *(s->prev ? &s->prev->next : &h->sends) = s->next;
    if (s->next) {
        s->next->prev = s->prev;
    }
    h->count--;
}

static void on_handed_back(struct loop_msg *m, bool canceled)
{
    struct hook_send *s = (struct hook_send *)m;
    s->done(s->arg, canceled ? ERR_CANCELED : s->rc, s->provider);
    send_free(s);
}

/* The control thread: the end of a send. */
static void send_finish(struct hook_send *s, int rc)
{
    struct hooks *h = s->hooks;
    metric_child_add(metric_child(&sends, rc == 0            ? "sms,ok"
                                          : rc == ERR_DENIED ? "sms,refused"
                                                             : "sms,failed"),
                     1);
    metric_child_observe_us(metric_child(&seconds, "sms"), clock_mono_us() - s->began_us);
    s->rc = rc;
    s->msg.fn = on_handed_back;
    pthread_mutex_lock(&h->lock);
    send_unlink(s);
    struct loop *origin = s->origin;
    if (origin) {
        loop_post(origin, &s->msg);
    }
    pthread_mutex_unlock(&h->lock);
    if (!origin) {
        send_free(s);
    }
}

void hooks_forget_loop(struct hooks *h, struct loop *loop)
{
    if (!h) {
        return;
    }
    for (struct hook_send *s = h->sends; s; s = s->next) { /* the control thread has ended too */
        if (s->origin == loop) {
            s->origin = NULL;
            s->done(s->arg, ERR_CANCELED, "");
        }
    }
}

/* --- one try ----------------------------------------------------------------------------------------- */

static size_t on_answer(char *p, size_t size, size_t n, void *arg)
{
    struct hook_send *s = arg;
    s->answer_bytes += size * n;
    return s->answer_bytes <= HOOK_ANSWER_MAX ? size * n : 0;
}

static void add_header(struct hook_send *s, const char *fmt, const char *value)
{
    char line[HOOK_HEADER_MAX];
    snprintf(line, sizeof line, fmt, value);
    struct curl_slist *grown = curl_slist_append(s->headers, line);
    BUG_ON(!grown);
    s->headers = grown;
}

static void set_headers(struct hook_send *s)
{
    char at[24], signature[WEBHOOK_SIGNATURE_TEXT];
    int64_t now_s = clock_wall_s();
    snprintf(at, sizeof at, "%lld", (long long)now_s);
    webhook_sign(&s->at->key, str_from(s->id), now_s, buf_str(&s->body), signature);
    add_header(s, "content-type: %s", "application/json");
    add_header(s, "expect:%s", "");
    add_header(s, "webhook-id: %s", s->id);
    add_header(s, "webhook-timestamp: %s", at);
    add_header(s, "webhook-signature: %s", signature);
}

/* Its own, or what is left of the whole. */
static long try_timeout_ms(const struct hook_send *s)
{
    uint64_t now_ms = clock_mono_ms();
    uint64_t left_ms = s->deadline_ms > now_ms ? s->deadline_ms - now_ms : 1;
    return (long)(left_ms < s->at->conf.timeout_ms ? left_ms : s->at->conf.timeout_ms);
}

static void send_try(struct hook_send *s)
{
    struct hooks *h = s->hooks;
    s->easy = curl_easy_init();
    BUG_ON(!s->easy);
    s->tried[s->at - h->providers]++;
    s->answer_bytes = 0;
    set_headers(s);
    curl_easy_setopt(s->easy, CURLOPT_URL, s->at->conf.url);
    curl_easy_setopt(s->easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(s->easy, CURLOPT_OPENSOCKETFUNCTION, hook_target_socket);
    curl_easy_setopt(s->easy, CURLOPT_OPENSOCKETDATA, &s->at->target);
    curl_easy_setopt(s->easy, CURLOPT_PROXY, "");
    curl_easy_setopt(s->easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(s->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(s->easy, CURLOPT_TIMEOUT_MS, try_timeout_ms(s));
    curl_easy_setopt(s->easy, CURLOPT_USERAGENT, "tidegate/" TIDE_VERSION);
    curl_easy_setopt(s->easy, CURLOPT_HTTPHEADER, s->headers);
    curl_easy_setopt(s->easy, CURLOPT_POSTFIELDS, s->body.p);
    curl_easy_setopt(s->easy, CURLOPT_POSTFIELDSIZE, (long)s->body.n);
    curl_easy_setopt(s->easy, CURLOPT_WRITEFUNCTION, on_answer);
    curl_easy_setopt(s->easy, CURLOPT_WRITEDATA, s);
    curl_easy_setopt(s->easy, CURLOPT_PRIVATE, s);
    if (s->at->conf.ca_file) {
        curl_easy_setopt(s->easy, CURLOPT_CAINFO, s->at->conf.ca_file);
    }
    metric_child_add(metric_child(&tries, s->at->conf.name), 1);
    curl_multi_add_handle(h->multi, s->easy);
}

static void try_clear(struct hook_send *s)
{
    if (s->easy) {
        curl_multi_remove_handle(s->hooks->multi, s->easy);
        curl_easy_cleanup(s->easy);
        s->easy = NULL;
    }
    curl_slist_free_all(s->headers);
    s->headers = NULL;
}

static void on_again(void *arg)
{
    send_try(arg);
}

/* Of those with tries left: the least tried, among these one that is not known to fail, among these the first. */
static struct provider *pick(const struct hook_send *s, uint64_t now_ms)
{
    struct hooks *h = s->hooks;
    struct provider *best = NULL;
    bool best_is_well = false;
    for (unsigned i = 0; i < h->provider_count; i++) {
        struct provider *p = &h->providers[i];
        if (s->tried[i] >= p->conf.tries) {
            continue;
        }
        bool is_well = breaker_would_admit(&p->breaker, now_ms);
        unsigned least = best != NULL ? s->tried[best - h->providers] : 0;
        if (best == NULL || s->tried[i] < least || (s->tried[i] == least && is_well && !best_is_well)) {
            best = p;
            best_is_well = is_well;
        }
    }
    return best;
}

/* The next try, somewhere; a provider that was tried before is given time. */
static void go_on(struct hook_send *s)
{
    uint64_t now_ms = clock_mono_ms();
    struct provider *p = pick(s, now_ms);
    unsigned tried = p != NULL ? s->tried[p - s->hooks->providers] : 0;
    uint64_t wait_ms = tried > 0 ? p->conf.backoff_ms << (tried - 1) : 0;
    if (p == NULL || now_ms + wait_ms >= s->deadline_ms) {
        send_finish(s, s->was_refused ? ERR_DENIED : ERR_UNAVAILABLE);
        return;
    }
    s->at = p;
    s->provider = p->conf.name;
    s->is_probe = breaker_admit(&p->breaker, now_ms) == BREAKER_ADMIT_PROBE;
    if (wait_ms == 0) {
        send_try(s);
    } else {
        loop_timer_arm(&s->again, wait_ms);
    }
}

static void on_tried(struct hook_send *s, CURLcode code)
{
    long status = 0;
    struct provider *p = s->at;
    curl_easy_getinfo(s->easy, CURLINFO_RESPONSE_CODE, &status);
    try_clear(s);
    bool is_taken = code == CURLE_OK && status >= 200 && status < 300;
    bool is_refused = !is_taken && code == CURLE_OK && status < 500 && status != 429;
    breaker_note(&p->breaker, clock_mono_ms(),
                 is_taken || is_refused          ? BREAKER_OK
                 : code == CURLE_COULDNT_CONNECT ? BREAKER_CONNECT_FAIL
                                                 : BREAKER_FAIL,
                 s->is_probe);
    if (is_taken) {
        send_finish(s, 0);
        return;
    }
    log_warn("hook %s hook=%s try=%u status=%ld error=\"%s\"", is_refused ? "refused" : "failed",
             p->conf.name, s->tried[p - s->hooks->providers], status, curl_easy_strerror(code));
    if (is_refused) { /* it would say so again */
        s->was_refused = true;
        s->tried[p - s->hooks->providers] = (unsigned)p->conf.tries;
    }
    go_on(s);
}

/* --- curl and libevent ------------------------------------------------------------------------------- */

static void take_finished(struct hooks *h)
{
    int left;
    CURLMsg *m;
    while ((m = curl_multi_info_read(h->multi, &left))) {
        struct hook_send *s = NULL;
        CURLcode code = m->data.result;
        if (m->msg == CURLMSG_DONE &&
            curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&s) == CURLE_OK) {
            on_tried(s, code);
        }
    }
}

static void on_socket_ready(evutil_socket_t fd, short what, void *arg)
{
    struct hooks *h = arg;
    int running;
    int flags = (what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0);
    curl_multi_socket_action(h->multi, fd, flags, &running);
    take_finished(h);
}

static void on_curl_timer(void *arg)
{
    struct hooks *h = arg;
    int running;
    curl_multi_socket_action(h->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    take_finished(h);
}

static int curl_wants_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
    struct hooks *h = arg;
    struct event *ev = socket_arg;
    if (ev) {
        event_free(ev);
        ev = NULL;
    }
    if (what != CURL_POLL_REMOVE) {
        short events =
            (short)(EV_PERSIST | (what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0));
        ev = event_new(loop_event_base(h->control), fd, events, on_socket_ready, h);
        BUG_ON(!ev);
        event_add(ev, NULL);
    }
    curl_multi_assign(h->multi, fd, ev);
    return 0;
}

static int curl_wants_timer(CURLM *multi, long after_ms, void *arg)
{
    struct hooks *h = arg;
    if (after_ms < 0) {
        loop_timer_disarm(&h->curl_timer);
    } else {
        loop_timer_arm(&h->curl_timer, (uint64_t)after_ms);
    }
    return 0;
}

/* --- asking ------------------------------------------------------------------------------------------ */

static const char *const released_words[] = {"It is your turn: you can sign up now.",
                                             "已轮到您，现在可以注册了。", "已輪到您，現在可以註冊了。"};

static const char *const code_words[] = {"Your verification code is %s. Do not share it with anyone.",
                                         "您的验证码是 %s，请勿告诉他人。",
                                         "您的驗證碼是 %s，請勿告訴他人。"};

static const char *words_of(const struct auth_message *m)
{
    int lang = strcmp(m->lang, "zh-Hans") == 0 ? 1 : strcmp(m->lang, "zh-Hant") == 0 ? 2 : 0;
    return m->kind == AUTH_MESSAGE_CODE ? code_words[lang] : released_words[lang];
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static void write_body(const struct auth_message *m, struct buf *out)
{
    char text[256], at[CLOCK_ISO_LEN + 1];
    struct json_writer w = {.out = out};
    snprintf(text, sizeof text, words_of(m), m->code);
    clock_format_iso(clock_wall_ms(), at);
    json_open(&w, '{');
    bool is_code = m->kind == AUTH_MESSAGE_CODE;
    json_str_at(&w, "type", is_code ? STR("sms.code") : STR("sms.waitlist_released"));
    json_str_at(&w, "timestamp", str_from(at));
    json_open_at(&w, "data", '{');
    json_str_at(&w, "to", str_from(m->to));
    json_str_at(&w, "channel", str_from(m->channel));
    if (is_code) {
        json_str_at(&w, "code", str_from(m->code));
    } else {
        json_i64_at(&w, "expires_at", m->expires_s);
    }
    json_str_at(&w, "text", str_from(text));
    json_str_at(&w, "lang", str_from(m->lang));
    json_close(&w, '}');
    json_open_at(&w, "user", '{');
    json_str_at(&w, "phone", str_from(m->to + 1));
    json_close(&w, '}');
    if (is_code) {
        json_open_at(&w, "sms", '{');
        json_str_at(&w, "otp", str_from(m->code));
        json_close(&w, '}');
    }
    json_close(&w, '}');
    secret_cleanse(text, sizeof text);
}
#pragma GCC diagnostic pop

/* On the control thread. canceled: it goes away; hooks_close frees what is in the list. */
static void on_asked(struct loop_msg *m, bool canceled)
{
    struct hook_send *s = (struct hook_send *)m;
    if (!canceled) {
        loop_timer_init(s->hooks->control, &s->again, on_again, s);
        s->deadline_ms = clock_mono_ms() + s->hooks->deadline_ms;
        go_on(s);
    }
}

static bool send_link(struct hooks *h, struct hook_send *s)
{
    pthread_mutex_lock(&h->lock);
    bool has_room = h->count < h->in_flight_max;
    if (has_room) {
        s->next = h->sends;
        if (s->next) {
            s->next->prev = s;
        }
        h->sends = s;
        h->count++;
    }
    pthread_mutex_unlock(&h->lock);
    return has_room;
}

void hooks_send_code(struct hooks *h, const struct auth_message *m, hook_done_cb done, void *arg)
{
    struct hook_send *s = calloc(1, sizeof *s);
    BUG_ON(!s);
    s->hooks = h;
    s->origin = loop_current();
    s->done = done;
    s->arg = arg;
    s->provider = "";
    s->began_us = clock_mono_us();
    snprintf(s->id, sizeof s->id, "%s", m->id);
    buf_init(&s->body, HOOK_BODY_MAX);
    write_body(m, &s->body);
    s->msg.fn = on_handed_back;
    if (h->provider_count == 0 || !send_link(h, s)) {
        log_warn("no code sent: %s",
                 h->provider_count > 0 ? "too many hook calls under way" : "no hook is configured");
        s->rc = h->provider_count > 0 ? ERR_AGAIN : ERR_UNAVAILABLE;
        loop_post(s->origin, &s->msg);
        return;
    }
    s->msg.fn = on_asked;
    loop_post(h->control, &s->msg);
}

/* --- life -------------------------------------------------------------------------------------------- */

static int open_provider(struct hooks *h, const struct hook_conf *conf, unsigned allowed_count,
                         struct err *err)
{
    struct provider *p = &h->providers[h->provider_count];
    char name[16] = "sms";
    if (webhook_key_load(conf->secret_file, &p->key, err) < 0) {
        return err->code;
    }
    if (h->provider_count > 0) {
        snprintf(name, sizeof name, "sms%u", h->provider_count + 1);
    }
    p->conf = *conf;
    p->conf.name = strdup(conf->name != NULL ? conf->name : name);
    p->conf.url = strdup(conf->url);
    p->conf.ca_file = conf->ca_file ? strdup(conf->ca_file) : NULL;
    p->target = (struct hook_target){conf->is_loopback, h->allowed, allowed_count};
    breaker_init(&p->breaker);
    h->provider_count++;
    return 0;
}

static int open_providers(struct hooks *h, const struct hooks_conf *conf, struct err *err)
{
    const struct conf_prefixes *allowed = &conf->allowed_networks;
    const struct hook_conf *rows = conf->sms.items;
    int rc = 0;
    h->allowed = calloc(allowed->n + 1, sizeof *h->allowed);
    BUG_ON(!h->allowed);
    for (unsigned i = 0; i < allowed->n; i++) {
        h->allowed[i] = allowed->items[i];
    }
    for (unsigned i = 0; i < conf->sms.n && rc == 0; i++) {
        rc = open_provider(h, &rows[i], allowed->n, err);
    }
    return rc;
}

static void close_providers(struct hooks *h)
{
    for (unsigned i = 0; i < h->provider_count; i++) {
        struct provider *p = &h->providers[i];
        free((char *)(uintptr_t)p->conf.name);
        free((char *)(uintptr_t)p->conf.url);
        free((char *)(uintptr_t)p->conf.ca_file);
    }
    free(h->allowed);
    secret_cleanse(h->providers, sizeof h->providers);
}

void hooks_write_providers(const struct hooks *h, struct json_writer *w)
{
    for (unsigned i = 0; i < h->provider_count; i++) {
        const struct provider *p = &h->providers[i];
        json_open(w, '{');
        json_str_at(w, "name", str_from(p->conf.name));
        json_str_at(w, "breaker", str_from(breaker_state_name(breaker_state(&p->breaker))));
        json_close(w, '}');
    }
}

struct hooks *hooks_open(struct loop *control, const struct hooks_conf *conf, struct err *err)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0) {
        err_set(err, ERR_INTERNAL, "libcurl does not start");
        return NULL;
    }
    struct hooks *h = calloc(1, sizeof *h);
    BUG_ON(!h);
    h->control = control;
    h->deadline_ms = conf->sms_deadline_ms;
    h->in_flight_max = conf->in_flight;
    if (open_providers(h, conf, err) != 0) {
        close_providers(h);
        free(h);
        curl_global_cleanup();
        return NULL;
    }
    pthread_mutex_init(&h->lock, NULL);
    loop_timer_init(control, &h->curl_timer, on_curl_timer, h);
    h->multi = curl_multi_init();
    BUG_ON(!h->multi);
    curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, curl_wants_socket);
    curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h);
    curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, curl_wants_timer);
    curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h);
    return h;
}

void hooks_close(struct hooks *h)
{
    if (!h) {
        return;
    }
    while (h->sends) {
        struct hook_send *s = h->sends;
        try_clear(s);
        if (s->again.armed) {
            loop_timer_disarm(&s->again);
        }
        send_unlink(s);
        send_free(s);
    }
    curl_multi_cleanup(h->multi);
    if (h->curl_timer.armed) {
        loop_timer_disarm(&h->curl_timer);
    }
    curl_global_cleanup();
    pthread_mutex_destroy(&h->lock);
    close_providers(h);
    free(h);
}
