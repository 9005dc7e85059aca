/* Names, presets and ranges of a Redis connection's settings. */
#include "base/redis.h"
#include "base/redis_socket.h"

const struct redis_conf redis_conf_default = {
    .timeout_ms = 20,
    .connect_ms = 1000,
    .stall_ms = 500,
    .backoff_max_ms = 250,
    .breaker_failures = 5,
    .probe_ms = 250,
    .max_pending = 4096,
    .max_output_bytes = 1024 * 1024,
};

#define TLS(field_) CONF_FIELD(struct redis_tls_conf, field_)

static const struct conf_entry tls_entries[] = {
    {.name = "ca_file",
     .type = CONF_STRING,
     TLS(ca_file),
     .flags = CONF_FILE,
     .help = "PEM: who may sign the server's certificate. Not given: the system's authorities."},
    {.name = "cert_file",
     .type = CONF_STRING,
     TLS(cert_file),
     .flags = CONF_FILE,
     .help = "PEM: a client certificate and its chain. Not given: none."},
    {.name = "key_file", .type = CONF_STRING, TLS(key_file), .flags = CONF_SECRET_FILE, .help = "Its key."},
    {.name = "server_name",
     .type = CONF_STRING,
     TLS(server_name),
     .max = 253,
     .help =
         "The name that each server's certificate must be for, also sent as SNI. Not given: the host of the "
         "address, as configured or as Sentinel or Cluster announce it."},
};

static int check_tls(void *section, const char **field, struct err *err)
{
    const struct redis_tls_conf *conf = section;
    if (!conf->cert_file != !conf->key_file) {
        *field = conf->cert_file ? "key_file" : "cert_file";
        return err_set(err, ERR_INVALID, "cert_file and key_file go together");
    }
    return 0;
}

static const struct conf_section tls_section = {
    .entries = tls_entries,
    .count = CONF_COUNT(tls_entries),
    .size = sizeof(struct redis_tls_conf),
    .check = check_tls,
    .help = "TLS 1.2 or later; the server's certificate is always checked."};

#define FIELD(field_) CONF_FIELD(struct redis_conf, field_)

static const struct conf_entry entries[] = {
    {.name = "address",
     .type = CONF_STRING,
     FIELD(address),
     .max = 255,
     .help = "One server: \"127.0.0.1:6379\", \"redis.internal:6379\" or \"unix:/run/redis/redis.sock\"."},
    {.name = "sentinels",
     .type = CONF_STRINGS,
     FIELD(sentinels),
     .max = 16,
     .help = "Instead of address: Sentinels, host:port each. They are asked for the primary, and again upon "
             "its loss."},
    {.name = "master",
     .type = CONF_STRING,
     FIELD(master),
     .max = 127,
     .help = "The name under which the Sentinels watch it."},
    {.name = "cluster",
     .type = CONF_STRINGS,
     FIELD(cluster),
     .max = 16,
     .help = "Instead of address: some nodes of a Redis Cluster, host:port each. The others are learned from "
             "them."},
    {.name = "user",
     .type = CONF_STRING,
     FIELD(user),
     .max = 127,
     .help = "For AUTH, with password_file. Not given: the default user."},
    {.name = "password_file",
     .type = CONF_STRING,
     FIELD(password_file),
     .flags = CONF_SECRET_FILE,
     .help = "For AUTH. Not given: none."},
    {.name = "sentinel_user",
     .type = CONF_STRING,
     FIELD(sentinel_user),
     .max = 127,
     .help = "For AUTH with the Sentinels, with sentinel_password_file."},
    {.name = "sentinel_password_file",
     .type = CONF_STRING,
     FIELD(sentinel_password_file),
     .flags = CONF_SECRET_FILE,
     .help = "For AUTH with the Sentinels. Not given: none."},
    {.name = "tls",
     .type = CONF_OPTION,
     FIELD(tls),
     .section = &tls_section,
     .help = "Speak TLS, with Sentinels too. Not given: plain text, for loopback or a network that is all "
             "yours."},
    {.name = "db", .type = CONF_INT, FIELD(db), .preset = "0", .max = 1000000, .help = "Index for SELECT."},
    {.name = "timeout",
     .type = CONF_DURATION,
     FIELD(timeout_ms),
     .preset = "20ms",
     .min = 1,
     .max = 10000,
     .help = "A command, from write to answer. Past it the request is decided without Redis."},
    {.name = "connect_timeout",
     .type = CONF_DURATION,
     FIELD(connect_ms),
     .preset = "1s",
     .min = 10,
     .max = 60000,
     .help = "Looking the name up, connecting, TLS, AUTH and loading of scripts together."},
    {.name = "stall",
     .type = CONF_DURATION,
     FIELD(stall_ms),
     .preset = "500ms",
     .min = 50,
     .max = 60000,
     .help = "A connection whose oldest command waits this long is dropped."},
    {.name = "backoff_max",
     .type = CONF_DURATION,
     FIELD(backoff_max_ms),
     .preset = "250ms",
     .min = 10,
     .max = 60000,
     .help = "Longest pause between attempts to connect; the first is 10ms, then doubling."},
    {.name = "breaker_failures",
     .type = CONF_INT,
     FIELD(breaker_failures),
     .preset = "5",
     .min = 1,
     .max = 1000,
     .help = "Commands failed in a row that open the breaker (as do more than half of the last 20)."},
    {.name = "probe",
     .type = CONF_DURATION,
     FIELD(probe_ms),
     .preset = "250ms",
     .min = 10,
     .max = 60000,
     .help = "How often an open breaker tries a PING."},
    {.name = "max_pending",
     .type = CONF_INT,
     FIELD(max_pending),
     .preset = "4096",
     .min = 16,
     .max = 1048576,
     .help = "Commands of one connection without an answer, rounded up to a power of two. More are refused."},
    {.name = "max_output",
     .type = CONF_SIZE,
     FIELD(max_output_bytes),
     .preset = "1MiB",
     .min = 65536,
     .max = 67108864,
     .help = "Bytes of one connection waiting to be written. More are refused."},
};

static bool is_target(const char *text, bool unix_too)
{
    struct endpoint literal;
    struct str s = str_from(text);
    const char *colon = memrchr(s.p, ':', s.n);
    uint64_t port = 0;
    if (endpoint_parse(s, &literal, NULL) == 0) {
        return unix_too || literal.sa.ss_family != AF_UNIX;
    }
    return colon && colon != s.p && s.n < 256 && !memchr(s.p, ':', (size_t)(colon - s.p)) &&
           str_u64(str_skip(s, (size_t)(colon - s.p) + 1), &port) && port >= 1 && port <= 65535;
}

static int check_targets(const struct conf_strings *list, const char *name, const char **field,
                         struct err *err)
{
    for (unsigned i = 0; i < list->n; i++) {
        if (!is_target(list->items[i], false)) {
            *field = name;
            return err_set(err, ERR_INVALID, "\"%s\" is not host:port", list->items[i]);
        }
    }
    return 0;
}

static int check(void *section, const char **field, struct err *err)
{
    const struct redis_conf *conf = section;
    if ((conf->address != NULL) + (conf->sentinels.n > 0) + (conf->cluster.n > 0) != 1) {
        *field = "address";
        return err_set(err, ERR_INVALID, "exactly one of address, sentinels and cluster is needed");
    }
    if (conf->address && !is_target(conf->address, true)) {
        *field = "address";
        return err_set(err, ERR_INVALID, "\"%s\" is neither host:port nor unix:/path", conf->address);
    }
    if (check_targets(&conf->sentinels, "sentinels", field, err) != 0 ||
        check_targets(&conf->cluster, "cluster", field, err) != 0) {
        return ERR_INVALID;
    }
    if ((conf->sentinels.n > 0) != (conf->master != NULL)) {
        *field = "master";
        return err_set(err, ERR_INVALID, "sentinels and master go together");
    }
    if (conf->cluster.n > 0 && conf->db != 0) {
        *field = "db";
        return err_set(err, ERR_INVALID, "a Cluster has only database 0");
    }
    if (conf->user && !conf->password_file) {
        *field = "password_file";
        return err_set(err, ERR_INVALID, "user needs it");
    }
    if (conf->sentinel_user && !conf->sentinel_password_file) {
        *field = "sentinel_password_file";
        return err_set(err, ERR_INVALID, "sentinel_user needs it");
    }
    if (conf->tls && conf->address && str_starts(str_from(conf->address), STR("unix:"))) {
        *field = "tls";
        return err_set(err, ERR_INVALID, "not over a unix socket");
    }
    return 0;
}

const struct conf_section redis_conf_section = {
    .entries = entries,
    .count = CONF_COUNT(entries),
    .size = sizeof(struct redis_conf),
    .check = check,
    .help = "Redis 6.2 or later: one server (address), a primary behind Sentinels (sentinels, master) or a "
            "Cluster "
            "(cluster). Each loop keeps one connection, in a Cluster one a node.",
};
