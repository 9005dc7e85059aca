/* The server's own structs. Only base/http includes it. */
#ifndef TIDE_BASE_HTTP_SERVER_IMPL_H
#define TIDE_BASE_HTTP_SERVER_IMPL_H

#include <openssl/ssl.h>

#include "base/clock.h"
#include "base/http/outq.h"
#include "base/http/server.h"
#include "base/metrics.h"

enum { SERVER_DATE_TEXT = 37 + 2, HTTP_HSTS_VALUE_MAX = 64 };
#define HTTP_HSTS_VALUE "max-age=31536000; includeSubDomains"

struct conn;
struct tls_ciphers;
struct peer_slot;

struct http_listener {
    struct endpoint endpoint;
    char asked[sizeof(((struct endpoint *)0)->text)]; /* as configured: the port may be 0 there */
    char name[32];
    bool tls, http2, hsts, proxy_protocol;
    struct addr_prefix *proxies; /* who may send a PROXY header */
    unsigned proxy_count;
    bool is_left; /* another process has it now: the file of a unix socket is that one's */
    int backlog;
    uint32_t unix_mode; /* permission bits of a unix socket's file */
    int *fds;           /* one a shard */
    unsigned shards;
    int lock_fd; /* abstract unix socket; -1 on port 0 before it is known */
};

/* A listener's shard on one loop. Lives as long as the server: connections point at it. */
struct attachment {
    struct attachment *next;
    struct http_server *server;
    struct http_listener *listener;
    unsigned shard;
    struct http_handler handler;
    SSL_CTX *ssl_ctx; /* of this loop; NULL on plain listeners */
    struct event accept_ev;
    bool accepting;
};

struct conn_list {
    struct conn *first, *last; /* oldest first */
    unsigned n;
};

struct http_server {
    struct loop *loop;
    struct http_limits limits;
    struct http_handler handler;
    struct attachment *attachments;
    struct conn_list handshaking, open, dead; /* every connection is on one of them */
    unsigned connections;                     /* all three */
    unsigned most_connections;                /* of the process: the limit, or what descriptors allow */
    struct addr_prefix *exempt;
    unsigned exempt_count;
    struct http_gate gate; /* functions NULL: everybody may come */
    struct outq_pool pool;
    char *raw;   /* CONN_RAW_BYTES: what recv brought */
    char *plain; /* CONN_RAW_BYTES: what SSL_read made of it */
    char *stage; /* CONN_STAGE_BYTES: ciphertext of the connection that is being flushed */
    size_t stage_n;
    const char *tls_in; /* raw bytes that OpenSSL has not asked for yet */
    size_t tls_in_n;
    struct tls_ciphers *ciphers; /* of all connections whose records are ours */
    int reserve_fd;              /* given up when descriptors run out, to accept and refuse */
    uint64_t date_at_ms;
    char date[30]; /* IMF-fixdate */
    enum http_shed shed;
    bool waits;    /* attached listeners are not accepted from yet */
    bool draining; /* no new connections; those that are there end */
    bool retired;  /* draining, while another process serves the same sockets */
    struct loop_timer drain_timer;
    struct loop_task empty_task;
    void (*on_empty)(void *arg);
    void *on_empty_arg;
};

struct str server_date(struct http_server *s); /* now, as IMF-fixdate */
bool server_refuses_peer(const struct http_server *s, const struct addr *peer);
bool server_refuses_client(const struct http_server *s, const struct addr *peer, struct str ja4);
uint32_t server_addr_limit(const struct http_server *s,
                           uint32_t limit); /* what the gate leaves of it, at least 1 */
bool server_is_exempt(const struct http_server *s, const struct addr *peer);
void server_conn_gone(struct http_server *s); /* a connection was freed */
void conn_list_add(struct conn_list *l, struct conn *c);
void conn_list_remove(struct conn_list *l, struct conn *c);

/* accept.c */
void accept_start(struct attachment *at);
void accept_stop(struct attachment *at);
void accept_refuse(struct attachment *at); /* for good: nobody waits in the backlog of a server that ends */
void accept_connection_gone(void);
void accept_proxy_header(struct conn *c, struct str data); /* of a connection that has to begin with one */
void accept_no_proxy_header(struct conn *c, const char *why);
unsigned accept_connections_limit(const struct http_limits *limits); /* of the process */

/* tls.c: an SSL_CTX of this loop for the set. */
SSL_CTX *tls_set_context(struct tls_set *set, struct err *err);
int tls_on_client_hello(SSL *ssl, int *alert, void *arg); /* tls_io.c */
/* Of an mTLS client, by the context that its listener has now; or NULL. */
const char *tls_client_name(SSL *ssl, const SSL_CTX *now);

/* server_metrics.c */
void http_count_refused(const char *reason); /* a connection was not taken */
void http_count_closed(const char *reason);  /* a limit or bad input closed one */
void http_count_request(uint8_t version);
void http_count_connection(int change);
void http_count_handshake(const char *outcome);
void http_count_own_records(void);
void http_count_ping(void);
void http_count_waited(void);
/* Of a connection: accepted to its first byte; first byte to the end of the handshake. */
enum http_phase { HTTP_PHASE_ACCEPT = 0, HTTP_PHASE_TLS = 1 };
void http_observe_phase(enum http_phase phase, uint64_t us);
void http_register_metrics(void);

#endif
