#include "status/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "status/incident_json.h"

enum { SNAPSHOT_FORMAT = 1, SNAPSHOT_MAX = 8 * 1024 * 1024 };

static const struct json_limits snapshot_limits = {
    .max_depth = 10, .max_members = 200000, .max_items = 200000, .max_string = 64 * 1024};

/* --- writing ----------------------------------------------------------------------------------- */

static void write_days(struct json_writer *w, const struct uptime *u)
{
    json_open_at(w, "days", '[');
    for (unsigned k = 0; k < u->count; k++) {
        const struct uptime_day *d = &u->days[k];
        json_open(w, '[');
        json_i64(w, d->day);
        json_f64(w, d->watched);
        json_f64(w, d->degraded);
        json_f64(w, d->partial);
        json_f64(w, d->major);
        json_close(w, ']');
    }
    json_close(w, ']');
}

static void write_component(struct json_writer *w, const struct component *c)
{
    json_open(w, '{');
    json_i64_at(w, "kind", c->kind);
    json_str_at(w, "label", str_from(c->label));
    json_str_at(w, "measured", str_from(component_status_word(c->measured)));
    json_str_at(w, "policy", str_from(component_status_word(c->policy)));
    json_i64_at(w, "seen_ms", c->seen_ms);
    json_i64_at(w, "created_ms", c->created_ms);
    json_i64_at(w, "updated_ms", c->updated_ms);
    write_days(w, &c->uptime);
    json_close(w, '}');
}

void snapshot_render(const struct board *b, int64_t now_ms, struct buf *out)
{
    struct json_writer w = {.out = out};
    json_open(&w, '{');
    json_i64_at(&w, "format", SNAPSHOT_FORMAT);
    json_i64_at(&w, "saved_ms", now_ms);
    json_i64_at(&w, "created_ms", b->created_ms);
    json_i64_at(&w, "updated_ms", b->updated_ms);
    json_open_at(&w, "components", '[');
    for (unsigned k = 0; k < b->component_count; k++) {
        write_component(&w, &b->components[k]);
    }
    json_close(&w, ']');
    json_open_at(&w, "incidents", '[');
    for (unsigned k = 0; k < b->book.count; k++) {
        incident_json_write(&w, b->book.items[k]);
    }
    json_close(&w, ']');
    json_close(&w, '}');
}

static int write_all(int fd, struct str text)
{
    while (text.n) {
        ssize_t n = write(fd, text.p, text.n);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return -1;
        }
        text = str_skip(text, (size_t)n);
    }
    return fdatasync(fd);
}

int snapshot_write(const char *path, struct str text, struct err *err)
{
    char fresh[512];
    if (snprintf(fresh, sizeof fresh, "%s.new", path) >= (int)sizeof fresh) {
        return err_set(err, ERR_LIMIT, "snapshot path is too long");
    }
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) {
        return err_set(err, ERR_IO, "%s: %s", fresh, strerror(errno));
    }
    int rc = write_all(fd, text);
    int saved = errno;
    rc = close(fd) < 0 || rc < 0 ? -1 : 0;
    if (rc < 0 || rename(fresh, path) < 0) {
        saved = rc < 0 ? saved : errno;
        unlink(fresh);
        return err_set(err, ERR_IO, "%s: %s", path, strerror(saved));
    }
    return 0;
}

/* --- reading ----------------------------------------------------------------------------------- */

static int64_t number(const cJSON *object, const char *key)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsNumber(v) ? (int64_t)v->valuedouble : 0;
}

static struct str text_of(const cJSON *object, const char *key)
{
    return str_from(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, key)));
}

static bool read_day(const cJSON *value, struct uptime *u)
{
    double v[5];
    if (cJSON_GetArraySize(value) != 5) {
        return false;
    }
    for (int k = 0; k < 5; k++) {
        const cJSON *item = cJSON_GetArrayItem(value, k);
        if (!cJSON_IsNumber(item) || item->valuedouble < 0 || item->valuedouble > 1e6) {
            return false;
        }
        v[k] = item->valuedouble;
    }
    struct uptime_day row = {
        .day = (int32_t)v[0], .watched = v[1], .degraded = v[2], .partial = v[3], .major = v[4]};
    uptime_merge_day(u, &row);
    return true;
}

static bool read_component(const cJSON *value, struct board *b)
{
    int64_t kind = number(value, "kind");
    enum component_status measured, policy;
    if (kind < COMPONENT_SIGNUP || kind > COMPONENT_MODEL ||
        !component_status_parse(text_of(value, "measured"), &measured) ||
        !component_status_parse(text_of(value, "policy"), &policy)) {
        return false;
    }
    struct component *c =
        board_component(b, (enum component_kind)kind, text_of(value, "label"), number(value, "created_ms"));
    if (!c) {
        return false;
    }
    c->measured = measured;
    c->policy = policy;
    c->seen_ms = number(value, "seen_ms");
    c->updated_ms = number(value, "updated_ms");
    const cJSON *day;
    cJSON_ArrayForEach(day, cJSON_GetObjectItemCaseSensitive(value, "days"))
    {
        if (!read_day(day, &c->uptime)) {
            return false;
        }
    }
    return true;
}

static bool read_board(const cJSON *root, struct board *b)
{
    const cJSON *item;
    if (number(root, "format") != SNAPSHOT_FORMAT) {
        return false;
    }
    b->created_ms = number(root, "created_ms");
    b->updated_ms = number(root, "updated_ms");
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(root, "components"))
    {
        if (!read_component(item, b)) {
            return false;
        }
    }
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(root, "incidents"))
    {
        struct incident *i = incident_json_read(item);
        if (!i) {
            return false;
        }
        incident_book_put(&b->book, i);
    }
    return true;
}

static int read_file(const char *path, struct buf *out, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return err_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: %s", path, strerror(errno));
    }
    int rc = 0;
    for (;;) {
        char *p = buf_reserve(out, 65536);
        ssize_t n = p ? read(fd, p, 65536) : -1;
        if (n < 0 && p && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            rc = n < 0 ? err_set(err, ERR_IO, "%s: %s", path, p ? strerror(errno) : "too large") : 0;
            break;
        }
        buf_commit(out, (size_t)n);
    }
    close(fd);
    return rc;
}

int snapshot_load(const char *path, struct board *b, struct err *err)
{
    struct buf text;
    cJSON *root = NULL;
    buf_init(&text, SNAPSHOT_MAX);
    int rc = read_file(path, &text, err);
    if (rc == 0) {
        rc = json_parse(buf_str(&text), &snapshot_limits, &root, err);
    }
    if (rc == 0 && !read_board(root, b)) {
        rc = err_set(err, ERR_INVALID, "%s: not a snapshot of this program", path);
    }
    if (rc < 0) {
        board_clear(b);
    }
    cJSON_Delete(root);
    buf_clear(&text);
    return rc;
}
