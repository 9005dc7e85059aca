/* Strict reading of our small JSON documents: each member has its reader; whatever has none refuses the document, and
 * every error begins with the JSON path of the offender and, where a known word is near, names it. Private to auth/.
 *
 * Errors: ERR_INVALID with the path.
 * Thread rule: one thread. */
#ifndef TIDE_AUTH_POLICY_READ_H
#define TIDE_AUTH_POLICY_READ_H

#include "base/err.h"
#include "base/json.h"

/* Where the reader is, and what is under construction. */
struct policy_reader {
    void *subject; /* the readers' own */
    struct err *err;
    char path[96];
};

typedef int (*policy_member_cb)(struct policy_reader *r, const cJSON *value, void *into);

struct policy_member {
    const char *name; /* NULL ends a table */
    policy_member_cb read;
    bool required;
};

#define REFUSE(r, ...) policy_refuse((r), __VA_ARGS__)
int policy_refuse(struct policy_reader *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Lengthens the path for the time of one member; returns the length to cut back to. */
size_t policy_enter(struct policy_reader *r, const char *name);
size_t policy_enter_item(struct policy_reader *r, int index);
void policy_leave(struct policy_reader *r, size_t n);

int policy_read_object(struct policy_reader *r, const cJSON *object, const struct policy_member *members,
                       void *into);
int policy_read_text(struct policy_reader *r, const cJSON *value, size_t max, char **out); /* *out is owned */
int policy_read_word(struct policy_reader *r, const cJSON *value, char **out);
int policy_read_bool(struct policy_reader *r, const cJSON *value, bool *out);
/* Calls item for each element of a list of 1 to max. */
int policy_read_list(struct policy_reader *r, const cJSON *value, int max, policy_member_cb item, void *into);
/* Which of the names (NULL ends) a string is; negative: refused, with all of them. */
int policy_read_choice(struct policy_reader *r, const cJSON *value, const char *const *names);

#endif
