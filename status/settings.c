/* The tables of settings.h: names, presets, ranges, help. */
#include "status/settings.h"

#define DURATION(type_, name_, field_, preset_, min_, max_, help_)                                           \
    {                                                                                                        \
        .name = (name_), .type = CONF_DURATION, CONF_FIELD(type_, field_), .preset = (preset_),              \
        .min = (min_), .max = (max_), .flags = CONF_RELOADABLE, .help = (help_)                              \
    }

static const struct conf_entry process_entries[] = {
    {.name = "threads",
     .type = CONF_INT,
     CONF_FIELD(struct status_process_conf, threads),
     .preset = "1",
     .min = 1,
     .max = 32,
     .help = "Event loops that answer the public."},
    DURATION(struct status_process_conf, "drain", drain_ms, "10s", 0, 3600000,
             "After SIGTERM: how long running answers may take until they are cut."),
    LOG_CONF_ENTRIES(struct status_process_conf, log),
    {.name = "snapshot",
     .type = CONF_STRING,
     CONF_FIELD(struct status_process_conf, snapshot),
     .help =
         "File that keeps what the page says, for a start without gateway and database. Not given: none."},
};
static const struct conf_section process_section = {.entries = process_entries,
                                                    .count = CONF_COUNT(process_entries),
                                                    .size = sizeof(struct status_process_conf)};

/* --- the page ---------------------------------------------------------------------------------- */

static bool is_plain_url(const char *url)
{
    struct str s = str_from(url);
    bool scheme = str_starts(s, STR("https://")) || str_starts(s, STR("http://"));
    return scheme && s.n < 190 && strcspn(url, " \t\r\n<>\"'&?#\\") == s.n;
}

static int check_page(void *section, const char **field, struct err *err)
{
    struct status_page_conf *p = section;
    if (!is_plain_url(p->url)) {
        *field = "url";
        return err_set(err, ERR_INVALID, "want an http or https URL without query, below 190 characters");
    }
    return 0;
}

static const struct conf_entry page_entries[] = {
    {.name = "name",
     .type = CONF_STRING,
     CONF_FIELD(struct status_page_conf, name),
     .preset = "Tidegate",
     .max = 60,
     .help = "Name of the service, as in \"Tidegate Status\"."},
    {.name = "url",
     .type = CONF_STRING,
     CONF_FIELD(struct status_page_conf, url),
     .flags = CONF_REQUIRED,
     .help = "Where the public finds the page: in links, feeds and JSON."},
    DURATION(struct status_page_conf, "stale_after", stale_after_ms, "30s", 5000, 600000,
             "Results older than this are not trusted: the page says so and is not green."),
};
static const struct conf_section page_section = {.entries = page_entries,
                                                 .count = CONF_COUNT(page_entries),
                                                 .size = sizeof(struct status_page_conf),
                                                 .check = check_page};

/* --- probes ------------------------------------------------------------------------------------ */

static int check_probe(void *section, const char **field, struct err *err)
{
    struct status_probe_conf *p = section;
    const struct {
        const char *name, *value;
    } urls[] = {
        {"target", p->target}, {"metrics_url", p->metrics_url}, {"sms_health_url", p->sms_health_url}};
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        if (urls[i].value && !is_plain_url(urls[i].value)) {
            *field = urls[i].name;
            return err_set(err, ERR_INVALID, "want an http or https URL without query");
        }
    }
    if (p->token_key && (!p->token_issuer || !p->token_audience)) {
        *field = p->token_issuer ? "token_audience" : "token_issuer";
        return err_set(err, ERR_INVALID, "wanted beside token_key");
    }
    return 0;
}

#define PROBE(name_, field_, flags_, help_)                                                                  \
    {                                                                                                        \
        .name = (name_), .type = CONF_STRING, CONF_FIELD(struct status_probe_conf, field_),                  \
        .flags = (flags_), .help = (help_)                                                                   \
    }
static const struct conf_entry probe_entries[] = {
    PROBE("target", target, CONF_REQUIRED, "The gateway's public listener: https://host:port."),
    PROBE("ca_file", ca_file, CONF_FILE, "Certificates that vouch for it, PEM. Not given: the system's."),
    PROBE("apikey", apikey, 0, "The publishable key that apps send."),
    DURATION(struct status_probe_conf, "interval", interval_ms, "2s", 100, 600000,
             "Between probes of log-in, sign-up, the list of models and SMS."),
    DURATION(struct status_probe_conf, "deadline", deadline_ms, "2s", 50, 60000, "Of one such request."),
    DURATION(struct status_probe_conf, "slow", slow_ms, "1s", 1, 60000, "An answer later than this is slow."),
    {.name = "chat",
     .type = CONF_BOOL,
     CONF_FIELD(struct status_probe_conf, chat),
     .preset = "true",
     .help = "Probe the chat API, and each model by a completion of one token."},
    DURATION(struct status_probe_conf, "chat_interval", chat_interval_ms, "5s", 100, 600000,
             "Between completions of one model."),
    DURATION(struct status_probe_conf, "chat_deadline", chat_deadline_ms, "5s", 50, 120000,
             "Of one completion."),
    DURATION(struct status_probe_conf, "chat_slow", chat_slow_ms, "3s", 1, 120000,
             "A completion later than this is slow."),
    DURATION(struct status_probe_conf, "confirm", confirm_ms, "2s", 50, 60000,
             "Between probes while the last result contradicts what the page says."),
    {.name = "models",
     .type = CONF_STRINGS,
     CONF_FIELD(struct status_probe_conf, models),
     .max = 48,
     .help = "Models with a component each. None: those that the gateway lists."},
    PROBE("token_key", token_key, CONF_SECRET_FILE,
          "ES256 private key (PEM) of the probes' own issuer, which the gateway lists under issuers."),
    PROBE("token_issuer", token_issuer, 0, "Claim iss of the probes' tokens."),
    PROBE("token_audience", token_audience, 0, "Claim aud of the probes' tokens."),
    PROBE("metrics_url", metrics_url, 0, "The gateway's /metrics: results of SMS sends are read there."),
    PROBE("sms_health_url", sms_health_url, 0,
          "Health of the SMS hook; any 2xx is well. Not given: not asked."),
};
static const struct conf_section probe_section = {.entries = probe_entries,
                                                  .count = CONF_COUNT(probe_entries),
                                                  .size = sizeof(struct status_probe_conf),
                                                  .check = check_probe};

#define INCIDENT(name_, field_, preset_, help_)                                                              \
    DURATION(struct status_incidents_conf, name_, field_, preset_, 0, 86400000, help_)
static const struct conf_entry incident_entries[] = {
    INCIDENT("open_after", open_after_ms, "10s",
             "A component is bad for this long before an incident opens."),
    INCIDENT("update_gap", update_gap_ms, "20s", "Least time between two updates about more components."),
    INCIDENT("update_every", update_every_ms, "30m", "Longest silence while something is still bad."),
    INCIDENT("resolve_after", resolve_after_ms, "5m", "Clean time until an incident is resolved."),
    INCIDENT("window", window_ms, "30m", "A new fault this soon after the last incident reopens that one."),
};
static const struct conf_section incident_section = {.entries = incident_entries,
                                                     .count = CONF_COUNT(incident_entries),
                                                     .size = sizeof(struct status_incidents_conf)};

/* --- root -------------------------------------------------------------------------------------- */

static int check_root(void *section, const char **field, struct err *err)
{
    struct status_settings *s = section;
    if (s->ops && !s->probe.metrics_url) {
        *field = "ops";
        return err_set(err, ERR_INVALID, "wants probe.metrics_url: the gateway's numbers are read there");
    }
    if (s->ops && s->ops->tls && s->certificates.n == 0) {
        *field = "ops";
        return err_set(err, ERR_INVALID, "tls: true wants one of the certificates, and there is none");
    }
    return http_listeners_check(&s->listeners, &s->certificates, field, err);
}

#define ROOT(field_) CONF_FIELD(struct status_settings, field_)
static const struct conf_entry root_entries[] = {
    {.name = "process",
     .type = CONF_SECTION,
     ROOT(process),
     .section = &process_section,
     .help = "Threads, logs, files of the process."},
    {.name = "listeners",
     .type = CONF_LIST,
     ROOT(listeners),
     .section = &http_listener_conf_section,
     .flags = CONF_REQUIRED,
     .max = 8,
     .help = "Where the public connects."},
    {.name = "certificates",
     .type = CONF_LIST,
     ROOT(certificates),
     .section = &tls_cert_conf_section,
     .flags = CONF_RELOADABLE,
     .max = 64,
     .help = "By server name; the first is the default. SIGHUP reads them again."},
    {.name = "http",
     .type = CONF_SECTION,
     ROOT(http),
     .section = &http_limits_conf_section,
     .flags = CONF_RELOADABLE,
     .help = "Limits of HTTP and TLS: times, sizes, counts."},
    {.name = "metrics",
     .type = CONF_SECTION,
     ROOT(metrics),
     .section = &http_metrics_conf_section,
     .help = "Metrics and health, apart from the public listeners."},
    {.name = "page",
     .type = CONF_SECTION,
     ROOT(page),
     .section = &page_section,
     .help = "What the page is called and where it is."},
    {.name = "database",
     .type = CONF_OPTION,
     ROOT(database),
     .section = &pg_conf_section,
     .help =
         "PostgreSQL: public notices are read there, incidents and uptime kept. Without it they live in the "
         "snapshot only. One connection is used."},
    {.name = "probe",
     .type = CONF_SECTION,
     ROOT(probe),
     .section = &probe_section,
     .help = "How the service is tried, as its users would."},
    {.name = "incidents",
     .type = CONF_SECTION,
     ROOT(incidents),
     .section = &incident_section,
     .flags = CONF_RELOADABLE,
     .help = "When incidents open, are updated and resolved by themselves."},
    {.name = "ops",
     .type = CONF_OPTION,
     ROOT(ops),
     .section = &ops_conf_section,
     .help = "The dashboard for operators, on a listener of its own. Not given: there is none."},
};
const struct conf_section status_conf_section = {.entries = root_entries,
                                                 .count = CONF_COUNT(root_entries),
                                                 .size = sizeof(struct status_settings),
                                                 .check = check_root};
