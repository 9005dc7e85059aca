/* See ended_file.h. */
#include "auth/ended_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ENDED_LINE_MAX = 80 };

static bool write_rows(FILE *f, const struct auth_ended *items, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        char id[ID_UUID_TEXT + 1];
        uuid_format(&items[i].session, id);
        if (fprintf(f, "%s %lld\n", id, (long long)items[i].ended_s) < 0) {
            return false;
        }
    }
    return true;
}

int ended_save(const struct auth_ended *items, unsigned n, int64_t era, const char *path, struct err *err)
{
    char beside[512];
    if ((size_t)snprintf(beside, sizeof beside, "%s.new", path) >= sizeof beside) {
        return err_set(err, ERR_INVALID, "path of the file of ended sessions is too long");
    }
    FILE *f = fopen(beside, "we");
    if (!f) {
        return err_set(err, ERR_IO, "cannot write %s: %s", beside, strerror(errno));
    }
    bool ok = fprintf(f, "era %lld\n", (long long)era) > 0 && write_rows(f, items, n);
    ok = fclose(f) == 0 && ok;
    if (!ok || rename(beside, path) < 0) {
        return err_set(err, ERR_IO, "cannot write %s: %s", path, strerror(errno));
    }
    return 0;
}

int ended_append(const struct auth_ended *items, unsigned n, const char *path, struct err *err)
{
    FILE *f = fopen(path, "ae");
    if (!f) {
        return err_set(err, ERR_IO, "cannot write %s: %s", path, strerror(errno));
    }
    bool ok = write_rows(f, items, n);
    ok = fclose(f) == 0 && ok;
    return ok ? 0 : err_set(err, ERR_IO, "cannot write %s: %s", path, strerror(errno));
}

/* False: it is no session. */
static bool read_row(struct str line, struct auth_ended *out, int64_t *era)
{
    struct str id;
    int64_t number;
    if (!str_cut(&line, ' ', &id) || !str_i64(line, &number)) {
        return false;
    }
    *era = str_is(id, "era") ? number : *era;
    out->ended_s = number;
    return uuid_parse(id, &out->session);
}

int ended_load(const char *path, struct auth_ended **items, unsigned *n, int64_t *era, struct err *err)
{
    char line[ENDED_LINE_MAX];
    unsigned room = 0;
    FILE *f = fopen(path, "re");
    *items = NULL;
    *n = 0;
    *era = 0;
    if (!f) {
        return err_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "cannot read %s: %s", path,
                       strerror(errno));
    }
    while (fgets(line, sizeof line, f)) {
        struct auth_ended row;
        if (!read_row(str_of(line, strcspn(line, "\n")), &row, era)) {
            continue;
        }
        if (*n == room) {
            room = room ? room * 2 : 64;
            *items = realloc(*items, room * sizeof **items);
            BUG_ON(!*items);
        }
        (*items)[(*n)++] = row;
    }
    fclose(f);
    return 0;
}
