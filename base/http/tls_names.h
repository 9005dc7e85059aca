/* Which certificates a server name gets: exact names and wildcards of one label ("*.example.com"), by hash.
 * Not the certificates themselves: numbers of a list that the caller keeps.
 *
 * Of two certificates for one name with keys of one kind, the one added first is given. A kind that the exact name
 * lacks is taken from the wildcard.
 * Case does not matter. Names are ASCII (A-labels), as in SNI and in certificates.
 * Thread rule: made on one thread, then only read. */
#ifndef TIDE_BASE_HTTP_TLS_NAMES_H
#define TIDE_BASE_HTTP_TLS_NAMES_H

#include "base/http/tls_cert.h"

enum { TLS_NAME_MAX = 255 }; /* RFC 1035; longer ones are no names */

struct tls_choice {
    uint16_t cert[TLS_KEY_KINDS]; /* number + 1 by kind of key; 0: none */
};

struct tls_names;
struct tls_names *tls_names_new(void);
void tls_names_free(struct tls_names *t);
void tls_names_add(struct tls_names *t, struct str name, enum tls_key_kind kind, uint16_t cert);
bool tls_names_find(const struct tls_names *t, struct str name, struct tls_choice *out);
unsigned tls_names_count(const struct tls_names *t);

#endif
