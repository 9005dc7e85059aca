#include "inference/worker/text_file.h"

#include <errno.h>
#include <stdio.h>

int text_file_read(const char *path, struct buf *out, struct err *err)
{
    FILE *f = fopen(path, "re");
    if (!f) {
        return err_set(err, ERR_IO, "cannot open %.100s: %s", path, strerror(errno));
    }
    char part[4096];
    size_t n;
    while (!out->overflowed && (n = fread(part, 1, sizeof part, f)) > 0) {
        buf_add(out, part, n);
    }
    bool failed = ferror(f);
    fclose(f);
    if (failed) {
        return err_set(err, ERR_IO, "cannot read %.100s", path);
    }
    return out->overflowed ? err_set(err, ERR_LIMIT, "%.100s is too long", path) : 0;
}
