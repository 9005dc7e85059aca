/* Sessions that ended, kept on disk for a start without the database: a signed-out token must stay signed out then.
 * One line a session, "UUID SECONDS", and one of the era, "era NUMBER"; without it, 0. Written beside and renamed over, or appended to. Lines that cannot be read are passed
 * over.
 *
 * Thread rule: pure but for the file. */
#ifndef TIDE_AUTH_ENDED_FILE_H
#define TIDE_AUTH_ENDED_FILE_H

#include "auth/sync.h"
#include "base/err.h"

int ended_save(const struct auth_ended *items, unsigned n, int64_t era, const char *path,
               struct err *err) TIDE_CHECK;
/* To a file that ended_save has written. */
int ended_append(const struct auth_ended *items, unsigned n, const char *path, struct err *err) TIDE_CHECK;
/* *items is the caller's to free. ERR_NOT_FOUND when there is no file. */
int ended_load(const char *path, struct auth_ended **items, unsigned *n, int64_t *era,
               struct err *err) TIDE_CHECK;

#endif
