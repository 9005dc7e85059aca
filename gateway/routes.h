/* The route table: which row answers a method and path. Not what the row does.
 *
 * Built-in rows are const arrays of their handlers' files; proxy rows come from the configuration. An exact path
 * wins over a prefix, a longer prefix over a shorter one. A prefix row "/x/" matches "/x/..." only. A method that a
 * row does not take goes to the next one that does, but to none where less has to be shown (auth): that would open
 * what the first row guards.
 *
 * Paths are compared as they were written, and go on so to upstreams. Most servers read more than one way of writing as
 * the same path: "%61" as "a", "//" as "/", "/x;y/" as "/x/". A path that would so belong to another row than the one
 * it matches is clear to nobody (route_is_clear), and is refused: "/api/%61dmin/" is no way around a row "/api/admin/".
 * Life: made with a configuration snapshot, dies with it. Rows are copied; what they point to is borrowed.
 * Errors: two rows with one path and a method in common refuse the table (ERR_CONFLICT names both).
 * Thread rule: immutable after route_table_new. */
#ifndef TIDE_GATEWAY_ROUTES_H
#define TIDE_GATEWAY_ROUTES_H

#include "base/metrics.h"
#include "gateway/request.h"

enum { ROUTE_CODE_CLASSES = 6 }; /* 0: no answer; 1xx .. 5xx */

struct route_entry {
    struct route route;
    struct arena arena;                               /* of reading */
    struct str reading;                               /* its path as route_path_read has it */
    struct metric_child *by_code[ROUTE_CODE_CLASSES]; /* tidegate_requests_total */
    struct metric_child *duration;                    /* tidegate_request_duration_seconds */
};

struct route_table;
struct route_table *route_table_new(void);
void route_table_free(struct route_table *t);
int route_table_add(struct route_table *t, const struct route *rows, unsigned count,
                    struct err *err) TIDE_CHECK;
void route_table_seal(struct route_table *t); /* after the last addition, before the first find */

/* NULL when nothing matches; *allowed then has the methods that the path knows, 0 for an unknown path. */
const struct route_entry *route_find(const struct route_table *t, enum http_method method, struct str path,
                                     uint32_t *allowed);
/* Whether the path is the same row's for everybody who reads it; a is for work. */
bool route_is_clear(const struct route_table *t, enum http_method method, struct str path, struct arena *a);
/* The path decoded, without parameters of segments and empty segments: on a, or path itself when that is as it stands. */
struct str route_path_read(struct arena *a, struct str path);
/* Rows in order, for `show routes`: NULL past the end. */
const struct route_entry *route_at(const struct route_table *t, unsigned i);
/* How errors are worded for a path that no row has. */
enum http_dialect route_dialect_of(struct str path);
/* "GET, HEAD, POST" */
struct str route_methods_text(struct arena *a, uint32_t methods);

#define ROUTE_METHOD(m) (1u << (m))
enum {
    ROUTE_GET = ROUTE_METHOD(HTTP_GET) | ROUTE_METHOD(HTTP_HEAD),
    ROUTE_POST = ROUTE_METHOD(HTTP_POST),
    ROUTE_DELETE = ROUTE_METHOD(HTTP_DELETE),
};

#endif
