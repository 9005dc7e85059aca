#include "gateway/limits_explain.h"

#include <stdlib.h>

#include "gateway/config.h"
#include "gateway/control.h"
#include "gateway/limits_inner.h"
#include "ratelimit/limiter_peek.h"

enum { ANSWER_MAX = 1 << 20 };

/* Goes to a loop and comes back as a message. */
struct limits_explain {
    struct loop_msg msg;
    struct gateway *gateway;
    const struct gateway_config *conf; /* a reference: its rules */
    struct limit_subject subject;      /* texts on the arena */
    struct limit_peek peek;
    struct arena arena;
    void (*done)(void *arg, const struct buf *text); /* NULL: forgotten */
    void *arg;
};

static void explain_free(struct limits_explain *e)
{
    arena_clear(&e->arena);
    config_unref(e->conf);
    free(e);
}

static void answer(struct loop_msg *m, bool canceled)
{
    struct limits_explain *e = (struct limits_explain *)(void *)m;
    if (!canceled && e->done != NULL) {
        struct buf text;
        struct json_writer w = {.out = &text};
        buf_init(&text, ANSWER_MAX);
        json_open(&w, '{');
        json_open_at(&w, "items", '[');
        for (unsigned i = 0; i < e->peek.count; i++) {
            limits_write_peek(&w, &e->peek.keys[i], NULL);
        }
        json_close(&w, ']');
        json_close(&w, '}');
        e->done(e->arg, &text);
        buf_clear(&text);
    }
    explain_free(e);
}

static void on_peeked(void *arg)
{
    struct limits_explain *e = arg;
    e->msg = (struct loop_msg){.fn = answer};
    loop_post(control_loop(e->gateway->control), &e->msg);
}

static void peek(struct loop_msg *m, bool canceled)
{
    struct limits_explain *e = (struct limits_explain *)(void *)m;
    struct gateway_loop *gl = &e->gateway->loops[0];
    if (canceled || gl->limits == NULL) {
        on_peeked(e);
        return;
    }
    limiter_peek(gl->limits->limiter, &e->peek, e->conf->limits, &e->subject, &e->arena, on_peeked, e);
}

/* As gateway/limits.c names accounts: "iss\0sub". */
static struct str account_of(struct limits_explain *e, struct str account)
{
    if (account.n == 0 || e->conf->verifier.n == 0) {
        return STR("");
    }
    struct str iss = str_from(e->conf->verifier.issuers[0].iss);
    char *p = arena_alloc(&e->arena, iss.n + 1 + account.n);
    memcpy(p, iss.p, iss.n);
    p[iss.n] = '\0';
    memcpy(p + iss.n + 1, account.p, account.n);
    return str_of(p, iss.n + 1 + account.n);
}

static struct str keep(struct limits_explain *e, struct str s)
{
    return s.n > 0 ? arena_dup(&e->arena, s) : STR("");
}

struct limits_explain *limits_explain(struct gateway *g, const struct limits_question *q,
                                      void (*done)(void *arg, const struct buf *text), void *arg)
{
    struct limits_explain *e = calloc(1, sizeof *e);
    BUG_ON(e == NULL);
    e->gateway = g;
    e->conf = config_ref(g->conf);
    e->done = done;
    e->arg = arg;
    arena_init(&e->arena);
    e->subject.address = q->address;
    for (int d = 0; d < LIMIT_DIMENSIONS; d++) {
        e->subject.by[d] = STR("");
    }
    e->subject.by[LIMIT_BY_ACCOUNT] = account_of(e, q->account);
    e->subject.by[LIMIT_BY_PHONE] = keep(e, q->phone);
    e->subject.by[LIMIT_BY_PHONE_PREFIX] = keep(e, q->phone_prefix);
    e->subject.by[LIMIT_BY_PHONE_COUNTRY] = keep(e, q->phone_country);
    e->subject.by[LIMIT_BY_ALL] = STR("all");
    e->subject.by[LIMIT_BY_DEVICE] = keep(e, q->device);
    e->subject.by[LIMIT_BY_APIKEY] = keep(e, q->apikey);
    e->subject.by[LIMIT_BY_ROUTE] = keep(e, q->route);
    e->subject.by[LIMIT_BY_MODEL] = keep(e, q->model);
    e->msg = (struct loop_msg){.fn = peek};
    loop_post(g->loops[0].loop, &e->msg);
    return e;
}

void limits_explain_forget(struct limits_explain *e)
{
    e->done = NULL;
}
