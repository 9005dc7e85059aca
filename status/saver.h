/* Writes the snapshot on a thread of its own, so that a slow or full disk never holds up what the page says.
 *
 * saver_put replaces a text that is still waiting: only the newest matters. saver_free writes what is waiting.
 * Thread rule: saver_put from one thread. */
#ifndef TIDE_STATUS_SAVER_H
#define TIDE_STATUS_SAVER_H

#include "base/buf.h"
#include "base/err.h"

struct saver;

struct saver *saver_new(const char *path, struct err *err); /* path is copied */
void saver_put(struct saver *s, struct buf *text);          /* takes the text; *text is empty after */
void saver_free(struct saver *s);                           /* NULL allowed */

#endif
