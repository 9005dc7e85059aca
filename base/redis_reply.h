/* Turns Redis's answers into struct redis_reply without allocating: hiredis parses, nodes and texts go into two
 * fixed blocks that are reused for every answer. Part of base/redis; nothing else includes it.
 *
 *     redis_reader_feed(bytes) -> redis_reader_next: 1 and a reply (valid until the next call), 0 more bytes wanted,
 *     ERR_PROTOCOL (the connection is not usable further)
 *
 * A map of a Cluster sets the sizes; memory is touched only as far as an answer needs it. Bytes that do not become
 * an answer are kept up to twice the texts' size.
 *
 * Thread rule: used by one thread at a time. */
#ifndef TIDE_BASE_REDIS_REPLY_H
#define TIDE_BASE_REDIS_REPLY_H

#include "base/redis.h"

enum { REDIS_REPLY_NODES = 16384, REDIS_REPLY_TEXT = 256 * 1024 };

struct redis_reader;
struct redis_reader *redis_reader_new(void);
void redis_reader_free(struct redis_reader *r);
void redis_reader_reset(struct redis_reader *r); /* a new connection: forget what was half read */

int redis_reader_feed(struct redis_reader *r, const char *p, size_t n) TIDE_CHECK;
int redis_reader_next(struct redis_reader *r, const struct redis_reply **out) TIDE_CHECK;
const char *redis_reader_trouble(const struct redis_reader *r); /* why, after ERR_PROTOCOL */

#endif
