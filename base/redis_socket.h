/* The socket of a Redis connection, with or without TLS. Part of base/redis. It never waits and has no timers.
 *
 *     closed --dial--> connecting --redis_socket_advance (when readable or writable)--> open --close--> closed
 *
 * TLS: 1.2 or later, the server's certificate is checked against the CA and against a name (SNI and host name) or
 * an address. The process ignores SIGPIPE.
 * Errors: a text that says why, good until the next call; NULL: none.
 * Thread rule: its loop's thread. */
#ifndef TIDE_BASE_REDIS_SOCKET_H
#define TIDE_BASE_REDIS_SOCKET_H

#include <openssl/ssl.h>
#include <stdbool.h>

#include "base/addr.h"
#include "base/err.h"

struct redis_tls_conf {
    const char *ca_file;     /* NULL: the system's authorities */
    const char *cert_file;   /* client certificate, or NULL */
    const char *key_file;    /* of it; 0600 */
    const char *server_name; /* NULL: the host of the address */
};
SSL_CTX *redis_tls_new(const struct redis_tls_conf *conf, struct err *err); /* NULL: refused */

struct redis_socket {
    int fd;         /* -1: closed */
    SSL *ssl;       /* NULL: plain */
    bool connected; /* TCP is; TLS may still shake hands */
};

enum redis_socket_want {
    REDIS_SOCKET_OPEN = 0, /* nothing: it is open */
    REDIS_SOCKET_READ = 1, /* call again when readable */
    REDIS_SOCKET_WRITE = 2,
    REDIS_SOCKET_FAILED = 3,
};

enum { REDIS_SOCKET_LATER = -1, REDIS_SOCKET_ERROR = -2 };

/* tls NULL: plain. name: what the certificate must be for. */
bool redis_socket_dial(struct redis_socket *s, const struct endpoint *to, SSL_CTX *tls, const char *name,
                       const char **why);
enum redis_socket_want redis_socket_advance(struct redis_socket *s, const char **why);
/* Bytes moved; 0 (receive): closed by the server; or one of the two negative values. */
ssize_t redis_socket_recv(struct redis_socket *s, char *p, size_t n, const char **why);
ssize_t redis_socket_send(struct redis_socket *s, const char *p, size_t n, const char **why);
void redis_socket_close(struct redis_socket *s);

#endif
