/* Names, defaults and ranges of the section `hooks`. */
#include "gateway/hooks_conf.h"

#include "gateway/hook_target.h"

static const struct conf_entry hook_entries[] = {
    {.name = "name",
     .type = CONF_STRING,
     CONF_FIELD(struct hook_conf, name),
     .min = 1,
     .max = 32,
     .help =
         "Names the provider in metrics and in tidectl sms top. Not given: sms, sms2, sms3 by its place."},
    {.name = "url",
     .type = CONF_STRING,
     CONF_FIELD(struct hook_conf, url),
     .flags = CONF_REQUIRED,
     .min = 8,
     .max = 500,
     .help = "Where the message is posted: https, or http to 127.0.0.1, [::1] or localhost."},
    {.name = "secret_file",
     .type = CONF_STRING,
     CONF_FIELD(struct hook_conf, secret_file),
     .flags = CONF_REQUIRED | CONF_SECRET_FILE,
     .help = "Signs each message after Standard Webhooks: whsec_ and base64 of 24 to 64 bytes."},
    {.name = "ca_file",
     .type = CONF_STRING,
     CONF_FIELD(struct hook_conf, ca_file),
     .flags = CONF_FILE,
     .help = "Certificate authorities (PEM) that the receiver's certificate is checked by, instead of the "
             "system's."},
    {.name = "timeout",
     .type = CONF_DURATION,
     CONF_FIELD(struct hook_conf, timeout_ms),
     .preset = "5s",
     .min = 100,
     .max = 30000,
     .help = "Deadline of one try."},
    {.name = "tries",
     .type = CONF_INT,
     CONF_FIELD(struct hook_conf, tries),
     .preset = "3",
     .min = 1,
     .max = 5,
     .help = "Tries in all, when there is no answer or a 5xx or 429."},
    {.name = "backoff",
     .type = CONF_DURATION,
     CONF_FIELD(struct hook_conf, backoff_ms),
     .preset = "500ms",
     .min = 10,
     .max = 10000,
     .help = "Between the first two tries; doubled after each."},
};

/* A receiver of codes is trusted with them: plain HTTP only within this machine. */
static int check_hook(void *section, const char **field, struct err *err)
{
    struct hook_conf *h = section;
    *field = "url";
    return hook_target_read(h->url, &h->is_loopback, err);
}

static const struct conf_section hook_section = {.entries = hook_entries,
                                                 .count = CONF_COUNT(hook_entries),
                                                 .size = sizeof(struct hook_conf),
                                                 .check = check_hook};

static const struct conf_entry risk_entries[] = {
    {.name = "url",
     .type = CONF_STRING,
     CONF_FIELD(struct risk_conf, hook.url),
     .min = 8,
     .max = 500,
     .help =
         "Where questions are posted: https, or http to 127.0.0.1, [::1] or localhost. Not given: nobody is "
         "asked."},
    {.name = "secret_file",
     .type = CONF_STRING,
     CONF_FIELD(struct risk_conf, hook.secret_file),
     .flags = CONF_SECRET_FILE,
     .help = "Signs each question after Standard Webhooks: whsec_ and base64 of 24 to 64 bytes."},
    {.name = "ca_file",
     .type = CONF_STRING,
     CONF_FIELD(struct risk_conf, hook.ca_file),
     .flags = CONF_FILE,
     .help = "As of `sms`."},
    {.name = "timeout",
     .type = CONF_DURATION,
     CONF_FIELD(struct risk_conf, hook.timeout_ms),
     .preset = "300ms",
     .min = 10,
     .max = 30000,
     .help = "How long a code request waits for it."},
    {.name = "points",
     .type = CONF_INT,
     CONF_FIELD(struct risk_conf, points),
     .preset = "50",
     .min = 1,
     .max = 1000,
     .help = "The most that it may add to a score. An answer beyond it counts as none."},
    {.name = "silent_points",
     .type = CONF_INT,
     CONF_FIELD(struct risk_conf, silent),
     .preset = "0",
     .max = 1000,
     .help =
         "Added when it does not answer in time or not rightly, and while it is not asked because it fails "
         "often; at most `points`."},
    {.name = "in_flight",
     .type = CONF_INT,
     CONF_FIELD(struct risk_conf, in_flight),
     .preset = "64",
     .min = 1,
     .max = 10000,
     .help = "Questions under way at once; beyond them none is asked."},
};

static int check_risk(void *section, const char **field, struct err *err)
{
    struct risk_conf *c = section;
    c->hook.name = NULL;
    c->hook.tries = 1;
    *field = "silent_points";
    if (c->silent > c->points) {
        return err_set(err, ERR_INVALID, "must not be above hooks.risk.points (%u)", c->points);
    }
    *field = "secret_file";
    if (c->hook.url && !c->hook.secret_file) {
        return err_set(err, ERR_INVALID, "is wanted: questions are signed");
    }
    *field = "url";
    return c->hook.url ? hook_target_read(c->hook.url, &c->hook.is_loopback, err) : 0;
}

static const struct conf_section risk_section = {.entries = risk_entries,
                                                 .count = CONF_COUNT(risk_entries),
                                                 .size = sizeof(struct risk_conf),
                                                 .check = check_risk};

static const struct conf_entry hooks_entries[] = {
    {.name = "sms",
     .type = CONF_LIST,
     CONF_FIELD(struct hooks_conf, sms),
     .section = &hook_section,
     .max = HOOK_PROVIDERS_MAX,
     .flags = CONF_OR_ONE,
     .help = "Take one-time codes and hand them to SMS providers, in order of preference: a try that fails "
             "(no connection, "
             "no answer in time, 5xx, 429, or refused) goes to the next; one that fails often is passed over "
             "for a while. A "
             "code that was taken (2xx) is never sent again; after a time-out it may be taken twice. Without "
             "any no code "
             "can be sent."},
    {.name = "sms_deadline",
     .type = CONF_DURATION,
     CONF_FIELD(struct hooks_conf, sms_deadline_ms),
     .preset = "20s",
     .min = 100,
     .max = 120000,
     .help = "For one code, all providers and tries together."},
    {.name = "in_flight",
     .type = CONF_INT,
     CONF_FIELD(struct hooks_conf, in_flight),
     .preset = "256",
     .min = 1,
     .max = 10000,
     .help = "Codes and notices under way at once; more are refused."},
    {.name = "risk",
     .type = CONF_SECTION,
     CONF_FIELD(struct hooks_conf, risk),
     .section = &risk_section,
     .help = "Is asked about each code request that gets a score, and adds to it as the signal risk_hook "
             "(docs/suspicion.md). One that fails often is left alone for a while."},
    {.name = "allowed_networks",
     .type = CONF_PREFIXES,
     CONF_FIELD(struct hooks_conf, allowed_networks),
     .max = 64,
     .help =
         "Private networks that hooks may connect to, like 10.20.0.0/16; public addresses they may always. A "
         "hook whose host is 127.0.0.1, [::1] or localhost stays on this machine. Others are denied at each "
         "connection (metric tidegate_hook_addresses_denied_total)."},
};

static int check_hooks(void *section, const char **field, struct err *err)
{
    const struct hooks_conf *c = section;
    const struct hook_conf *hooks = c->sms.items;
    *field = "sms";
    for (unsigned i = 0; i < c->sms.n; i++) {
        for (unsigned j = 0; j < i && hooks[i].name; j++) {
            if (hooks[j].name && strcmp(hooks[i].name, hooks[j].name) == 0) {
                return err_set(err, ERR_INVALID, "two providers are named %s", hooks[i].name);
            }
        }
    }
    return 0;
}

const struct conf_section hooks_conf_section = {
    .check = check_hooks,
    .entries = hooks_entries,
    .count = CONF_COUNT(hooks_entries),
    .size = sizeof(struct hooks_conf),
    .help = "Servers that Tidegate calls: signed HTTP POST, tried again, never redirected.",
};
