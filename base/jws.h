/* Signed tokens: JWS compact form (RFC 7515) with the claims of RFC 7519 and RFC 9068, after RFC 8725.
 *
 * Signs ES256; verifies ES256 and RS256. Never HS256, never none: the algorithm belongs to the key. Headers
 * with crit, jku, x5u, x5c, jwk, zip or b64 are refused, so are duplicate members, padding, and anything
 * longer than JWS_TOKEN_MAX. A verifier has a list of issuers; a token is checked with the keys of the issuer
 * that it names, and of these with the one whose kid it names.
 * Ownership: a verifier borrows its issuers and their keys until it is thrown away. Claims are a plain value.
 * Errors of jws_verify: ERR_LIMIT (too long), ERR_INVALID (not such a token), ERR_NOT_FOUND (unknown issuer or
 * key), ERR_DENIED (signature, audience, type or session), ERR_AGAIN (all is well, but it is not valid yet),
 * ERR_TIMEOUT (all is well, but it has expired: out->exp says when). The text never holds parts of the token.
 * Thread rule: keys and verifiers are immutable once made; any thread. */
#ifndef TIDE_BASE_JWS_H
#define TIDE_BASE_JWS_H

#include <openssl/evp.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/id.h"
#include "base/str.h"

enum { JWS_TOKEN_MAX = 4096, JWS_KID_MAX = 63, JWS_SUB_MAX = 63, JWS_PLAN_MAX = 31, JWS_LEEWAY_MAX_S = 60 };

enum jws_alg {
    JWS_ES256 = 0,
    JWS_RS256 = 1, /* verify only; 2048 bits or more */
};

struct jws_key {
    char kid[JWS_KID_MAX + 1];
    enum jws_alg alg;
    EVP_PKEY *pkey;  /* owned by its jws_keys */
    bool is_private; /* can sign */
};

/* Keys from PEM: one file, or every KID.pem of a folder. A public PEM verifies only (a retired key). The kid
 * of a single file is its RFC 7638 thumbprint. */
struct jws_keys {
    struct jws_key *items; /* sorted by kid */
    unsigned n;
};
int jws_keys_load(const char *path, struct jws_keys *out, struct err *err) TIDE_CHECK;
void jws_keys_clear(struct jws_keys *k);
const struct jws_key *jws_keys_find(const struct jws_keys *k, struct str kid);
/* The key to sign with: the private one of that kid; kid NULL: the only private one there is. */
const struct jws_key *jws_keys_signer(const struct jws_keys *k, const char *kid, struct err *err);
void jws_write_jwks(const struct jws_keys *k, struct buf *out); /* RFC 7517 set of the public halves */
/* A new P-256 key as FOLDER/KID.pem (0600), its kid the thumbprint. */
int jws_key_generate(const char *folder, char kid[JWS_KID_MAX + 1], struct err *err) TIDE_CHECK;

struct jws_issuer {
    const char *iss; /* exact */
    const char *aud; /* must be among the token's audiences */
    const char *typ; /* exact but for case; NULL: JWT, at+jwt or absent */
    struct jws_keys keys;
    bool needs_session; /* session_id (or sid) must be there */
};

struct jws_verifier {
    const struct jws_issuer *issuers;
    unsigned n;
    int64_t leeway_s; /* of clocks; 0 to JWS_LEEWAY_MAX_S */
};

struct jws_claims {
    char sub[JWS_SUB_MAX + 1];
    struct uuid user;            /* sub as UUID, all zero when it is none */
    struct uuid session;         /* session_id or sid, all zero when absent */
    int64_t exp, iat;            /* Unix seconds; iat 0 when absent */
    unsigned issuer;             /* index into the verifier's issuers */
    char plan[JWS_PLAN_MAX + 1]; /* claim "plan", empty when absent */
    int64_t era;                 /* claim "era", 0 when it is absent or no whole number */
};

/* grace_s: how long after exp a token still passes (0 in good times). *payload (NULL allowed) becomes the
 * payload's JSON text, borrowed from the arena. */
int jws_verify(const struct jws_verifier *v, struct str token, int64_t now_s, int64_t grace_s,
               struct arena *a, struct jws_claims *out, struct str *payload, struct err *err) TIDE_CHECK;

/* Appends header.payload.signature; typ is "JWT" or "at+jwt"; payload is JSON text, taken as it is. */
int jws_sign(const struct jws_key *key, const char *typ, struct str payload, struct buf *out,
             struct err *err) TIDE_CHECK;

#endif
