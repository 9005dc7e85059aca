/* The tables of config.h's sections: names, presets, ranges, help. What they become is in config.c. */
#include "base/resolver.h"
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
    {.name = "retire",
     .type = CONF_DURATION,
     CONF_FIELD(struct process_conf, retire_ms),
     .preset = "10m",
     .max = 86400000,
     .flags = CONF_RELOADABLE,
     .help = "After an upgrade: how long the process that was replaced lets its running answers go on."},
    {.name = "upgrade",
     .type = CONF_DURATION,
     CONF_FIELD(struct process_conf, upgrade_ms),
     .preset = "60s",
     .min = 1000,
     .max = 3600000,
     .flags = CONF_RELOADABLE,
     .help = "How long the new process of an upgrade may take until it is ready; else the old one goes on."},
    {.name = "memory_max",
     .type = CONF_SIZE,
     CONF_FIELD(struct process_conf, memory_max),
     .preset = "0",
     .max = 1LL << 50,
     .flags = CONF_RELOADABLE,
     .help = "Resident memory. At 80 % idle connections are closed, at 90 % new ones refused, at 95 % new "
             "chats and proxied "
             "requests answered 503; running ones go on. 0: nine tenths of what the control group allows, if "
             "anything."},
    {.name = "trace_requests",
     .type = CONF_INT,
     CONF_FIELD(struct process_conf, trace_requests),
     .preset = "256",
     .max = 65536,
     .help = "Ended requests that each loop remembers for `tidectl trace`, about 500 bytes each. 0: none."},
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
    {.name = "name_servers",
     .type = CONF_STRINGS,
     CONF_FIELD(struct process_conf, name_servers),
     .max = RESOLVER_SERVERS,
     .help =
         "Who is asked for the addresses of upstreams given by name: \"10.0.0.2:53\". Not given: the name "
         "servers of /etc/resolv.conf. Answers are kept for their TTL (1 s to 5 min); the last good one "
         "stays while there is no new one."},
};

static int check_process(void *section, const char **field, struct err *err)
{
    const struct process_conf *p = section;
    *field = "name_servers";
    return resolver_servers_check(p->name_servers.items, p->name_servers.n, err);
}

static const struct conf_section process_section = {.entries = process_entries,
                                                    .count = CONF_COUNT(process_entries),
                                                    .size = sizeof(struct process_conf),
                                                    .check = check_process};

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
    {.name = "ticket_ring_file",
     .type = CONF_STRING,
     ROOT(ticket_ring_file),
     .flags = CONF_SECRET_FILE | CONF_RELOADABLE,
     .help = "A key ring whose `ticket` keys let clients resume TLS sessions, the same on all gateways. Not "
             "given: "
             "the ring of accounts; without accounts a key of this process."},
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
    {.name = "geography",
     .type = CONF_SECTION,
     ROOT(geography),
     .section = &geography_conf_section,
     .flags = CONF_RELOADABLE,
     .help = "Where addresses are: files of countries and autonomous systems."},
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
    {.name = "challenge",
     .type = CONF_SECTION,
     ROOT(challenge),
     .section = &challenge_conf_section,
     .help = "Proof of work before a code is sent."},
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
     .section = &admin_conf_section,
     .help = "Where operators and tidectl come in."},
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
