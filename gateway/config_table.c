/* The tables of config.h's sections: names, presets, ranges, help. What they become is in config.c. */
#include "base/log.h"
#include "gateway/config.h"

static const struct conf_entry process_entries[] = {
    {.name = "threads",
     .type = CONF_INT,
     CONF_FIELD(struct process_conf, threads),
     .preset = "0",
     .max = 64,
     .help = "Event loops, one a thread. 0: one a core."},
    {.name = "drain",
     .type = CONF_DURATION,
     CONF_FIELD(struct process_conf, drain_ms),
     .preset = "30s",
     .max = 3600000,
     .flags = CONF_RELOADABLE,
     .help = "After SIGTERM: how long running answers may take until they are cut."},
    {.name = "handle",
     .type = CONF_DURATION,
     CONF_FIELD(struct process_conf, handle_ms),
     .preset = "15s",
     .min = 100,
     .max = 600000,
     .flags = CONF_RELOADABLE,
     .help = "Deadline of a request whose handler has none of its own (accounts)."},
    {.name = "watchdog",
     .type = CONF_DURATION,
     CONF_FIELD(struct process_conf, watchdog_ms),
     .preset = "10s",
     .min = 1000,
     .max = 600000,
     .flags = CONF_RELOADABLE,
     .help = "A loop silent for this long is reported: the service manager's watchdog is no longer fed."},
    LOG_CONF_ENTRIES(struct process_conf, log),
    {.name = "access_log",
     .type = CONF_STRING,
     CONF_FIELD(struct process_conf, access_log_file),
     .help = "One JSON object a request. \"-\": standard output. Not given: none is written."},
    {.name = "state_dir",
     .type = CONF_STRING,
     CONF_FIELD(struct process_conf, state_dir),
     .help = "Folder of what must survive a restart without the database."},
};
static const struct conf_section process_section = {
    .entries = process_entries, .count = CONF_COUNT(process_entries), .size = sizeof(struct process_conf)};

static const struct conf_entry issuer_entries[] = {
    {.name = "issuer",
     .type = CONF_STRING,
     CONF_FIELD(struct issuer_row, issuer),
     .flags = CONF_REQUIRED,
     .help = "Claim iss, exactly."},
    {.name = "audience",
     .type = CONF_STRING,
     CONF_FIELD(struct issuer_row, audience),
     .flags = CONF_REQUIRED,
     .help = "Must be among the token's audiences."},
    {.name = "type",
     .type = CONF_STRING,
     CONF_FIELD(struct issuer_row, type),
     .help = "Header typ. Not given: JWT, at+jwt or none."},
    {.name = "keys",
     .type = CONF_STRING,
     CONF_FIELD(struct issuer_row, keys),
     .flags = CONF_REQUIRED,
     .help = "Public keys: a PEM file, or a folder of KID.pem."},
    {.name = "needs_session",
     .type = CONF_BOOL,
     CONF_FIELD(struct issuer_row, needs_session),
     .preset = "false",
     .help = "Tokens must carry a session id."},
};
static const struct conf_section issuer_section = {
    .entries = issuer_entries, .count = CONF_COUNT(issuer_entries), .size = sizeof(struct issuer_row)};

static const struct conf_entry identify_entries[] = {
    {.name = "cache_entries",
     .type = CONF_INT,
     CONF_FIELD(struct identify_conf, cache_entries),
     .preset = "4096",
     .min = 1,
     .max = 1000000,
     .help = "Verified tokens that each loop remembers."},
    {.name = "failures",
     .type = CONF_INT,
     CONF_FIELD(struct identify_conf, failures),
     .preset = "30",
     .min = 1,
     .max = 10000,
     .flags = CONF_RELOADABLE,
     .help = "Tokens that may fail the check at once, from one IPv4 /32 or IPv6 /64."},
    {.name = "failure_period",
     .type = CONF_DURATION,
     CONF_FIELD(struct identify_conf, failure_period_ms),
     .preset = "1s",
     .min = 1,
     .max = 3600000,
     .flags = CONF_RELOADABLE,
     .help = "After these, one more in each period."},
};
static const struct conf_section identify_section = {
    .entries = identify_entries, .count = CONF_COUNT(identify_entries), .size = sizeof(struct identify_conf)};

static const struct conf_entry cors_entries[] = {
    {.name = "origins",
     .type = CONF_STRINGS,
     CONF_FIELD(struct cors_conf, origins),
     .max = 64,
     .help = "Origins whose scripts may read answers, exactly as browsers send them. None: CORS is off."},
};
static const struct conf_section cors_section = {
    .entries = cors_entries, .count = CONF_COUNT(cors_entries), .size = sizeof(struct cors_conf)};

static int check_admin(void *section, const char **field, struct err *err)
{
    struct admin_conf *a = section;
    if (a->socket.text[0] != '\0' && a->socket.sa.ss_family != AF_UNIX) {
        *field = "socket";
        return err_set(err, ERR_INVALID, "the admin API listens on a unix socket only: unix:/path");
    }
    return 0;
}

static const struct conf_entry admin_entries[] = {
    {.name = "socket",
     .type = CONF_ENDPOINT,
     CONF_FIELD(struct admin_conf, socket),
     .help = "\"unix:/run/tidegate/admin.sock\". Who may open it may do everything tidectl does."},
    {.name = "mode",
     .type = CONF_OCTAL,
     CONF_FIELD(struct admin_conf, mode),
     .preset = "0600",
     .max = 0777,
     .help = "Permission bits of the socket."},
};
static const struct conf_section admin_section = {.entries = admin_entries,
                                                  .count = CONF_COUNT(admin_entries),
                                                  .size = sizeof(struct admin_conf),
                                                  .check = check_admin};

static int check_root(void *section, const char **field, struct err *err)
{
    struct gateway_settings *s = section;
    int rc = http_listeners_check(&s->listeners, &s->certificates, field, err);
    if (rc != 0) {
        return rc;
    }
    if (s->auth != NULL && (s->database == NULL || s->apikeys.n == 0)) {
        *field = s->database == NULL ? "database" : "apikeys";
        return err_set(err, ERR_INVALID, "accounts (section auth) need %s",
                       s->database == NULL ? "a database" : "at least one apikey");
    }
    return 0;
}

#define ROOT(field_) CONF_FIELD(struct gateway_settings, field_)
static const struct conf_entry root_entries[] = {
    {.name = "process",
     .type = CONF_SECTION,
     ROOT(process),
     .section = &process_section,
     .help = "Threads, logs, deadlines of the process."},
    {.name = "listeners",
     .type = CONF_LIST,
     ROOT(listeners),
     .section = &http_listener_conf_section,
     .flags = CONF_REQUIRED,
     .max = 16,
     .help = "Where apps connect."},
    {.name = "certificates",
     .type = CONF_LIST,
     ROOT(certificates),
     .section = &tls_cert_conf_section,
     .flags = CONF_RELOADABLE,
     .max = TLS_CERTS_MAX,
     .help =
         "Chosen by server name, exact or wildcard; one name may have an ECDSA and an RSA certificate. The "
         "first is for all other names. SIGHUP reads them again."},
    {.name = "http",
     .type = CONF_SECTION,
     ROOT(http),
     .section = &http_limits_conf_section,
     .flags = CONF_RELOADABLE,
     .help = "Limits of HTTP and TLS: times, sizes, counts."},
    {.name = "trusted_proxies",
     .type = CONF_PREFIXES,
     ROOT(trusted_proxies),
     .max = 256,
     .flags = CONF_RELOADABLE,
     .help = "Peers whose X-Forwarded-For is believed, read from right to left."},
    {.name = "cors",
     .type = CONF_SECTION,
     ROOT(cors),
     .section = &cors_section,
     .flags = CONF_RELOADABLE,
     .help = "Cross-origin requests."},
    {.name = "apikeys",
     .type = CONF_STRINGS,
     ROOT(apikeys),
     .flags = CONF_RELOADABLE,
     .max = 64,
     .help = "Publishable keys that apps send as `apikey`. Not secrets: they are in every app."},
    {.name = "issuers",
     .type = CONF_LIST,
     ROOT(issuers),
     .section = &issuer_section,
     .flags = CONF_RELOADABLE,
     .max = 16,
     .help = "Others whose tokens are taken: probes, partners. Our own needs no row."},
    {.name = "identify",
     .type = CONF_SECTION,
     ROOT(identify),
     .section = &identify_section,
     .flags = CONF_RELOADABLE,
     .help = "How access tokens are checked."},
    {.name = "database",
     .type = CONF_OPTION,
     ROOT(database),
     .section = &pg_conf_section,
     .help = "PostgreSQL. Without it accounts are off."},
    {.name = "auth",
     .type = CONF_OPTION,
     ROOT(auth),
     .section = &auth_conf_section,
     .help = "Accounts, codes, sessions, tokens. Without it they are off."},
    {.name = "limits",
     .type = CONF_SECTION,
     ROOT(limits),
     .section = &limits_conf_section,
     .help = "Rate limits: Redis, rules, memory."},
    {.name = "hooks",
     .type = CONF_SECTION,
     ROOT(hooks),
     .section = &hooks_conf_section,
     .help = "Servers that Tidegate calls: the SMS provider."},
    {.name = "chat",
     .type = CONF_SECTION,
     ROOT(chat),
     .section = &chat_conf_section,
     .flags = CONF_RELOADABLE,
     .help = "Workers, models, the queue and the deadlines of chat requests."},
    {.name = "proxy",
     .type = CONF_SECTION,
     ROOT(proxy),
     .section = &proxy_conf_section,
     .flags = CONF_RELOADABLE,
     .help = "Paths passed through to other servers."},
    {.name = "admin",
     .type = CONF_SECTION,
     ROOT(admin),
     .section = &admin_section,
     .help = "The socket that tidectl uses."},
    {.name = "metrics",
     .type = CONF_SECTION,
     ROOT(metrics),
     .section = &http_metrics_conf_section,
     .help = "Metrics and health, apart from the public listeners."},
};
const struct conf_section gateway_conf_section = {.entries = root_entries,
                                                  .count = CONF_COUNT(root_entries),
                                                  .size = sizeof(struct gateway_settings),
                                                  .check = check_root};
