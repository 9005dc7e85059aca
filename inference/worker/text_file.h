/* A whole file as bytes, for the diagnostics of the command line.
 *
 * Errors: ERR_IO; ERR_LIMIT, it is longer than the buffer's limit. The buffer then holds a part of it.
 * Thread rule: any thread. */
#ifndef TIDE_WORKER_TEXT_FILE_H
#define TIDE_WORKER_TEXT_FILE_H

#include "base/buf.h"
#include "base/err.h"

int text_file_read(const char *path, struct buf *out, struct err *err) TIDE_CHECK;

#endif
