/* The section `ops` of tide-status' configuration: the dashboard for operators. Absent: there is none.
 *
 * Thread rule: immutable. */
#ifndef TIDE_STATUS_OPS_CONF_H
#define TIDE_STATUS_OPS_CONF_H

#include "base/conf.h"

enum { OPS_VIEWERS_MAX = 256 };

struct ops_conf {
    struct endpoint address;   /* a unix socket, or with a password an address */
    uint32_t unix_mode;        /* permission bits of the socket */
    bool tls;                  /* with the certificates of the page */
    const char *password_file; /* NULL: whoever may open the socket may look */
    struct endpoint gateway;   /* its admin.read_socket */
    uint64_t interval_ms;      /* between readings of /metrics */
    uint32_t viewers;          /* streams of events at a time */
};

extern const struct conf_section ops_conf_section;

#endif
