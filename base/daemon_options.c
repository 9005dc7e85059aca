#include "base/daemon_options.h"

#include <getopt.h>
#include <stdio.h>

enum { PRINT_BYTES_MAX = 4 << 20, EXIT_USAGE = 2 };

static void print_help(const struct daemon_program *p)
{
    printf("Examples:\n"
           "  %s -c %s\n"
           "        run in the foreground\n"
           "  %s -c new.yaml --check\n"
           "        is this configuration good?\n"
           "\n"
           "Options:\n"
           "  -c, --config FILE   configuration (default %s)\n"
           "      --check         read the configuration and all it names, then exit 0 or 1\n"
           "      --print-config  effective configuration as YAML, secrets masked\n"
           "      --print-manual  all settings as Markdown\n"
           "      --version       version\n"
           "  -h, --help          this text\n"
           "\n"
           "Signals: TERM or INT drains and ends, HUP reads configuration and certificates again,\n"
           "USR1 opens the log files anew.\n"
           "%sExit: 0 ended as asked, 1 could not start, 2 wrong options.\n",
           p->name, p->path, p->name, p->path, p->signals ? p->signals : "");
}

static void print(struct buf *text)
{
    fwrite(text->p, 1, text->n, stdout);
    buf_clear(text);
}

static void print_manual(const struct daemon_program *p)
{
    struct buf text;
    buf_init(&text, PRINT_BYTES_MAX);
    buf_addf(&text,
             "# Configuration of %s\n\nWritten by `%s --print-manual` from the program's own tables.\n\n",
             p->name, p->name);
    conf_write_manual(p->section, &text);
    print(&text);
}

void daemon_print_config(const struct conf *c)
{
    struct buf text;
    buf_init(&text, PRINT_BYTES_MAX);
    conf_write(c, &text);
    print(&text);
}

/* One option; false ends the program with *status. */
static bool take(const struct daemon_program *p, int option, struct daemon_options *out, int *status)
{
    *status = 0;
    switch (option) {
    case 'c':
        out->path = optarg;
        return true;
    case 'k':
        out->command = DAEMON_CHECK;
        return true;
    case 'p':
        out->command = DAEMON_PRINT_CONFIG;
        return true;
    case 'm':
        print_manual(p);
        return false;
    case 'v':
        printf("%s %s\n", p->name, TIDE_VERSION);
        return false;
    case 'h':
        print_help(p);
        return false;
    default:
        fprintf(stderr, "%s --help lists the options\n", p->name);
        *status = EXIT_USAGE;
        return false;
    }
}

bool daemon_options_read(const struct daemon_program *p, int argc, char **argv, struct daemon_options *out,
                         int *status)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"check", no_argument, NULL, 'k'},
        {"print-config", no_argument, NULL, 'p'},
        {"print-manual", no_argument, NULL, 'm'},
        {"version", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    *out = (struct daemon_options){.path = p->path};
    for (int o; (o = getopt_long(argc, argv, "c:h", options, NULL)) != -1;) {
        if (!take(p, o, out, status)) {
            return false;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "%s: unexpected argument %s; %s --help lists the options\n", p->name, argv[optind],
                p->name);
        *status = EXIT_USAGE;
        return false;
    }
    return true;
}
