/* Invites: codes that the sign-up policy may ask for, as a request shows them and as the database knows them. Not the
 * making and revoking of them (invite_admin.h). Private to auth/.
 *
 *     code request: data.invite -> invite_code_read -> invite_find (peek)     the policy's facts; the code's row keeps the id
 *     verify:       id from the code's row -> invite_load -> the policy's facts -> auth_create_user counts it
 *
 * A code is 16 characters of Crockford's base 32, 80 random bits: "K3QF-7M2P-XW9D-4TZB". Case, hyphens and blanks do not
 * matter; O reads as 0, I and L as 1. It is looked up by a keyed hash, so the time a look-up takes tells nothing.
 * Between the peek and the account an invite may run out: auth_create_user then makes none (ERR_CONFLICT).
 * Thread rule: invite_find and invite_load inside jobs; the rest pure. */
#ifndef TIDE_AUTH_INVITE_H
#define TIDE_AUTH_INVITE_H

#include "auth/policy.h"
#include "base/id.h"
#include "base/pg.h"
#include "base/secret.h"

enum {
    INVITE_SYMBOLS = 16,
    INVITE_CODE_TEXT = 20, /* bytes with an end: as it is printed */
    INVITE_HINT = 4,       /* last symbols, kept in clear */
    INVITE_KEYS_MAX = 4,   /* look-up keys that a code is tried under */
};

enum invite_state {
    INVITE_NONE = 0,    /* none was shown */
    INVITE_GOOD = 1,    /* lets somebody in, if the policy agrees */
    INVITE_UNKNOWN = 2, /* not a code of ours, or revoked */
    INVITE_EXPIRED = 3,
    INVITE_USED_UP = 4,
};

struct invite {
    enum invite_state state;
    struct uuid id;                         /* unless INVITE_NONE, INVITE_UNKNOWN */
    char campaign[POLICY_CAMPAIGN_MAX + 1]; /* likewise; may be empty */
};

struct invite_code {
    char symbols[INVITE_SYMBOLS + 1]; /* canonical */
};
bool invite_code_read(struct str text, struct invite_code *out); /* false: cannot be a code */
void invite_code_draw(struct invite_code *out);
void invite_code_print(const struct invite_code *c, char out[INVITE_CODE_TEXT]); /* with hyphens */

/* Its keyed hash under the i-th look-up key, the active one first; false past the last. */
bool invite_code_hash(const struct secret_ring *r, const struct invite_code *c, unsigned i,
                      uint8_t out[SECRET_HMAC_BYTES]);

/* What the invite is worth now; 0, or an error of the database. */
int invite_find(struct pg *pg, const struct secret_ring *r, const struct invite_code *c,
                struct invite *out) TIDE_CHECK;
int invite_load(struct pg *pg, const struct uuid *id, struct invite *out) TIDE_CHECK;

/* What the policy is told of it. */
void invite_tell(const struct invite *i, struct policy_caller *caller);
/* A policy that wants an invite says so by the reason invite_required; who showed one learns what is wrong with it: changes
 * the reason of such a refusal. */
void invite_explain(struct policy_decision *d, enum invite_state state);

#endif
