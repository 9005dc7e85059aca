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
 * Conditions of `when` (all must hold; lists: one of): method, phone_country, phone_prefix, phone_type,
 * phone_virtual. A fact that is missing makes a condition false for allow and true for deny.
 * `version`, when present, is the version the document was edited from.
 * Ownership: policy_parse gives one reference. Limits: 64 KiB, 200 rules, 300 values a list.
 * Thread rule: pure; references are atomic. */
#ifndef TIDE_AUTH_POLICY_H
#define TIDE_AUTH_POLICY_H

#include "auth/phone.h"
#include "base/buf.h"
#include "base/err.h"

enum { POLICY_NAME_MAX = 63, POLICY_DOCUMENT_MAX = 65536, POLICY_LANGS = 3 };

enum policy_effect { POLICY_EFFECT_ALLOW = 0, POLICY_EFFECT_DENY = 1 };

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

struct policy;

struct policy_facts {
    enum policy_method method;
    const struct phone *phone; /* NULL: no number known */
};

struct policy_decision {
    enum policy_effect effect;
    int64_t version;    /* of the policy that decided */
    const char *rule;   /* id of the rule, "default" when none matched; borrowed from the policy */
    const char *reason; /* problem code for a denial, NULL for allow; borrowed */
};

int policy_parse(struct str document, int64_t version, struct policy **out, struct err *err) TIDE_CHECK;
/* Document of a preset ("open", "mainland-phone-only", "closed"); NULL for another name. */
const char *policy_preset(struct str name);
struct policy *policy_ref(struct policy *p);
void policy_unref(struct policy *p); /* NULL allowed; any thread */

void policy_decide(const struct policy *p, const struct policy_facts *facts, struct policy_decision *out);
/* The policy's own words for a reason, by enum problem_lang order (en, zh-Hans, zh-Hant); empty: none. */
struct str policy_message(const struct policy *p, const char *reason, unsigned lang);

/* Likewise for the reason that most people meet: what a public notice says. */
struct str policy_main_message(const struct policy *p, unsigned lang);

int64_t policy_version(const struct policy *p);
const char *policy_name(const struct policy *p);
int64_t policy_edited_from(const struct policy *p); /* `version` inside the document; 0 when absent */
enum policy_state policy_state(const struct policy *p);
const char *policy_state_name(enum policy_state s); /* "open", "restricted", "closed" */
const char *policy_method_name(enum policy_method m);
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
