/* The way to a gateway: its unix socket, or TLS with a certificate of the operator's. Blocking. */
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/secret.h"
#include "gateway/ctl/ctl.h"

enum { HOST_MAX = 255, STEP_MS = 1000 };

struct ctl_channel {
    int fd;
    SSL *ssl; /* NULL: a unix socket */
    int64_t timeout_ms;
};

static int64_t timeout_of(const struct ctl *c)
{
    return c->timeout_ms > 0 ? c->timeout_ms : CTL_TIMEOUT_MS;
}

static void set_timeouts(const struct ctl *c, int fd)
{
    struct timeval limit = {.tv_sec = timeout_of(c) / 1000, .tv_usec = timeout_of(c) % 1000 * 1000};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

static int open_unix(const struct ctl *c, int *out)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t n = strlen(c->socket);
    if (n >= sizeof to.sun_path) {
        return ctl_usage(c, "--socket: the path is longer than a socket's can be");
    }
    memcpy(to.sun_path, c->socket, n + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0) {
        int why = errno;
        fprintf(stderr, "tidectl: %s: %s\n", c->socket, strerror(why));
        if (fd >= 0) {
            close(fd);
        }
        return why == EACCES || why == EPERM ? CTL_DENIED : CTL_UNREACHABLE;
    }
    set_timeouts(c, fd);
    *out = fd;
    return CTL_OK;
}

/* --- TLS -------------------------------------------------------------------------------------------- */

/* "https://HOST:PORT", HOST perhaps in brackets. */
static bool split(const char *server, char host[HOST_MAX + 1], const char **port)
{
    static const char scheme[] = "https://";
    struct str rest = str_from(server);
    if (!str_starts(rest, STR("https://"))) {
        return false;
    }
    rest = str_skip(rest, sizeof scheme - 1);
    const char *colon = strrchr(rest.p, ':');
    if (colon == NULL || colon == rest.p || colon[1] == '\0' || strchr(colon, '/') != NULL) {
        return false;
    }
    struct str name = str_of(rest.p, (size_t)(colon - rest.p));
    if (name.n > 2 && name.p[0] == '[' && name.p[name.n - 1] == ']') {
        name = str_of(name.p + 1, name.n - 2);
    }
    if (name.n > HOST_MAX) {
        return false;
    }
    memcpy(host, name.p, name.n);
    host[name.n] = '\0';
    *port = colon + 1;
    return true;
}

static int connect_tcp(const struct ctl *c, const char *host, const char *port, int *out)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *all = NULL;
    int rc = getaddrinfo(host, port, &hints, &all);
    int fd = -1;
    for (struct addrinfo *a = rc == 0 ? all : NULL; a != NULL && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0) {
            set_timeouts(c, fd);
        }
        if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
            rc = errno;
            close(fd);
            errno = rc;
            fd = -1;
        }
    }
    if (fd < 0) {
        fprintf(stderr, "tidectl: %s:%s: %s\n", host, port, all == NULL ? gai_strerror(rc) : strerror(errno));
    }
    if (all != NULL) {
        freeaddrinfo(all);
    }
    *out = fd;
    return fd >= 0 ? CTL_OK : CTL_UNREACHABLE;
}

static void say_tls(const char *what)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    fprintf(stderr, "tidectl: %s%s%s\n", what, reason != NULL ? ": " : "", reason != NULL ? reason : "");
}

static SSL_CTX *make_context(const struct ctl *c)
{
    struct err err = {0};
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (ctx == NULL || SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1) {
        say_tls("TLS");
    } else if (c->ca != NULL ? SSL_CTX_load_verify_file(ctx, c->ca) != 1
                             : SSL_CTX_set_default_verify_paths(ctx) != 1) {
        say_tls(c->ca != NULL ? c->ca : "the authorities of this machine");
    } else if (SSL_CTX_use_certificate_chain_file(ctx, c->cert) != 1) {
        say_tls(c->cert);
    } else if (secret_file_check(c->key, &err) != 0) {
        fprintf(stderr, "tidectl: %s\n", err.msg);
    } else if (SSL_CTX_use_PrivateKey_file(ctx, c->key, SSL_FILETYPE_PEM) != 1) {
        say_tls(c->key);
    } else {
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
        return ctx;
    }
    SSL_CTX_free(ctx);
    return NULL;
}

static bool name_server(SSL *ssl, const char *host)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    return X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1 ||
           (SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1);
}

static int shake_hands(const struct ctl *c, const char *host, struct ctl_channel *ch)
{
    SSL_CTX *ctx = make_context(c);
    if (ctx == NULL) {
        return CTL_FAILED;
    }
    ch->ssl = SSL_new(ctx);
    SSL_CTX_free(ctx); /* ssl holds it */
    if (ch->ssl == NULL || !name_server(ch->ssl, host) || SSL_set_fd(ch->ssl, ch->fd) != 1) {
        say_tls("TLS");
        return CTL_FAILED;
    }
    if (SSL_connect(ch->ssl) != 1) {
        long why = SSL_get_verify_result(ch->ssl);
        say_tls(why != X509_V_OK ? X509_verify_cert_error_string(why) : c->server);
        return why != X509_V_OK ? CTL_UNREACHABLE : CTL_DENIED;
    }
    return CTL_OK;
}

static int open_tls(const struct ctl *c, struct ctl_channel *ch)
{
    char host[HOST_MAX + 1];
    const char *port = NULL;
    if (!split(c->server, host, &port)) {
        return ctl_usage(c, "--server: https://HOST:PORT");
    }
    if (c->cert == NULL || c->key == NULL) {
        return ctl_usage(c, "--server wants --cert and --key: the certificate that you show");
    }
    int code = connect_tcp(c, host, port, &ch->fd);
    return code == CTL_OK ? shake_hands(c, host, ch) : code;
}

/* --- either ----------------------------------------------------------------------------------------- */

int ctl_channel_open(const struct ctl *c, struct ctl_channel **out)
{
    struct ctl_channel *ch = calloc(1, sizeof *ch);
    BUG_ON(ch == NULL);
    ch->fd = -1;
    ch->timeout_ms = timeout_of(c);
    int code = c->server != NULL ? open_tls(c, ch) : open_unix(c, &ch->fd);
    if (code != CTL_OK) {
        ctl_channel_close(ch);
        return code;
    }
    *out = ch;
    return CTL_OK;
}

void ctl_channel_close(struct ctl_channel *ch)
{
    SSL_free(ch->ssl);
    if (ch->fd >= 0) {
        close(ch->fd);
    }
    free(ch);
}

bool ctl_channel_write(struct ctl_channel *ch, struct str text)
{
    while (text.n > 0) {
        ssize_t n = ch->ssl != NULL ? SSL_write(ch->ssl, text.p, (int)text.n)
                                    : send(ch->fd, text.p, text.n, MSG_NOSIGNAL);
        if (n < 0 && ch->ssl == NULL && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        text = str_skip(text, (size_t)n);
    }
    return true;
}

/* With TLS 1.3 a server says only here what it thinks of the client's certificate. */
static ssize_t read_tls(struct ctl_channel *ch, char *room, int n)
{
    int got = SSL_read(ch->ssl, room, n);
    if (got > 0 || SSL_get_error(ch->ssl, got) == SSL_ERROR_ZERO_RETURN) {
        return got > 0 ? got : 0;
    }
    say_tls("the gateway refused");
    return -1;
}

/* Once a second while it waits; at the end the line goes away. */
static void tell_waited(int64_t ms, bool still)
{
    if (still) {
        ctl_progress("waiting for the gateway: %lld s", (long long)(ms / STEP_MS));
    } else if (ms >= STEP_MS) {
        ctl_progress("%s", "");
    }
}

/* Until something can be read, or nothing came for the whole timeout; tells a person how long it has been. */
static bool wait_readable(struct ctl_channel *ch)
{
    struct pollfd want = {.fd = ch->fd, .events = POLLIN};
    if (ch->ssl != NULL && SSL_has_pending(ch->ssl)) {
        return true;
    }
    for (int64_t waited_ms = 0; waited_ms < ch->timeout_ms; waited_ms += STEP_MS) {
        int64_t left_ms = ch->timeout_ms - waited_ms;
        int rc = poll(&want, 1, (int)(left_ms < STEP_MS ? left_ms : STEP_MS));
        if (rc > 0) {
            tell_waited(waited_ms, false);
            return true;
        }
        if (rc < 0 && errno != EINTR) {
            return false;
        }
        tell_waited(waited_ms + STEP_MS, true);
    }
    tell_waited(ch->timeout_ms, false);
    errno = ETIMEDOUT;
    return false;
}

ssize_t ctl_channel_read(struct ctl_channel *ch, char *room, size_t n)
{
    ssize_t got;
    if (!wait_readable(ch)) {
        return -1;
    }
    do {
        got = ch->ssl != NULL ? read_tls(ch, room, (int)n) : read(ch->fd, room, n);
    } while (got < 0 && ch->ssl == NULL && errno == EINTR);
    return got;
}
