/* All verbs, and how words find one. */
#include "gateway/ctl/verbs.h"

const struct ctl_group ctl_groups[] = {
    {"Who may sign up", ctl_verbs_policy},
    {"Change it with care", ctl_verbs_change},
    {"Another policy by stages", ctl_verbs_ramp},
    {"Try a policy; nothing changes", ctl_verbs_try},
    {"Invites", ctl_verbs_invites},
    {"Waiting list", ctl_verbs_waitlist},
    {"Accounts, audit, incidents", ctl_verbs_accounts},
    {"Limits", ctl_verbs_limits},
    {"What codes by SMS cost", ctl_verbs_sms},
    {"Under attack", ctl_verbs_attack},
    {"Bans and allowances", ctl_verbs_bans},
    {"Why a code request went as it did", ctl_verbs_explain},
    {"Single requests", ctl_verbs_requests},
    {"This gateway and its workers", ctl_verbs_process},
    {"Without a gateway", ctl_verbs_local},
    {"About tidectl", ctl_verbs_self},
    {NULL, NULL},
};

void ctl_verbs_walk(bool (*see)(void *arg, const struct ctl_verb *v), void *arg)
{
    for (const struct ctl_group *g = ctl_groups; g->title != NULL; g++) {
        for (const struct ctl_verb *v = g->verbs; v->words != NULL; v++) {
            if (!see(arg, v)) {
                return;
            }
        }
    }
}

bool ctl_next_word(struct str *list, struct str *word)
{
    while (str_cut(list, ' ', word)) {
        if (word->n > 0) {
            return true;
        }
    }
    return false;
}

/* How many of the verb's own words stand at the front of these, one by one. */
static int match(const struct ctl_verb *v, const char *const *words, int n)
{
    struct str own = str_from(v->words);
    struct str word;
    int i = 0;
    while (i < n && ctl_next_word(&own, &word) && str_is(word, words[i])) {
        i++;
    }
    return i;
}

static int count_words(const char *text)
{
    struct str list = str_from(text);
    struct str word;
    int n = 0;
    while (ctl_next_word(&list, &word)) {
        n++;
    }
    return n;
}

bool ctl_verb_begins(const struct ctl_verb *v, const char *const *words, int n)
{
    return match(v, words, n) == n;
}

/* --- find ------------------------------------------------------------------------------------------- */

struct search {
    const char *const *words;
    int n;
    const struct ctl_verb *best;
    int used;       /* words of the best */
    unsigned edits; /* between them and what was typed */
};

static bool see_exact(void *arg, const struct ctl_verb *v)
{
    struct search *s = arg;
    int own = count_words(v->words);
    if (own > s->used && match(v, s->words, s->n) == own) {
        s->best = v;
        s->used = own;
    }
    return true;
}

const struct ctl_verb *ctl_verb_find(const char *const *words, int n, int *used)
{
    struct search s = {.words = words, .n = n};
    ctl_verbs_walk(see_exact, &s);
    *used = s.used;
    return s.best;
}

/* Edits over all words of the verb, each with the word that stands in its place; a missing one costs its length. */
static bool see_near(void *arg, const struct ctl_verb *v)
{
    struct search *s = arg;
    struct str own = str_from(v->words);
    struct str word;
    unsigned edits = 0;
    unsigned letters = 0;
    for (int i = 0; ctl_next_word(&own, &word); i++) {
        unsigned d = ctl_distance(word, str_from(i < s->n ? s->words[i] : ""));
        edits += d;
        letters += (unsigned)word.n;
    }
    if (edits <= letters / 3 && (s->best == NULL || edits < s->edits)) {
        s->best = v;
        s->edits = edits;
    }
    return true;
}

const struct ctl_verb *ctl_verb_nearest(const char *const *words, int n)
{
    struct search s = {.words = words, .n = n};
    ctl_verbs_walk(see_near, &s);
    return s.best;
}

struct ctl_arity ctl_verb_arity(const struct ctl_verb *v)
{
    struct str list = str_from(v->args);
    struct str word;
    struct ctl_arity a = {0, 0};
    while (ctl_next_word(&list, &word)) {
        a.least += word.p[0] == '[' ? 0 : 1;
        a.most = memmem(word.p, word.n, "...", 3) != NULL ? CTL_WORDS_MAX : a.most + 1;
    }
    return a;
}
