/* One thread runs curl_multi. Requests reach it through a locked list and curl_multi_wakeup; results go back as
 * messages of the loop. `in_flight` is only touched on the loop's thread. */
#include "status/prober.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/clock.h"

struct fetch {
    struct loop_msg msg; /* first: it travels to the loop as this */
    struct fetch *next;
    struct prober *prober;
    CURL *curl;
    struct curl_slist *fields;
    struct buf body;
    uint64_t began_ms;
    uint64_t elapsed_ms;
    CURLcode code;
    long status;
    char error[CURL_ERROR_SIZE];
    prober_done done;
    void *arg;
};

struct prober {
    struct loop *loop;
    CURLM *multi;
    char *ca_file; /* NULL: the system's */
    pthread_t thread;
    pthread_mutex_t lock;
    struct fetch *inbox;   /* under lock */
    struct fetch *running; /* probe thread only */
    bool stopping;         /* under lock */
    bool is_closed;        /* loop thread: prober_free was called, the last message frees */
    unsigned in_flight;    /* loop thread */
};

static void fetch_free(struct fetch *f)
{
    curl_easy_cleanup(f->curl);
    curl_slist_free_all(f->fields);
    buf_clear(&f->body);
    free(f);
}

static void prober_destroy(struct prober *p)
{
    curl_multi_cleanup(p->multi);
    pthread_mutex_destroy(&p->lock);
    free(p->ca_file);
    free(p);
}

/* --- results, on the loop ---------------------------------------------------------------------- */

static int rc_of(const struct fetch *f)
{
    switch (f->code) {
    case CURLE_OK:
        return 0;
    case CURLE_OPERATION_TIMEDOUT:
        return ERR_TIMEOUT;
    case CURLE_WRITE_ERROR:
        return ERR_LIMIT;
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
        return ERR_UNAVAILABLE;
    default:
        return ERR_PROTOCOL;
    }
}

static void on_result(struct loop_msg *m, bool canceled)
{
    struct fetch *f = (struct fetch *)m;
    struct prober *p = f->prober;
    p->in_flight--;
    if (!canceled && !p->is_closed) {
        const char *error = f->error[0] ? f->error : curl_easy_strerror(f->code);
        struct prober_result result = {
            .rc = rc_of(f),
            .status = (unsigned)f->status,
            .body = buf_str(&f->body),
            .elapsed_ms = f->elapsed_ms,
            .error = f->code == CURLE_OK ? "" : error,
        };
        f->done(f->arg, &result);
    }
    fetch_free(f);
    if (p->is_closed && p->in_flight == 0) {
        prober_destroy(p);
    }
}

/* --- the probe thread -------------------------------------------------------------------------- */

static void send_back(struct fetch *f, CURLcode code)
{
    f->code = code;
    f->elapsed_ms = clock_mono_ms() - f->began_ms;
    curl_easy_getinfo(f->curl, CURLINFO_RESPONSE_CODE, &f->status);
    f->msg.fn = on_result;
    loop_post(f->prober->loop, &f->msg);
}

static void take_new(struct prober *p, bool *stopping)
{
    pthread_mutex_lock(&p->lock);
    struct fetch *list = p->inbox;
    p->inbox = NULL;
    *stopping = p->stopping;
    pthread_mutex_unlock(&p->lock);
    while (list) {
        struct fetch *f = list;
        list = f->next;
        f->next = p->running;
        p->running = f;
        curl_multi_add_handle(p->multi, f->curl);
    }
}

static void unlink_running(struct prober *p, struct fetch *f)
{
    struct fetch **at = &p->running;
    while (*at != f) {
        at = &(*at)->next;
    }
    *at = f->next;
    curl_multi_remove_handle(p->multi, f->curl);
}

static void finish_done(struct prober *p)
{
    int left;
    CURLMsg *m;
    while ((m = curl_multi_info_read(p->multi, &left)) != NULL) {
        if (m->msg != CURLMSG_DONE) {
            continue;
        }
        struct fetch *f = NULL;
        CURLcode code = m->data.result; /* m dies with curl_multi_remove_handle */
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&f);
        unlink_running(p, f);
        send_back(f, code);
    }
}

static void *prober_thread(void *arg)
{
    struct prober *p = arg;
    bool stopping = false;
    while (!stopping) {
        int running;
        take_new(p, &stopping);
        curl_multi_perform(p->multi, &running);
        finish_done(p);
        if (!stopping) {
            curl_multi_poll(p->multi, NULL, 0, 1000, NULL);
        }
    }
    while (p->running) {
        struct fetch *f = p->running;
        unlink_running(p, f);
        send_back(f, CURLE_ABORTED_BY_CALLBACK);
    }
    return NULL;
}

/* --- requests, on the loop --------------------------------------------------------------------- */

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    struct fetch *f = arg;
    return buf_add(&f->body, data, size * n) == 0 ? size * n : 0;
}

static void set_options(struct fetch *f, const struct prober_request *r)
{
    CURL *c = f->curl;
    curl_easy_setopt(c, CURLOPT_PRIVATE, f);
    curl_easy_setopt(c, CURLOPT_URL, r->url);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, f->error);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_QUICK_EXIT, 1L); /* else a time-out waits here for a getaddrinfo that hangs */
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_USERAGENT, "tide-status/" TIDE_VERSION);
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)r->deadline_ms);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)r->deadline_ms);
    curl_easy_setopt(c, CURLOPT_FRESH_CONNECT, r->fresh ? 1L : 0L);
    curl_easy_setopt(c, CURLOPT_FORBID_REUSE, r->fresh ? 1L : 0L);
    curl_easy_setopt(c, CURLOPT_PROXY, "");
    curl_easy_setopt(c, CURLOPT_UNIX_SOCKET_PATH, r->unix_socket);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, f);
    if (f->prober->ca_file) {
        curl_easy_setopt(c, CURLOPT_CAINFO, f->prober->ca_file);
    }
    for (int i = 0; i < PROBER_FIELDS; i++) {
        f->fields = r->fields[i] ? curl_slist_append(f->fields, r->fields[i]) : f->fields;
    }
    if (r->body) {
        f->fields = curl_slist_append(f->fields, "Content-Type: application/json");
        f->fields = curl_slist_append(f->fields, "Expect:");
        curl_easy_setopt(c, CURLOPT_COPYPOSTFIELDS, r->body);
    }
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, f->fields);
}

int prober_fetch(struct prober *p, const struct prober_request *request, prober_done done, void *arg)
{
    if (p->in_flight >= PROBER_IN_FLIGHT) {
        return ERR_AGAIN;
    }
    struct fetch *f = calloc(1, sizeof *f);
    CURL *curl = curl_easy_init();
    BUG_ON(!f || !curl);
    f->prober = p;
    f->curl = curl;
    f->done = done;
    f->arg = arg;
    f->began_ms = clock_mono_ms();
    buf_init(&f->body, request->max_body_bytes);
    set_options(f, request);
    p->in_flight++;
    pthread_mutex_lock(&p->lock);
    f->next = p->inbox;
    p->inbox = f;
    pthread_mutex_unlock(&p->lock);
    curl_multi_wakeup(p->multi);
    return 0;
}

struct prober *prober_new(struct loop *loop, const char *ca_file, struct err *err)
{
    struct prober *p = calloc(1, sizeof *p);
    BUG_ON(!p);
    p->loop = loop;
    p->ca_file = ca_file ? strdup(ca_file) : NULL;
    p->multi = curl_multi_init();
    pthread_mutex_init(&p->lock, NULL);
    if (!p->multi || pthread_create(&p->thread, NULL, prober_thread, p) != 0) {
        err_set(err, ERR_INTERNAL, "the probe thread does not start");
        prober_destroy(p);
        return NULL;
    }
    return p;
}

void prober_free(struct prober *p)
{
    if (!p) {
        return;
    }
    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    pthread_mutex_unlock(&p->lock);
    curl_multi_wakeup(p->multi);
    pthread_join(p->thread, NULL);
    p->is_closed = true;
    if (p->in_flight == 0) {
        prober_destroy(p);
    }
}
