/* The HTTP server that all three daemons use: listening sockets, accept, TLS, HTTP/1.1 and HTTP/2.
 *
 *     http_listener_open (main thread; sockets and the lock) -> http_server_new per loop ->
 *     http_server_attach(listener, shard) -> requests arrive at the handler ->
 *     http_server_drain (no new connections, GOAWAY, idle ones close) -> http_server_free
 *
 * A listener has `shards` sockets (SO_REUSEPORT) so that the number of loops may change without moving them;
 * an abstract unix socket named after the address is its lock: a second instance is refused.
 * TLS material lives in struct tls_set, immutable and reference-counted; a reload makes a new one and hands
 * it to each loop with http_server_set_tls; connections keep theirs until they close, but who a client is (mTLS) is
 * asked of the one that its listener has now.
 *
 * Limits: all of struct http_limits, on by default (the table in server_conf.c has the numbers and names).
 * Thread rule: listeners and tls_set are made on one thread and then only read; a struct http_server belongs to
 * its loop. Metrics of this module are named tidegate_http_* and are summed over loops. */
#ifndef TIDE_BASE_HTTP_SERVER_H
#define TIDE_BASE_HTTP_SERVER_H

#include "base/addr.h"
#include "base/conf.h"
#include "base/err.h"
#include "base/http/exchange.h"
#include "base/loop.h"

struct http_handover;
struct http_server;
struct tls_set;

struct http_limits {
    /* time, all in milliseconds */
    uint64_t proxy_header_ms; /* accept to the end of a PROXY header; 3 s */
    uint64_t handshake_ms;    /* from then to the end of the TLS handshake; 5 s */
    uint64_t first_byte_ms;   /* connection ready to first byte of a request; 5 s */
    uint64_t header_ms;       /* first byte to the end of the head, in all; 10 s */
    uint64_t body_ms;         /* end of the head to the end of a body up to 1 MiB, in all; 30 s */
    uint64_t send_stall_ms;   /* output waits and none of it is taken; 30 s */
    uint64_t unacked_ms;      /* sent, and the client's TCP says nothing; 0 the kernel's minutes; 30 s */
    uint64_t idle_ms;         /* keep-alive without a request; 60 s */
    uint64_t h2_ping_ms;      /* silence of an HTTP/2 client after which it is asked by PING; 0 never; 30 s */
    uint64_t h2_ping_ack_ms;  /* then to anything from it; 10 s */
    uint64_t max_age_ms;      /* of a connection: GOAWAY or close after the running answer; 1 h */
    /* size */
    uint64_t body_min_rate;   /* bytes a second after 5 s of grace; 1024 */
    uint64_t send_min_rate;   /* bytes a second that must be taken while output waits; 240 */
    uint32_t h1_head_bytes;   /* request line and fields; 16 KiB */
    uint32_t h2_head_bytes;   /* decoded fields of one stream; 32 KiB */
    uint32_t fields;          /* per request; 64 */
    uint32_t target_bytes;    /* 4 KiB */
    uint32_t send_high_bytes; /* queued output of one exchange that makes http_send say PAUSE; 64 KiB */
    uint32_t hello_bytes;     /* ClientHello; 16 KiB */
    /* count */
    uint32_t connections;          /* of the process; 0 = from RLIMIT_NOFILE (open_files.h) less a reserve */
    uint32_t connections_per_addr; /* of one IPv4 /32 or IPv6 /64; 256 (not loopback, trusted proxies) */
    uint32_t handshakes_per_loop;  /* in flight; 256 */
    uint32_t handshakes_per_s;     /* from one IPv4 /32 or IPv6 /64, burst twice that; 50 (same exemptions) */
    uint32_t hello_records;        /* TLS records that a ClientHello may be cut into; 16 */
    uint32_t hello_extensions;     /* of a ClientHello; 64 */
    uint32_t key_updates;          /* KeyUpdate and renegotiation of one connection; 32 */
    uint32_t key_updates_per_min;  /* 8 */
    bool own_records;              /* TLS 1.3 records after the handshake are ours, not OpenSSL's; true */
    uint32_t requests_per_connection; /* then close or GOAWAY; 10000 */
    uint32_t h2_streams;              /* announced; 100 */
    uint32_t h2_unanswered;           /* of them, begun and without an answer; the next ones wait; 16 */
    uint32_t h2_resets_burst;         /* RST_STREAM caused by the client, then per s a tenth; 100 */
    uint32_t h2_control_burst;        /* control frames, then per s a tenth; 200 */
};
extern const struct http_limits http_limits_default;
extern const struct conf_section http_limits_conf_section; /* names, ranges, help: server_conf.c */

struct http_listener_conf {
    struct endpoint endpoint;
    bool tls;                       /* false: plain HTTP, only on loopback or unix unless `plaintext` */
    bool plaintext;                 /* the operator says that plain HTTP on this address is meant */
    bool http2;                     /* ALPN h2 (TLS) or prior knowledge (plain); true by default */
    bool hsts;                      /* strict-transport-security on TLS answers; true by default */
    uint32_t shards;                /* sockets; 0 = as many as loops */
    uint32_t backlog;               /* 4096 */
    uint32_t unix_mode;             /* permission bits of a unix socket; 0600 */
    const char *name;               /* "public", "metrics", "admin": for logs and metrics */
    bool proxy_protocol;            /* every connection begins with a PROXY header, */
    struct conf_prefixes proxies;   /* and comes from one of these, or by a unix socket */
    struct http_handover *handover; /* sockets of the process before this one; NULL: none */
    bool waits;                     /* bound, but listens only after http_listener_begin */
};
/* What daemons embed in their configuration (listen_conf.c). Both fill a struct http_listener_conf; that of the
 * metrics is always plain, and off (endpoint.text[0] == 0) unless it has an address. */
extern const struct conf_section http_listener_conf_section;
extern const struct conf_section http_metrics_conf_section;
/* For the check of a root section with a list of listeners and one of certificates. */
int http_listeners_check(const struct conf_list *listeners, const struct conf_list *certificates,
                         const char **field, struct err *err) TIDE_CHECK;
/* ALPN belongs to the certificates, which all listeners share: one TLS listener without HTTP/2 turns it off. */
bool http_listeners_want_h2(const struct conf_list *listeners);

struct http_listener *http_listener_open(const struct http_listener_conf *conf, unsigned loops,
                                         struct err *err);
int http_listener_begin(struct http_listener *l, struct err *err) TIDE_CHECK;
/* Another process goes on with these sockets: closing leaves a unix socket's file alone. */
void http_listener_leave(struct http_listener *l);
/* After all loops detached; removes a unix socket's file. */
void http_listener_close(struct http_listener *l);
unsigned http_listener_shards(const struct http_listener *l);
const struct endpoint *http_listener_endpoint(const struct http_listener *l); /* with the port really bound */

/* TLS 1.2 and 1.3. A server name gets the certificates that are for it, exactly or by wildcard: one with an ECDSA key
 * for clients that can verify it, one with an RSA key for others, when both are there. All other names get the first
 * certificate. Files are read now, errors name them. */
enum { TLS_CERTS_MAX = 10000, TLS_TICKET_KEYS_MAX = 8, TLS_TICKET_KEY_BYTES = 80 };
struct tls_cert_conf {
    const char *cert_file; /* PEM chain */
    const char *key_file;  /* PEM, refused if others can read it */
};
extern const struct conf_section tls_cert_conf_section; /* listen_conf.c */
struct tls_set_conf {
    const struct tls_cert_conf *certs; /* the first is the default */
    unsigned cert_count;
    const uint8_t *ticket_keys; /* of TLS_TICKET_KEY_BYTES; the first seals, all open */
    unsigned ticket_key_count;  /* 0: one of this process */
    bool http2;
    const char
        *client_ca_file; /* PEM; NULL: clients show no certificate; else they must, and nothing is resumed */
    const char *const *client_names; /* that a client's certificate may carry: tls_client.h */
    unsigned client_name_count;
};
struct tls_set *tls_set_new(const struct tls_set_conf *conf, struct err *err);
struct tls_set *tls_set_ref(struct tls_set *s);
void tls_set_unref(struct tls_set *s);
int64_t tls_set_expires_s(const struct tls_set *s); /* earliest notAfter, Unix seconds */

struct http_server *http_server_new(struct loop *loop, const struct http_limits *limits,
                                    const struct http_handler *handler);
/* From now on this loop accepts from the listener's shard. tls may be NULL for plain listeners. handler NULL:
 * the server's own. */
int http_server_attach(struct http_server *s, struct http_listener *l, unsigned shard, struct tls_set *tls,
                       const struct http_handler *handler, struct err *err) TIDE_CHECK;
void http_server_set_tls(struct http_server *s, struct http_listener *l,
                         struct tls_set *tls); /* new connections */
void http_server_set_limits(struct http_server *s, const struct http_limits *limits);
/* Peers inside these prefixes (trusted proxies) are exempt from per-address connection limits. */
void http_server_set_exempt(struct http_server *s, const struct addr_prefix *prefixes, unsigned count);
/* Who is turned away for good, and how much an address may have at the moment: asked before anything is spent on it;
 * never about the exempt prefixes. */
struct http_gate {
    bool (*refuses_peer)(void *arg, const struct addr *peer); /* before TLS: reset */
    bool (*refuses_client)(void *arg, const struct addr *peer,
                           struct str ja4); /* the ClientHello came: closed */
    uint32_t (*addr_percent)(void *arg);    /* what is left of the limits per address, 1 to 100; NULL: all */
    void *arg;
};
void http_server_set_gate(struct http_server *s, const struct http_gate *gate);
/* For a process that is not yet to serve: from before the first attach until http_server_begin nothing is accepted. */
void http_server_wait(struct http_server *s);
void http_server_begin(struct http_server *s);
/* Stops accepting (from then on connecting is refused), tells clients (GOAWAY, connection: close), closes what is idle, lets running answers end;
 * after deadline_ms cuts what is left (HTTP_FINISH_DRAINED). on_empty is called once, when nothing is left. */
void http_server_drain(struct http_server *s, uint64_t deadline_ms, void (*on_empty)(void *), void *arg);
/* As drain, but another process serves the same sockets: new connections go there, so they are neither refused nor
 * lost; an idle HTTP/1 connection may ask once more (connection: close) before its idle time is over, since its
 * client may be asking at this moment. */
void http_server_retire(struct http_server *s, uint64_t deadline_ms, void (*on_empty)(void *), void *arg);
void http_server_free(struct http_server *s); /* cuts what is left */
/* Memory is short (the caller says when): closes idle connections now, and takes from then on
 * one request a connection (HTTP/2: until it is idle); then refuses new ones as well. Running requests are left alone. */
enum http_shed { HTTP_SHED_NOTHING = 0, HTTP_SHED_IDLE = 1, HTTP_SHED_CONNECTIONS = 2 };
void http_server_shed(struct http_server *s, enum http_shed shed);
unsigned http_server_connections(const struct http_server *s);

#endif
