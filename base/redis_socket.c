#include "base/redis_socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <unistd.h>

/* --- TLS ------------------------------------------------------------------------------------------ */

static SSL_CTX *tls_refused(SSL_CTX *ctx, const char *field, const char *path, struct err *err)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    (void)err_set(err, ERR_INVALID, "tls.%s: %s: %s", field, path, reason ? reason : "refused");
    ERR_clear_error();
    SSL_CTX_free(ctx);
    return NULL;
}

SSL_CTX *redis_tls_new(const struct redis_tls_conf *conf, struct err *err)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    BUG_ON(!ctx || SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    if (conf->ca_file ? SSL_CTX_load_verify_file(ctx, conf->ca_file) != 1
                      : SSL_CTX_set_default_verify_paths(ctx) != 1) {
        return tls_refused(ctx, "ca_file", conf->ca_file ? conf->ca_file : "the system's", err);
    }
    if (conf->cert_file && SSL_CTX_use_certificate_chain_file(ctx, conf->cert_file) != 1) {
        return tls_refused(ctx, "cert_file", conf->cert_file, err);
    }
    if (conf->key_file && (SSL_CTX_use_PrivateKey_file(ctx, conf->key_file, SSL_FILETYPE_PEM) != 1 ||
                           SSL_CTX_check_private_key(ctx) != 1)) {
        return tls_refused(ctx, "key_file", conf->key_file, err);
    }
    return ctx;
}

static bool tls_open(struct redis_socket *s, SSL_CTX *ctx, const char *name)
{
    s->ssl = SSL_new(ctx);
    if (!s->ssl || SSL_set_fd(s->ssl, s->fd) != 1) {
        return false;
    }
    struct addr literal;
    SSL_set_connect_state(s->ssl);
    if (addr_parse(str_from(name), &literal)) {
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(s->ssl), name) == 1;
    }
    SSL_set_hostflags(s->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(s->ssl, name) == 1 && SSL_set_tlsext_host_name(s->ssl, name) == 1;
}

static const char *tls_why(const struct redis_socket *s, int error)
{
    long verify = SSL_get_verify_result(s->ssl);
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    ERR_clear_error();
    if (verify != X509_V_OK) {
        return X509_verify_cert_error_string(verify);
    }
    if (reason) {
        return reason;
    }
    return error == SSL_ERROR_SYSCALL && errno != 0 ? strerror(errno) : "TLS: closed by the server";
}

/* What a call into OpenSSL that moved nothing means. */
static ssize_t tls_later(const struct redis_socket *s, int rc, const char **why)
{
    int error = SSL_get_error(s->ssl, rc);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
        return REDIS_SOCKET_LATER;
    }
    if (error == SSL_ERROR_ZERO_RETURN) {
        return 0;
    }
    *why = tls_why(s, error);
    return REDIS_SOCKET_ERROR;
}

/* --- life ----------------------------------------------------------------------------------------- */

bool redis_socket_dial(struct redis_socket *s, const struct endpoint *to, SSL_CTX *tls, const char *name,
                       const char **why)
{
    *s = (struct redis_socket){.fd = socket(to->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    if (s->fd < 0) {
        *why = strerror(errno);
        return false;
    }
    if (to->sa.ss_family != AF_UNIX) {
        int on = 1;
        setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        setsockopt(s->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    }
    *why = NULL;
    if (tls && !tls_open(s, tls, name)) {
        *why = "TLS: out of memory, or a name that is none";
    } else if (connect(s->fd, (const struct sockaddr *)&to->sa, to->sa_len) != 0 && errno != EINPROGRESS) {
        *why = strerror(errno);
    }
    if (*why) {
        redis_socket_close(s);
    }
    return !*why;
}

enum redis_socket_want redis_socket_advance(struct redis_socket *s, const char **why)
{
    if (!s->connected) {
        int error = 0;
        socklen_t n = sizeof(error);
        if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &n) != 0 || error != 0) {
            *why = strerror(error ? error : errno);
            return REDIS_SOCKET_FAILED;
        }
        s->connected = true;
    }
    if (!s->ssl) {
        return REDIS_SOCKET_OPEN;
    }
    errno = 0;
    ERR_clear_error();
    int rc = SSL_do_handshake(s->ssl);
    if (rc == 1) {
        return REDIS_SOCKET_OPEN;
    }
    int error = SSL_get_error(s->ssl, rc);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
        return error == SSL_ERROR_WANT_READ ? REDIS_SOCKET_READ : REDIS_SOCKET_WRITE;
    }
    *why = tls_why(s, error);
    return REDIS_SOCKET_FAILED;
}

ssize_t redis_socket_recv(struct redis_socket *s, char *p, size_t n, const char **why)
{
    if (s->ssl) {
        errno = 0;
        ERR_clear_error();
        int got = SSL_read(s->ssl, p, (int)n);
        return got > 0 ? got : tls_later(s, got, why);
    }
    ssize_t got = recv(s->fd, p, n, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return REDIS_SOCKET_LATER;
    }
    if (got < 0) {
        *why = strerror(errno);
        return REDIS_SOCKET_ERROR;
    }
    return got;
}

ssize_t redis_socket_send(struct redis_socket *s, const char *p, size_t n, const char **why)
{
    if (s->ssl) {
        errno = 0;
        ERR_clear_error();
        int put = SSL_write(s->ssl, p, n < 1 << 30 ? (int)n : 1 << 30);
        if (put > 0) {
            return put;
        }
        ssize_t later = tls_later(s, put, why);
        if (later == 0) {
            *why = "closed by the server";
            return REDIS_SOCKET_ERROR;
        }
        return later;
    }
    ssize_t put = send(s->fd, p, n, MSG_NOSIGNAL);
    if (put < 0 && (errno == EAGAIN || errno == EINTR)) {
        return REDIS_SOCKET_LATER;
    }
    if (put < 0) {
        *why = strerror(errno);
        return REDIS_SOCKET_ERROR;
    }
    return put;
}

void redis_socket_close(struct redis_socket *s)
{
    SSL_free(s->ssl); /* NULL is allowed */
    s->ssl = NULL;
    if (s->fd >= 0) {
        close(s->fd);
        s->fd = -1;
    }
    s->connected = false;
}
