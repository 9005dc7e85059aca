/* The parsed form of a policy: shared by policy*.c, which hold the language. Private to auth/.
 *
 * A rule is a set of conditions (bits of enum policy_condition) and their values; a condition that is not in `has` has
 * no value. The order of the enum is the order in which conditions are asked: cheap ones first. Few rules are asked: the
 * index (policy_index.h) tells which may match.
 * Ownership: every text and set is owned by the policy and freed with it.
 * Thread rule: immutable once parsed, but for refs. */
#ifndef TIDE_AUTH_POLICY_INNER_H
#define TIDE_AUTH_POLICY_INNER_H

#include <stdatomic.h>

#include "auth/domain_set.h"
#include "auth/policy.h"
#include "auth/policy_index.h"

enum {
    POLICY_RULES_MAX = 1000,
    POLICY_VALUES_MAX = 1000,    /* of one list, but for e-mail domains */
    POLICY_DOMAINS_MAX = 200000, /* of one list */
    POLICY_ITEMS_MAX = 262144,   /* of all lists together */
    POLICY_MEMBERS_MAX = 262144, /* of all objects together */
    POLICY_REASONS_MAX = 16,
    POLICY_TEXT_MAX = 500, /* bytes of one message */
    POLICY_ID_MAX = 63,
    POLICY_WINDOWS_MAX = 14, /* weekly windows of one condition */
    POLICY_COUNTRIES = 26 * 26,
    POLICY_CAP_MAX = 1000000000, /* accounts */
};

enum policy_condition {
    POLICY_IF_METHOD = 0,
    POLICY_IF_PHONE_TYPE,
    POLICY_IF_PHONE_VIRTUAL,
    POLICY_IF_EMAIL_DISPOSABLE,
    POLICY_IF_SAME_COUNTRY, /* phone_country_is_ip_country */
    POLICY_IF_DEVICE,
    POLICY_IF_PLATFORM,
    POLICY_IF_INVITE,
    POLICY_FEW_CONDITIONS, /* those above have few values, see policy_few_value */
    POLICY_IF_PHONE_COUNTRY = POLICY_FEW_CONDITIONS,
    POLICY_IF_IP_COUNTRY,
    POLICY_IF_APP_VERSION,
    POLICY_IF_RAMP, /* stands beside `when`, and is asked like the rest */
    POLICY_IF_TIME,
    POLICY_IF_ASN,
    POLICY_IF_PHONE_PREFIX,
    POLICY_IF_CAMPAIGN,
    POLICY_IF_EMAIL_DOMAIN,
    POLICY_CONDITIONS,
};
#define POLICY_BIT(condition) (1u << (condition))

/* Two capitals as a bit; negative for what is no country. */
int policy_country_index(const char *country);

struct policy_countries {
    uint32_t bits[(POLICY_COUNTRIES + 31) / 32];
};

struct policy_numbers {
    uint64_t *items; /* as written */
    unsigned count;
};

struct policy_texts {
    char **items; /* as written */
    unsigned count;
};

struct policy_window {
    uint8_t days;                 /* bit 0 Monday to bit 6 Sunday: the day on which it begins */
    uint16_t from_min, until_min; /* of the local day; from > until: past midnight */
};

struct policy_time {
    int64_t from_s, until_s; /* Unix seconds; until_s is not in it */
    int32_t offset_s;        /* of the zone, east of Greenwich */
    struct policy_window windows[POLICY_WINDOWS_MAX];
    unsigned window_count; /* 0: the whole week */
};

struct policy_rule {
    uint32_t has;     /* bits of enum policy_condition */
    uint32_t methods; /* bits of enum policy_method */
    uint32_t types, devices, platforms;
    uint32_t ramp;                                                             /* of 10,000 */
    enum policy_answer is_virtual, is_disposable, is_same_country, is_invited; /* the wanted answer */
    enum policy_effect effect;
    enum policy_challenge challenge;
    bool is_shadow;
    bool has_caps;
    uint32_t caps[POLICY_CAPS]; /* when has_caps; POLICY_CAP_NONE: none for that period */
    struct policy_countries *phone_country, *ip_country;
    struct policy_numbers prefix; /* policy_prefix_key */
    struct policy_numbers asn;
    struct policy_texts campaign;
    struct domain_set *email_domain;
    struct policy_time *time;
    struct policy_app_version at_least, below; /* is_known: that bound is there */
    char *id;                                  /* unique in the document */
    char *reason;                              /* problem code; NULL: the effect is allow */
};

struct policy_words {
    char *reason;
    char *text[POLICY_LANGS]; /* by enum problem_lang; NULL: none */
};

struct policy {
    atomic_uint refs;
    int64_t version;
    int64_t edited_from;
    char *name;
    char *document;
    struct policy_rule *rules;
    unsigned rule_count;
    bool has_ramp;               /* of some rule */
    struct policy_rule fallback; /* `default`: id "default", no conditions */
    struct policy_words words[POLICY_REASONS_MAX];
    unsigned words_count;
    struct buf public_text[POLICY_LANGS]; /* policy_write_public, by enum problem_lang */
    struct policy_index *index;           /* of rules */
};

/* The first digits of a number, and how many: the same for a text as for the beginning of a longer one. */
static inline uint64_t policy_prefix_key(uint64_t digits, unsigned count)
{
    return digits * 16 + count;
}

void policy_write_public_texts(struct policy *p); /* once it is read */

static inline bool policy_countries_has(const struct policy_countries *set, int index)
{
    return set->bits[index / 32] >> (index % 32) & 1;
}

/* policy_match.c */
enum policy_match { POLICY_MATCH_NO = 0, POLICY_MATCH_UNKNOWN = 1, POLICY_MATCH_YES = 2 };

/* Facts made ready for being asked many times. Borrows them. */
struct policy_attempt {
    const struct policy_facts *facts;
    int phone_country, ip_country;        /* policy_country_index */
    unsigned digits;                      /* of the number */
    uint64_t prefix_keys[PHONE_E164_MAX]; /* by count of digits */
    struct domain_key domain;
    char domain_text[DOMAIN_MAX + 1]; /* in lower case */
};
void policy_attempt_init(struct policy_attempt *a, const struct policy_facts *facts);
enum { POLICY_FEW_VALUES = 5 };
/* The fact of a condition with few values as a number below POLICY_FEW_VALUES; 0: not known. */
unsigned policy_few_value(enum policy_condition c, const struct policy_attempt *a);
enum policy_match policy_few_match(const struct policy_rule *r, enum policy_condition c, unsigned value);
enum policy_match policy_condition_match(const struct policy_rule *r, enum policy_condition c,
                                         const struct policy_attempt *a);
/* The index of the first rule from `first` on that matches and is no shadow; rule_count: the default. shadow (NULL
 * allowed): the first shadow that matched before it, or rule_count. */
unsigned policy_find_rule(const struct policy *p, const struct policy_attempt *a, unsigned first,
                          unsigned *shadow);
enum policy_match policy_match_wanted(const struct policy_rule *r); /* of each condition, at least */
bool policy_rule_matches(const struct policy_rule *r, const struct policy_attempt *a);
bool policy_time_holds(const struct policy_time *t, int64_t now_s);

/* policy_when.c: name as in the document, and the JSON Schema of its value. */
const char *policy_condition_name(enum policy_condition c);
const char *policy_condition_schema(enum policy_condition c);

#endif
