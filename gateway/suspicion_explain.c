#include "gateway/suspicion_explain.h"

#include <stdlib.h>

#include "gateway/config.h"
#include "gateway/control.h"
#include "gateway/geography.h"
#include "gateway/suspicion.h"

enum { ANSWER_MAX = 8192 };

/* Goes to a loop and comes back as a message. */
struct suspicion_explain {
    struct loop_msg msg;
    struct gateway *gateway;
    const struct gateway_config *conf; /* a reference: the counts are measured by it */
    struct suspicion_who who;
    struct suspicion_facts facts;
    struct suspicion_query query;
    struct arena arena;
    void (*done)(void *arg, const struct buf *text); /* NULL: forgotten */
    void *arg;
};

static void explain_free(struct suspicion_explain *e)
{
    arena_clear(&e->arena);
    config_unref(e->conf);
    free(e);
}

static void write_counts(const struct suspicion_counts *c, struct json_writer *w)
{
    json_open_at(w, "counts", '{');
    json_i64_at(w, "address", c->of_address);
    json_i64_at(w, "network", c->of_network);
    json_i64_at(w, "network_verified", c->verified);
    json_bool_at(w, "trapped", c->is_trapped);
    json_close(w, '}');
}

static void write_answer(const struct suspicion_explain *e, struct buf *text)
{
    struct suspicion_score score;
    struct json_writer w = {.out = text};
    char address[ADDR_TEXT];
    addr_format(&e->who.client, address);
    suspicion_judge(&e->conf->set->suspicion, &e->facts, &score);
    json_open(&w, '{');
    json_str_at(&w, "kind", STR("address"));
    json_str_at(&w, "address", str_from(address));
    json_i64_at(&w, "score", score.total);
    json_str_at(&w, "verdict", str_from(suspicion_verdict_name(score.verdict)));
    json_bool_at(&w, "enforced", e->conf->set->suspicion.mode == SUSPICION_ENFORCE);
    json_bool_at(&w, "blind", score.is_blind);
    json_i64_at(&w, "asn", e->facts.asn);
    write_counts(&e->facts.counts, &w);
    json_key(&w, "signals");
    w.need_comma = false;
    suspicion_write_items(&score, &w);
    json_close(&w, '}');
}

static void answer(struct loop_msg *m, bool canceled)
{
    struct suspicion_explain *e = (struct suspicion_explain *)(void *)m;
    if (!canceled && e->done != NULL) {
        struct buf text;
        buf_init(&text, ANSWER_MAX);
        write_answer(e, &text);
        e->done(e->arg, &text);
        buf_clear(&text);
    }
    explain_free(e);
}

static void on_peeked(void *arg)
{
    struct suspicion_explain *e = arg;
    e->facts.counts = e->query.counts;
    e->msg = (struct loop_msg){.fn = answer};
    loop_post(control_loop(e->gateway->control), &e->msg);
}

static void peek(struct loop_msg *m, bool canceled)
{
    struct suspicion_explain *e = (struct suspicion_explain *)(void *)m;
    struct gateway_loop *gl = &e->gateway->loops[0];
    if (canceled || gl->limits == NULL) {
        on_peeked(e);
        return;
    }
    struct suspicion_store store = suspicion_store_of(gl);
    e->facts.asn = geography_find(gl, &e->who.client).asn;
    suspicion_peek(&store, &e->who, &e->arena, &e->query, on_peeked, e);
}

struct suspicion_explain *suspicion_explain(struct gateway *g, const struct addr *address,
                                            void (*done)(void *arg, const struct buf *text), void *arg)
{
    struct suspicion_explain *e = calloc(1, sizeof *e);
    BUG_ON(e == NULL);
    e->gateway = g;
    e->conf = config_ref(g->conf);
    e->done = done;
    e->arg = arg;
    e->who = (struct suspicion_who){.client = *address, .ja4 = STR(""), .number = STR(""), .prefix = STR("")};
    arena_init(&e->arena);
    e->msg = (struct loop_msg){.fn = peek};
    loop_post(g->loops[0].loop, &e->msg);
    return e;
}

void suspicion_explain_forget(struct suspicion_explain *e)
{
    e->done = NULL;
}
