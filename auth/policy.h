/* The sign-up policy: who may make an account, as one versioned JSON document. Never asked about people who
 * already have one.
 *
 *     text -> policy_parse (strict: an unknown member refuses the document, the error names its JSON path)
 *          -> struct policy, immutable, reference-counted, swapped on every loop
 *          -> policy_decide(policy, facts, &decision)          pure; first matching rule wins
 *
 * Document:
 *     {"name": "mainland-phone-only",
 *      "rules": [{"id": "mainland", "when": {"method": ["phone"], "phone_country": ["CN"]}, "effect": "allow"},
 *                {"id": "abroad", "when": {"method": ["phone"]}, "effect": "deny",
 *                 "reason": "signup_region_not_allowed"}],
 *      "default": {"effect": "deny", "reason": "signup_closed"},
 *      "messages": {"signup_closed": {"en": "...", "zh-Hans": "...", "zh-Hant": "..."}},
 *      "existing_users": "unaffected"}
 * Effects: allow; deny with a reason; waitlist, whose reason is always signup_waitlisted. Each may have a `challenge` (none,
 * pow, pow_hard): what the caller must have solved, asked for by whoever carries the decision out.
 * Conditions of `when` (all must hold; lists: one of): method, phone_country, phone_prefix, phone_type,
 * phone_virtual, email_domain, email_disposable, ip_country, asn, phone_country_is_ip_country, device, app_version,
 * platform, invite, campaign, time; docs/policy.md teaches them. A rule with `ramp_percent` is for that part of the
 * people only. A fact that is missing makes a condition false for allow and true for the others.
 * An allow rule may have `caps`: so many accounts a minute, an hour, a day. A decision by such a rule holds only with a
 * place under them, which whoever carries it out takes; when there is none, policy_decide_from asks the rules behind it.
 * A rule with `shadow` decides nothing: that it would have is told in the decision.
 * `version`, when present, is the version the document was edited from.
 * Ownership: policy_parse gives one reference. Limits: 8 MiB, 1000 rules, 1000 values a list, 200,000 e-mail domains.
 * Thread rule: pure; references are atomic. */
#ifndef TIDE_AUTH_POLICY_H
#define TIDE_AUTH_POLICY_H

#include "auth/phone.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"

enum { POLICY_NAME_MAX = 63, POLICY_CAMPAIGN_MAX = 63, POLICY_DOCUMENT_MAX = 8 << 20, POLICY_LANGS = 3 };

enum policy_effect {
    POLICY_EFFECT_ALLOW = 0,
    POLICY_EFFECT_DENY = 1,
    POLICY_EFFECT_WAITLIST = 2, /* no account now: a place on the waiting list */
};

/* What must have been solved before anything else; the larger is the harder. */
enum policy_challenge {
    POLICY_CHALLENGE_NONE = 0,
    POLICY_CHALLENGE_POW = 1, /* proof of work */
    POLICY_CHALLENGE_POW_HARD = 2,
};

/* Periods of the clock, UTC. */
enum policy_cap { POLICY_CAP_MINUTE = 0, POLICY_CAP_HOUR = 1, POLICY_CAP_DAY = 2, POLICY_CAPS = 3 };
#define POLICY_CAP_NONE UINT32_MAX

/* What people are told the state of sign-up is. */
enum policy_state {
    POLICY_STATE_OPEN = 0,       /* everybody may */
    POLICY_STATE_RESTRICTED = 1, /* some may */
    POLICY_STATE_CLOSED = 2,     /* nobody may */
};

enum policy_method {
    POLICY_METHOD_PHONE = 0,
    POLICY_METHOD_EMAIL = 1,
    POLICY_METHOD_APPLE = 2,
    POLICY_METHOD_GOOGLE = 3,
    POLICY_METHODS = 4,
};
enum { POLICY_METHODS_OFFERED = 1 << POLICY_METHOD_PHONE }; /* bits; the others are conditions all the same */

/* 0 is always: not known. */
enum policy_answer { POLICY_UNKNOWN = 0, POLICY_NO = 1, POLICY_YES = 2 };
enum policy_device {
    POLICY_DEVICE_UNKNOWN = 0,
    POLICY_DEVICE_NONE = 1,
    POLICY_DEVICE_BASIC = 2,
    POLICY_DEVICE_STRONG = 3
};
enum policy_platform {
    POLICY_PLATFORM_UNKNOWN = 0,
    POLICY_PLATFORM_IOS = 1,
    POLICY_PLATFORM_ANDROID = 2,
    POLICY_PLATFORM_WEB = 3
};

enum { POLICY_APP_PARTS = 4, POLICY_RAMP_WHOLE = 10000 };
struct policy_app_version {
    bool is_known;
    uint32_t parts[POLICY_APP_PARTS]; /* "2.10" is 2, 10, 0, 0 */
};

struct policy;
struct secret_ring;

/* What a request tells beside the number or address: a plain value, copied into jobs. All zero: nothing is known. */
struct policy_caller {
    char ip_country[3];        /* ISO 3166 of the client's address; "": not known */
    uint32_t asn;              /* of the client's address; 0: not known */
    enum policy_device device; /* what attestation proved; none: it was tried and failed */
    enum policy_platform platform;
    struct policy_app_version app_version;
    enum policy_answer invite;              /* a good one was shown */
    char campaign[POLICY_CAMPAIGN_MAX + 1]; /* of the invite; "": none */
};

/* What is known of one attempt. All zero but for method: nothing is. Texts are borrowed. */
struct policy_facts {
    enum policy_method method;
    const struct phone *phone; /* NULL: no number known */
    bool phone_is_prefix;      /* of phone->e164 only the first digits are known: an attempt of before */
    int64_t now_s;             /* Unix time; always known */
    struct str email_domain;   /* of the address, any case; empty: not known */
    enum policy_answer email_disposable;
    char ip_country[3];        /* ISO 3166; "": not known */
    uint32_t asn;              /* 0: not known */
    enum policy_device device; /* what attestation proved; none: it was tried and failed */
    enum policy_platform platform;
    struct policy_app_version app_version;
    enum policy_answer invite; /* a good one was shown */
    struct str campaign;       /* of the invite */
    bool has_ramp;
    uint32_t ramp; /* policy_ramp_of, 0 to 9999 */
};

struct policy_decision {
    enum policy_effect effect;
    int64_t version;    /* of the policy that decided */
    const char *rule;   /* id of the rule, "default" when none matched; borrowed from the policy */
    const char *reason; /* problem code when the effect is not allow, else NULL; borrowed */
    enum policy_challenge challenge;
    unsigned index;             /* of the rule; the count of rules: the default */
    bool has_caps;              /* it holds only with a place under: */
    uint32_t caps[POLICY_CAPS]; /* accounts, by enum policy_cap; POLICY_CAP_NONE: that period has no cap */
    const char *shadow;         /* id of the first shadow rule before it that matched; NULL: none; borrowed */
    enum policy_effect shadow_effect; /* what that one would have decided */
    int64_t wait_s; /* set by whoever found that there is no place: until there may be one; else 0 */
};

extern const struct json_limits policy_json_limits; /* of a document */
int policy_parse(struct str document, int64_t version, struct policy **out, struct err *err) TIDE_CHECK;
/* Document of a preset ("open", "mainland-phone-only", "invite-only", "waitlist", "closed"); NULL for another name. */
const char *policy_preset(struct str name);
struct policy *policy_ref(struct policy *p);
void policy_unref(struct policy *p); /* NULL allowed; any thread */

/* The facts of a sign-up with a phone number, now. ramp only when a rule of p asks for it, or p is NULL. Borrows phone and caller. */
void policy_facts_of_phone(const struct policy *p, const struct secret_ring *r, const struct phone *phone,
                           const struct policy_caller *caller, struct policy_facts *out);
/* Where somebody stands on the ramp: a keyed hash of the canonical number or address. Always the same for the same
 * person, whatever the policy, so that nobody gets in by trying again and a growing ramp keeps whom it let in. */
uint32_t policy_ramp_of(const struct secret_ring *r, enum policy_method m, struct str identifier);
/* "2", "2.10.0.7". False: it is none, and *out stays as it was. */
bool policy_app_version_read(struct str text, struct policy_app_version *out);
enum policy_platform policy_platform_read(struct str text); /* "iOS", in any case; unknown for what is none */

void policy_decide(const struct policy *p, const struct policy_facts *facts, struct policy_decision *out);
/* As if the rules before `first` were not there. */
void policy_decide_from(const struct policy *p, const struct policy_facts *facts, unsigned first,
                        struct policy_decision *out);
/* Nobody can say whether there is a place under its caps: closed. The decision becomes a denial, signup_busy. */
void policy_decision_close(struct policy_decision *d);
/* The policy's own words for a reason, by enum problem_lang order (en, zh-Hans, zh-Hant); empty: none. */
struct str policy_message(const struct policy *p, const char *reason, unsigned lang);

/* Likewise for the reason that most people meet: what a public notice says. */
struct str policy_main_message(const struct policy *p, unsigned lang);

int64_t policy_version(const struct policy *p);
const char *policy_name(const struct policy *p);
int64_t policy_edited_from(const struct policy *p); /* `version` inside the document; 0 when absent */
enum policy_state policy_state(const struct policy *p);
const char *policy_state_name(enum policy_state s);         /* "open", "restricted", "closed" */
const char *policy_effect_name(enum policy_effect e);       /* "allow", "deny", "waitlist" */
const char *policy_challenge_name(enum policy_challenge c); /* "none", "pow", "pow_hard" */
const char *policy_method_name(enum policy_method m);
const char *policy_device_name(enum policy_device d);                    /* "none", "basic", "strong" */
const char *policy_platform_name(enum policy_platform p);                /* "ios", "android", "web" */
bool policy_allows_method(const struct policy *p, enum policy_method m); /* for some number or address */
struct str policy_document(const struct policy *p);                      /* as parsed; borrowed */
/* {"state":...,"methods":[...],"countries":[...],"message":...,"policy":...,"policy_version":...}: the `signup`
 * of /auth/v1/settings, of refusals and of the public notice. lang: enum problem_lang. */
void policy_write_public(const struct policy *p, unsigned lang, struct buf *out);

/* The last policy this process knew, kept on disk for a start without the database. Atomic replacement.
 * policy_load: ERR_NOT_FOUND when there is none. */
int policy_save(const struct policy *p, const char *path, struct err *err) TIDE_CHECK;
int policy_load(const char *path, struct policy **out, struct err *err) TIDE_CHECK;

#endif
