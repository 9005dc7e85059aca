/* What is said when the words are wrong. */
#include <stdarg.h>
#include <stdio.h>

#include "gateway/ctl/ctl.h"

int ctl_usage(const struct ctl *c, const char *fmt, ...)
{
    va_list ap;
    const char *verb = c->verb != NULL ? c->verb->words : "";
    fprintf(stderr, "tidectl: %s%s", verb, verb[0] != '\0' ? ": " : "");
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "\ntidectl %s%s--help tells more\n", verb, verb[0] != '\0' ? " " : "");
    return CTL_USAGE;
}
