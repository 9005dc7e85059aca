/* One accepted connection, inside the server: socket, TLS, buffers, deadlines. Not the protocol: h1.c and h2.c.
 *
 *     [PROXY header] -> HANDSHAKE (TLS only) -> OPEN -> [LINGER] -> DEAD
 *
 *     readable: one recv -> (tls_receive) -> conn_feed -> h1_input | h2_input -> handler
 *     turn end: protocol output -> out -> one SSL_write or writev per block -> one send -> exchanges end
 *
 * All of a turn's output is gathered in `out` and leaves in one send at the end of the turn (conn_on_turn_end).
 * This is also the only place where exchanges end (on_finish) and where a connection is freed: everything else
 * only marks (conn_die, conn_close_when_sent) and schedules.
 * Deadlines: one timer. Whoever creates a deadline calls conn_need_by; when the timer fires, conn_check looks
 * at all of them and arms it for the earliest. So the usual request does not touch the timer at all.
 * Ownership: the server owns its connections; a connection owns its exchanges.
 * Thread rule: only on the server's loop. */
#ifndef TIDE_BASE_HTTP_CONN_H
#define TIDE_BASE_HTTP_CONN_H

#include <openssl/ssl.h>

#include "base/buf.h"
#include "base/http/exchange_impl.h"
#include "base/http/h1_parse.h"
#include "base/http/ja4.h"
#include "base/http/outq.h"
#include "base/http/server_impl.h"

enum {
    CONN_RAW_BYTES = 16384 + 512,       /* one recv: a TLS record fits */
    CONN_STAGE_BYTES = 5 * 16384 + 512, /* ciphertext of one send: up to four records and what waited */
    CONN_TURN_RECORDS = 4,
    CONN_IN_HIGH = 32768 + 1024, /* undigested input at which reading stops */
    CONN_IN_MAX = 131072,        /* can not be reached; a bug if it is */
    CONN_LINGER_MS = 2000,
    CONN_LINGER_BYTES = 4 << 20,
    CONN_GONE_CHECK_MS = 1000, /* while nothing is read: how often the client is looked for */
    CONN_QUIET_MS = 2000,      /* without traffic: TLS buffers are given back */
    CONN_LINE_BYTES = 64,      /* of the processor's caches */
};

enum conn_state { CONN_PROXY = 0, CONN_HANDSHAKE = 1, CONN_OPEN = 2, CONN_LINGER = 3, CONN_DEAD = 4 };

struct h2;
struct tls_handshake;
struct tls_records;

struct h1 {
    struct exchange *ex; /* the one being read or answered; NULL between requests */
    size_t scanned;      /* bytes of the unfinished head already looked at */
    uint64_t head_began_us;
    int64_t body_left; /* bytes; unused when chunked */
    int64_t skip_left; /* of a body that nobody read, after its answer */
    struct h1_chunked chunk;
    bool chunked;
    bool expect_continue; /* 100 Continue is owed when the body is asked for */
    bool close_after;     /* no request after this one */
    bool client_closes;   /* it said so itself: nothing more will come */
    bool leading_crlf;    /* one empty line before a request was let pass */
};

/* What a usual request looks at comes first and lies together: with many thousands of connections none of it is in
 * a cache, so that a turn fetches these lines while the kernel copies (conn_on_event). */
struct conn {
    _Alignas(CONN_LINE_BYTES) struct event read_ev;
    struct http_server *server;
    struct attachment *at;
    struct loop_task task;
    int fd;
    enum conn_state state;
    uint32_t requests;
    bool reading; /* read_ev is added */
    bool writing; /* write_ev is added */
    bool blocked; /* the socket took less than all */
    bool close_when_sent;
    bool at_eof;
    bool is_h2;
    bool hot; /* had several requests in a short time: keeps TLS buffers */
    bool going_away;
    bool deliver_wanted;         /* h2: a body was asked for since the last turn */
    bool more_output;            /* h2: frames are left for the next turn */
    SSL *ssl;                    /* TLS, until its records are ours */
    struct tls_records *records; /* from then on; NULL: plain, or OpenSSL's to the end */
    struct h2 *h2;
    struct exchange *exchanges;
    uint64_t timer_at_ms;   /* 0: not armed */
    uint64_t first_byte_us; /* 0: nothing came yet */
    uint64_t idle_since_ms; /* the last exchange ended, or the connection opened */
    uint64_t sent_bytes;    /* that the socket took */
    struct outq out;        /* plaintext */
    size_t pending_n;
    struct slow_reader slow; /* while blocked */
    struct buf in; /* plaintext that the protocol has not digested; a PROXY header that is not whole */
    struct addr peer;
    uint64_t touched_ms; /* the last turn in which anything happened */
    struct h1 h1;
    struct ja4 ja4; /* of the first ClientHello */
    /* From here on: only when it begins, waits or ends. */
    struct tls_handshake *handshake; /* TLS, until it is over (tls_io.c) */
    struct conn *prev, *next;        /* server->handshaking or server->open */
    char *pending;                   /* ciphertext that the socket did not take (TLS only) */
    size_t pending_at;
    enum http_finish death; /* why DEAD: the finish of exchanges that were not done */
    bool reset_on_close;    /* throw away what the kernel still holds */
    uint32_t key_updates;   /* handshake messages after the handshake */
    uint32_t key_updates_in_minute;
    uint64_t key_minute_ms; /* where the minute began */
    struct loop_timer timer;
    uint64_t accepted_ms; /* a PROXY header before it does not count */
    uint64_t accepted_us;
    uint64_t open_ms, linger_until_ms;
    uint64_t gone_check_ms; /* the next, while not reading */
    uint64_t lingered_bytes;
    struct peer_slot *peer_slot; /* where it is counted; NULL when exempt */
    struct event write_ev;
};

void conn_new(struct attachment *at, int fd, const struct addr *peer, struct peer_slot *slot);
void conn_begin(struct conn *c);                     /* the peer is known */
void conn_take_raw(struct conn *c, struct str data); /* bytes as recv brought them */
void conn_schedule(struct conn *c);                  /* conn_on_turn_end will run */
void conn_die(struct conn *c, enum http_finish why); /* freed at the turn's end */
void conn_close_when_sent(struct conn *c);           /* after the output left, politely */
void conn_destroy(struct conn *c);                   /* at once: only from conn_on_turn_end and server_free */
void conn_need_by(struct conn *c, uint64_t at_ms);   /* a deadline at this time now exists */
bool conn_due(uint64_t at_ms, uint64_t now_ms, uint64_t *next_ms); /* past; else lowers *next_ms */
void conn_feed(struct conn *c, struct str data);
void conn_handshake_done(struct conn *c);
void conn_go_away(struct conn *c); /* finish what runs, take nothing new */
bool conn_is_tls(const struct conn *c);
bool conn_is_idle(const struct conn *c);
bool conn_is_flushed(const struct conn *c); /* all output was handed to the socket */
void conn_add_pending(struct conn *c, const char *p, size_t n);

/* tls_io.c */
int tls_open(struct conn *c) TIDE_CHECK;
void tls_close(struct conn *c);                            /* frees; sends nothing */
void tls_receive(struct conn *c, const char *p, size_t n); /* raw bytes in, conn_feed out */
void tls_flush(struct conn *c);
void tls_release_buffers(struct conn *c);
bool tls_has_hello(const struct conn *c); /* while in HANDSHAKE: the whole ClientHello came */

/* h1.c */
size_t h1_input(struct conn *c, struct str data); /* bytes digested */
void h1_after_flush(struct conn *c);
void h1_check(struct conn *c, uint64_t now_ms, uint64_t *next_ms);
bool h1_wants_read(const struct conn *c);

/* h2.c */
int h2_open(struct conn *c) TIDE_CHECK;
void h2_free(struct conn *c);
void h2_input(struct conn *c, struct str data);
void h2_output(struct conn *c);
void h2_after_flush(struct conn *c);
void h2_check(struct conn *c, uint64_t now_ms, uint64_t *next_ms);
void h2_go_away(struct conn *c);

#endif
