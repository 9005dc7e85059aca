#include "gateway/inspect.h"

#include <stdlib.h>

#include "base/log.h"
#include "gateway/control_inner.h"
#include "gateway/trace.h"

enum { ITEMS_BYTES = 4 << 20 };

struct inspection {
    struct control *control;
    struct inspect_question question;
    inspect_cb cb; /* NULL: told, or nobody waits */
    void *arg;
    unsigned waiting; /* loops that have not answered */
    struct buf items;
    struct loop_timer deadline;
};

/* One loop's share: travels there with the question and comes back with the answer. */
struct part {
    struct loop_msg msg; /* first */
    struct inspection *of;
    struct gateway_loop *gl;
    struct buf items;
};

static void tell(struct inspection *i)
{
    inspect_cb cb = i->cb;
    i->cb = NULL;
    loop_timer_disarm(&i->deadline);
    if (cb != NULL) {
        cb(i->arg, buf_str(&i->items), i->waiting);
    }
}

static void on_deadline(void *arg)
{
    tell(arg);
}

static void on_answer(struct loop_msg *m, bool canceled)
{
    struct part *p = (struct part *)(void *)m;
    struct inspection *i = p->of;
    bool fits = !p->items.overflowed && i->items.n + 1 + p->items.n <= ITEMS_BYTES; /* half a list is none */
    if (p->items.n > 0 && i->cb != NULL && fits) {
        if (i->items.n > 0) {
            buf_add_char(&i->items, ',');
        }
        buf_add_str(&i->items, buf_str(&p->items));
    }
    buf_clear(&p->items);
    free(p);
    if (--i->waiting > 0) {
        return;
    }
    if (canceled) {
        i->cb = NULL;
    }
    tell(i);
    buf_clear(&i->items);
    free(i);
}

static void on_question(struct loop_msg *m, bool canceled)
{
    struct part *p = (struct part *)(void *)m;
    if (!canceled) {
        p->of->question.ask(p->gl, &p->of->question, &p->items);
    }
    p->msg.fn = on_answer;
    loop_post(p->of->control->loop, &p->msg);
}

struct inspection *inspect_begin(struct control *c, const struct inspect_question *q, inspect_cb cb,
                                 void *arg)
{
    struct gateway *g = c->gateway;
    struct inspection *i = calloc(1, sizeof *i);
    BUG_ON(i == NULL);
    *i = (struct inspection){.control = c, .question = *q, .cb = cb, .arg = arg, .waiting = g->loop_count};
    buf_init(&i->items, ITEMS_BYTES);
    loop_timer_init(c->loop, &i->deadline, on_deadline, i);
    loop_timer_arm(&i->deadline, INSPECT_DEADLINE_MS);
    for (unsigned n = 0; n < g->loop_count; n++) {
        struct part *p = calloc(1, sizeof *p);
        BUG_ON(p == NULL);
        p->msg.fn = on_question;
        p->of = i;
        p->gl = &g->loops[n];
        buf_init(&p->items, INSPECT_LOOP_BYTES);
        loop_post(g->loops[n].loop, &p->msg);
    }
    return i;
}

void inspect_forget(struct inspection *i)
{
    i->cb = NULL;
    loop_timer_disarm(&i->deadline);
}

/* --- the questions -------------------------------------------------------------------------------------- */

static bool is_asked_for(const struct request *r, const struct inspect_question *q)
{
    return strcmp(r->ex->id, q->id) == 0 || strcmp(r->trace.id, q->id) == 0;
}

void inspect_running(struct gateway_loop *gl, const struct inspect_question *q, struct buf *out)
{
    struct json_writer w = {.out = out};
    unsigned n = 0;
    for (const struct request *r = gl->running; r != NULL && n < q->most; r = r->next, n++) {
        trace_write_running(&w, r);
    }
}

void inspect_trace(struct gateway_loop *gl, const struct inspect_question *q, struct buf *out)
{
    struct json_writer w = {.out = out};
    for (const struct request *r = gl->running; r != NULL; r = r->next) {
        if (is_asked_for(r, q)) {
            trace_write_running(&w, r);
        }
    }
    (void)trace_write_found(&w, gl->trace, str_from(q->id));
}

void inspect_sample(struct gateway_loop *gl, const struct inspect_question *q, struct buf *out)
{
    struct json_writer w = {.out = out};
    trace_write_last(&w, gl->trace, q->most);
}

static void kill_or_show(struct gateway_loop *gl, const struct inspect_question *q, bool is_trial,
                         struct buf *out)
{
    struct json_writer w = {.out = out};
    for (struct request *r = gl->running; r != NULL; r = r->next) {
        if (strcmp(r->ex->id, q->id) != 0) {
            continue;
        }
        trace_write_running(&w, r);
        if (!is_trial) {
            log_warn("request id=%s killed by an operator", r->ex->id);
            http_abort(r->ex); /* on_finish follows from the loop: the list stays as it is here */
        }
    }
}

void inspect_kill(struct gateway_loop *gl, const struct inspect_question *q, struct buf *out)
{
    kill_or_show(gl, q, false, out);
}

void inspect_would_kill(struct gateway_loop *gl, const struct inspect_question *q, struct buf *out)
{
    kill_or_show(gl, q, true, out);
}
