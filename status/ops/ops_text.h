/* Numbers, times and foreign words as the dashboard writes them, and reading the gateway's JSON without trusting it.
 *
 * Thread rule: pure functions that append to a buf. */
#ifndef TIDE_STATUS_OPS_TEXT_H
#define TIDE_STATUS_OPS_TEXT_H

#include <cjson/cJSON.h>

#include "base/buf.h"

/* Whatever others wrote: escaped for HTML, control characters as spaces (an event of the stream is one line). */
void ops_add_text(struct buf *out, const char *text);
void ops_add_number(struct buf *out, double v);  /* 0.4, 12, 1.3k, 2.5M; a dash for NAN */
void ops_add_seconds(struct buf *out, double s); /* 0.4 ms, 120 ms, 2.5 s, 3 min; a dash for NAN */
void ops_add_share(struct buf *out, double part, double whole); /* 0 %, 0.02 %, 12 %; a dash of nothing */
void ops_add_age(struct buf *out, int64_t ms);                  /* "under 1 min", "4 min", "2 h", "3 d" */
/* "04:12 UTC" of today, "11-24 04:12 UTC" of other days; a dash for what is no time. */
void ops_add_time(struct buf *out, const char *iso, int64_t now_ms);
void ops_add_clock(struct buf *out, int64_t wall_ms); /* "04:12:31 UTC" */

/* "" and NAN when it is absent or of another type; NULL reads as an object without members. */
const char *ops_json_text(const cJSON *o, const char *key);
double ops_json_number(const cJSON *o, const char *key);
bool ops_json_is_true(const cJSON *o, const char *key);
const cJSON *ops_json_list(const cJSON *o,
                           const char *key); /* an array, or NULL; cJSON_ArrayForEach takes NULL */
/* The most that `remaining` of a limit can be: its burst, else its limit. */
double ops_json_budget(const cJSON *o);

#endif
