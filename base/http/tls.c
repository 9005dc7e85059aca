/* struct tls_set: certificates, tickets and clients of listeners; and the SSL_CTX that a loop makes of it.
 *
 * One SSL_CTX a loop holds what all names share and the certificates of the first one; on_certificate gives a
 * connection others when its server name has others. So a thousand names cost a thousand certificates, not a
 * thousand contexts on every loop. */
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/http/server_impl.h"
#include "base/http/tls_cert.h"
#include "base/http/tls_client.h"
#include "base/http/tls_names.h"
#include "base/http/tls_ticket.h"

enum { TICKET_LIFE_S = 43200 };

struct tls_set {
    atomic_uint refs;
    struct tls_cert *certs;
    unsigned cert_count;
    struct tls_names *names;
    struct tls_choice fallback; /* without a server name, or with one that is not here */
    struct tls_tickets tickets;
    struct tls_clients clients;
    int64_t expires_s;
    bool http2;
};

/* --- the set -------------------------------------------------------------------------------------- */

static void set_free(struct tls_set *s)
{
    for (unsigned i = 0; i < s->cert_count; i++) {
        tls_cert_clear(&s->certs[i]);
    }
    tls_names_free(s->names);
    tls_tickets_clear(&s->tickets);
    tls_clients_clear(&s->clients);
    free(s->certs);
    free(s);
}

struct naming {
    struct tls_set *set;
    unsigned cert;
};

static void add_name(void *arg, struct str name)
{
    const struct naming *n = arg;
    tls_names_add(n->set->names, name, n->set->certs[n->cert].kind, (uint16_t)n->cert);
}

/* The first certificate, and for clients that cannot use it one of another kind for one of its names. */
static void add_to_fallback(void *arg, struct str name)
{
    struct tls_set *s = arg;
    struct tls_choice other;
    for (int kind = 0; tls_names_find(s->names, name, &other) && kind < TLS_KEY_KINDS; kind++) {
        s->fallback.cert[kind] = s->fallback.cert[kind] ? s->fallback.cert[kind] : other.cert[kind];
    }
}

static int read_certs(struct tls_set *s, const struct tls_cert_conf *certs, unsigned count, struct err *err)
{
    s->expires_s = INT64_MAX;
    s->names = tls_names_new();
    s->certs = calloc(count, sizeof(*s->certs));
    BUG_ON(!s->certs);
    SSL_CTX *probe = tls_probe_new();
    int rc = 0;
    for (unsigned i = 0; i < count && (rc = tls_cert_read(&certs[i], probe, &s->certs[i], err)) == 0; i++) {
        s->cert_count++;
        tls_cert_each_name(&s->certs[i], add_name, &(struct naming){.set = s, .cert = i});
        int64_t expires = tls_cert_expires_s(&s->certs[i]);
        s->expires_s = expires < s->expires_s ? expires : s->expires_s;
    }
    SSL_CTX_free(probe);
    if (rc != 0) {
        return rc;
    }
    s->fallback.cert[s->certs[0].kind] = 1;
    tls_cert_each_name(&s->certs[0], add_to_fallback, s);
    return 0;
}

struct tls_set *tls_set_new(const struct tls_set_conf *conf, struct err *err)
{
    if (conf->cert_count == 0 || conf->cert_count > TLS_CERTS_MAX ||
        conf->ticket_key_count > TLS_TICKET_KEYS_MAX) {
        err_set(err, ERR_LIMIT, "1 to %d certificates and at most %d ticket keys", TLS_CERTS_MAX,
                TLS_TICKET_KEYS_MAX);
        return NULL;
    }
    struct tls_set *s = calloc(1, sizeof(*s));
    BUG_ON(!s);
    s->refs = 1;
    s->http2 = conf->http2;
    tls_tickets_init(&s->tickets, conf->ticket_keys, conf->ticket_key_count);
    int rc = read_certs(s, conf->certs, conf->cert_count, err);
    if (rc == 0 && conf->client_ca_file) {
        rc = tls_clients_read(&s->clients, conf->client_ca_file, conf->client_names, conf->client_name_count,
                              err);
    }
    if (rc != 0) {
        set_free(s);
        return NULL;
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

static const struct tls_set *set_of(const SSL *ssl)
{
    return SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
}

/* Clients of TLS 1.3 use a ticket once (RFC 8446 C.4): who resumes is given another one, which OpenSSL does for 2. */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                     EVP_MAC_CTX *mac, int seal)
{
    int rc = tls_tickets_on_ticket(&set_of(ssl)->tickets, name, iv, cipher, mac, seal);
    return rc == 1 && !seal && SSL_version(ssl) >= TLS1_3_VERSION ? 2 : rc;
}

/* The name was understood, whatever certificate it gets. */
static int on_server_name(SSL *ssl, int *alert, void *arg)
{
    return SSL_TLSEXT_ERR_OK;
}

/* Full handshakes only, once the hello is known: OpenSSL then takes the kind of key that the client can verify. */
static int on_certificate(SSL *ssl, void *arg)
{
    const struct tls_set *s = arg;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    struct tls_choice choice;
    if (!name || !tls_names_find(s->names, str_from(name), &choice) ||
        memcmp(&choice, &s->fallback, sizeof(choice)) == 0) {
        return 1;
    }
    SSL_certs_clear(ssl);
    for (int kind = 0; kind < TLS_KEY_KINDS; kind++) {
        if (choice.cert[kind] > 0 && !tls_cert_use(&s->certs[choice.cert[kind] - 1], ssl)) {
            return 0;
        }
    }
    return 1;
}

const char *tls_client_name(SSL *ssl, const SSL_CTX *now)
{
    const struct tls_set *s = SSL_CTX_get_app_data(now);
    return tls_clients_name_now(&s->clients, ssl);
}

/* --- contexts ------------------------------------------------------------------------------------- */

static int set_index = -1; /* of the reference that a context holds to its set */
static pthread_once_t set_once = PTHREAD_ONCE_INIT;

static void drop_set(void *parent, void *p, CRYPTO_EX_DATA *ad, int index, long argl, void *argp)
{
    tls_set_unref(p);
}

static void make_set_index(void)
{
    set_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, drop_set);
    BUG_ON(set_index < 0);
}

static bool set_strength(SSL_CTX *ctx)
{
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(ctx, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_security_level(ctx, 2);
    return SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 &&
           SSL_CTX_set_cipher_list(ctx, "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
                                        "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
                                        "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305") == 1 &&
           SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
                                         "TLS_CHACHA20_POLY1305_SHA256") == 1 &&
           SSL_CTX_set1_groups_list(ctx, "X25519:P-256") == 1 && /* a P-256 share costs a third more */
           SSL_CTX_set1_sigalgs_list(ctx, "ecdsa_secp256r1_sha256:ecdsa_secp384r1_sha384:"
                                          "ecdsa_secp521r1_sha512:ed25519:rsa_pss_rsae_sha256:"
                                          "rsa_pss_rsae_sha384:rsa_pss_rsae_sha512:rsa_pkcs1_sha256:"
                                          "rsa_pkcs1_sha384:rsa_pkcs1_sha512") == 1;
}

static bool set_certificates(SSL_CTX *ctx, const struct tls_set *s)
{
    for (int kind = 0; kind < TLS_KEY_KINDS; kind++) {
        unsigned n = s->fallback.cert[kind];
        if (n > 0 && !tls_cert_use_by_default(&s->certs[n - 1], ctx)) {
            return false;
        }
    }
    return true;
}

static void set_sessions(SSL_CTX *ctx, const struct tls_set *s)
{
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"tidegate", 8);
    if (s->clients.authorities) { /* who resumes shows no certificate: so nobody resumes */
        SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
        SSL_CTX_set_num_tickets(ctx, 0);
        tls_clients_require(&s->clients, ctx);
        return;
    }
    SSL_CTX_set_timeout(ctx, TICKET_LIFE_S);
    SSL_CTX_set_num_tickets(ctx, 1);
    SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket);
}

SSL_CTX *tls_set_context(struct tls_set *s, struct err *err)
{
    pthread_once(&set_once, make_set_index);
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (!ctx || !set_strength(ctx) || !set_certificates(ctx, s)) {
        tls_err(err, "certificate", "refused by the TLS library");
        SSL_CTX_free(ctx);
        return NULL;
    }
    SSL_CTX_set_app_data(ctx, s);
    SSL_CTX_set_ex_data(ctx, set_index, tls_set_ref(s));
    set_sessions(ctx, s);
    SSL_CTX_set_alpn_select_cb(ctx, on_alpn, s);
    SSL_CTX_set_client_hello_cb(ctx, tls_on_client_hello, NULL);
    SSL_CTX_set_tlsext_servername_callback(ctx, on_server_name);
    SSL_CTX_set_cert_cb(ctx, on_certificate, s);
    return ctx;
}
