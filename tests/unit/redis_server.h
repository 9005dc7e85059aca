/* A private Redis for one test program: own directory under /tmp, unix socket only, ended by its process id.
 * Included by tests that need a real server; everything is static. */
#ifndef TIDE_TESTS_REDIS_SERVER_H
#define TIDE_TESTS_REDIS_SERVER_H

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/secret.h"

struct redis_server {
    char dir[64];
    char socket[96];
    char address[112]; /* "unix:..." */
    char password_file[96];
    char wrong_file[96]; /* another password */
    pid_t pid;           /* 0: not running */
};

static inline bool redis_server_answers(const struct redis_server *s)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", s->socket);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok = connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0;
    close(fd);
    return ok;
}

static inline void redis_server_start(struct redis_server *s)
{
    pid_t parent = getpid();
    s->pid = fork();
    assert_true(s->pid >= 0);
    if (s->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent || chdir(s->dir) != 0) {
            _exit(1);
        }
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", s->socket, "--save", "",
               "--appendonly", "no", "--logfile", "redis.log", "--requirepass", "hush", (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < 500 && !redis_server_answers(s); i++) {
        usleep(10000);
    }
    assert_true(redis_server_answers(s));
}

static inline void redis_server_signal(struct redis_server *s, int signal)
{
    assert_int_equal(kill(s->pid, signal), 0);
    if (signal == SIGKILL || signal == SIGTERM) {
        waitpid(s->pid, NULL, 0);
        s->pid = 0;
    }
}

static inline void redis_server_open(struct redis_server *s)
{
    *s = (struct redis_server){.dir = "/tmp/tide-redis-XXXXXX"};
    assert_non_null(mkdtemp(s->dir));
    snprintf(s->socket, sizeof(s->socket), "%s/s", s->dir);
    snprintf(s->address, sizeof(s->address), "unix:%s", s->socket);
    snprintf(s->password_file, sizeof(s->password_file), "%s/password", s->dir);
    snprintf(s->wrong_file, sizeof(s->wrong_file), "%s/wrong", s->dir);
    assert_int_equal(secret_file_write(s->password_file, STR("hush"), NULL), 0);
    assert_int_equal(secret_file_write(s->wrong_file, STR("loud"), NULL), 0);
    redis_server_start(s);
}

static inline void redis_server_close(struct redis_server *s)
{
    char path[128];
    if (s->pid) {
        redis_server_signal(s, SIGTERM);
    }
    unlink(s->socket);
    unlink(s->password_file);
    unlink(s->wrong_file);
    snprintf(path, sizeof(path), "%s/redis.log", s->dir);
    unlink(path);
    rmdir(s->dir);
}

#endif
