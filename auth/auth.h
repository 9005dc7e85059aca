/* Accounts behind the GoTrue paths of /auth/v1: the door of this room. gateway/accounts.c opens it; nobody else
 * needs more than this header and admin.h. Not the sign-up policy's language (policy.h), not limits.
 *
 *     request -> auth_call filled by the gateway -> auth_http_*(call) -> replies on call->ex, now or later
 *
 * One struct auth_loop a loop, handed to every call: configuration, policy snapshot, revoked sessions. Work on
 * the database is done by jobs (base/pg) that own copies; call->job points at the running one, and
 * auth_call_cancel parts them when the client is gone (the job runs to its end, its answer is dropped).
 * Ownership: the call lives on the request's arena; the auth_loop and the configuration outlive it.
 * Thread rule: everything on the call's loop, but for what says otherwise. */
#ifndef TIDE_AUTH_AUTH_H
#define TIDE_AUTH_AUTH_H

#include "auth/phone.h"
#include "auth/policy.h"
#include "auth/subject.h"
#include "base/addr.h"
#include "base/http/exchange.h"
#include "base/id.h"
#include "base/secret.h"

struct auth_call;
struct auth_job;
struct auth_wait;
struct conf_section;
struct jws_claims;
struct jws_keys;
struct pg_pool;
struct revoked;
struct secret_ring;
struct subject;

/* A token of a session that has ended may be alive for KEEP, whatever is configured now: it may be of before a change. An
 * hour is for clocks. auth_purge in the database keeps revocations longer. */
enum {
    AUTH_ACCESS_TTL_MAX_S = 86400,
    AUTH_OUTAGE_GRACE_MAX_S = 86400,
    AUTH_ENDED_KEEP_S = AUTH_ACCESS_TTL_MAX_S + AUTH_OUTAGE_GRACE_MAX_S + 3600,
};

/* Section `auth` of the configuration; auth_conf.c has names, defaults and ranges. */
struct auth_config {
    const char *issuer;             /* claim iss, "https://api.example.com/auth/v1" */
    const char *audience;           /* claim aud, "authenticated" */
    const char *key_ring_file;      /* pepper, look-up, encryption and token keys (base/secret.h) */
    const char *signing_keys;       /* folder of KID.pem (base/jws.h) */
    const char *signing_kid;        /* the one that signs; NULL: the only private one */
    enum phone_mode phone_mode;     /* how mainland numbers are checked */
    uint64_t access_ttl_ms;         /* 1 h, less jitter */
    uint64_t access_jitter_percent; /* 5: by how much a token may end earlier */
    uint64_t refresh_ttl_ms;        /* 30 d since the last refresh */
    uint64_t session_max_ms;        /* 180 d since sign-in */
    uint64_t refresh_grace_ms;      /* 10 s: the parent token still gets its successor */
    uint64_t outage_grace_ms;       /* 1 h: expired tokens taken on /v1 while PostgreSQL is down */
    uint64_t otp_ttl_ms;            /* 300 s */
    uint64_t otp_resend_ms;         /* 60 s between codes to one number */
    uint64_t otp_tries;             /* 5 a code */
    uint64_t otp_failures;          /* 20 a number in otp_failure_window_ms */
    uint64_t otp_failure_window_ms; /* 24 h */
    uint64_t invite_quota;    /* 10 accounts that an inviter's invites may bring in, unless they have more */
    uint64_t waitlist_ttl_ms; /* 90 d: of a place */
    uint64_t waitlist_release_ttl_ms; /* 72 h: to come in, unless the release says another time */
    uint64_t waitlist_count_ms;       /* 10 s between counts */
    uint64_t waitlist_notices;        /* 600 messages a minute, over all gateways */
    uint64_t known_filter_max;        /* 256 MiB: bytes of the filter of numbers with an account; 0: none */
    uint64_t refusal_samples;         /* 120 refused sign-ups kept a minute and loop */
    uint64_t job_ms;                  /* 5 s for one database job */
};
extern const struct conf_section auth_conf_section;

/* A message on its way to a phone. Copied by the port. */
enum auth_message_kind {
    AUTH_MESSAGE_CODE = 0,
    AUTH_MESSAGE_RELEASED = 1, /* from the waiting list: no code, but until when */
};
struct auth_message {
    enum auth_message_kind kind;
    int64_t expires_s;               /* Unix time; AUTH_MESSAGE_RELEASED */
    char to[PHONE_E164_MAX + 1];     /* E.164 */
    char code[12];                   /* digits */
    char channel[12];                /* "sms" */
    char prefix[PHONE_E164_MAX + 1]; /* of `to`, as limits count it */
    char country[3];                 /* of `to`: "CN", or empty */
    char lang[12];                   /* "en", "zh-Hans", "zh-Hant" */
    char id[ID_UUID_TEXT + 1];       /* message id: the webhook id, the same for each try */
};

/* 32 hex digits of a hash of its own (another key use), with an end: a number as limits count it, worthless elsewhere. */
enum { AUTH_LIMIT_KEY = 33 };
void auth_limit_key(const struct secret_ring *r, const struct phone *phone, char out[AUTH_LIMIT_KEY]);

/* One request for a code, as it looks before anything is done for it. On the call's arena. */
struct auth_attempt {
    bool may_create;                 /* the request allows a new account */
    struct policy_decision decision; /* about a new account; reason is not to be read */
    const struct policy_caller *caller;
    enum policy_answer email_disposable; /* of an e-mail address */
    struct str payload;                  /* proof of work as the client sent it, or empty */
    struct str data;                     /* the member `data` of the body as written, or empty */
    char number[AUTH_LIMIT_KEY];         /* keyed hash: what limits count */
    char prefix[PHONE_E164_MAX + 1];
    struct subject subject; /* keyed hashes: as identities are looked up */
};

/* A place under the caps of a rule (ratelimit/caps.h knows what is in it). */
struct auth_place {
    bool is_taken;
    char rule[64]; /* its id */
    int64_t periods[POLICY_CAPS];
};
typedef void (*auth_caps_cb)(void *arg, int rc, int64_t wait_s, const struct auth_place *place);

/* Whether a number has an account, as far as it can be told without asking the database for it. */
enum auth_known {
    AUTH_KNOWN_MAYBE = 0,      /* ask the database */
    AUTH_KNOWN_SURELY_NOT = 1, /* it had none when this was asked */
    AUTH_KNOWN_CANCELED = 2,   /* the loop ends */
};
typedef void (*auth_known_cb)(void *arg, enum auth_known known);

/* A number as limits count it. */
struct auth_number {
    struct str key;     /* a keyed hash, never the number itself */
    struct str prefix;  /* country code and the first digits */
    struct str country; /* "CN" */
};

/* Whom a code is for, as far as it is known: a part of the budgets of codes is kept for numbers that have an account. */
enum auth_code_for {
    AUTH_CODE_FOR_ANYONE = 0,  /* nobody has looked: it leaves that part alone */
    AUTH_CODE_FOR_ACCOUNT = 1, /* the number has an account */
    AUTH_CODE_FOR_NOBODY =
        2, /* it has none, and no message will go: told like ACCOUNT, but costs the budgets nothing */
};
enum auth_code_verdict {
    AUTH_CODE_ADMITTED = 0,
    AUTH_CODE_REFUSED = 1,  /* and answered */
    AUTH_CODE_RESERVED = 2, /* ANYONE: only what is kept for accounts is left; not answered, nothing taken */
};
struct auth_code_ask {
    const struct auth_number *number;
    enum auth_code_for whom;
    bool may_create; /* the code may make an account */
    bool is_second;  /* asked before as ANYONE: RESERVED */
};

/* What check_code took, held by a flow that may outlive its call. Ended exactly once, on the loop; or, when the loop ends
 * (ERR_CANCELED), from wherever and not given back. */
enum auth_taken_end {
    AUTH_TAKEN_STAYS = 0,
    AUTH_TAKEN_BUDGETS_BACK = 1, /* not the limits of number, device and address */
    AUTH_TAKEN_ALL_BACK = 2,
};
struct auth_taken {
    void (*end)(struct auth_taken *t, enum auth_taken_end how); /* frees it */
};

/* What the gateway does for this room. */
struct auth_ports {
    /* Takes one from the rules of an event ("waitlist", "signup_denied") for the request's keys and this number (NULL: none).
     * done is called once, on the loop, unless the call is canceled; when not admitted the port has answered. */
    void (*check_limit)(struct auth_call *call, const char *event, const struct auth_number *number,
                        void (*done)(struct auth_call *call, bool is_admitted));
    /* Likewise from the budgets and limits of codes by SMS. */
    void (*check_code)(struct auth_call *call, const struct auth_code_ask *ask,
                       void (*done)(struct auth_call *call, enum auth_code_verdict v));
    /* Weighs the attempt and asks for proof of work when it has to show some; done as above. */
    void (*check_attempt)(struct auth_call *call, const struct auth_attempt *a,
                          void (*done)(struct auth_call *call, bool is_admitted));
    /* A banned number: true when the port has answered. */
    bool (*refuse_phone)(struct auth_call *call, struct str e164);
    struct auth_taken *(*keep_taken)(struct auth_call *call);
    void (*give_back)(struct auth_call *call); /* what the last check_limit took */
    /* Hands the message to the provider. done(arg, rc) on the loop that asked, exactly once: 0 accepted, ERR_TIMEOUT,
     * ERR_UNAVAILABLE (no answer, or 5xx after all tries), ERR_DENIED (provider refused). */
    void (*send_message)(void *ports_arg, const struct auth_message *m, void (*done)(void *arg, int rc),
                         void *arg);
    /* Has this number an account? done on the loop, exactly once, perhaps before this returns. */
    void (*ask_known)(void *loop_arg, const struct subject *s, auth_known_cb done, void *arg);
    /* Is there a place under the caps of that decision's rule, and take it if takes. done(arg, rc, wait_s, place) on
     * the loop, exactly once, perhaps before this returns: 0; ERR_LIMIT: full, there may be one in wait_s;
     * ERR_UNAVAILABLE: nobody can say; ERR_CANCELED: the loop ends. place: what was taken, to be copied. */
    void (*ask_caps)(void *loop_arg, const struct policy_decision *d, bool takes, auth_caps_cb done,
                     void *arg);
    void (*give_back_place)(void *loop_arg, const struct auth_place *place);
    /* A code to a number like this was typed in rightly and used up, from there. */
    void (*code_used)(void *loop_arg, const struct addr *client, struct str prefix);
    void (*poll_soon)(void *ports_arg); /* something in `versions` moved by our own hand */
    /* Sessions have ended, auth_is_revoked says which: their streams on this loop go now. loop_arg: of the auth_loop. */
    void (*sessions_ended)(void *loop_arg);
    void *arg;
};

/* Which refusals are kept (refusal.h). */
struct refusal_sampler {
    uint64_t full_ms; /* monotonic */
    int64_t unkept;   /* since the last one that was kept */
};

struct auth_loop {
    struct loop *loop;              /* borrowed */
    const struct auth_ports *ports; /* borrowed */
    struct pg_pool **pg;            /* borrowed; *pg is NULL once the process ends: all answers 503 */
    struct secret_ring *secrets;    /* borrowed; jobs take references */
    const struct jws_keys *keys;    /* borrowed: signs and publishes */
    struct policy *policy;          /* a reference; NULL until the first is known: sign-up answers 503 */
    struct policy *beneath;         /* a reference: waits while an emergency stands; or NULL */
    bool is_emergency;              /* policy stands, whatever the database has */
    struct revoked *revoked;        /* owned: sessions ended while an access token may still live */
    int64_t era;                    /* sessions of an earlier one have ended */
    struct refusal_sampler refusals;
    void *arg; /* the gateway's own, for sessions_ended */
};

void auth_loop_init(struct auth_loop *al, struct loop *loop, const struct auth_ports *ports,
                    struct pg_pool **pg);
void auth_loop_set_keys(struct auth_loop *al, struct secret_ring *secrets, const struct jws_keys *keys);
void auth_loop_clear(struct auth_loop *al);
void auth_loop_set_policy(struct auth_loop *al, struct policy *p); /* takes a reference */
/* Likewise, of a policy that stands over the others until it is lifted (NULL). */
void auth_loop_set_emergency(struct auth_loop *al, struct policy *p);
/* Sessions ended (told by the poll, or just done here): their tokens are refused from now on, their streams cut. */
struct auth_ended {
    struct uuid session;
    int64_t ended_s; /* Unix seconds */
};
void auth_loop_end_sessions(struct auth_loop *al, const struct auth_ended *ended, unsigned n);
/* Likewise those of everybody: this is the era now. */
void auth_loop_set_era(struct auth_loop *al, int64_t era);

/* What a request is of a log-in of somebody who has an account; told to the gateway, which counts them. */
enum auth_login {
    AUTH_LOGIN_NONE = 0,  /* nothing of that kind, or it makes an account */
    AUTH_LOGIN_CODE = 1,  /* asks for a code, and makes no account */
    AUTH_LOGIN_TRIED = 2, /* shows a code */
    AUTH_LOGIN_WRONG = 3, /* shows a wrong one */
};

/* One request. The gateway fills all but the last group. */
struct auth_call {
    struct http_exchange *ex;       /* borrowed */
    struct auth_loop *al;           /* borrowed */
    const struct auth_config *conf; /* borrowed: the request's snapshot */
    void *request;                  /* the gateway's own, for its ports */
    struct addr client;             /* after trusted proxies */
    struct str device;              /* x-device-id as sent, may be empty */
    struct policy_caller caller;    /* what the policy is told beside the number */
    struct str body;                /* whole */
    const struct jws_claims *who;   /* verified, or NULL: no user */

    struct auth_job *job;    /* running, or NULL */
    enum auth_login login;   /* for the gateway to read at the end */
    struct auth_wait *waits; /* for an answer of the ports (http_otp.c), or NULL */
    void *state;             /* the handler's own, on ex->arena */
};

/* Code requests, and codes tried, since the start: what an attack on sign-up shows in. */
struct auth_attempts {
    double attempts, refused; /* refused: by limits, policy or challenges, or too soon */
    double limited;           /* of the refused: by limits */
    double served;            /* of the attempts: a code is on its way, or seems to be */
    double failed;            /* of the attempts: by us, or by whoever should have sent the code */
    double tried, verified;
};
void auth_attempts_read(struct auth_attempts *out); /* any thread */

/* Handlers of the routes. bodies: buffered, at most AUTH_BODY_MAX. */
enum { AUTH_BODY_MAX = 65536 };
void auth_http_otp(struct auth_call *call);            /* POST /auth/v1/otp */
void auth_http_waitlist_join(struct auth_call *call);  /* POST /auth/v1/waitlist */
void auth_http_waitlist_place(struct auth_call *call); /* GET /auth/v1/waitlist?ticket= */
void auth_http_waitlist_leave(struct auth_call *call); /* DELETE /auth/v1/waitlist?ticket= */
void auth_http_verify(struct auth_call *call);         /* POST /auth/v1/verify */
void auth_http_token(struct auth_call *call);          /* POST /auth/v1/token?grant_type=refresh_token */
void auth_http_user(struct auth_call *call);           /* GET /auth/v1/user (user) */
void auth_http_logout(struct auth_call *call);   /* POST /auth/v1/logout?scope=global|local|others (user) */
void auth_http_settings(struct auth_call *call); /* GET /auth/v1/settings */
void auth_http_health(struct auth_call *call);   /* GET /auth/v1/health */
void auth_http_jwks(struct auth_call *call); /* GET /.well-known/jwks.json, /auth/v1/.well-known/jwks.json */
void auth_http_refuse(
    struct auth_call *call); /* paths of GoTrue that are not offered: signup, id_token ... */
/* The client is gone or the deadline passed: nothing of the call is called or answered any more. */
void auth_call_cancel(struct auth_call *call);

/* Has this verified token's session ended? Asked at every use of a token. Other issuers' have no era. */
bool auth_is_revoked(const struct auth_loop *al, const struct jws_claims *who);

#endif
