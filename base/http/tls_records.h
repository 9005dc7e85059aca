/* TLS 1.3 records of one connection after its handshake: opens what the client sends, seals what it is sent. Not the
 * handshake (OpenSSL's), and not the socket (tls_io.c).
 *
 *     key log lines -> tls_secrets_take -> tls_records_new -> (tls_records_open | tls_records_seal)* -> free
 *
 * Why it exists: OpenSSL keeps 13 kB for a connection whose handshake is over, and spends more instructions around
 * a short record than in the cipher. This keeps about 300 bytes; cipher contexts are the loop's, enough for a few
 * connections at work: where another's key was set meanwhile, it is set again.
 * KeyUpdate works both ways: the client's is answered when it asks for that; ours goes out before a key has sealed
 * more records than its cipher allows.
 * Implements RFC 8446 sections 5 (records, limits), 4.6.3 (KeyUpdate), 6 (alerts), 7.1 to 7.3 (keys).
 * Ownership: the caller owns records; they borrow the ciphers of the loop, which must outlive them. Secrets are
 * wiped as soon as they are not needed.
 * Errors: what breaks the protocol ends in TLS_OPENED_FAILED with the alert to send; nothing may be opened after.
 * Thread rule: on the loop of the ciphers. */
#ifndef TIDE_BASE_HTTP_TLS_RECORDS_H
#define TIDE_BASE_HTTP_TLS_RECORDS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

enum {
    TLS_SECRET_MAX = 48,                    /* SHA-384 */
    TLS_RECORD_HEAD = 5,                    /* bytes */
    TLS_RECORD_PLAIN_MAX = 16384,           /* bytes of content */
    TLS_RECORD_MORE = TLS_RECORD_HEAD + 17, /* bytes that sealing adds: head, type, tag */
    TLS_RECORD_CIPHER_MAX = 16384 + 256,    /* bytes after the head */
    TLS_KEY_RECORDS = 1 << 24,              /* sealed with one key; AES-GCM's limit is 2^24.5 (5.5) */
    TLS_EMPTY_RECORDS = 32,                 /* without content, one after another */
};

enum tls_content { TLS_CONTENT_ALERT = 21, TLS_CONTENT_HANDSHAKE = 22, TLS_CONTENT_DATA = 23 };

enum tls_alert {
    TLS_ALERT_CLOSE_NOTIFY = 0,
    TLS_ALERT_UNEXPECTED_MESSAGE = 10,
    TLS_ALERT_BAD_RECORD_MAC = 20,
    TLS_ALERT_RECORD_OVERFLOW = 22,
    TLS_ALERT_ILLEGAL_PARAMETER = 47,
    TLS_ALERT_DECODE_ERROR = 50,
};

/* Application traffic secrets of both sides, as OpenSSL's key log tells them. */
struct tls_secrets {
    uint8_t client[TLS_SECRET_MAX], server[TLS_SECRET_MAX];
    uint8_t client_n, server_n; /* bytes; 0: not told yet */
};
bool tls_secrets_take(struct tls_secrets *s, const char *line); /* false: another line, passed over */

/* The cipher contexts of a loop. */
struct tls_ciphers;
struct tls_ciphers *tls_ciphers_new(void);
void tls_ciphers_free(struct tls_ciphers *c);

struct tls_records;

/* suite: 0x1301 to 0x1303. written: records that the server has sealed with its first application key (tickets).
 * NULL when the suite is another or a secret lacks or does not fit it. */
struct tls_records *tls_records_new(struct tls_ciphers *c, uint16_t suite, const struct tls_secrets *secrets,
                                    uint64_t written);
void tls_records_free(struct tls_records *r); /* NULL allowed */

enum tls_opened {
    TLS_OPENED_MORE = 0,       /* all input is taken, no record is whole */
    TLS_OPENED_DATA = 1,       /* *n bytes of content are in out; *n may be 0 */
    TLS_OPENED_KEY_UPDATE = 2, /* the client has new keys; tls_records_reply tells whether it asks for ours */
    TLS_OPENED_CLOSED = 3,     /* close_notify, or an alert: the client sends no more */
    TLS_OPENED_FAILED = 4,     /* send tls_records_alert and close */
};
/* Takes the bytes of one record from *in (or keeps what is not one yet). out: TLS_RECORD_PLAIN_MAX + 1 bytes. */
enum tls_opened tls_records_open(struct tls_records *r, struct str *in, char *out, size_t *n);
bool tls_records_reply(const struct tls_records *r);           /* after KEY_UPDATE */
enum tls_alert tls_records_alert(const struct tls_records *r); /* after FAILED */

/* One record of n <= TLS_RECORD_PLAIN_MAX bytes. out: n + TLS_RECORD_MORE bytes. Returns the bytes written. */
size_t tls_records_seal(struct tls_records *r, enum tls_content type, const void *p, size_t n, char *out);
/* A KeyUpdate (which asks for none) in out, and new keys from here on: TLS_RECORD_MORE + 5 bytes. */
size_t tls_records_update_key(struct tls_records *r, char *out);
bool tls_records_key_is_worn(const struct tls_records *r); /* update the key before sealing more */
/* The last record, TLS_RECORD_MORE + 2 bytes; 0 when there was one. */
size_t tls_records_seal_alert(struct tls_records *r, enum tls_alert alert, char *out);

#endif
