#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/secret.h"

/* Checked on the open descriptor, so that what is checked is what is read. */
static int open_private(const char *path, struct err *err)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        return err_set(err, ERR_IO, "cannot read %s: %s", path, strerror(errno));
    }
    const char *why = NULL;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        why = "is not a regular file";
    } else if ((st.st_mode & 077) != 0) {
        why = "must be for its owner only (chmod 600)";
    }
    if (why) {
        close(fd);
        return err_set(err, ERR_DENIED, "%s %s", path, why);
    }
    return fd;
}

int secret_file_check(const char *path, struct err *err)
{
    int fd = open_private(path, err);
    if (fd < 0) {
        return fd;
    }
    close(fd);
    return 0;
}

int secret_file_read(const char *path, struct buf *out, struct err *err)
{
    int fd = open_private(path, err);
    if (fd < 0) {
        return fd;
    }
    int rc = 0;
    for (;;) {
        char chunk[4096];
        ssize_t n = read(fd, chunk, sizeof(chunk));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            rc = err_set(err, ERR_IO, "cannot read %s: %s", path, strerror(errno));
        } else if (n > 0 && buf_add(out, chunk, (size_t)n) != 0) {
            rc = err_set(err, ERR_LIMIT, "%s has more than %zu bytes", path, out->max);
        }
        secret_cleanse(chunk, sizeof(chunk));
        if (n <= 0 || rc != 0) {
            break;
        }
    }
    close(fd);
    if (rc == 0 && out->n > 0 && out->p[out->n - 1] == '\n') {
        out->p[--out->n] = '\0';
    }
    return rc;
}

static bool write_all(int fd, struct str s)
{
    while (s.n > 0) {
        ssize_t n = write(fd, s.p, s.n);
        if (n < 0 && errno != EINTR) {
            return false;
        }
        s = str_skip(s, n > 0 ? (size_t)n : 0);
    }
    return true;
}

int secret_file_write(const char *path, struct str content, struct err *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return err_set(err, errno == EEXIST ? ERR_CONFLICT : ERR_IO, "cannot create %s: %s", path,
                       strerror(errno));
    }
    bool ok = write_all(fd, content) && fsync(fd) == 0;
    int why = errno;
    close(fd);
    if (!ok) {
        unlink(path);
        return err_set(err, ERR_IO, "cannot write %s: %s", path, strerror(why));
    }
    return 0;
}

int secret_file_replace(const char *path, struct str content, struct err *err)
{
    char beside[4096];
    struct stat old;
    if (stat(path, &old) != 0) {
        return err_set(err, ERR_IO, "cannot read %s: %s", path, strerror(errno));
    }
    if ((size_t)snprintf(beside, sizeof(beside), "%s.new", path) >= sizeof(beside)) {
        return err_set(err, ERR_LIMIT, "%s: the path is too long", path);
    }
    int rc = secret_file_write(beside, content, err);
    if (rc != 0) {
        return rc;
    }
    if (chown(beside, old.st_uid, old.st_gid) != 0 || rename(beside, path) != 0) {
        rc = err_set(err, ERR_IO, "cannot replace %s: %s", path, strerror(errno));
        unlink(beside);
    }
    return rc;
}
