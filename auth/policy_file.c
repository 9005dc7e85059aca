/* The last known policy on disk: one line with its version, then the document. Written beside and renamed over,
 * so that a reader sees the old one or the new one. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "auth/policy.h"

static int policy_write_file(const struct policy *p, const char *path, struct err *err)
{
    struct str document = policy_document(p);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
    if (!f) {
        return err_set(err, ERR_IO, "cannot write %s: %s", path, strerror(errno));
    }
    bool ok = fprintf(f, "%lld\n", (long long)policy_version(p)) > 0 &&
              fwrite(document.p, 1, document.n, f) == document.n && fflush(f) == 0 && fsync(fd) == 0;
    ok = fclose(f) == 0 && ok;
    return ok ? 0 : err_set(err, ERR_IO, "cannot write %s: %s", path, strerror(errno));
}

int policy_save(const struct policy *p, const char *path, struct err *err)
{
    char beside[512];
    if ((size_t)snprintf(beside, sizeof beside, "%s.new", path) >= sizeof beside) {
        return err_set(err, ERR_INVALID, "path of the policy file is too long");
    }
    int rc = policy_write_file(p, beside, err);
    if (rc == 0 && rename(beside, path) < 0) {
        rc = err_set(err, ERR_IO, "cannot rename %s: %s", beside, strerror(errno));
    }
    return rc;
}

int policy_load(const char *path, struct policy **out, struct err *err)
{
    FILE *f = fopen(path, "re");
    if (!f) {
        return err_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "cannot read %s: %s", path,
                       strerror(errno));
    }
    enum { ROOM = POLICY_DOCUMENT_MAX + 32 };
    char *text = malloc(ROOM);
    BUG_ON(!text);
    struct str rest = str_of(text, fread(text, 1, ROOM, f));
    fclose(f);
    struct str line;
    int64_t version = 0;
    int rc;
    if (!str_cut(&rest, '\n', &line) || !str_i64(line, &version) || version < 1) {
        rc = err_set(err, ERR_INVALID, "%s does not begin with a version", path);
    } else {
        rc = policy_parse(rest, version, out, err);
    }
    free(text);
    return rc;
}
