/* Lists of addresses as others publish them, read whole before anything is sent.
 *
 *     plain      one target a line; what follows "#" or ";" is a comment, and becomes the reason
 *     CrowdSec   JSON: an array of decisions {"value", "scope", "type", "duration", "reason"} as cscli takes them, the
 *                alerts of `cscli decisions list -o json`, or {"new": [...]} of its local API
 *
 * Ownership: ban_list_clear frees; texts point into the text given to ban_list_read.
 * Errors: ban_list_read prints what is wrong, with the line, at most 20 times.
 * Thread rule: one thread. */
#ifndef TIDE_GATEWAY_CTL_BAN_LIST_H
#define TIDE_GATEWAY_CTL_BAN_LIST_H

#include "base/json.h"

enum { BAN_LIST_MOST = 1000000 };

struct ban_list_item {
    struct str target, reason; /* reason may be empty */
    int64_t ttl_s;             /* -1: none is named */
    unsigned line;
};

struct ban_list {
    struct ban_list_item *items;
    unsigned n, room;
    unsigned skipped; /* decisions that are over, or that ask for something else than a ban */
    unsigned wrong;
    struct arena arena;
};

/* path: for messages. False: it said why. */
bool ban_list_read(struct ban_list *l, const char *path, struct str text);
void ban_list_clear(struct ban_list *l);
/* Seconds of "4h", "3h59m57.9s", "-1h"; false: is no duration. */
bool ban_list_duration(struct str text, int64_t *seconds);

#endif
