#include "gateway/attack_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ratelimit/attack_ladder.h"

#define WORDS "tidegate attack A"

enum { PATH_ROOM = 512, LINE_ROOM = 64 };

int attack_file_save(int level, const char *path, struct err *err)
{
    char beside[PATH_ROOM];
    char line[LINE_ROOM];
    if ((size_t)snprintf(beside, sizeof beside, "%s.new", path) >= sizeof beside) {
        return err_set(err, ERR_INVALID, "path of the attack ladder's file is too long");
    }
    int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (fd < 0) {
        return err_set(err, ERR_IO, "cannot write %s: %s", beside, strerror(errno));
    }
    int n = snprintf(line, sizeof line, WORDS "%d\n", level);
    bool ok = write(fd, line, (size_t)n) == n && fsync(fd) == 0;
    ok = close(fd) == 0 && ok;
    return ok && rename(beside, path) == 0
               ? 0
               : err_set(err, ERR_IO, "cannot write %s: %s", path, strerror(errno));
}

int attack_file_load(const char *path, int *level, struct err *err)
{
    char line[LINE_ROOM] = "";
    FILE *f = fopen(path, "re");
    if (!f) {
        return err_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "cannot read %s: %s", path,
                       strerror(errno));
    }
    size_t n = fread(line, 1, sizeof line - 1, f);
    fclose(f);
    size_t at = sizeof WORDS - 1;
    bool ok = n == at + 2 && memcmp(line, WORDS, at) == 0 && line[at] >= '0' &&
              line[at] < '0' + LADDER_LEVELS && line[at + 1] == '\n';
    if (!ok) {
        return err_set(err, ERR_INVALID, "%s: is not the level of an attack ladder", path);
    }
    *level = line[at] - '0';
    return 0;
}
