#include "inference/worker/cpu/cores.h"

#include <sched.h>
#include <stdio.h>

#include "base/str.h"
#include "inference/worker/cpu/team.h"

enum { LINE_ROOM = 4096, PATH_ROOM = 4096 };

/* The first line of a file, without its end. */
static bool read_line(const char *folder, const char *file, char line[LINE_ROOM], struct str *out)
{
    char path[PATH_ROOM];
    int n = snprintf(path, sizeof path, "%s/%s", folder, file);
    FILE *f = n > 0 && (size_t)n < sizeof path ? fopen(path, "re") : NULL;
    bool has_line = f && fgets(line, LINE_ROOM, f);
    if (f) {
        fclose(f);
    }
    *out = has_line ? str_of(line, strcspn(line, "\n")) : STR("");
    return has_line;
}

/* Microseconds of every `period`; no number ("max", "-1"): no quota. */
static unsigned whole_cores(struct str quota, struct str period)
{
    uint64_t most;
    uint64_t each;
    if (!str_u64(quota, &most) || !str_u64(period, &each) || most == 0 || each == 0) {
        return 0;
    }
    uint64_t cores = most / each + (most % each > 0);
    return cores > TEAM_MAX_THREADS ? 0 : (unsigned)cores;
}

static unsigned quota_of(const char *folder)
{
    char first[LINE_ROOM];
    char second[LINE_ROOM];
    struct str quota;
    struct str period;
    if (read_line(folder, "cpu.max", first, &period)) { /* "QUOTA PERIOD" */
        return str_cut(&period, ' ', &quota) ? whole_cores(quota, period) : 0;
    }
    return read_line(folder, "cpu.cfs_quota_us", first, &quota) &&
                   read_line(folder, "cpu.cfs_period_us", second, &period)
               ? whole_cores(quota, period)
               : 0;
}

static unsigned smaller(unsigned a, unsigned b) /* of which 0 is none */
{
    return a == 0 || (b > 0 && b < a) ? b : a;
}

/* Of a group and of all around it. One that is not there may be: a container that sees its own group as the root is told
 * its path from outside. */
static unsigned smallest_quota(const char *root, struct str group)
{
    char folder[PATH_ROOM];
    unsigned smallest = 0;
    for (;;) {
        while (group.n > 0 && group.p[group.n - 1] == '/') {
            group.n--;
        }
        int n = snprintf(folder, sizeof folder, "%s" STR_FMT, root, STR_ARG(group));
        if (n > 0 && (size_t)n < sizeof folder) {
            smallest = smaller(smallest, quota_of(folder));
        }
        if (group.n == 0) {
            return smallest;
        }
        while (group.n > 0 && group.p[group.n - 1] != '/') {
            group.n--;
        }
    }
}

static bool has_word(struct str list, struct str word)
{
    struct str item;
    while (str_cut(&list, ',', &item)) {
        if (str_eq(item, word)) {
            return true;
        }
    }
    return false;
}

/* Lines of "ID:CONTROLLERS:GROUP"; version 2's has no controllers. */
unsigned cores_quota(const char *groups, const char *root)
{
    char line[LINE_ROOM];
    char version_1[PATH_ROOM];
    unsigned smallest = 0;
    FILE *f = fopen(groups, "re");
    snprintf(version_1, sizeof version_1, "%s/cpu", root);
    while (f && fgets(line, sizeof line, f)) {
        struct str rest = str_of(line, strcspn(line, "\n"));
        struct str id;
        struct str controllers;
        if (!str_cut(&rest, ':', &id) || !str_cut(&rest, ':', &controllers)) {
            continue;
        }
        if (controllers.n == 0) {
            smallest = smaller(smallest, smallest_quota(root, rest));
        } else if (has_word(controllers, STR("cpu"))) {
            smallest = smaller(smallest, smallest_quota(version_1, rest));
        }
    }
    if (f) {
        fclose(f);
    }
    return smallest;
}

unsigned cores_usable(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    int n = sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
    unsigned cores = n < 1 ? 1 : n > TEAM_MAX_THREADS ? TEAM_MAX_THREADS : (unsigned)n;
    return smaller(cores, cores_quota("/proc/self/cgroup", "/sys/fs/cgroup"));
}
