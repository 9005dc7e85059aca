#include "inference/router/worker_conf.h"

#include "inference/router/worker.h"

static const struct conf_entry entries[] = {
    {.name = "name",
     .type = CONF_STRING,
     CONF_FIELD(struct worker_conf, name),
     .min = 1,
     .max = WORKER_NAME - 1,
     .flags = CONF_REQUIRED | CONF_RELOADABLE,
     .help = "Unique name, for logs, metrics and tidectl."},
    {.name = "target",
     .type = CONF_STRING,
     CONF_FIELD(struct worker_conf, target),
     .min = 3,
     .max = WORKER_TARGET - 1,
     .flags = CONF_REQUIRED | CONF_RELOADABLE,
     .help =
         "Where it listens: host:port (names are looked up again as they age) or unix:/path. Without TLS."},
    {.name = "protocol",
     .type = CONF_ENUM,
     CONF_FIELD(struct worker_conf, protocol),
     .preset = "h1",
     .names = http_origin_protocol_names,
     .flags = CONF_RELOADABLE,
     .help =
         "h2: HTTP/2 without TLS and without asking (prior knowledge), many answers on one connection: for "
         "tide-worker, at a third less work an event. h1 for all others."},
    {.name = "ping",
     .type = CONF_DURATION,
     CONF_FIELD(struct worker_conf, ping_ms),
     .preset = "10s",
     .min = 100,
     .max = 60 * 60 * 1000.0,
     .flags = CONF_RELOADABLE,
     .help = "protocol h2: silence of a connection with running requests until a PING, and from there until "
             "it is "
             "given up."},
    {.name = "models",
     .type = CONF_STRINGS,
     CONF_FIELD(struct worker_conf, models),
     .max = WORKER_MODELS,
     .flags = CONF_RELOADABLE,
     .help = "Model ids it serves. None given: it is asked at /v1/models."},
    {.name = "api_key_file",
     .type = CONF_STRING,
     CONF_FIELD(struct worker_conf, api_key_file),
     .flags = CONF_RELOADABLE | CONF_SECRET_FILE,
     .help =
         "File with the key this worker wants as Bearer token. The client's own token is never passed on."},
    {.name = "weight",
     .type = CONF_INT,
     CONF_FIELD(struct worker_conf, weight),
     .preset = "100",
     .min = 1,
     .max = 1000,
     .flags = CONF_RELOADABLE,
     .help = "Share of the load beside the other workers."},
    {.name = "slots",
     .type = CONF_INT,
     CONF_FIELD(struct worker_conf, slots),
     .preset = "64",
     .max = 100000,
     .flags = CONF_RELOADABLE,
     .help = "Requests it is given at once; further ones wait in the queue of their model. 0: no bound."},
    {.name = "load_report",
     .type = CONF_BOOL,
     CONF_FIELD(struct worker_conf, load_report),
     .preset = "false",
     .flags = CONF_RELOADABLE,
     .help = "Listen to what it tells of its load, ten times a second (GET /tide/v1/load), so that requests "
             "of other "
             "gateways count in the choice: for tide-worker. Between two workers reports count only when "
             "both tell."},
    {.name = "report_fresh",
     .type = CONF_DURATION,
     CONF_FIELD(struct worker_conf, report_fresh_ms),
     .preset = "500ms",
     .min = 100,
     .max = 60 * 1000.0,
     .flags = CONF_RELOADABLE,
     .help = "load_report: a report counts whole for this long, by half for as long again, then not at all."},
};

static int check(void *section, const char **field, struct err *err)
{
    const struct worker_conf *w = section;
    for (const char *c = w->name; *c; c++) {
        if (*c <= ' ' || *c == '"' || *c == ',' || *c == '\\' || *c == 127) {
            *field = "name";
            return err_set(err, ERR_INVALID, "holds a space, quote, comma or control character");
        }
    }
    for (unsigned i = 0; i < w->models.n; i++) {
        size_t n = strlen(w->models.items[i]);
        if (n == 0 || n >= MODEL_NAME) {
            *field = "models";
            return err_set(err, ERR_INVALID, "a model id has 1 to %d bytes", MODEL_NAME - 1);
        }
    }
    return 0;
}

const struct conf_section worker_conf_section = {.entries = entries,
                                                 .count = CONF_COUNT(entries),
                                                 .size = sizeof(struct worker_conf),
                                                 .check = check,
                                                 .help =
                                                     "One inference server that speaks the OpenAI dialect: "
                                                     "tide-worker, vLLM, SGLang, llama.cpp's server."};
