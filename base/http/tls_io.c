/* TLS on a connection: OpenSSL between a BIO of ours and the protocol, until the handshake is over.
 *
 *     recv -> server->tls_in -> [BIO read] SSL_read | tls_records_open -> server->plain -> conn_feed
 *     conn->out -> SSL_write [BIO write] | tls_records_seal -> server->stage -> one send
 *
 * With TLS 1.3 the records behind the handshake are ours (tls_records.h): OpenSSL asks its BIO for one record at a
 * time, so that nothing of the client's data is inside it when its object goes. With TLS 1.2, with a client that
 * showed a certificate, and with `tls_own_records: false` OpenSSL stays.
 * The BIO never blocks on writing: what it is given is staged, and conn.c sends the stage once per turn. Raw
 * bytes of a recv are always digested whole: what is not a whole record yet waits inside OpenSSL. */
#include <openssl/err.h>
#include <pthread.h>

#include "base/http/conn.h"
#include "base/http/tls_records.h"

/* What is known only while the handshake lasts. */
struct tls_handshake {
    bool hello_seen;
    bool is_finished; /* the server's Finished is out: what follows is under its application key */
    uint32_t hello_bytes, hello_records; /* until the hello was seen */
    uint64_t written;                    /* records since is_finished */
    struct tls_secrets secrets;
};

enum { MINUTE_MS = 60000 };

/* --- the BIO -------------------------------------------------------------------------------------- */

static int bio_read(BIO *b, char *out, int n)
{
    struct conn *c = BIO_get_data(b);
    struct http_server *s = c->server;
    BIO_clear_retry_flags(b);
    if (s->tls_in_n == 0) {
        BIO_set_retry_read(b);
        return -1;
    }
    size_t take = (size_t)n < s->tls_in_n ? (size_t)n : s->tls_in_n;
    memcpy(out, s->tls_in, take);
    s->tls_in += take;
    s->tls_in_n -= take;
    return (int)take;
}

static int bio_write(BIO *b, const char *p, int n)
{
    struct conn *c = BIO_get_data(b);
    struct http_server *s = c->server;
    BIO_clear_retry_flags(b);
    if ((size_t)n > CONN_STAGE_BYTES - s->stage_n) {
        conn_add_pending(c, s->stage, s->stage_n); /* a chain of certificates past all measure */
        s->stage_n = 0;
        conn_add_pending(c, p, (size_t)n);
        return n;
    }
    memcpy(s->stage + s->stage_n, p, (size_t)n);
    s->stage_n += (size_t)n;
    return n;
}

static long bio_ctrl(BIO *b, int cmd, long num, void *ptr)
{
    return cmd == BIO_CTRL_FLUSH || cmd == BIO_CTRL_DUP;
}

static int bio_create(BIO *b)
{
    BIO_set_init(b, 1);
    return 1;
}

static BIO_METHOD *bio_method; /* one of the process, never freed */
static pthread_once_t bio_once = PTHREAD_ONCE_INIT;

static void make_bio_method(void)
{
    bio_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "tide");
    BUG_ON(!bio_method);
    BIO_meth_set_read(bio_method, bio_read);
    BIO_meth_set_write(bio_method, bio_write);
    BIO_meth_set_ctrl(bio_method, bio_ctrl);
    BIO_meth_set_create(bio_method, bio_create);
}

/* --- life ----------------------------------------------------------------------------------------- */

static void refuse(struct conn *c, const char *reason)
{
    if (c->state == CONN_HANDSHAKE) {
        http_count_handshake("refused");
    }
    http_count_closed(reason);
    conn_die(c, HTTP_FINISH_PROTOCOL);
}

/* The first ClientHello tells what kind of client this is; one after a HelloRetryRequest adds nothing. OpenSSL
 * reads it after us and refuses what is malformed. */
static void on_hello(struct conn *c, struct str message)
{
    if (c->handshake->hello_seen) {
        return;
    }
    c->handshake->hello_seen = true;
    if (message.n > c->server->limits.hello_bytes) {
        refuse(c, "tls_hello_bytes");
        return;
    }
    int rc = ja4_of_hello(message, &c->ja4);
    if (rc == ERR_LIMIT || c->ja4.extensions > c->server->limits.hello_extensions) {
        refuse(c, "tls_hello_lists");
    } else if (server_refuses_client(c->server, &c->peer, str_from(c->ja4.text))) {
        refuse(c, "banned");
    }
}

/* After the handshake a client may ask for new keys, or for another handshake, for ever and at our cost. */
static void on_later_message(struct conn *c)
{
    const struct http_limits *limits = &c->server->limits;
    uint64_t now = loop_now_ms(c->server->loop);
    if (now - c->key_minute_ms >= MINUTE_MS) {
        c->key_minute_ms = now;
        c->key_updates_in_minute = 0;
    }
    if (++c->key_updates > limits->key_updates || ++c->key_updates_in_minute > limits->key_updates_per_min) {
        refuse(c, "tls_key_updates");
    }
}

static void on_key_log(const SSL *ssl, const char *line)
{
    struct conn *c = SSL_get_app_data(ssl);
    if (c->handshake && tls_secrets_take(&c->handshake->secrets, line)) {
        SSL_CTX_set_keylog_callback(SSL_get_SSL_CTX(ssl), NULL);
    }
}

/* OpenSSL tells secrets of a handshake digit by digit through sprintf, a twelfth of all that a handshake costs. The two
 * that count come right behind the Finished of either side: only there it is asked, until one was told. */
static void ask_for_secret(struct conn *c)
{
    if (c->server->limits.own_records) {
        SSL_CTX_set_keylog_callback(SSL_get_SSL_CTX(c->ssl), on_key_log);
    }
}

static bool is_finished_message(int type, const uint8_t *p, size_t n)
{
    return type == SSL3_RT_HANDSHAKE && n > 0 && *p == SSL3_MT_FINISHED;
}

static void on_written(struct conn *c, int type, const uint8_t *p, size_t n)
{
    struct tls_handshake *h = c->handshake;
    if (type == SSL3_RT_HEADER) {
        h->written += h->is_finished;
    } else if (is_finished_message(type, p, n)) {
        h->is_finished = true;
        ask_for_secret(c);
    }
}

/* What OpenSSL is about to look at, or has written. type 0 with SSL2_VERSION: a ClientHello in the form of SSL 2. */
static void on_message(int is_written, int version, int type, const void *p, size_t n, SSL *ssl, void *arg)
{
    struct conn *c = arg;
    struct tls_handshake *h = c->handshake;
    if (is_written && h) {
        on_written(c, type, p, n);
    }
    if (is_written || c->state == CONN_DEAD) {
        return;
    }
    if (type == SSL3_RT_HEADER && h && !h->hello_seen) {
        if (++h->hello_records > c->server->limits.hello_records) {
            refuse(c, "tls_hello_records");
        }
    } else if (type == 0 && version == SSL2_VERSION) {
        refuse(c, "tls_hello_ssl2");
    } else if (type == SSL3_RT_HANDSHAKE && c->state == CONN_OPEN) {
        on_later_message(c);
    } else if (type == SSL3_RT_HANDSHAKE && n > 0 && *(const uint8_t *)p == SSL3_MT_CLIENT_HELLO) {
        on_hello(c, str_of(p, n));
    } else if (h && is_finished_message(type, p, n)) {
        ask_for_secret(c);
    }
}

/* A hello that on_message has refused ends here, before any key is made for it. */
int tls_on_client_hello(SSL *ssl, int *alert, void *arg)
{
    const struct conn *c = SSL_get_app_data(ssl);
    *alert = SSL_AD_HANDSHAKE_FAILURE;
    return c->state == CONN_DEAD ? SSL_CLIENT_HELLO_ERROR : SSL_CLIENT_HELLO_SUCCESS;
}

bool tls_has_hello(const struct conn *c)
{
    return c->handshake && c->handshake->hello_seen;
}

/* OpenSSL collects a hello of 128 KiB before it shows it to us: so bytes are counted as they come. */
static bool hello_fits(struct conn *c, size_t n)
{
    struct tls_handshake *h = c->handshake;
    bool fits = h->hello_seen || h->hello_bytes <= c->server->limits.hello_bytes;
    h->hello_bytes += (uint32_t)n;
    if (!fits) {
        refuse(c, "tls_hello_bytes");
    }
    return fits;
}

int tls_open(struct conn *c)
{
    pthread_once(&bio_once, make_bio_method);
    c->handshake = calloc(1, sizeof(*c->handshake));
    BUG_ON(!c->handshake);
    c->ssl = SSL_new(c->at->ssl_ctx);
    BIO *bio = BIO_new(bio_method);
    if (!c->ssl || !bio || SSL_set_app_data(c->ssl, c) != 1) {
        BIO_free(bio);
        return ERR_NOMEM;
    }
    BIO_set_data(bio, c);
    SSL_set_bio(c->ssl, bio, bio);
    SSL_set_accept_state(c->ssl);
    SSL_set_msg_callback(c->ssl, on_message);
    SSL_set_msg_callback_arg(c->ssl, c);
    return 0;
}

static void forget_handshake(struct conn *c)
{
    if (c->handshake) {
        OPENSSL_cleanse(c->handshake, sizeof(*c->handshake));
        free(c->handshake);
        c->handshake = NULL;
    }
}

static void forget_ssl(struct conn *c)
{
    SSL_free(c->ssl);
    c->ssl = NULL;
}

void tls_close(struct conn *c)
{
    forget_handshake(c);
    forget_ssl(c);
    tls_records_free(c->records);
    c->records = NULL;
}

/* From here on records are ours, where they can be. */
static void take_over(struct conn *c)
{
    const SSL_CIPHER *cipher = SSL_get_current_cipher(c->ssl);
    if (c->server->limits.own_records && SSL_version(c->ssl) == TLS1_3_VERSION &&
        !SSL_get0_peer_certificate(c->ssl) && !SSL_has_pending(c->ssl)) {
        c->records = tls_records_new(c->server->ciphers, SSL_CIPHER_get_protocol_id(cipher),
                                     &c->handshake->secrets, c->handshake->written);
    }
    if (c->records) {
        http_count_own_records();
        forget_ssl(c);
    }
    forget_handshake(c);
}

static void fail(struct conn *c, const char *outcome)
{
    ERR_clear_error();
    if (c->state == CONN_HANDSHAKE) {
        http_count_handshake(outcome);
    }
    conn_die(c, HTTP_FINISH_CLIENT_GONE);
}

static void handshake(struct conn *c)
{
    int rc = SSL_do_handshake(c->ssl);
    if (c->state == CONN_DEAD) { /* by on_message */
        ERR_clear_error();
        return;
    }
    if (rc != 1) {
        if (SSL_get_error(c->ssl, rc) != SSL_ERROR_WANT_READ) {
            fail(c, "failed");
        }
        return;
    }
    http_count_handshake(SSL_session_reused(c->ssl) ? "resumed" : "full");
    const unsigned char *alpn;
    unsigned n;
    SSL_get0_alpn_selected(c->ssl, &alpn, &n);
    if (n == 2 && memcmp(alpn, "h2", 2) == 0 && h2_open(c) != 0) {
        conn_die(c, HTTP_FINISH_ABORTED);
        return;
    }
    conn_handshake_done(c); /* a server that drains sends it away at once, in the words of its protocol */
    take_over(c);
}

/* --- reading -------------------------------------------------------------------------------------- */

static void end_of_input(struct conn *c)
{
    c->at_eof = true;
    conn_die(c, c->exchanges ? HTTP_FINISH_CLIENT_GONE : HTTP_FINISH_DONE);
}

static void on_key_update(struct conn *c)
{
    struct http_server *s = c->server;
    on_later_message(c);
    if (c->state == CONN_OPEN && tls_records_reply(c->records)) {
        s->stage_n += tls_records_update_key(c->records, s->stage + s->stage_n);
    }
}

static void open_all(struct conn *c)
{
    struct http_server *s = c->server;
    struct str in = str_of(s->tls_in, s->tls_in_n);
    while (in.n > 0 && c->state == CONN_OPEN) {
        size_t n;
        switch (tls_records_open(c->records, &in, s->plain, &n)) {
        case TLS_OPENED_MORE:
            break;
        case TLS_OPENED_DATA:
            conn_feed(c, str_of(s->plain, n));
            break;
        case TLS_OPENED_KEY_UPDATE:
            on_key_update(c);
            break;
        case TLS_OPENED_CLOSED:
            end_of_input(c);
            break;
        case TLS_OPENED_FAILED:
            s->stage_n +=
                tls_records_seal_alert(c->records, tls_records_alert(c->records), s->stage + s->stage_n);
            http_count_closed("tls_record");
            fail(c, "failed");
            break;
        }
    }
}

static void read_all(struct conn *c)
{
    struct http_server *s = c->server;
    while (c->state == CONN_OPEN) {
        int n = SSL_read(c->ssl, s->plain, CONN_RAW_BYTES);
        if (n > 0) {
            conn_feed(c, str_of(s->plain, (size_t)n));
            continue;
        }
        int why = SSL_get_error(c->ssl, n);
        if (why == SSL_ERROR_ZERO_RETURN) {
            end_of_input(c);
        } else if (why != SSL_ERROR_WANT_READ) {
            fail(c, "failed");
        }
        return;
    }
}

void tls_receive(struct conn *c, const char *p, size_t n)
{
    struct http_server *s = c->server;
    s->tls_in = p;
    s->tls_in_n = n;
    s->stage_n = 0;
    if (c->state == CONN_HANDSHAKE && hello_fits(c, n)) {
        handshake(c);
    }
    if (c->records) {
        open_all(c);
    } else {
        read_all(c);
    }
    s->tls_in_n = 0;
    if (s->stage_n > 0) {
        conn_add_pending(c, s->stage, s->stage_n);
        s->stage_n = 0;
    }
}

/* --- writing -------------------------------------------------------------------------------------- */

static bool write_record(struct conn *c, struct str content)
{
    struct http_server *s = c->server;
    if (!c->records) {
        return SSL_write(c->ssl, content.p, (int)content.n) > 0;
    }
    if (tls_records_key_is_worn(c->records)) {
        s->stage_n += tls_records_update_key(c->records, s->stage + s->stage_n);
    }
    s->stage_n += tls_records_seal(c->records, TLS_CONTENT_DATA, content.p, content.n, s->stage + s->stage_n);
    return true;
}

static void say_close(struct conn *c)
{
    struct http_server *s = c->server;
    if (c->records) {
        s->stage_n += tls_records_seal_alert(c->records, TLS_ALERT_CLOSE_NOTIFY, s->stage + s->stage_n);
    } else {
        SSL_shutdown(c->ssl);
    }
}

/* Up to four records into the stage; conn.c sends it. */
void tls_flush(struct conn *c)
{
    struct http_server *s = c->server;
    if (c->state != CONN_OPEN) {
        return;
    }
    for (int i = 0; i < CONN_TURN_RECORDS && c->out.n > 0; i++) {
        struct str front = outq_front(&c->out);
        if (!write_record(c, front)) {
            fail(c, "failed");
            return;
        }
        outq_consume(&c->out, &s->pool, front.n);
    }
    const struct exchange *last = c->h1.close_after ? c->h1.ex : NULL;
    if (c->out.n == 0 && ((c->close_when_sent && !c->exchanges) || (last && last->ended))) {
        say_close(c); /* goes with the last bytes */
    }
}

void tls_release_buffers(struct conn *c)
{
    if (c->ssl) {
        SSL_free_buffers(c->ssl);
    }
}
