#include "inference/worker/safetensors/fields.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_MAX_BYTES = 1 << 28 };

/* A vocabulary of 2^22 tokens and its merges fit. */
static const struct json_limits limits = {
    .max_depth = 32, .max_members = 1 << 23, .max_items = 1 << 25, .max_string = 1 << 22};

static int read_all(int fd, char *p, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t got = read(fd, p + done, n - done);
        if (got <= 0) {
            return got < 0 ? errno : EIO;
        }
        done += (size_t)got;
    }
    return 0;
}

int fields_read_file(struct arena *arena, const char *folder, const char *file, struct str *out,
                     struct err *err)
{
    struct str path = arena_printf(arena, "%s/%s", folder, file);
    int fd = open(path.p, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return err_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "cannot open %.110s: %s", path.p,
                       strerror(errno));
    }
    struct stat st;
    int rc = 0;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        rc = err_set(err, ERR_INVALID, "%.110s is not a regular file", path.p);
    } else if (st.st_size > FILE_MAX_BYTES) {
        rc = err_set(err, ERR_LIMIT, "%.110s has more than %d bytes", path.p, FILE_MAX_BYTES);
    } else {
        size_t n = (size_t)st.st_size;
        char *p = arena_alloc(arena, n + 1);
        int failed = read_all(fd, p, n);
        *out = str_of(p, n);
        rc = failed ? err_set(err, ERR_IO, "cannot read %.110s: %s", path.p, strerror(failed)) : 0;
    }
    close(fd);
    return rc;
}

static int scan(struct fields *f, struct str text)
{
    struct err inner = {0};
    int rc = json_scan(f->arena, text, &limits, &f->doc, &inner);
    if (rc) {
        return err_set(f->err, rc, "%s: %s", f->file, inner.msg);
    }
    return f->doc.type == JSON_OBJECT ? 0 : err_set(f->err, ERR_INVALID, "%s is not a JSON object", f->file);
}

int fields_open(struct fields *f, struct arena *arena, const char *folder, const char *file, struct err *err)
{
    struct str text;
    *f = (struct fields){.arena = arena, .file = file, .err = err};
    int rc = fields_read_file(arena, folder, file, &text, err);
    f->rc = rc ? rc : scan(f, text);
    return f->rc;
}

void fields_open_value(struct fields *f, struct fields *inner, const struct json_slice *value,
                       const char *name)
{
    *inner = (struct fields){.arena = f->arena, .err = f->err, .rc = f->rc};
    inner->file = arena_printf(f->arena, "%s: %s", f->file, name).p;
    if (!value || f->rc) {
        return;
    }
    if (value->type != JSON_OBJECT) {
        fields_refuse(f, name, "is not an object");
        inner->rc = f->rc;
        return;
    }
    inner->rc = scan(inner, value->raw);
}

void fields_open_member(struct fields *f, struct fields *inner, const char *name)
{
    fields_open_value(f, inner, fields_find(f, name), name);
}

void fields_close_member(struct fields *f, const struct fields *inner)
{
    f->rc = f->rc ? f->rc : inner->rc;
}

const struct json_slice *fields_find(const struct fields *f, const char *name)
{
    const struct json_slice *found = json_member(&f->doc, name);
    return found && found->type != JSON_NULL ? found : NULL;
}

void fields_refuse(struct fields *f, const char *name, const char *why)
{
    if (!f->rc) {
        f->rc = err_set(f->err, ERR_INVALID, "%s: %s %s", f->file, name, why);
    }
}

uint32_t fields_u32(struct fields *f, const char *name, uint32_t absent)
{
    const struct json_slice *v = fields_find(f, name);
    int64_t number;
    if (!v) {
        return absent;
    }
    if (!json_get_i64(v, &number) || number < 0 || number > UINT32_MAX) {
        fields_refuse(f, name, "is not a whole number from 0 up");
        return absent;
    }
    return (uint32_t)number;
}

uint32_t fields_required(struct fields *f, const char *name)
{
    if (!fields_find(f, name)) {
        fields_refuse(f, name, "is missing");
    }
    uint32_t number = fields_u32(f, name, 0);
    if (number == 0) {
        fields_refuse(f, name, "is 0");
    }
    return number;
}

double fields_real(struct fields *f, const char *name, double absent)
{
    const struct json_slice *v = fields_find(f, name);
    double number = absent;
    if (v && !json_get_f64(v, &number)) {
        fields_refuse(f, name, "is not a number");
    }
    return number;
}

bool fields_bool(struct fields *f, const char *name, bool absent)
{
    const struct json_slice *v = fields_find(f, name);
    bool truth = absent;
    if (v && !json_get_bool(v, &truth)) {
        fields_refuse(f, name, "is not true or false");
    }
    return truth;
}

struct str fields_str(struct fields *f, const char *name, const char *absent)
{
    const struct json_slice *v = fields_find(f, name);
    struct str text = str_from(absent);
    if (v && !json_get_str(f->arena, v, &text)) {
        fields_refuse(f, name, "is not a text");
    }
    return text;
}

struct str fields_key(struct fields *f, const struct json_slice *member)
{
    struct json_slice quoted = {.raw = str_of(member->key.p - 1, member->key.n + 2), .type = JSON_STRING};
    struct str text = STR("");
    BUG_ON(!json_get_str(f->arena, &quoted, &text));
    return text;
}
