/* Colours, where a person looks: on a terminal, unless NO_COLOR is set. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "gateway/ctl/ctl.h"

static bool is_painted(void)
{
    const char *no = getenv("NO_COLOR");
    const char *term = getenv("TERM");
    bool is_wanted = (no == NULL || no[0] == '\0') && term != NULL && strcmp(term, "dumb") != 0;
    return is_wanted && isatty(STDOUT_FILENO) == 1;
}

const char *ctl_paint(enum ctl_colour colour)
{
    static const char *const codes[] = {[CTL_PLAIN] = "\033[0m",
                                        [CTL_BOLD] = "\033[1m",
                                        [CTL_GREEN] = "\033[32m",
                                        [CTL_YELLOW] = "\033[33m",
                                        [CTL_RED] = "\033[31m"};
    return is_painted() ? codes[colour] : "";
}

enum ctl_colour ctl_colour_of(struct str state)
{
    static const struct {
        const char *state;
        enum ctl_colour colour;
    } rows[] = {{"ready", CTL_GREEN},      {"ok", CTL_GREEN},          {"resolved", CTL_GREEN},
                {"suspect", CTL_YELLOW},   {"draining", CTL_YELLOW},   {"pending", CTL_YELLOW},
                {"half_open", CTL_YELLOW}, {"minor", CTL_YELLOW},      {"monitoring", CTL_YELLOW},
                {"down", CTL_RED},         {"FAIL", CTL_RED},          {"major", CTL_RED},
                {"critical", CTL_RED},     {"investigating", CTL_RED}, {"blocked", CTL_RED}};
    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (str_is(state, rows[i].state)) {
            return rows[i].colour;
        }
    }
    return CTL_PLAIN;
}
