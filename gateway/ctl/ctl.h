/* tidectl: what its verbs share. Words of the command line in, one request to the admin socket (or local work),
 * a table or JSON out, an exit code.
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
    CTL_DEGRADED = 3,    /* check: something is not well */
    CTL_DENIED = 4,      /* not allowed */
    CTL_NOT_FOUND = 5,   /* no such thing */
    CTL_CONFLICT = 6,    /* stale --if-version */
    CTL_UNREACHABLE = 7, /* no gateway at the socket, or no database */
};

enum { CTL_WORDS_MAX = 16, CTL_FACTS_MAX = 16, CTL_DOCUMENT_MAX = 8 << 20 };

/* One fact of a made-up attempt: policy simulate. */
struct ctl_fact {
    const char *name; /* member of the attempt */
    const char *value;
    bool is_text; /* else a number, true or false */
};

struct ctl {
    const char *socket;          /* path of the admin socket */
    const char *server;          /* --server: https://HOST:PORT instead of the socket */
    const char *cert, *key, *ca; /* --cert, --key, --ca: PEM files for it */
    unsigned timeout_s;          /* of an exchange with it */
    bool json;                   /* -o json */
    const char *reason;          /* --reason */
    const char *file;            /* -f: a policy document */
    const char *database;        /* --database: libpq URI */
    const char *folder;          /* --folder: of migrations */
    const char *phone, *user;    /* --phone, --user */
    const char *policy;          /* --policy: a document */
    struct ctl_fact facts[CTL_FACTS_MAX];
    int fact_count;
    int64_t if_version;               /* --if-version; 0: any */
    int64_t limit;                    /* --limit; 0: the server's */
    const char *ttl, *burst, *route;  /* --ttl, --burst: limits set; --route: limits explain */
    bool open;                        /* --open: unresolved only */
    bool undo;                        /* --undo: drain */
    const char *words[CTL_WORDS_MAX]; /* after the verb */
    int word_count;
};

/* channel.c: an open way to the gateway; prints why when it fails. read: 0 at the end, negative on error. */
struct ctl_channel;
int ctl_channel_open(const struct ctl *c, struct ctl_channel **out); /* CTL_OK, or the code to exit with */
void ctl_channel_close(struct ctl_channel *ch);
bool ctl_channel_write(struct ctl_channel *ch, struct str text);
ssize_t ctl_channel_read(struct ctl_channel *ch, char *room, size_t n);

/* One request and its answer; prints why when it fails. */
struct ctl_answer {
    unsigned status; /* HTTP */
    struct buf body;
};
/* CTL_OK when the answer is 2xx; body NULL: none. Free the answer with buf_clear(&out->body) in any case. */
int ctl_request(const struct ctl *c, const char *method, const char *target, const struct buf *body,
                struct ctl_answer *out);

/* Columns of a table: header and member; a NULL header ends it. */
struct ctl_column {
    const char *header;
    const char *key;
};
/* The answer as -o says: JSON as it came, or the items of `list` (NULL: the object itself, one row) as a table. */
int ctl_print(const struct ctl *c, const struct ctl_answer *a, const char *list,
              const struct ctl_column *columns);

/* Shared by the verbs that ask the admin API. GET, printed; a change, and what to say when it is done. */
int ctl_get(const struct ctl *c, const char *target, const char *list, const struct ctl_column *columns);
int ctl_change(const struct ctl *c, const char *method, const char *target, const struct buf *body,
               const char *done);
/* A policy document by file or standard input ("-"). False: it said why. */
bool ctl_read_document(const char *path, struct buf *out);

/* Puts text into a path or query, percent-encoded but for letters, digits and "-._~". */
void ctl_add_encoded(struct buf *b, const char *text);
void ctl_add_query(struct buf *b, const char *name, const char *value);
void ctl_add_query_number(struct buf *b, const char *name, int64_t value); /* 0: left out */

int ctl_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* CTL_USAGE */

/* verbs_admin.c */
int ctl_policy_get(const struct ctl *c);
int ctl_policy_set(const struct ctl *c);
int ctl_policy_history(const struct ctl *c);
int ctl_policy_rollback(const struct ctl *c);
int ctl_get_workers(const struct ctl *c);
int ctl_get_limits(const struct ctl *c);
int ctl_get_users(const struct ctl *c);
int ctl_get_incidents(const struct ctl *c);
int ctl_get_audit(const struct ctl *c);
int ctl_drain_worker(const struct ctl *c);
int ctl_revoke_user(const struct ctl *c);
int ctl_check(const struct ctl *c);
int ctl_reload(const struct ctl *c);
int ctl_upgrade(const struct ctl *c);
/* verbs_policy.c */
int ctl_policy_lint(const struct ctl *c);
int ctl_policy_simulate(const struct ctl *c);
int ctl_policy_schema(const struct ctl *c);
int ctl_policy_show(const struct ctl *c);
/* verbs_requests.c */
int ctl_show_requests(const struct ctl *c);
int ctl_trace_sample(const struct ctl *c);
int ctl_trace(const struct ctl *c);
int ctl_kill(const struct ctl *c);
/* verbs_limits.c */
int ctl_limits_top(const struct ctl *c);
int ctl_limits_explain(const struct ctl *c);
int ctl_limits_set(const struct ctl *c);
int ctl_limits_reset(const struct ctl *c);
/* verbs_local.c */
int ctl_migrate(const struct ctl *c);
int ctl_keyring_generate(const struct ctl *c);
int ctl_keyring_rotate(const struct ctl *c);
int ctl_keys_generate(const struct ctl *c);

#endif
