/* Refresh tokens that can be computed again: "rt_" and base64url of
 *
 *     version 1 | session 16 | counter 1..10 (varint) | HMAC 16 (of all before) | checksum 4 (of all before)
 *
 * The checksum lets scanners and this reader refuse garbage without a key; the HMAC refuses forgeries without the
 * database; whether the counter is the active one is the database's to say. Nothing of a token is stored.
 * Thread rule: any thread. */
#ifndef TIDE_AUTH_REFRESH_TOKEN_H
#define TIDE_AUTH_REFRESH_TOKEN_H

#include "base/id.h"
#include "base/secret.h"

enum { REFRESH_TOKEN_BYTES_MAX = 1 + 16 + 10 + 16 + 4, REFRESH_TOKEN_TEXT = 80 };

struct refresh_token {
    struct uuid session;
    int64_t counter; /* 1 and up */
};

void refresh_token_write(const struct secret_ring *r, const struct refresh_token *t,
                         char out[REFRESH_TOKEN_TEXT]);
/* False: not a token of ours. Retired token keys still read. */
bool refresh_token_read(const struct secret_ring *r, struct str text, struct refresh_token *out);

#endif
