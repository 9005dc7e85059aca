/* Makes HTTP(S) requests as a stranger would: over the public listener, with the public CA, within a deadline.
 * Knows nothing of what the answers mean: checks.c does.
 *
 *     prober_fetch -> the probe thread (libcurl multi) -> done(arg, result) on the loop that started the prober
 *
 * Each request has its own deadline, name look-up and TLS handshake included. Connections are kept between
 * requests unless `fresh`. Answers longer than max_body_bytes are cut and reported as ERR_LIMIT.
 * Ownership: texts of the request are copied; the result is borrowed until done returns.
 * After prober_free no callback runs.
 * Thread rule: used on one loop's thread; the probe thread is the module's own. */
#ifndef TIDE_STATUS_PROBER_H
#define TIDE_STATUS_PROBER_H

#include "base/err.h"
#include "base/loop.h"
#include "base/str.h"

struct prober;

enum { PROBER_FIELDS = 4, PROBER_IN_FLIGHT = 128 };

struct prober_request {
    const char *url;
    const char *unix_socket;           /* path: asked there instead of the URL's host; NULL: the host */
    const char *body;                  /* POST when not NULL, else GET */
    const char *fields[PROBER_FIELDS]; /* "name: value"; NULL ones are skipped */
    uint64_t deadline_ms;              /* from now */
    size_t max_body_bytes;
    bool fresh; /* on a connection of its own, so that accept and handshake are probed too */
};

struct prober_result {
    int rc;              /* 0: an answer came; ERR_TIMEOUT, ERR_UNAVAILABLE, ERR_LIMIT, ERR_PROTOCOL */
    unsigned status;     /* HTTP, when rc is 0 */
    struct str body;     /* when rc is 0 */
    uint64_t elapsed_ms; /* from the start to the end */
    const char *error;   /* for logs, "" when rc is 0 */
};

typedef void (*prober_done)(void *arg, const struct prober_result *result);

/* ca_file NULL: the system's certificates. */
struct prober *prober_new(struct loop *loop, const char *ca_file, struct err *err);
void prober_free(struct prober *p); /* NULL allowed */
/* ERR_AGAIN when PROBER_IN_FLIGHT requests are under way; done is not called then. */
int prober_fetch(struct prober *p, const struct prober_request *request, prober_done done,
                 void *arg) TIDE_CHECK;

#endif
