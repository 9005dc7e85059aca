/* See hooks.h. A send lives in the list of its hooks from the moment it is asked for until it is handed back. */
#include "gateway/hooks.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "auth/auth.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/secret.h"
#include "gateway/curl_loop.h"
#include "gateway/hook_target.h"
#include "gateway/hooks_conf.h"
#include "gateway/sms_message.h"
#include "gateway/webhook.h"
#include "inference/router/breaker.h"

enum { HOOK_BODY_MAX = 8192, HOOK_ANSWER_MAX = 200 * 1024, HOOK_HEADER_MAX = 160, LABEL_MAX = 32 };

static struct metric sends = METRIC_COUNTER_L(
    "tidegate_hook_calls_total", "Calls to hooks, by what came of them in the end.", "hook,result");
static struct metric tries =
    METRIC_COUNTER_L("tidegate_hook_tries_total", "Single tries of hook calls.", "hook");
static struct metric seconds =
    METRIC_HISTOGRAM_L("tidegate_hook_duration_seconds", "From ask to answer.", "hook");

struct hook_send {
    struct loop_msg msg; /* first: on its way to a loop */
    struct hooks *hooks;
    struct hook_line *line;
    struct hook_send *prev, *next; /* in hooks->sends */
    struct loop *origin;           /* under hooks->lock; NULL: nobody waits any more */
    hook_done_cb done;
    void *arg;
    struct hook_end end;
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
    bool may_be_taken;    /* a try was asked and cut off before its answer */
    uint64_t deadline_ms; /* monotonic */
    size_t answer_bytes;
    struct buf answer; /* kept when the line keeps it */
};

/* One receiver. */
struct provider {
    struct hook_conf conf; /* its texts are owned */
    struct hook_target target;
    struct webhook_key key;
    struct breaker breaker;
};

/* Receivers of one kind of message, any of which will do. */
struct hook_line {
    const char *name;                              /* in metrics */
    struct provider providers[HOOK_PROVIDERS_MAX]; /* in order of preference */
    unsigned provider_count;
    uint64_t deadline_ms;
    uint64_t in_flight_max;
    unsigned in_flight;  /* under hooks->lock */
    bool is_dispensable; /* one that fails often is not asked, though there is no other */
    size_t answer_max;   /* bytes of an answer; more end the try */
    bool keeps_answer;
};

struct hooks {
    struct loop *control;
    struct hook_line sms, risk;
    struct addr_prefix *allowed; /* owned: networks that all may reach */
    struct curl_loop *curl;
    pthread_mutex_t lock; /* sends, in_flight, origin */
    struct hook_send *sends;
};

/* --- handing back ------------------------------------------------------------------------------------ */

static void send_free(struct hook_send *s)
{
    secret_cleanse(s->body.p, s->body.n);
    buf_clear(&s->body);
    buf_clear(&s->answer);
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
    s->line->in_flight--;
}

static void on_handed_back(struct loop_msg *m, bool canceled)
{
    struct hook_send *s = (struct hook_send *)m;
    s->end.rc = canceled ? ERR_CANCELED : s->end.rc;
    s->end.answer = buf_str(&s->answer);
    s->done(s->arg, &s->end);
    send_free(s);
}

/* The control thread: the end of a send. */
static void send_finish(struct hook_send *s, int rc)
{
    struct hooks *h = s->hooks;
    char labels[LABEL_MAX];
    snprintf(labels, sizeof labels, "%s,%s", s->line->name,
             rc == 0            ? "ok"
             : rc == ERR_DENIED ? "refused"
                                : "failed");
    metric_child_add(metric_child(&sends, labels), 1);
    metric_child_observe_us(metric_child(&seconds, s->line->name), clock_mono_us() - s->began_us);
    s->end.rc = rc;
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
            s->done(s->arg, &(struct hook_end){.rc = ERR_CANCELED, .provider = "", .answer = STR("")});
        }
    }
}

/* --- one try ----------------------------------------------------------------------------------------- */

static size_t on_answer(char *p, size_t size, size_t n, void *arg)
{
    struct hook_send *s = arg;
    s->answer_bytes += size * n;
    if (s->answer_bytes > s->line->answer_max) {
        return 0;
    }
    if (s->line->keeps_answer) {
        buf_add(&s->answer, p, size * n);
    }
    return size * n;
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
    s->easy = curl_easy_init();
    BUG_ON(!s->easy);
    s->tried[s->at - s->line->providers]++;
    s->answer_bytes = 0;
    buf_truncate(&s->answer);
    set_headers(s);
    curl_easy_setopt(s->easy, CURLOPT_URL, s->at->conf.url);
    curl_easy_setopt(s->easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(s->easy, CURLOPT_OPENSOCKETFUNCTION, hook_target_socket);
    curl_easy_setopt(s->easy, CURLOPT_OPENSOCKETDATA, &s->at->target);
    curl_easy_setopt(s->easy, CURLOPT_PROXY, "");
    curl_easy_setopt(s->easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(s->easy, CURLOPT_NOSIGNAL, 1L);
    /* Else a time-out waits here for a getaddrinfo that hangs. */
    curl_easy_setopt(s->easy, CURLOPT_QUICK_EXIT, 1L);
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
    curl_loop_add(s->hooks->curl, s->easy);
}

static void try_clear(struct hook_send *s)
{
    if (s->easy) {
        curl_loop_remove(s->hooks->curl, s->easy);
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
    struct hook_line *line = s->line;
    struct provider *best = NULL;
    bool best_is_well = false;
    for (unsigned i = 0; i < line->provider_count; i++) {
        struct provider *p = &line->providers[i];
        if (s->tried[i] >= p->conf.tries) {
            continue;
        }
        bool is_well = breaker_would_admit(&p->breaker, now_ms);
        unsigned least = best != NULL ? s->tried[best - line->providers] : 0;
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
    unsigned tried = p != NULL ? s->tried[p - s->line->providers] : 0;
    uint64_t wait_ms = tried > 0 ? p->conf.backoff_ms << (tried - 1) : 0;
    if (p == NULL || now_ms + wait_ms >= s->deadline_ms) {
        send_finish(s, s->may_be_taken ? ERR_TIMEOUT : s->was_refused ? ERR_DENIED : ERR_UNAVAILABLE);
        return;
    }
    s->at = p;
    s->end.provider = p->conf.name;
    enum breaker_admission admission = breaker_admit(&p->breaker, now_ms);
    if (admission == BREAKER_REFUSE && s->line->is_dispensable) {
        send_finish(s, ERR_AGAIN);
        return;
    }
    s->is_probe = admission == BREAKER_ADMIT_PROBE;
    if (wait_ms == 0) {
        send_try(s);
    } else {
        loop_timer_arm(&s->again, wait_ms);
    }
}

static void on_tried(void *private_data, CURLcode code)
{
    struct hook_send *s = private_data;
    long status = 0, asked = 0;
    struct provider *p = s->at;
    curl_easy_getinfo(s->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(s->easy, CURLINFO_REQUEST_SIZE, &asked);
    s->may_be_taken = s->may_be_taken || (code != CURLE_OK && asked > 0);
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
             p->conf.name, s->tried[p - s->line->providers], status, curl_easy_strerror(code));
    if (is_refused) { /* it would say so again */
        s->was_refused = true;
        s->tried[p - s->line->providers] = (unsigned)p->conf.tries;
    }
    go_on(s);
}

/* --- asking ------------------------------------------------------------------------------------------ */

/* On the control thread. canceled: it goes away; hooks_close frees what is in the list. */
static void on_asked(struct loop_msg *m, bool canceled)
{
    struct hook_send *s = (struct hook_send *)m;
    if (!canceled) {
        loop_timer_init(s->hooks->control, &s->again, on_again, s);
        s->deadline_ms = clock_mono_ms() + s->line->deadline_ms;
        go_on(s);
    }
}

static bool send_link(struct hooks *h, struct hook_send *s)
{
    pthread_mutex_lock(&h->lock);
    bool has_room = s->line->in_flight < s->line->in_flight_max;
    if (has_room) {
        s->next = h->sends;
        if (s->next) {
            s->next->prev = s;
        }
        h->sends = s;
        s->line->in_flight++;
    }
    pthread_mutex_unlock(&h->lock);
    return has_room;
}

static struct hook_send *send_new(struct hooks *h, struct hook_line *line, struct str id, hook_done_cb done,
                                  void *arg)
{
    struct hook_send *s = calloc(1, sizeof *s);
    BUG_ON(!s);
    s->hooks = h;
    s->line = line;
    s->origin = loop_current();
    s->done = done;
    s->arg = arg;
    s->end.provider = "";
    s->began_us = clock_mono_us();
    snprintf(s->id, sizeof s->id, STR_FMT, STR_ARG(id));
    buf_init(&s->body, HOOK_BODY_MAX);
    buf_init(&s->answer, line->answer_max);
    return s;
}

/* To the control thread; or back at once. */
static void send_off(struct hook_send *s)
{
    if (s->line->provider_count == 0 || !send_link(s->hooks, s)) {
        s->end.rc = s->line->provider_count > 0 ? ERR_AGAIN : ERR_UNAVAILABLE;
        s->msg.fn = on_handed_back;
        loop_post(s->origin, &s->msg);
        return;
    }
    s->msg.fn = on_asked;
    loop_post(s->hooks->control, &s->msg);
}

void hooks_send_code(struct hooks *h, const struct auth_message *m, hook_done_cb done, void *arg)
{
    struct hook_send *s = send_new(h, &h->sms, str_from(m->id), done, arg);
    sms_message_write(m, &s->body);
    send_off(s);
}

bool hooks_may_ask_risk(const struct hooks *h)
{
    const struct hook_line *line = &h->risk;
    return line->provider_count > 0 && breaker_would_admit(&line->providers[0].breaker, clock_mono_ms());
}

void hooks_ask_risk(struct hooks *h, struct str id, struct str body, hook_done_cb done, void *arg)
{
    struct hook_send *s = send_new(h, &h->risk, id, done, arg);
    buf_add_str(&s->body, body);
    send_off(s);
}

/* --- life -------------------------------------------------------------------------------------------- */

static int open_provider(struct hooks *h, struct hook_line *line, const struct hook_conf *conf,
                         unsigned allowed_count, struct err *err)
{
    struct provider *p = &line->providers[line->provider_count];
    char name[16];
    if (webhook_key_load(conf->secret_file, &p->key, err) < 0) {
        return err->code;
    }
    snprintf(name, sizeof name, line->provider_count > 0 ? "%s%u" : "%s", line->name,
             line->provider_count + 1);
    p->conf = *conf;
    p->conf.name = strdup(conf->name != NULL ? conf->name : name);
    p->conf.url = strdup(conf->url);
    p->conf.ca_file = conf->ca_file ? strdup(conf->ca_file) : NULL;
    p->target = (struct hook_target){conf->is_loopback, h->allowed, allowed_count};
    breaker_init(&p->breaker);
    line->provider_count++;
    return 0;
}

static int open_lines(struct hooks *h, const struct hooks_conf *conf, struct err *err)
{
    const struct conf_prefixes *allowed = &conf->allowed_networks;
    const struct hook_conf *rows = conf->sms.items;
    int rc = 0;
    h->sms = (struct hook_line){.name = "sms",
                                .deadline_ms = conf->sms_deadline_ms,
                                .in_flight_max = conf->in_flight,
                                .answer_max = HOOK_ANSWER_MAX};
    h->risk = (struct hook_line){.name = "risk",
                                 .deadline_ms = conf->risk.hook.timeout_ms,
                                 .in_flight_max = conf->risk.in_flight,
                                 .is_dispensable = true,
                                 .answer_max = HOOK_RISK_ANSWER_MAX,
                                 .keeps_answer = true};
    h->allowed = calloc(allowed->n + 1, sizeof *h->allowed);
    BUG_ON(!h->allowed);
    for (unsigned i = 0; i < allowed->n; i++) {
        h->allowed[i] = allowed->items[i];
    }
    for (unsigned i = 0; i < conf->sms.n && rc == 0; i++) {
        rc = open_provider(h, &h->sms, &rows[i], allowed->n, err);
    }
    if (rc == 0 && conf->risk.hook.url) {
        rc = open_provider(h, &h->risk, &conf->risk.hook, allowed->n, err);
    }
    return rc;
}

static void close_line(struct hook_line *line)
{
    for (unsigned i = 0; i < line->provider_count; i++) {
        struct provider *p = &line->providers[i];
        free((char *)(uintptr_t)p->conf.name);
        free((char *)(uintptr_t)p->conf.url);
        free((char *)(uintptr_t)p->conf.ca_file);
    }
    secret_cleanse(line->providers, sizeof line->providers);
}

static void close_lines(struct hooks *h)
{
    close_line(&h->sms);
    close_line(&h->risk);
    free(h->allowed);
}

void hooks_write_providers(const struct hooks *h, struct json_writer *w)
{
    for (unsigned i = 0; i < h->sms.provider_count; i++) {
        const struct provider *p = &h->sms.providers[i];
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
    if (open_lines(h, conf, err) != 0) {
        close_lines(h);
        free(h);
        curl_global_cleanup();
        return NULL;
    }
    pthread_mutex_init(&h->lock, NULL);
    h->curl = curl_loop_new(control, on_tried);
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
    curl_loop_free(h->curl);
    curl_global_cleanup();
    pthread_mutex_destroy(&h->lock);
    close_lines(h);
    free(h);
}
