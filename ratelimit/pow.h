/* Proof of work after ALTCHA v2: a signed challenge that any ALTCHA client solves, and the check of what comes back.
 * Not who has to solve one (gateway/challenge.h), not that a solution counts once (pow_spent.h).
 *
 *     pow_write   {"parameters":{algorithm, cost, data, expiresAt, keyLength, keyPrefix, nonce, salt},"signature"}
 *     the client  counter = 0, 1, ... until SHA-256(salt || nonce || counter as u32, big endian) begins with keyPrefix
 *     pow_check   base64({"challenge": {...}, "solution": {"counter", "derivedKey", "time"}})
 *
 * The counter is drawn here, between 0 and the work asked for, and keyPrefix is half of its key: so the work is any
 * number, has an upper bound, and the average is half of it. Making a challenge costs one SHA-256 and one HMAC, as
 * does the check; nothing is remembered.
 * The signature is HMAC-SHA-256 over the parameters as canonical JSON (members sorted, no spaces) under a key derived
 * from a token key of the ring; keys that are retired or next still verify. `data` binds it: {"for": purpose, "level":
 * how hard, "net": keyed hash of the client's network}. The check writes the canonical form anew from what it has
 * read strictly: what it did not understand cannot be signed.
 * Thread rule: pure functions over immutable keys. */
#ifndef TIDE_RATELIMIT_POW_H
#define TIDE_RATELIMIT_POW_H

#include "base/addr.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/secret.h"

enum { POW_KEYS_MAX = 8, POW_ID_BYTES = 16, POW_PAYLOAD_MAX = 4096, POW_WORK_MAX = 100000000 };

enum pow_level { POW_LEVEL_NONE = 0, POW_LEVEL_EASY = 1, POW_LEVEL_HARD = 2, POW_LEVELS = 3 };

struct pow_keys {
    struct secret_key keys[POW_KEYS_MAX]; /* the first signs */
    unsigned n;
};
void pow_keys_derive(const struct secret_ring *ring, struct pow_keys *out); /* cleanse it at the end */

/* What a challenge is bound to. */
struct pow_terms {
    const char *purpose; /* "otp": 1 to 16 of a-z */
    enum pow_level level;
    struct addr client; /* its network counts, not the address */
    unsigned ipv4_bits; /* of a network, 8 to 32 */
    unsigned ipv6_bits; /* 16 to 128 */
};

/* Appends the challenge as JSON. work: 1 to POW_WORK_MAX tries at most. */
void pow_write(const struct pow_keys *keys, const struct pow_terms *terms, uint32_t work, int64_t expires_s,
               struct buf *out);

enum pow_verdict {
    POW_OK = 0,
    POW_MISSING = 1,         /* no payload */
    POW_MALFORMED = 2,       /* no payload of ALTCHA v2: base64, JSON, members, types, ranges */
    POW_WRONG_ALGORITHM = 3, /* not the one that is issued here */
    POW_BAD_SIGNATURE = 4,   /* not signed here, or changed since */
    POW_EXPIRED = 5,
    POW_WRONG_PURPOSE = 6,
    POW_WRONG_ADDRESS = 7,  /* of another network */
    POW_TOO_EASY = 8,       /* below the level that is wanted now */
    POW_WRONG_SOLUTION = 9, /* the counter does not solve it */
    POW_ALREADY_USED = 10,  /* said by pow_spent.h's users */
    POW_VERDICTS = 11,
};
const char *pow_verdict_name(enum pow_verdict v); /* "ok", "missing", ... */

/* A challenge that was solved: spend it. */
struct pow_solved {
    uint8_t id[POW_ID_BYTES]; /* its nonce */
    int64_t expires_s;
    enum pow_level level;
};
/* The level must be at least that of the terms. Scratch memory comes from the arena. */
enum pow_verdict pow_check(const struct pow_keys *keys, const struct pow_terms *terms, struct str payload,
                           int64_t now_s, struct arena *arena, struct pow_solved *out);

#endif
