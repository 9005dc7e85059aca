/* The configuration of listeners and certificates: what every daemon that serves HTTP embeds in its own. */
#include "base/conf.h"
#include "base/http/server.h"

/* --- listeners ----------------------------------------------------------------------------------- */

static int check_listener(void *section, const char **field, struct err *err)
{
    struct http_listener_conf *l = section;
    if (!l->tls && !l->plaintext && !endpoint_is_local(&l->endpoint)) {
        *field = "plaintext";
        return err_set(err, ERR_INVALID, "plain HTTP beyond loopback has to be asked for: plaintext: true");
    }
    bool is_unix = l->endpoint.sa.ss_family == AF_UNIX;
    *field = "proxy_protocol_from";
    if (l->proxy_protocol && !is_unix && l->proxies.n == 0) {
        return err_set(err, ERR_INVALID, "who may send PROXY headers has to be said");
    }
    if (!l->proxy_protocol && l->proxies.n > 0) {
        return err_set(err, ERR_INVALID, "means nothing without proxy_protocol: true");
    }
    return 0;
}

static const struct conf_entry listener_entries[] = {
    {.name = "name",
     .type = CONF_STRING,
     CONF_FIELD(struct http_listener_conf, name),
     .preset = "public",
     .help = "For logs and metrics."},
    {.name = "address",
     .type = CONF_ENDPOINT,
     CONF_FIELD(struct http_listener_conf, endpoint),
     .flags = CONF_REQUIRED,
     .help = "\"0.0.0.0:443\", \"[::]:443\" or \"unix:/run/x.sock\"."},
    {.name = "tls",
     .type = CONF_BOOL,
     CONF_FIELD(struct http_listener_conf, tls),
     .preset = "true",
     .help = "HTTPS. Without it only on loopback and unix sockets, or with `plaintext`."},
    {.name = "plaintext",
     .type = CONF_BOOL,
     CONF_FIELD(struct http_listener_conf, plaintext),
     .preset = "false",
     .help = "Plain HTTP on an address that is not loopback is meant."},
    {.name = "http2",
     .type = CONF_BOOL,
     CONF_FIELD(struct http_listener_conf, http2),
     .preset = "true",
     .help = "HTTP/2 by ALPN, or by prior knowledge on plain listeners."},
    {.name = "hsts",
     .type = CONF_BOOL,
     CONF_FIELD(struct http_listener_conf, hsts),
     .preset = "true",
     .help = "Strict-Transport-Security on TLS answers."},
    {.name = "proxy_protocol",
     .type = CONF_BOOL,
     CONF_FIELD(struct http_listener_conf, proxy_protocol),
     .preset = "false",
     .help = "Every connection begins with a PROXY header (version 1 or 2) and is its source's. Without one "
             "it is closed."},
    {.name = "proxy_protocol_from",
     .type = CONF_PREFIXES,
     CONF_FIELD(struct http_listener_conf, proxies),
     .help = "Balancers that may connect to a listener with `proxy_protocol`; others are closed at once. A "
             "unix socket needs none."},
    {.name = "shards",
     .type = CONF_INT,
     CONF_FIELD(struct http_listener_conf, shards),
     .preset = "0",
     .max = 256,
     .help = "Listening sockets (SO_REUSEPORT). 0: one a loop."},
    {.name = "backlog",
     .type = CONF_INT,
     CONF_FIELD(struct http_listener_conf, backlog),
     .preset = "4096",
     .min = 1,
     .max = 65535,
     .help = "Connections that wait to be accepted."},
    {.name = "unix_mode",
     .type = CONF_OCTAL,
     CONF_FIELD(struct http_listener_conf, unix_mode),
     .preset = "0600",
     .max = 0777,
     .help = "Permission bits of a unix socket."},
};
const struct conf_section http_listener_conf_section = {.entries = listener_entries,
                                                        .count = CONF_COUNT(listener_entries),
                                                        .size = sizeof(struct http_listener_conf),
                                                        .check = check_listener};

int http_listeners_check(const struct conf_list *listeners, const struct conf_list *certificates,
                         const char **field, struct err *err)
{
    const struct http_listener_conf *l = listeners->items;
    for (unsigned i = 0; i < listeners->n; i++) {
        if (l[i].tls && certificates->n == 0) {
            *field = "certificates";
            return err_set(err, ERR_INVALID, "listener %s wants TLS, but there is no certificate", l[i].name);
        }
    }
    return 0;
}

bool http_listeners_want_h2(const struct conf_list *listeners)
{
    const struct http_listener_conf *l = listeners->items;
    for (unsigned i = 0; i < listeners->n; i++) {
        if (l[i].tls && !l[i].http2) {
            return false;
        }
    }
    return true;
}

/* --- certificates -------------------------------------------------------------------------------- */

static const struct conf_entry certificate_entries[] = {
    {.name = "cert_file",
     .type = CONF_STRING,
     CONF_FIELD(struct tls_cert_conf, cert_file),
     .flags = CONF_REQUIRED | CONF_FILE | CONF_RELOADABLE,
     .help = "PEM chain, the leaf first."},
    {.name = "key_file",
     .type = CONF_STRING,
     CONF_FIELD(struct tls_cert_conf, key_file),
     .flags = CONF_REQUIRED | CONF_SECRET_FILE | CONF_RELOADABLE,
     .help = "PEM private key, mode 0600."},
};
const struct conf_section tls_cert_conf_section = {.entries = certificate_entries,
                                                   .count = CONF_COUNT(certificate_entries),
                                                   .size = sizeof(struct tls_cert_conf)};

/* --- metrics ------------------------------------------------------------------------------------- */

static int check_metrics(void *section, const char **field, struct err *err)
{
    struct http_listener_conf *m = section;
    if (m->endpoint.text[0] != '\0' && !endpoint_is_local(&m->endpoint) && !m->plaintext) {
        *field = "address";
        return err_set(err, ERR_INVALID, "metrics beyond loopback have to be asked for: plaintext: true");
    }
    m->name = "metrics";
    m->shards = 1;
    m->backlog = 64;
    m->unix_mode = 0600;
    return 0;
}

static const struct conf_entry metrics_entries[] = {
    {.name = "address",
     .type = CONF_ENDPOINT,
     CONF_FIELD(struct http_listener_conf, endpoint),
     .help = "Plain HTTP for Prometheus and orchestrators: /metrics, /livez, /readyz. Not given: none."},
    {.name = "plaintext",
     .type = CONF_BOOL,
     CONF_FIELD(struct http_listener_conf, plaintext),
     .preset = "false",
     .help = "An address that is not loopback is meant."},
};
const struct conf_section http_metrics_conf_section = {.entries = metrics_entries,
                                                       .count = CONF_COUNT(metrics_entries),
                                                       .size = sizeof(struct http_listener_conf),
                                                       .check = check_metrics};
