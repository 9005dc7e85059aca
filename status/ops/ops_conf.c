#include "status/ops/ops_conf.h"

static int check_ops(void *section, const char **field, struct err *err)
{
    const struct ops_conf *o = section;
    bool is_unix = o->address.sa.ss_family == AF_UNIX;
    if (o->gateway.sa.ss_family != AF_UNIX) {
        *field = "gateway";
        return err_set(err, ERR_INVALID, "want the gateway's admin.read_socket: unix:/PATH");
    }
    if (!is_unix && !o->password_file) {
        *field = "password_file";
        return err_set(err, ERR_INVALID,
                       "is missing: whoever reaches the address would see the dashboard. Only a unix "
                       "socket, whose mode says who may look, goes without");
    }
    if (is_unix && o->tls) {
        *field = "tls";
        return err_set(err, ERR_INVALID, "means nothing on a unix socket");
    }
    if (!o->tls && !endpoint_is_local(&o->address)) {
        *field = "tls";
        return err_set(err, ERR_INVALID, "beyond loopback the password has to travel by TLS: tls: true");
    }
    return 0;
}

static const struct conf_entry ops_entries[] = {
    {.name = "address",
     .type = CONF_ENDPOINT,
     CONF_FIELD(struct ops_conf, address),
     .flags = CONF_REQUIRED,
     .help = "Where operators connect: \"unix:/run/x.sock\" (a browser comes by ssh -L), or with "
             "password_file \"127.0.0.1:8445\"."},
    {.name = "unix_mode",
     .type = CONF_OCTAL,
     CONF_FIELD(struct ops_conf, unix_mode),
     .preset = "0600",
     .max = 0777,
     .help = "Permission bits of that unix socket."},
    {.name = "tls",
     .type = CONF_BOOL,
     CONF_FIELD(struct ops_conf, tls),
     .preset = "false",
     .help = "HTTPS with the certificates of the page. Wanted beyond loopback."},
    {.name = "password_file",
     .type = CONF_STRING,
     CONF_FIELD(struct ops_conf, password_file),
     .flags = CONF_SECRET_FILE | CONF_RELOADABLE,
     .help = "One line of 16 to 256 characters, mode 0600: the password that browsers ask for, under any "
             "user name. "
             "SIGHUP reads it again. Not given: none, on unix sockets only."},
    {.name = "gateway",
     .type = CONF_ENDPOINT,
     CONF_FIELD(struct ops_conf, gateway),
     .flags = CONF_REQUIRED,
     .help =
         "The gateway's admin.read_socket, which can only look. Its numbers come from probe.metrics_url."},
    {.name = "interval",
     .type = CONF_DURATION,
     CONF_FIELD(struct ops_conf, interval_ms),
     .preset = "2s",
     .min = 100,
     .max = 10000,
     .flags = CONF_RELOADABLE,
     .help =
         "Between readings of the gateway's metrics, workers and refusals. What its database knows is read a "
         "fifth as often, and at once when policy or ladder change."},
    {.name = "viewers",
     .type = CONF_INT,
     CONF_FIELD(struct ops_conf, viewers),
     .preset = "32",
     .min = 1,
     .max = OPS_VIEWERS_MAX,
     .flags = CONF_RELOADABLE,
     .help = "Live pages at a time; more of them load themselves anew instead."},
};
const struct conf_section ops_conf_section = {.entries = ops_entries,
                                              .count = CONF_COUNT(ops_entries),
                                              .size = sizeof(struct ops_conf),
                                              .check = check_ops};
