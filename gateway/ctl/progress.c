/* A line on standard error that is written over, for a person who waits. */
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "gateway/ctl/ctl.h"

void ctl_progress(const char *fmt, ...)
{
    va_list ap;
    if (isatty(STDERR_FILENO) != 1) {
        return;
    }
    fputs("\r\033[K", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fflush(stderr);
}
