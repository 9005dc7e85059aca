/* Stateless session tickets (RFC 5077 4, RFC 8446 4.6.1): keys that all gateways of a fleet share, or one that this
 * process makes for itself.
 *
 * The first key seals, all open: so previous keys still resume, and so does the next one, which other gateways may
 * use already. A ticket under any other key costs a full handshake, nothing more. A ticket opened by a key that is
 * not the first is renewed.
 * Ownership: embedded in a tls_set; secrets are cleansed.
 * Thread rule: made on one thread, then only read. */
#ifndef TIDE_BASE_HTTP_TLS_TICKET_H
#define TIDE_BASE_HTTP_TLS_TICKET_H

#include <openssl/ssl.h>

#include "base/http/server.h"

struct tls_ticket_key;

struct tls_tickets {
    struct tls_ticket_key *keys;
    unsigned count;
    EVP_CIPHER *cipher; /* fetched once */
};

/* keys: TLS_TICKET_KEY_BYTES each; count 0: a key of this process, the same at every call. */
void tls_tickets_init(struct tls_tickets *t, const uint8_t *keys, unsigned count);
void tls_tickets_clear(struct tls_tickets *t);
/* What SSL_CTX_set_tlsext_ticket_key_evp_cb wants, less the SSL. */
int tls_tickets_on_ticket(const struct tls_tickets *t, unsigned char *name, unsigned char *iv,
                          EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int seal);

#endif
