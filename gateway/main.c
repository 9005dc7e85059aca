/* tidegate: the gateway daemon. Options, then gateway_open, gateway_run, gateway_free. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/crash.h"
#include "base/log.h"
#include "gateway/config.h"
#include "gateway/gateway.h"
#include "gateway/upgrade.h"

static const char usage[] =
    "Examples:\n"
    "  tidegate -c /etc/tidegate/tidegate.yaml            run in the foreground\n"
    "  tidegate -c new.yaml --check                       is this configuration good?\n"
    "  tidegate -c tidegate.yaml --print-config           every setting with its effective value\n"
    "\n"
    "Options:\n"
    "  -c, --config FILE   configuration (default /etc/tidegate/tidegate.yaml)\n"
    "      --check         read the configuration and all it names, then exit 0 or 1\n"
    "      --print-config  effective configuration as YAML, secrets masked\n"
    "      --print-manual  all settings as Markdown\n"
    "      --version       version\n"
    "  -h, --help          this text\n"
    "\n"
    "Signals: TERM or INT drains and ends, HUP reads configuration and certificates again,\n"
    "USR1 opens the log files anew, USR2 starts the program again and hands the sockets over to it.\n"
    "Exit: 0 ended as asked, 1 could not start, 2 wrong options.\n";

enum mode { MODE_RUN = 0, MODE_CHECK = 1, MODE_PRINT_CONFIG = 2, MODE_PRINT_MANUAL = 3 };

enum { PRINT_BYTES_MAX = 4 << 20 };

static int print_manual(void)
{
    struct buf text;
    buf_init(&text, PRINT_BYTES_MAX);
    buf_add_cstr(&text, "# Configuration of tidegate\n\n"
                        "Written by `tidegate --print-manual` from the program's own tables.\n\n");
    conf_write_manual(&gateway_conf_section, &text);
    fwrite(text.p, 1, text.n, stdout);
    buf_clear(&text);
    return 0;
}

static int print_config(const struct gateway_config *conf)
{
    struct buf text;
    buf_init(&text, PRINT_BYTES_MAX);
    conf_write(conf->file, &text);
    fwrite(text.p, 1, text.n, stdout);
    buf_clear(&text);
    return 0;
}

static int fail(const struct err *err)
{
    log_close(); /* what it has to say comes first */
    fprintf(stderr, "tidegate: %s\n", err->msg);
    return 1;
}

/* Until the control thread takes signals: whoever rotates logs does not end us. */
static void ignore_signals(void)
{
    static const int numbers[] = {SIGPIPE, SIGHUP, SIGUSR1, SIGUSR2};
    for (unsigned i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        signal(numbers[i], SIG_IGN);
    }
}

static int serve(const struct gateway_config *conf, const struct gateway_start *start, struct err *err)
{
    const struct process_conf *p = &conf->set->process;
    ignore_signals();
    crash_install("tidegate");
    crash_thread_begin();
    if (log_open(p->log.file, (enum log_level)p->log.level, err) != 0) {
        config_unref(conf);
        return (int)err->code;
    }
    struct gateway *g = gateway_open(conf, start, err);
    if (g == NULL) {
        return (int)err->code;
    }
    int rc = gateway_run(g);
    gateway_free(g);
    log_close();
    return rc;
}

static int run(struct gateway_start *start)
{
    struct gateway_config *conf = NULL;
    struct err err = {0};
    int rc = upgrade_inherit(start, &err);
    if (rc == 0) {
        rc = config_load(start->conf_path, &conf, &err);
    }
    if (rc == 0) {
        rc = serve(conf, start, &err);
    }
    if (rc >= 0) {
        return rc;
    }
    upgrade_tell_failure(start, err.msg);
    return fail(&err);
}

static int print(enum mode mode, const char *path)
{
    struct gateway_config *conf = NULL;
    struct err err = {0};
    if (mode == MODE_PRINT_MANUAL) {
        return print_manual();
    }
    if (config_load(path, &conf, &err) != 0) {
        return fail(&err);
    }
    int rc = mode == MODE_PRINT_CONFIG ? print_config(conf) : 0;
    config_unref(conf);
    if (mode == MODE_CHECK) {
        printf("%s: good\n", path);
    }
    return rc;
}

int main(int argc, char **argv)
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
    const char *path = "/etc/tidegate/tidegate.yaml";
    enum mode mode = MODE_RUN;
    for (int o = 0; (o = getopt_long(argc, argv, "c:h", options, NULL)) != -1;) {
        switch (o) {
        case 'c':
            path = optarg;
            break;
        case 'k':
            mode = MODE_CHECK;
            break;
        case 'p':
            mode = MODE_PRINT_CONFIG;
            break;
        case 'm':
            mode = MODE_PRINT_MANUAL;
            break;
        case 'v':
            printf("tidegate %s\n", TIDE_VERSION);
            return 0;
        case 'h':
            fputs(usage, stdout);
            return 0;
        default:
            fputs("tidegate --help lists the options\n", stderr);
            return 2;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "tidegate: unexpected argument %s; tidegate --help lists the options\n",
                argv[optind]);
        return 2;
    }
    struct gateway_start start = {.conf_path = path, .argv = argv, .told_fd = -1};
    return mode == MODE_RUN ? run(&start) : print(mode, path);
}
