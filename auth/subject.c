/* See subject.h. */
#include "auth/subject.h"

#include <stdio.h>

#include "auth/auth.h"

void subject_of_phone(const struct secret_ring *r, const struct phone *phone, struct subject *out)
{
    const struct str texts[] = {STR_INIT("phone"), str_from(phone->e164)};
    const struct secret_key *key;
    *out = (struct subject){0};
    while (out->hashes < SUBJECT_KEYS_MAX && (key = secret_at(r, SECRET_LOOKUP, out->hashes))) {
        secret_hmac_of(key, texts, 2, out->hash[out->hashes++]);
    }
    snprintf(out->key_id, sizeof out->key_id, "%s", secret_active(r, SECRET_LOOKUP)->id);
}

void auth_limit_key(const struct secret_ring *r, const struct phone *phone, char out[AUTH_LIMIT_KEY])
{
    const struct str texts[] = {STR_INIT("limit-phone"), str_from(phone->e164)};
    uint8_t mac[SECRET_HMAC_BYTES];
    secret_hmac_of(secret_active(r, SECRET_TOKEN), texts, 2, mac);
    str_hex_encode(mac, 16, out);
}

static struct str subject_context(const char *column, const struct uuid *row, char text[64])
{
    char id[ID_UUID_TEXT + 1];
    uuid_format(row, id);
    snprintf(text, 64, "%s:%s", column, id);
    return str_from(text);
}

int subject_seal(const struct secret_ring *r, const char *column, const struct uuid *row,
                 const struct phone *phone, struct buf *out, struct err *err)
{
    char text[64];
    return secret_seal(r, subject_context(column, row, text), str_from(phone->e164), out, err);
}

int subject_open(const struct secret_ring *r, const char *column, const struct uuid *row, struct str sealed,
                 char e164[PHONE_E164_MAX + 1], struct err *err)
{
    char text[64];
    struct buf plain;
    buf_init(&plain, PHONE_E164_MAX);
    int rc = secret_open(r, subject_context(column, row, text), sealed, &plain, err);
    snprintf(e164, PHONE_E164_MAX + 1, "%s", rc == 0 ? plain.p : "");
    secret_cleanse(plain.p, plain.n);
    buf_clear(&plain);
    return rc;
}

int subject_find(struct pg *pg, const struct subject *s, struct uuid *identity, struct uuid *user)
{
    for (unsigned i = 0; i < s->hashes; i++) {
        int rows =
            pg_query(pg, "SELECT id, user_id FROM identities WHERE provider = 'phone' AND subject_hash = $1",
                     PG_BYTES(s->hash[i], SECRET_HMAC_BYTES));
        if (rows < 0) {
            return rows;
        }
        if (rows > 0) {
            *identity = pg_uuid(pg, 0, 0);
            *user = pg_uuid(pg, 0, 1);
            return 1;
        }
    }
    return 0;
}
