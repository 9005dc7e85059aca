/* The packed weights of a model in a file, which all workers of a machine map: one copy in memory, and a start that
 * does not repack. Not a format for exchange: it belongs to one copy of a model's file, and is made anew at will.
 *
 *     "TIDEPACK" | layout | bytes of the file | sum of the strips | key      64 bytes, then
 *     strips of the first matrix | strips of the second | ...               each from a multiple of 64 on
 *
 * The key is a SHA-256 of the model's files (gguf_stamp) and of the matrices in their order: name, type, shape, a few
 * bytes. Who knows the model knows every offset, so the file has none. A file whose header is another than expected, that is
 * shorter or longer, or whose sum is another, is never used but replaced.
 * Life: who finds no good file locks PATH.new, writes it there, flushes it to disk and renames it to PATH. Others wait
 * for the lock and then find the file. Who dies while writing leaves PATH.new, which the next writer takes over.
 * A file is never written to under its own name, so that what is mapped stays as it is; one that is cut short by
 * somebody else ends the workers that map it with SIGBUS, as the model's own file would.
 * The file is its owner's only (0600), and another user's is not used: its contents are weights.
 * Errors: packed_file_open: ERR_IO (cannot be read or written, the disk is full), ERR_DENIED (another user's),
 * ERR_TIMEOUT (another worker has been writing it for ten minutes), ERR_INVALID (models without a stamp), ERR_NOMEM.
 * No matrix then has data that it had not before.
 * Thread rule: read-only once it is open. */
#ifndef TIDE_WORKER_CPU_PACKED_FILE_H
#define TIDE_WORKER_CPU_PACKED_FILE_H

#include "inference/worker/cpu/packed.h"

enum { PACKED_PATH_ROOM = 4096 };

struct packed_file {
    const uint8_t *map; /* NULL: not open */
    size_t bytes;
};

/* Makes data of all matrices point into the file, which is written first where it has to be. */
int packed_file_open(struct packed_file *f, const char *path, const struct gguf *model,
                     struct packed *matrices, size_t count, struct err *err) TIDE_CHECK;
void packed_file_close(struct packed_file *f); /* nothing happens where it is not open */

/* Where the file of a model stands: MODEL.tide-packed, or the same name in `folder`; "" for the folder "none".
 * ERR_LIMIT: the path is too long. */
int packed_file_path(const char *model, const char *folder, char out[PACKED_PATH_ROOM],
                     struct err *err) TIDE_CHECK;

#endif
