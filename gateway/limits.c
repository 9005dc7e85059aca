/* See limits.h. First the parts of the process and of a loop, then one request in time order. */
#include "gateway/limits.h"

#include <stdlib.h>

#include "base/json.h"
#include "base/jws.h"
#include "base/metrics.h"
#include "base/secret.h"
#include "gateway/config.h"
#include "gateway/identify.h"
#include "gateway/limits_inner.h"
#include "gateway/limits_override.h"
#include "gateway/limits_reply.h"

/* What a request took. On its arena. */
struct limit_ticket {
    struct request *r;
    uint64_t tokens; /* estimate, 0: none */
    bool begun;      /* `route` holds a check */
    struct limit_check route;
    void (*done)(struct request *r);
    struct limit_event *event; /* of the last limits_more, or NULL */
};

/* What an event took. Outlives its request while an answer is on its way that says what there is to give back. */
struct limit_event {
    struct limit_event *next, **link;  /* in limits_loop.left once the request is gone */
    struct request *r;                 /* NULL: gone */
    const struct gateway_config *conf; /* a reference: its rules */
    struct arena arena;
    struct limit_check check;
    bool is_sms;
    limits_more_cb done;
    void *arg;
};

/* --- process -------------------------------------------------------------------------------------- */

enum { KEY_FILE_MIN = 16, KEY_FILE_MAX = 4096 };

/* The key that hashes what is counted: the same on all gateways. */
static int derive_key(const struct gateway_config *conf, uint8_t out[16], struct err *err)
{
    static const struct str purpose = STR_INIT("tidegate limits");
    struct secret_key key = {.use = SECRET_TOKEN, .n = SECRET_HMAC_BYTES};
    uint8_t mac[SECRET_HMAC_BYTES];
    const char *path = conf->set->limits.key_file;
    if (path) {
        struct buf text;
        buf_init(&text, KEY_FILE_MAX);
        int rc = secret_file_read(path, &text, err);
        if (rc == 0 && text.n < KEY_FILE_MIN) {
            rc = err_set(err, ERR_INVALID, "limits.key_file: %s: at least %d bytes are needed", path,
                         KEY_FILE_MIN);
        }
        if (rc != 0) {
            buf_clear(&text);
            return rc;
        }
        secret_hmac(&key, buf_str(&text), key.bytes);
        secret_cleanse(text.p, text.n);
        buf_clear(&text);
    } else if (conf->secrets) {
        key = *secret_active(conf->secrets, SECRET_TOKEN);
    }
    secret_hmac(&key, purpose, mac);
    memcpy(out, mac, 16);
    secret_cleanse(&key, sizeof(key));
    secret_cleanse(mac, sizeof(mac));
    return 0;
}

void limits_count_rules(const struct gateway_config *conf)
{
    static struct metric in_force =
        METRIC_GAUGE("tidegate_limits_rules", "Rules of limits in force here; there may be 256.");
    metric_set(&in_force, limit_rules_count(conf->limits));
}

int limits_open(struct gateway *g, struct err *err)
{
    const struct limits_conf *set = &g->conf->set->limits;
    struct limiter_conf conf = {.local_entries = set->fallback_entries,
                                .deny_entries = set->deny_entries,
                                .deny_max_ms = set->deny_ms,
                                .heartbeat_ms = set->heartbeat_ms,
                                .lease_entries = set->lease_entries,
                                .newcomer_entries = set->newcomer_entries};
    int rc = derive_key(g->conf, conf.hash_key, err);
    if (rc != 0) {
        return rc;
    }
    g->limits = calloc(1, sizeof(*g->limits));
    BUG_ON(!g->limits);
    g->limits->shared = limiter_shared_new(&conf, g->instance);
    limits_count_rules(g->conf);
    limits_override_open(g);
    return 0;
}

void limits_close(struct gateway *g)
{
    if (g->limits) {
        limits_override_close(g);
        limiter_shared_free(g->limits->shared);
        free(g->limits);
        g->limits = NULL;
    }
}

/* --- what an event took ---------------------------------------------------------------------------- */

static void limit_event_free(struct limit_event *e)
{
    limiter_forget(&e->check);
    arena_clear(&e->arena);
    config_unref(e->conf);
    free(e);
}

static void limit_event_unlink(struct limit_event *e)
{
    *e->link = e->next;
    if (e->next) {
        e->next->link = e->link;
    }
}

/* Its request is gone: what many share comes back, since no message goes, and what its sources have used up does not. */
static void limit_event_end(struct limit_event *e)
{
    if (e->is_sms) {
        limiter_give_back_shared(&e->check);
    }
    limit_event_free(e);
}

static void limit_event_leave(struct limit_event *e, struct limits_loop *ll)
{
    if (!e->is_sms || e->check.waiting == 0) {
        limit_event_end(e);
        return;
    }
    e->r = NULL;
    e->next = ll->left;
    e->link = &ll->left;
    ll->left = e;
    if (e->next) {
        e->next->link = &e->next;
    }
}

/* --- loop ----------------------------------------------------------------------------------------- */

static struct redis *connect_role(struct gateway_loop *gl, const struct redis_conf *conf, const char *role,
                                  struct err *err)
{
    unsigned n = 0;
    struct redis_script *const *scripts = limiter_scripts(&n);
    return redis_new(gl->loop, conf, role, scripts, n, err);
}

int limits_loop_open(struct gateway_loop *gl, struct err *err)
{
    const struct limits_conf *set = &gl->conf->set->limits;
    struct limits_loop *ll = calloc(1, sizeof(*ll));
    BUG_ON(!ll);
    gl->limits = ll;
    if (set->redis) {
        ll->redis = connect_role(gl, set->redis, "limits", err);
        if (!ll->redis) {
            return ERR_INVALID;
        }
    }
    ll->ledger = ll->redis;
    if (set->ledger) {
        ll->ledger = connect_role(gl, set->ledger, "ledger", err);
        if (!ll->ledger) {
            return ERR_INVALID;
        }
    }
    struct redis *const roles[LIMIT_ROLES] = {
        [LIMIT_ROLE_LIMITS] = ll->redis, [LIMIT_ROLE_LEDGER] = ll->ledger};
    bool beats = loop_index(gl->loop) == 0 && ll->redis;
    ll->limiter = limiter_new(gl->loop, gl->gateway->limits->shared, roles, beats);
    return 0;
}

void limits_loop_close(struct gateway_loop *gl)
{
    struct limits_loop *ll = gl->limits;
    if (ll) {
        while (ll->left) {
            struct limit_event *e = ll->left;
            limit_event_unlink(e);
            limit_event_free(e);
        }
        limiter_free(ll->limiter);
        redis_free(ll->redis); /* first: whoever is told so may go on to the ledger */
        if (ll->ledger != ll->redis) {
            redis_free(ll->ledger);
        }
        free(ll);
        gl->limits = NULL;
    }
}

struct redis *limits_redis(struct gateway_loop *gl)
{
    return gl->limits->redis;
}

struct redis *limits_ledger(struct gateway_loop *gl)
{
    return gl->limits->ledger;
}

bool limits_has_redis(const struct gateway_loop *gl)
{
    return gl->limits->redis != NULL;
}

bool limits_redis_is_ready(const struct gateway_loop *gl)
{
    const struct limits_loop *ll = gl->limits;
    return ll->redis && redis_is_whole(ll->redis) && redis_is_whole(ll->ledger);
}

/* --- who is counted ------------------------------------------------------------------------------- */

static void subject_fill(struct request *r, const struct limit_set *set, struct limit_subject *s)
{
    for (int d = 0; d < LIMIT_DIMENSIONS; d++) {
        s->by[d] = STR("");
    }
    s->address = r->client;
    s->money = 0;
    s->terms = (struct limit_terms){0};
    s->by[LIMIT_BY_ALL] = STR("all");
    s->tokens = r->ticket ? r->ticket->tokens : 0;
    s->by[LIMIT_BY_DEVICE] = r->device;
    s->by[LIMIT_BY_JA4] = r->ex->ja4;
    s->by[LIMIT_BY_ROUTE] = str_from(r->route->name);
    s->by[LIMIT_BY_MODEL] = str_from(r->model);
    if (r->place.asn > 0 && (set->dimensions & (1u << LIMIT_BY_ASN))) {
        s->by[LIMIT_BY_ASN] = arena_printf(&r->ex->arena, "%u", r->place.asn);
    }
    if (set->dimensions & (1u << LIMIT_BY_APIKEY)) {
        s->by[LIMIT_BY_APIKEY] = http_field_get(r->ex, "apikey");
    }
    if (r->who && (set->dimensions & (1u << LIMIT_BY_ACCOUNT))) {
        s->by[LIMIT_BY_ACCOUNT] = identify_account(r);
    }
}

/* --- one request ---------------------------------------------------------------------------------- */

static struct limit_ticket *ticket_of(struct request *r)
{
    if (!r->ticket) {
        r->ticket = ARENA_NEW(&r->ex->arena, struct limit_ticket);
        r->ticket->r = r;
    }
    return r->ticket;
}

void limits_set_tokens(struct request *r, uint64_t tokens)
{
    ticket_of(r)->tokens = tokens;
}

bool limits_denied_locally(struct request *r)
{
    const struct limit_set *set = limit_rules_at(r->conf->limits, str_from(r->route->name));
    struct limit_subject subject;
    struct limit_check c;
    subject_fill(r, set, &subject);
    if (!limiter_denied_locally(r->gl->limits->limiter, &c, set, &subject, &r->ex->arena)) {
        return false;
    }
    limits_reply_denied(r, &c, false);
    return true;
}

static void on_route_decided(void *arg, struct limit_check *c)
{
    struct limit_ticket *t = arg;
    if (c->denied) {
        limits_reply_denied(t->r, c, false);
        return;
    }
    if (t->r->conf->set->limits.headers) {
        limits_reply_fields(t->r, c);
    }
    t->done(t->r);
}

void limits_begin(struct request *r, void (*done)(struct request *r))
{
    const struct limit_set *set = limit_rules_at(r->conf->limits, str_from(r->route->name));
    struct limit_ticket *t = ticket_of(r);
    struct limit_subject subject;
    subject_fill(r, set, &subject);
    t->done = done;
    t->begun = true;
    if (limiter_check(r->gl->limits->limiter, &t->route, set, &subject, &r->ex->arena, on_route_decided, t)) {
        on_route_decided(t, &t->route);
    }
}

static void on_event_decided(void *arg, struct limit_check *c)
{
    struct limit_event *e = arg;
    enum limits_verdict v = c->closed     ? LIMITS_CLOSED
                            : c->reserved ? LIMITS_RESERVED
                            : c->denied   ? LIMITS_DENIED
                                          : LIMITS_PASS;
    if (e->r) {
        e->done(e->r, e->arg, v);
    } else {
        limit_event_unlink(e);
        limit_event_end(e);
    }
}

void limits_more(struct request *r, const char *event, const struct limits_keys *keys, limits_more_cb done,
                 void *arg)
{
    const struct limit_set *set = limit_rules_at_event(r->conf->limits, str_from(event));
    struct limit_ticket *t = ticket_of(r);
    struct limit_subject subject;
    BUG_ON(t->event && t->event->check.waiting > 0); /* one at a time */
    subject_fill(r, set, &subject);
    subject.tokens = 0;
    if (keys) {
        subject.by[LIMIT_BY_PHONE] = keys->phone;
        subject.by[LIMIT_BY_PHONE_PREFIX] = keys->phone_prefix;
        subject.by[LIMIT_BY_PHONE_COUNTRY] = keys->phone_country;
        subject.money = keys->money;
        subject.terms = keys->terms;
        if (keys->account.n > 0) {
            subject.by[LIMIT_BY_ACCOUNT] = keys->account;
        }
    }
    if (t->event) {
        limit_event_free(t->event); /* what ran at the event before has ended */
    }
    struct limit_event *e = calloc(1, sizeof *e);
    BUG_ON(!e);
    t->event = e;
    e->r = r;
    e->conf = config_ref(r->conf);
    e->is_sms = strcmp(event, "sms") == 0;
    e->done = done;
    e->arg = arg;
    arena_init(&e->arena);
    if (limiter_check(r->gl->limits->limiter, &e->check, set, &subject, &e->arena, on_event_decided, e)) {
        on_event_decided(e, &e->check);
    }
}

void limits_refuse(struct request *r)
{
    BUG_ON(!r->ticket || !r->ticket->event || !r->ticket->event->check.denied);
    limits_reply_denied(r, &r->ticket->event->check, r->ticket->event->is_sms);
}

void limits_give_back(struct request *r)
{
    if (r->ticket && r->ticket->event) {
        limiter_give_back(&r->ticket->event->check);
    }
}

struct limits_taken {
    const struct gateway_config *conf; /* a reference: its rules */
    struct limit_check check;
    struct limit_key_state keys[]; /* of the check */
};

struct limits_taken *limits_take_over(struct request *r)
{
    if (!r->ticket || !r->ticket->event) {
        return NULL;
    }
    struct limit_check *event = &r->ticket->event->check;
    struct limits_taken *t = calloc(1, sizeof *t + event->count * sizeof t->keys[0]);
    BUG_ON(!t);
    t->conf = config_ref(r->conf);
    limiter_move(event, &t->check, t->keys);
    return t;
}

void limits_taken_give_back(struct limits_taken *t, bool only_shared)
{
    if (only_shared) {
        limiter_give_back_shared(&t->check);
    } else {
        limiter_give_back(&t->check);
    }
}

void limits_taken_free(struct limits_taken *t)
{
    if (t) {
        config_unref(t->conf);
        free(t);
    }
}

/* Used tokens, as far as they are known: an answer that was refused or failed used none, one that was cut without
 * a count keeps its estimate. */
static void settle_tokens(struct request *r, struct limit_check *c)
{
    if (r->completion_tokens >= 0 || r->prompt_tokens >= 0) {
        int64_t prompt = r->prompt_tokens > 0 ? r->prompt_tokens : 0;
        int64_t completion = r->completion_tokens > 0 ? r->completion_tokens : 0;
        limiter_settle(c, (uint64_t)prompt + (uint64_t)completion);
    } else if (r->ex->status == 0 || r->ex->status >= 400) {
        limiter_settle(c, 0);
    }
}

void limits_settle(struct request *r)
{
    struct limit_ticket *t = r->ticket;
    if (!t) {
        return;
    }
    if (t->begun) {
        bool decided = t->route.waiting == 0;
        limiter_forget(&t->route);
        if (decided && t->tokens > 0) {
            settle_tokens(r, &t->route);
        }
    }
    if (t->event) {
        limit_event_leave(t->event, r->gl->limits);
        t->event = NULL;
    }
}
