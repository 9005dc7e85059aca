/* Threads: any thread appends to log_file.gathered under its lock; the writer thread swaps the two
 * buffers and writes the full one without any lock of the appenders. The writer starts with the
 * first file and ends in log_close. */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/metrics.h"

enum {
    GATHER_BYTES = 256 * 1024,
    GATHER_MS = 5,       /* the writer lets lines gather this long, unless half full */
    STALL_MS = 500,      /* a reader that takes nothing for this long loses what is gathered */
    STREAM_BYTES = 4096, /* PIPE_BUF: what a pipe that polls writable takes at once */
    LINE_MAX_BYTES = 2048,
    SITE_LINES_PER_S = 20,
};

struct log_file {
    struct log_file *next; /* all files, under files_lock */
    char *path;            /* NULL: a descriptor we do not own */
    int fd;                /* writer thread only, after the file is listed */
    bool is_stream;        /* a pipe, socket or terminal: who reads it may have stopped */
    pthread_mutex_t lock;  /* gathered, gathered_n */
    char *gathered;        /* GATHER_BYTES */
    size_t gathered_n;     /* bytes */
    char *writing;         /* GATHER_BYTES, writer thread only */
};

enum log_level log_level_now = LOG_LEVEL_INFO;

static struct {
    pthread_mutex_t files_lock; /* files, and every write to their descriptors */
    struct log_file *files;
    pthread_mutex_t wake_lock; /* the flags below */
    pthread_cond_t wake;
    bool wanted;  /* something is gathered */
    bool urgent;  /* a file is half full, or the writer shall end */
    bool stopped; /* the writer shall end */
    bool running; /* the writer exists */
    pthread_t writer;
} logs = {
    .files_lock = PTHREAD_MUTEX_INITIALIZER,
    .wake_lock = PTHREAD_MUTEX_INITIALIZER,
    .wake = PTHREAD_COND_INITIALIZER,
};
static _Atomic(struct log_file *) program_log; /* NULL: stderr, written at once */
static _Atomic uint64_t dropped_lines;
static struct metric dropped = METRIC_COUNTER("tidegate_log_lines_dropped_total",
                                              "Lines of any log that the disk or the reader did not take.");
static atomic_bool reopen_wanted;

/* --- writing ---------------------------------------------------------------------------------- */

static uint64_t count_lines(const char *p, size_t n)
{
    uint64_t lines = 0;
    for (size_t i = 0; i < n; i++) {
        lines += p[i] == '\n';
    }
    return lines;
}

static void note_dropped(uint64_t lines)
{
    atomic_fetch_add_explicit(&dropped_lines, lines, memory_order_relaxed);
    metric_add(&dropped, (int64_t)lines);
}

/* Files are written as they are: a disk may be slow. A stream is only given what it has room for, because whoever reads it
 * may have stopped for good, and the other logs, and the end of the program, wait for this thread. */
static bool write_all(int fd, bool is_stream, const char *p, size_t n)
{
    while (n > 0) {
        struct pollfd pfd = {.fd = fd, .events = POLLOUT};
        size_t piece = is_stream && n > STREAM_BYTES ? STREAM_BYTES : n;
        if (is_stream && poll(&pfd, 1, STALL_MS) == 0) {
            note_dropped(count_lines(p, n));
            return false;
        }
        ssize_t wrote = write(fd, p, piece);
        if (wrote >= 0) {
            p += wrote;
            n -= (size_t)wrote;
        } else if (errno != EINTR && errno != EAGAIN) {
            note_dropped(count_lines(p, n));
            return false;
        }
    }
    return true;
}

/* A pipe without a reader would hold open() up: opened for both it does not. */
static int open_for_append(const char *path)
{
    struct stat st;
    int mode = stat(path, &st) == 0 && S_ISFIFO(st.st_mode) ? O_RDWR : O_WRONLY;
    return open(path, mode | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
}

static bool is_stream(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode) || isatty(fd));
}

static void file_reopen(struct log_file *f)
{
    int fd = f->path ? open_for_append(f->path) : -1;
    if (fd >= 0) {
        close(f->fd);
        f->fd = fd;
        f->is_stream = is_stream(fd);
    }
}

/* files_lock is held. */
static void file_drain(struct log_file *f)
{
    pthread_mutex_lock(&f->lock);
    char *full = f->gathered;
    size_t n = f->gathered_n;
    f->gathered = f->writing;
    f->gathered_n = 0;
    f->writing = full;
    pthread_mutex_unlock(&f->lock);
    write_all(f->fd, f->is_stream, full, n);
}

static void drain_all(void)
{
    pthread_mutex_lock(&logs.files_lock);
    bool reopen = atomic_exchange(&reopen_wanted, false);
    for (struct log_file *f = logs.files; f; f = f->next) {
        file_drain(f); /* lines of before the signal belong to the old file */
        if (reopen) {
            file_reopen(f);
        }
    }
    pthread_mutex_unlock(&logs.files_lock);
}

/* Returns false when the writer shall end. */
static bool wait_for_work(void)
{
    pthread_mutex_lock(&logs.wake_lock);
    while (!logs.wanted && !logs.stopped) {
        pthread_cond_wait(&logs.wake, &logs.wake_lock);
    }
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until); /* the wall clock may be set meanwhile */
    until.tv_nsec += GATHER_MS * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    while (!logs.urgent && !logs.stopped &&
           pthread_cond_clockwait(&logs.wake, &logs.wake_lock, CLOCK_MONOTONIC, &until) == 0) {
    }
    logs.wanted = false;
    logs.urgent = false;
    bool go_on = !logs.stopped;
    pthread_mutex_unlock(&logs.wake_lock);
    return go_on;
}

static void *writer_main(void *arg)
{
    pthread_setname_np(pthread_self(), "log");
    while (wait_for_work()) {
        drain_all();
    }
    drain_all();
    return NULL;
}

static void writer_wake(bool urgent)
{
    pthread_mutex_lock(&logs.wake_lock);
    logs.wanted = true;
    logs.urgent |= urgent;
    pthread_cond_signal(&logs.wake);
    pthread_mutex_unlock(&logs.wake_lock);
}

/* Signals are for the control thread: the writer takes none. */
static int writer_start(struct err *err)
{
    pthread_mutex_lock(&logs.wake_lock);
    int failed = 0;
    if (!logs.running) {
        sigset_t all, old;
        sigfillset(&all);
        pthread_sigmask(SIG_BLOCK, &all, &old);
        failed = pthread_create(&logs.writer, NULL, writer_main, NULL);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        logs.running = failed == 0;
    }
    pthread_mutex_unlock(&logs.wake_lock);
    return failed ? err_set(err, ERR_IO, "log: cannot start the writer thread: %s", strerror(failed)) : 0;
}

static void writer_stop(void)
{
    pthread_mutex_lock(&logs.wake_lock);
    bool running = logs.running;
    logs.stopped = true;
    pthread_cond_signal(&logs.wake);
    pthread_mutex_unlock(&logs.wake_lock);
    if (running) {
        pthread_join(logs.writer, NULL);
    }
    pthread_mutex_lock(&logs.wake_lock);
    logs.running = false;
    logs.stopped = false;
    pthread_mutex_unlock(&logs.wake_lock);
}

/* --- files ------------------------------------------------------------------------------------ */

static struct log_file *file_new(const char *path, int fd)
{
    struct log_file *f = calloc(1, sizeof(*f));
    BUG_ON(!f);
    f->path = path ? strdup(path) : NULL;
    f->fd = fd;
    f->is_stream = is_stream(fd);
    f->gathered = malloc(GATHER_BYTES);
    f->writing = malloc(GATHER_BYTES);
    BUG_ON(!f->gathered || !f->writing || (path && !f->path));
    pthread_mutex_init(&f->lock, NULL);
    return f;
}

static void file_free(struct log_file *f)
{
    if (f->path) {
        close(f->fd);
    }
    pthread_mutex_destroy(&f->lock);
    free(f->gathered);
    free(f->writing);
    free(f->path);
    free(f);
}

static struct log_file *file_open(const char *path, int standard_fd, struct err *err)
{
    int fd = path ? open_for_append(path) : standard_fd;
    if (fd < 0) {
        err_set(err, ERR_IO, "log: cannot open %s: %s", path, strerror(errno));
        return NULL;
    }
    if (writer_start(err) != 0) {
        if (path) {
            close(fd);
        }
        return NULL;
    }
    struct log_file *f = file_new(path, fd);
    metric_register(&dropped);
    pthread_mutex_lock(&logs.files_lock);
    f->next = logs.files;
    logs.files = f;
    pthread_mutex_unlock(&logs.files_lock);
    return f;
}

struct log_file *log_file_open(const char *path, struct err *err)
{
    return strcmp(path, "-") == 0 ? file_open(NULL, STDOUT_FILENO, err) : file_open(path, -1, err);
}

void log_file_close(struct log_file *f)
{
    if (!f) {
        return;
    }
    pthread_mutex_lock(&logs.files_lock);
    struct log_file **at = &logs.files;
    while (*at && *at != f) {
        at = &(*at)->next;
    }
    BUG_ON(!*at);
    *at = f->next;
    file_drain(f);
    pthread_mutex_unlock(&logs.files_lock);
    file_free(f);
}

void log_file_line(struct log_file *f, struct str line)
{
    pthread_mutex_lock(&f->lock);
    size_t before = f->gathered_n;
    bool fits = line.n < GATHER_BYTES - before;
    if (fits) {
        memcpy(f->gathered + before, line.p, line.n);
        f->gathered[before + line.n] = '\n';
        f->gathered_n = before + line.n + 1;
    }
    bool crossed_half = before < GATHER_BYTES / 2 && f->gathered_n >= GATHER_BYTES / 2;
    pthread_mutex_unlock(&f->lock);
    if (!fits) {
        note_dropped(1);
    } else if (before == 0 || crossed_half) {
        writer_wake(crossed_half);
    }
}

/* --- the program's log ------------------------------------------------------------------------ */

int log_open(const char *path, enum log_level level, struct err *err)
{
    struct log_file *f = file_open(path, STDERR_FILENO, err);
    if (!f) {
        return ERR_IO;
    }
    log_set_level(level);
    log_file_close(atomic_exchange(&program_log, f));
    return 0;
}

void log_set_level(enum log_level level)
{
    __atomic_store_n(&log_level_now, level, __ATOMIC_RELAXED);
}

void log_reopen(void)
{
    atomic_store(&reopen_wanted, true);
    writer_wake(true);
}

void log_close(void)
{
    writer_stop();
    log_file_close(atomic_exchange(&program_log, NULL));
    drain_all();
}

uint64_t log_dropped_lines(void)
{
    return atomic_load_explicit(&dropped_lines, memory_order_relaxed);
}

int log_descriptor(void)
{
    struct log_file *f = atomic_load_explicit(&program_log, memory_order_acquire);
    return f ? f->fd : STDERR_FILENO;
}

void log_flush_at_abort(void)
{
    if (pthread_mutex_trylock(&logs.files_lock) != 0) {
        return;
    }
    for (struct log_file *f = logs.files; f; f = f->next) {
        if (pthread_mutex_trylock(&f->lock) == 0) {
            write_all(f->fd, f->is_stream, f->gathered, f->gathered_n);
            f->gathered_n = 0;
            pthread_mutex_unlock(&f->lock);
        }
    }
    pthread_mutex_unlock(&logs.files_lock);
}

/* How many lines of this site were held back before this one, or -1 to hold this one back too. */
static int64_t site_pass(struct log_site *site)
{
    uint32_t now = (uint32_t)clock_wall_s();
    uint32_t second = __atomic_load_n(&site->second, __ATOMIC_RELAXED);
    int64_t held = 0;
    if (second != now &&
        __atomic_compare_exchange_n(&site->second, &second, now, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
        __atomic_store_n(&site->lines, 0, __ATOMIC_RELAXED);
        held = __atomic_exchange_n(&site->held, 0, __ATOMIC_RELAXED);
    }
    if (__atomic_fetch_add(&site->lines, 1, __ATOMIC_RELAXED) < SITE_LINES_PER_S) {
        return held;
    }
    __atomic_fetch_add(&site->held, 1, __ATOMIC_RELAXED);
    return -1;
}

/* Whatever came in through arguments, one event stays one line. */
static void blank_controls(char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)p[i] < 0x20 || p[i] == 0x7f) {
            p[i] = ' ';
        }
    }
}

const char *const log_level_names[] = {"error", "warn", "info", "debug", NULL};

static size_t line_head(char *line, enum log_level level)
{
    char time_text[CLOCK_ISO_LEN + 1];
    char thread[16] = "";
    clock_format_iso(clock_wall_ms(), time_text);
    pthread_getname_np(pthread_self(), thread, sizeof(thread));
    return (size_t)snprintf(line, LINE_MAX_BYTES, "time=%s level=%s thread=%s ", time_text,
                            log_level_names[level], thread);
}

static size_t clip(size_t n, int added)
{
    size_t sum = n + (size_t)(added > 0 ? added : 0);
    return sum < LINE_MAX_BYTES ? sum : LINE_MAX_BYTES - 1;
}

void log_line(enum log_level level, struct log_site *site, const char *fmt, ...)
{
    int64_t held = site ? site_pass(site) : 0;
    if (held < 0) {
        return;
    }
    char line[LINE_MAX_BYTES + 1];
    size_t n = line_head(line, level);
    va_list ap;
    va_start(ap, fmt);
    n = clip(n, vsnprintf(line + n, LINE_MAX_BYTES - n, fmt, ap));
    va_end(ap);
    if (held > 0) {
        n = clip(n, snprintf(line + n, LINE_MAX_BYTES - n, " held_back=%lld", (long long)held));
    }
    blank_controls(line, n);
    struct log_file *f = atomic_load_explicit(&program_log, memory_order_acquire);
    if (f) {
        log_file_line(f, (struct str){line, n});
    } else {
        line[n] = '\n';
        write_all(STDERR_FILENO, false, line, n + 1);
    }
}
