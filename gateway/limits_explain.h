/* What limits would say to a subject now, without asking for anything: peeks from a loop's Redis connections.
 *
 * Ownership: limits_explain copies what it is given; done is called once on the control thread, with JSON text that
 * is borrowed until it returns, or never when the gateway ends first.
 * Thread rule: the control thread. */
#ifndef TIDE_GATEWAY_LIMITS_EXPLAIN_H
#define TIDE_GATEWAY_LIMITS_EXPLAIN_H

#include "base/json.h"
#include "gateway/gateway.h"
#include "ratelimit/limiter.h"

struct limit_peek_key;

struct limits_question {
    struct addr address; /* all zero: none */
    struct str account;  /* of our own issuer; the others may be empty too */
    struct str phone;    /* its key: auth_limit_key() */
    struct str phone_prefix;
    struct str phone_country;
    struct str device;
    struct str apikey;
    struct str route;
    struct str model;
};

struct limits_explain;
struct limits_explain *limits_explain(struct gateway *g, const struct limits_question *q,
                                      void (*done)(void *arg, const struct buf *text), void *arg);
void limits_explain_forget(struct limits_explain *e); /* done will not be called */

/* limits_admin.c */
void limits_write_peek(struct json_writer *w, const struct limit_peek_key *k,
                       const struct limit_terms *signup);

#endif
