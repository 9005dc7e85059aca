/* The last known bans on disk: a first line that names the form, then one entry a line. Written beside and renamed
 * over, so that a reader sees the old file or the new one. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/arena.h"
#include "ratelimit/bans_store.h"

#define FIRST_LINE "tidegate bans 1\n"

enum { LINE_ROOM = BAN_TEXT_MAX + 64 };

static void write_row(FILE *f, const struct ban *row, int64_t wall_ms, uint64_t now_ms)
{
    char prefix[ADDR_TEXT + 4];
    const char *text = row->text;
    if (row->kind == BAN_ADDRESS) {
        addr_prefix_format(&row->prefix, prefix);
        text = prefix;
    }
    int64_t until_ms = row->until_ms == BANS_FOREVER ? 0 : wall_ms + (int64_t)(row->until_ms - now_ms);
    fprintf(f, "%lld %s %lld %s\n", (long long)row->id, row->is_allow ? "allow" : "ban", (long long)until_ms,
            text);
}

static int write_file(const struct bans *b, const char *path, struct err *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
    if (!f) {
        return err_set(err, ERR_IO, "cannot write %s: %s", path, strerror(errno));
    }
    int64_t wall_ms = clock_wall_s() * 1000;
    uint64_t now_ms = clock_mono_ms();
    fputs(FIRST_LINE, f);
    for (uint32_t i = 0; i < bans_count(b); i++) {
        write_row(f, bans_at(b, i), wall_ms, now_ms);
    }
    bool ok = fflush(f) == 0 && !ferror(f) && fsync(fd) == 0;
    ok = fclose(f) == 0 && ok;
    return ok ? 0 : err_set(err, ERR_IO, "cannot write %s: %s", path, strerror(errno));
}

int bans_save(const struct bans *b, const char *path, struct err *err)
{
    char beside[512];
    if ((size_t)snprintf(beside, sizeof beside, "%s.new", path) >= sizeof beside) {
        return err_set(err, ERR_INVALID, "path of the file of bans is too long");
    }
    int rc = write_file(b, beside, err);
    if (rc == 0 && rename(beside, path) < 0) {
        rc = err_set(err, ERR_IO, "cannot rename %s: %s", beside, strerror(errno));
    }
    return rc;
}

struct loading {
    struct ban *rows;
    uint32_t n, room;
    struct arena texts;
};

static bool take_line(struct loading *l, struct str line, int64_t wall_ms, uint64_t now_ms)
{
    struct str id, effect, until;
    struct ban_target target;
    int64_t id_number, until_ms;
    if (!str_cut(&line, ' ', &id) || !str_cut(&line, ' ', &effect) || !str_cut(&line, ' ', &until) ||
        !str_i64(id, &id_number) || !str_i64(until, &until_ms) ||
        ban_target_parse(line, &target, NULL) != 0) {
        return false;
    }
    if (until_ms != 0 && until_ms <= wall_ms) {
        return true;
    }
    if (l->n == l->room) {
        l->room = l->room > 0 ? 2 * l->room : 256;
        l->rows = realloc(l->rows, l->room * sizeof *l->rows);
        BUG_ON(!l->rows);
    }
    l->rows[l->n++] =
        (struct ban){.id = id_number,
                     .kind = target.kind,
                     .is_allow = str_is(effect, "allow"),
                     .prefix = target.prefix,
                     .text = target.kind == BAN_ADDRESS ? NULL : arena_cstr(&l->texts, str_from(target.text)),
                     .until_ms = until_ms == 0 ? BANS_FOREVER : now_ms + (uint64_t)(until_ms - wall_ms)};
    return true;
}

static int load_lines(FILE *f, struct loading *l, const char *path, struct err *err)
{
    char line[LINE_ROOM];
    unsigned number = 1;
    int64_t wall_ms = clock_wall_s() * 1000;
    uint64_t now_ms = clock_mono_ms();
    if (!fgets(line, sizeof line, f) || strcmp(line, FIRST_LINE) != 0) {
        return err_set(err, ERR_INVALID, "%s:1: is no file of bans", path);
    }
    while (fgets(line, sizeof line, f)) {
        struct str s = str_from(line);
        number++;
        s.n -= s.n > 0 && s.p[s.n - 1] == '\n';
        if (!take_line(l, s, wall_ms, now_ms)) {
            return err_set(err, ERR_INVALID, "%s:%u: cannot be read", path, number);
        }
    }
    return 0;
}

int bans_load(const char *path, struct bans **out, struct err *err)
{
    struct loading l = {0};
    FILE *f = fopen(path, "re");
    if (!f) {
        return err_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "cannot read %s: %s", path,
                       strerror(errno));
    }
    arena_init(&l.texts);
    int rc = load_lines(f, &l, path, err);
    fclose(f);
    if (rc == 0) {
        *out = bans_with(NULL, l.rows, l.n, clock_mono_ms());
    }
    free(l.rows);
    arena_clear(&l.texts);
    return rc;
}
