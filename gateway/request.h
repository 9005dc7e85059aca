/* One request on its way through the gateway: what the exchange is to HTTP, this is to Tidegate.
 *
 *     http_exchange -> route row -> client address -> local deny cache -> identify (apikey, token)
 *         -> body (when the row buffers it) -> limits (one script, or a lease, or nothing)
 *         -> route->handle(r) -> reply through r->ex
 *         -> request_finish: the only exit (metrics, one access-log line, limits settled, references dropped)
 *
 *     BEGUN -> IDENTIFYING -> READING_BODY -> LIMITING -> HANDLING -> FINISHED      (each may go to FINISHED)
 *
 * State changes only in request_set_state, which knows the allowed old states, sets the deadline and counts.
 * A stage that refuses replies (http_reply_error...) and returns; nothing else happens until on_finish.
 *
 * Handlers: called in HANDLING with r->body whole (rows that buffer) or not begun (rows that stream, or with no body).
 * They reply through r->ex, now or later. One that waits for something sets r->cancel: called at most once,
 * when the client is gone or the deadline passed: it must drop all it waits for (ops, jobs, queue places) and
 * not reply. After a reply has ended, cancel is not called.
 * A handler that is asynchronous through another thread (database) keeps no pointer to r there: what comes back goes to a
 * state of its own, which cancel has told that nobody waits.
 *
 * Ownership: r lives in ex->arena. Everything it refers to for longer holds a reference (conf).
 * Thread rule: on its loop only. */
#ifndef TIDE_GATEWAY_REQUEST_H
#define TIDE_GATEWAY_REQUEST_H

#include "base/geo.h"
#include "base/http/exchange.h"
#include "base/http/problem.h"
#include "gateway/trace_context.h"

struct gateway_loop;
struct gateway_config;
struct config_hold;
struct jws_claims;
struct challenge_wait;
struct sms_wait;
struct limit_ticket;
struct request;
struct suspicion_wait;

enum { REQUEST_DEVICE_MAX = 128 }; /* bytes of x-device-id that count */

enum request_state {
    REQUEST_BEGUN = 0,
    REQUEST_IDENTIFYING = 1,
    REQUEST_READING_BODY = 2,
    REQUEST_LIMITING = 3,
    REQUEST_HANDLING = 4,
    REQUEST_FINISHED = 5,
};

/* What its time is told by (trace.h). */
enum request_phase {
    REQUEST_PHASE_PARSE = 0,
    REQUEST_PHASE_AUTH = 1,
    REQUEST_PHASE_BODY = 2,
    REQUEST_PHASE_LIMIT = 3,
    REQUEST_PHASE_QUEUE = 4,
    REQUEST_PHASE_FIRST_BYTE = 5,
    REQUEST_PHASE_LAST_BYTE = 6,
    REQUEST_PHASES = 7,
};

enum route_auth {
    ROUTE_AUTH_NONE = 0,        /* health, jwks, proxy rows that say so */
    ROUTE_AUTH_APIKEY = 1,      /* a configured publishable apikey; a Bearer token is not looked at */
    ROUTE_AUTH_USER = 2,        /* a verified user token (Bearer); 401 otherwise */
    ROUTE_AUTH_APIKEY_USER = 3, /* both: GET /auth/v1/user, logout */
};

enum route_body {
    ROUTE_BODY_NONE = 0,   /* a body is read and dropped */
    ROUTE_BODY_BUFFER = 1, /* whole, at most max_body_bytes, before limits and handler */
    ROUTE_BODY_STREAM = 2, /* the handler reads it */
};

/* A row of the route table: built-in rows are const, proxy rows come from the configuration. */
struct route {
    const char *name; /* "chat", "auth_otp", "proxy_small": metrics, limits, access log */
    uint32_t methods; /* 1u << enum http_method, or'ed */
    struct str path;  /* exact, or the prefix when is_prefix */
    bool is_prefix;
    enum route_auth auth;
    enum route_body body;
    size_t max_body_bytes;
    bool plain_body; /* we read it: content-encoding answers 415; others pass it on */
    enum http_dialect dialect;
    bool outage_grace; /* takes tokens expired by up to auth.outage_grace while PostgreSQL is down */
    void (*prepare)(struct request *r); /* body whole, before limits: r->model, limits_set_tokens; never
                                           replies (handle does that); NULL: nothing to do */
    bool own_deadlines; /* the handler's waits have their own; else http.handle_ms ends the request */
    bool is_heavy;      /* holds buffers for long: refused first when memory is short */
    void (*handle)(struct request *r);
    const void *arg; /* the handler's own (a proxy row's upstream group) */
};

struct request {
    struct request *prev, *next;       /* in gl->running */
    struct http_exchange *ex;          /* borrowed: outlives r */
    struct gateway_loop *gl;           /* this loop's things (gateway/gateway.h) */
    const struct gateway_config *conf; /* the snapshot this request runs under: that of hold */
    struct config_hold *hold;          /* a reference */
    const struct route *route;
    enum request_state state;
    struct addr client;           /* after trusted proxies */
    struct geo_place place;       /* where client is; all zero: not known */
    struct str device;            /* x-device-id as sent (untrusted), at most 128 bytes, or empty */
    struct str token;             /* the Bearer token presented, empty when none or when it is the apikey */
    const struct jws_claims *who; /* verified; NULL: no user. Borrowed from the arena */
    struct str body;              /* ROUTE_BODY_BUFFER: whole */
    struct limit_ticket *ticket;  /* what was reserved (gateway/limits.h); NULL: nothing */
    struct sms_wait *sms;         /* what the guard of codes counted (sms.h), or NULL */
    struct challenge_wait *challenge;      /* the proof of work that it showed (challenge.h), or NULL */
    struct suspicion_wait *suspicion;      /* how suspicious it is (suspicion.h), or NULL */
    struct auth_call *account_call;        /* of a route of accounts; NULL: it is none */
    void (*cancel)(struct request *r);     /* see above; NULL: nothing to drop */
    void *handler;                         /* the handler's own state, on the arena */
    struct loop_timer deadline;            /* armed while a handler without own deadlines works */
    uint64_t entered_us[REQUEST_FINISHED]; /* when each state was, since the first byte; 0: not */
    uint64_t queue_us;                     /* waited for a worker */
    struct trace_context trace;
    const char *refused_by;    /* the rule of limits that did; NULL: none */
    const char *model;         /* for the access log and metrics; NULL when none */
    const char *worker;        /* likewise */
    int64_t prompt_tokens;     /* for settling and the access log; -1 unknown */
    int64_t completion_tokens; /* likewise */
};

extern const struct http_handler
    request_http_handler; /* what the public listeners' servers are given; arg: gateway_loop */
/* Sessions have ended (accounts_is_revoked): what runs for them here is cut, but for the account's own requests (the logout
 * among them). */
void request_cut_ended(struct gateway_loop *gl);
void request_crash_note(int fd, void *gl); /* the requests in flight on this loop (base/crash.h) */
void request_set_state(struct request *r, enum request_state state);
const char *request_state_name(enum request_state state);

#endif
