/* A certificate with its chain and key, read from PEM files. Not which one a client gets: tls_names.h.
 *
 * Ownership: tls_cert_read fills what tls_cert_clear frees.
 * Errors: name the file. A key that others can read, that is encrypted, or that belongs to another certificate is
 * refused; so is what OpenSSL's security level 2 calls weak (RSA below 2048 bits, a chain signed with SHA-1).
 * Thread rule: any thread; a read certificate is only read. */
#ifndef TIDE_BASE_HTTP_TLS_CERT_H
#define TIDE_BASE_HTTP_TLS_CERT_H

#include <openssl/ssl.h>

#include "base/http/server.h"

/* A client is given the kind that its signature algorithms allow. */
enum tls_key_kind { TLS_KEY_EC = 0, TLS_KEY_RSA = 1, TLS_KEY_OTHER = 2, TLS_KEY_KINDS = 3 };

struct tls_cert {
    X509 *leaf;
    STACK_OF(X509) * chain; /* without the leaf */
    EVP_PKEY *key;
    enum tls_key_kind kind;
};

/* probe: a context of tls_probe_new, which tries each certificate out; one serves for all of them. */
int tls_cert_read(const struct tls_cert_conf *conf, SSL_CTX *probe, struct tls_cert *out,
                  struct err *err) TIDE_CHECK;
SSL_CTX *tls_probe_new(void);
void tls_cert_clear(struct tls_cert *c);
int64_t tls_cert_expires_s(const struct tls_cert *c); /* notAfter, Unix seconds */
bool tls_cert_use(const struct tls_cert *c, SSL *ssl);
bool tls_cert_use_by_default(const struct tls_cert *c, SSL_CTX *ctx);
/* Calls fn for each DNS name that it is for: of its alternative names, or of its subject when it has none. */
void tls_cert_each_name(const struct tls_cert *c, void (*fn)(void *arg, struct str name), void *arg);

int tls_err(struct err *err, const char *file, const char *what); /* ERR_INVALID, with OpenSSL's reason */

#endif
