/* The board on disk, so that a start without gateway and without PostgreSQL still has a page to show.
 *
 * Written to FILE.new, flushed, renamed: a reader sees the old one or the new one, never half of one. A file that
 * cannot be read or believed is refused whole and named in the log by the caller.
 * What was measured before the start counts as old: components are stale until the first new result.
 * Thread rule: used only on the control thread; snapshot_write blocks on the disk (a few kilobytes). */
#ifndef TIDE_STATUS_SNAPSHOT_H
#define TIDE_STATUS_SNAPSHOT_H

#include "status/board.h"

void snapshot_render(const struct board *b, int64_t now_ms, struct buf *out);
int snapshot_write(const char *path, struct str text, struct err *err) TIDE_CHECK;
/* Fills an initialised, empty board. ERR_NOT_FOUND: no such file. On errors the board is empty again. */
int snapshot_load(const char *path, struct board *b, struct err *err) TIDE_CHECK;

#endif
