#include "gateway/admin_conf.h"

#include <stdlib.h>

enum { CLIENT_NAME_MAX = 80 }; /* with "cert:" it fits into the audit log's actor */

static const char *const level_names[] = {"none", "read", "write", "admin", NULL};

const char *admin_level_name(enum admin_level l)
{
    return level_names[l];
}

static int check_client(void *section, const char **field, struct err *err)
{
    const struct admin_client_row *row = section;
    size_t n = strlen(row->name);
    if (n == 0 || n > CLIENT_NAME_MAX) {
        *field = "name";
        return err_set(err, ERR_INVALID, "a name that a certificate carries, of 1 to %d bytes",
                       CLIENT_NAME_MAX);
    }
    return 0;
}

static const struct conf_entry client_entries[] = {
    {.name = "name",
     .type = CONF_STRING,
     CONF_FIELD(struct admin_client_row, name),
     .flags = CONF_REQUIRED | CONF_RELOADABLE,
     .help = "Compared whole with the certificate's alternative names (DNS, e-mail, URI) and common name. It "
             "stands in the audit log."},
    {.name = "level",
     .type = CONF_ENUM,
     CONF_FIELD(struct admin_client_row, level),
     .preset = "read",
     .names = level_names,
     .flags = CONF_RELOADABLE,
     .help = "read: all that shows; write: also policy, workers, users; admin: also reload."},
};
static const struct conf_section client_section = {.entries = client_entries,
                                                   .count = CONF_COUNT(client_entries),
                                                   .size = sizeof(struct admin_client_row),
                                                   .check = check_client};

static bool is_set(const struct endpoint *e)
{
    return e->text[0] != '\0';
}

static const char *missing_for_tls(const struct admin_conf *a)
{
    return a->cert_file == NULL        ? "cert_file"
           : a->key_file == NULL       ? "key_file"
           : a->client_ca_file == NULL ? "client_ca_file"
           : a->clients.n == 0         ? "clients"
                                       : NULL;
}

static int check_admin(void *section, const char **field, struct err *err)
{
    const struct admin_conf *a = section;
    if (is_set(&a->socket) && a->socket.sa.ss_family != AF_UNIX) {
        *field = "socket";
        return err_set(err, ERR_INVALID, "a unix socket: unix:/path; over TCP there is `address`");
    }
    if (is_set(&a->read_socket) && a->read_socket.sa.ss_family != AF_UNIX) {
        *field = "read_socket";
        return err_set(err, ERR_INVALID, "a unix socket: unix:/path");
    }
    if (!is_set(&a->address)) {
        return 0;
    }
    if (a->address.sa.ss_family == AF_UNIX) {
        *field = "address";
        return err_set(err, ERR_INVALID,
                       "an address and a port; unix sockets are `socket` and `read_socket`");
    }
    *field = missing_for_tls(a);
    return *field == NULL ? 0 : err_set(err, ERR_INVALID, "needed with `address`: clients show certificates");
}

static const struct conf_entry entries[] = {
    {.name = "socket",
     .type = CONF_ENDPOINT,
     CONF_FIELD(struct admin_conf, socket),
     .help = "\"unix:/run/tidegate/admin.sock\". Who may open it may do everything tidectl does."},
    {.name = "mode",
     .type = CONF_OCTAL,
     CONF_FIELD(struct admin_conf, mode),
     .preset = "0600",
     .max = 0777,
     .help = "Permission bits of the socket."},
    {.name = "read_socket",
     .type = CONF_ENDPOINT,
     CONF_FIELD(struct admin_conf, read_socket),
     .help = "A second unix socket, for those who may only look."},
    {.name = "read_mode",
     .type = CONF_OCTAL,
     CONF_FIELD(struct admin_conf, read_mode),
     .preset = "0660",
     .max = 0777,
     .help = "Its permission bits."},
    {.name = "address",
     .type = CONF_ENDPOINT,
     CONF_FIELD(struct admin_conf, address),
     .help =
         "\"10.0.0.5:9443\": the admin API in TLS, for clients with a certificate of `client_ca_file` and a "
         "name of `clients`. All others fail in the handshake."},
    {.name = "cert_file",
     .type = CONF_STRING,
     CONF_FIELD(struct admin_conf, cert_file),
     .flags = CONF_FILE | CONF_RELOADABLE,
     .help = "Of `address`: PEM chain, the leaf first."},
    {.name = "key_file",
     .type = CONF_STRING,
     CONF_FIELD(struct admin_conf, key_file),
     .flags = CONF_SECRET_FILE | CONF_RELOADABLE,
     .help = "PEM private key, mode 0600."},
    {.name = "client_ca_file",
     .type = CONF_STRING,
     CONF_FIELD(struct admin_conf, client_ca_file),
     .flags = CONF_FILE | CONF_RELOADABLE,
     .help = "PEM: who signs the clients' certificates. An authority of your own, not one of the web."},
    {.name = "clients",
     .type = CONF_LIST,
     CONF_FIELD(struct admin_conf, clients),
     .section = &client_section,
     .flags = CONF_RELOADABLE,
     .max = 256,
     .help = "Who may come, and what each may do."},
};
const struct conf_section admin_conf_section = {.entries = entries,
                                                .count = CONF_COUNT(entries),
                                                .size = sizeof(struct admin_conf),
                                                .check = check_admin};

int admin_conf_load_tls(const struct admin_conf *c, struct tls_set **out, struct err *err)
{
    *out = NULL;
    if (!is_set(&c->address)) {
        return 0;
    }
    const struct admin_client_row *rows = c->clients.items;
    const char **names = calloc(c->clients.n, sizeof *names);
    BUG_ON(names == NULL);
    for (unsigned i = 0; i < c->clients.n; i++) {
        names[i] = rows[i].name;
    }
    struct tls_cert_conf cert = {.cert_file = c->cert_file, .key_file = c->key_file};
    struct tls_set_conf conf = {.certs = &cert,
                                .cert_count = 1,
                                .client_ca_file = c->client_ca_file,
                                .client_names = names,
                                .client_name_count = c->clients.n};
    *out = tls_set_new(&conf, err);
    free(names);
    return *out != NULL ? 0 : ERR_INVALID;
}

enum admin_level admin_conf_level_of(const struct admin_conf *c, struct str name)
{
    const struct admin_client_row *rows = c->clients.items;
    for (unsigned i = 0; i < c->clients.n; i++) {
        if (str_is(name, rows[i].name)) {
            return (enum admin_level)rows[i].level;
        }
    }
    return ADMIN_LEVEL_NONE;
}
