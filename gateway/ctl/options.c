/* The options: where each one's value goes, and what it is. Which verb takes which is said in the verbs' rows. */
#include "gateway/ctl/verbs.h"

#define AT(member) offsetof(struct ctl, member)

const char ctl_migrations[] = TIDE_MIGRATIONS;

const struct ctl_option ctl_options[] = {
    /* --- of every verb --- */
    {"output", 'o', CTL_CHOICE, AT(output), "table json yaml name", "how the answer is shown", true},
    {"socket", 0, CTL_FILE, AT(socket), "PATH", "admin socket of the gateway to ask", true},
    {"server", 0, CTL_TEXT, AT(server), "URL", "https://HOST:PORT of a gateway, instead of a socket", true},
    {"cert", 0, CTL_FILE, AT(cert), "FILE", "--server: the certificate that you show (PEM)", true},
    {"key", 0, CTL_FILE, AT(key), "FILE", "--server: its key, which nobody else may read", true},
    {"ca", 0, CTL_FILE, AT(ca), "FILE", "--server: who signed the gateway's certificate", true},
    {"timeout", 0, CTL_TIME, AT(timeout_ms), "TIME", "longest wait for an answer (30s)", true},
    {"help", 'h', CTL_SWITCH, AT(help), NULL, "this page; after a verb, the verb's", true},
    {"version", 0, CTL_SWITCH, AT(version), NULL, "the version of tidectl", true},

    /* --- of changes --- */
    {"reason", 0, CTL_TEXT, AT(reason), "TEXT", "why; it goes into the audit log", false},
    {"dry-run", 0, CTL_SWITCH, AT(dry_run), NULL, "the gateway says what would happen, and does nothing",
     false},
    {"confirm", 0, CTL_TEXT, AT(confirm), "NAME", "yes, that one: for what can hurt; a terminal asks", false},
    {"if-version", 0, CTL_COUNT, AT(if_version), "N", "only when this version is in force now; else exit 6",
     false},
    {"force", 0, CTL_SWITCH, AT(force), NULL, "also what lint calls an error", false},
    {"ttl", 0, CTL_TIME, AT(ttl_ms), "TIME", "for how long: 90s, 10m, 2h; it ends by itself", false},
    {"until", 0, CTL_TEXT, AT(until), "TIME", "until then: 2026-12-01T02:00:00Z; it ends by itself", false},
    {"for", 0, CTL_TIME, AT(for_ms), "TIME", "only for so long, then back: 90s, 10m, 2h", false},
    {"stages", 0, CTL_TEXT, AT(stages), "LIST", "percents that rise to 100 (1,5,25,100)", false},
    {"on-bad", 0, CTL_CHOICE, AT(on_bad), "hold revert", "what a bad signal does to it (hold)", false},
    {"id", 0, CTL_TEXT, AT(id), "ID", "of the emergency that another gateway was told", false},
    {"file", 'f', CTL_FILE, AT(file), "FILE", "what to read; \"-\" is standard input", false},
    {"allow", 0, CTL_SWITCH, AT(allow), NULL, "allowances: who is never banned", false},
    {"list", 0, CTL_TEXT, AT(list), "NAME", "the list that it belongs to", false},
    {"burst", 0, CTL_COUNT, AT(burst), "N", "units at once", false},
    {"undo", 0, CTL_SWITCH, AT(undo), NULL, "take the worker back", false},

    {"uses", 0, CTL_COUNT, AT(uses), "N", "accounts that each invite may bring in (1)", false},
    {"count", 0, CTL_COUNT, AT(count), "N", "how many (1)", false},
    {"inviter", 0, CTL_TEXT, AT(inviter), "NAME", "whom the invites are charged to", false},
    {"quota", 0, CTL_COUNT, AT(quota), "N", "accounts that the inviter's invites may bring in, all together",
     false},

    {"phone-country", 0, CTL_TEXT, AT(phone_country), "CC", "only numbers of this country: CN", false},
    {"joined-before", 0, CTL_TEXT, AT(joined_before), "TIME", "only who joined before: 2026-12-01T02:00:00Z",
     false},

    /* --- of lists --- */
    {"watch", 'w', CTL_SWITCH, AT(watch), NULL, "again and again, until interrupted", false},
    {"every", 0, CTL_TIME, AT(every_ms), "TIME", "between two looks (2s), or two stages (10m)", false},
    {"limit", 'n', CTL_COUNT, AT(limit), "N", "at most so many rows", false},
    {"open", 0, CTL_SWITCH, AT(open), NULL, "only those that are not resolved", false},
    {"banned", 0, CTL_SWITCH, AT(banned), NULL, "only those that are banned", false},
    {"user", 0, CTL_TEXT, AT(user), "ID", "this account", false},
    {"route", 0, CTL_TEXT, AT(route), "NAME", "for rules that count by route", false},

    /* --- of an attempt to sign up --- */
    {"phone", 0, CTL_TEXT, AT(attempt.phone), "NUMBER", "a phone number: +8613800138000", false},
    {"policy", 0, CTL_FILE, AT(policy), "FILE", "this document, instead of the policy in force", false},
    {"method", 0, CTL_TEXT, AT(attempt.method), "NAME", "phone, email, apple, google", false},
    {"email", 0, CTL_TEXT, AT(attempt.email), "ADDRESS", "an e-mail address", false},
    {"email-disposable", 0, CTL_SCALAR, AT(attempt.email_disposable), "BOOL",
     "is its domain one of throw-away addresses?", false},
    {"ip-country", 0, CTL_TEXT, AT(attempt.ip_country), "CC", "country of the client's address", false},
    {"asn", 0, CTL_SCALAR, AT(attempt.asn), "N", "autonomous system of the client's address", false},
    {"device", 0, CTL_TEXT, AT(attempt.device), "LEVEL", "what attests the device", false},
    {"platform", 0, CTL_TEXT, AT(attempt.platform), "NAME", "ios, android, web", false},
    {"app-version", 0, CTL_TEXT, AT(attempt.app_version), "N.N.N", "version of the app", false},
    {"invite", 0, CTL_SCALAR, AT(attempt.invite), "BOOL", "has it a good invite?", false},
    {"campaign", 0, CTL_TEXT, AT(attempt.campaign), "NAME", "the invite's campaign", false},
    {"at", 0, CTL_TEXT, AT(attempt.at), "TIME", "at this time: 2026-12-01T02:00:00Z", false},

    /* --- of what needs no gateway --- */
    {"database", 0, CTL_TEXT, AT(database), "URI", "where (libpq; else $TIDEGATE_PG)", false},
    {"folder", 0, CTL_FILE, AT(folder), "PATH", "of the SQL files (" TIDE_MIGRATIONS ")", false},
    {NULL, 0, 0, 0, NULL, NULL, false},
};

const struct ctl_option *ctl_option_find(struct str name)
{
    for (const struct ctl_option *o = ctl_options; o->name != NULL; o++) {
        if (str_is(name, o->name)) {
            return o;
        }
    }
    return NULL;
}

const struct ctl_option *ctl_option_by_letter(char letter)
{
    for (const struct ctl_option *o = ctl_options; o->name != NULL; o++) {
        if (o->letter == letter && letter != '\0') {
            return o;
        }
    }
    return NULL;
}

const struct ctl_option *ctl_option_nearest(struct str name)
{
    const struct ctl_option *best = NULL;
    unsigned least = (unsigned)name.n / 3 + 1;
    for (const struct ctl_option *o = ctl_options; o->name != NULL; o++) {
        unsigned d = ctl_distance(name, str_from(o->name));
        if (d <= least && (best == NULL || d < least)) {
            best = o;
            least = d;
        }
    }
    return best;
}

bool ctl_verb_takes(const struct ctl_verb *v, const struct ctl_option *o, bool *wanted)
{
    struct str list = str_from(v->options);
    struct str word;
    *wanted = false;
    while (ctl_next_word(&list, &word)) {
        bool is_wanted = str_ends(word, STR("!"));
        word.n -= is_wanted ? 1 : 0;
        if (str_is(word, o->name)) {
            *wanted = is_wanted;
            return true;
        }
    }
    return o->is_everywhere;
}
