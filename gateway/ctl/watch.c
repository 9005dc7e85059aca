/* --watch: the same question again and again, until interrupted. A terminal shows the newest answer only. */
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "gateway/ctl/verbs.h"

static void wait_ms(int64_t ms)
{
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    while (nanosleep(&left, &left) != 0) {
    }
}

/* A gateway that is away for a moment (an upgrade, a restart) is asked on, once it has answered. */
int ctl_watch(const struct ctl *c)
{
    bool is_screen = isatty(STDOUT_FILENO) == 1 && c->form == CTL_TABLE;
    bool has_answered = false;
    for (;;) {
        if (is_screen) {
            printf("\033[H\033[2J%stidectl %s%s, every %lld ms\n\n", ctl_paint(CTL_BOLD), c->verb->words,
                   ctl_paint(CTL_PLAIN), (long long)c->every_ms);
        }
        int code = c->verb->run(c);
        has_answered = has_answered || code != CTL_UNREACHABLE;
        if ((code != CTL_OK && code != CTL_DEGRADED && code != CTL_UNREACHABLE) || !has_answered) {
            return code;
        }
        if (fflush(stdout) != 0) {
            return CTL_FAILED;
        }
        wait_ms(c->every_ms);
    }
}
