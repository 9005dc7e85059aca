/* Where an address is: country and autonomous system, from MaxMind DB files (.mmdb). Not when files are read again
 * (gateway/geography), and not where a phone number is from.
 *
 *     geo_open(country file, asn file) -> struct geo, immutable, counted -> geo_find -> the last geo_unref frees it
 *
 * A file is copied into memory of ours and looked through as a whole before it is used: every way through its tree and
 * every record in it. So one that is cut, overwritten in place or made by an enemy is refused at once or never, and a file that
 * changes under us harms nobody. One file may hold both: then the other is not named.
 * Members understood: country.iso_code, registered_country.iso_code, country_code, country (text); for systems
 * autonomous_system_number, asn (a number, or text as "AS4134").
 * Memory: the size of the files. Errors: ERR_IO, ERR_INVALID, ERR_LIMIT; the text begins with the path.
 * Thread rule: immutable once open; references from any thread. */
#ifndef TIDE_BASE_GEO_H
#define TIDE_BASE_GEO_H

#include "base/addr.h"
#include "base/err.h"

enum { GEO_FILE_MAX = 1 << 30 }; /* bytes */

enum geo_kind { GEO_COUNTRY = 0, GEO_ASN = 1, GEO_KINDS = 2 };

/* What is known of an address. */
struct geo_place {
    char country[3]; /* ISO 3166; "": not known */
    uint32_t asn;    /* 0: not known */
};

struct geo;
/* paths by enum geo_kind; one of them may be NULL. */
int geo_open(const char *const paths[GEO_KINDS], struct geo **out, struct err *err) TIDE_CHECK;
struct geo *geo_ref(struct geo *g);
void geo_unref(struct geo *g); /* NULL allowed */

/* False: a file could not be read at that address, which geo_open should have seen. About 1 us. */
bool geo_find(const struct geo *g, const struct addr *a, struct geo_place *out);
int64_t geo_built_s(const struct geo *g,
                    enum geo_kind kind); /* Unix time of the file's making; 0: no such file */

#endif
