#include "base/conf.h"
#include "base/pg.h"

static const struct conf_entry entries[] = {
    {.name = "uri",
     .type = CONF_STRING,
     CONF_FIELD(struct pg_conf, uri),
     .flags = CONF_REQUIRED | CONF_SECRET,
     .help = "PostgreSQL, as a libpq URI or key=value text. Keep passwords in a passfile."},
    {.name = "connections",
     .type = CONF_INT,
     CONF_FIELD(struct pg_conf, connections),
     .preset = "8",
     .min = 1,
     .max = 256,
     .help = "Threads for database jobs, one connection each; and one more for what operators and the "
             "process itself have to do at once, whatever waits."},
    {.name = "queue",
     .type = CONF_INT,
     CONF_FIELD(struct pg_conf, queue),
     .preset = "256",
     .min = 1,
     .max = 65536,
     .help = "Jobs that may wait for a thread; more are answered 503 (metric tidegate_pg_queue_jobs). What "
             "people with a session ask to keep it waits apart, and goes first."},
    {.name = "urgent_queue",
     .type = CONF_INT,
     CONF_FIELD(struct pg_conf, urgent_queue),
     .preset = "64",
     .min = 1,
     .max = 65536,
     .help =
         "Likewise, of what operators and the process itself have to do at once; it goes before all others."},
    {.name = "connect_timeout",
     .type = CONF_DURATION,
     CONF_FIELD(struct pg_conf, connect_ms),
     .preset = "2s",
     .min = 10,
     .max = 60000,
     .help = "Deadline of connecting."},
    {.name = "job_timeout",
     .type = CONF_DURATION,
     CONF_FIELD(struct pg_conf, job_ms),
     .preset = "5s",
     .min = 10,
     .max = 60000,
     .help = "Deadline of a job, waiting included; the connection of a late one is dropped."},
};

const struct conf_section pg_conf_section = {
    .entries = entries,
    .count = CONF_COUNT(entries),
    .size = sizeof(struct pg_conf),
    .help = "The database of accounts, policy and audit.",
};
