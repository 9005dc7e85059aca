#include "inference/router/origins.h"

#include <stdlib.h>

enum { ORIGIN_IDLE = 1024, ORIGIN_CONNECTIONS = 65536 };

void worker_origins_init(struct worker_origins *o, struct loop *loop, struct worker_table *table)
{
    *o = (struct worker_origins){.loop = loop, .table = worker_table_ref(table)};
}

static void free_origin(struct worker_origin *at)
{
    http_origin_free(at->http);
    worker_unref(at->worker);
    free(at);
}

/* Where the origin of this worker is or would be noted. */
static struct worker_origin **find(struct worker_origins *o, const struct worker *w)
{
    struct worker_origin **at = &o->buckets[w->id % ORIGIN_BUCKETS];
    while (*at && (*at)->worker != w) {
        at = &(*at)->next;
    }
    return at;
}

static void retire_all(struct worker_origins *o)
{
    for (unsigned i = 0; i < ORIGIN_BUCKETS; i++) {
        for (struct worker_origin *at = o->buckets[i]; at; at = at->next) {
            at->retired = true;
        }
    }
}

/* Those that are retired, but for those with calls. */
static void sweep(struct worker_origins *o)
{
    for (unsigned i = 0; i < ORIGIN_BUCKETS; i++) {
        for (struct worker_origin **at = &o->buckets[i]; *at;) {
            struct worker_origin *one = *at;
            if (one->retired && one->calls == 0) {
                *at = one->next;
                free_origin(one);
            } else {
                at = &one->next;
            }
        }
    }
}

void worker_origins_clear(struct worker_origins *o)
{
    retire_all(o);
    sweep(o);
    for (unsigned i = 0; i < ORIGIN_BUCKETS; i++) {
        BUG_ON(o->buckets[i]);
    }
    worker_table_unref(o->table);
    o->table = NULL;
}

void worker_origins_set_table(struct worker_origins *o, struct worker_table *table)
{
    worker_table_unref(o->table);
    o->table = table;
    retire_all(o);
    for (unsigned i = 0; i < table->worker_count; i++) {
        struct worker_origin *at = *find(o, table->workers[i]);
        if (at) {
            at->retired = false;
        }
    }
    sweep(o);
}

struct worker_origin *worker_origin_take(struct worker_origins *o, struct worker *w, struct err *err)
{
    struct worker_origin **place = find(o, w);
    struct worker_origin *at = *place;
    if (!at) {
        struct http_origin_conf conf = {.target = str_from(w->target),
                                        .protocol = w->protocol,
                                        .max_idle = ORIGIN_IDLE,
                                        .max_connections = ORIGIN_CONNECTIONS,
                                        .ping_ms = w->ping_ms};
        struct http_origin *http = http_origin_new(o->loop, &conf, err);
        if (!http) {
            return NULL;
        }
        at = calloc(1, sizeof *at);
        BUG_ON(!at);
        *at = (struct worker_origin){.http = http, .worker = worker_ref(w)};
        *place = at;
    }
    at->calls++;
    return at;
}

void worker_origin_give_back_and_maybe_free(struct worker_origins *o, struct worker_origin *at)
{
    BUG_ON(at->calls == 0);
    at->calls--;
    if (at->retired && at->calls == 0) {
        *find(o, at->worker) = at->next;
        free_origin(at);
    }
}
