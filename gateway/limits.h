/* Limits in the request pipeline: which rules of ratelimit/ concern a request, and what a refused
 * client is told. Not the deciding (ratelimit/limiter.h).
 *
 *     limits_denied_locally   before identify: the deny cache by address; costs one look
 *     limits_begin            after identify: all rules of the route, one script
 *     limits_more             from a handler, for an event ("sms", "signup_denied")
 *                             with keys only it knows
 *     limits_settle           from request_finish: cancels what is pending, settles tokens, gives back what a code that
 *                             goes to nobody took of what many share
 *
 * A refusal is answered here: 429 with Retry-After, RateLimit and RateLimit-Policy
 * (over_request_rate_limit; event "sms": over_sms_send_rate_limit), 503 service_unavailable when a
 * rule is closed because Redis is away.
 * Retry-After is never earlier than the limit's own time.
 * Thread rule: the request's loop. */
#ifndef TIDE_GATEWAY_LIMITS_H
#define TIDE_GATEWAY_LIMITS_H

#include "gateway/gateway.h"
#include "gateway/request.h"
#include "ratelimit/limiter.h"

/* How many rules are in force, as a metric: at most LIMIT_RULES_MAX. */
void limits_count_rules(const struct gateway_config *conf);
int limits_open(struct gateway *g, struct err *err) TIDE_CHECK;
void limits_close(struct gateway *g);
int limits_loop_open(struct gateway_loop *gl, struct err *err) TIDE_CHECK;
void limits_loop_close(struct gateway_loop *gl);
struct redis;
struct redis *limits_redis(struct gateway_loop *gl);       /* likewise */
struct redis *limits_ledger(struct gateway_loop *gl);      /* the loop's; NULL: none is configured */
bool limits_has_redis(const struct gateway_loop *gl);      /* one is configured; any thread */
bool limits_redis_is_ready(const struct gateway_loop *gl); /* any thread */

/* true: refused and answered. */
bool limits_denied_locally(struct request *r);
/* done is called when r may pass, perhaps before this returns; refusals are answered and done never
 * comes. */
void limits_begin(struct request *r, void (*done)(struct request *r));

/* Keys that only a handler knows; the others are taken from r. */
struct limits_keys {
    struct str phone;         /* canonical E.164, or empty */
    struct str phone_prefix;  /* or empty */
    struct str phone_country; /* or empty */
    uint64_t money;           /* what the message would cost, in millionths; 0: rules of money do not apply */
    struct str account;       /* empty: that of r->who */
    struct limit_terms terms; /* of rules that many share */
};
/* As limits_begin, for the rules of an event, but done is also called on refusal: the handler
 * decides whether to answer (limits_refuse). Texts are not needed after the return. */
enum limits_verdict {
    LIMITS_PASS = 0,
    LIMITS_DENIED = 1,   /* too often: limits_refuse answers */
    LIMITS_CLOSED = 2,   /* cannot be decided now: limits_refuse answers */
    LIMITS_RESERVED = 3, /* denied on these terms; there is room for others */
};
typedef void (*limits_more_cb)(struct request *r, void *arg, enum limits_verdict v);
void limits_more(struct request *r, const char *event, const struct limits_keys *keys, limits_more_cb done,
                 void *arg);
void limits_refuse(struct request *r);    /* answers the last refusal that limits_more reported */
void limits_give_back(struct request *r); /* what the last limits_more took: nothing was sent */

/* What the last limits_more took, for whom may have to give it back when the request is gone. NULL: nothing. */
struct limits_taken;
struct limits_taken *limits_take_over(struct request *r);
/* On the request's loop. only_shared: not the limits of number, device, address. */
void limits_taken_give_back(struct limits_taken *t, bool only_shared);
void limits_taken_free(struct limits_taken *t); /* NULL allowed; what was not given back stays taken */

/* An estimate for rules that count tokens, before limits_begin (route->prepare); chat sets it from the body. */
void limits_set_tokens(struct request *r, uint64_t tokens);
void limits_settle(struct request *r); /* request_finish only */

/* tidectl get limits: rules, their counters, gateways and Redis as one JSON object. The control thread. */
struct buf;
void limits_write_json(struct gateway *g, struct buf *out);
bool limits_has_rule(const struct gateway *g, const char *name); /* in force now */
/* Who is refused most, of one rule or of all (NULL), likewise. */
void limits_write_top(struct gateway *g, const char *rule, unsigned most, struct buf *out);

#endif
