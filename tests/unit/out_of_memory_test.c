/* Memory that runs out while a TLS connection is served. What base/ takes for itself in small fixed sizes aborts, and so
 * do nghttp2's allocations (h2_mem.c says why); OpenSSL's fail softly, and here the n-th does, for every n of a whole
 * connection: it ends or is answered, nothing leaks (the sanitizer looks), and the next one is served. */
#include "tests/unit/temp.h"

#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <sys/un.h>

#include "base/buf.h"
#include "base/http/server.h"

enum { GUARD_MS = 10000, CLEAN_EVERY = 8, MOST = 20000 };

/* --- allocations that fail ------------------------------------------------------------------------ */

static long countdown; /* the allocation that fails; 0: none, or it did */

static bool fails(void)
{
    return countdown > 0 && --countdown == 0;
}

static void *tls_malloc(size_t n, const char *file, int line)
{
    return fails() ? NULL : malloc(n);
}

static void *tls_realloc(void *p, size_t n, const char *file, int line)
{
    return fails() ? NULL : realloc(p, n);
}

static void tls_free(void *p, const char *file, int line)
{
    free(p);
}

/* --- the server ----------------------------------------------------------------------------------- */

static struct loop *loop;
static struct http_server *server;
static int live; /* requests that have not finished */

static void on_finish(struct http_exchange *ex, enum http_finish reason)
{
    live--;
}

static void on_body(struct http_exchange *ex, int rc, struct str body)
{
    assert_int_equal(rc, 0);
    http_reply(ex, 200, NULL, 0, body);
}

static void on_request(struct http_exchange *ex, void *arg)
{
    live++;
    ex->on_finish = on_finish;
    http_read_body(ex, 1000, on_body);
}

static struct http_listener *listener_open(struct tls_set *tls)
{
    struct http_listener_conf conf = {.name = "test", .unix_mode = 0600, .tls = true};
    struct err err;
    char text[150];
    snprintf(text, sizeof(text), "unix:%s", temp_path("tls.sock"));
    assert_int_equal(endpoint_parse(str_from(text), &conf.endpoint, &err), 0);
    struct http_listener *l = http_listener_open(&conf, 1, &err);
    assert_non_null(l);
    assert_int_equal(http_server_attach(server, l, 0, tls, NULL, &err), 0);
    return l;
}

/* --- the client: on the same loop, its own allocations never fail ----------------------------------- */

static const char request[] = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";

struct client {
    int fd;
    struct event readable;
    struct loop_timer guard;
    SSL *ssl;
    bool asked;
    struct buf answer;
    bool ended;
};

static bool is_whole(const struct buf *answer)
{
    return str_starts(buf_str(answer), STR("HTTP/1.1 200 ")) &&
           str_ends(buf_str(answer), STR("\r\n\r\nhello"));
}

static void take(struct client *c, ssize_t n, const char *piece)
{
    buf_add(&c->answer, piece, n > 0 ? (size_t)n : 0);
    if (n == 0 || is_whole(&c->answer)) {
        c->ended = true;
        event_del(&c->readable);
        loop_stop(loop);
    }
}

static ssize_t talk(struct client *c, char *piece, size_t n)
{
    int rc = SSL_do_handshake(c->ssl);
    if (rc == 1 && !c->asked) {
        c->asked = true;
        rc = SSL_write(c->ssl, request, sizeof(request) - 1);
    }
    if (rc > 0) {
        rc = SSL_read(c->ssl, piece, (int)n);
    }
    return rc > 0 ? rc : SSL_get_error(c->ssl, rc) == SSL_ERROR_WANT_READ ? -1 : 0;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct client *c = arg;
    char piece[4096];
    long kept = countdown;
    countdown = 0;
    take(c, talk(c, piece, sizeof(piece)), piece);
    countdown = kept;
}

static void on_guard(void *arg)
{
    fail_msg("a connection hangs");
}

static void end_turn(void *arg)
{
    loop_stop(loop);
}

static void client_start(struct client *c)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", temp_path("tls.sock"));
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(c->fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    buf_init(&c->answer, 1 << 20);
    event_assign(&c->readable, loop_event_base(loop), c->fd, EV_READ | EV_PERSIST, on_readable, c);
    event_add(&c->readable, NULL);
    loop_timer_init(loop, &c->guard, on_guard, c);
    loop_timer_arm(&c->guard, GUARD_MS);
    SSL_set_fd(c->ssl, c->fd);
    SSL_set_connect_state(c->ssl);
    SSL_do_handshake(c->ssl);
}

/* One connection during which the n-th allocation fails (0: none does). True when there was an n-th; the answer is then
 * whole or not, otherwise it is. */
static bool serve_one(SSL_CTX *ctx, long n)
{
    struct client c = {.ssl = SSL_new(ctx)};
    client_start(&c);
    countdown = n;
    while (!c.ended) {
        loop_run(loop);
    }
    bool reached = n > 0 && countdown == 0;
    countdown = 0;
    assert_true(reached || is_whole(&c.answer));
    SSL_free(c.ssl);
    close(c.fd);
    while (live > 0 || http_server_connections(server) > 0) {
        loop_call(loop, end_turn, NULL);
        loop_run(loop);
    }
    loop_timer_disarm(&c.guard);
    buf_clear(&c.answer);
    return reached;
}

static void every_allocation_fails_once(SSL_CTX *ctx)
{
    long n = 1;
    serve_one(ctx, 0); /* what is made once is made */
    while (serve_one(ctx, n)) {
        if (n % CLEAN_EVERY == 0) {
            serve_one(ctx, 0);
        }
        assert_true(++n < MOST);
    }
    assert_true(n > 100);
}

/* --- cases ---------------------------------------------------------------------------------------- */

static void write_certificate(const char *cert_file, const char *key_file)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    assert_true(key && cert);
    X509_gmtime_adj(X509_getm_notBefore(cert), 0);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_pubkey(cert, key);
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
    FILE *f = fopen(cert_file, "we");
    assert_true(f && PEM_write_X509(f, cert) == 1);
    fclose(f);
    f = fopen(key_file, "we");
    assert_true(f && fchmod(fileno(f), 0600) == 0);
    assert_int_equal(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL), 1);
    fclose(f);
    X509_free(cert);
    EVP_PKEY_free(key);
}

static void tls_connections(int version)
{
    const char *cert_file = temp_path("cert.pem"), *key_file = temp_path("key.pem");
    struct err err;
    write_certificate(cert_file, key_file);
    struct tls_cert_conf cert = {.cert_file = cert_file, .key_file = key_file};
    struct tls_set *tls = tls_set_new(&(struct tls_set_conf){.certs = &cert, .cert_count = 1}, &err);
    assert_non_null(tls);
    struct http_listener *l = listener_open(tls);
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_max_proto_version(ctx, version);
    every_allocation_fails_once(ctx);
    SSL_CTX_free(ctx);
    http_server_free(server);
    server = NULL;
    http_listener_close(l);
    tls_set_unref(tls);
}

static void tls_1_3_connections(void **state)
{
    tls_connections(TLS1_3_VERSION);
}

static void tls_1_2_connections(void **state)
{
    tls_connections(TLS1_2_VERSION);
}

/* Records of our own are off: their ciphers are small, fixed allocations, which abort. */
static int setup(void **state)
{
    static const struct http_handler handler = {.on_request = on_request};
    struct http_limits limits = http_limits_default;
    limits.own_records = false;
    loop = loop_new("memory", 0);
    server = http_server_new(loop, &limits, &handler);
    return 0;
}

static int teardown(void **state)
{
    http_server_free(server);
    loop_free(loop);
    return 0;
}

int main(void)
{
    if (CRYPTO_set_mem_functions(tls_malloc, tls_realloc, tls_free) != 1) {
        return 1;
    }
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(tls_1_3_connections, setup, teardown),
        cmocka_unit_test_setup_teardown(tls_1_2_connections, setup, teardown),
    };
    return cmocka_run_group_tests(tests, temp_make, temp_remove);
}
