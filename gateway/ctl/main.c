/* tidectl: the operator's command line. The words choose a verb from the table (verbs.h); the verb does the rest. */
#include <stdio.h>
#include <stdlib.h>

#include "gateway/ctl/verbs.h"

int main(int argc, char **argv)
{
    const char *socket = getenv("TIDEGATE_ADMIN_SOCKET");
    struct ctl c = {.socket = socket != NULL ? socket : "/run/tidegate/admin.sock",
                    .server = getenv("TIDEGATE_ADMIN_URL"),
                    .cert = getenv("TIDEGATE_ADMIN_CERT"),
                    .key = getenv("TIDEGATE_ADMIN_KEY"),
                    .ca = getenv("TIDEGATE_ADMIN_CA"),
                    .every_ms = 2000,
                    .folder = "/usr/share/tidegate/migrations"};
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
