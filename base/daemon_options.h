/* The command line of a daemon that has a configuration file: tidegate and tide-status take the same options.
 *
 *     daemon_options_read -> --help, --version, --print-manual, wrong words: done here, false
 *                         -> true: run, or check the configuration, or print it
 *
 * Ownership: out->path is borrowed from argv or the program.
 * Thread rule: the main thread, before any other. */
#ifndef TIDE_BASE_DAEMON_OPTIONS_H
#define TIDE_BASE_DAEMON_OPTIONS_H

#include "base/conf.h"

struct daemon_program {
    const char *name;                   /* "tidegate" */
    const char *path;                   /* of the configuration when -c names none */
    const struct conf_section *section; /* for the manual */
    const char *signals;                /* what --help says of further ones, a whole line; NULL: none */
};

enum daemon_command { DAEMON_RUN = 0, DAEMON_CHECK = 1, DAEMON_PRINT_CONFIG = 2 };

struct daemon_options {
    const char *path;
    enum daemon_command command;
};

/* False: *status is the exit status. */
bool daemon_options_read(const struct daemon_program *p, int argc, char **argv, struct daemon_options *out,
                         int *status);
void daemon_print_config(const struct conf *c); /* --print-config, to standard output */

#endif
