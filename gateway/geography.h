/* Where clients are: the snapshot of base/geo on every loop, and what keeps it fresh. Not what is decided by it.
 *
 *     geography_open (files read at the start) -> every geography.poll and at a reload: did a file change?
 *         -> read and looked through on a thread of its own -> good: a new snapshot to each loop
 *                                                          -> not: the old one stays, and the log says why
 *
 * A start with a broken file goes on without a snapshot and tries again when the file changes: conditions on places are
 * then not known, which never opens a door.
 * Each loop remembers the last addresses it was asked for.
 * Ownership: one pointer in struct gateway, one in gateway_loop (gateway.h). Thread rule: said for each function. */
#ifndef TIDE_GATEWAY_GEOGRAPHY_H
#define TIDE_GATEWAY_GEOGRAPHY_H

#include "base/geo.h"

struct conf_section;
struct gateway;
struct gateway_loop;

/* Section `geography`. */
struct geography_conf {
    const char *files[GEO_KINDS]; /* by enum geo_kind; NULL: none, or in the other */
    uint64_t poll_ms;             /* how often the files are looked at */
};
extern const struct conf_section geography_conf_section;

void geography_open(struct gateway *g);
void geography_loop_open(struct gateway_loop *gl);
void geography_reload(struct gateway *g); /* the control thread, after g->conf was swapped */
void geography_loop_close(struct gateway_loop *gl);
void geography_stop(
    struct gateway *g); /* main thread, once the control thread has ended: waits for a file being read */
void geography_close(struct gateway *g); /* after what was posted to the control thread's loop has run */

/* gl's thread. All zero when there is no snapshot, or nothing is known. */
struct geo_place geography_find(struct gateway_loop *gl, const struct addr *client);

#endif
