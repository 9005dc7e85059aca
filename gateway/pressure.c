#include "gateway/pressure.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/http/server.h"
#include "base/log.h"
#include "base/metrics.h"
#include "gateway/config.h"
#include "gateway/control.h"
#include "gateway/gateway.h"

enum { LOOK_MS = 200, TRIM_LOOKS = 10, LEAVE_PERCENT = 5, UNLIMITED_BITS = 60 };

static struct metric level_now =
    METRIC_GAUGE("tidegate_memory_pressure", "0 none, 1 idle connections go, 2 no new ones, 3 no new chats.");
static struct metric resident =
    METRIC_GAUGE("process_resident_memory_bytes", "Resident memory size in bytes.");
static struct metric most =
    METRIC_GAUGE("tidegate_memory_limit_bytes", "What the steps are counted from; 0: no limit.");
static struct metric entered = METRIC_COUNTER_L("tidegate_memory_pressure_total",
                                                "Times that a step of memory pressure was entered.", "step");
static struct metric refused =
    METRIC_COUNTER("tidegate_memory_requests_refused_total", "Requests refused because memory was short.");

static const char *const names[] = {"none", "idle", "connections", "requests"};
static const unsigned enter_percent[] = {0, 80, 90, 95};

struct pressure {
    struct gateway *gateway;
    uint64_t cgroup_limit; /* bytes; 0: none */
    enum pressure_level level;
    unsigned looks; /* since the heap was trimmed */
};

enum pressure_level pressure_next(enum pressure_level now, uint64_t bytes, uint64_t limit)
{
    if (bytes == 0) { /* not known */
        return now;
    }
    unsigned percent = limit > 0 ? (unsigned)(bytes / (limit / 100 + 1)) : 0;
    enum pressure_level next = PRESSURE_NONE;
    for (unsigned l = PRESSURE_REQUESTS; l > PRESSURE_NONE && next == PRESSURE_NONE; l--) {
        unsigned at = enter_percent[l] - (l <= now ? LEAVE_PERCENT : 0);
        next = percent >= at ? (enum pressure_level)l : PRESSURE_NONE;
    }
    return next;
}

/* --- what there is ------------------------------------------------------------------------------------------ */

static bool read_number(const char *path, uint64_t *out)
{
    char text[32] = "";
    FILE *f = fopen(path, "re");
    size_t n = f != NULL ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f != NULL) {
        fclose(f);
    }
    return str_u64(str_trim(str_of(text, n > 0 && text[n - 1] == '\n' ? n - 1 : n)), out);
}

/* The strictest limit on the way up from our group; "max" is none. */
static uint64_t limit_of_group(const char *root, const char *file, char *group)
{
    uint64_t least = 0;
    for (;;) {
        char path[1024];
        uint64_t n = 0;
        snprintf(path, sizeof path, "%s%s/%s", root, group, file);
        if (read_number(path, &n) && n > 0 && n >> UNLIMITED_BITS == 0 && (least == 0 || n < least)) {
            least = n;
        }
        char *slash = strrchr(group, '/');
        if (slash == NULL) {
            return least;
        }
        *slash = '\0';
    }
}

/* Version 2: "0::/group"; version 1: "N:memory:/group". */
static uint64_t find_cgroup_limit(void)
{
    char line[600];
    uint64_t found = 0;
    FILE *f = fopen("/proc/self/cgroup", "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        char *group = strrchr(line, ':');
        line[strcspn(line, "\n")] = '\0';
        bool is_v2 = strncmp(line, "0::", 3) == 0;
        if (group != NULL && (is_v2 || strstr(line, ":memory:") != NULL)) {
            uint64_t n = is_v2 ? limit_of_group("/sys/fs/cgroup", "memory.max", group + 1)
                               : limit_of_group("/sys/fs/cgroup/memory", "memory.limit_in_bytes", group + 1);
            found = n > 0 && (found == 0 || n < found) ? n : found;
        }
    }
    if (f != NULL) {
        fclose(f);
    }
    return found;
}

static uint64_t resident_bytes(void)
{
    unsigned long long size = 0;
    unsigned long long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f == NULL) {
        return 0; /* out of descriptors, perhaps */
    }
    int got = fscanf(f, "%llu %llu", &size, &pages);
    fclose(f);
    return got == 2 ? (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

/* --- the steps ---------------------------------------------------------------------------------------------- */

static void set_level(struct gateway_loop *gl, void *arg)
{
    enum pressure_level level = (enum pressure_level)(uintptr_t)arg;
    gl->pressure = level;
    if (gl->server != NULL) {
        http_server_shed(gl->server, level >= PRESSURE_CONNECTIONS ? HTTP_SHED_CONNECTIONS
                                     : level == PRESSURE_IDLE      ? HTTP_SHED_IDLE
                                                                   : HTTP_SHED_NOTHING);
    }
}

static void note_change(struct pressure *p, enum pressure_level next, uint64_t bytes, uint64_t limit)
{
    log_warn("memory pressure=%s was=%s resident_bytes=%llu limit_bytes=%llu", names[next], names[p->level],
             (unsigned long long)bytes, (unsigned long long)limit);
    for (unsigned l = p->level + 1u; l <= next; l++) {
        metric_child_add(metric_child(&entered, names[l]), 1);
    }
    p->level = next;
    p->looks = 0;
    metric_set(&level_now, next);
}

/* Told again while it lasts: connections have become idle meanwhile. */
static void look(void *arg)
{
    struct pressure *p = arg;
    uint64_t set = p->gateway->conf->set->process.memory_max;
    uint64_t limit = set > 0 ? set : p->cgroup_limit / 10 * 9;
    uint64_t bytes = resident_bytes();
    enum pressure_level next = pressure_next(p->level, bytes, limit);
    bool told = next != PRESSURE_NONE || next != p->level;
    if (bytes > 0) {
        metric_set(&resident, (double)bytes);
    }
    metric_set(&most, (double)limit);
    if (next != p->level) {
        note_change(p, next, bytes, limit);
    }
    if (next != PRESSURE_NONE && p->looks++ % TRIM_LOOKS == 0) {
        malloc_trim(0);
    }
    if (told) {
        gateway_each_loop(p->gateway, set_level, (void *)(uintptr_t)next);
    }
}

void pressure_count_refused(void)
{
    metric_add(&refused, 1);
}

void pressure_open(struct gateway *g)
{
    struct pressure *p = calloc(1, sizeof *p);
    BUG_ON(p == NULL);
    p->gateway = g;
    p->cgroup_limit = find_cgroup_limit();
    g->pressure = p;
    metric_register(&refused);
    for (unsigned l = PRESSURE_IDLE; l <= PRESSURE_REQUESTS; l++) {
        (void)metric_child(&entered, names[l]);
    }
    control_tick(g->control, LOOK_MS, look, p);
}

void pressure_close(struct gateway *g)
{
    free(g->pressure);
    g->pressure = NULL;
}
