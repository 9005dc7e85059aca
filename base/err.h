/* What can go wrong, as one enum, and the text that goes with it.
 *
 * A function that can fail returns 0 or a negative code of this enum; its optional last parameter
 * `struct err *` (NULL allowed) receives code, text and place. Only base/http/problem.c turns codes into HTTP.
 * BUG_ON(cond) is for broken invariants: it logs file:line and aborts. WARN_ON counts and goes on.
 * Thread rule: pure, but for the counter of WARN_ON (atomic). */
#ifndef TIDE_BASE_ERR_H
#define TIDE_BASE_ERR_H

#include <stdbool.h>
#include <stdint.h>

enum err_code {
    ERR_OK = 0,
    ERR_INVALID = -1,     /* input is wrong: the caller's fault, nothing was changed */
    ERR_LIMIT = -2,       /* input or state is past a configured limit, nothing was changed */
    ERR_NOT_FOUND = -3,   /* no such thing */
    ERR_DENIED = -4,      /* not allowed */
    ERR_CONFLICT = -5,    /* the state has moved on (stale version, already there) */
    ERR_AGAIN = -6,       /* not now: would block, or full; trying later may work */
    ERR_TIMEOUT = -7,     /* the deadline passed; the outcome is unknown unless said */
    ERR_CLOSED = -8,      /* the peer or the object is gone */
    ERR_UNAVAILABLE = -9, /* a server we depend on is out of reach */
    ERR_PROTOCOL = -10,   /* the peer broke its protocol; the connection is not usable further */
    ERR_IO = -11,         /* the operating system refused; errno is in the text */
    ERR_NOMEM = -12,      /* a size from outside could not be allocated */
    ERR_CANCELED = -13,   /* given up by the one who asked */
    ERR_INTERNAL = -14,   /* our fault; logged where it arose */
};

struct err {
    enum err_code code;
    const char *where; /* file:line of err_set */
    char msg[160];     /* for people; never holds a secret */
};

#define TIDE_STR2(x) #x
#define TIDE_STR1(x) TIDE_STR2(x)
#define TIDE_WHERE __FILE__ ":" TIDE_STR1(__LINE__)
#define TIDE_CHECK __attribute__((warn_unused_result))

/* Fills *err (when not NULL) and returns code, so that `return err_set(err, ERR_INVALID, "...")` works. */
#define err_set(err, code, ...) err_set_at((err), (code), TIDE_WHERE, __VA_ARGS__)
int err_set_at(struct err *err, enum err_code code, const char *where, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
const char *err_name(int code); /* "invalid", "limit", ... */

#define BUG_ON(cond)                                                                                         \
    do {                                                                                                     \
        if (__builtin_expect(!!(cond), 0)) {                                                                 \
            err_bug(#cond, TIDE_WHERE);                                                                      \
        }                                                                                                    \
    } while (0)
#define WARN_ON(cond) (__builtin_expect(!!(cond), 0) ? (err_warn(#cond, TIDE_WHERE), true) : false)
void err_bug(const char *what, const char *where) __attribute__((noreturn, cold));
void err_warn(const char *what, const char *where) __attribute__((cold));
uint64_t err_warn_count(void);

#endif
