/* tidectl: what its verbs share. Words of the command line in, one request to the admin socket (or local work),
 * a table or JSON out, an exit code.
 *
 * To add a verb: write its function, and its row in the array at the end of the same file (verbs_*.c). Parsing, --help,
 * completion and manual pages come from the row; what the row says is wanted has been given when the function runs.
 * A new option: a member of struct ctl, and a row in options.c. A new file of verbs: its array declared in verbs.h and
 * named in verbs.c. tests/unit/ctl_verbs_test.c parses every example of every row.
 *
 * Thread rule: one thread. */
#ifndef TIDE_GATEWAY_CTL_CTL_H
#define TIDE_GATEWAY_CTL_CTL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/json.h"

enum ctl_exit {
    CTL_OK = 0,
    CTL_FAILED = 1,      /* the work failed */
    CTL_USAGE = 2,       /* wrong words */
    CTL_DEGRADED = 3,    /* a condition is false: check, policy lint */
    CTL_DENIED = 4,      /* not allowed */
    CTL_NOT_FOUND = 5,   /* no such thing */
    CTL_CONFLICT = 6,    /* stale --if-version */
    CTL_UNREACHABLE = 7, /* no gateway at the socket, or no database */
};

/* What a verb needs at the gateway; a gateway's socket has one by its file mode, a certificate by configuration. */
enum ctl_level {
    CTL_LEVEL_NONE = 0, /* asks no gateway */
    CTL_LEVEL_READ = 1,
    CTL_LEVEL_WRITE = 2,
    CTL_LEVEL_ADMIN = 3,
};

enum ctl_form {
    CTL_TABLE = 0,
    CTL_JSON = 1,
    CTL_YAML = 2,
    CTL_NAME = 3,
    CTL_BARE = 4 /* names alone: completion */
};

enum { CTL_TIMEOUT_MS = 30000 };
enum { CTL_WORDS_MAX = 1024, CTL_COLUMNS_MAX = 12, CTL_DOCUMENT_MAX = 8 << 20 };

struct ctl_verb;

/* Facts of a made-up attempt, as the command line has them; NULL: not known. policy simulate. */
struct ctl_attempt {
    const char *phone, *method, *email, *email_disposable, *ip_country, *asn, *device, *platform,
        *app_version, *invite, *campaign, *at;
};

/* The command line, read. A text that was not given is NULL, a number 0, a switch false. */
struct ctl {
    const struct ctl_verb *verb;
    const char *words[CTL_WORDS_MAX]; /* after the verb's own; as many as its row takes */
    int word_count;

    const char *socket;          /* path of the admin socket */
    const char *server;          /* https://HOST:PORT instead of the socket */
    const char *cert, *key, *ca; /* PEM files for it */
    int64_t timeout_ms;          /* of an exchange with it; 0: CTL_TIMEOUT_MS */
    const char *output;          /* -o, as form */
    enum ctl_form form;
    bool help, version;

    bool dry_run; /* a request that would change something says so: ctl_request */
    const char *confirm;
    bool watch;
    int64_t every_ms; /* of a watch, of a ramp */
    const char *reason, *file, *database, *folder, *user, *policy, *route;
    int64_t if_version, limit, burst; /* units */
    int64_t ttl_ms;
    const char *phone_country, *joined_before;
    const char *inviter; /* invites; the campaign is attempt's */
    int64_t uses, count, quota;
    int64_t for_ms;              /* policy changes */
    const char *until;           /* bans of users */
    const char *stages, *on_bad; /* policy ramp */
    const char *id;              /* emergency-close */
    bool open, undo, force;
    bool banned;                /* get users */
    bool allow;                 /* bans: the allowances instead */
    const char *list;           /* of bans */
    struct ctl_attempt attempt; /* its phone is get users' as well */
};

/* --- rows of the tables --------------------------------------------------------------------------------------- */

enum ctl_type {
    CTL_TEXT = 1,   /* const char * */
    CTL_FILE = 2,   /* likewise: a path; "-" may be standard input */
    CTL_CHOICE = 3, /* likewise: one of those in `value` */
    CTL_SCALAR = 4, /* likewise: true, false, or a whole number */
    CTL_COUNT = 5,  /* int64_t: 1 or more */
    CTL_TIME = 6,   /* int64_t ms: 90s, 10m, 2h */
    CTL_SWITCH = 7, /* bool */
};

/* options.c */
struct ctl_option {
    const char *name;   /* without its dashes */
    char letter;        /* 0: none */
    enum ctl_type type; /* of the member */
    size_t at;          /* offset of the member in struct ctl */
    const char
        *value;       /* as help shows it: "FILE"; a choice's are its choices: "table json"; NULL: a switch */
    const char *help; /* one line */
    bool is_everywhere; /* every verb takes it */
};

/* What a command can do to people; a NULL name: nothing that has to be confirmed. */
struct ctl_harm {
    const char *name; /* what --confirm has to say */
    const char *what; /* a sentence */
};

struct ctl_verb {
    const char *words;    /* "policy set" */
    const char *args;     /* "RULE LIMIT", "[VERSION]", "FILE..."; NULL: none */
    const char *options;  /* names, by spaces; "reason!" has to be given; NULL: none but those everywhere */
    enum ctl_level level; /* at the gateway */
    const char *summary;  /* one line, from a small letter, no full stop */
    const char *about;    /* paragraphs, parted by an empty line; NULL: none */
    const char *examples; /* a line each: words after "tidectl ", "  # ", what it does; NULL: none */
    const char *exits;    /* what a code tells here: "3 something is not well"; NULL: as everywhere */
    int (*run)(const struct ctl *c);
    /* Asked before run: CTL_OK, or the code to exit with; NULL: harmless. */
    int (*harm)(const struct ctl *c, struct ctl_harm *out);
    int (*names)(const struct ctl *c); /* lists what the first argument may be: ctl_get; NULL: unknown */
};

/* --- the gateway ------------------------------------------------------------------------------------------------ */

/* channel.c: an open way to the gateway; prints why when it fails. read: 0 at the end, negative on error. */
struct ctl_channel;
int ctl_channel_open(const struct ctl *c, struct ctl_channel **out); /* CTL_OK, or the code to exit with */
void ctl_channel_close(struct ctl_channel *ch);
bool ctl_channel_write(struct ctl_channel *ch, struct str text);
ssize_t ctl_channel_read(struct ctl_channel *ch, char *room, size_t n);

/* request.c: one request and its answer; prints why when it fails. */
struct ctl_answer {
    unsigned status; /* HTTP */
    struct buf body;
};
/* CTL_OK when the answer is 2xx; body NULL: none. Free the answer with buf_clear(&out->body) in any case. */
int ctl_request(const struct ctl *c, const char *method, const char *target, const struct buf *body,
                struct ctl_answer *out);

/* target.c: puts text into a path or query, percent-encoded but for letters, digits and "-._~". */
void ctl_add_encoded(struct buf *b, const char *text);
void ctl_add_query(struct buf *b, const char *name, const char *value);    /* NULL: left out */
void ctl_add_query_number(struct buf *b, const char *name, int64_t value); /* 0: left out */

/* --- what comes out --------------------------------------------------------------------------------------------- */

/* How an answer looks as a table, and by name. */
struct ctl_column {
    const char *header;
    const char *key; /* member of an item */
};
struct ctl_view {
    const char *list; /* member that holds the items; NULL: the answer is the one item, a line a column */
    const char *kind; /* "worker": -o name prints worker/w1 */
    const char *key;  /* the member that names an item */
    struct ctl_column columns[CTL_COLUMNS_MAX + 1]; /* a NULL header ends it */
};

/* print.c: an answer as -o says. */
int ctl_print(const struct ctl *c, struct str json, const struct ctl_view *view);
/* True when -o wants the answer itself (json, yaml), and then it is printed. */
bool ctl_print_raw(const struct ctl *c, struct str json);
void ctl_print_yaml(struct str json); /* yaml.c: scanned JSON */

/* GET, printed. */
int ctl_get(const struct ctl *c, const char *target, const struct ctl_view *view);
/* A change. Prints "worker/w1 draining" for thing "worker/w1" and what happened "draining", or as -o says. */
int ctl_change(const struct ctl *c, const char *method, const char *target, const struct buf *body,
               const char *thing, const char *happened);
/* The same by POST, with the reason as the body, and before it the first word under `key` (NULL: not). */
int ctl_change_reason(const struct ctl *c, const char *target, const char *key, const char *thing,
                      const char *happened);
/* The line of a change that needs no gateway or printed its own answer; json "" makes one of the thing. */
void ctl_say_done(const struct ctl *c, struct str json, const char *thing, const char *happened);

/* Lines on standard error for a person who waits ("" takes it away); nothing where none looks. */
void ctl_progress(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* paint.c: escapes, or nothing where no person looks. */
enum ctl_colour { CTL_PLAIN = 0, CTL_BOLD = 1, CTL_GREEN = 2, CTL_YELLOW = 3, CTL_RED = 4 };
const char *ctl_paint(enum ctl_colour colour);
enum ctl_colour ctl_colour_of(struct str state); /* of a word like "ready", "down" */

/* document.c: a JSON document by file or standard input ("-"). False: it said why. */
bool ctl_read_document(const char *path, struct buf *out);

/* Text of a member of scanned JSON, without its quotes. */
struct str ctl_member(struct arena *a, struct str object, const char *key, struct str absent);

/* diff.c: what a policy change would do, as text. How many differences, how many findings. */
unsigned ctl_print_diff(struct arena *a, struct str diff);
void ctl_print_diff_names(struct arena *a, struct str diff); /* -o name: rule/ID */
unsigned ctl_print_findings(struct arena *a, struct str findings);
int ctl_print_trial(const struct ctl *c, struct str answer); /* of a dry run, as -o says */

/* verbs_policy.c: the body of a change of the policy: of a preset or of -f (false: it said why), or of a document. Then
 * it is sent, and the version printed. */
bool ctl_write_policy_change(struct buf *body, const struct ctl *c, const char *preset);
void ctl_write_policy_document(struct buf *body, const struct ctl *c, const struct buf *document);
/* Asked before a change that is not of a preset (the verb's own harm): would it close sign-up? CTL_OK: it may be sent. */
int ctl_policy_harm(const struct ctl *c, struct ctl_harm *out);
int ctl_confirm_policy(const struct ctl *c, const char *method, const char *target, const struct buf *body);
int ctl_send_policy_change(const struct ctl *c, const char *method, const char *target,
                           const struct buf *body, const char *done);
bool ctl_is_preset(const char *word);
int ctl_list_presets(const struct ctl *c);

/* confirm.c: CTL_OK, or the code to exit with. */
int ctl_confirm_harm(const struct ctl *c, const struct ctl_harm *h);

/* Says what is wrong with the words, and where help is. CTL_USAGE. */
int ctl_usage(const struct ctl *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
