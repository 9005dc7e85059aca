/* The program's own log: one line an event, `key=value`, to stderr or a file. Not the access log's format
 * (gateway/access_log), but both write through struct log_file, which never blocks a loop.
 *
 *     log_info("worker state=up name=%s after_ms=%u", ...)
 *
 * Life: usable before log_open (stderr). log_reopen (SIGUSR1) reopens every file by its name.
 * A struct log_file gathers lines in memory (256 KiB); a writer thread of the module empties it. When the
 * disk is slow the newest lines are dropped and counted, never waited for; a pipe whose reader has stopped loses what is
 * gathered, so that the other logs go on (tidegate_log_lines_dropped_total).
 * Never logged: prompts, tokens, codes, phone numbers, e-mail, keys.
 * Repeated lines (same place in the source) are limited to 20 a second, then summed up.
 * Thread rule: any thread. */
#ifndef TIDE_BASE_LOG_H
#define TIDE_BASE_LOG_H

#include "base/err.h"
#include "base/str.h"

enum log_level {
    LOG_LEVEL_ERROR = 0, /* someone has to act */
    LOG_LEVEL_WARN = 1,  /* odd, but handled */
    LOG_LEVEL_INFO = 2,  /* state changes */
    LOG_LEVEL_DEBUG = 3, /* for developers */
};

extern const char *const log_level_names[]; /* "error" ...; ends with NULL */

/* What a program's configuration says of its log; LOG_CONF_ENTRIES are the rows of its table (base/conf.h). */
struct log_conf {
    const char *file; /* NULL: stderr */
    int level;        /* enum log_level */
};
#define LOG_CONF_ENTRIES(type_, field_)                                                                      \
    {.name = "log_file",                                                                                     \
     .type = CONF_STRING,                                                                                    \
     CONF_FIELD(type_, field_.file),                                                                         \
     .help = "The program's own log. Not given: standard error."},                                           \
    {                                                                                                        \
        .name = "log_level", .type = CONF_ENUM, CONF_FIELD(type_, field_.level), .preset = "info",           \
        .names = log_level_names, .flags = CONF_RELOADABLE, .help = "Least important level that is written." \
    }

struct log_file;

int log_open(const char *path, enum log_level level, struct err *err) TIDE_CHECK; /* NULL: stderr */
void log_set_level(enum log_level level);
void log_reopen(void); /* all files, also the log_file ones */
void log_close(void);  /* flushes all files; last call of a program */

struct log_file *log_file_open(const char *path, struct err *err); /* NULL on error; "-" is stdout */
void log_file_line(struct log_file *f, struct str line);           /* adds "\n" */
void log_file_close(struct log_file *f);
uint64_t log_dropped_lines(void);
int log_descriptor(void);      /* of the program's log; for crashes only: it may change at any time */
void log_flush_at_abort(void); /* best effort, for err_bug only: writes what is gathered, waits for no lock */

/* Per call site: how many lines this second, how many were kept back. */
struct log_site {
    uint32_t second;
    uint32_t lines;
    uint32_t held;
};
void log_line(enum log_level level, struct log_site *site, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
extern enum log_level log_level_now;

#define log_at(level, ...)                                                                                   \
    do {                                                                                                     \
        if ((int)(level) <= (int)__atomic_load_n(&log_level_now, __ATOMIC_RELAXED)) {                        \
            static struct log_site log_site_here;                                                            \
            log_line((level), &log_site_here, __VA_ARGS__);                                                  \
        }                                                                                                    \
    } while (0)
#define log_error(...) log_at(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_at(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_at(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
