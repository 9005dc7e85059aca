#include "gateway/chat_conf.h"

#include <stdlib.h>

#include "inference/router/worker.h"
#include "inference/router/worker_conf.h"

static const struct conf_entry alias_entries[] = {
    {.name = "name",
     .type = CONF_STRING,
     CONF_FIELD(struct chat_alias_conf, name),
     .min = 1,
     .max = MODEL_NAME - 1,
     .flags = CONF_REQUIRED | CONF_RELOADABLE,
     .help = "Model id that clients may ask for."},
    {.name = "model",
     .type = CONF_STRING,
     CONF_FIELD(struct chat_alias_conf, model),
     .min = 1,
     .max = MODEL_NAME - 1,
     .flags = CONF_REQUIRED | CONF_RELOADABLE,
     .help = "Model id that the workers know; it is what they are asked for."},
};
static const struct conf_section alias_section = {
    .entries = alias_entries, .count = CONF_COUNT(alias_entries), .size = sizeof(struct chat_alias_conf)};

#define SECOND 1000.0
#define MINUTE (60 * SECOND)
#define KIB 1024.0
#define MIB (1024 * KIB)

static const struct conf_entry entries[] = {
    {.name = "workers",
     .type = CONF_LIST,
     CONF_FIELD(struct chat_conf, workers),
     .section = &worker_conf_section,
     .max = 4096,
     .flags = CONF_RELOADABLE,
     .help = "Inference servers that answer chat requests."},
    {.name = "aliases",
     .type = CONF_LIST,
     CONF_FIELD(struct chat_conf, aliases),
     .section = &alias_section,
     .max = 256,
     .flags = CONF_RELOADABLE,
     .help = "Further names of models."},
    {.name = "body_bytes",
     .type = CONF_SIZE,
     CONF_FIELD(struct chat_conf, body_bytes),
     .preset = "1MiB",
     .min = KIB,
     .max = 64 * MIB,
     .flags = CONF_RELOADABLE,
     .help = "Largest request body; a larger one answers 413."},
    {.name = "answer_bytes",
     .type = CONF_SIZE,
     CONF_FIELD(struct chat_conf, answer_bytes),
     .preset = "8MiB",
     .min = 64 * KIB,
     .max = 256 * MIB,
     .flags = CONF_RELOADABLE,
     .help = "Largest answer of a worker to a request without streaming; it is held in memory."},
    {.name = "event_bytes",
     .type = CONF_SIZE,
     CONF_FIELD(struct chat_conf, event_bytes),
     .preset = "128KiB",
     .min = 4 * KIB,
     .max = 128 * KIB,
     .flags = CONF_RELOADABLE,
     .help = "Largest event of a worker's stream."},
    {.name = "max_tokens",
     .type = CONF_INT,
     CONF_FIELD(struct chat_conf, max_tokens),
     .preset = "0",
     .max = 10000000,
     .flags = CONF_RELOADABLE,
     .help = "Larger max_tokens are lowered to this, missing ones set to it. 0: the worker's own limit."},
    {.name = "max_choices",
     .type = CONF_INT,
     CONF_FIELD(struct chat_conf, max_choices),
     .preset = "4",
     .min = 1,
     .max = 128,
     .flags = CONF_RELOADABLE,
     .help = "Most answers of a request: n, or best_of, for each text of prompt."},
    {.name = "expected_tokens",
     .type = CONF_INT,
     CONF_FIELD(struct chat_conf, expected_tokens),
     .preset = "256",
     .min = 1,
     .max = 1000000,
     .flags = CONF_RELOADABLE,
     .help = "Answer length assumed for the load of a worker when a request does not bound it."},
    {.name = "queue",
     .type = CONF_DURATION,
     CONF_FIELD(struct chat_conf, queue_ms),
     .preset = "30s",
     .max = 10 * MINUTE,
     .flags = CONF_RELOADABLE,
     .help = "Longest wait for a free slot when all workers of a model are at theirs; then 503."},
    {.name = "queue_length",
     .type = CONF_INT,
     CONF_FIELD(struct chat_conf, queue_length),
     .preset = "256",
     .max = 100000,
     .flags = CONF_RELOADABLE,
     .help = "Requests of one model that may wait; more answer 503."},
    {.name = "queue_per_user",
     .type = CONF_INT,
     CONF_FIELD(struct chat_conf, queue_per_user),
     .preset = "8",
     .min = 1,
     .max = 100000,
     .flags = CONF_RELOADABLE,
     .help = "Of them, of one user."},
    {.name = "keep_alive",
     .type = CONF_DURATION,
     CONF_FIELD(struct chat_conf, keep_alive_ms),
     .preset = "10s",
     .min = 100,
     .max = 10 * MINUTE,
     .flags = CONF_RELOADABLE,
     .help = "A comment is sent this often on a stream that waits for its first event."},
    {.name = "connect",
     .type = CONF_DURATION,
     CONF_FIELD(struct chat_conf, connect_ms),
     .preset = "3s",
     .min = 10,
     .max = MINUTE,
     .flags = CONF_RELOADABLE,
     .help = "Longest wait for a connection to a worker."},
    {.name = "first_byte",
     .type = CONF_DURATION,
     CONF_FIELD(struct chat_conf, first_byte_ms),
     .preset = "10m",
     .min = 100,
     .max = 60 * MINUTE,
     .flags = CONF_RELOADABLE,
     .help =
         "Longest wait for the head of a worker's answer (without streaming: for the whole computation)."},
    {.name = "idle",
     .type = CONF_DURATION,
     CONF_FIELD(struct chat_conf, idle_ms),
     .preset = "2m",
     .min = 100,
     .max = 60 * MINUTE,
     .flags = CONF_RELOADABLE,
     .help = "Longest silence of a worker inside an answer."},
    {.name = "retry_percent",
     .type = CONF_INT,
     CONF_FIELD(struct chat_conf, retry_percent),
     .preset = "10",
     .max = 100,
     .flags = CONF_RELOADABLE,
     .help =
         "Share of requests that may be sent to a second worker, when the first failed before any content."},
    {.name = "probe",
     .type = CONF_DURATION,
     CONF_FIELD(struct chat_conf, probe_ms),
     .preset = "2s",
     .min = 100,
     .max = MINUTE,
     .flags = CONF_RELOADABLE,
     .help = "Between health probes of a worker; four times as often while it is not ready."},
};

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int check(void *section, const char **field, struct err *err)
{
    const struct chat_conf *c = section;
    const struct worker_conf *w = c->workers.items;
    const char **names = calloc(c->workers.n + 1, sizeof *names);
    BUG_ON(!names);
    for (unsigned i = 0; i < c->workers.n; i++) {
        names[i] = w[i].name;
    }
    qsort(names, c->workers.n, sizeof *names, by_name);
    int rc = 0;
    for (unsigned i = 1; i < c->workers.n && rc == 0; i++) {
        if (strcmp(names[i - 1], names[i]) == 0) {
            *field = "workers";
            rc = err_set(err, ERR_INVALID, "two workers are named \"%s\"", names[i]);
        }
    }
    free(names);
    return rc;
}

const struct conf_section chat_conf_section = {
    .entries = entries,
    .count = CONF_COUNT(entries),
    .size = sizeof(struct chat_conf),
    .check = check,
    .help = "Chat requests (POST /v1/chat/completions, /v1/completions, GET /v1/models) and the workers "
            "behind them."};
