/* The parsed form of a policy: shared by policy.c (questions) and policy_parse.c (language). Private to auth/.
 *
 * Ownership: every text is owned by the policy and freed with it.
 * Thread rule: immutable once parsed, but for refs. */
#ifndef TIDE_AUTH_POLICY_INNER_H
#define TIDE_AUTH_POLICY_INNER_H

#include <stdatomic.h>

#include "auth/policy.h"

enum {
    POLICY_RULES_MAX = 200,
    POLICY_VALUES_MAX = 300,
    POLICY_REASONS_MAX = 16,
    POLICY_TEXT_MAX = 500, /* bytes of one message */
    POLICY_ID_MAX = 63,
};

struct policy_list {
    char **items;   /* sorted as written */
    unsigned count; /* 0 with is_set: matches nothing; the parser refuses it */
    bool is_set;    /* the condition is there */
};

struct policy_rule {
    char *id;                   /* unique in the document */
    uint32_t methods;           /* bits of enum policy_method; 0: no condition */
    struct policy_list country; /* ISO 3166, two capitals */
    struct policy_list prefix;  /* "+86138": of the canonical number */
    uint32_t types;             /* bits of enum phone_type; 0: no condition */
    int is_virtual;             /* 1 wanted, 0 unwanted, -1 no condition */
    enum policy_effect effect;
    char *reason; /* deny: problem code */
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
    struct policy_rule fallback; /* `default`: id "default", no conditions */
    struct policy_words words[POLICY_REASONS_MAX];
    unsigned words_count;
};

#endif
