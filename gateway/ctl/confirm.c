/* What can hurt is confirmed by its name: --confirm=NAME, or typed when a person sits there. Never asked otherwise. */
#include <stdio.h>
#include <unistd.h>

#include "gateway/ctl/verbs.h"

enum { TYPED_MAX = 256 };

static int ask(const struct ctl *c, const struct ctl_harm *h)
{
    char typed[TYPED_MAX] = "";
    fprintf(stderr, "%s\nType %s to go on: ", h->what, h->name);
    if (fgets(typed, sizeof typed, stdin) == NULL) {
        typed[0] = '\0';
    }
    typed[strcspn(typed, "\n")] = '\0';
    return strcmp(typed, h->name) == 0 ? CTL_OK : ctl_usage(c, "not confirmed; nothing was done");
}

int ctl_confirm_harm(const struct ctl *c, const struct ctl_harm *h)
{
    if (c->confirm != NULL) {
        return strcmp(c->confirm, h->name) == 0
                   ? CTL_OK
                   : ctl_usage(c, "--confirm says %s, but this is about %s", c->confirm, h->name);
    }
    if (isatty(STDIN_FILENO) == 1 && isatty(STDERR_FILENO) == 1) {
        return ask(c, h);
    }
    return ctl_usage(c, "%s Say --confirm=%s to go on", h->what, h->name);
}

int ctl_confirm(const struct ctl *c)
{
    struct ctl_harm h = {NULL, NULL};
    int code = c->dry_run || c->verb->harm == NULL ? CTL_OK : c->verb->harm(c, &h);
    return code != CTL_OK || h.name == NULL ? code : ctl_confirm_harm(c, &h);
}
