#include "base/http/tls_cert.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pemerr.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PEM_MAX = 1 << 20, SECURITY_LEVEL = 2 };

int tls_err(struct err *err, const char *file, const char *what)
{
    char text[120];
    unsigned long code = ERR_peek_last_error();
    ERR_error_string_n(code, text, sizeof(text));
    ERR_clear_error();
    return err_set(err, ERR_INVALID, "%s: %s%s%s", file, what, code ? ": " : "", code ? text : "");
}

/* --- files ------------------------------------------------------------------------------------------ */

static int open_pem(const char *file, bool secret, BIO **out, struct err *err)
{
    struct stat st;
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
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

static int read_chain(const char *file, struct tls_cert *cert, struct err *err)
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
    if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE) { /* that is the end of the file */
        return tls_err(err, file, "a certificate of the chain cannot be read");
    }
    ERR_clear_error();
    return 0;
}

static enum tls_key_kind kind_of(const EVP_PKEY *key)
{
    switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_EC:
        return TLS_KEY_EC;
    case EVP_PKEY_RSA:
        return TLS_KEY_RSA;
    default:
        return TLS_KEY_OTHER;
    }
}

static int read_key(const char *file, struct tls_cert *cert, struct err *err)
{
    BIO *in;
    if (open_pem(file, true, &in, err) != 0) {
        return ERR_INVALID;
    }
    cert->key = PEM_read_bio_PrivateKey(in, NULL, no_password, NULL);
    BIO_free(in);
    if (!cert->key) {
        return tls_err(err, file, "no private key (encrypted ones are not read)");
    }
    if (X509_check_private_key(cert->leaf, cert->key) != 1) {
        return tls_err(err, file, "does not belong to the certificate");
    }
    cert->kind = kind_of(cert->key);
    return 0;
}

SSL_CTX *tls_probe_new(void)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    BUG_ON(!ctx);
    SSL_CTX_set_security_level(ctx, SECURITY_LEVEL);
    return ctx;
}

int tls_cert_read(const struct tls_cert_conf *conf, SSL_CTX *probe, struct tls_cert *out, struct err *err)
{
    struct tls_cert cert = {.leaf = NULL};
    int rc = read_chain(conf->cert_file, &cert, err);
    if (rc == 0) {
        rc = read_key(conf->key_file, &cert, err);
    }
    if (rc == 0 && !tls_cert_use_by_default(&cert, probe)) { /* what would fail at a handshake fails now */
        rc = tls_err(err, conf->cert_file, "refused by the TLS library");
    }
    if (rc != 0) {
        tls_cert_clear(&cert);
        return rc;
    }
    *out = cert;
    return 0;
}

void tls_cert_clear(struct tls_cert *c)
{
    X509_free(c->leaf);
    sk_X509_pop_free(c->chain, X509_free);
    EVP_PKEY_free(c->key);
}

/* --- using ------------------------------------------------------------------------------------------ */

int64_t tls_cert_expires_s(const struct tls_cert *c)
{
    struct tm tm;
    return ASN1_TIME_to_tm(X509_get0_notAfter(c->leaf), &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

bool tls_cert_use(const struct tls_cert *c, SSL *ssl)
{
    return SSL_use_cert_and_key(ssl, c->leaf, c->key, c->chain, 1) == 1;
}

bool tls_cert_use_by_default(const struct tls_cert *c, SSL_CTX *ctx)
{
    return SSL_CTX_use_cert_and_key(ctx, c->leaf, c->key, c->chain, 1) == 1;
}

void tls_cert_each_name(const struct tls_cert *c, void (*fn)(void *arg, struct str name), void *arg)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(c->leaf, NID_subject_alt_name, NULL, NULL);
    bool any = false;
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *n = sk_GENERAL_NAME_value(names, i);
        if (n->type == GEN_DNS) {
            any = true;
            fn(arg, str_of((const char *)ASN1_STRING_get0_data(n->d.dNSName),
                           (size_t)ASN1_STRING_length(n->d.dNSName)));
        }
    }
    GENERAL_NAMES_free(names);
    char text[256];
    if (!any &&
        X509_NAME_get_text_by_NID(X509_get_subject_name(c->leaf), NID_commonName, text, sizeof(text)) > 0) {
        fn(arg, str_from(text));
    }
}
