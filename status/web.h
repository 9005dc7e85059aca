/* Answers the public from memory: one struct web a loop, each with a reference to the current site.
 *
 *     web_new per loop -> web_publish (control thread) hands each a new site -> web_drain -> web_free
 *
 * GET and HEAD of what the site holds; 304 by ETag or date; gzip when asked for; 404 as JSON below /api, as a page
 * elsewhere; OPTIONS for cross-origin readers. Nothing here waits, allocates per document, or knows incidents.
 * Ownership: listeners are borrowed; a web owns its server, loop and thread.
 * Thread rule: all functions on the control thread; the handler on the loop's own. */
#ifndef TIDE_STATUS_WEB_H
#define TIDE_STATUS_WEB_H

#include "base/http/server.h"
#include "status/site.h"

struct web;

struct web_listener {
    struct http_listener *listener;
    bool tls;
};

/* Starts the thread, on its share (index, index + loops, ...) of each listener's shards. site: the first one, a reference is taken. */
struct web *web_new(unsigned index, unsigned loops, const struct http_limits *limits,
                    const struct web_listener *listeners, unsigned count, struct tls_set *tls,
                    struct site *site, struct err *err);
void web_publish(struct web *w, struct site *site); /* takes a reference */
void web_set_tls(struct web *w, struct tls_set *tls,
                 const struct http_limits *limits); /* takes a reference */
/* on_empty on the control loop, once. */
void web_drain(struct web *w, uint64_t deadline_ms, struct loop *control, void (*on_empty)(void *),
               void *arg);
void web_free(struct web *w); /* stops and joins the thread */

#endif
