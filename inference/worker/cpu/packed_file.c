#include "inference/worker/cpu/packed_file.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"

enum {
    LANES = 8, /* of the sum */
    KEY_TEXT_MAX = 1 << 28,
    SAMPLE_BYTES = 256, /* of a matrix, in the key */
    WAIT_MS = 600000,   /* for another worker that writes */
    POLL_US = 20000,
};

struct header {
    char magic[8];
    uint64_t layout; /* PACKED_LAYOUT */
    uint64_t bytes;  /* of the whole file */
    uint64_t sum;    /* of what follows */
    uint8_t key[SHA256_DIGEST_LENGTH];
};
_Static_assert(sizeof(struct header) == 64, "strips begin at a multiple of 64");

/* What the file is to be. */
struct plan {
    const char *path;
    const struct gguf *model;
    struct packed *matrices;
    size_t count;
    struct header header; /* but for its sum */
};

/* --- the sum ------------------------------------------------------------------------------------------ */

/* Against damage, not against attackers, and at the speed of memory: eight lanes of 64 bits, each turned and multiplied
 * by an odd number for every word. A step can be undone, so no change of a single word goes unseen. */
static void sum_add(uint64_t lanes[LANES], const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i += sizeof(uint64_t) * LANES) {
        uint64_t words[LANES];
        memcpy(words, p + i, sizeof words);
        for (unsigned lane = 0; lane < LANES; lane++) {
            uint64_t x = lanes[lane] ^ words[lane];
            lanes[lane] = (x << 29 | x >> 35) * 0x9E3779B97F4A7C15ULL;
        }
    }
}

static uint64_t sum_end(const uint64_t lanes[LANES])
{
    uint64_t sum = 0;
    for (unsigned lane = 0; lane < LANES; lane++) {
        sum = ((sum << 29 | sum >> 35) ^ lanes[lane]) * 0x9E3779B97F4A7C15ULL;
    }
    return sum;
}

/* --- what the file must be ---------------------------------------------------------------------------- */

/* Some bytes from the middle: another model of the same shapes, with times as images and archives set them back. */
static void add_sample(struct buf *out, const struct gguf_tensor *t)
{
    size_t middle = t->n_bytes / 2;
    size_t n = t->n_bytes - middle;
    buf_add(out, t->data + middle, n < SAMPLE_BYTES ? n : SAMPLE_BYTES);
}

static int make_key(struct plan *plan, struct err *err)
{
    const uint8_t *stamp = gguf_stamp(plan->model);
    struct buf text;
    if (!stamp) {
        return err_set(err, ERR_INVALID, "packed weights are kept for GGUF files only");
    }
    buf_init(&text, KEY_TEXT_MAX);
    buf_add(&text, stamp, GGUF_STAMP_BYTES);
    for (size_t i = 0; i < plan->count; i++) {
        const struct gguf_tensor *t = plan->matrices[i].tensor;
        uint64_t facts[] = {t->type->type, t->dims[0], t->rows, t->name.n};
        buf_add(&text, facts, sizeof facts);
        buf_add_str(&text, t->name);
        add_sample(&text, t);
        gguf_release_pages(plan->model, t);
    }
    bool is_whole = !text.overflowed;
    SHA256((const uint8_t *)text.p, text.n, plan->header.key);
    buf_clear(&text);
    return is_whole ? 0 : err_set(err, ERR_NOMEM, "no memory for the names of %zu matrices", plan->count);
}

static int make_header(struct plan *plan, struct err *err)
{
    plan->header = (struct header){.magic = {'T', 'I', 'D', 'E', 'P', 'A', 'C', 'K'},
                                   .layout = PACKED_LAYOUT,
                                   .bytes = sizeof plan->header};
    for (size_t i = 0; i < plan->count; i++) {
        plan->header.bytes += packed_bytes(&plan->matrices[i]);
    }
    return make_key(plan, err);
}

static int check_header(const struct plan *plan, const struct header *got, struct err *err)
{
    const struct header *wanted = &plan->header;
    if (memcmp(got->magic, wanted->magic, sizeof got->magic) != 0) {
        return err_set(err, ERR_INVALID, "%.80s: not a file of packed weights", plan->path);
    }
    if (got->layout != wanted->layout) {
        return err_set(err, ERR_INVALID, "%.80s: layout %llu, expected %llu", plan->path,
                       (unsigned long long)got->layout, (unsigned long long)wanted->layout);
    }
    if (memcmp(got->key, wanted->key, sizeof got->key) != 0) {
        return err_set(err, ERR_INVALID, "%.80s: of another model, or the model has changed", plan->path);
    }
    if (got->bytes != wanted->bytes) {
        return err_set(err, ERR_INVALID, "%.80s: its header says %llu bytes, expected %llu", plan->path,
                       (unsigned long long)got->bytes, (unsigned long long)wanted->bytes);
    }
    return 0;
}

/* --- reading ------------------------------------------------------------------------------------------ */

static int check_file(int fd, const char *path, off_t *size, struct err *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0) {
        return err_set(err, ERR_IO, "cannot look at %.80s: %s", path, strerror(errno));
    }
    if (!S_ISREG(st.st_mode) || st.st_uid != geteuid()) {
        return err_set(err, ERR_DENIED, "%.80s is another user's, or not a regular file", path);
    }
    *size = st.st_size;
    return 0;
}

static int map_file(struct packed_file *f, int fd, const struct plan *plan, struct err *err)
{
    void *map = mmap(NULL, plan->header.bytes, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        return err_set(err, ERR_IO, "cannot map %.80s: %s", plan->path, strerror(errno));
    }
    madvise(map, plan->header.bytes, MADV_WILLNEED); /* read ahead; refused is fine */
    *f = (struct packed_file){map, plan->header.bytes};
    return 0;
}

static int check_contents(const struct packed_file *f, const struct plan *plan, struct err *err)
{
    struct header got;
    uint64_t lanes[LANES] = {0};
    memcpy(&got, f->map, sizeof got);
    int rc = check_header(plan, &got, err);
    if (rc) {
        return rc;
    }
    sum_add(lanes, f->map + sizeof got, f->bytes - sizeof got);
    return sum_end(lanes) == got.sum ? 0 : err_set(err, ERR_INVALID, "%.80s: damaged", plan->path);
}

/* ERR_NOT_FOUND: there is none. ERR_INVALID: there is one, and it is to be replaced. */
static int open_existing(struct packed_file *f, const struct plan *plan, struct err *err)
{
    off_t size;
    int fd = open(plan->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return err_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "cannot open %.80s: %s", plan->path,
                       strerror(errno));
    }
    int rc = check_file(fd, plan->path, &size, err);
    if (!rc && (uint64_t)size != plan->header.bytes) {
        rc = err_set(err, ERR_INVALID, "%.80s: %lld bytes, expected %llu", plan->path, (long long)size,
                     (unsigned long long)plan->header.bytes);
    }
    rc = rc ? rc : map_file(f, fd, plan, err);
    close(fd);
    if (!rc) {
        rc = check_contents(f, plan, err);
        if (rc) {
            packed_file_close(f);
        }
    }
    return rc;
}

/* --- writing ------------------------------------------------------------------------------------------ */

static bool is_still_at(int fd, const char *path)
{
    struct stat here;
    struct stat there;
    return fstat(fd, &here) == 0 && lstat(path, &there) == 0 && here.st_ino == there.st_ino &&
           here.st_dev == there.st_dev;
}

/* Opens the new file, which only one process has locked: a lock on a file that was renamed or removed is none. */
static int lock_new(const char *path, int *out, struct err *err)
{
    uint64_t deadline = clock_mono_ms() + WAIT_MS;
    bool waited = false;
    for (;;) {
        off_t size;
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
        if (fd < 0) {
            return err_set(err, ERR_IO, "cannot write %.80s: %s", path, strerror(errno));
        }
        int rc = check_file(fd, path, &size, err);
        bool is_locked = !rc && flock(fd, LOCK_EX | LOCK_NB) == 0;
        if (is_locked && is_still_at(fd, path)) {
            *out = fd;
            return 0;
        }
        if (!rc && !is_locked && errno != EWOULDBLOCK) {
            rc = err_set(err, ERR_IO, "cannot lock %.80s: %s", path, strerror(errno));
        } else if (!rc && clock_mono_ms() > deadline) {
            rc = err_set(err, ERR_TIMEOUT, "another worker has been writing %.80s for too long", path);
        }
        close(fd);
        if (rc) {
            return rc;
        }
        if (!waited) {
            log_info("weights state=waiting for=\"another worker writes %s\"", path);
            waited = true;
        }
        usleep(POLL_US);
    }
}

static int refused(struct err *err)
{
    return err_set(err, ERR_IO, "cannot write packed weights: %s", strerror(errno));
}

static int write_all(int fd, const uint8_t *p, size_t n, struct err *err)
{
    while (n > 0) {
        ssize_t written = write(fd, p, n);
        if (written < 0 && errno != EINTR) {
            return refused(err);
        }
        p += written > 0 ? written : 0;
        n -= written > 0 ? (size_t)written : 0;
    }
    return 0;
}

/* A matrix at a time is packed in memory. */
static int write_strips(int fd, const struct plan *plan, uint64_t lanes[LANES], struct err *err)
{
    int rc = 0;
    for (size_t i = 0; i < plan->count && !rc; i++) {
        struct packed *p = &plan->matrices[i];
        rc = packed_fill(p, err);
        if (!rc && p->owned) {
            sum_add(lanes, p->owned, packed_bytes(p));
            rc = write_all(fd, p->owned, packed_bytes(p), err);
            packed_empty(p);
            gguf_release_pages(plan->model, p->tensor);
        }
    }
    return rc;
}

/* Room is taken first, so that a disk which has too little is not filled up. The header comes last. */
static int write_file(int fd, const struct plan *plan, struct err *err)
{
    struct header header = plan->header;
    uint64_t lanes[LANES] = {0};
    int failed = ftruncate(fd, 0) ? errno : posix_fallocate(fd, 0, (off_t)header.bytes);
    if (failed) {
        return err_set(err, ERR_IO, "no room for %llu bytes of packed weights: %s",
                       (unsigned long long)header.bytes, strerror(failed));
    }
    int rc = lseek(fd, sizeof header, SEEK_SET) < 0 ? refused(err) : write_strips(fd, plan, lanes, err);
    if (rc) {
        return rc;
    }
    header.sum = sum_end(lanes);
    bool is_written = pwrite(fd, &header, sizeof header, 0) == sizeof header && fsync(fd) == 0;
    return is_written ? 0 : refused(err);
}

/* With the lock on the new file. A good one may have come while we waited for it. */
static int replace(struct packed_file *f, const struct plan *plan, int fd, const char *fresh, struct err *err)
{
    if (open_existing(f, plan, err) == 0) {
        unlink(fresh);
        return 0;
    }
    int rc = write_file(fd, plan, err);
    rc = rc ? rc : map_file(f, fd, plan, err);
    if (!rc && rename(fresh, plan->path) != 0) {
        rc = err_set(err, ERR_IO, "cannot rename %.80s: %s", fresh, strerror(errno));
        packed_file_close(f);
    }
    if (rc) {
        unlink(fresh);
    }
    return rc;
}

static int write_new(struct packed_file *f, const struct plan *plan, struct err *err)
{
    char fresh[PACKED_PATH_ROOM];
    int fd = -1;
    snprintf(fresh, sizeof fresh, "%s.new", plan->path);
    int rc = lock_new(fresh, &fd, err);
    if (!rc) {
        rc = replace(f, plan, fd, fresh, err);
        close(fd);
    }
    return rc;
}

/* --- the whole ---------------------------------------------------------------------------------------- */

int packed_file_open(struct packed_file *f, const char *path, const struct gguf *model,
                     struct packed *matrices, size_t count, struct err *err)
{
    struct plan plan = {.path = path, .model = model, .matrices = matrices, .count = count};
    struct err why;
    *f = (struct packed_file){0};
    int rc = make_header(&plan, err);
    if (rc) {
        return rc;
    }
    rc = open_existing(f, &plan, &why);
    if (rc == ERR_INVALID) {
        log_warn("weights state=unusable reason=\"%s\"", why.msg);
    }
    if (rc == ERR_INVALID || rc == ERR_NOT_FOUND) {
        rc = write_new(f, &plan, &why);
    }
    if (rc) {
        return err_set(err, rc, "%s", why.msg);
    }
    size_t at = sizeof plan.header;
    for (size_t i = 0; i < count; i++) {
        size_t bytes = packed_bytes(&matrices[i]);
        matrices[i].data = bytes ? f->map + at : matrices[i].data;
        at += bytes;
    }
    return 0;
}

void packed_file_close(struct packed_file *f)
{
    if (f->map) {
        munmap((void *)(uintptr_t)f->map, f->bytes);
    }
    *f = (struct packed_file){0};
}

int packed_file_path(const char *model, const char *folder, char out[PACKED_PATH_ROOM], struct err *err)
{
    const char *slash = strrchr(model, '/'), *parent = slash;
    while (parent && parent > model && parent[-1] != '/') {
        parent--;
    }
    size_t most = PACKED_PATH_ROOM - strlen(".new");
    int n = 0;
    if (!folder) {
        n = snprintf(out, most, "%s.tide-packed", model);
    } else if (strcmp(folder, "none") != 0) {
        /* with the name of the model's own folder: many a model is model.gguf */
        n = slash && slash > parent
                ? snprintf(out, most, "%s/%.*s.%s.tide-packed", folder, (int)(slash - parent), parent,
                           slash + 1)
                : snprintf(out, most, "%s/%s.tide-packed", folder, slash ? slash + 1 : model);
    } else {
        out[0] = '\0';
    }
    return n >= 0 && (size_t)n < most
               ? 0
               : err_set(err, ERR_LIMIT, "--packed-dir: the path is longer than %zu", most);
}
