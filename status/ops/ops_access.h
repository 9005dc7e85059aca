/* The password of the dashboard: HTTP Basic (RFC 7617), any user name.
 *
 * Life: ops_access_load, again at a reload -> ops_access_clear, which wipes it.
 * Errors: ERR_IO, ERR_DENIED (mode), ERR_INVALID (length); *a is as before then.
 * Thread rule: used on one thread. */
#ifndef TIDE_STATUS_OPS_ACCESS_H
#define TIDE_STATUS_OPS_ACCESS_H

#include "base/err.h"
#include "base/str.h"

enum { OPS_PASSWORD_MIN = 16, OPS_PASSWORD_MAX = 256 };

struct ops_access {
    char password[OPS_PASSWORD_MAX];
    size_t n; /* bytes; 0: everybody may look */
};

int ops_access_load(struct ops_access *a, const char *path, struct err *err) TIDE_CHECK; /* path NULL: none */
bool ops_access_allows(const struct ops_access *a, struct str authorization);
bool ops_access_is_same(const struct ops_access *a, const struct ops_access *b);
/* Whether an answer may go to who asked for that host. Without a password it has to be no name of the public DNS: a page
 * elsewhere that has its name point at this machine (DNS rebinding) could read the dashboard of a browser's tunnel. */
bool ops_access_allows_host(const struct ops_access *a, struct str authority);
void ops_access_clear(struct ops_access *a);

#endif
