/* tide-status: options, configuration, log; everything else is daemon.c. */
#include <curl/curl.h>
#include <getopt.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/crash.h"
#include "base/log.h"
#include "status/daemon.h"

enum { EXIT_USAGE = 2 };

enum command {
    COMMAND_RUN = 0,
    COMMAND_CHECK = 1,
    COMMAND_PRINT_CONFIG = 2,
    COMMAND_MANUAL = 3,
};

struct options {
    const char *path;
    enum command command;
};

static const char usage[] =
    "usage: tide-status [-c FILE] [--check | --print-config | --print-manual | --version]\n"
    "  -c, --config FILE  default /etc/tidegate/tide-status.yaml\n"
    "  --check            read the configuration, say what is wrong with it, exit\n"
    "  --print-config     the configuration in force, with all defaults, secrets masked\n"
    "  --print-manual     every setting, as Markdown\n"
    "  --version          the version\n";

static struct options parse_options(int argc, char **argv)
{
    static const struct option longs[] = {
        {"config", required_argument, NULL, 'c'},
        {"check", no_argument, NULL, 'k'},
        {"print-config", no_argument, NULL, 'p'},
        {"print-manual", no_argument, NULL, 'm'},
        {"version", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct options o = {.path = "/etc/tidegate/tide-status.yaml", .command = COMMAND_RUN};
    for (int c; (c = getopt_long(argc, argv, "c:h", longs, NULL)) != -1;) {
        switch (c) {
        case 'c':
            o.path = optarg;
            break;
        case 'k':
            o.command = COMMAND_CHECK;
            break;
        case 'p':
            o.command = COMMAND_PRINT_CONFIG;
            break;
        case 'm':
            o.command = COMMAND_MANUAL;
            break;
        case 'v':
            puts("tide-status " TIDE_VERSION);
            exit(0);
        case 'h':
            fputs(usage, stdout);
            exit(0);
        default:
            fputs(usage, stderr);
            exit(EXIT_USAGE);
        }
    }
    if (optind < argc) {
        fputs(usage, stderr);
        exit(EXIT_USAGE);
    }
    return o;
}

static void print(struct buf *text)
{
    fwrite(text->p, 1, text->n, stdout);
    buf_clear(text);
}

static int run(const char *path, struct conf *conf)
{
    struct err err = {.code = ERR_OK};
    const struct status_settings *s = conf_root(conf);
    if (log_open(s->process.log.file, (enum log_level)s->process.log.level, &err) < 0) {
        fprintf(stderr, "tide-status: %s\n", err.msg);
        conf_unref(conf);
        return 1;
    }
    signal(SIGPIPE, SIG_IGN);
    crash_install("tide-status");
    crash_thread_begin();
    struct daemon *d = daemon_new(path, conf, &err);
    if (!d) {
        log_error("tide-status does not start: %s", err.msg);
        log_close();
        return 1;
    }
    log_info("tide-status version=%s ready", TIDE_VERSION);
    daemon_run(d);
    daemon_free(d);
    log_info("tide-status stopped");
    log_close();
    return 0;
}

int main(int argc, char **argv)
{
    struct options o = parse_options(argc, argv);
    struct buf text;
    struct conf *conf = NULL;
    struct err err = {.code = ERR_OK};
    buf_init(&text, 1 << 20);
    if (sodium_init() < 0 || curl_global_init(CURL_GLOBAL_DEFAULT) != 0) {
        fputs("tide-status: libsodium or libcurl does not start\n", stderr);
        return 1;
    }
    if (o.command == COMMAND_MANUAL) {
        buf_add_cstr(&text, "# Configuration of tide-status\n\n"
                            "Written by `tide-status --print-manual` from the program's own tables.\n\n");
        conf_write_manual(&status_conf_section, &text);
        print(&text);
        return 0;
    }
    if (conf_load(o.path, &status_conf_section, &conf, &err) < 0) {
        fprintf(stderr, "tide-status: %s\n", err.msg);
        return 1;
    }
    if (o.command == COMMAND_RUN) {
        return run(o.path, conf);
    }
    if (o.command == COMMAND_PRINT_CONFIG) {
        conf_write(conf, &text);
        print(&text);
    }
    conf_unref(conf);
    return 0;
}
