/* tidectl: the operator's command line. The words choose a verb from the table (verbs.h); the verb does the rest. */
#include <stdio.h>
#include <stdlib.h>

#include "gateway/ctl/verbs.h"

/* An empty variable is as good as none. */
static const char *variable(const char *name, const char *absent)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : absent;
}

int main(int argc, char **argv)
{
    struct ctl c = {.socket = variable("TIDEGATE_ADMIN_SOCKET", "/run/tidegate/admin.sock"),
                    .server = variable("TIDEGATE_ADMIN_URL", NULL),
                    .cert = variable("TIDEGATE_ADMIN_CERT", NULL),
                    .key = variable("TIDEGATE_ADMIN_KEY", NULL),
                    .ca = variable("TIDEGATE_ADMIN_CA", NULL),
                    .every_ms = 2000,
                    .folder = ctl_migrations};
    if (argc > 1 && strcmp(argv[1], "__complete") == 0) { /* half-typed words: nothing to parse yet */
        return ctl_complete(&c, (const char *const *)argv + 2, argc - 2);
    }
    int code = ctl_parse(&c, argc, (const char *const *)argv);
    if (code != CTL_OK) {
        return code;
    }
    if (c.help) {
        return ctl_help(&c, c.words, c.word_count);
    }
    if (c.version) {
        printf("tidectl %s\n", TIDE_VERSION);
        return CTL_OK;
    }
    code = ctl_confirm(&c);
    if (code == CTL_OK) {
        code = c.watch ? ctl_watch(&c) : c.verb->run(&c);
    }
    if (fflush(stdout) != 0 && code == CTL_OK) {
        fputs("tidectl: standard output cannot be written\n", stderr);
        code = CTL_FAILED;
    }
    return code;
}
