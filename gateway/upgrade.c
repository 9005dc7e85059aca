#include "gateway/upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/http/handover.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/sd_notify.h"
#include "gateway/chat.h"
#include "gateway/config.h"
#include "gateway/control_inner.h"
#include "gateway/health.h"

enum { TOLD_MAX = 256, READY_POLL_MS = 50, DRAINED_MAX = 64 << 10 };

/* "FD READY\n" and then the text of http_handover_write. */
#define ENV_NAME "TIDEGATE_UPGRADE"
/* Apart, so that a program that does not know it yet overlooks it. */
#define ENV_DRAINED "TIDEGATE_UPGRADE_DRAINED"

static struct metric upgrades =
    METRIC_COUNTER_L("tidegate_upgrades_total", "Upgrades asked of this process, by result.", "result");

extern char **environ;

struct upgrade {
    struct control *control;
    pid_t pid; /* of the new process; 0: no upgrade runs */
    int told_fd;
    struct event told;
    struct loop_timer deadline;
    char text[TOLD_MAX]; /* what it has said so far */
    size_t text_n;
    upgrade_cb waiter;
    void *waiter_arg;
    struct loop_timer ready_poll; /* in the new process */
};

/* --- the end of an upgrade, in the old process ---------------------------------------------------------- */

static void tell_waiter(struct upgrade *u, int pid, const char *why)
{
    upgrade_cb cb = u->waiter;
    u->waiter = NULL;
    if (cb != NULL) {
        cb(u->waiter_arg, pid, why);
    }
}

static void stop_watching(struct upgrade *u)
{
    event_del(&u->told);
    loop_timer_disarm(&u->deadline);
    close(u->told_fd);
    u->told_fd = -1;
    u->pid = 0;
}

/* The child is dead or is killed here, so that waiting for it is short. */
static void fail(struct upgrade *u, const char *why)
{
    pid_t pid = u->pid;
    stop_watching(u);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    log_error("upgrade result=failed pid=%d, this process goes on: %s", (int)pid, why);
    metric_child_add(metric_child(&upgrades, "failed"), 1);
    tell_waiter(u, 0, why);
}

static void succeed(struct upgrade *u)
{
    struct gateway *g = u->control->gateway;
    char text[64];
    pid_t pid = u->pid;
    stop_watching(u);
    log_info("upgrade result=ok pid=%d", (int)pid);
    snprintf(text, sizeof text, "MAINPID=%d", (int)pid);
    sd_notify_state(text);
    metric_child_add(metric_child(&upgrades, "ok"), 1);
    tell_waiter(u, (int)pid, NULL);
    gateway_retire(g);
}

static void on_told(evutil_socket_t fd, short what, void *arg)
{
    struct upgrade *u = arg;
    ssize_t n = read(u->told_fd, u->text + u->text_n, TOLD_MAX - 1 - u->text_n);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n <= 0) {
        fail(u, u->text_n > 0 ? u->text : "the new process ended before it was ready; its log says why");
        return;
    }
    u->text_n += (size_t)n;
    u->text[u->text_n] = '\0';
    char *end = memchr(u->text, '\n', u->text_n);
    if (end == NULL) {
        return;
    }
    *end = '\0';
    if (strcmp(u->text, "ready") == 0) {
        succeed(u);
    } else {
        fail(u, u->text);
    }
}

static void on_deadline(void *arg)
{
    fail(arg, "the new process was not ready within process.upgrade");
}

/* --- the start of a new process ------------------------------------------------------------------------- */

static void inherit_fd(void *arg, int fd)
{
    BUG_ON(posix_spawn_file_actions_adddup2(arg, fd, fd) != 0); /* the same number: only clears FD_CLOEXEC */
}

static struct http_handover *gather(const struct control *c)
{
    const struct gateway *g = c->gateway;
    struct http_handover *h = http_handover_new();
    for (unsigned i = 0; i < g->listener_count; i++) {
        http_handover_add(h, g->listeners[i]);
    }
    for (unsigned i = 0; i < CONTROL_LISTENERS; i++) {
        if (c->listeners[i] != NULL) {
            http_handover_add(h, c->listeners[i]);
        }
    }
    return h;
}

/* The environment with our variables in it; the strings are borrowed. */
static char **make_environment(char *ours, char *drained)
{
    size_t n = 0;
    while (environ[n] != NULL) {
        n++;
    }
    char **out = calloc(n + 3, sizeof *out);
    BUG_ON(out == NULL);
    memcpy(out, environ, n * sizeof *out);
    out[n] = ours;
    out[n + 1] = drained;
    return out;
}

/* Its signals are as at the start of any program, whatever this thread has done to its own. */
static int spawn(const struct control *c, const struct http_handover *h, int fd, char *variable, pid_t *pid)
{
    struct buf drained;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    http_handover_each(h, inherit_fd, &actions);
    inherit_fd(&actions, fd);
    buf_init(&drained, DRAINED_MAX);
    buf_add_cstr(&drained, ENV_DRAINED "=");
    if (c->gateway->chat != NULL) {
        chat_write_drained(c->gateway, &drained);
    }
    char **environment = make_environment(variable, drained.p);
    char **argv = c->gateway->start.argv;
    int rc = posix_spawnp(pid, argv[0], &actions, &attributes, argv, environment);
    free(environment);
    buf_clear(&drained);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return rc;
}

static void watch(struct upgrade *u, pid_t pid, int fd)
{
    struct control *c = u->control;
    u->pid = pid;
    u->told_fd = fd;
    u->text_n = 0;
    event_assign(&u->told, loop_event_base(c->loop), fd, EV_READ | EV_PERSIST, on_told, u);
    event_add(&u->told, NULL);
    loop_timer_arm(&u->deadline, c->gateway->conf->set->process.upgrade_ms);
    log_info("upgrade state=started pid=%d program=%s", (int)pid, c->gateway->start.argv[0]);
}

int upgrade_may_start(const struct upgrade *u, struct err *err)
{
    const struct gateway *g = u->control->gateway;
    if (u->pid != 0 || u->ready_poll.armed || atomic_load(&g->retired) || atomic_load(&g->draining)) {
        return err_set(err, ERR_CONFLICT, "%s",
                       u->pid != 0 || u->ready_poll.armed ? "an upgrade is on its way"
                                                          : "this process is ending");
    }
    return 0;
}

int upgrade_start(struct upgrade *u, struct err *err)
{
    struct control *c = u->control;
    struct gateway *g = c->gateway;
    struct buf text;
    int fds[2];
    pid_t pid = 0;
    int rc = upgrade_may_start(u, err);
    if (rc != 0) {
        return rc;
    }
    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) != 0) {
        return err_set(err, ERR_IO, "no pipe: %s", strerror(errno));
    }
    struct http_handover *h = gather(c);
    buf_init(&text, HTTP_HANDOVER_TEXT_MAX);
    buf_addf(&text, ENV_NAME "=%d %d\n", fds[1], health_is_ready(g));
    http_handover_write(h, &text);
    rc = spawn(c, h, fds[1], text.p, &pid);
    http_handover_free(h);
    buf_clear(&text);
    close(fds[1]);
    if (rc != 0) {
        close(fds[0]);
        return err_set(err, ERR_IO, "%s: cannot be started: %s", g->start.argv[0], strerror(rc));
    }
    watch(u, pid, fds[0]);
    return 0;
}

void upgrade_wait(struct upgrade *u, upgrade_cb cb, void *arg)
{
    u->waiter = cb;
    u->waiter_arg = arg;
}

void upgrade_forget(struct upgrade *u, const void *arg)
{
    if (u != NULL && u->waiter_arg == arg) {
        u->waiter = NULL;
    }
}

/* --- the new process ------------------------------------------------------------------------------------ */

static bool read_head(struct str *text, struct gateway_start *start)
{
    struct str line;
    struct str fd_text;
    uint64_t fd = 0;
    if (!str_cut(text, '\n', &line) || !str_cut(&line, ' ', &fd_text) || !str_u64(fd_text, &fd) ||
        fcntl((int)fd, F_SETFD, FD_CLOEXEC) != 0) {
        return false;
    }
    start->told_fd = (int)fd;
    start->waits_ready = str_is(line, "1");
    return true;
}

int upgrade_inherit(struct gateway_start *start, struct err *err)
{
    const char *value = getenv(ENV_NAME);
    struct str text = str_from(value);
    start->drained = getenv(ENV_DRAINED);
    unsetenv(ENV_DRAINED); /* the text itself stays where the kernel has put it */
    if (value == NULL) {
        return 0;
    }
    if (!read_head(&text, start)) {
        return err_set(err, ERR_INVALID, ENV_NAME " in the environment is not what an upgrade leaves there");
    }
    start->handover = http_handover_read(text, err);
    unsetenv(ENV_NAME);
    return start->handover != NULL ? 0 : (int)err->code;
}

static void tell(const struct gateway_start *start, const char *what, const char *why)
{
    char line[TOLD_MAX];
    int n = snprintf(line, sizeof line, "%s%.*s\n", what, TOLD_MAX - 16, why);
    (void)!write(start->told_fd, line, (size_t)n); /* it is gone when nobody reads */
}

void upgrade_tell_failure(const struct gateway_start *start, const char *why)
{
    if (start->told_fd >= 0) {
        tell(start, "failed: ", why);
    }
}

static void serve(struct upgrade *u)
{
    struct gateway *g = u->control->gateway;
    struct err err = {0};
    if (g->start.handover != NULL) {
        if (gateway_begin(g, &err) != 0 || control_http_begin(u->control, &err) != 0) {
            log_error("upgrade: %s", err.msg);
            upgrade_tell_failure(&g->start, err.msg);
            gateway_drain(g);
            return;
        }
        http_handover_end(g->start.handover);
        http_handover_free(g->start.handover);
        g->start.handover = NULL;
        tell(&g->start, "ready", "");
        close(g->start.told_fd);
        g->start.told_fd = -1;
    }
    sd_notify_state("READY=1\nSTATUS=serving");
    log_info("serving pid=%d", (int)getpid());
}

static void on_ready_poll(void *arg)
{
    struct upgrade *u = arg;
    if (health_is_ready(u->control->gateway)) {
        serve(u);
    } else {
        loop_timer_arm(&u->ready_poll, READY_POLL_MS);
    }
}

/* Before anything is served: one that is gone from the configuration is none. */
static void drain_as_before(struct gateway *g)
{
    struct str rest = str_from(g->start.drained);
    struct str name;
    while (g->chat != NULL && str_cut(&rest, '\n', &name)) {
        if (name.n > 0) {
            (void)chat_drain_worker(g, name, true);
        }
    }
}

void upgrade_begin(struct upgrade *u)
{
    drain_as_before(u->control->gateway);
    if (u->control->gateway->start.waits_ready) {
        loop_timer_arm(&u->ready_poll, 0);
    } else {
        serve(u);
    }
}

/* --- life ----------------------------------------------------------------------------------------------- */

struct upgrade *upgrade_new(struct control *c)
{
    struct upgrade *u = calloc(1, sizeof *u);
    BUG_ON(u == NULL);
    u->control = c;
    u->told_fd = -1;
    loop_timer_init(c->loop, &u->deadline, on_deadline, u);
    loop_timer_init(c->loop, &u->ready_poll, on_ready_poll, u);
    return u;
}

void upgrade_free(struct upgrade *u)
{
    if (u == NULL) {
        return;
    }
    if (u->pid != 0) {
        fail(u, "the process that began it ends");
    }
    loop_timer_disarm(&u->ready_poll);
    free(u);
}
