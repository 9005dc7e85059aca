/* Secrets: the key ring, keyed hashes and authenticated encryption with its keys, comparing, secret files.
 *
 * The ring is a JSON file, {"keys":[{"id":"1","use":"lookup","state":"active","secret":"<base64>"}]}, mode
 * 0600 (refused when group or others may read it). Each use has exactly one active key; retired ones still
 * open, verify and look up, and so does one that is `next`: so gateways may change keys one by one. All gateways have
 * the same file.
 *
 * Sealed bytes (what goes into the database):  version 1 | length of id | id | 12 nonce | ciphertext | 16 tag
 * The head and `context` are authenticated: a value moved to another row or column does not open.
 * Life: loaded once, counted; memory is cleansed when the last reference goes.
 * Errors: ERR_IO, ERR_INVALID (names file and field), ERR_DENIED (mode, or a seal that does not open).
 * Thread rule: a loaded ring is immutable; any thread. */
#ifndef TIDE_BASE_SECRET_H
#define TIDE_BASE_SECRET_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

enum secret_use {
    SECRET_CODE_PEPPER = 0, /* HMAC of one-time codes */
    SECRET_LOOKUP = 1,      /* HMAC of phone numbers and e-mail addresses; key id is their key version */
    SECRET_RAMP = 2,        /* HMAC of the percent ramp of sign-up */
    SECRET_ENCRYPT = 3,     /* AES-256-GCM: exactly 32 bytes */
    SECRET_TICKET = 4,      /* TLS session tickets: 80 bytes */
    SECRET_TOKEN = 5,       /* HMAC of refresh tokens, limiter keys and other opaque strings */
    SECRET_USES = 6,
};
enum { SECRET_HMAC_BYTES = 32, SECRET_ID_MAX = 15, SECRET_KEY_MAX = 96 };

struct secret_key {
    char id[SECRET_ID_MAX + 1]; /* 1 to 15 of a-z A-Z 0-9 - _ */
    enum secret_use use;
    bool is_active;
    bool is_next; /* will be active: other gateways may use it already */
    uint8_t bytes[SECRET_KEY_MAX];
    size_t n; /* bytes of the key: 32 to 96 */
};

struct secret_ring;
int secret_ring_load(const char *path, struct secret_ring **out, struct err *err) TIDE_CHECK;
int secret_ring_generate(const char *path, struct err *err) TIDE_CHECK; /* refuses to replace a file */
/* Replaces the file: the next ticket key becomes active, the active one retired, a new one next, older ones go. A ring
 * without a next one only gets it. *active: the id of the key that now seals. */
int secret_ring_rotate_tickets(const char *path, char active[SECRET_ID_MAX + 1], struct err *err) TIDE_CHECK;
struct secret_ring *secret_ring_ref(struct secret_ring *r);
void secret_ring_unref(struct secret_ring *r);
const char *secret_use_name(enum secret_use use);

const struct secret_key *secret_active(const struct secret_ring *r, enum secret_use use); /* never NULL */
const struct secret_key *secret_find(const struct secret_ring *r, enum secret_use use, struct str id);
/* The keys of a use, the active one first; NULL past the last. */
const struct secret_key *secret_at(const struct secret_ring *r, enum secret_use use, unsigned i);

void secret_hmac(const struct secret_key *k, struct str data, uint8_t out[SECRET_HMAC_BYTES]); /* SHA-256 */
/* HMAC of several texts as one: each is preceded by its length, so that they cannot run together. */
void secret_hmac_of(const struct secret_key *k, const struct str *texts, unsigned n,
                    uint8_t out[SECRET_HMAC_BYTES]);

/* Appends to out. */
int secret_seal(const struct secret_ring *r, struct str context, struct str plain, struct buf *out,
                struct err *err) TIDE_CHECK;
int secret_open(const struct secret_ring *r, struct str context, struct str sealed, struct buf *out,
                struct err *err) TIDE_CHECK;

bool secret_eq(const void *a, const void *b, size_t n); /* in constant time */
bool secret_str_eq(struct str a, struct str b);         /* tells only the length */
void secret_cleanse(void *p, size_t n);

/* A file that only its owner may read. The content without one newline at its end; cleanse it after use. */
int secret_file_check(const char *path, struct err *err) TIDE_CHECK;
int secret_file_read(const char *path, struct buf *out, struct err *err) TIDE_CHECK;
int secret_file_write(const char *path, struct str content, struct err *err) TIDE_CHECK; /* new, 0600 */
/* In one step, by a file beside it; owner and group stay. */
int secret_file_replace(const char *path, struct str content, struct err *err) TIDE_CHECK;

#endif
