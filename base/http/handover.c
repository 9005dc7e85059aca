#include "base/http/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/http/server_impl.h"

struct entry {
    struct entry *next;
    char asked[sizeof(((struct endpoint *)0)->text)]; /* as the configuration wrote it */
    int lock_fd;
    int *fds; /* owned array */
    unsigned count;
};

struct http_handover {
    struct entry *entries;
    bool owns_fds; /* was read: what is left is ours to close */
};

static void *must(void *p)
{
    BUG_ON(!p);
    return p;
}

struct http_handover *http_handover_new(void)
{
    return must(calloc(1, sizeof(struct http_handover)));
}

static struct entry *entry_add(struct http_handover *h, unsigned count)
{
    struct entry *e = must(calloc(1, sizeof(*e)));
    e->fds = must(calloc(count, sizeof(*e->fds)));
    e->next = h->entries;
    h->entries = e;
    return e;
}

static void entry_free(struct entry *e)
{
    free(e->fds);
    free(e);
}

/* --- the old process ------------------------------------------------------------------------------ */

void http_handover_add(struct http_handover *h, const struct http_listener *l)
{
    struct entry *e = entry_add(h, l->shards);
    memcpy(e->asked, l->asked, sizeof(e->asked));
    e->lock_fd = l->lock_fd;
    e->count = l->shards;
    memcpy(e->fds, l->fds, l->shards * sizeof(*e->fds));
}

void http_handover_write(const struct http_handover *h, struct buf *out)
{
    for (const struct entry *e = h->entries; e; e = e->next) {
        buf_addf(out, "%s %d", e->asked, e->lock_fd);
        for (unsigned i = 0; i < e->count; i++) {
            buf_addf(out, " %d", e->fds[i]);
        }
        buf_add_char(out, '\n');
    }
}

void http_handover_each(const struct http_handover *h, void (*fn)(void *arg, int fd), void *arg)
{
    for (const struct entry *e = h->entries; e; e = e->next) {
        fn(arg, e->lock_fd);
        for (unsigned i = 0; i < e->count; i++) {
            fn(arg, e->fds[i]);
        }
    }
}

/* --- the new process ------------------------------------------------------------------------------ */

/* A descriptor that is a socket and, for shards, listens. From now on it ends with this process's programs. */
static bool read_socket(struct str number, bool listens, int *out)
{
    uint64_t n = 0;
    int value = 0;
    socklen_t size = sizeof(value);
    if (!str_u64(number, &n) || n > INT_MAX ||
        getsockopt((int)n, SOL_SOCKET, SO_ACCEPTCONN, &value, &size) != 0 || (listens && !value)) {
        return false;
    }
    *out = (int)n;
    return fcntl(*out, F_SETFD, FD_CLOEXEC) == 0;
}

static bool read_line(struct http_handover *h, struct str line)
{
    struct str asked;
    struct str lock;
    struct str number;
    unsigned room = 1;
    for (size_t i = 0; i < line.n; i++) {
        room += line.p[i] == ' ';
    }
    if (!str_cut(&line, ' ', &asked) || !str_cut(&line, ' ', &lock)) {
        return false;
    }
    struct entry *e = entry_add(h, room);
    if (asked.n >= sizeof(e->asked) || !read_socket(lock, false, &e->lock_fd)) {
        return false;
    }
    memcpy(e->asked, asked.p, asked.n);
    while (str_cut(&line, ' ', &number)) {
        if (!read_socket(number, true, &e->fds[e->count])) {
            return false;
        }
        e->count++;
    }
    return e->count > 0;
}

struct http_handover *http_handover_read(struct str text, struct err *err)
{
    struct http_handover *h = http_handover_new();
    struct str line;
    while (str_cut(&text, '\n', &line)) {
        if (!read_line(h, line)) {
            err_set(err, ERR_INVALID, "sockets that were handed over: cannot use \"%.80s\"", line.p);
            http_handover_free(h);
            return NULL;
        }
    }
    h->owns_fds = true;
    return h;
}

bool http_handover_take(struct http_handover *h, struct http_listener *l)
{
    struct entry **at = &h->entries;
    while (*at && strcmp((*at)->asked, l->asked) != 0) {
        at = &(*at)->next;
    }
    struct entry *e = *at;
    if (!e) {
        return false;
    }
    *at = e->next;
    l->lock_fd = e->lock_fd;
    l->fds = e->fds;
    l->shards = e->count;
    free(e);
    return true;
}

void http_handover_end(struct http_handover *h)
{
    for (const struct entry *e = h->entries; e; e = e->next) {
        struct sockaddr_un sa = {0};
        socklen_t n = sizeof(sa);
        if (getsockname(e->fds[0], (struct sockaddr *)&sa, &n) == 0 && sa.sun_family == AF_UNIX &&
            sa.sun_path[0]) {
            unlink(sa.sun_path);
        }
    }
}

static void close_entry(const struct entry *e)
{
    for (unsigned i = 0; i < e->count; i++) {
        close(e->fds[i]);
    }
    close(e->lock_fd);
}

void http_handover_free(struct http_handover *h)
{
    while (h && h->entries) {
        struct entry *e = h->entries;
        h->entries = e->next;
        if (h->owns_fds) {
            close_entry(e);
        }
        entry_free(e);
    }
    free(h);
}
