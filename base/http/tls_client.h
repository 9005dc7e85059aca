/* Certificates of clients (mutual TLS): who signed them, and which names are let in.
 *
 * A client whose certificate is missing, not signed by the CA, expired, not for clients, or without one of the names
 * is refused in the handshake. A name is compared whole: with the alternative names (DNS, e-mail, URI) and with the
 * subject's common name.
 * What a handshake has found ends with the next set: who asks for a client's name later has its certificate verified again.
 * Ownership: embedded in a tls_set; names are copied.
 * Thread rule: made on one thread, then only read. */
#ifndef TIDE_BASE_HTTP_TLS_CLIENT_H
#define TIDE_BASE_HTTP_TLS_CLIENT_H

#include <openssl/ssl.h>

#include "base/http/server.h"

struct tls_clients {
    X509_STORE *authorities; /* NULL: clients show nothing */
    STACK_OF(X509_NAME) * authority_names;
    char **names;
    unsigned name_count;
};

int tls_clients_read(struct tls_clients *c, const char *ca_file, const char *const *names,
                     unsigned name_count, struct err *err) TIDE_CHECK;
void tls_clients_clear(struct tls_clients *c);
void tls_clients_require(const struct tls_clients *c, SSL_CTX *ctx);
/* The first of the names that the client's certificate carries, when it would be let in now; or NULL. */
const char *tls_clients_name_now(const struct tls_clients *c, SSL *ssl);

#endif
