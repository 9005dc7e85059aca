/* One role's Redis from inside: what its connections share, and who steers them. Part of base/redis; nothing else
 * includes this.
 *
 *     single     one connection, to the address
 *     Sentinel   one connection, to whom the Sentinels call primary (redis_sentinel.c)
 *     Cluster    one connection a node that owns slots (redis_cluster.c)
 *
 * Thread rule: the loop's thread, but for the two atomics. */
#ifndef TIDE_BASE_REDIS_INNER_H
#define TIDE_BASE_REDIS_INNER_H

#include <stdatomic.h>

#include "base/buf.h"
#include "base/redis.h"
#include "base/redis_metrics.h"
#include "base/redis_socket.h"

struct redis_conn;
struct redis_cluster;
struct redis_sentinel;

enum { REDIS_TARGET_MAX = 256 };

struct redis_login {
    char user[128];      /* empty: the default user */
    struct buf password; /* empty: no AUTH */
};

struct redis {
    struct loop *loop;
    struct redis_conf conf; /* only its numbers are used: its texts may be gone */
    const char *role;
    struct redis_login login;
    struct redis_login sentinel_login;
    SSL_CTX *tls;                    /* NULL: plain */
    char tls_name[REDIS_TARGET_MAX]; /* empty: the host of each address */
    struct redis_script *scripts[REDIS_SCRIPTS_MAX];
    unsigned script_count;
    struct redis_metrics metrics;
    struct redis_conn *primary; /* single, Sentinel; else NULL */
    struct redis_sentinel *sentinel;
    struct redis_cluster *cluster;
    bool freeing;
    atomic_bool ready; /* some command could be sent */
    atomic_bool whole; /* any command could be sent */
};

/* A connection became ready, or is not so any more. */
void redis_changed(struct redis *r, struct redis_conn *c);

/* --- redis_sentinel.c ----------------------------------------------------------------------------- */
struct redis_sentinel *redis_sentinel_new(struct redis *r, const struct redis_conf *conf);
void redis_sentinel_free(struct redis_sentinel *s);
void redis_sentinel_changed(struct redis_sentinel *s, struct redis_conn *c);

/* --- redis_cluster.c ------------------------------------------------------------------------------ */
struct redis_cluster *redis_cluster_new(struct redis *r, const struct redis_conf *conf);
void redis_cluster_free(struct redis_cluster *k);
void redis_cluster_changed(struct redis_cluster *k, struct redis_conn *c);
struct redis_conn *redis_cluster_conn(struct redis_cluster *k, struct str resp); /* NULL: nobody has it now */
/* An error reply. true: it told where to ask instead, and op (may be NULL) was sent there or will be. */
bool redis_cluster_redirect(struct redis_cluster *k, struct redis_conn *from, struct redis_op *op,
                            struct str error);
void redis_cluster_forget(struct redis_cluster *k, struct redis_op *op); /* one that waits to be sent again */
bool redis_cluster_is_whole(const struct redis_cluster *k);
bool redis_cluster_is_ready(const struct redis_cluster *k);

#endif
