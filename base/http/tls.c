/* Certificates, keys and tickets: struct tls_set, and the SSL_CTX that a loop makes of it. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/http/server_impl.h"

enum { CERTS_MAX = 64, TICKET_KEYS_MAX = 8, TICKET_LIFE_S = 43200, PEM_MAX = 1 << 20 };

/* Key of stateless tickets (RFC 5077 4): its public name, then the secrets. */
struct ticket_key {
    uint8_t name[16];
    uint8_t aes[32];
    uint8_t hmac[32];
};

struct cert {
    X509 *leaf;
    STACK_OF(X509) * chain;
    EVP_PKEY *key;
};

struct tls_set {
    atomic_uint refs;
    struct cert *certs;
    unsigned cert_count;
    struct ticket_key *tickets; /* the first seals, all open */
    unsigned ticket_count;
    EVP_CIPHER *aes;
    int64_t expires_s;
    bool http2;
};

/* What hangs on the default SSL_CTX of a loop: the other certificates' contexts, and the set they come from. */
struct context_extra {
    struct tls_set *set;
    SSL_CTX **others; /* cert_count - 1 */
};

static int tls_err(struct err *err, const char *file, const char *what)
{
    char text[120];
    unsigned long code = ERR_peek_last_error();
    ERR_error_string_n(code, text, sizeof(text));
    ERR_clear_error();
    return err_set(err, ERR_INVALID, "%s: %s%s%s", file, what, code ? ": " : "", code ? text : "");
}

/* --- files ---------------------------------------------------------------------------------------- */

static int open_pem(const char *file, bool secret, BIO **out, struct err *err)
{
    struct stat st;
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        int code = errno;
        if (fd >= 0) {
            close(fd);
        }
        return err_set(err, ERR_IO, "%s: %s", file, strerror(code));
    }
    FILE *f = NULL;
    if (!S_ISREG(st.st_mode) || st.st_size > PEM_MAX) {
        err_set(err, ERR_INVALID, "%s: not a PEM file", file);
    } else if (secret && (st.st_mode & 077)) {
        err_set(err, ERR_DENIED, "%s: others can read this key; chmod 600", file);
    } else if ((f = fdopen(fd, "r"))) {
        *out = BIO_new_fp(f, BIO_CLOSE);
        BUG_ON(!*out);
        return 0;
    }
    close(fd);
    return ERR_INVALID;
}

static int no_password(char *buf, int size, int for_writing, void *arg)
{
    return 0;
}

static int read_chain(const char *file, struct cert *cert, struct err *err)
{
    BIO *in;
    if (open_pem(file, false, &in, err) != 0) {
        return ERR_INVALID;
    }
    cert->leaf = PEM_read_bio_X509(in, NULL, no_password, NULL);
    cert->chain = sk_X509_new_null();
    X509 *next;
    while (cert->leaf && (next = PEM_read_bio_X509(in, NULL, no_password, NULL))) {
        sk_X509_push(cert->chain, next);
    }
    BIO_free(in);
    if (!cert->leaf) {
        return tls_err(err, file, "no certificate");
    }
    ERR_clear_error(); /* the end of the file */
    return 0;
}

static int read_cert(const struct tls_cert_conf *conf, struct cert *cert, struct err *err)
{
    BIO *in;
    if (read_chain(conf->cert_file, cert, err) != 0 || open_pem(conf->key_file, true, &in, err) != 0) {
        return ERR_INVALID;
    }
    cert->key = PEM_read_bio_PrivateKey(in, NULL, no_password, NULL);
    BIO_free(in);
    if (!cert->key) {
        return tls_err(err, conf->key_file, "no private key (encrypted ones are not read)");
    }
    if (X509_check_private_key(cert->leaf, cert->key) != 1) {
        return tls_err(err, conf->key_file, "does not belong to the certificate");
    }
    return 0;
}

static int64_t not_after_s(const X509 *cert)
{
    struct tm tm;
    return ASN1_TIME_to_tm(X509_get0_notAfter(cert), &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

/* --- the set -------------------------------------------------------------------------------------- */

static void set_free(struct tls_set *s)
{
    for (unsigned i = 0; i < s->cert_count; i++) {
        X509_free(s->certs[i].leaf);
        sk_X509_pop_free(s->certs[i].chain, X509_free);
        EVP_PKEY_free(s->certs[i].key);
    }
    OPENSSL_clear_free(s->tickets, s->ticket_count * sizeof(*s->tickets));
    EVP_CIPHER_free(s->aes);
    free(s->certs);
    free(s);
}

static void set_tickets(struct tls_set *s, const uint8_t *keys, unsigned count)
{
    s->ticket_count = count ? count : 1;
    s->tickets = OPENSSL_malloc(s->ticket_count * sizeof(*s->tickets));
    BUG_ON(!s->tickets);
    if (count > 0) {
        memcpy(s->tickets, keys, count * sizeof(*s->tickets));
    } else {
        id_random(s->tickets, sizeof(*s->tickets));
    }
}

struct tls_set *tls_set_new(const struct tls_cert_conf *certs, unsigned count, const uint8_t *ticket_keys,
                            unsigned ticket_key_count, bool http2, struct err *err)
{
    if (count == 0 || count > CERTS_MAX || ticket_key_count > TICKET_KEYS_MAX) {
        err_set(err, ERR_LIMIT, "1 to %d certificates and at most %d ticket keys", CERTS_MAX,
                TICKET_KEYS_MAX);
        return NULL;
    }
    struct tls_set *s = calloc(1, sizeof(*s));
    BUG_ON(!s);
    s->refs = 1;
    s->http2 = http2;
    s->certs = calloc(count, sizeof(*s->certs));
    BUG_ON(!s->certs);
    s->cert_count = count;
    s->expires_s = INT64_MAX;
    s->aes = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
    BUG_ON(!s->aes);
    set_tickets(s, ticket_keys, ticket_key_count);
    for (unsigned i = 0; i < count; i++) {
        if (read_cert(&certs[i], &s->certs[i], err) != 0) {
            set_free(s);
            return NULL;
        }
        int64_t expires = not_after_s(s->certs[i].leaf);
        s->expires_s = expires < s->expires_s ? expires : s->expires_s;
    }
    return s;
}

struct tls_set *tls_set_ref(struct tls_set *s)
{
    atomic_fetch_add(&s->refs, 1);
    return s;
}

void tls_set_unref(struct tls_set *s)
{
    if (s && atomic_fetch_sub(&s->refs, 1) == 1) {
        set_free(s);
    }
}

int64_t tls_set_expires_s(const struct tls_set *s)
{
    return s->expires_s;
}

/* --- callbacks of a handshake --------------------------------------------------------------------- */

static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_n, const unsigned char *in,
                   unsigned in_n, void *arg)
{
    static const unsigned char both[] = "\x02h2\x08http/1.1";
    const struct tls_set *s = arg;
    unsigned skip = s->http2 ? 0 : 3;
    unsigned char *chosen;
    if (SSL_select_next_proto(&chosen, out_n, both + skip, sizeof(both) - 1 - skip, in, in_n) !=
        OPENSSL_NPN_NEGOTIATED) {
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static const struct ticket_key *find_ticket_key(const struct tls_set *s, const uint8_t name[16])
{
    for (unsigned i = 0; i < s->ticket_count; i++) {
        if (memcmp(s->tickets[i].name, name, 16) == 0) {
            return &s->tickets[i];
        }
    }
    return NULL;
}

/* 0: unknown key, a full handshake; 1: fine; 2: fine, but give the client a ticket under the newer key. */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                     EVP_MAC_CTX *mac, int seal)
{
    const struct tls_set *s = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    const struct ticket_key *key = &s->tickets[0];
    if (seal) {
        id_random(iv, 16);
        memcpy(name, key->name, 16);
    } else {
        key = find_ticket_key(s, name);
        if (!key) {
            return 0;
        }
    }
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)(uintptr_t)key->hmac,
                                          sizeof(key->hmac)),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)(uintptr_t) "SHA256", 0),
        OSSL_PARAM_construct_end(),
    };
    if (EVP_CipherInit_ex2(cipher, s->aes, key->aes, iv, seal, NULL) != 1 ||
        EVP_MAC_CTX_set_params(mac, params) != 1) {
        return -1;
    }
    return key == &s->tickets[0] ? 1 : 2;
}

static int extra_index = -1;
static pthread_once_t extra_once = PTHREAD_ONCE_INIT;

static int on_server_name(SSL *ssl, int *alert, void *arg)
{
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    const struct context_extra *extra = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), extra_index);
    if (!name || !extra) {
        return SSL_TLSEXT_ERR_OK;
    }
    for (unsigned i = 0; i < extra->set->cert_count; i++) {
        if (X509_check_host(extra->set->certs[i].leaf, name, 0, 0, NULL) == 1) {
            if (i > 0) {
                SSL_set_SSL_CTX(ssl, extra->others[i - 1]);
            }
            break;
        }
    }
    return SSL_TLSEXT_ERR_OK;
}

/* --- contexts ------------------------------------------------------------------------------------- */

static void extra_free(void *parent, void *p, CRYPTO_EX_DATA *ad, int index, long argl, void *argp)
{
    struct context_extra *extra = p;
    if (!extra) {
        return;
    }
    for (unsigned i = 0; i + 1 < extra->set->cert_count; i++) {
        SSL_CTX_free(extra->others[i]);
    }
    tls_set_unref(extra->set);
    free(extra->others);
    free(extra);
}

static void make_extra_index(void)
{
    extra_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, extra_free);
    BUG_ON(extra_index < 0);
}

static bool set_strength(SSL_CTX *ctx)
{
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(ctx, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    return SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 &&
           SSL_CTX_set_cipher_list(ctx, "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
                                        "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
                                        "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305") == 1 &&
           SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
                                         "TLS_CHACHA20_POLY1305_SHA256") == 1 &&
           SSL_CTX_set1_groups_list(ctx, "X25519:P-256") == 1; /* a P-256 share costs a third more */
}

static SSL_CTX *context_new(struct tls_set *set, const struct cert *cert)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (!ctx || !set_strength(ctx) ||
        SSL_CTX_use_cert_and_key(ctx, cert->leaf, cert->key, cert->chain, 1) != 1) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    SSL_CTX_set_app_data(ctx, set);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"tidegate", 8);
    SSL_CTX_set_timeout(ctx, TICKET_LIFE_S);
    SSL_CTX_set_num_tickets(ctx, 1);
    SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket);
    SSL_CTX_set_alpn_select_cb(ctx, on_alpn, set);
    SSL_CTX_set_client_hello_cb(ctx, tls_on_client_hello, NULL);
    return ctx;
}

SSL_CTX *tls_set_context(struct tls_set *set, struct err *err)
{
    pthread_once(&extra_once, make_extra_index);
    SSL_CTX *ctx = context_new(set, &set->certs[0]);
    if (!ctx) {
        tls_err(err, "certificate", "refused by the TLS library");
        return NULL;
    }
    struct context_extra *extra = calloc(1, sizeof(*extra));
    BUG_ON(!extra);
    extra->set = tls_set_ref(set);
    extra->others = calloc(set->cert_count, sizeof(*extra->others));
    BUG_ON(!extra->others);
    SSL_CTX_set_ex_data(ctx, extra_index, extra);
    SSL_CTX_set_tlsext_servername_callback(ctx, on_server_name);
    for (unsigned i = 1; i < set->cert_count; i++) {
        extra->others[i - 1] = context_new(set, &set->certs[i]);
        if (!extra->others[i - 1]) {
            tls_err(err, "certificate", "refused by the TLS library");
            SSL_CTX_free(ctx);
            return NULL;
        }
    }
    return ctx;
}
