#include "base/redis_metrics.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
static struct metric redirects = METRIC_COUNTER_L(
    "tidegate_redis_redirects_total", "Answers of a Redis Cluster that name another node.", "role");
static struct metric maps =
    METRIC_COUNTER_L("tidegate_redis_maps_total", "Maps of slots taken over from a Redis Cluster.", "role");
static struct metric switches = METRIC_COUNTER_L("tidegate_redis_primary_switches_total",
                                                 "Times the Sentinels named another primary.", "role");
static struct metric node_ready =
    METRIC_GAUGE_L("tidegate_redis_node_ready", "Connections ready for commands, by node.", "role,node");
static struct metric node_failures =
    METRIC_COUNTER_L("tidegate_redis_node_failures_total",
                     "Commands that a node refused or did not answer in time.", "role,node");

/* --- nodes ---------------------------------------------------------------------------------------- */

static pthread_mutex_t named_lock = PTHREAD_MUTEX_INITIALIZER;
static char *named[REDIS_NODES_NAMED]; /* "role,node"; never freed: metrics stay */

static bool node_is_named(const char *labels)
{
    pthread_mutex_lock(&named_lock);
    unsigned i = 0;
    while (i < REDIS_NODES_NAMED && named[i] && strcmp(named[i], labels) != 0) {
        i++;
    }
    if (i < REDIS_NODES_NAMED && !named[i]) {
        named[i] = strdup(labels);
        BUG_ON(!named[i]);
    }
    pthread_mutex_unlock(&named_lock);
    return i < REDIS_NODES_NAMED;
}

void redis_node_metrics_init(struct redis_node_metrics *m, const char *role, const char *node)
{
    char labels[320];
    snprintf(labels, sizeof(labels), "%s,%s", role, node);
    if (strchr(node, ',') || !node_is_named(labels)) {
        snprintf(labels, sizeof(labels), "%s,other", role);
    }
    m->ready = metric_child(&node_ready, labels);
    m->failures = metric_child(&node_failures, labels);
}

/* --- roles ---------------------------------------------------------------------------------------- */

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
    m->redirects = metric_child(&redirects, role);
    m->maps = metric_child(&maps, role);
    m->switches = metric_child(&switches, role);
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
