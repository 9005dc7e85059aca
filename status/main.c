/* tide-status: options, configuration, log; everything else is daemon.c. */
#include <curl/curl.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>

#include "base/crash.h"
#include "base/daemon_options.h"
#include "base/log.h"
#include "base/open_files.h"
#include "status/daemon.h"

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
    open_files_raise();
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
    static const struct daemon_program program = {
        .name = "tide-status", .path = "/etc/tidegate/tide-status.yaml", .section = &status_conf_section};
    struct daemon_options o;
    struct conf *conf = NULL;
    struct err err = {.code = ERR_OK};
    int status;
    if (!daemon_options_read(&program, argc, argv, &o, &status)) {
        return status;
    }
    if (sodium_init() < 0 || curl_global_init(CURL_GLOBAL_DEFAULT) != 0) {
        fputs("tide-status: libsodium or libcurl does not start\n", stderr);
        return 1;
    }
    if (conf_load(o.path, &status_conf_section, &conf, &err) < 0) {
        fprintf(stderr, "tide-status: %s\n", err.msg);
        return 1;
    }
    if (o.command == DAEMON_RUN) {
        return run(o.path, conf);
    }
    if (o.command == DAEMON_PRINT_CONFIG) {
        daemon_print_config(conf);
    } else {
        printf("%s: good\n", o.path);
    }
    conf_unref(conf);
    return 0;
}
