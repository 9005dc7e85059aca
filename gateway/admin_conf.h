/* The section `admin` of the configuration: where the admin API listens, and who may do what there.
 *
 * Thread rule: immutable once read. */
#ifndef TIDE_GATEWAY_ADMIN_CONF_H
#define TIDE_GATEWAY_ADMIN_CONF_H

#include "base/conf.h"
#include "base/http/server.h"

/* Each level may do what the ones below it may. */
enum admin_level {
    ADMIN_LEVEL_NONE = 0,
    ADMIN_LEVEL_READ = 1,  /* all GETs */
    ADMIN_LEVEL_WRITE = 2, /* policy, workers, users */
    ADMIN_LEVEL_ADMIN = 3, /* the process itself: reload */
};
const char *admin_level_name(enum admin_level l);

struct admin_client_row {
    const char *name; /* that the certificate carries: DNS, e-mail, URI or common name */
    int level;        /* enum admin_level */
};

struct admin_conf {
    struct endpoint socket;      /* unix, for all; text[0] == 0: none */
    uint32_t mode;               /* permission bits */
    struct endpoint read_socket; /* unix, level read; text[0] == 0: none */
    uint32_t read_mode;
    struct endpoint address; /* TCP with client certificates; text[0] == 0: none */
    const char *cert_file, *key_file;
    const char *client_ca_file;
    struct conf_list clients; /* of struct admin_client_row */
};
extern const struct conf_section admin_conf_section;

/* What address needs for its handshakes; *out NULL without an address. */
int admin_conf_load_tls(const struct admin_conf *c, struct tls_set **out, struct err *err) TIDE_CHECK;
enum admin_level admin_conf_level_of(const struct admin_conf *c, struct str name);

#endif
