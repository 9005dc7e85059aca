/* The table of verbs and options, and what is made from it: parsing, help, manual pages, completion.
 *
 * Thread rule: one thread; the tables are constant. */
#ifndef TIDE_GATEWAY_CTL_VERBS_H
#define TIDE_GATEWAY_CTL_VERBS_H

#include <stdio.h>

#include "gateway/ctl/ctl.h"

/* Arrays of verbs, each ended by a row without words. */
extern const struct ctl_verb ctl_verbs_process[];  /* verbs_process.c */
extern const struct ctl_verb ctl_verbs_policy[];   /* verbs_policy.c */
extern const struct ctl_verb ctl_verbs_change[];   /* verbs_change.c */
extern const struct ctl_verb ctl_verbs_ramp[];     /* verbs_ramp.c */
extern const struct ctl_verb ctl_verbs_try[];      /* verbs_try.c */
extern const struct ctl_verb ctl_verbs_accounts[]; /* verbs_accounts.c */
extern const struct ctl_verb ctl_verbs_invites[];  /* verbs_invites.c */
extern const struct ctl_verb ctl_verbs_waitlist[]; /* verbs_waitlist.c */
extern const struct ctl_verb ctl_verbs_limits[];   /* verbs_limits.c */
extern const struct ctl_verb ctl_verbs_sms[];      /* verbs_sms.c */
extern const struct ctl_verb ctl_verbs_attack[];   /* verbs_attack.c */
extern const struct ctl_verb ctl_verbs_bans[];     /* verbs_bans.c */
extern const struct ctl_verb ctl_verbs_explain[];  /* verbs_explain.c */
extern const struct ctl_verb ctl_verbs_requests[]; /* verbs_requests.c */
extern const struct ctl_verb ctl_verbs_local[];    /* verbs_local.c */
extern const struct ctl_verb ctl_verbs_self[];     /* verbs_self.c */

/* verbs.c: all of them, as help shows them. A NULL title ends it. */
struct ctl_group {
    const char *title;
    const struct ctl_verb *verbs;
};
extern const struct ctl_group ctl_groups[];

/* Calls see(arg, verb) for every verb; stops when it returns false. */
void ctl_verbs_walk(bool (*see)(void *arg, const struct ctl_verb *v), void *arg);
/* The verb that the most of the words name; *used becomes how many. NULL: none. */
const struct ctl_verb *ctl_verb_find(const char *const *words, int n, int *used);
/* The verb nearest to mistyped words; NULL: none is near. */
const struct ctl_verb *ctl_verb_nearest(const char *const *words, int n);
/* Do the verb's own words begin with these? */
bool ctl_verb_begins(const struct ctl_verb *v, const char *const *words, int n);
/* How many arguments its row takes. */
struct ctl_arity {
    int least, most;
};
struct ctl_arity ctl_verb_arity(const struct ctl_verb *v);
/* The next word of a list by spaces; false at its end. */
bool ctl_next_word(struct str *list, struct str *word);

/* options.c: ended by a row without a name. */
extern const struct ctl_option ctl_options[];
extern const char ctl_migrations[]; /* where the SQL files are installed */
enum { CTL_OPTIONS_MAX = 96 };
const struct ctl_option *ctl_option_find(struct str name); /* NULL: there is none */
const struct ctl_option *ctl_option_by_letter(char letter);
const struct ctl_option *ctl_option_nearest(struct str name);
/* Does the verb take it; *wanted: has it to be given? */
bool ctl_verb_takes(const struct ctl_verb *v, const struct ctl_option *o, bool *wanted);

/* parse.c: argv[1..n-1] into *c, whose defaults stand. CTL_OK, or the code to exit with: it said why. With --help
 * or --version the rest is not looked at. */
int ctl_parse(struct ctl *c, int argc, const char *const *argv);

/* confirm.c: CTL_OK, or the code to exit with. watch.c: runs the verb until interrupted. */
int ctl_confirm(const struct ctl *c);
int ctl_watch(const struct ctl *c);

/* table.c: the tables as -o says (json, yaml, name). */
void ctl_print_verbs(const struct ctl *c);
const char *ctl_level_name(enum ctl_level level);

/* distance.c: edits between two words; swapped neighbours are one. Long words are cut. */
unsigned ctl_distance(struct str a, struct str b);

/* help.c. words: what stands before --help; none: the first page. */
int ctl_help(const struct ctl *c, const char *const *words, int n);
extern const char ctl_help_attack[]; /* lines as ctl_verb.examples */
struct ctl_exit_row {
    enum ctl_exit code;
    const char *text;
};
extern const struct ctl_exit_row ctl_exit_rows[]; /* a NULL text ends it */
extern const char ctl_environment[];              /* lines "NAME  what" */

/* complete.c: what may follow these words, the last of them half-typed. */
int ctl_complete(struct ctl *c, const char *const *words, int n);

/* manual.c: roff; page NULL: tidectl(1), else of the verbs that begin with this word. False: no verb does. */
bool ctl_manual(FILE *out, const char *page);

#endif
