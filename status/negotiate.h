/* What a request may be given: compressed or not, the document or "not modified", in which language.
 *
 * Sources: RFC 9110 8.8.3 and 13.1.2 (If-None-Match), 13.1.3 (If-Modified-Since), 12.5.3 (Accept-Encoding).
 * Thread rule: pure functions. */
#ifndef TIDE_STATUS_NEGOTIATE_H
#define TIDE_STATUS_NEGOTIATE_H

#include "base/http/problem.h"
#include "base/str.h"
#include "status/site.h"

/* gzip (or x-gzip, or *) named without q=0. An absent field: no. */
bool negotiate_takes_gzip(struct str accept_encoding);
/* If-None-Match against the document's tags, by the weak comparison that GET uses. Both variants count: they are
 * the same document. */
bool negotiate_is_known(struct str if_none_match, const struct site_document *d);
/* The document a path means. Paths without a language go by Accept-Language: *varies tells so. A slash at the end
 * is dropped. NULL when there is none. */
const struct site_document *negotiate_find(const struct site *s, struct str path, struct str accept_language,
                                           bool *varies);
/* The language of a path's prefix, else of Accept-Language. */
enum problem_lang negotiate_lang(struct str path, struct str accept_language);

#endif
