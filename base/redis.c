/* See redis.h. What is the same for a single server, Sentinel and Cluster. */
#include "base/redis.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/redis_conn.h"
#include "base/secret.h"

enum { PASSWORD_MAX = 1024 };

void redis_script_init(struct redis_script *s)
{
    uint8_t digest[20];
    unsigned n = sizeof(digest);
    BUG_ON(EVP_Digest(s->source.p, s->source.n, digest, &n, EVP_sha1(), NULL) != 1);
    str_hex_encode(digest, sizeof(digest), s->sha);
}

/* Without printf: each command to Redis comes through here. */
static void format_texts(struct buf *out, unsigned n, const struct str *texts)
{
    for (unsigned i = 0; i < n; i++) {
        buf_add_char(out, '$');
        buf_add_u64(out, texts[i].n);
        buf_add(out, "\r\n", 2);
        buf_add_str(out, texts[i]);
        buf_add(out, "\r\n", 2);
    }
}

static void format_count(struct buf *out, unsigned count)
{
    buf_add_char(out, '*');
    buf_add_u64(out, count);
    buf_add(out, "\r\n", 2);
}

void redis_format(struct buf *out, unsigned argc, const struct str *argv)
{
    format_count(out, argc);
    format_texts(out, argc, argv);
}

void redis_format_script(struct buf *out, const struct redis_script *s, unsigned keys, unsigned argc,
                         const struct str *argv)
{
    char count[12];
    int n = snprintf(count, sizeof(count), "%u", keys);
    const struct str head[] = {STR("EVALSHA"), str_from(s->sha), str_of(count, (size_t)n)};
    format_count(out, 3 + argc);
    format_texts(out, 3, head);
    format_texts(out, argc, argv);
}

/* --- life ----------------------------------------------------------------------------------------- */

static uint32_t power_of_two(uint32_t n)
{
    uint32_t p = 16;
    while (p < n) {
        p *= 2;
    }
    return p;
}

static int login_read(struct redis_login *login, const char *user, const char *password_file, struct err *err)
{
    buf_init(&login->password, PASSWORD_MAX);
    snprintf(login->user, sizeof(login->user), "%s", user ? user : "");
    return password_file ? secret_file_read(password_file, &login->password, err) : 0;
}

static void login_clear(struct redis_login *login)
{
    secret_cleanse(login->password.p, login->password.n);
    buf_clear(&login->password);
}

static int tls_read(struct redis *r, const struct redis_tls_conf *conf, struct err *err)
{
    if (!conf) {
        return 0;
    }
    snprintf(r->tls_name, sizeof(r->tls_name), "%s", conf->server_name ? conf->server_name : "");
    r->tls = redis_tls_new(conf, err);
    return r->tls ? 0 : ERR_INVALID;
}

struct redis *redis_new(struct loop *loop, const struct redis_conf *conf, const char *role,
                        struct redis_script *const *scripts, unsigned script_count, struct err *err)
{
    BUG_ON(script_count > REDIS_SCRIPTS_MAX);
    struct redis *r = calloc(1, sizeof(*r));
    BUG_ON(!r);
    *r = (struct redis){.loop = loop, .conf = *conf, .role = role, .script_count = script_count};
    r->conf.max_pending = power_of_two(conf->max_pending);
    for (unsigned i = 0; i < script_count; i++) {
        r->scripts[i] = scripts[i];
    }
    redis_metrics_init(&r->metrics, role);
    if (login_read(&r->login, conf->user, conf->password_file, err) != 0 ||
        login_read(&r->sentinel_login, conf->sentinel_user, conf->sentinel_password_file, err) != 0 ||
        tls_read(r, conf->tls, err) != 0) {
        redis_free(r);
        return NULL;
    }
    if (conf->cluster.n > 0) {
        r->cluster = redis_cluster_new(r, conf);
    } else if (conf->sentinels.n > 0) {
        r->primary = redis_conn_new(r, REDIS_CONN_PRIMARY, NULL);
        r->sentinel = redis_sentinel_new(r, conf);
    } else {
        r->primary = redis_conn_new(r, REDIS_CONN_SERVER, conf->address);
    }
    return r;
}

void redis_free(struct redis *r)
{
    if (!r) {
        return;
    }
    r->freeing = true;
    atomic_store(&r->ready, false);
    atomic_store(&r->whole, false);
    redis_sentinel_free(r->sentinel);
    redis_conn_free(r->primary);
    redis_cluster_free(r->cluster);
    SSL_CTX_free(r->tls);
    login_clear(&r->login);
    login_clear(&r->sentinel_login);
    free(r);
}

void redis_changed(struct redis *r, struct redis_conn *c)
{
    if (r->cluster) {
        redis_cluster_changed(r->cluster, c);
        atomic_store_explicit(&r->ready, redis_cluster_is_ready(r->cluster), memory_order_relaxed);
        atomic_store_explicit(&r->whole, redis_cluster_is_whole(r->cluster), memory_order_relaxed);
        return;
    }
    if (c == r->primary) {
        atomic_store_explicit(&r->ready, redis_conn_is_ready(c), memory_order_relaxed);
        atomic_store_explicit(&r->whole, redis_conn_is_ready(c), memory_order_relaxed);
    }
    if (r->sentinel) {
        redis_sentinel_changed(r->sentinel, c);
    }
}

/* --- commands ------------------------------------------------------------------------------------- */

int redis_send(struct redis *r, struct redis_op *op, struct str resp, struct redis_script *script,
               redis_cb cb, void *arg)
{
    int rc = ERR_UNAVAILABLE;
    if (op) {
        *op = (struct redis_op){.cb = cb, .arg = arg, .script = script, .command = resp};
    }
    struct redis_conn *c = NULL;
    if (!r->freeing) {
        c = r->cluster ? redis_cluster_conn(r->cluster, resp) : r->primary;
    }
    if (c && redis_conn_is_ready(c)) {
        rc = redis_conn_send(c, op, resp);
    }
    if (rc != 0) {
        metric_child_add(r->metrics.results[REDIS_RESULT_REJECTED], 1);
    }
    return rc;
}

int redis_command(struct redis *r, struct redis_op *op, unsigned argc, const struct str *argv, redis_cb cb,
                  void *arg)
{
    struct buf resp;
    buf_init(&resp, r->conf.max_output_bytes);
    redis_format(&resp, argc, argv);
    int rc = resp.overflowed ? ERR_AGAIN : redis_send(r, op, buf_str(&resp), NULL, cb, arg);
    if (op) {
        op->command = (struct str){"", 0};
    }
    buf_clear(&resp);
    return rc;
}

struct post {
    struct redis_op op;
    char command[];
};

static void on_posted(void *arg, int rc, const struct redis_reply *reply)
{
    free(arg); /* a struct post */
}

int redis_post(struct redis *r, struct redis_script *script, unsigned keys, unsigned argc,
               const struct str *argv)
{
    struct buf resp;
    buf_init(&resp, r->conf.max_output_bytes);
    redis_format_script(&resp, script, keys, argc, argv);
    struct post *p = resp.overflowed ? NULL : malloc(sizeof(*p) + resp.n);
    int rc = ERR_AGAIN;
    if (p) {
        memcpy(p->command, resp.p, resp.n);
        rc = redis_send(r, &p->op, str_of(p->command, resp.n), script, on_posted, p);
    }
    if (rc != 0) {
        free(p);
    }
    buf_clear(&resp);
    return rc;
}

void redis_cancel(struct redis_op *op)
{
    if (op->conn) {
        redis_conn_cancel(op);
    } else if (op->waiting) {
        redis_cluster_forget(op->waiting, op);
    }
}

bool redis_is_ready(const struct redis *r)
{
    return atomic_load_explicit(&r->ready, memory_order_relaxed);
}

bool redis_is_whole(const struct redis *r)
{
    return atomic_load_explicit(&r->whole, memory_order_relaxed);
}

bool redis_is_cluster(const struct redis *r)
{
    return r->cluster != NULL;
}
