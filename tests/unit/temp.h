/* A folder for one test program, emptied and removed at its end; files in it by name. */
#ifndef TIDE_TESTS_TEMP_H
#define TIDE_TESTS_TEMP_H

#include "tests/unit/unit.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char temp_folder[] = "/tmp/tide-test-XXXXXX";

__attribute__((unused)) static int temp_make(void **state)
{
    return mkdtemp(temp_folder) ? 0 : -1;
}

__attribute__((unused)) static int temp_remove(void **state)
{
    DIR *d = opendir(temp_folder);
    for (struct dirent *e; d && (e = readdir(d));) {
        unlinkat(dirfd(d), e->d_name, 0);
    }
    if (d) {
        closedir(d);
    }
    return rmdir(temp_folder);
}

/* Borrowed until the fourth next call. */
__attribute__((unused)) static const char *temp_path(const char *name)
{
    static char paths[4][128];
    static unsigned turn;
    char *p = paths[turn++ % 4];
    snprintf(p, sizeof(paths[0]), "%s/%s", temp_folder, name);
    return p;
}

__attribute__((unused)) static const char *temp_write(const char *name, const char *text, mode_t mode)
{
    const char *path = temp_path(name);
    unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
    return path;
}

#endif
