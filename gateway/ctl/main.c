/* tidectl: the operator's command line. Words choose a verb from the table; options may stand anywhere. */
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/ctl/ctl.h"

static const char usage[] =
    "Examples:\n"
    "  tidectl check                                                  is all well? exit 3 when not\n"
    "  tidectl policy get                                             who may sign up now\n"
    "  tidectl policy set mainland-phone-only --reason \"attack 17\"    acts on every gateway within a "
    "second\n"
    "  tidectl policy history                                         who changed it, and why\n"
    "  tidectl policy rollback 41 --reason \"over\"                     back to an older version\n"
    "  tidectl get workers -o json                                    for scripts\n"
    "  tidectl get users --phone +8613800138000                       numbers are shown masked\n"
    "  tidectl drain worker w1                                        no new chats there; --undo takes it "
    "back\n"
    "  tidectl trace 5f0c1d...                                        what became of a request, and where "
    "its time "
    "went\n"
    "  tidectl upgrade                                                start the installed program, lose no "
    "connection\n"
    "  tidectl limits top                                             who is refused most\n"
    "  tidectl limits explain 2001:db8::7                             what an address, phone or account has "
    "left\n"
    "  tidectl limits set address 10/1s --ttl 10m --reason \"flood\"    on every gateway, ends by itself\n"
    "  tidectl migrate --database postgresql:///tidegate              apply the numbered SQL files\n"
    "\n"
    "Verbs:\n"
    "  check                                      policy get [VERSION] | set | history | rollback\n"
    "  show requests                              trace ID | trace sample\n"
    "  kill ID                                    ends a running request\n"
    "  get workers | limits | users | incidents | audit\n"
    "  limits top [RULE] | explain KEY | set RULE LIMIT | reset RULE\n"
    "  drain worker NAME                          revoke user ID\n"
    "  reload                                     upgrade\n"
    "  migrate\n"
    "  keyring generate FILE | rotate FILE        keys generate FOLDER\n"
    "\n"
    "  policy lint [FILE]                         what in a policy is hardly meant; exit 3 when there is "
    "something\n"
    "  policy simulate                            who would be let in, and why, rule by rule; changes "
    "nothing\n"
    "  policy show [VERSION] | schema             a document as written; the JSON Schema of documents\n"
    "\n"
    "Options:\n"
    "      --socket PATH      admin socket (default $TIDEGATE_ADMIN_SOCKET, else /run/tidegate/admin.sock)\n"
    "      --server URL       https://HOST:PORT of a gateway instead of the socket (default "
    "$TIDEGATE_ADMIN_URL)\n"
    "      --cert, --key FILE the certificate that you show there ($TIDEGATE_ADMIN_CERT, "
    "$TIDEGATE_ADMIN_KEY)\n"
    "      --ca FILE          who signed the gateway's ($TIDEGATE_ADMIN_CA, else those of this machine)\n"
    "  -o, --output FORM      table or json\n"
    "      --reason TEXT      why; wanted by everything that changes accounts or policy\n"
    "      --if-version N     policy: only when N is in force now, else exit 6\n"
    "  -f, --file FILE        policy set: a document (\"-\": standard input)\n"
    "      --phone NUMBER     get users: this number     --user ID   this user\n"
    "      --limit N          at most so many rows       --open      get incidents: unresolved only\n"
    "      --ttl TIME         limits set: how long (90s, 10m, 2h)    --burst N    units at once\n"
    "      --route NAME       limits explain: for rules that count by route\n"
    "      --policy FILE      policy simulate: this document instead of the one in force; -f FILE: one "
    "attempt a line\n"
    "      --phone, --method, --email, --email-disposable, --ip-country, --asn, --device, --platform,\n"
    "      --app-version, --invite, --campaign, --at   policy simulate: what is known of an attempt\n"
    "      --undo             drain: take the worker back\n"
    "      --database URI     migrate: where (default $TIDEGATE_PG)\n"
    "      --folder PATH      migrate: of the SQL files (default /usr/share/tidegate/migrations)\n"
    "      --version, -h\n"
    "\n"
    "Exit: 0 done, 1 failed, 2 wrong words, 3 not well, 4 not allowed, 5 not found, 6 conflict, 7 "
    "unreachable.\n";

int ctl_usage(const char *fmt, ...)
{
    va_list ap;
    fputs("tidectl: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputs("\ntidectl --help shows examples\n", stderr);
    return CTL_USAGE;
}

static const struct verb {
    const char *first, *second; /* second NULL: one word */
    int (*run)(const struct ctl *c);
    int words_max; /* that may follow */
} verbs[] = {
    {"check", NULL, ctl_check, 0},
    {"reload", NULL, ctl_reload, 0},
    {"upgrade", NULL, ctl_upgrade, 0},
    {"migrate", NULL, ctl_migrate, 0},
    {"show", "requests", ctl_show_requests, 0},
    {"trace", "sample", ctl_trace_sample, 0},
    {"trace", NULL, ctl_trace, 1},
    {"kill", NULL, ctl_kill, 1},
    {"policy", "get", ctl_policy_get, 1},
    {"policy", "set", ctl_policy_set, 1},
    {"policy", "show", ctl_policy_show, 1},
    {"policy", "lint", ctl_policy_lint, 1},
    {"policy", "simulate", ctl_policy_simulate, 0},
    {"policy", "schema", ctl_policy_schema, 0},
    {"policy", "history", ctl_policy_history, 0},
    {"policy", "rollback", ctl_policy_rollback, 1},
    {"get", "workers", ctl_get_workers, 0},
    {"get", "limits", ctl_get_limits, 0},
    {"get", "users", ctl_get_users, 0},
    {"get", "incidents", ctl_get_incidents, 0},
    {"get", "audit", ctl_get_audit, 0},
    {"drain", "worker", ctl_drain_worker, 1},
    {"revoke", "user", ctl_revoke_user, 1},
    {"limits", "top", ctl_limits_top, 1},
    {"limits", "explain", ctl_limits_explain, 1},
    {"limits", "set", ctl_limits_set, 2},
    {"limits", "reset", ctl_limits_reset, 1},
    {"keyring", "generate", ctl_keyring_generate, 1},
    {"keyring", "rotate", ctl_keyring_rotate, 1},
    {"keys", "generate", ctl_keys_generate, 1},
};

static int run(struct ctl *c)
{
    for (unsigned i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        const struct verb *v = &verbs[i];
        int used = v->second == NULL ? 1 : 2;
        if (c->word_count < used || strcmp(c->words[0], v->first) != 0 ||
            (v->second != NULL && strcmp(c->words[1], v->second) != 0)) {
            continue;
        }
        c->word_count -= used;
        memmove(c->words, c->words + used, (size_t)c->word_count * sizeof c->words[0]);
        return c->word_count > v->words_max ? ctl_usage("unexpected word %s", c->words[v->words_max])
                                            : v->run(c);
    }
    return c->word_count == 0 ? ctl_usage("what is to be done?")
                              : ctl_usage("there is no verb \"%s%s%s\"", c->words[0],
                                          c->word_count > 1 ? " " : "", c->word_count > 1 ? c->words[1] : "");
}

enum {
    OPT_SOCKET = 256,
    OPT_SERVER,
    OPT_CERT,
    OPT_KEY,
    OPT_CA,
    OPT_REASON,
    OPT_IF_VERSION,
    OPT_PHONE,
    OPT_USER,
    OPT_LIMIT,
    OPT_OPEN,
    OPT_UNDO,
    OPT_DATABASE,
    OPT_FOLDER,
    OPT_TTL,
    OPT_BURST,
    OPT_ROUTE,
    OPT_VERSION,
    OPT_POLICY,
    OPT_FACT /* and on: index in facts */
};

/* Facts of an attempt, by the names of its members. */
static const struct ctl_fact facts[] = {
    {"method", NULL, true},     {"email", NULL, true},       {"email_disposable", NULL, false},
    {"ip_country", NULL, true}, {"asn", NULL, false},        {"device", NULL, true},
    {"platform", NULL, true},   {"app_version", NULL, true}, {"invite", NULL, false},
    {"campaign", NULL, true},   {"at", NULL, true},
};

static const struct option options[] = {
    {"socket", required_argument, NULL, OPT_SOCKET},
    {"server", required_argument, NULL, OPT_SERVER},
    {"cert", required_argument, NULL, OPT_CERT},
    {"key", required_argument, NULL, OPT_KEY},
    {"ca", required_argument, NULL, OPT_CA},
    {"output", required_argument, NULL, 'o'},
    {"reason", required_argument, NULL, OPT_REASON},
    {"if-version", required_argument, NULL, OPT_IF_VERSION},
    {"file", required_argument, NULL, 'f'},
    {"phone", required_argument, NULL, OPT_PHONE},
    {"user", required_argument, NULL, OPT_USER},
    {"limit", required_argument, NULL, OPT_LIMIT},
    {"open", no_argument, NULL, OPT_OPEN},
    {"undo", no_argument, NULL, OPT_UNDO},
    {"database", required_argument, NULL, OPT_DATABASE},
    {"folder", required_argument, NULL, OPT_FOLDER},
    {"ttl", required_argument, NULL, OPT_TTL},
    {"burst", required_argument, NULL, OPT_BURST},
    {"route", required_argument, NULL, OPT_ROUTE},
    {"policy", required_argument, NULL, OPT_POLICY},
    {"method", required_argument, NULL, OPT_FACT},
    {"email", required_argument, NULL, OPT_FACT + 1},
    {"email-disposable", required_argument, NULL, OPT_FACT + 2},
    {"ip-country", required_argument, NULL, OPT_FACT + 3},
    {"asn", required_argument, NULL, OPT_FACT + 4},
    {"device", required_argument, NULL, OPT_FACT + 5},
    {"platform", required_argument, NULL, OPT_FACT + 6},
    {"app-version", required_argument, NULL, OPT_FACT + 7},
    {"invite", required_argument, NULL, OPT_FACT + 8},
    {"campaign", required_argument, NULL, OPT_FACT + 9},
    {"at", required_argument, NULL, OPT_FACT + 10},
    {"version", no_argument, NULL, OPT_VERSION},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static bool take_number(const char *text, int64_t *out)
{
    uint64_t n = 0;
    if (!str_u64(str_from(text), &n) || n == 0 || n > INT64_MAX) {
        return false;
    }
    *out = (int64_t)n;
    return true;
}

/* A number, true or false goes into the attempt as it is. */
static int take_fact(struct ctl *c, const struct ctl_fact *f)
{
    uint64_t number;
    bool is_plain =
        strcmp(optarg, "true") == 0 || strcmp(optarg, "false") == 0 || str_u64(str_from(optarg), &number);
    for (int i = 0; i < c->fact_count; i++) {
        if (strcmp(c->facts[i].name, f->name) == 0) {
            return ctl_usage("%s: is given twice", f->name);
        }
    }
    if (!f->is_text && !is_plain) {
        return ctl_usage("%s: true, false or a number", f->name);
    }
    c->facts[c->fact_count++] = (struct ctl_fact){f->name, optarg, f->is_text};
    return CTL_OK;
}

/* CTL_OK, or the code to exit with. */
static int take_option(struct ctl *c, int o)
{
    if (o >= OPT_FACT) {
        return take_fact(c, &facts[o - OPT_FACT]);
    }
    switch (o) {
    case OPT_SOCKET:
        c->socket = optarg;
        c->server = NULL; /* the environment may have named one */
        return CTL_OK;
    case OPT_SERVER:
        c->server = optarg;
        return CTL_OK;
    case OPT_CERT:
        c->cert = optarg;
        return CTL_OK;
    case OPT_KEY:
        c->key = optarg;
        return CTL_OK;
    case OPT_CA:
        c->ca = optarg;
        return CTL_OK;
    case 'o':
        c->json = strcmp(optarg, "json") == 0;
        return c->json || strcmp(optarg, "table") == 0 ? CTL_OK : ctl_usage("-o: table or json");
    case OPT_REASON:
        c->reason = optarg;
        return CTL_OK;
    case OPT_IF_VERSION:
        return take_number(optarg, &c->if_version) ? CTL_OK : ctl_usage("--if-version: a whole number");
    case 'f':
        c->file = optarg;
        return CTL_OK;
    case OPT_PHONE:
        c->phone = optarg;
        return CTL_OK;
    case OPT_POLICY:
        c->policy = optarg;
        return CTL_OK;
    case OPT_USER:
        c->user = optarg;
        return CTL_OK;
    case OPT_LIMIT:
        return take_number(optarg, &c->limit) ? CTL_OK : ctl_usage("--limit: a whole number");
    case OPT_OPEN:
        c->open = true;
        return CTL_OK;
    case OPT_UNDO:
        c->undo = true;
        return CTL_OK;
    case OPT_DATABASE:
        c->database = optarg;
        return CTL_OK;
    case OPT_FOLDER:
        c->folder = optarg;
        return CTL_OK;
    case OPT_TTL:
        c->ttl = optarg;
        return CTL_OK;
    case OPT_BURST:
        c->burst = optarg;
        return CTL_OK;
    case OPT_ROUTE:
        c->route = optarg;
        return CTL_OK;
    default:
        fputs("tidectl --help shows examples\n", stderr);
        return CTL_USAGE;
    }
}

int main(int argc, char **argv)
{
    const char *socket = getenv("TIDEGATE_ADMIN_SOCKET");
    struct ctl c = {.socket = socket != NULL ? socket : "/run/tidegate/admin.sock",
                    .server = getenv("TIDEGATE_ADMIN_URL"),
                    .cert = getenv("TIDEGATE_ADMIN_CERT"),
                    .key = getenv("TIDEGATE_ADMIN_KEY"),
                    .ca = getenv("TIDEGATE_ADMIN_CA"),
                    .timeout_s = 30,
                    .folder = "/usr/share/tidegate/migrations"};
    for (int o = 0; (o = getopt_long(argc, argv, "o:f:h", options, NULL)) != -1;) {
        if (o == 'h') {
            fputs(usage, stdout);
            return CTL_OK;
        }
        if (o == OPT_VERSION) {
            printf("tidectl %s\n", TIDE_VERSION);
            return CTL_OK;
        }
        int code = take_option(&c, o);
        if (code != CTL_OK) {
            return code;
        }
    }
    if (argc - optind > CTL_WORDS_MAX) {
        return ctl_usage("too many words");
    }
    while (optind < argc) {
        c.words[c.word_count++] = argv[optind++];
    }
    return run(&c);
}
