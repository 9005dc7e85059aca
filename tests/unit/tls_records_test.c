/* Records against the published trace (RFC 8448 section 3), and against OpenSSL's client: its handshake is with OpenSSL's
 * server, whose object is then thrown away as tls_io.c does. */
#include "tests/unit/unit.h"

#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/http/tls_records.h"

enum { PLAIN = TLS_RECORD_PLAIN_MAX + 1, SEALED = TLS_RECORD_PLAIN_MAX + TLS_RECORD_MORE };

static struct tls_ciphers *ciphers;
static char plain[PLAIN];
static char sealed[SEALED];

static int setup(void **state)
{
    (void)state;
    ciphers = tls_ciphers_new();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    tls_ciphers_free(ciphers);
    return 0;
}

/* --- the published trace -------------------------------------------------------------------------- */

static const char trace_client[] =
    "CLIENT_TRAFFIC_SECRET_0 cb34ecb1e78163ba1c38c6dacb196a6dffa21a8d9912ec18a2ef6283024dece7 "
    "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5";
static const char trace_server[] =
    "SERVER_TRAFFIC_SECRET_0 cb34ecb1e78163ba1c38c6dacb196a6dffa21a8d9912ec18a2ef6283024dece7 "
    "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643";
/* 00 to 31 from the client, its first record; then its close_notify */
static const uint8_t trace_data[] = {
    0x17, 0x03, 0x03, 0x00, 0x43, 0xa2, 0x3f, 0x70, 0x54, 0xb6, 0x2c, 0x94, 0xd0, 0xaf, 0xfa,
    0xfe, 0x82, 0x28, 0xba, 0x55, 0xcb, 0xef, 0xac, 0xea, 0x42, 0xf9, 0x14, 0xaa, 0x66, 0xbc,
    0xab, 0x3f, 0x2b, 0x98, 0x19, 0xa8, 0xa5, 0xb4, 0x6b, 0x39, 0x5b, 0xd5, 0x4a, 0x9a, 0x20,
    0x44, 0x1e, 0x2b, 0x62, 0x97, 0x4e, 0x1f, 0x5a, 0x62, 0x92, 0xa2, 0x97, 0x70, 0x14, 0xbd,
    0x1e, 0x3d, 0xea, 0xe6, 0x3a, 0xee, 0xbb, 0x21, 0x69, 0x49, 0x15, 0xe4,
};
static const uint8_t trace_close[] = {
    0x17, 0x03, 0x03, 0x00, 0x13, 0xc9, 0x87, 0x27, 0x60, 0x65, 0x56, 0x66,
    0xb7, 0x4d, 0x7f, 0xf1, 0x15, 0x3e, 0xfd, 0x6d, 0xb6, 0xd0, 0xb0, 0xe3,
};

static struct tls_records *trace_records(void)
{
    struct tls_secrets s = {0};
    tls_secrets_take(&s, trace_client);
    tls_secrets_take(&s, trace_server);
    struct tls_records *r = tls_records_new(ciphers, 0x1301, &s, 0);
    assert_non_null(r);
    return r;
}

static struct str bytes(const uint8_t *p, size_t n)
{
    return str_of((const char *)p, n);
}

static void test_the_published_trace_opens(void **state)
{
    (void)state;
    struct tls_records *r = trace_records();
    struct str in = bytes(trace_data, sizeof(trace_data));
    size_t n;
    assert_int_equal(tls_records_open(r, &in, plain, &n), TLS_OPENED_DATA);
    assert_int_equal(n, 50);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(plain[i], i);
    }
    assert_int_equal(in.n, 0);
    in = bytes(trace_close, sizeof(trace_close));
    assert_int_equal(tls_records_open(r, &in, plain, &n), TLS_OPENED_CLOSED);
    tls_records_free(r);
}

static void test_secrets_are_read_strictly(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "CLIENT_TRAFFIC_SECRET_0 00 "
        "9E40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5", /* capital */
        "CLIENT_TRAFFIC_SECRET_0 00 9e4",
        "CLIENT_TRAFFIC_SECRET_0 ",
        "CLIENT_TRAFFIC_SECRET_0 00 ",
        "CLIENT_HANDSHAKE_TRAFFIC_SECRET 00 "
        "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5",
        ""};
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct tls_secrets s = {0};
        tls_secrets_take(&s, lines[i]);
        assert_int_equal(s.client_n, 0);
    }
    struct tls_secrets s = {0};
    tls_secrets_take(&s, trace_client);
    assert_null(tls_records_new(ciphers, 0x1301, &s, 0)); /* one side lacks */
    tls_secrets_take(&s, trace_server);
    assert_null(tls_records_new(ciphers, 0x1302, &s, 0)); /* too short for SHA-384 */
    assert_null(tls_records_new(ciphers, 0x1304, &s, 0)); /* not offered */
}

static void test_every_changed_bit_is_found(void **state)
{
    (void)state;
    for (size_t i = 0; i < 8 * sizeof(trace_data); i++) {
        if (i / 8 == 3 || i / 8 == 4) {
            continue; /* the length: below */
        }
        uint8_t bad[sizeof(trace_data)];
        memcpy(bad, trace_data, sizeof(bad));
        bad[i / 8] ^= (uint8_t)(1u << i % 8);
        struct tls_records *r = trace_records();
        struct str in = bytes(bad, sizeof(bad));
        size_t n;
        assert_int_equal(tls_records_open(r, &in, plain, &n), TLS_OPENED_FAILED);
        assert_int_equal(tls_records_alert(r),
                         i < 8 ? TLS_ALERT_UNEXPECTED_MESSAGE : TLS_ALERT_BAD_RECORD_MAC);
        tls_records_free(r);
    }
}

static void test_a_record_opens_however_it_is_cut(void **state)
{
    (void)state;
    for (size_t cut = 0; cut <= sizeof(trace_data); cut++) {
        struct tls_records *r = trace_records();
        char *copy = malloc(sizeof(trace_data)); /* on the heap: reads past the end show */
        assert_non_null(copy);
        size_t n;
        memcpy(copy, trace_data, cut);
        struct str in = str_of(copy, cut);
        enum tls_opened first = tls_records_open(r, &in, plain, &n);
        assert_int_equal(first, cut == sizeof(trace_data) ? TLS_OPENED_DATA : TLS_OPENED_MORE);
        assert_int_equal(in.n, 0);
        if (first == TLS_OPENED_MORE) {
            in = bytes(trace_data + cut, sizeof(trace_data) - cut);
            assert_int_equal(tls_records_open(r, &in, plain, &n), TLS_OPENED_DATA);
        }
        assert_int_equal(n, 50);
        free(copy);
        tls_records_free(r);
    }
}

/* The key and nonce of a direction are public knowledge here, so this writes what no client of a library would. */
static void assert_head_fails(const char *head, enum tls_alert alert)
{
    struct tls_records *r = trace_records();
    struct str in = str_of(head, TLS_RECORD_HEAD);
    size_t n;
    assert_int_equal(tls_records_open(r, &in, plain, &n), TLS_OPENED_FAILED);
    assert_int_equal(tls_records_alert(r), alert);
    tls_records_free(r);
}

static void test_heads_that_promise_nonsense_are_not_waited_for(void **state)
{
    (void)state;
    assert_head_fails("\x17\x03\x03\x41\x01", TLS_ALERT_RECORD_OVERFLOW);
    assert_head_fails("\x17\x03\x03\xff\xff", TLS_ALERT_RECORD_OVERFLOW);
    assert_head_fails("\x17\x03\x03\x00\x10", TLS_ALERT_BAD_RECORD_MAC);
    assert_head_fails("\x17\x03\x03\x00\x00", TLS_ALERT_BAD_RECORD_MAC);
    assert_head_fails("\x14\x03\x03\x00\x01", TLS_ALERT_UNEXPECTED_MESSAGE); /* change_cipher_spec */
    assert_head_fails("\x15\x03\x03\x00\x02", TLS_ALERT_UNEXPECTED_MESSAGE); /* an alert in the clear */
    assert_head_fails("\x16\x03\x01\x00\x20", TLS_ALERT_UNEXPECTED_MESSAGE); /* a hello */
    assert_head_fails("GET /", TLS_ALERT_UNEXPECTED_MESSAGE);
}

/* --- two of ours, for what a client's library would not send ---------------------------------------- */

struct both {
    struct tls_records *client, *server; /* the client's `out` is the server's `in` */
};

static struct both both_new(void)
{
    struct tls_secrets s = {0}, mirrored = {0};
    tls_secrets_take(&s, trace_client);
    tls_secrets_take(&s, trace_server);
    memcpy(mirrored.client, s.server, sizeof(s.server));
    memcpy(mirrored.server, s.client, sizeof(s.client));
    mirrored.client_n = mirrored.server_n = s.client_n;
    return (struct both){tls_records_new(ciphers, 0x1301, &mirrored, 0),
                         tls_records_new(ciphers, 0x1301, &s, 0)};
}

static void both_free(struct both *b)
{
    tls_records_free(b->client);
    tls_records_free(b->server);
}

static enum tls_opened pass(struct both *b, enum tls_content type, const char *p, size_t n)
{
    size_t got;
    struct str in = str_of(sealed, tls_records_seal(b->client, type, p, n, sealed));
    return tls_records_open(b->server, &in, plain, &got);
}

static void assert_passes_as(enum tls_content type, const char *p, size_t n, enum tls_alert alert)
{
    struct both b = both_new();
    assert_int_equal(pass(&b, type, p, n), TLS_OPENED_FAILED);
    assert_int_equal(tls_records_alert(b.server), alert);
    both_free(&b);
}

static void test_only_a_key_update_is_a_handshake_message_now(void **state)
{
    (void)state;
    assert_passes_as(TLS_CONTENT_HANDSHAKE, "\1\0\0\1\0", 5, TLS_ALERT_UNEXPECTED_MESSAGE); /* ClientHello */
    assert_passes_as(TLS_CONTENT_HANDSHAKE, "\x18\0\0\1\0\x18", 6,
                     TLS_ALERT_UNEXPECTED_MESSAGE); /* more behind */
    assert_passes_as(TLS_CONTENT_HANDSHAKE, "", 0, TLS_ALERT_UNEXPECTED_MESSAGE);
    assert_passes_as(TLS_CONTENT_HANDSHAKE, "\x18\0\0\2\0", 5, TLS_ALERT_DECODE_ERROR);
    assert_passes_as(TLS_CONTENT_HANDSHAKE, "\x18\0\0\1\2", 5, TLS_ALERT_ILLEGAL_PARAMETER);
    assert_passes_as(TLS_CONTENT_ALERT, "\1", 1, TLS_ALERT_DECODE_ERROR);
    assert_passes_as(TLS_CONTENT_ALERT, "\1\0\1\0", 4, TLS_ALERT_DECODE_ERROR);
    assert_passes_as((enum tls_content)20, "\1", 1, TLS_ALERT_UNEXPECTED_MESSAGE);
    assert_passes_as((enum tls_content)0, "\0\0", 2, TLS_ALERT_UNEXPECTED_MESSAGE); /* all padding */
}

static void test_a_key_update_may_come_in_pieces_with_nothing_between(void **state)
{
    (void)state;
    struct both b = both_new();
    assert_int_equal(pass(&b, TLS_CONTENT_HANDSHAKE, "\x18\0", 2), TLS_OPENED_DATA);
    assert_int_equal(pass(&b, TLS_CONTENT_HANDSHAKE, "\0\1\1", 3), TLS_OPENED_KEY_UPDATE);
    assert_true(tls_records_reply(b.server));
    both_free(&b);
    b = both_new();
    assert_int_equal(pass(&b, TLS_CONTENT_HANDSHAKE, "\x18\0", 2), TLS_OPENED_DATA);
    assert_int_equal(pass(&b, TLS_CONTENT_DATA, "x", 1), TLS_OPENED_FAILED);
    assert_int_equal(tls_records_alert(b.server), TLS_ALERT_UNEXPECTED_MESSAGE);
    both_free(&b);
}

static void test_empty_records_are_counted(void **state)
{
    (void)state;
    struct both b = both_new();
    for (int i = 0; i < TLS_EMPTY_RECORDS; i++) {
        assert_int_equal(pass(&b, TLS_CONTENT_DATA, "", 0), TLS_OPENED_DATA);
    }
    assert_int_equal(pass(&b, TLS_CONTENT_DATA, "x", 1), TLS_OPENED_DATA); /* starts the count anew */
    for (int i = 0; i < TLS_EMPTY_RECORDS; i++) {
        assert_int_equal(pass(&b, TLS_CONTENT_DATA, "", 0), TLS_OPENED_DATA);
    }
    assert_int_equal(pass(&b, TLS_CONTENT_DATA, "", 0), TLS_OPENED_FAILED);
    both_free(&b);
}

static void test_a_repeated_or_skipped_record_is_found(void **state)
{
    (void)state;
    struct both b = both_new();
    char second[64];
    size_t n = tls_records_seal(b.client, TLS_CONTENT_DATA, "one", 3, sealed);
    size_t second_n = tls_records_seal(b.client, TLS_CONTENT_DATA, "two", 3, second);
    size_t got;
    struct str in = str_of(second, second_n);
    assert_int_equal(tls_records_open(b.server, &in, plain, &got), TLS_OPENED_FAILED);
    both_free(&b);
    b = both_new();
    n = tls_records_seal(b.client, TLS_CONTENT_DATA, "one", 3, sealed);
    in = str_of(sealed, n);
    assert_int_equal(tls_records_open(b.server, &in, plain, &got), TLS_OPENED_DATA);
    in = str_of(sealed, n);
    assert_int_equal(tls_records_open(b.server, &in, plain, &got), TLS_OPENED_FAILED);
    both_free(&b);
}

static void test_a_key_wears_out_and_an_alert_is_the_last_word(void **state)
{
    (void)state;
    struct tls_secrets s = {0};
    tls_secrets_take(&s, trace_client);
    tls_secrets_take(&s, trace_server);
    struct tls_records *r = tls_records_new(ciphers, 0x1301, &s, TLS_KEY_RECORDS - 1);
    assert_false(tls_records_key_is_worn(r));
    tls_records_seal(r, TLS_CONTENT_DATA, "x", 1, sealed);
    assert_true(tls_records_key_is_worn(r));
    assert_int_equal(tls_records_update_key(r, sealed), 5 + TLS_RECORD_MORE);
    assert_false(tls_records_key_is_worn(r));
    assert_int_equal(tls_records_seal_alert(r, TLS_ALERT_CLOSE_NOTIFY, sealed), 2 + TLS_RECORD_MORE);
    assert_int_equal(tls_records_seal_alert(r, TLS_ALERT_CLOSE_NOTIFY, sealed), 0);
    tls_records_free(r);
}

/* --- OpenSSL's client ------------------------------------------------------------------------------- */

struct peer {
    SSL_CTX *server_ctx, *client_ctx;
    SSL *client;
    BIO *from_client, *to_client;
    struct tls_records *records;
};

static struct tls_secrets told;
static uint64_t written;
static bool is_finished;

static void on_key_log(const SSL *ssl, const char *line)
{
    (void)ssl;
    tls_secrets_take(&told, line);
}

static void on_message(int is_written, int version, int type, const void *p, size_t n, SSL *ssl, void *arg)
{
    (void)version, (void)ssl, (void)arg;
    if (is_written && type == SSL3_RT_HEADER) {
        written += is_finished;
    } else if (is_written && type == SSL3_RT_HANDSHAKE && n > 0 && *(const uint8_t *)p == SSL3_MT_FINISHED) {
        is_finished = true;
    }
}

static void use_new_certificate(SSL_CTX *ctx)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    assert_true(key && cert);
    X509_gmtime_adj(X509_getm_notBefore(cert), 0);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_pubkey(cert, key);
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
    assert_int_equal(SSL_CTX_use_cert_and_key(ctx, cert, key, NULL, 1), 1);
    X509_free(cert);
    EVP_PKEY_free(key);
}

static struct peer peer_new(const char *suite, int tickets)
{
    struct peer p = {.server_ctx = SSL_CTX_new(TLS_server_method()),
                     .client_ctx = SSL_CTX_new(TLS_client_method())};
    use_new_certificate(p.server_ctx);
    assert_int_equal(SSL_CTX_set_ciphersuites(p.client_ctx, suite), 1);
    SSL_CTX_set_min_proto_version(p.client_ctx, TLS1_3_VERSION);
    SSL_CTX_set_num_tickets(p.server_ctx, (size_t)tickets);
    SSL_CTX_set_keylog_callback(p.server_ctx, on_key_log);
    memset(&told, 0, sizeof(told));
    written = 0;
    is_finished = false;
    SSL *server = SSL_new(p.server_ctx);
    p.client = SSL_new(p.client_ctx);
    SSL_set_msg_callback(server, on_message);
    p.from_client = BIO_new(BIO_s_mem());
    p.to_client = BIO_new(BIO_s_mem());
    BIO_up_ref(p.from_client);
    BIO_up_ref(p.to_client);
    SSL_set_bio(server, p.from_client, p.to_client);
    BIO_up_ref(p.from_client);
    BIO_up_ref(p.to_client);
    SSL_set_bio(p.client, p.to_client, p.from_client);
    SSL_set_accept_state(server);
    SSL_set_connect_state(p.client);
    while (SSL_do_handshake(p.client) != 1 || SSL_do_handshake(server) != 1) {
        SSL_do_handshake(server);
    }
    assert_int_equal(written, tickets);
    uint16_t id = SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(server));
    p.records = tls_records_new(ciphers, id, &told, written);
    assert_non_null(p.records);
    SSL_free(server);
    return p;
}

static void peer_free(struct peer *p)
{
    tls_records_free(p->records);
    SSL_free(p->client);
    BIO_free(p->from_client);
    BIO_free(p->to_client);
    SSL_CTX_free(p->server_ctx);
    SSL_CTX_free(p->client_ctx);
}

static void to_client(struct peer *p, size_t n)
{
    assert_int_equal(BIO_write(p->to_client, sealed, (int)n), n);
}

/* Everything that the client has written: content is appended to *got, new keys are answered when it asks. */
static enum tls_opened take_all(struct peer *p, struct buf *got)
{
    char *raw;
    struct str in;
    in.n = (size_t)BIO_get_mem_data(p->from_client, &raw);
    in.p = raw;
    enum tls_opened last = TLS_OPENED_MORE;
    while (in.n > 0 && last != TLS_OPENED_FAILED) {
        size_t n;
        last = tls_records_open(p->records, &in, plain, &n);
        assert_int_equal(buf_add(got, plain, n), 0);
        if (last == TLS_OPENED_KEY_UPDATE && tls_records_reply(p->records)) {
            to_client(p, tls_records_update_key(p->records, sealed));
        }
    }
    (void)BIO_reset(p->from_client);
    return last;
}

static void echo(struct peer *p, size_t n)
{
    char *text = malloc(n + 1);
    char *back = malloc(n + 1);
    struct buf got;
    buf_init(&got, 1 << 20);
    assert_true(text && back);
    for (size_t i = 0; i < n; i++) {
        text[i] = (char)('a' + i % 23);
    }
    assert_int_equal(SSL_write(p->client, text, (int)n), n);
    take_all(p, &got);
    assert_int_equal(got.n, n);
    assert_memory_equal(got.p, text, n);
    for (size_t at = 0; at < n;) {
        size_t part = n - at < TLS_RECORD_PLAIN_MAX ? n - at : TLS_RECORD_PLAIN_MAX;
        to_client(p, tls_records_seal(p->records, TLS_CONTENT_DATA, got.p + at, part, sealed));
        at += part;
    }
    for (size_t at = 0; at < n;) {
        int k = SSL_read(p->client, back + at, (int)(n - at));
        assert_true(k > 0);
        at += (size_t)k;
    }
    assert_memory_equal(back, text, n);
    free(text);
    free(back);
    buf_clear(&got);
}

static size_t pad_to_512(SSL *ssl, int type, size_t n, void *arg)
{
    (void)ssl, (void)type, (void)arg;
    return n % 512 == 0 ? 0 : 512 - n % 512;
}

static void talk_to_openssl(const char *suite, int tickets)
{
    struct peer p = peer_new(suite, tickets);
    echo(&p, 1);
    echo(&p, 50000);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(
            SSL_key_update(p.client, i % 2 ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED), 1);
        echo(&p, 700);
        to_client(&p, tls_records_update_key(p.records, sealed)); /* unasked, as when a key is worn */
        echo(&p, 20000);
    }
    SSL_set_record_padding_callback(p.client, pad_to_512);
    echo(&p, 3);
    echo(&p, 16384);
    struct buf got;
    buf_init(&got, 100);
    SSL_shutdown(p.client);
    assert_int_equal(take_all(&p, &got), TLS_OPENED_CLOSED);
    to_client(&p, tls_records_seal_alert(p.records, TLS_ALERT_CLOSE_NOTIFY, sealed));
    assert_int_equal(SSL_shutdown(p.client), 1);
    peer_free(&p);
}

static void test_openssl_understands_us(void **state)
{
    (void)state;
    talk_to_openssl("TLS_AES_128_GCM_SHA256", 0);
    talk_to_openssl("TLS_AES_128_GCM_SHA256", 2);
    talk_to_openssl("TLS_AES_256_GCM_SHA384", 1);
    talk_to_openssl("TLS_CHACHA20_POLY1305_SHA256", 1);
}

/* One context serves them all: whoever comes must find its own key in it. */
static void test_connections_take_turns(void **state)
{
    (void)state;
    struct peer p[4];
    for (int i = 0; i < 4; i++) {
        p[i] = peer_new(i == 3 ? "TLS_AES_256_GCM_SHA384" : "TLS_AES_128_GCM_SHA256", 1);
    }
    for (int i = 0; i < 40; i++) {
        echo(&p[i * 7 % 4], (size_t)(1 + 100 * i));
    }
    for (int i = 0; i < 4; i++) {
        peer_free(&p[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_published_trace_opens),
        cmocka_unit_test(test_secrets_are_read_strictly),
        cmocka_unit_test(test_every_changed_bit_is_found),
        cmocka_unit_test(test_a_record_opens_however_it_is_cut),
        cmocka_unit_test(test_heads_that_promise_nonsense_are_not_waited_for),
        cmocka_unit_test(test_only_a_key_update_is_a_handshake_message_now),
        cmocka_unit_test(test_a_key_update_may_come_in_pieces_with_nothing_between),
        cmocka_unit_test(test_empty_records_are_counted),
        cmocka_unit_test(test_a_repeated_or_skipped_record_is_found),
        cmocka_unit_test(test_a_key_wears_out_and_an_alert_is_the_last_word),
        cmocka_unit_test(test_openssl_understands_us),
        cmocka_unit_test(test_connections_take_turns),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
