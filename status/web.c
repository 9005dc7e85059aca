#include "status/web.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/loop.h"
#include "status/answer.h"

enum { WEB_LISTENERS = 8 };

struct web {
    struct loop *loop;
    pthread_t thread;
    struct http_server *server;
    struct http_handler handler;
    struct web_listener listeners[WEB_LISTENERS];
    unsigned count;
    struct site *site; /* the loop's own from web_new on */
    struct loop *control;
    void (*on_empty)(void *);
    void *arg;
};

static void on_request(struct http_exchange *ex, void *arg)
{
    struct web *w = arg;
    answer_request(ex, w->site);
}

static void *web_thread(void *arg)
{
    struct web *w = arg;
    loop_run(w->loop);
    return NULL;
}

static int attach(struct web *w, unsigned index, unsigned loops, struct tls_set *tls, struct err *err)
{
    int rc = 0;
    for (unsigned k = 0; k < w->count; k++) {
        struct http_listener *l = w->listeners[k].listener;
        struct tls_set *own = w->listeners[k].tls ? tls : NULL;
        for (unsigned s = index; s < http_listener_shards(l) && rc == 0; s += loops) {
            rc = http_server_attach(w->server, l, s, own, NULL, err);
        }
    }
    return rc;
}

struct web *web_new(unsigned index, unsigned loops, const struct http_limits *limits,
                    const struct web_listener *listeners, unsigned count, struct tls_set *tls,
                    struct site *site, struct err *err)
{
    struct web *w = calloc(1, sizeof *w);
    BUG_ON(!w || count > WEB_LISTENERS);
    w->loop = loop_new("public", index);
    w->handler = (struct http_handler){.on_request = on_request, .arg = w};
    w->server = http_server_new(w->loop, limits, &w->handler);
    w->site = site_ref(site);
    memcpy(w->listeners, listeners, count * sizeof listeners[0]);
    w->count = count;
    answer_metrics_register();
    if (attach(w, index, loops, tls, err) < 0 || pthread_create(&w->thread, NULL, web_thread, w) != 0) {
        http_server_free(w->server);
        loop_free(w->loop);
        site_unref(w->site);
        free(w);
        return NULL;
    }
    return w;
}

/* --- messages to the loop ---------------------------------------------------------------------- */

struct publish {
    struct loop_msg msg;
    struct web *web;
    struct site *site;
};

static void on_publish(struct loop_msg *m, bool canceled)
{
    struct publish *p = (struct publish *)m;
    if (canceled) {
        site_unref(p->site);
    } else {
        site_unref(p->web->site);
        p->web->site = p->site;
    }
    free(p);
}

void web_publish(struct web *w, struct site *site)
{
    struct publish *p = calloc(1, sizeof *p);
    BUG_ON(!p);
    p->msg.fn = on_publish;
    p->web = w;
    p->site = site_ref(site);
    loop_post(w->loop, &p->msg);
}

struct retune {
    struct loop_msg msg;
    struct web *web;
    struct tls_set *tls; /* NULL: none */
    struct http_limits limits;
};

static void on_retune(struct loop_msg *m, bool canceled)
{
    struct retune *r = (struct retune *)m;
    struct web *w = r->web;
    if (!canceled) {
        http_server_set_limits(w->server, &r->limits);
        for (unsigned k = 0; k < w->count; k++) {
            if (w->listeners[k].tls) {
                http_server_set_tls(w->server, w->listeners[k].listener, r->tls);
            }
        }
    }
    tls_set_unref(r->tls);
    free(r);
}

void web_set_tls(struct web *w, struct tls_set *tls, const struct http_limits *limits)
{
    struct retune *r = calloc(1, sizeof *r);
    BUG_ON(!r);
    r->msg.fn = on_retune;
    r->web = w;
    r->tls = tls ? tls_set_ref(tls) : NULL;
    r->limits = *limits;
    loop_post(w->loop, &r->msg);
}

static void tell_empty(void *arg)
{
    struct web *w = arg;
    loop_call(w->control, w->on_empty, w->arg);
}

struct drain {
    struct loop_msg msg;
    struct web *web;
    uint64_t deadline_ms;
};

static void on_drain(struct loop_msg *m, bool canceled)
{
    struct drain *d = (struct drain *)m;
    if (!canceled) {
        http_server_drain(d->web->server, d->deadline_ms, tell_empty, d->web);
    }
    free(d);
}

void web_drain(struct web *w, uint64_t deadline_ms, struct loop *control, void (*on_empty)(void *), void *arg)
{
    struct drain *d = calloc(1, sizeof *d);
    BUG_ON(!d);
    w->control = control;
    w->on_empty = on_empty;
    w->arg = arg;
    d->msg.fn = on_drain;
    d->web = w;
    d->deadline_ms = deadline_ms;
    loop_post(w->loop, &d->msg);
}

void web_free(struct web *w)
{
    if (!w) {
        return;
    }
    loop_stop(w->loop);
    pthread_join(w->thread, NULL);
    http_server_free(w->server);
    loop_free(w->loop);
    site_unref(w->site);
    free(w);
}
