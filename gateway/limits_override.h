/* Limits that an operator changed for a while (tidectl limits set): numbers of a rule, until a time, with a reason.
 *
 *     PUT /admin/v1/limits/RULE -> limit_override_set() in PostgreSQL, with the audit row -> `versions` moves
 *         -> every gateway fetches the list within 400 ms -> new rules over the same configuration -> loops
 *     no database: the list of this process only
 *
 * What a key has used stays as it is: only the numbers change. An override ends by itself, also while the database
 * is away, and outlives reloads and restarts (with a database).
 * Thread rule: the control thread. */
#ifndef TIDE_GATEWAY_LIMITS_OVERRIDE_H
#define TIDE_GATEWAY_LIMITS_OVERRIDE_H

#include "gateway/config.h"

struct gateway;
struct json_writer;

enum { LIMIT_AMOUNT_MAX = 40, LIMIT_REASON_MAX = 200, LIMIT_ACTOR_MAX = 96 };

struct limit_override {
    char rule[LIMIT_NAME_MAX + 1];
    char amount[LIMIT_AMOUNT_MAX + 1]; /* "5/1h" */
    char burst[LIMIT_AMOUNT_MAX + 1];  /* "": as many as amount says */
    char reason[LIMIT_REASON_MAX + 1];
    char actor[LIMIT_ACTOR_MAX + 1];
    uint64_t until_ms; /* monotonic */
};

void limits_override_open(struct gateway *g);
void limits_override_close(struct gateway *g);
/* The configuration with the rules as they are overridden now: takes the reference to conf, returns one. */
const struct gateway_config *limits_override_apply(struct gateway *g, const struct gateway_config *conf);
/* ERR_NOT_FOUND: no row of that name; ERR_INVALID: not a limit. Nothing is changed. */
int limits_override_check(struct gateway *g, const struct limit_override *o, struct err *err) TIDE_CHECK;
/* In this process only; until_ms 0 takes the rule's override back. */
void limits_override_put(struct gateway *g, const struct limit_override *o);
void limits_override_write(struct gateway *g, struct json_writer *w); /* the list, as a JSON array */

#endif
