/* tidegate: the gateway daemon. Options, then gateway_open, gateway_run, gateway_free. */
#include <signal.h>
#include <stdio.h>

#include "base/crash.h"
#include "base/daemon_options.h"
#include "base/log.h"
#include "base/open_files.h"
#include "base/resolver.h"
#include "gateway/config.h"
#include "gateway/gateway.h"
#include "gateway/upgrade.h"

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
    open_files_raise();
    crash_install("tidegate");
    crash_thread_begin();
    if (log_open(p->log.file, (enum log_level)p->log.level, err) != 0) {
        config_unref(conf);
        return (int)err->code;
    }
    resolver_use_servers(p->name_servers.items, p->name_servers.n);
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

static int check_or_print(const struct daemon_options *o)
{
    struct gateway_config *conf = NULL;
    struct err err = {0};
    if (config_load(o->path, &conf, &err) != 0) {
        return fail(&err);
    }
    if (o->command == DAEMON_PRINT_CONFIG) {
        daemon_print_config(conf->file);
    } else {
        printf("%s: good\n", o->path);
    }
    config_unref(conf);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct daemon_program program = {
        .name = "tidegate",
        .path = "/etc/tidegate/tidegate.yaml",
        .section = &gateway_conf_section,
        .signals = "USR2 starts the program again and hands the sockets over to it.\n"};
    struct daemon_options o;
    int status;
    if (!daemon_options_read(&program, argc, argv, &o, &status)) {
        return status;
    }
    struct gateway_start start = {.conf_path = o.path, .argv = argv, .told_fd = -1};
    return o.command == DAEMON_RUN ? run(&start) : check_or_print(&o);
}
