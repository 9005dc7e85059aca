#include "base/err.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"

int err_set_at(struct err *err, enum err_code code, const char *where, const char *fmt, ...)
{
    if (err) {
        err->code = code;
        err->where = where;
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
        va_end(ap);
    }
    return code;
}

const char *err_name(int code)
{
    static const char *const names[] = {
        "ok",     "invalid",     "limit",    "not_found", "denied", "conflict", "again",    "timeout",
        "closed", "unavailable", "protocol", "io",        "nomem",  "canceled", "internal",
    };
    if (code > 0 || code < ERR_INTERNAL) {
        return "unknown";
    }
    return names[-code];
}

static _Atomic uint64_t warn_count;

void err_bug(const char *what, const char *where)
{
    log_flush_at_abort();
    fprintf(stderr, "%s: broken invariant: %s\n", where, what);
    abort();
}

void err_warn(const char *what, const char *where)
{
    atomic_fetch_add_explicit(&warn_count, 1, memory_order_relaxed);
    log_warn("warn_on where=%s cond=\"%s\"", where, what);
}

uint64_t err_warn_count(void)
{
    return atomic_load_explicit(&warn_count, memory_order_relaxed);
}
