/* Everything the public can ask for, rendered and compressed: an immutable set of documents in memory.
 *
 *     control thread: site_render(board, old site) -> posts a reference to each loop -> loops answer from it
 *
 * A document whose bytes are the same as in the old site is the same object there: its ETag and Last-Modified
 * stay, and nothing is compressed twice.
 *
 * Ownership: site_render returns one reference; site_ref/site_unref. A site owns references to its documents.
 * Thread rule: rendering on the control thread; ref, unref and lookups on any thread (atomic counts, const data). */
#ifndef TIDE_STATUS_SITE_H
#define TIDE_STATUS_SITE_H

#include <stdatomic.h>

#include "base/clock.h"
#include "status/page.h"

enum { SITE_ETAG_LEN = 40, SITE_DOCUMENT_MAX = 4 * 1024 * 1024, SITE_DOCUMENTS_MAX = 512 };

struct site_body {
    char *p;                      /* heap */
    size_t n;                     /* bytes */
    char etag[SITE_ETAG_LEN + 1]; /* strong, with its quotes */
};

struct site_document {
    atomic_uint refs;
    char path[64];        /* "/api/v2/summary.json", "/zh/history" */
    const char *type;     /* content-type */
    const char *language; /* content-language, NULL when it has none */
    struct site_body plain;
    struct site_body gzip;             /* n = 0 when compressing did not help */
    char modified[CLOCK_HTTP_LEN + 1]; /* when these bytes first appeared */
};

struct site {
    atomic_uint refs;
    struct site_document *documents[SITE_DOCUMENTS_MAX]; /* ascending by path */
    unsigned count;
    char csp[256]; /* Content-Security-Policy of its pages */
};

/* old may be NULL. A document that is too large is left out and logged. */
struct site *site_render(const struct board *b, const struct site *old, int64_t now_ms);
struct site *site_ref(struct site *s);
void site_unref(struct site *s);                                              /* NULL allowed */
const struct site_document *site_find(const struct site *s, struct str path); /* NULL when there is none */
/* The page that says so, with status 404. */
const struct site_document *site_not_found(const struct site *s, enum problem_lang lang);

#endif
