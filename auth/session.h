/* Sessions and refresh families in the database, as steps inside jobs. Private to auth/.
 *
 * Thread rule: inside jobs. */
#ifndef TIDE_AUTH_SESSION_H
#define TIDE_AUTH_SESSION_H

#include "auth/auth.h"
#include "base/pg.h"

enum { SESSION_TEXT_MAX = 255, SESSION_ENDED_MAX = 1000 };

struct session_origin {
    char device[129];                      /* x-device-id */
    char user_agent[SESSION_TEXT_MAX + 1]; /* cut */
    char address[ADDR_TEXT];               /* "" = unknown */
};
void session_origin_of(const struct auth_call *call, struct session_origin *out);

struct session_begun {
    struct uuid id;
    int64_t began_s; /* Unix seconds of the database */
    int64_t era;     /* it ends with everybody's when a later one begins */
};
/* A new session with its first refresh counter, 1. */
int session_create(struct pg *pg, const struct auth_config *conf, const struct uuid *user,
                   const struct session_origin *origin, struct session_begun *out) TIDE_CHECK;

enum session_outcome {
    SESSION_OK = 0,
    SESSION_REUSED = 1, /* an old token came back: the session has just been ended */
    SESSION_ENDED = 2,
    SESSION_EXPIRED = 3,
    SESSION_BANNED = 4,
    SESSION_UNKNOWN = 5,
};
struct session_refreshed {
    enum session_outcome outcome;
    struct uuid user;
    int64_t counter; /* of the token to answer with */
    char method[16]; /* how the session began */
    int64_t began_s;
    int64_t era;
};
/* 0 whatever the outcome: commit it. */
int session_refresh(struct pg *pg, const struct auth_config *conf, const struct uuid *session,
                    int64_t counter, struct session_refreshed *out) TIDE_CHECK;

/* Is the session alive? Also remembers that the client holds the token it got last (token_iat_s). */
int session_confirm(struct pg *pg, const struct uuid *session, int64_t token_iat_s,
                    bool *is_alive) TIDE_CHECK;

/* scope: "local", "global", "others". ended: up to SESSION_ENDED_MAX ids of what ended, in *count. */
int session_end(struct pg *pg, const struct uuid *user, const struct uuid *session, const char *scope,
                const char *reason, struct auth_ended *ended, unsigned *count) TIDE_CHECK;

#endif
