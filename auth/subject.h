/* A phone number as the database sees it: keyed hash to look it up, ciphertext to show it to its owner. Private
 * to auth/. A hash is made per look-up key of the ring, the active one first: after a rotation older rows are
 * found by their older key.
 *
 * Thread rule: any thread. */
#ifndef TIDE_AUTH_SUBJECT_H
#define TIDE_AUTH_SUBJECT_H

#include "auth/phone.h"
#include "base/buf.h"
#include "base/id.h"
#include "base/pg.h"
#include "base/secret.h"

enum { SUBJECT_KEYS_MAX = 4, SUBJECT_SEALED_MAX = 128 };

struct subject {
    uint8_t hash[SUBJECT_KEYS_MAX][SECRET_HMAC_BYTES]; /* by key, the active one first */
    unsigned hashes;
    char key_id[SECRET_ID_MAX + 1]; /* of hash[0] */
};

void subject_of_phone(const struct secret_ring *r, const struct phone *phone, struct subject *out);

/* The number for one row of a column ("identities.subject"); bound to it, so that it does not open in another. */
int subject_seal(const struct secret_ring *r, const char *column, const struct uuid *row,
                 const struct phone *phone, struct buf *out, struct err *err) TIDE_CHECK;
int subject_open(const struct secret_ring *r, const char *column, const struct uuid *row, struct str sealed,
                 char e164[PHONE_E164_MAX + 1], struct err *err) TIDE_CHECK;

/* Inside a job: the identity and user of a subject. 1 found, 0 none, or an error. */
int subject_find(struct pg *pg, const struct subject *s, struct uuid *identity, struct uuid *user) TIDE_CHECK;

#endif
