#include "base/redis_metrics.h"

#include <stdio.h>

#include "base/err.h"

static struct metric commands =
    METRIC_COUNTER_L("tidegate_redis_commands_total", "Redis commands by outcome.", "role,result");
static struct metric duration = METRIC_HISTOGRAM_L("tidegate_redis_command_duration_seconds",
                                                   "Redis commands, from write to answer.", "role");
static struct metric connections =
    METRIC_GAUGE_L("tidegate_redis_connections", "Redis connections ready for commands.", "role");
static struct metric connects =
    METRIC_COUNTER_L("tidegate_redis_connects_total", "Redis connections made.", "role");
static struct metric breaker_opened =
    METRIC_COUNTER_L("tidegate_redis_breaker_opened_total", "Times a Redis breaker opened.", "role");
static struct metric script_loads = METRIC_COUNTER_L("tidegate_redis_script_loads_total",
                                                     "Scripts loaded again after Redis forgot them.", "role");

void redis_metrics_init(struct redis_metrics *m, const char *role)
{
    static const char *const names[REDIS_RESULTS] = {"ok",      "timeout", "closed",
                                                     "refused", "error",   "rejected"};
    for (int i = 0; i < REDIS_RESULTS; i++) {
        char labels[64];
        snprintf(labels, sizeof(labels), "%s,%s", role, names[i]);
        m->results[i] = metric_child(&commands, labels);
    }
    m->duration = metric_child(&duration, role);
    m->connections = metric_child(&connections, role);
    m->connects = metric_child(&connects, role);
    m->breaker_opened = metric_child(&breaker_opened, role);
    m->script_loads = metric_child(&script_loads, role);
}

enum redis_result redis_result_of(int rc)
{
    switch (rc) {
    case 0:
        return REDIS_RESULT_OK;
    case ERR_UNAVAILABLE:
        return REDIS_RESULT_REFUSED;
    default:
        return REDIS_RESULT_ERROR;
    }
}
