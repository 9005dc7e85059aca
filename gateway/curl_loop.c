/* See curl_loop.h. */
#include "gateway/curl_loop.h"

#include <stdlib.h>

#include "base/err.h"

struct curl_loop {
    struct loop *loop;
    CURLM *multi;
    struct loop_timer timer;
    void (*done)(void *private_data, CURLcode code);
};

static void take_finished(struct curl_loop *c)
{
    int left;
    CURLMsg *m;
    while ((m = curl_multi_info_read(c->multi, &left))) {
        void *private_data = NULL;
        CURLcode code = m->data.result;
        if (m->msg == CURLMSG_DONE &&
            curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&private_data) == CURLE_OK) {
            c->done(private_data, code);
        }
    }
}

static void on_socket_ready(evutil_socket_t fd, short what, void *arg)
{
    struct curl_loop *c = arg;
    int running;
    int flags = (what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0);
    curl_multi_socket_action(c->multi, fd, flags, &running);
    take_finished(c);
}

static void on_timer(void *arg)
{
    struct curl_loop *c = arg;
    int running;
    curl_multi_socket_action(c->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    take_finished(c);
}

static int wants_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
    struct curl_loop *c = arg;
    struct event *ev = socket_arg;
    if (ev) {
        event_free(ev);
        ev = NULL;
    }
    if (what != CURL_POLL_REMOVE) {
        short events =
            (short)(EV_PERSIST | (what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0));
        ev = event_new(loop_event_base(c->loop), fd, events, on_socket_ready, c);
        BUG_ON(!ev);
        event_add(ev, NULL);
    }
    curl_multi_assign(c->multi, fd, ev);
    return 0;
}

static int wants_timer(CURLM *multi, long after_ms, void *arg)
{
    struct curl_loop *c = arg;
    if (after_ms < 0) {
        loop_timer_disarm(&c->timer);
    } else {
        loop_timer_arm(&c->timer, (uint64_t)after_ms);
    }
    return 0;
}

struct curl_loop *curl_loop_new(struct loop *loop, void (*done)(void *private_data, CURLcode code))
{
    struct curl_loop *c = calloc(1, sizeof *c);
    BUG_ON(!c);
    c->loop = loop;
    c->done = done;
    loop_timer_init(loop, &c->timer, on_timer, c);
    c->multi = curl_multi_init();
    BUG_ON(!c->multi);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, wants_socket);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, wants_timer);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
    return c;
}

void curl_loop_free(struct curl_loop *c)
{
    curl_multi_cleanup(c->multi);
    if (c->timer.armed) {
        loop_timer_disarm(&c->timer);
    }
    free(c);
}

void curl_loop_add(struct curl_loop *c, CURL *easy)
{
    curl_multi_add_handle(c->multi, easy);
}

void curl_loop_remove(struct curl_loop *c, CURL *easy)
{
    curl_multi_remove_handle(c->multi, easy);
}
