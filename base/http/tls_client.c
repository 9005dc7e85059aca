#include "base/http/tls_client.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#include "base/http/tls_cert.h"

int tls_clients_read(struct tls_clients *c, const char *ca_file, const char *const *names,
                     unsigned name_count, struct err *err)
{
    c->authorities = X509_STORE_new();
    c->authority_names = SSL_load_client_CA_file(ca_file);
    BUG_ON(!c->authorities);
    if (!c->authority_names || X509_STORE_load_file(c->authorities, ca_file) != 1) {
        return tls_err(err, ca_file, "no certificates of authorities");
    }
    c->names = calloc(name_count + 1, sizeof(*c->names));
    BUG_ON(!c->names);
    for (; c->name_count < name_count; c->name_count++) {
        c->names[c->name_count] = strdup(names[c->name_count]);
        BUG_ON(!c->names[c->name_count]);
    }
    return 0;
}

void tls_clients_clear(struct tls_clients *c)
{
    X509_STORE_free(c->authorities);
    sk_X509_NAME_pop_free(c->authority_names, X509_NAME_free);
    for (unsigned i = 0; i < c->name_count; i++) {
        free(c->names[i]);
    }
    free(c->names);
}

/* --- names ------------------------------------------------------------------------------------------ */

static bool is_text(const ASN1_STRING *s, const char *name)
{
    return str_is(str_of((const char *)ASN1_STRING_get0_data(s), (size_t)ASN1_STRING_length(s)), name);
}

static bool has_alternative(const GENERAL_NAMES *names, const char *name)
{
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *n = sk_GENERAL_NAME_value(names, i);
        if ((n->type == GEN_DNS || n->type == GEN_EMAIL || n->type == GEN_URI) && is_text(n->d.ia5, name)) {
            return true;
        }
    }
    return false;
}

static bool has_common_name(X509 *cert, const char *name)
{
    const X509_NAME *subject = X509_get_subject_name(cert);
    for (int i = -1; (i = X509_NAME_get_index_by_NID(subject, NID_commonName, i)) >= 0;) {
        if (is_text(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, i)), name)) {
            return true;
        }
    }
    return false;
}

static const char *name_of(const struct tls_clients *c, X509 *cert)
{
    GENERAL_NAMES *alternatives = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    const char *found = NULL;
    for (unsigned i = 0; i < c->name_count && !found; i++) {
        if (has_alternative(alternatives, c->names[i]) || has_common_name(cert, c->names[i])) {
            found = c->names[i];
        }
    }
    GENERAL_NAMES_free(alternatives);
    return found;
}

/* As OpenSSL does in a handshake. */
static bool is_signed_now(const struct tls_clients *c, SSL *ssl, X509 *cert)
{
    X509_STORE_CTX *store = X509_STORE_CTX_new();
    BUG_ON(!store);
    bool is_signed = X509_STORE_CTX_init(store, c->authorities, cert, SSL_get_peer_cert_chain(ssl)) == 1 &&
                     X509_STORE_CTX_set_default(store, "ssl_client") == 1;
    if (is_signed) {
        X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(store);
        X509_VERIFY_PARAM_set_auth_level(param, SSL_get_security_level(ssl));
        is_signed = X509_VERIFY_PARAM_set1(param, SSL_get0_param(ssl)) == 1 && X509_verify_cert(store) == 1;
    }
    X509_STORE_CTX_free(store);
    ERR_clear_error();
    return is_signed;
}

const char *tls_clients_name_now(const struct tls_clients *c, SSL *ssl)
{
    X509 *cert = SSL_get0_peer_certificate(ssl);
    return cert && c->authorities && is_signed_now(c, ssl, cert) ? name_of(c, cert) : NULL;
}

/* --- the handshake ---------------------------------------------------------------------------------- */

static int on_verify(X509_STORE_CTX *store, void *arg)
{
    const struct tls_clients *c = arg;
    if (X509_verify_cert(store) != 1) {
        return 0;
    }
    if (!name_of(c, X509_STORE_CTX_get0_cert(store))) {
        X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
        return 0;
    }
    return 1;
}

void tls_clients_require(const struct tls_clients *c, SSL_CTX *ctx)
{
    SSL_CTX_set1_cert_store(ctx, c->authorities);
    SSL_CTX_set_client_CA_list(ctx, SSL_dup_CA_list(c->authority_names));
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_cert_verify_callback(ctx, on_verify, (void *)(uintptr_t)c);
}
