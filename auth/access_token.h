/* Access tokens: what is said in them, and nothing about phone or e-mail. Verified by base/jws anywhere, without
 * the database; ended early only by their session's end, or with everybody's: by a new era.
 *
 * Thread rule: any thread (keys are immutable). */
#ifndef TIDE_AUTH_ACCESS_TOKEN_H
#define TIDE_AUTH_ACCESS_TOKEN_H

#include "auth/auth.h"
#include "base/buf.h"

struct access_grant {
    struct uuid user;
    struct uuid session;
    const char *method; /* of sign-in, for amr: "otp" */
    int64_t began_s;    /* when, Unix seconds */
    int64_t era;        /* of the session */
};

struct access_token {
    struct buf text;
    int64_t expires_at_s; /* Unix */
    int64_t expires_in_s;
};

/* Jitter only shortens: life is between ttl less access_jitter_percent and ttl. text: initialised here. */
int access_token_mint(const struct auth_config *conf, const struct jws_keys *keys,
                      const struct access_grant *grant, int64_t now_s, struct access_token *out,
                      struct err *err) TIDE_CHECK;

#endif
