/* Incidents as JSON of our own, for the snapshot on disk and for PostgreSQL. Not what the public reads: page_json.c.
 *
 * Reading is strict about what the program relies on (codes, enum words, numbers) and returns NULL or false for
 * anything else: a damaged file is refused, never half believed.
 * Ownership: what reading returns belongs to the caller. Thread rule: pure functions. */
#ifndef TIDE_STATUS_INCIDENT_JSON_H
#define TIDE_STATUS_INCIDENT_JSON_H

#include "base/json.h"
#include "status/incident.h"

void incident_json_write(struct json_writer *w, const struct incident *i);
struct incident *incident_json_read(const cJSON *value);

void incident_json_write_text(struct json_writer *w,
                              const struct incident_text *t); /* {"en":..,"zh-Hans":..} */
bool incident_json_read_text(const cJSON *value, struct incident_text *out);
void incident_json_write_changes(struct json_writer *w, const struct incident_update *u);
/* Number of changes, or -1. */
int incident_json_read_changes(const cJSON *value, struct incident_change out[STATUS_COMPONENTS_MAX]);
void incident_json_write_components(struct json_writer *w, const struct incident *i); /* ["code",..] */
bool incident_json_read_components(const cJSON *value, struct incident *i);

const char *incident_origin_word(enum incident_origin o); /* "probes", "policy", "attack" */
bool incident_origin_parse(struct str word, enum incident_origin *out);

#endif
